# SPDX-License-Identifier: Apache-2.0
"""A mount that was turned on purpose is turned back."""

import dataclasses

import numpy as np
import pytest

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry import se3
from geoloc_core.sources.mount_calibration import calibrate_mount, MountConfig
from tests.sources.painted_ground import BASE_HEIGHT, look, painted_ground


def test_finds_the_turn_of_the_mount():
    ground = painted_ground(seed=8, center=(25.0, 0.0))
    seen = [look(ground, 2.0 * k, 0.4 * np.sin(k), 0.05 * np.cos(k)) for k in range(12)]
    truth = seen[0][0].T_base_camera
    wrong = truth.copy()
    turn = np.radians([0.5, -0.4, 0.8])
    wrong[:3, :3] = se3.rotation_from_rpy(*turn).T @ truth[:3, :3]
    views = [dataclasses.replace(view, T_base_camera=wrong) for view, _ in seen]
    config = MountConfig(
        base_height_m=BASE_HEIGHT, ahead_m=14.0, size_m=(14.0, 10.0), max_pairs=10
    )
    found = calibrate_mount(views, [pose for _, pose in seen], config)
    assert found.agreement_after > found.agreement_before + 0.1
    left = se3.rpy_from(found.T_base_camera[:3, :3] @ truth[:3, :3].T)
    assert np.abs(np.degrees(left)).max() < 0.2
    np.testing.assert_array_equal(found.T_base_camera[:3, 3], truth[:3, 3])


def test_a_robot_that_stands_cannot_be_calibrated():
    view, pose = look(painted_ground(seed=8), 5.0, -9.0, 0.0)
    with pytest.raises(CalibrationError, match='longer drive'):
        calibrate_mount([view] * 4, [pose] * 4)
