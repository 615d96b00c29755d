# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from tests.models.fixtures import samples
from tests.training.evaluation.tiny import Tiny, TinySettings
from training.augmentation.photometric import LimitFieldOfView
from training.augmentation.prior import DrawPrior
from training.evaluation.opening import ask_within
from training.evaluation.protocols import asked_yaws, degrees_of_freedom, opening, protocol


@pytest.mark.parametrize(
    ('name', 'area', 'said'),
    [
        ('aligned', 'same', 'same-area aligned'),
        ('pm45', 'cross', 'cross-area +-45'),
        ('pm180', 'same', 'same-area +-180'),
    ],
)
def test_vigor_draws_by_its_own_protocol(name, area, said):
    how = opening(protocol(name), 'vigor', area, None, draws=3)
    assert how.options == {'protocol': said, 'seed': 3}
    assert how.split == 'test' and how.augment is None


def test_kitti_splits_are_its_areas():
    near = opening(protocol('kitti_pm10'), 'kitti', 'same', None)
    far = opening(protocol('kitti_free'), 'kitti', 'cross', None)
    assert (near.split, near.options['rotation_deg']) == ('test1', 10)
    assert (far.split, far.options['rotation_deg']) == ('test2', 180)


def test_others_draw_place_and_yaw_within_the_protocol():
    how = opening(protocol('pm45'), 'ford', 'same', None, half_m=15.0)
    sample = samples(1)[0]
    offs = []
    for index in range(200):
        drawn = how.augment(sample, index)
        prior, truth = se3.planar(drawn.prior.T_map_base), se3.planar(drawn.T_map_base)
        offs.append(np.subtract(prior, truth))
        np.testing.assert_array_equal(drawn.prior.cov, how.augment(sample, index).prior.cov)
    offs = np.array(offs)
    turn = np.degrees(np.angle(np.exp(1j * offs[:, 2])))
    assert np.abs(offs[:, :2]).max() <= 15 < np.abs(offs[:, :2]).max() * 1.1
    assert np.abs(turn).max() <= 45.001 < np.abs(turn).max() * 1.1


def test_a_prior_of_its_own_for_vigor():
    how = opening(protocol('pm45'), 'vigor', 'same', None, half_m=5.0)
    assert how.augment.steps == (DrawPrior(5.0, 5.0, 45.0),)


def test_a_field_of_view_is_drawn_last():
    how = opening(protocol('aligned'), 'vigor', 'same', None, fov_deg=120)
    assert how.augment.steps == (LimitFieldOfView((120, 120)),)


def test_degrees_of_freedom():
    assert degrees_of_freedom(protocol('aligned'), None) == 2
    assert degrees_of_freedom(protocol('aligned'), 3) == 3
    assert degrees_of_freedom(protocol('pm180'), None) == 3
    with pytest.raises(ConfigError, match='true yaw'):
        degrees_of_freedom(protocol('pm45'), 2)


def test_kitti_protocols_are_for_kitti():
    with pytest.raises(ConfigError, match='aligned, pm45'):
        opening(protocol('kitti_free'), 'vigor', 'same', None)
    with pytest.raises(ConfigError, match='choose one of'):
        protocol('gt-rot')
    assert math.isclose(protocol('pm180').half_yaw_deg, 180)


class Asked(Tiny):
    takes_yaws = True

    def forward(self, view, patch, yaws=None, **extra):
        self.seen = yaws
        return super().forward(view, patch)


@pytest.mark.parametrize(
    ('name', 'bins', 'expected'),
    [
        ('aligned', 36, [-2, 0, 2]),
        ('pm45', 36, np.arange(-60, 61, 10)),
        ('pm45', 8, np.arange(-90, 91, 45)),
        ('pm180', 36, None),
    ],
)
def test_a_network_that_takes_yaws_is_told_what_the_protocol_knows(name, bins, expected):
    model = Asked(TinySettings(yaw_bins=bins))
    yaws = asked_yaws(model, protocol(name))
    if expected is None:
        assert yaws is None
    else:
        np.testing.assert_allclose(np.degrees(yaws), expected, atol=1e-9)
    assert asked_yaws(Tiny(), protocol(name)) is None
    ask_within(model, protocol(name))
    model(torch.zeros(1, 3, 32, 64), torch.zeros(1, 3, 48, 48))
    assert (model.seen is None) == (expected is None)
