# SPDX-License-Identifier: Apache-2.0
"""What is published arrives as it was meant: through the real serialization, with odd types."""

import numpy as np
import pytest

pytest.importorskip('rclpy')

from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.types import PoseEstimate, Status
from geoloc_ros import messages

STAMP = 1_700_000_000_123_456_789


def through(message):
    return deserialize_message(serialize_message(message), type(message))


def estimate(dtype=np.float64, order='C'):
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 6))
    cov = np.asarray(root @ root.T + np.eye(6), dtype=dtype, order=order)
    T = se3.from_xyz_rpy(10.5, -20.25, 3.0, 0.1, -0.2, 2.5)
    return PoseEstimate(
        STAMP, Status.OK, (), T, cov, np.array([1, 2, 3], dtype=dtype), np.array([4, 5, 6])
    )


def test_the_check_of_fields_is_on():
    with pytest.raises(AssertionError):
        messages.NavSatFix(latitude=1)


@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_pose_keeps_stamp_pose_and_covariance(dtype, order):
    e = estimate(dtype, order)
    got = through(messages.pose_message(e, 'map'))
    assert (got.header.stamp.sec, got.header.stamp.nanosec) == divmod(STAMP, 10**9)
    assert got.header.frame_id == 'map'
    assert (got.pose.pose.position.x, got.pose.pose.position.y) == (10.5, -20.25)
    np.testing.assert_array_equal(np.array(got.pose.covariance).reshape(6, 6), e.cov)
    q = got.pose.pose.orientation
    R = se3.from_quaternion(np.zeros(3), [q.x, q.y, q.z, q.w])[:3, :3]
    np.testing.assert_allclose(R, e.T_map_base[:3, :3], atol=1e-12)


@pytest.mark.parametrize('cov', [np.eye(3), np.full((6, 6), np.nan), np.diag([np.inf] * 6)])
def test_a_covariance_that_is_none_is_never_published(cov):
    with pytest.raises(ValueError, match='finite'):
        messages.covariance(cov)


def test_odometry_and_fix():
    e = estimate()
    got = through(messages.odometry_message(e, 'map', 'base_link'))
    twist = got.twist.twist
    assert (twist.linear.x, twist.linear.z, twist.angular.y) == (1.0, 3.0, 5.0)
    assert got.child_frame_id == 'base_link'
    assert np.isfinite(got.twist.covariance).all()
    frame = EnuFrame(Datum(48.5, 9.25, 300.0))
    fix = through(messages.fix_message(e, frame, 'base_link'))
    back = frame.enu_from_geodetic(fix.latitude, fix.longitude, fix.altitude)
    np.testing.assert_allclose(back, [10.5, -20.25, 3.0], atol=1e-6)
    np.testing.assert_allclose(np.array(fix.position_covariance).reshape(3, 3), e.cov[:3, :3])


def test_datum_transform_and_path():
    got = through(messages.datum_message(Datum(-33, 151, 20), STAMP, 'map'))
    assert (got.latitude, got.longitude, got.altitude) == (-33.0, 151.0, 20.0)
    T = se3.from_xyz_rpy(1, 2, 3, 0, 0, 1)
    got = through(messages.transform_message(T, STAMP, 'map', 'odom'))
    assert got.transform.translation.y == 2.0
    poses = [messages.pose_stamped(estimate(), 'map')] * 2
    assert len(through(messages.path_message(poses, STAMP, 'map')).poses) == 2


def test_image_of_a_view_that_is_not_contiguous():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 14, 3), dtype=np.uint8)[:, ::2]
    got = through(messages.image_message(rgb, STAMP, 'map'))
    assert (got.width, got.height, got.step) == (7, 5, 21)
    np.testing.assert_array_equal(np.frombuffer(got.data, np.uint8).reshape(5, 7, 3), rgb)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_survive(stamp):
    got = through(messages.time_message(np.int64(stamp)))
    assert got.sec * 10**9 + got.nanosec == stamp


@pytest.mark.parametrize('value', [1, 2.5, np.float32(3), np.int64(4), 'x', float('nan'), None])
def test_diagnostic_values_of_any_type(value):
    status = messages.diagnostic_status('a', messages.OK, 'b', {'k': value})
    assert through(messages.diagnostic_array([status], STAMP)).status[0].values[0].key == 'k'
