# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry.cameras import PinholeCamera
from tests.training.augmentation.compass_sample import compass_sample
from tests.training.datasets.compass import assert_compass
from training.augmentation import RollPanorama, ThroughLens


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize('lever', [False, True])
def test_a_lens_keeps_the_compass(lever):
    """Turned all round, the poles stand where the calibration of the made-up lens says."""
    sample = compass_sample(lever=lever)
    for seed in range(6):
        turned = RollPanorama().apply(sample, rng(seed))
        seen = ThroughLens(fov_deg=(110.0, 130.0), size=(320, 220)).apply(turned, rng(seed))
        assert_compass(seen)
        assert isinstance(seen.view.camera, PinholeCamera)
        assert seen.view.image.shape == (220, 320, 3)
        np.testing.assert_array_equal(seen.T_map_base, turned.T_map_base)


def test_field_of_view_and_tilt_are_as_asked():
    sample = compass_sample()
    seen = ThroughLens(fov_deg=(90.0, 90.0), down_deg=(20.0, 20.0)).apply(sample, rng())
    camera = seen.view.camera
    assert camera.fx == pytest.approx(320.0)
    axis = seen.T_map_camera[:3, 2]
    assert axis[2] == pytest.approx(-math.sin(math.radians(20.0)))
    level = sample.T_map_camera[:2, 2]
    assert np.dot(axis[:2], level) > 0.9


def test_other_cameras_are_left_alone():
    sample = compass_sample('pinhole')
    assert ThroughLens().apply(sample, rng()) is sample


@pytest.mark.parametrize('options', [{'fov_deg': (0, 90)}, {'down_deg': (9, 1)}, {'size': (0, 9)}])
def test_settings_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ThroughLens(**options)
