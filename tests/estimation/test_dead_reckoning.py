# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.estimation.config import MotionConfig, OdometryConfig
from geoloc_core.estimation.dead_reckoning import DeadReckoning, Motion
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.geometry import se3
from geoloc_core.types import ImuSample, OdometrySample, Status


def stamp(t):
    return NS + round(t * NS)


def circle(reckoning, seconds=4.0, speed=2.0, rate=0.5, wheel_rate=None, imu=False, delay=0):
    """Drives a circle at 10 Hz; the IMU speaks at 100 Hz, `delay` samples late."""
    T = se3.from_planar(7.0, -3.0, 1.2)
    wheel_rate = rate if wheel_rate is None else wheel_rate
    for i in range(round(seconds * 10) + 1):
        if imu:
            for k in range(10):
                t = max(0.0, 0.1 * (i - 1) + 0.01 * (k + 1 - delay))
                reckoning.push_imu(ImuSample(stamp(t), np.array([0.0, 0.0, rate])))
        reckoning.push_odometry(OdometrySample(stamp(0.1 * i), T))
        T = T @ se3.exp([0.1 * speed, 0, 0, 0, 0, 0.1 * wheel_rate])
    return reckoning


def made(**changes):
    return DeadReckoning(replace(OdometryConfig(), **changes), MotionConfig(), 60.0)


def test_motion_along_a_circle_between_samples():
    motion = circle(made()).motion(stamp(0.5), stamp(2.5))
    expected = se3.exp([4.0, 0, 0, 0, 0, 1.0])
    np.testing.assert_allclose(motion.T, expected, atol=1e-9)
    assert motion.source == 'odometry'
    between = circle(made()).motion(stamp(0.53), stamp(2.57))
    np.testing.assert_allclose(between.T, se3.exp([4.08, 0, 0, 0, 0, 1.02]), atol=2e-3)


def test_backwards_is_the_inverse():
    reckoning = circle(made())
    there, back = (
        reckoning.motion(stamp(1), stamp(2)),
        reckoning.motion(stamp(2), stamp(1)),
    )
    np.testing.assert_allclose(there.T @ back.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(back.reversed().cov, there.cov, atol=1e-15)


def test_scale_and_bias_correct_the_motion_with_the_right_signs():
    # Wheels read 5 % too much and turn 0.02 rad/s too much to the left.
    reckoning = circle(made(), speed=2.0 / 0.95, wheel_rate=0.52)
    reckoning.scale, reckoning.bias = 0.95, 0.02
    motion = reckoning.motion(stamp(1.0), stamp(2.0))
    np.testing.assert_allclose(motion.T, se3.exp([2.0, 0, 0, 0, 0, 0.5]), atol=2e-3)
    assert reckoning.twist(stamp(2.0))[[0, 5]] == pytest.approx([2.0, 0.5])


@pytest.mark.parametrize('delay', [0, 4])
def test_the_gyro_replaces_the_wheels_yaw_and_no_turn_is_lost(delay):
    reckoning = circle(made(), wheel_rate=0.2, imu=True, delay=delay)
    motion = reckoning.motion(stamp(0.5), stamp(3.5))
    np.testing.assert_allclose(motion.T, se3.exp([6.0, 0, 0, 0, 0, 1.5]), atol=5e-3)
    wheels = circle(made(yaw_source='odometry'), wheel_rate=0.2, imu=True)
    assert se3.yaw_of(wheels.motion(stamp(0.5), stamp(3.5)).T) == pytest.approx(0.6)


def test_a_silent_gyro_leaves_the_yaw_to_the_wheels():
    reckoning = circle(made(), seconds=1.0, imu=True)
    T = reckoning.odometry.odom.poses[-1]
    for i in range(1, 31):
        T = T @ se3.exp([0.2, 0, 0, 0, 0, -0.03])
        reckoning.push_odometry(OdometrySample(stamp(1.0 + 0.1 * i), T))
    assert se3.yaw_of(reckoning.motion(stamp(2.0), stamp(4.0)).T) == pytest.approx(-0.6)


def test_goes_on_at_the_last_speed_for_a_while_then_guesses():
    reckoning = circle(made())
    motion = reckoning.motion(stamp(3.0), stamp(4.8))
    assert motion.source == 'extrapolated'
    np.testing.assert_allclose(motion.T, se3.exp([3.6, 0, 0, 0, 0, 0.9]), atol=1e-6)
    assert reckoning.motion(stamp(3.0), stamp(8.0)).source == 'model'


def test_without_odometry_the_model_goes_on():
    reckoning = made()
    reckoning.model_twist = np.array([3.0, -0.1])
    motion = reckoning.motion(stamp(0), stamp(2))
    assert motion.source == 'model'
    np.testing.assert_allclose(motion.T, se3.exp([6.0, 0, 0, 0, 0, -0.2]), atol=1e-12)


def test_uncertainty_grows_with_the_way_and_more_without_odometry():
    reckoning = circle(made())
    one, three = reckoning.motion(stamp(0.5), stamp(1)), reckoning.motion(stamp(0.5), stamp(3))
    beyond = reckoning.motion(stamp(0.5), stamp(4.9))
    for smaller, larger in ((one, three), (three, beyond)):
        assert np.all(np.diag(larger.cov) > np.diag(smaller.cov))
        assert np.linalg.eigvalsh(larger.cov)[0] > 0


def test_a_break_is_reported_and_costs_certainty():
    reckoning = circle(made())
    jump = se3.from_planar(100.0, 0.0, 0.0)
    status, _, broken = reckoning.push_odometry(OdometrySample(stamp(4.1), jump))
    assert status is Status.OK and broken is not None
    motion = reckoning.motion(stamp(3.9), stamp(4.1))
    assert motion.broken is broken
    np.testing.assert_allclose(motion.T, se3.exp([0.4, 0, 0, 0, 0, 0.1]), atol=1e-6)
    before = reckoning.motion(stamp(3.7), stamp(3.9))
    assert np.all(np.diag(motion.cov) > 3 * np.diag(before.cov))


def test_joined_covariances_agree_with_sampling():
    rng = np.random.default_rng(1)
    a = Motion(se3.from_xyz_rpy(3, 1, 0.2, 0.1, 0, 0.8), np.diag([1, 2, 3, 1, 2, 4]) * 1e-4, 'a')
    b = Motion(se3.from_xyz_rpy(-1, 4, 0, 0, 0.2, -0.5), np.diag([2, 1, 1, 1, 1, 2]) * 1e-4, 'a')
    a, b = replace(a, source='odometry'), replace(b, source='odometry')
    joined = a.then(b)
    errors = []
    for _ in range(4000):
        ea = rng.multivariate_normal(np.zeros(6), a.cov)
        eb = rng.multivariate_normal(np.zeros(6), b.cov)
        errors.append(se3.log(se3.inverse(joined.T) @ a.T @ se3.exp(ea) @ b.T @ se3.exp(eb)))
    sampled = np.cov(np.array(errors).T)
    np.testing.assert_allclose(sampled, joined.cov, atol=0.08 * joined.cov.max())
