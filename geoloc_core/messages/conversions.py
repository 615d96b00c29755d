# SPDX-License-Identifier: Apache-2.0
"""Messages into geoloc's records: the one door where ROS conventions become ours.

Nothing here imports ROS: a function takes anything with the fields of its message, from rclpy or
from rosbags (ROS 1 or ROS 2). What cannot be used raises `InputError` or `CalibrationError`
with a text that names the value. The way out is `geoloc_ros/messages.py`.
"""

from dataclasses import replace
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import CalibrationError, InputError
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import AbstractCamera, camera_from_calibration
from geoloc_core.types import GnssFix, ImuSample, OdometrySample

Array = NDArray[np.float64]

# Camera body (x forward, y left, z up) <- optical frame (z forward, x right, y down), REP-103.
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

HEADING_CONVENTIONS = ('enu_yaw', 'ned_heading')

# Far beyond what a pose in a local frame can be; catches damaged floats before they spread.
MAX_COORDINATE_M = 1e7


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time.

    Raises:
        InputError: The stamp is zero (never set) or negative.
    """
    value = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
    if value <= 0:
        raise InputError('the header carries no stamp (zero)')
    return value


def gnss_from_fix(
    message: Any,
    antenna_in_base: Array | None = None,
    default_std_m: float = 5.0,
    min_std_m: float = 0.01,
) -> GnssFix | None:
    """A fix out of sensor_msgs/NavSatFix.

    Args:
        message: NavSatFix.
        antenna_in_base: (3,) m, or None to leave it to the localizer's configuration.
        default_std_m: Taken where the message gives no covariance (type 0, or zeros), per
            horizontal axis; twice that vertically.
        min_std_m: Floor per axis: some drivers report millimetres they do not have.

    Returns:
        The fix, or None when the receiver says that it has none (status -1).

    Raises:
        InputError: Position not finite or out of range, or a covariance that is not finite or
            not positive definite.
    """
    if int(message.status.status) < 0:
        return None
    lat, lon, alt = float(message.latitude), float(message.longitude), float(message.altitude)
    if not (math.isfinite(lat) and math.isfinite(lon)):
        raise InputError(f'fix is not finite: latitude {lat}, longitude {lon}')
    if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
        raise InputError(f'fix is out of range: latitude {lat}, longitude {lon}')
    if math.isinf(alt) or abs(alt) > 1e5:
        raise InputError(f'fix is out of range: altitude {alt} m')
    cov = _fix_covariance(message, default_std_m)
    floor = min_std_m**2
    cov = cov + np.diag(np.maximum(floor - np.diag(cov), 0.0))
    return GnssFix(stamp_ns(message.header.stamp), lat, lon, alt, cov, antenna_in_base)


def with_antenna(fix: GnssFix, antenna_in_base: Array) -> GnssFix:
    """The fix with its lever arm (3,), m in base_link."""
    return replace(fix, antenna_in_base=np.asarray(antenna_in_base, dtype=np.float64))


def _fix_covariance(message: Any, default_std_m: float) -> Array:
    """(3, 3) ENU m^2. Convention of NavSatFix: row-major, east north up."""
    cov = np.array(message.position_covariance, dtype=np.float64).reshape(3, 3)
    kind = int(message.position_covariance_type)
    default = np.diag([default_std_m**2, default_std_m**2, (2 * default_std_m) ** 2])
    if kind == 0:
        return default
    if not np.isfinite(cov).all():
        raise InputError(f'covariance of the fix is not finite: {cov.tolist()}')
    if not cov.any():
        return default
    if kind in (1, 2):
        cov = np.diag(np.diag(cov))
    cov = (cov + cov.T) / 2
    # A zero vertical variance beside true horizontal ones means "not given".
    if cov[2, 2] == 0.0:
        cov[2, :] = cov[:, 2] = 0.0
        cov[2, 2] = default[2, 2]
    if np.linalg.eigvalsh(cov).min() <= 0:
        raise InputError(f'covariance of the fix is not positive definite: {cov.tolist()}')
    return cov


def odometry_from_message(message: Any, base_frame: str = '') -> OdometrySample:
    """A sample out of nav_msgs/Odometry.

    Args:
        message: Odometry; its twist is in the child frame, as the message defines it.
        base_frame: Name of base_link; '' takes whatever the message is of.

    Raises:
        InputError: Pose or twist not finite, no rotation, or odometry of another frame.
    """
    child = str(message.child_frame_id).lstrip('/')
    if base_frame and child and child != base_frame:
        raise InputError(
            f'odometry is of frame {child!r}, expected {base_frame!r}: set frames.base to it'
        )
    pose = message.pose.pose
    linear = _xyz(message.twist.twist.linear, 'linear velocity')
    angular = _xyz(message.twist.twist.angular, 'angular velocity')
    return OdometrySample(
        stamp_ns(message.header.stamp), transform_from_pose(pose), linear, angular
    )


def imu_from_message(message: Any, R_base_imu: Array) -> ImuSample:
    """A sample out of sensor_msgs/Imu, turned into base_link axes.

    Args:
        message: Imu. By its definition a first covariance element of -1 means "not measured".
        R_base_imu: (3, 3) device axes -> base_link.

    Raises:
        InputError: No angular velocity, or values that are not finite.
    """
    if float(message.angular_velocity_covariance[0]) == -1.0:
        raise InputError('imu reports no angular velocity (covariance[0] is -1)')
    angular = R_base_imu @ _xyz(message.angular_velocity, 'angular velocity')
    acceleration = None
    if float(message.linear_acceleration_covariance[0]) != -1.0:
        acceleration = R_base_imu @ _xyz(message.linear_acceleration, 'linear acceleration')
    orientation = None
    q = message.orientation
    xyzw = np.array([q.x, q.y, q.z, q.w], dtype=np.float64)
    if float(message.orientation_covariance[0]) != -1.0 and xyzw.any():
        orientation = _rotation(xyzw) @ R_base_imu.T
    return ImuSample(stamp_ns(message.header.stamp), angular, acceleration, orientation)


def heading_from_message(
    message: Any, convention: str = 'enu_yaw', offset_deg: float = 0.0
) -> tuple[int, float]:
    """(stamp_ns, yaw in rad) out of geometry_msgs/QuaternionStamped.

    Args:
        message: The rotation about z is the heading.
        convention: 'enu_yaw' (REP-103: 0 = east, counter-clockwise) or 'ned_heading' (the raw
            compass angle, 0 = north, clockwise, as nmea_navsat_driver publishes it).
        offset_deg: Mounting of the device: its heading minus the robot's, counter-clockwise.

    Raises:
        InputError: Not a rotation.
    """
    q = message.quaternion
    R = _rotation(np.array([q.x, q.y, q.z, q.w], dtype=np.float64))
    angle = math.atan2(R[1, 0], R[0, 0])
    if convention == 'ned_heading':
        angle = float(angles.yaw_from_heading_deg(math.degrees(angle)))
    elif convention != 'enu_yaw':
        raise InputError(f'heading convention {convention!r}: expected {HEADING_CONVENTIONS}')
    return stamp_ns(message.header.stamp), float(angles.wrap(angle - math.radians(offset_deg)))


def initial_pose_from_message(
    message: Any, map_frame: str, default_std_m: float = 2.0, default_std_deg: float = 10.0
) -> tuple[int, Array, Array]:
    """(stamp_ns, T_map_base, cov (6, 6)) out of geometry_msgs/PoseWithCovarianceStamped.

    Axes without variance (RViz gives x, y and yaw only) take the default.

    Raises:
        InputError: In another frame, not finite, or a covariance that is not one.
    """
    frame = str(message.header.frame_id).lstrip('/')
    if frame != map_frame:
        raise InputError(f'initial pose is in frame {frame!r}, expected {map_frame!r}')
    T = transform_from_pose(message.pose.pose)
    cov = np.array(message.pose.covariance, dtype=np.float64).reshape(6, 6)
    if not np.isfinite(cov).all():
        raise InputError('covariance of the initial pose is not finite')
    cov = (cov + cov.T) / 2
    default = np.array([default_std_m] * 3 + [math.radians(default_std_deg)] * 3) ** 2
    for axis in np.flatnonzero(np.diag(cov) == 0.0):
        cov[axis, :] = cov[:, axis] = 0.0
        cov[axis, axis] = default[axis]
    if np.linalg.eigvalsh(cov).min() <= 0:
        raise InputError('covariance of the initial pose is not positive definite')
    return stamp_ns(message.header.stamp), T, cov


def camera_from_info(message: Any, rectified: bool = False) -> AbstractCamera:
    """The camera that sensor_msgs/CameraInfo (ROS 1 or 2) describes.

    Args:
        message: CameraInfo.
        rectified: The images are rectified: use P, and no distortion.

    Raises:
        CalibrationError: Not calibrated (zero K), cropped or binned, or an unknown model.
    """
    k = np.array(_either(message, 'k', 'K'), dtype=np.float64).reshape(9)
    d = np.array(_either(message, 'd', 'D'), dtype=np.float64).reshape(-1)
    r = np.array(_either(message, 'r', 'R'), dtype=np.float64).reshape(9)
    p = np.array(_either(message, 'p', 'P'), dtype=np.float64).reshape(12)
    if int(message.binning_x) > 1 or int(message.binning_y) > 1:
        raise CalibrationError(
            f'camera_info describes binning {message.binning_x} x {message.binning_y}: publish '
            'the calibration of the image as it is sent'
        )
    roi = message.roi
    if int(roi.x_offset) or int(roi.y_offset):
        raise CalibrationError(
            f'camera_info describes a crop at ({roi.x_offset}, {roi.y_offset}): publish the '
            'calibration of the image as it is sent'
        )
    width, height = int(message.width), int(message.height)
    model = str(message.distortion_model)
    if rectified:
        k_rect = p.reshape(3, 4)[:, :3].reshape(9)
        return camera_from_calibration('plumb_bob', width, height, k_rect, np.zeros(0))
    return camera_from_calibration(model, width, height, k, d, r, p)


def check_size(what: str, shape: tuple[int, ...], camera: AbstractCamera) -> None:
    """Refuses a picture that is not of the camera's size.

    Raises:
        InputError: Sizes differ.
    """
    if shape[:2] != (camera.height, camera.width):
        raise InputError(
            f'{what} is {shape[1]} x {shape[0]}, camera_info is for '
            f'{camera.width} x {camera.height}'
        )


def camera_mount(xyz: Any, rpy: Any) -> Array:
    """T_base_camera (4, 4) of an optical frame from a mount given as numbers.

    Convention: `xyz` (m) and `rpy` (rad) place the camera *body* (x forward, y left, z up) in
    base_link: rpy 0 0 0 looks straight ahead, a positive pitch looks down, a positive yaw left.
    """
    T_base_body = se3.from_xyz_rpy(*(float(v) for v in xyz), *(float(v) for v in rpy))
    return T_base_body @ se3.make(R_BODY_OPTICAL, np.zeros(3))


def transform_from_pose(pose: Any) -> Array:
    """(4, 4) of a geometry_msgs/Pose.

    Raises:
        InputError: Not finite, or not a rotation.
    """
    q = pose.orientation
    xyz = _xyz(pose.position, 'position')
    if np.abs(xyz).max() > MAX_COORDINATE_M:
        raise InputError(f'position is impossible: {xyz.tolist()}')
    return se3.make(_rotation(np.array([q.x, q.y, q.z, q.w], dtype=np.float64)), xyz)


def transform_from_message(transform: Any) -> Array:
    """(4, 4) of a geometry_msgs/Transform.

    Raises:
        InputError: Not finite, or not a rotation.
    """
    q = transform.rotation
    xyz = _xyz(transform.translation, 'translation')
    return se3.make(_rotation(np.array([q.x, q.y, q.z, q.w], dtype=np.float64)), xyz)


def _rotation(xyzw: Array) -> Array:
    norm = float(np.linalg.norm(xyzw))
    if not math.isfinite(norm) or abs(norm - 1.0) > 0.05:
        raise InputError(f'quaternion {xyzw.tolist()} is not a rotation (length {norm:.3g})')
    return np.asarray(se3.from_quaternion(np.zeros(3), xyzw / norm))[:3, :3]


def _xyz(vector: Any, what: str) -> Array:
    xyz = np.array([vector.x, vector.y, vector.z], dtype=np.float64)
    if not np.isfinite(xyz).all():
        raise InputError(f'{what} is not finite: {xyz.tolist()}')
    return xyz


def _either(message: Any, ros2: str, ros1: str) -> Any:
    """CameraInfo's matrices are lower case in ROS 2 and upper case in ROS 1."""
    return getattr(message, ros2) if hasattr(message, ros2) else getattr(message, ros1)
