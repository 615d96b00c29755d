# SPDX-License-Identifier: Apache-2.0
"""The orientation estimator learns yaw, with the right sign, and nothing else changes."""

import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.registry import make_model
from tests.models.fixtures import batch_of, rolled, samples, with_prior
from training.objectives.base import LOSS, Progress, run_model
from training.objectives.registry import make_objective

LOCALIZER = {
    'view_width': 128,
    'view_height': 64,
    'patch_width': 128,
    'patch_height': 128,
    'patch_gsd': 0.5,
    'backbone': 'efficientnet_lite0',
    'deepest': 16,
    'levels': (0,),
    'widths': (8, 8, 4, 4),
}
ESTIMATOR = {'backbone': 'efficientnet_lite0', 'classes': 40, 'hidden': (128, 64)}


def network(**estimator):
    torch.manual_seed(0)
    settings = {'localizer': LOCALIZER, 'orientation': {**ESTIMATOR, **estimator}}
    return make_model('geodistill', settings)


def test_soft_cross_entropy_by_hand():
    made = make_objective('orientation', network(), {'sigma_classes': 0.5}).eval()
    batch = batch_of(made.model, [with_prior(samples(1)[0], yaw=0.2)])
    losses = made(batch, Progress())
    yaw = float(batch['truth'][0, 2])
    assert yaw == pytest.approx(-0.2, abs=1e-6)
    logits = run_model(made.model, batch)['yaw_logits'][0].double()
    classes = made.model.orientation.classes
    weights = [
        math.exp(-0.5 * ((c - yaw) / (0.5 * classes.step)) ** 2) for c in classes.centers.tolist()
    ]
    log_p = (logits - logits.logsumexp(0)).tolist()
    expected = -sum(w * p for w, p in zip(weights, log_p, strict=True)) / sum(weights)
    assert losses[LOSS].item() == pytest.approx(expected, rel=1e-4)
    error = math.degrees(abs(float(classes.decode(logits[None].float().detach())) - yaw))
    assert losses['mean_error_deg'].item() == pytest.approx(error, abs=1e-2)


def test_only_the_estimator_learns():
    made = make_objective('orientation', network()).train()
    learning = {n for n, p in made.named_parameters() if p.requires_grad}
    assert learning
    assert all(n.startswith('model.orientation.') for n in learning)
    before = {n: v.clone() for n, v in made.model.localizer.state_dict().items()}
    made(batch_of(made.model, samples(2)), Progress())[LOSS].backward()
    run_model(made.model, batch_of(made.model, samples(2)))
    for name, value in made.model.localizer.state_dict().items():
        assert torch.equal(value, before[name])
    assert made.model.orientation.fuse[1].training
    assert not any(module.training for module in made.model.localizer.modules())


def test_a_turn_out_of_range_is_named():
    made = make_objective('orientation', network())
    batch = batch_of(made.model, [with_prior(samples(1)[0], yaw=1.0)])
    with pytest.raises(DataError, match=r'1\.000 rad .*0\.785'):
        made(batch, Progress())


def test_models_without_an_estimator():
    with pytest.raises(ConfigError, match='no orientation estimator'):
        make_objective('orientation', make_model('g2sweakly', LOCALIZER))
    with pytest.raises(ConfigError, match='sigma_classes'):
        make_objective('orientation', network(), {'sigma_classes': 0.0})


@pytest.mark.slow
def test_rolling_the_panorama_turns_the_answer():
    """Turns between those it has seen; content moved right is counter-clockwise."""
    torch.set_num_threads(1)
    made = make_objective('orientation', network(weights='imagenet')).train()
    places, rng = samples(2), np.random.default_rng(0)
    batches = [
        batch_of(made.model, [with_prior(places[i % 2], yaw=t) for i, t in enumerate(turns)])
        for turns in rng.uniform(-0.78, 0.78, (6, 8))
    ]
    parameters = [p for p in made.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-4)
    for step in range(48):
        optimizer.zero_grad()
        made(batches[step % 6], Progress())[LOSS].backward()
        optimizer.step()
    made.eval()
    columns = (-30, -11, 0, 17, 35)
    batch = batch_of(made.model, [rolled(places[0], c) for c in columns])
    with torch.no_grad():
        logits = run_model(made.model, batch)['yaw_logits']
    yaw = torch.rad2deg(made.model.orientation.classes.decode(logits))
    assert yaw.tolist() == pytest.approx([c * 360 / 320 for c in columns], abs=6.0)
