# SPDX-License-Identifier: Apache-2.0
"""geoloc's records into ROS messages: the way out. The way in is `conversions.py`.

rclpy's setters do not check types and its C side then reads raw memory, so every value is cast
here: float(), int(), and covariances as flat lists of 36 (a (6, 6) array would publish garbage).
"""

import array
import math
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseStamped,
    PoseWithCovarianceStamped,
    Quaternion,
    TransformStamped,
)
from nav_msgs.msg import Odometry, Path
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sensor_msgs.msg import Image, NavSatFix, NavSatStatus
from std_msgs.msg import Header

from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.types import PoseEstimate

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)

# The estimate carries velocities without a covariance: large, but bounded, claims nothing.
UNKNOWN_VARIANCE = 1e6


def time_message(stamp_ns: int) -> Time:
    """builtin_interfaces/Time of nanoseconds."""
    sec, nanosec = divmod(int(stamp_ns), 10**9)
    return Time(sec=int(sec), nanosec=int(nanosec))


def header(stamp_ns: int, frame_id: str) -> Header:
    """std_msgs/Header."""
    return Header(stamp=time_message(stamp_ns), frame_id=str(frame_id))


def quaternion(R: ArrayLike) -> Quaternion:
    """geometry_msgs/Quaternion of a (3, 3) rotation."""
    x, y, z, w = (float(v) for v in se3.quaternion_xyzw(np.asarray(R)))
    return Quaternion(x=x, y=y, z=z, w=w)


def pose(T: ArrayLike) -> Pose:
    """geometry_msgs/Pose of (4, 4)."""
    T = np.asarray(T, dtype=np.float64)
    x, y, z = (float(v) for v in T[:3, 3])
    return Pose(position=Point(x=x, y=y, z=z), orientation=quaternion(T[:3, :3]))


def covariance(cov: ArrayLike) -> list[float]:
    """36 numbers, row-major, of a (6, 6) covariance.

    Raises:
        ValueError: Another shape, or not finite: such a thing must never be published.
    """
    cov = np.asarray(cov, dtype=np.float64)
    if cov.shape != (6, 6) or not np.isfinite(cov).all():
        raise ValueError(f'covariance to publish must be finite (6, 6), got {cov.tolist()}')
    return [float(v) for v in cov.reshape(36)]


def pose_message(estimate: PoseEstimate, map_frame: str) -> PoseWithCovarianceStamped:
    """The pose of an estimate that has one, at its own stamp."""
    message = PoseWithCovarianceStamped(header=header(estimate.stamp_ns, map_frame))
    message.pose.pose = pose(estimate.T_map_base)
    message.pose.covariance = covariance(estimate.cov)
    return message


def pose_stamped(estimate: PoseEstimate, map_frame: str) -> PoseStamped:
    """The pose without covariance, for a path."""
    return PoseStamped(header=header(estimate.stamp_ns, map_frame), pose=pose(estimate.T_map_base))


def odometry_message(estimate: PoseEstimate, map_frame: str, base_frame: str) -> Odometry:
    """Pose in the map and velocity in the base frame."""
    message = Odometry(header=header(estimate.stamp_ns, map_frame), child_frame_id=str(base_frame))
    message.pose.pose = pose(estimate.T_map_base)
    message.pose.covariance = covariance(estimate.cov)
    twist = message.twist.twist
    if estimate.linear is not None:
        twist.linear.x, twist.linear.y, twist.linear.z = (float(v) for v in estimate.linear)
    if estimate.angular is not None:
        twist.angular.x, twist.angular.y, twist.angular.z = (float(v) for v in estimate.angular)
    message.twist.covariance = covariance(np.eye(6) * UNKNOWN_VARIANCE)
    return message


def fix_message(estimate: PoseEstimate, frame: EnuFrame, base_frame: str) -> NavSatFix:
    """Where base_link is on the globe, with its covariance (ENU at the datum)."""
    lat, lon, alt = frame.geodetic_from_enu(np.asarray(estimate.T_map_base)[:3, 3])
    message = NavSatFix(header=header(estimate.stamp_ns, base_frame))
    message.status.status = NavSatStatus.STATUS_FIX
    message.status.service = NavSatStatus.SERVICE_GPS
    message.latitude, message.longitude, message.altitude = float(lat), float(lon), float(alt)
    cov = np.asarray(estimate.cov, dtype=np.float64)[:3, :3]
    message.position_covariance = [float(v) for v in cov.reshape(9)]
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_KNOWN
    return message


def datum_message(datum: Datum, stamp_ns: int, map_frame: str) -> NavSatFix:
    """Origin of the map frame. It is a definition, not a measurement: covariance unknown."""
    message = NavSatFix(header=header(stamp_ns, map_frame))
    message.status.status = NavSatStatus.STATUS_FIX
    message.latitude = float(datum.lat_deg)
    message.longitude = float(datum.lon_deg)
    message.altitude = float(datum.alt_m)
    return message


def transform_message(T: ArrayLike, stamp_ns: int, parent: str, child: str) -> TransformStamped:
    """geometry_msgs/TransformStamped of T_parent_child (4, 4)."""
    T = np.asarray(T, dtype=np.float64)
    message = TransformStamped(header=header(stamp_ns, parent), child_frame_id=str(child))
    at = message.transform.translation
    at.x, at.y, at.z = (float(v) for v in T[:3, 3])
    message.transform.rotation = quaternion(T[:3, :3])
    return message


def path_message(poses: list[PoseStamped], stamp_ns: int, map_frame: str) -> Path:
    """nav_msgs/Path."""
    return Path(header=header(stamp_ns, map_frame), poses=list(poses))


def image_message(rgb: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """sensor_msgs/Image, rgb8, of (H, W, 3) uint8."""
    rgb = np.ascontiguousarray(rgb, dtype=np.uint8)
    height, width = (int(n) for n in rgb.shape[:2])
    # Any other type than array.array costs up to a thousand times more in the setter.
    data = array.array('B')
    data.frombytes(memoryview(rgb.reshape(-1)))
    return Image(
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding='rgb8',
        is_bigendian=0,
        step=width * 3,
        data=data,
    )


def diagnostic_status(
    name: str, level: bytes, message: str, values: dict[str, Any], hardware_id: str = ''
) -> DiagnosticStatus:
    """diagnostic_msgs/DiagnosticStatus; numbers are written short."""
    return DiagnosticStatus(
        level=level,
        name=str(name),
        message=str(message),
        hardware_id=str(hardware_id),
        values=[KeyValue(key=str(k), value=_text(v)) for k, v in values.items()],
    )


def diagnostic_array(statuses: list[DiagnosticStatus], stamp_ns: int) -> DiagnosticArray:
    """diagnostic_msgs/DiagnosticArray."""
    return DiagnosticArray(header=header(stamp_ns, ''), status=list(statuses))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.4g}' if math.isfinite(value) else str(value)
    return str(value)
