# SPDX-License-Identifier: Apache-2.0
"""The teacher as a whole: it uses space as it is set, and takes holes in depth."""

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.crossvit_settings import CrossVitTeacherSettings, SpatialSettings
from tests.models.crossvit_networks import seen, tiny_teacher


@pytest.mark.parametrize('encoding', ['sine', 'rotary'])
@pytest.mark.parametrize('points', ['rays', 'depth'])
def test_teacher_uses_space_as_it_is_set(encoding, points):
    model = tiny_teacher(encoding=encoding, points=points)
    view, extra = seen()
    with torch.no_grad():
        found = model(view, **extra)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
        moved = model(view, **{**extra, 'camera': extra['camera'].roll(1, dims=0)})
        further = model(view, **{**extra, 'ranges': extra['ranges'].flip(1) * 2.0})
    assert (found - moved).abs().max() > 1e-4
    if points == 'rays':
        torch.testing.assert_close(found, further)
    else:
        assert (found - further).abs().max() > 1e-5


def test_teacher_takes_holes_in_depth_and_learns_from_them():
    for encoding in ('sine', 'rotary'):
        model = tiny_teacher(encoding=encoding, points='depth').train()
        view, extra = seen()
        extra['ranges'][:, :2] = float('nan')
        # A place rather than the length, which is always one.
        model(view, **extra)[:, 0].sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients and all(g.isfinite().all() for g in gradients)


def test_teacher_refuses_another_number_of_patches():
    view, extra = seen(patches=9)
    with pytest.raises(ConfigError, match='9 rays'):
        tiny_teacher()(view, **extra)


def test_teacher_settings_are_the_published_ones():
    settings = CrossVitTeacherSettings()
    assert (settings.large.side, settings.small.side) == (14, 20)
    assert settings.spatial == SpatialSettings('rays', 10.0, 'sine')
