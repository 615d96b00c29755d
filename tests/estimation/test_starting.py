# SPDX-License-Identifier: Apache-2.0
"""Poses to start from: in the plane and in space, carried on, and found from fixes."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.keyframes import Keyframes
from geoloc_core.estimation.starting import FirstPose, MAX_RECENT, PlanarStart, Start
from geoloc_core.estimation.yaw_init import Position
from geoloc_core.geometry import se3
from geoloc_core.types import ImuSample, OdometrySample
from tests.estimation.drive import NS

COV = np.diag([0.04, 0.09, 0.16])


def fix(seconds, xyz=(0.0, 0.0, 0.0), arm=(0.0, 0.0, 0.0)):
    return Position(round(seconds * NS), np.array(xyz, float), COV, np.array(arm, float))


@pytest.fixture
def keyframes():
    """Odometry of a robot that goes 1 m/s along its x axis, from 10 s to 12 s."""
    made = Keyframes(LocalizerConfig(), 60.0)
    for i in range(21):
        made.reckoning.push_odometry(
            OdometrySample(10 * NS + i * NS // 10, se3.from_planar(0.1 * i, 0.0, 0.0))
        )
    return made


def test_what_is_known_in_the_plane_stands_level_where_no_gravity_is_felt(keyframes):
    cov = np.array([[0.5, 0.1, 0.02], [0.1, 0.4, 0.03], [0.02, 0.03, 0.01]])
    start = PlanarStart(12 * NS, np.array([3.0, -4.0, 2.0]), cov, 1.5, 0.7)
    made = start.tilted(keyframes.reckoning, 0.05)
    np.testing.assert_allclose(made.T, se3.from_planar(3.0, -4.0, 2.0, 1.5))
    np.testing.assert_array_equal(made.cov[np.ix_([0, 1, 5], [0, 1, 5])], cov)
    np.testing.assert_allclose(np.diag(made.cov)[2:5], [0.7, 0.0025, 0.0025])
    assert np.all(made.cov[2:5, [0, 1, 5]] == 0.0)


def test_and_tilted_as_it_is_felt(keyframes):
    R = se3.rotation_from_rpy(0.1, -0.2, 0.0)
    keyframes.reckoning.push_imu(ImuSample(12 * NS, np.zeros(3), R_world_base=R))
    start = PlanarStart(12 * NS, np.array([3.0, -4.0, 2.0]), np.eye(3), 1.5, 0.7)
    made = start.tilted(keyframes.reckoning, 0.05)
    np.testing.assert_allclose(se3.rpy_from(made.T), (0.1, -0.2, 2.0), atol=1e-9)


def test_a_start_is_carried_to_the_newest_odometry(keyframes):
    """Facing north, 1 m driven: y grows, and with it what an unsure yaw does to x."""
    cov = np.diag([0.01, 0.01, 0.01, 1e-4, 1e-4, 0.09])
    start = Start(11 * NS, se3.from_planar(5.0, 6.0, np.pi / 2), cov)
    made = start.carried_on(keyframes.reckoning)
    assert made.stamp_ns == 12 * NS
    np.testing.assert_allclose(se3.planar(made.T), (5.0, 7.0, np.pi / 2), atol=1e-6)
    assert made.cov[0, 0] == pytest.approx(0.01 + 0.09, abs=0.01)
    # A yaw too far to the left puts the robot too far to the west.
    assert made.cov[0, 5] == pytest.approx(-0.09, abs=0.01)
    assert made.cov[1, 1] < 0.05


def test_a_start_that_nothing_is_newer_than_stays(keyframes):
    start = Start(12 * NS, np.eye(4), np.eye(6))
    assert start.carried_on(keyframes.reckoning) is start
    assert start.carried_on(Keyframes(LocalizerConfig(), 60.0).reckoning) is start


def test_fixes_are_kept_once_and_for_a_time(keyframes):
    first = FirstPose(LocalizerConfig(), keyframes)
    assert first.add_fix(fix(10.0)) and not first.add_fix(fix(10.0))
    window = LocalizerConfig().yaw_init.window_s
    assert first.add_fix(fix(10.5 + window))
    assert [each.stamp_ns for each in first.fixes] == [round((10.5 + window) * NS)]
    for i in range(2 * MAX_RECENT):
        first.add_fix(fix(20.0 + window + 0.01 * i))
    assert len(first.fixes) <= MAX_RECENT + 1
    assert first.fixes[-1].stamp_ns == round((20.0 + window + 0.01 * (2 * MAX_RECENT - 1)) * NS)


def test_fixes_alone_make_no_pose(keyframes):
    first = FirstPose(LocalizerConfig(), keyframes)
    assert first.find() is None
    first.add_fix(fix(11.0))
    assert first.find() is None
    assert first.why_not().startswith('yaw unknown: drive ')


@pytest.mark.parametrize(('at', 'made'), [(10.5, True), (13.5, False)])
def test_a_heading_makes_a_pose_of_a_fix_of_its_time(keyframes, at, made):
    """Facing north, the antenna 1 m ahead of the base: the base is 1 m south of the fix."""
    first = FirstPose(LocalizerConfig(), keyframes)
    first.add_heading(round(at * NS), np.pi / 2, 0.1)
    first.add_fix(fix(11.0, (7.0, 8.0, 9.0), arm=(1.0, 0.0, 2.0)))
    found = first.find()
    assert (found is not None) is made
    if made:
        assert found.stamp_ns == 11 * NS
        np.testing.assert_allclose(se3.planar(found.T), (7.0, 7.0, np.pi / 2), atol=1e-6)
        assert found.T[2, 3] == 7.0
        np.testing.assert_allclose(np.diag(found.cov)[[0, 1, 2, 5]], [0.04, 0.09, 0.16, 0.01])


def test_without_odometry_a_robot_that_drives_forward_shows_its_course():
    config = LocalizerConfig()
    silent = Keyframes(config, 60.0)
    fixes = [fix(10.0 + i, (0.0, -3.0 * i, 1.0)) for i in range(8)]
    for forward in (True, False):
        yaw_init = replace(config.yaw_init, assume_forward=forward)
        first = FirstPose(replace(config, yaw_init=yaw_init), silent)
        for each in fixes:
            first.add_fix(each)
        found = first.find()
        assert (found is not None) is forward
        if forward:
            np.testing.assert_allclose(se3.planar(found.T), (0.0, -21.0, -np.pi / 2), atol=1e-6)


def test_fixes_move_with_the_map_frame(keyframes):
    first = FirstPose(LocalizerConfig(), keyframes)
    first.add_fix(fix(11.0, (1.0, 2.0, 3.0)))
    first.move(se3.from_planar(10.0, 0.0, np.pi / 2, 1.0))
    np.testing.assert_allclose(first.fixes[0].xyz, (8.0, 1.0, 4.0))
