# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.estimation import smoother as module
from geoloc_core.estimation.dead_reckoning import Motion
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.estimation.smoother import FixedLagSmoother, PlacedPoint
from geoloc_core.geometry import se3

WIDE = np.diag([100.0, 100.0, 100.0, 0.01, 0.01, 0.01])
START = se3.from_xyz_rpy(10.0, 20.0, 3.0, 0.02, -0.03, 2.0)
STEP = se3.exp([1.0, 0, 0, 0, 0, 0.1])
STEP_COV = np.diag([1e-3, 1e-3, 1e-4, 1e-5, 1e-5, 1e-4])


def started(cov=WIDE, keyframes=5, lag_s=10.0):
    smoother = FixedLagSmoother(lag_s)
    smoother.start(NS, START, cov)
    for i in range(1, keyframes):
        smoother.add_keyframe(NS + i * NS // 2, Motion(STEP, STEP_COV, 'odometry'))
    smoother.update()
    return smoother


def test_starts_with_the_given_pose_and_covariance_in_map_axes():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(6, 6)) * [1, 1, 1, 0.05, 0.05, 0.05]
    cov = A.T @ A
    smoother = started(cov, keyframes=1)
    np.testing.assert_allclose(smoother.pose(NS), START, atol=1e-9)
    np.testing.assert_allclose(smoother.cov(NS), cov, rtol=1e-6, atol=1e-9)


def test_a_point_of_the_body_pulls_the_pose_by_its_lever_arm():
    smoother = started(keyframes=1)
    arm = np.array([2.0, -1.0, 0.5])
    xyz = se3.transform(START, arm) + np.array([3.0, -4.0, 1.0])
    smoother.add_position(PlacedPoint(NS, arm, xyz), 1e-4 * np.eye(3), 0.0)
    smoother.update()
    np.testing.assert_allclose(se3.transform(smoother.pose(NS), arm), xyz, atol=1e-2)


def test_the_position_factors_derivative_is_right():
    import gtsam

    T = se3.from_xyz_rpy(1, 2, 3, 0.3, -0.4, 2.5)
    point = PlacedPoint(NS, np.array([2.0, -1.0, 0.5]), np.array([4.0, 5.0, 6.0]))
    hat = se3.hat(point.arm)
    _, J = module._position_error(T, point, hat)
    for k in range(6):
        d = np.zeros(6)
        d[k] = 1e-6
        plus = gtsam.Pose3(T).retract(d).matrix()
        minus = gtsam.Pose3(T).retract(-d).matrix()
        up = module._position_error(plus, point, hat)[0]
        down = module._position_error(minus, point, hat)[0]
        np.testing.assert_allclose((up - down) / 2e-6, J[:, k], atol=1e-6)


@pytest.mark.parametrize('same_keyframe', [True, False])
def test_a_correlated_error_counts_once(same_keyframe):
    """Two fixes whose error is all but the same say little more than one."""
    smoother = started(keyframes=2)
    first, last = smoother.stamps
    keyframe = last if same_keyframe else first
    std, rho = 2.0, 0.999
    before = PlacedPoint(keyframe, np.zeros(3), smoother.pose(keyframe)[:3, 3])
    point = PlacedPoint(last, np.zeros(3), smoother.pose(last)[:3, 3])
    smoother.add_position(before, std**2 * np.eye(3), 0.0)
    once = np.sqrt(np.diag(smoother.cov(last))[:3])
    smoother.add_position(point, (1 - rho**2) * std**2 * np.eye(3), 0.0, before, rho)
    twice = np.sqrt(np.diag(smoother.cov(last))[:3])
    assert np.all(twice > 0.9 * once)
    assert np.all(twice <= once + 1e-9)


def test_a_late_measurement_gives_what_it_would_have_given_in_time():
    def run(order):
        smoother = started(keyframes=1)
        for i in range(1, 9):
            stamp = NS + i * NS // 2
            smoother.add_keyframe(stamp, Motion(STEP, STEP_COV, 'odometry'))
            for at, used in order:
                if used == i:
                    T = START @ np.linalg.matrix_power(STEP, at)
                    T = se3.from_planar(0.5, -0.3, 0.0) @ T
                    smoother.add_pose(NS + at * NS // 2, T, 0.01 * np.eye(6), 0.0)
            smoother.update()
        return smoother.pose(smoother.newest_ns), smoother.cov(smoother.newest_ns)

    in_time = run([(2, 2), (4, 4), (6, 6)])
    late = run([(4, 5), (6, 7), (2, 8)])
    np.testing.assert_allclose(late[0], in_time[0], atol=1e-4)
    np.testing.assert_allclose(late[1], in_time[1], atol=1e-5)


def test_knows_what_is_too_old():
    smoother = started(keyframes=60, lag_s=5.0)
    newest = smoother.newest_ns
    assert smoother.nearest(newest - 4 * NS) == newest - 4 * NS
    assert smoother.nearest(newest - 4 * NS + NS // 10) == newest - 4 * NS
    assert smoother.nearest(newest - 4 * NS + 2 * NS // 5) == newest - 4 * NS + NS // 2
    assert smoother.nearest(newest - 6 * NS) is None
    smoother.add_pose(smoother.stamps[0], smoother.pose(smoother.stamps[0]), np.eye(6), 0.0)
    smoother.update()
    assert smoother.rebuilds == 0


def test_a_tilt_levels_the_pose_and_leaves_its_yaw():
    smoother = started(np.diag([1, 1, 1, 1, 1, 1e-4]), keyframes=1)
    smoother.add_tilt(NS, 0.1, -0.2, 0.001)
    smoother.update()
    assert se3.rpy_from(smoother.pose(NS)) == pytest.approx((0.1, -0.2, 2.0), abs=0.02)


def test_a_numerical_fault_does_not_kill_it():
    smoother = started()
    newest, pose, cov = (
        smoother.newest_ns,
        smoother.pose(smoother.newest_ns),
        smoother.cov(smoother.newest_ns),
    )

    class Broken:
        def update(self, *_):
            raise RuntimeError('Indeterminant linear system detected')

    smoother._smoother = Broken()
    smoother.add_keyframe(newest + NS // 2, Motion(STEP, STEP_COV, 'odometry'))
    smoother.update()
    assert smoother.rebuilds == 1
    assert smoother.running
    np.testing.assert_allclose(smoother.pose(smoother.newest_ns), pose @ STEP, atol=1e-6)
    after = smoother.cov(smoother.newest_ns)
    assert np.all(np.diag(after) > np.diag(cov))
    smoother.add_keyframe(newest + NS, Motion(STEP, STEP_COV, 'odometry'))
    assert np.all(np.isfinite(smoother.cov(smoother.newest_ns)))


def test_a_measurement_of_a_keyframe_that_a_rebuild_took_is_ignored():
    smoother = started()
    gone = smoother.stamps[1]
    smoother._rebuild(smoother.newest_ns, np.full((4, 4), np.nan))
    smoother.add_pose(gone, START, np.eye(6), 0.0)
    smoother.add_position(PlacedPoint(gone, np.zeros(3), np.zeros(3)), np.eye(3), 0.0)
    smoother.update()
    assert smoother.stamps == [smoother.newest_ns]
    assert np.all(np.isfinite(smoother.pose(smoother.newest_ns)))
