# SPDX-License-Identifier: Apache-2.0
"""Everything the node says: topics, /tf, the overlay. Made at configure, gone at cleanup."""

from collections import deque
from collections.abc import Mapping
import math
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import (
    PoseStamped,
    PoseWithCovarianceStamped,
    TransformStamped,
)
from nav_msgs.msg import Odometry, Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, NavSatFix

from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.types import PoseEstimate, Status
from geoloc_ros import messages
from geoloc_ros.frames import FrameReport, INTERNAL_ERROR
from geoloc_ros.transforms import AuthorityWatch, tf_message_type

RELIABLE_10 = QoSProfile(depth=10)
STATUS_QOS = QoSProfile(depth=100)
LATCHED = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
TF_QOS = QoSProfile(depth=100)


class Outputs:
    """The publishers of a node.

    Args:
        node: On which to publish.
        params: All parameters.
    """

    def __init__(self, node: LifecycleNode, params: Mapping[str, Any]) -> None:
        self._node = node
        self._map = params['frames.map']
        self._odom = params['frames.odom']
        self._base = params['frames.base']
        self._path_step_m = params['output.path_step_m']
        self._match_image_period_s = 1.0 / params['output.match_image_rate_hz']
        self._tf_tolerance_ns = int(params['output.tf_tolerance_s'] * 1e9)
        self._pose = node.create_lifecycle_publisher(
            PoseWithCovarianceStamped, '~/pose', RELIABLE_10
        )
        self._odometry = node.create_lifecycle_publisher(Odometry, '~/odometry', RELIABLE_10)
        self._fix = node.create_lifecycle_publisher(NavSatFix, '~/fix', RELIABLE_10)
        self._path = node.create_lifecycle_publisher(Path, '~/path', LATCHED)
        self._datum = node.create_lifecycle_publisher(NavSatFix, '~/datum', LATCHED)
        self._match_image = node.create_lifecycle_publisher(Image, '~/match_image', 1)
        self._map_to_odom = node.create_lifecycle_publisher(
            TransformStamped, '~/map_to_odom', RELIABLE_10
        )
        self._status = node.create_lifecycle_publisher(DiagnosticArray, '~/status', STATUS_QOS)
        self._tf_message = tf_message_type() if params['output.publish_tf'] else None
        self._tf = (
            node.create_lifecycle_publisher(self._tf_message, '/tf', TF_QOS)
            if self._tf_message is not None
            else None
        )
        self.authority = AuthorityWatch(self._map, self._odom)
        self._lock = threading.Lock()
        self._poses: deque[PoseStamped] = deque(maxlen=params['output.path_length'])
        self._path_changed = False
        self._shown_datum: Datum | None = None
        self._last_overlay = -math.inf
        self._last_odometry_ns = 0

    @property
    def tf_state(self) -> str:
        """For diagnostics: whether /tf is published."""
        if self._tf is not None:
            return 'published'
        if tf_message_type() is None:
            return 'disabled (tf2_msgs missing)'
        return 'disabled (output.publish_tf is false)'

    def destroy(self) -> None:
        """Takes the publishers down."""
        for publisher in (
            self._pose,
            self._odometry,
            self._fix,
            self._path,
            self._datum,
            self._match_image,
            self._map_to_odom,
            self._status,
            self._tf,
        ):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)

    def restart(self) -> None:
        """Forgets the path and what has been shown (reset, or activated again)."""
        with self._lock:
            self._poses.clear()
            self._path_changed = True
            self._shown_datum = None
            self._last_odometry_ns = 0

    def pose(self, report: FrameReport) -> None:
        """The pose that answers an image, if there is one."""
        estimate = report.estimate
        if estimate is not None and estimate.T_map_base is not None:
            self._pose.publish(messages.pose_message(estimate, self._map))

    def status(self, report: FrameReport) -> None:
        """One DiagnosticArray a frame, stamped as the frame."""
        level = messages.WARN
        if report.status == Status.OK.name:
            level = messages.OK
        elif report.status == INTERNAL_ERROR:
            level = messages.ERROR
        text = '; '.join(report.reasons)
        meaning = Status[report.status].value if report.status in Status.__members__ else text
        values: dict[str, Any] = {'status': report.status, 'reasons': text}
        if report.estimate is not None:
            values['estimate_status'] = report.estimate.status.name
        if report.depth != 'off':
            values['depth'] = report.depth
        values |= report.timings_ms
        status = messages.diagnostic_status('geoloc: frame', level, meaning, values)
        self._status.publish(messages.diagnostic_array([status], report.stamp_ns))

    def overlay(self, report: FrameReport) -> None:
        """The picture of a match; drawn only while somebody listens, and not too often."""
        estimate = report.estimate
        if estimate is None or estimate.measurement is None or report.view is None:
            return
        now = time.monotonic()
        if now - self._last_overlay < self._match_image_period_s:
            return
        if not self._match_image.get_subscription_count():
            return
        self._last_overlay = now
        from geoloc_core.visualization.overlay import match_image

        picture = match_image(report.view, estimate.measurement, estimate)
        self._match_image.publish(messages.image_message(picture, report.stamp_ns, self._map))

    def propagated(self, estimate: PoseEstimate, frame: EnuFrame | None) -> None:
        """~/odometry, ~/fix and the path, of an estimate at the present."""
        if estimate.T_map_base is None or estimate.stamp_ns <= self._last_odometry_ns:
            return
        self._last_odometry_ns = estimate.stamp_ns
        self._odometry.publish(messages.odometry_message(estimate, self._map, self._base))
        if frame is not None:
            self._fix.publish(messages.fix_message(estimate, frame, self._base))
        self._extend_path(estimate)

    def _extend_path(self, estimate: PoseEstimate) -> None:
        x, y = (float(v) for v in estimate.T_map_base[:2, 3])
        with self._lock:
            if self._poses:
                last = self._poses[-1].pose.position
                if math.hypot(x - last.x, y - last.y) < self._path_step_m:
                    return
            self._poses.append(messages.pose_stamped(estimate, self._map))
            self._path_changed = True

    def path(self, stamp_ns: int) -> None:
        """~/path, if it has changed since the last call."""
        with self._lock:
            if not self._path_changed:
                return
            poses, self._path_changed = list(self._poses), False
        self._path.publish(messages.path_message(poses, stamp_ns, self._map))

    def transform(self, T_map_odom: Any, stamp_ns: int) -> None:
        """Map -> odom on ~/map_to_odom, and stamped a little ahead on /tf."""
        self._map_to_odom.publish(
            messages.transform_message(T_map_odom, stamp_ns, self._map, self._odom)
        )
        if self._tf is not None:
            ahead = messages.transform_message(
                T_map_odom, stamp_ns + self._tf_tolerance_ns, self._map, self._odom
            )
            self.authority.published(ahead)
            self._tf.publish(self._tf_message(transforms=[ahead]))

    def datum(self, datum: Datum, stamp_ns: int) -> None:
        """~/datum, if it is new."""
        if datum != self._shown_datum:
            self._shown_datum = datum
            self._datum.publish(messages.datum_message(datum, stamp_ns, self._map))

    def other_publishers(self) -> int:
        """How many others publish our ~/map_to_odom."""
        return max(self._node.count_publishers(self._map_to_odom.topic_name) - 1, 0)
