# SPDX-License-Identifier: Apache-2.0
"""map -> odom on /tf where that is possible, and a watch over others who publish it.

tf2_msgs comes with every ROS installation but is not among the wheels, and /tf cannot be spoken
without it. Where it is missing geoloc says so, takes extrinsics from parameters and publishes the
transform on a topic of its own. tf2_ros is not needed: on the wire, TF is two topics.
"""

from collections import deque
from typing import Any


def tf_message_type() -> type | None:
    """tf2_msgs/TFMessage, or None where tf2_msgs is not installed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return None
    return TFMessage


class AuthorityWatch:
    """Notices somebody else publishing map -> odom.

    Args:
        map_frame: Parent frame.
        odom_frame: Child frame.
    """

    def __init__(self, map_frame: str, odom_frame: str) -> None:
        self._frames = (map_frame, odom_frame)
        self._own: deque[tuple[int, float, float]] = deque(maxlen=1000)
        self.foreign = 0

    def published(self, stamped: Any) -> None:
        """Remembers a transform of our own (a TransformStamped about to be published)."""
        self._own.append(self._key(stamped))

    def seen(self, message: Any) -> bool:
        """Whether a TFMessage holds map -> odom that we did not send."""
        foreign = False
        for stamped in message.transforms:
            frames = (stamped.header.frame_id.lstrip('/'), stamped.child_frame_id.lstrip('/'))
            if frames == self._frames and self._key(stamped) not in self._own:
                foreign = True
        self.foreign += foreign
        return foreign

    @staticmethod
    def _key(stamped: Any) -> tuple[int, float, float]:
        stamp = stamped.header.stamp
        at = stamped.transform.translation
        return int(stamp.sec) * 10**9 + int(stamp.nanosec), float(at.x), float(at.y)
