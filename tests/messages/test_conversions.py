# SPDX-License-Identifier: Apache-2.0
"""Messages into records: covariances, headings, cameras, mounts, and what must be refused."""

import math
from types import SimpleNamespace as N

import numpy as np
import pytest

from geoloc_core.errors import CalibrationError, InputError
from geoloc_core.geometry import se3
from geoloc_core.messages import conversions

STAMP = N(sec=5, nanosec=7)
HEADER = N(stamp=STAMP, frame_id='map')
NS = 5_000_000_007


def fix(cov=None, kind=2, lat=48.0, lon=9.0, alt=300.0, status=0):
    cov = np.diag([4.0, 9.0, 16.0]) if cov is None else np.asarray(cov, float)
    return N(
        header=HEADER,
        status=N(status=status),
        latitude=lat,
        longitude=lon,
        altitude=alt,
        position_covariance=cov.reshape(9),
        position_covariance_type=kind,
    )


def quaternion(roll=0.0, pitch=0.0, yaw=0.0):
    x, y, z, w = se3.quaternion_xyzw(se3.rotation_from_rpy(roll, pitch, yaw))
    return N(x=x, y=y, z=z, w=w)


def vector(x=0.0, y=0.0, z=0.0):
    return N(x=x, y=y, z=z)


def odometry(child='base_link', q=None, position=None):
    return N(
        header=N(stamp=STAMP, frame_id='odom'),
        child_frame_id=child,
        pose=N(pose=N(position=position or vector(1, 2, 3), orientation=q or quaternion(yaw=0.5))),
        twist=N(twist=N(linear=vector(4), angular=vector(z=0.1))),
    )


def imu(**changes):
    message = N(
        header=HEADER,
        orientation=quaternion(roll=0.1),
        orientation_covariance=[0.0] * 9,
        angular_velocity=vector(0.1, 0.2, 0.3),
        angular_velocity_covariance=[0.0] * 9,
        linear_acceleration=vector(0, 0, 9.8),
        linear_acceleration_covariance=[0.0] * 9,
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_a_fix_keeps_its_place_and_covariance():
    got = conversions.gnss_from_fix(fix())
    assert (got.stamp_ns, got.lat_deg, got.lon_deg, got.alt_m) == (NS, 48.0, 9.0, 300.0)
    np.testing.assert_allclose(got.cov_enu, np.diag([4.0, 9.0, 16.0]))


def test_no_fix_is_no_fix():
    assert conversions.gnss_from_fix(fix(status=-1)) is None


@pytest.mark.parametrize(('kind', 'cov'), [(0, np.eye(3) * 1e-6), (2, np.zeros((3, 3)))])
def test_a_fix_without_covariance_takes_the_default(kind, cov):
    got = conversions.gnss_from_fix(fix(cov, kind), default_std_m=3.0)
    np.testing.assert_allclose(got.cov_enu, np.diag([9.0, 9.0, 36.0]))


def test_type_unknown_hides_even_nan():
    assert np.isfinite(conversions.gnss_from_fix(fix(np.full((3, 3), np.nan), 0)).cov_enu).all()


@pytest.mark.parametrize('kind', [1, 2])
def test_diagonal_types_drop_what_is_beside_the_diagonal(kind):
    cov = np.diag([4.0, 9.0, 16.0])
    cov[0, 1] = cov[1, 0] = 99.0
    got = conversions.gnss_from_fix(fix(cov, kind)).cov_enu
    np.testing.assert_allclose(got, np.diag([4.0, 9.0, 16.0]))


def test_known_type_keeps_correlation():
    cov = np.array([[4.0, 1.0, 0.0], [1.0, 9.0, 0.0], [0.0, 0.0, 16.0]])
    np.testing.assert_allclose(conversions.gnss_from_fix(fix(cov, 3)).cov_enu, cov)


def test_a_missing_height_is_passed_on_and_a_missing_vertical_variance_is_filled():
    got = conversions.gnss_from_fix(fix(np.diag([1.0, 1.0, 0.0]), alt=math.nan))
    assert math.isnan(got.alt_m)
    assert got.cov_enu[2, 2] == 100.0


@pytest.mark.parametrize(
    ('message', 'text'),
    [
        (fix(lat=math.nan), 'not finite'),
        (fix(lon=math.inf), 'not finite'),
        (fix(lat=90.1), 'out of range'),
        (fix(lon=-180.5), 'out of range'),
        (fix(alt=math.inf), 'altitude'),
        (fix(np.diag([math.inf, 1.0, 1.0])), 'covariance of the fix is not finite'),
        (fix(np.diag([math.nan, 1.0, 1.0])), 'covariance of the fix is not finite'),
        (fix(np.diag([-1.0, 1.0, 1.0])), 'not positive definite'),
        (fix(np.diag([0.0, 1.0, 1.0])), 'not positive definite'),
    ],
)
def test_bad_fixes_are_refused_with_their_value(message, text):
    with pytest.raises(InputError, match=text):
        conversions.gnss_from_fix(message)


def test_a_stamp_of_zero_is_no_stamp():
    with pytest.raises(InputError, match='no stamp'):
        conversions.stamp_ns(N(sec=0, nanosec=0))


def test_odometry():
    got = conversions.odometry_from_message(odometry(), 'base_link')
    np.testing.assert_allclose(got.T_odom_base, se3.from_xyz_rpy(1, 2, 3, 0, 0, 0.5), atol=1e-12)
    np.testing.assert_allclose(got.linear, [4, 0, 0])
    np.testing.assert_allclose(got.angular, [0, 0, 0.1])


@pytest.mark.parametrize(
    ('message', 'text'),
    [
        (odometry(child='base_footprint'), "'base_footprint', expected 'base_link'"),
        (odometry(q=N(x=0.0, y=0.0, z=0.0, w=0.0)), 'not a rotation'),
        (odometry(q=N(x=0.0, y=math.nan, z=0.0, w=1.0)), 'not a rotation'),
        (odometry(position=vector(math.nan)), 'not finite'),
        (odometry(position=vector(1e300)), 'impossible'),
    ],
)
def test_bad_odometry_is_refused(message, text):
    with pytest.raises(InputError, match=text):
        conversions.odometry_from_message(message, 'base_link')


def test_imu_axes_are_turned_into_the_base():
    turned = se3.rotation_from_rpy(0.0, 0.0, math.pi / 2)  # imu x = base y
    got = conversions.imu_from_message(imu(), turned)
    np.testing.assert_allclose(got.angular, [-0.2, 0.1, 0.3], atol=1e-12)
    np.testing.assert_allclose(got.linear_acceleration, [0, 0, 9.8], atol=1e-12)
    world_imu = se3.rotation_from_rpy(0.1, 0, 0)
    np.testing.assert_allclose(got.R_world_base @ turned, world_imu, atol=1e-12)


def test_imu_says_what_it_does_not_measure():
    absent = [-1.0] + [0.0] * 8
    got = conversions.imu_from_message(
        imu(orientation_covariance=absent, linear_acceleration_covariance=absent), np.eye(3)
    )
    assert got.R_world_base is None
    assert got.linear_acceleration is None
    with pytest.raises(InputError, match='no angular velocity'):
        conversions.imu_from_message(imu(angular_velocity_covariance=absent), np.eye(3))


COMPASS = [(0, 90), (45, 45), (90, 0), (135, -45), (180, -90), (225, -135), (270, 180), (315, 135)]


@pytest.mark.parametrize(('heading', 'yaw'), COMPASS)
def test_headings_of_the_compass(heading, yaw):
    raw = N(header=HEADER, quaternion=quaternion(yaw=math.radians(heading)))
    stamp, got = conversions.heading_from_message(raw, 'ned_heading')
    assert stamp == NS
    assert math.cos(got - math.radians(yaw)) == pytest.approx(1.0)
    enu = N(header=HEADER, quaternion=quaternion(yaw=math.radians(yaw)))
    _, got = conversions.heading_from_message(enu, 'enu_yaw')
    assert math.cos(got - math.radians(yaw)) == pytest.approx(1.0)


def test_a_device_turned_to_the_left_reads_too_much():
    m = N(header=HEADER, quaternion=quaternion(yaw=math.radians(100)))
    _, yaw = conversions.heading_from_message(m, 'enu_yaw', offset_deg=90)
    assert math.degrees(yaw) == pytest.approx(10)


def initial_pose(cov, frame='map'):
    pose = N(position=vector(1, 2, 0), orientation=quaternion(yaw=1.0))
    return N(header=N(stamp=STAMP, frame_id=frame), pose=N(pose=pose, covariance=cov.reshape(36)))


def test_the_pose_of_rviz_gets_defaults_where_it_says_nothing():
    cov = np.diag([0.25, 0.25, 0.0, 0.0, 0.0, 0.07])
    stamp, T, got = conversions.initial_pose_from_message(initial_pose(cov), 'map', 2.0, 10.0)
    assert stamp == NS
    assert se3.planar(T) == pytest.approx((1, 2, 1.0))
    tilt = math.radians(10) ** 2
    np.testing.assert_allclose(np.diag(got), [0.25, 0.25, 4.0, tilt, tilt, 0.07])


@pytest.mark.parametrize(
    ('message', 'text'),
    [
        (initial_pose(np.eye(6), 'odom'), "'odom', expected 'map'"),
        (initial_pose(np.full((6, 6), np.nan)), 'not finite'),
        (initial_pose(-np.eye(6)), 'not positive definite'),
    ],
)
def test_bad_initial_poses_are_refused(message, text):
    with pytest.raises(InputError, match=text):
        conversions.initial_pose_from_message(message, 'map')


def info(**changes):
    k = [100.0, 0.0, 80.0, 0.0, 110.0, 60.0, 0.0, 0.0, 1.0]
    message = N(
        width=160,
        height=120,
        distortion_model='plumb_bob',
        d=[0.1, 0.0, 0.0, 0.0, 0.0],
        k=k,
        r=np.eye(3).reshape(9),
        p=[90.0, 0.0, 79.0, 0.0, 0.0, 95.0, 59.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        binning_x=0,
        binning_y=0,
        roi=N(x_offset=0, y_offset=0, width=0, height=0),
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_camera_of_raw_and_rectified_images():
    raw = conversions.camera_from_info(info())
    assert (raw.width, raw.height, raw.fx, raw.fy) == (160, 120, 100.0, 110.0)
    assert raw.distortion
    rectified = conversions.camera_from_info(info(), rectified=True)
    assert (rectified.fx, rectified.fy, rectified.cx) == (90.0, 95.0, 79.0)
    assert not any(rectified.distortion)


def test_camera_info_of_ros_1_has_capitals():
    new = info()
    old = N(**{k.upper() if k in 'kdrp' else k: v for k, v in vars(new).items()})
    assert conversions.camera_from_info(old) == conversions.camera_from_info(new)


@pytest.mark.parametrize(
    'changes',
    [
        {'k': [0.0] * 9},
        {'distortion_model': 'crystal_ball'},
        {'binning_x': 2},
        {'roi': N(x_offset=10, y_offset=0, width=0, height=0)},
        {'k': [math.nan] * 9},
    ],
)
def test_calibrations_that_describe_no_camera_are_refused(changes):
    with pytest.raises(CalibrationError):
        conversions.camera_from_info(info(**changes))


def test_another_size_is_named():
    camera = conversions.camera_from_info(info())
    conversions.check_size('image', (120, 160, 3), camera)
    with pytest.raises(InputError, match='image is 160 x 119, camera_info is for 160 x 120'):
        conversions.check_size('image', (119, 160, 3), camera)


def test_a_camera_mounted_with_positive_pitch_looks_down_and_with_positive_yaw_left():
    T = conversions.camera_mount((1.0, 0.2, 1.5), (0.0, 0.3, 0.0))
    axis = T[:3, :3] @ [0, 0, 1]
    np.testing.assert_allclose(axis, [math.cos(0.3), 0, -math.sin(0.3)], atol=1e-12)
    np.testing.assert_allclose(T[:3, 3], [1.0, 0.2, 1.5])
    # Image right is the robot's right-hand side.
    np.testing.assert_allclose(T[:3, :3] @ [1, 0, 0], [0, -1, 0], atol=1e-12)
    left = conversions.camera_mount((0, 0, 0), (0, 0, math.pi / 2))[:3, :3] @ [0, 0, 1]
    np.testing.assert_allclose(left, [0, 1, 0], atol=1e-12)
