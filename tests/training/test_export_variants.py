# SPDX-License-Identifier: Apache-2.0
"""Every system in every form that bundles come in: any batch, half precision, eight bits."""

import pytest

from geoloc_core.models.registry import make_model, MODELS
from tests.models import (
    test_ccvpe,
    test_fusion_transformer,
    test_g2sweakly,
    test_geodistill,
    test_geoloc_net,
    test_hc_net,
    test_orienternet_aerial,
)
from training.cross_view_exporting import CrossViewSubject
from training.export_samples import noise
from training.exporting import make_bundle, Making

SMALL = {
    'hc_net': lambda: test_hc_net.small(iterations=2, siamese=True, tap='stage2'),
    'ccvpe': test_ccvpe.small,
    'g2sweakly': lambda: make_model(
        'g2sweakly',
        {
            **test_g2sweakly.COMPACT,
            **test_g2sweakly.SMALL,
            'patch_width': 64,
            'patch_height': 48,
        },
    ),
    'geodistill': lambda: test_geodistill.tiny(levels=(0,)),
    'fusion_transformer': lambda: test_fusion_transformer.small(**test_fusion_transformer.SHALLOW),
    'orienternet_aerial': test_orienternet_aerial.tiny,
    'geoloc': lambda: test_geoloc_net.small(taps=['stage1', 'stage2']).eval(),
}
# Fresh weights on noise say nothing of what eight bits cost: whatever it is, it is a number.
ANYTHING = dict.fromkeys(('log-probability', 'probability', 'position', 'yaw'), 1e3)
FORMS = {
    'any batch': Making(batch=0),
    'two at a time': Making(batch=2),
    'half precision': Making(precision='fp16'),
    'eight bits': Making(precision='int8', tolerances=ANYTHING),
}


def test_no_system_is_left_out():
    # Another test may have made a network of its own known.
    assert set(MODELS) - set(SMALL) <= {'tiny_judged', 'tiny'}


@pytest.mark.slow
@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('name', SMALL)
def test_every_system_in_every_form(name, form):
    subject = CrossViewSubject(SMALL[name]())
    samples, pictures = (noise(subject, 2) for _ in range(2))
    record = make_bundle(subject, samples, FORMS[form], pictures).spec.export
    assert not record.broken and record.compared >= 2
