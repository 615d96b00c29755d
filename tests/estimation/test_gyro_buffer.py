# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.estimation.gyro_buffer import GyroBuffer
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.geometry import se3
from geoloc_core.types import ImuSample, Status


def imu(t, rate, R=None):
    return ImuSample(NS + round(t * NS), np.array([0.3, -0.2, rate]), R_world_base=R)


def test_integrates_a_changing_rate_by_trapezoids():
    buffer = GyroBuffer(60.0)
    for i in range(101):
        buffer.push(imu(0.01 * i, 2.0 * 0.01 * i))
    start, end = buffer.yaw_at(NS), buffer.yaw_at(2 * NS)
    assert end[0] - start[0] == pytest.approx(1.0)
    middle = buffer.yaw_at(NS + NS // 2 + 5_000_000)
    assert middle[0] - start[0] == pytest.approx(0.505**2, abs=1e-4)


def test_a_gap_starts_a_new_stretch():
    buffer = GyroBuffer(60.0)
    for t in (0.0, 0.1, 2.0, 2.1):
        buffer.push(imu(t, 1.0))
    assert buffer.yaw_at(NS + NS // 20)[1] != buffer.yaw_at(3 * NS + NS // 20)[1]
    assert buffer.yaw_at(2 * NS) is None
    assert buffer.yaw_at(NS - 1) is None
    assert buffer.yaw_at(3 * NS + NS // 5)[0] == pytest.approx(0.1 + 0.2)


def test_refuses_bad_rates_and_stamps():
    buffer = GyroBuffer(60.0)
    assert buffer.push(imu(1.0, 0.1))[0] is Status.OK
    assert buffer.push(imu(1.0, 0.1))[0] is Status.BAD_STAMP
    for bad in (np.nan, np.inf, 1e6):
        assert buffer.push(imu(2.0, bad))[0] is Status.BAD_INPUT


def test_tells_roll_and_pitch_when_fresh():
    buffer = GyroBuffer(60.0)
    buffer.push(imu(1.0, 0.0, se3.rotation_from_rpy(0.1, -0.2, 2.0)))
    assert buffer.tilt(2 * NS) == pytest.approx((0.1, -0.2))
    assert buffer.tilt(4 * NS) is None
    buffer.push(imu(1.2, 0.0, se3.rotation_from_rpy(0.3, 0.0, 1.0)))
    assert buffer.tilt(2 * NS + NS // 20) == pytest.approx((0.1, -0.2))
    assert buffer.tilt(2 * NS + NS // 6) == pytest.approx((0.3, 0.0))
