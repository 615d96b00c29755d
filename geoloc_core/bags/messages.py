# SPDX-License-Identifier: Apache-2.0
"""Builds the messages that bags are written with (rosbags' Jazzy types), without ROS.

Everything is cast to the exact type of its field here, so that callers may pass numpy scalars.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.geometry import se3

SECOND_NS = 1_000_000_000


@cache
def typestore() -> Any:
    """The message definitions of ROS 2 Jazzy."""
    from rosbags.typesys import get_typestore, Stores

    return get_typestore(Stores.ROS2_JAZZY)


def new(name: str, **fields: Any) -> Any:
    """A message of type `name` ('sensor_msgs/msg/Imu') with these fields, all of them required."""
    return typestore().types[name](**fields)


def time_msg(stamp_ns: int) -> Any:
    """builtin_interfaces/Time of a stamp."""
    seconds, nanoseconds = divmod(int(stamp_ns), SECOND_NS)
    return new('builtin_interfaces/msg/Time', sec=seconds, nanosec=nanoseconds)


def stamp_ns_of(message: Any) -> int | None:
    """Header stamp of a message of ROS 1 or 2, or None if it has no header."""
    header = getattr(message, 'header', None)
    if header is None:
        return None
    return int(header.stamp.sec) * SECOND_NS + int(header.stamp.nanosec)


def header_msg(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    return new('std_msgs/msg/Header', stamp=time_msg(stamp_ns), frame_id=frame_id)


def vector_msg(xyz: ArrayLike) -> Any:
    """geometry_msgs/Vector3 of (3,)."""
    x, y, z = (float(v) for v in np.asarray(xyz, dtype=np.float64))
    return new('geometry_msgs/msg/Vector3', x=x, y=y, z=z)


def quaternion_msg(rotation: NDArray[np.float64]) -> Any:
    """geometry_msgs/Quaternion of a (3, 3) rotation."""
    x, y, z, w = (float(v) for v in se3.quaternion_xyzw(rotation))
    return new('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)


def _pose_msg(T: NDArray[np.float64]) -> Any:
    x, y, z = (float(v) for v in T[:3, 3])
    return new(
        'geometry_msgs/msg/Pose',
        position=new('geometry_msgs/msg/Point', x=x, y=y, z=z),
        orientation=quaternion_msg(T[:3, :3]),
    )


def _flat(cov: ArrayLike | None, size: int, default: float) -> NDArray[np.float64]:
    matrix = np.eye(size) * default if cov is None else np.asarray(cov, dtype=np.float64)
    return np.ascontiguousarray(matrix.reshape(size * size), dtype=np.float64)


def image_msg(
    stamp_ns: int, image: NDArray, encoding: str = 'rgb8', frame_id: str = 'camera_optical_frame'
) -> Any:
    """sensor_msgs/Image of (H, W) or (H, W, C) pixels already in `encoding`."""
    pixels = np.ascontiguousarray(image)
    height, width = pixels.shape[:2]
    data = pixels.view(np.uint8).reshape(-1)
    return new(
        'sensor_msgs/msg/Image',
        header=header_msg(stamp_ns, frame_id),
        height=int(height),
        width=int(width),
        encoding=encoding,
        is_bigendian=0,
        step=int(data.size // height),
        data=data,
    )


def compressed_msg(
    stamp_ns: int, data: bytes, image_format: str = 'jpeg', frame_id: str = 'camera_optical_frame'
) -> Any:
    """sensor_msgs/CompressedImage of an encoded file's bytes."""
    return new(
        'sensor_msgs/msg/CompressedImage',
        header=header_msg(stamp_ns, frame_id),
        format=image_format,
        data=np.frombuffer(data, dtype=np.uint8),
    )


def camera_info_msg(
    stamp_ns: int,
    width: int,
    height: int,
    k: ArrayLike,
    d: Sequence[float] = (0.0,) * 5,
    model: str = 'plumb_bob',
    r: ArrayLike | None = None,
    p: ArrayLike | None = None,
    frame_id: str = 'camera_optical_frame',
) -> Any:
    """sensor_msgs/CameraInfo.

    Args:
        stamp_ns: Stamp, that of the image it belongs to.
        width: Image width, px.
        height: Image height, px.
        k: (3, 3) or (9,) camera matrix.
        d: Distortion coefficients of `model`.
        model: 'plumb_bob', 'rational_polynomial', 'equidistant' or 'equirectangular'.
        r: (3, 3) rectification; identity if None.
        p: (3, 4) projection of the rectified image; K with no offset if None.
        frame_id: The camera's optical frame.
    """
    camera = np.asarray(k, dtype=np.float64).reshape(3, 3)
    projection = np.hstack([camera, np.zeros((3, 1))]) if p is None else np.asarray(p, float)
    return new(
        'sensor_msgs/msg/CameraInfo',
        header=header_msg(stamp_ns, frame_id),
        height=int(height),
        width=int(width),
        distortion_model=model,
        d=np.asarray(d, dtype=np.float64),
        k=camera.reshape(9).copy(),
        r=_flat(r, 3, 1.0),
        p=np.ascontiguousarray(projection.reshape(12), dtype=np.float64),
        binning_x=0,
        binning_y=0,
        roi=new(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        ),
    )


def fix_msg(
    stamp_ns: int,
    lat_deg: float,
    lon_deg: float,
    alt_m: float,
    cov_enu: ArrayLike,
    status: int = 0,
    frame_id: str = 'gnss_link',
) -> Any:
    """sensor_msgs/NavSatFix of an antenna at `frame_id`; `cov_enu` (3, 3) m^2, known in full.

    `status` -1 says that the receiver has no fix.
    """
    return new(
        'sensor_msgs/msg/NavSatFix',
        header=header_msg(stamp_ns, frame_id),
        status=new('sensor_msgs/msg/NavSatStatus', status=int(status), service=1),
        latitude=float(lat_deg),
        longitude=float(lon_deg),
        altitude=float(alt_m),
        position_covariance=_flat(cov_enu, 3, 1.0),
        position_covariance_type=3,
    )


def odometry_msg(
    stamp_ns: int,
    T: NDArray[np.float64],
    linear: ArrayLike = (0.0, 0.0, 0.0),
    angular: ArrayLike = (0.0, 0.0, 0.0),
    pose_cov: ArrayLike | None = None,
    twist_cov: ArrayLike | None = None,
    frame_id: str = 'odom',
    child_frame_id: str = 'base_link',
) -> Any:
    """nav_msgs/Odometry of T_frame_child (4, 4) with the twist in the child's axes.

    Covariances are (6, 6); 1e-4 on the diagonal where None.
    """
    return new(
        'nav_msgs/msg/Odometry',
        header=header_msg(stamp_ns, frame_id),
        child_frame_id=child_frame_id,
        pose=new(
            'geometry_msgs/msg/PoseWithCovariance',
            pose=_pose_msg(T),
            covariance=_flat(pose_cov, 6, 1e-4),
        ),
        twist=new(
            'geometry_msgs/msg/TwistWithCovariance',
            twist=new(
                'geometry_msgs/msg/Twist', linear=vector_msg(linear), angular=vector_msg(angular)
            ),
            covariance=_flat(twist_cov, 6, 1e-4),
        ),
    )


def imu_msg(
    stamp_ns: int,
    angular: ArrayLike,
    acceleration: ArrayLike,
    rotation: NDArray[np.float64] | None = None,
    frame_id: str = 'imu_link',
) -> Any:
    """sensor_msgs/Imu in the device's axes.

    Args:
        stamp_ns: Stamp.
        angular: (3,) rad/s.
        acceleration: (3,) m/s^2, +9.8 on z at rest.
        rotation: (3, 3) R_world_imu, or None where the device gives none (covariance[0] = -1).
        frame_id: The device's frame.
    """
    orientation_cov = _flat(None, 3, 1e-4)
    if rotation is None:
        orientation_cov[0] = -1.0
    return new(
        'sensor_msgs/msg/Imu',
        header=header_msg(stamp_ns, frame_id),
        orientation=quaternion_msg(np.eye(3) if rotation is None else rotation),
        orientation_covariance=orientation_cov,
        angular_velocity=vector_msg(angular),
        angular_velocity_covariance=_flat(None, 3, 1e-4),
        linear_acceleration=vector_msg(acceleration),
        linear_acceleration_covariance=_flat(None, 3, 1e-2),
    )


def static_transforms_msg(
    stamp_ns: int, transforms: Sequence[tuple[str, str, NDArray[np.float64]]]
) -> Any:
    """tf2_msgs/TFMessage of (parent, child, T_parent_child (4, 4)) entries."""
    return new(
        'tf2_msgs/msg/TFMessage',
        transforms=[
            new(
                'geometry_msgs/msg/TransformStamped',
                header=header_msg(stamp_ns, parent),
                child_frame_id=child,
                transform=new(
                    'geometry_msgs/msg/Transform',
                    translation=vector_msg(T[:3, 3]),
                    rotation=quaternion_msg(T[:3, :3]),
                ),
            )
            for parent, child, T in transforms
        ],
    )
