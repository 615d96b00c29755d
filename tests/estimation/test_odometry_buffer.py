# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.estimation.config import OdometryConfig
from geoloc_core.estimation.odometry_buffer import NS, OdometryBuffer, PoseBuffer
from geoloc_core.geometry import se3
from geoloc_core.types import OdometrySample, Status


def sample(t, x, y=0.0, yaw=0.0):
    return OdometrySample(NS + round(t * NS), se3.from_planar(x, y, yaw))


def driven(n=20, speed=2.0):
    buffer = OdometryBuffer(OdometryConfig(), 60.0)
    for i in range(n):
        status, _, _ = buffer.push(sample(0.1 * i, speed * 0.1 * i))
        assert status is Status.OK
    return buffer


def test_interpolates_position_and_turn_between_samples():
    buffer = PoseBuffer(10.0)
    buffer.append(100, se3.from_planar(1.0, 2.0, 3.0))
    buffer.append(200, se3.from_planar(3.0, -2.0, -3.0))  # across pi, the short way
    x, y, yaw = se3.planar(buffer.at(125))
    assert (x, y) == pytest.approx((1.5, 1.0))
    assert yaw == pytest.approx(3.0 + 0.25 * (2 * np.pi - 6.0))
    assert buffer.at(99) is None
    assert buffer.at(201) is None


def test_forgets_what_is_older_than_the_history():
    buffer = PoseBuffer(1.0)
    for i in range(2000):
        buffer.append(i * NS // 100, np.eye(4))
    assert len(buffer) < 800
    assert buffer.covers(buffer.stamps[-1] - NS)


def test_twist_is_a_body_velocity():
    buffer = PoseBuffer(10.0)
    T = se3.from_planar(5.0, 5.0, 1.0)
    for i in range(10):
        buffer.append(i * NS // 10, T)
        T = T @ se3.exp([0.2, 0.0, 0.0, 0.0, 0.0, -0.05])
    np.testing.assert_allclose(buffer.twist(NS), [2.0, 0, 0, 0, 0, -0.5], atol=1e-9)


@pytest.mark.parametrize('back', [0.0, 0.05, 1.0])
def test_refuses_stamps_that_go_back_or_repeat(back):
    buffer = driven()
    status, reason, _ = buffer.push(sample(1.9 - back, 3.8))
    assert status is Status.BAD_STAMP
    assert 'back' in reason
    assert buffer.push(sample(2.0, 4.0))[0] is Status.OK


def test_refuses_what_is_no_rigid_transform():
    T = np.eye(4)
    T[0, 3] = np.nan
    assert driven().push(OdometrySample(10 * NS, T))[0] is Status.BAD_INPUT
    assert driven().push(OdometrySample(10 * NS, 2.0 * np.eye(4)))[0] is Status.BAD_INPUT


@pytest.mark.parametrize(
    ('bad', 'word'),
    [
        (sample(2.0, 30.0), 'jump'),
        (sample(2.0, 4.0, y=-1.8), 'jump'),
        (sample(2.0, 4.0, yaw=2.5), 'turn'),
        (sample(9.0, 4.0), 'no odometry'),
    ],
)
def test_a_teleport_breaks_the_track_but_does_not_move_the_robot(bad, word):
    buffer = driven()
    status, _, step = buffer.push(bad)
    assert status is Status.OK
    assert step.broken is not None and word in step.broken.reason
    # The last speed, 2 m/s forward, goes on; for one second at most.
    dt = min((bad.stamp_ns - step.start_ns) / NS, 1.0)
    np.testing.assert_allclose(step.T_start_end[:3, 3], [2.0 * dt, 0, 0], atol=1e-9)


def test_after_a_teleport_motion_is_read_again():
    buffer = driven()
    buffer.push(sample(2.0, 500.0))
    _, _, step = buffer.push(sample(2.1, 500.2))
    assert step.broken is None
    np.testing.assert_allclose(step.T_start_end[:3, 3], [0.2, 0, 0], atol=1e-9)
