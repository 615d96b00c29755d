# SPDX-License-Identifier: Apache-2.0
"""The names that bags written by geoloc use; other people's bags are searched by message type."""

from collections.abc import Iterable
from dataclasses import dataclass

from geoloc_core.errors import BagError

IMAGE = '/camera/image_raw'
COMPRESSED = '/camera/image_raw/compressed'
CAMERA_INFO = '/camera/camera_info'
DEPTH = '/camera/depth/image'
COMPRESSED_DEPTH = '/camera/depth/image/compressedDepth'
DEPTH_INFO = '/camera/depth/camera_info'
FIX = '/gnss/fix'
ODOMETRY = '/odom'
IMU = '/imu/data'
TRUTH = '/ground_truth/odometry'
TRUTH_DATUM = '/ground_truth/datum'
TF_STATIC = '/tf_static'

MAP_FRAME = 'map'
ODOM_FRAME = 'odom'
BASE_FRAME = 'base_link'
CAMERA_FRAME = 'camera_optical_frame'
DEPTH_FRAME = 'depth_optical_frame'
GNSS_FRAME = 'gnss_link'
IMU_FRAME = 'imu_link'

LATCHED = frozenset({TF_STATIC, TRUTH_DATUM})

# What geoloc looks for in a bag, and the message types that can be it.
KINDS: dict[str, tuple[str, ...]] = {
    'image': ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'),
    'camera_info': ('sensor_msgs/msg/CameraInfo',),
    'depth': ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'),
    'depth_info': ('sensor_msgs/msg/CameraInfo',),
    'fix': ('sensor_msgs/msg/NavSatFix',),
    'odometry': ('nav_msgs/msg/Odometry',),
    'imu': ('sensor_msgs/msg/Imu',),
    'truth': ('nav_msgs/msg/Odometry', 'geometry_msgs/msg/PoseStamped'),
    'truth_datum': ('sensor_msgs/msg/NavSatFix',),
}


@dataclass(frozen=True)
class TopicChoice:
    """Topics that the user names; found by type where None."""

    image: str | None = None
    camera_info: str | None = None
    depth: str | None = None
    depth_info: str | None = None
    fix: str | None = None
    odometry: str | None = None
    imu: str | None = None
    truth: str | None = None

    @staticmethod
    def of(pairs: Iterable[str]) -> 'TopicChoice':
        """From 'kind=/topic' strings of a command line.

        Raises:
            BagError: Not such a pair, or an unknown kind.
        """
        chosen: dict[str, str] = {}
        for pair in pairs:
            kind, _, topic = pair.partition('=')
            if kind not in TopicChoice.__dataclass_fields__ or not topic:
                raise BagError(
                    f'{pair!r}: expected KIND=/topic with KIND one of '
                    f'{", ".join(TopicChoice.__dataclass_fields__)}'
                )
            chosen[kind] = topic
        return TopicChoice(**chosen)
