# SPDX-License-Identifier: Apache-2.0
"""Sensors are wrong by what their models say, and by nothing else."""

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.simulation.city import make_city
from geoloc_core.simulation.robots.gnss import gnss_fixes, gnss_record, GnssModel
from geoloc_core.simulation.robots.sensors import (
    imu_samples,
    ImuModel,
    odometry_samples,
    OdometryModel,
    slip_factor,
)
from geoloc_core.simulation.robots.trajectory import make_trajectory

FRAME = EnuFrame(Datum(49.0, 8.4, 110.0))
PERFECT = dict(scale=1.0, yaw_drift=0.0, yaw_scale=1.0, speed_std=0.0, yaw_rate_std=0.0)


@pytest.fixture(scope='module')
def trajectory():
    return make_trajectory(make_city(2, 160.0, 3), 4, 300.0)


def test_gnss_noise_outage_and_lever_arm(trajectory):
    model = GnssModel(std_m=4.0, outages=((60.0, 120.0),), antenna_in_base=(2.0, 0.0, 1.0))
    errors = []
    truth = None
    for seed in range(12):
        fixes = gnss_fixes(trajectory, FRAME, model, seed)
        assert len(fixes) == 5 * 240
        lat, lon, alt = np.array([(f.lat_deg, f.lon_deg, f.alt_m) for f in fixes]).T
        times = np.array([f.stamp_ns for f in fixes]) * 1e-9
        assert not ((times >= 60) & (times < 120)).any()
        if truth is None:
            truth = np.array([se3.transform(trajectory.at(t), (2.0, 0.0, 1.0)) for t in times])
        errors.append(FRAME.enu_from_geodetic(lat, lon, alt) - truth)
        np.testing.assert_allclose(fixes[0].cov_enu, np.diag([16.0, 16.0, 36.0]))
    errors = np.array(errors)
    np.testing.assert_allclose(errors.std(axis=(0, 1)), [4.0, 4.0, 6.0], rtol=0.15)
    # Half of the variance stays from one fix to the next, and most of it is gone after 60 s.
    east = errors[:, :, 0]
    assert 0.35 < (east[:, 1:] * east[:, :-1]).mean() / 16 < 0.65
    assert (east[:, 300:600] * east[:, :300]).mean() / 16 < 0.2
    assert len(gnss_record(trajectory, FRAME, model, 0).lost_ns) == 300


def test_odometry_is_scaled_and_drifts(trajectory):
    quiet = {'speed_std': 0.0, 'yaw_rate_std': 0.0}
    perfect = OdometryModel(scale=1.0, yaw_drift=0.0, yaw_scale=1.0, **quiet)
    T0 = se3.from_planar(*trajectory.xyz[0, :2], trajectory.rpy[0, 2])
    for sample in odometry_samples(trajectory, perfect, 0)[::500]:
        t = sample.stamp_ns * 1e-9
        here = (T0 @ sample.T_odom_base)[:2, 3]
        np.testing.assert_allclose(here, trajectory.at(t)[:2, 3], atol=0.25)
    wrong = OdometryModel(scale=1.05, yaw_drift=0.002, yaw_scale=1.0, **quiet)
    samples = odometry_samples(trajectory, wrong, 0)
    positions = np.array([s.T_odom_base[:2, 3] for s in samples])
    length = np.linalg.norm(np.diff(positions, axis=0), axis=1).sum()
    driven = np.sum(trajectory.speed) * 0.01
    assert length / driven == pytest.approx(1.05, abs=0.003)
    turned = np.sum([s.angular[2] for s in samples]) / 20
    expected = trajectory.rpy[-1, 2] - trajectory.rpy[0, 2] + 0.002 * 300
    assert turned == pytest.approx(expected, abs=0.05)


def test_imu_bias_noise_and_gravity(trajectory):
    model = ImuModel(gyro_bias=(0.01, -0.02, 0.03), gyro_std=0.002, accel_std=0.05)
    samples = imu_samples(trajectory, model, 0)
    times = np.array([s.stamp_ns for s in samples]) * 1e-9
    rates = np.array([s.angular for s in samples])
    residual = rates - trajectory.sample(trajectory.angular, times)
    np.testing.assert_allclose(residual.mean(axis=0), model.gyro_bias, atol=2e-4)
    np.testing.assert_allclose(residual.std(axis=0), 0.002, rtol=0.05)
    up = np.array([s.linear_acceleration[2] for s in samples])
    assert up.mean() == pytest.approx(9.80665 + model.accel_bias[2], abs=0.01)


def test_wheels_slip_only_beyond_their_grip(trajectory):
    model = OdometryModel(**PERFECT, grip=1.0, slip=0.3)
    factor = slip_factor(trajectory, model, 1)
    a = trajectory.acceleration
    assert (factor[np.abs(a) <= 1.0] == 1.0).all()
    # Spinning wheels count too much, blocked ones too little.
    assert (factor[a > 1.0] >= 1.0).all() and (factor[a > 1.0] > 1.05).any()
    assert (factor[a < -1.0] <= 1.0).all() and (factor[a < -1.0] < 0.95).any()
    dry = slip_factor(trajectory, OdometryModel(**PERFECT), 1)
    assert (dry == 1.0).all()
    speed = np.array([s.linear[0] for s in odometry_samples(trajectory, model, 1)])
    times = np.arange(len(speed)) / model.rate_hz
    error = speed - trajectory.sample(trajectory.speed, times)
    calm = np.abs(trajectory.sample(a, times)) < 0.5
    # A sample is the mean over the 50 ms before its stamp.
    assert np.abs(error[calm]).max() < 0.1
    assert np.abs(error[~calm]).max() > 0.3


def test_encoder_counts_whole_ticks_and_loses_none(trajectory):
    model = OdometryModel(**PERFECT, tick_m=0.05)
    speed = np.array([s.linear[0] for s in odometry_samples(trajectory, model, 1)])
    ticks = speed / model.rate_hz / 0.05
    np.testing.assert_allclose(ticks, np.rint(ticks), atol=1e-6)
    driven = trajectory.speed.sum() * 0.01
    assert speed.sum() / model.rate_hz == pytest.approx(driven, abs=0.6)


def test_every_turn_has_a_scale_of_its_own(trajectory):
    model = OdometryModel(**PERFECT, turn_scale_std=0.05)
    reported = np.array([s.angular[2] for s in odometry_samples(trajectory, model, 2)]) / 20
    true = np.array(
        [s.angular[2] for s in odometry_samples(trajectory, OdometryModel(**PERFECT), 2)]
    )
    true /= 20
    turning = np.abs(true) > np.radians(10) / 20
    ratio = reported[turning] / true[turning]
    assert 0.01 < ratio.std() < 0.12 and abs(ratio.mean() - 1) < 0.06
    straight = np.abs(true) < np.radians(1) / 20
    np.testing.assert_allclose(reported[straight], true[straight], atol=1e-4)


def test_biases_walk_as_stated():
    trajectory = make_trajectory(make_city(2, 160.0, 3), 4, 65.0)
    quiet = dict(gyro_std=0.0, accel_std=0.0)
    still = np.array([s.angular for s in imu_samples(trajectory, ImuModel(**quiet), 0)])
    walks = []
    for seed in range(40):
        model = ImuModel(**quiet, gyro_walk=1e-3)
        samples = imu_samples(trajectory, model, seed)[: 50 * 64]
        walks.append(np.array([s.angular for s in samples]) - still[: 50 * 64])
    walks = np.array(walks)
    # Standard deviation grows with the square root of time: 8 times 1e-3 after 64 s.
    assert walks[:, -1].std() == pytest.approx(8e-3, rel=0.2)
    assert walks[:, 50 * 16].std() == pytest.approx(4e-3, rel=0.2)
