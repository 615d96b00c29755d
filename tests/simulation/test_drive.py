# SPDX-License-Identifier: Apache-2.0
"""The motion is one a car can make; the sensors are wrong by what their models say."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.angles import wrap
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.simulation.city import make_city
from geoloc_core.simulation.drive import make_drive, make_rig
from geoloc_core.simulation.sensors import (
    gnss_fixes,
    GnssModel,
    imu_samples,
    ImuModel,
    odometry_samples,
    OdometryModel,
    outage_stamps,
)
from geoloc_core.simulation.trajectory import DrivingStyle, make_trajectory

FRAME = EnuFrame(Datum(49.0, 8.4, 110.0))


@pytest.fixture(scope='module')
def city():
    return make_city(2, 160.0, 3)


@pytest.fixture(scope='module')
def trajectory(city):
    return make_trajectory(city, 4, 300.0)


def test_motion_is_continuous_and_within_limits(trajectory):
    style = DrivingStyle()
    step = np.linalg.norm(np.diff(trajectory.xyz, axis=0), axis=1)
    assert step.max() < 1.01 * style.speed * 0.01
    # Steps are as long as the speed says: the position is the integral of the velocity.
    speed = (trajectory.speed[1:] + trajectory.speed[:-1]) / 2
    np.testing.assert_allclose(step, speed * 0.01, atol=2e-3)
    assert trajectory.acceleration.max() < 1.05 * style.acceleration
    assert trajectory.acceleration.min() > -1.05 * style.braking
    sideways = np.abs(trajectory.speed * trajectory.angular[:, 2])
    assert sideways.max() < 1.3 * style.lateral
    assert np.abs(np.diff(trajectory.rpy, axis=0)).max() < 0.01
    assert trajectory.speed.min() >= 0 and trajectory.speed[0] < 0.3
    assert trajectory.speed.max() > 0.9 * style.speed


def test_car_faces_where_it_goes(trajectory):
    moving = trajectory.speed[:-1] > 1.0
    step = np.diff(trajectory.xyz[:, :2], axis=0)[moving]
    course = np.arctan2(step[:, 1], step[:, 0])
    assert np.abs(wrap(course - trajectory.rpy[:-1, 2][moving])).max() < 0.02


def test_car_keeps_to_the_right_hand_lane(city, trajectory):
    """At every moment some street's middle line lies to the left within a road's width."""
    lines = np.concatenate([s.line.resampled(0.5).points for s in city.streets])
    offsets = []
    for i in range(0, len(trajectory.t), 200):
        T = np.linalg.inv(se3.from_planar(*trajectory.xyz[i, :2], trajectory.rpy[i, 2]))
        local = se3.transform(T, np.c_[lines, np.zeros(len(lines))])
        beside = local[np.abs(local[:, 0]) < 0.5]
        beside = beside[np.abs(beside[:, 1]) < 6]
        if len(beside):
            offsets.append(beside[np.abs(beside[:, 1]).argmin(), 1])
    assert 1.2 < np.median(offsets) < 2.2


def test_body_rates_turn_the_body(trajectory):
    """Integrating the rates gives the attitude back."""
    start, count = 3000, 800
    R = se3.rotation_from_rpy(*trajectory.rpy[start])
    for i in range(start, start + count):
        middle = (trajectory.angular[i] + trajectory.angular[i + 1]) / 2
        R = R @ se3.exp_rotation(middle * 0.01)
    expected = se3.rotation_from_rpy(*trajectory.rpy[start + count])
    assert np.linalg.norm(se3.log_rotation(R.T @ expected)) < 2e-3


def test_seeds_decide(city):
    same = [make_trajectory(city, seed, 30.0).xyz for seed in (1, 1, 2)]
    assert np.array_equal(same[0], same[1])
    assert not np.allclose(same[0], same[2])
    with pytest.raises(ConfigError, match='duration'):
        make_trajectory(city, 1, 0.0)


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
    assert len(outage_stamps(trajectory, model)) == 300


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


@pytest.mark.parametrize('kind', ['pinhole', 'fisheye', 'panorama'])
def test_frames_come_in_order_and_do_not_depend_on_workers(small_world, kind):
    drive = make_drive(small_world, seed=1, duration=1.0, camera=kind, outage=None)
    one = list(drive.frames(workers=1))
    two = list(drive.frames(workers=2))
    assert [s for s, _ in one] == sorted(s for s, _ in two)
    assert len(one) == 4 == len(drive.frame_times())
    for (_, a), (_, b) in zip(one, two, strict=True):
        assert a.image.shape[:2] == (drive.rig.camera.height, drive.rig.camera.width)
        assert np.array_equal(a.image, b.image)
        assert 10 < a.image.mean() < 240


def test_unknown_camera_is_named():
    with pytest.raises(ConfigError, match='periscope'):
        make_rig('periscope')
