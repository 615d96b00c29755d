# SPDX-License-Identifier: Apache-2.0
"""Records what a running node publishes, so that a live run is scored like an offline one."""

from collections.abc import Iterable, Mapping
import threading
import time
from typing import Any

import numpy as np

from geoloc_core.bags.writer import BagWriter
from geoloc_core.errors import InputError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.messages.conversions import stamp_ns, transform_from_pose
from geoloc_core.messages.image_decoding import decode_image
from geoloc_ros.bags.offline import stage_medians
from geoloc_ros.bags.results import FramePictures
from geoloc_ros.bags.run import FrameRecord, PLANAR, RunRecord

TOTAL_MS = 'total_ms'


class Recorder:
    """Subscribes to a node's outputs; somebody else spins the node it is given."""

    def __init__(
        self,
        node: Any,
        target: str = '/geoloc',
        *,
        bag: BagWriter | None = None,
        pictures: FramePictures | None = None,
    ) -> None:
        """Begins to listen.

        Args:
            node: The rclpy node to subscribe with.
            target: Full name of the node whose outputs are recorded.
            bag: Also keeps every message there.
            pictures: Keeps some of ~/match_image, numbered by arrival. Listening costs the node
                the time to draw them.
        """
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import PoseWithCovarianceStamped
        from nav_msgs.msg import Odometry
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import Image, NavSatFix

        self._lock = threading.Lock()
        self._poses: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._statuses: dict[int, dict[str, str]] = {}
        self._track: dict[int, np.ndarray] = {}
        self._datum: Datum | None = None
        self._diagnostics: dict[str, str] = {}
        self._bag = bag
        self._pictures = pictures
        self._seen_pictures = 0
        self._node = node
        self._status_topic = f'{target}/status'
        reliable = QoSProfile(depth=100)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        wanted = [
            (PoseWithCovarianceStamped, f'{target}/pose', self._on_pose, reliable),
            (DiagnosticArray, f'{target}/status', self._on_status, reliable),
            (Odometry, f'{target}/odometry', self._on_odometry, reliable),
            (NavSatFix, f'{target}/fix', None, reliable),
            (NavSatFix, f'{target}/datum', self._on_datum, latched),
            (DiagnosticArray, '/diagnostics', self._on_diagnostics, reliable),
        ]
        if pictures is not None:
            wanted.append((Image, f'{target}/match_image', self._on_picture, QoSProfile(depth=2)))
        self._subscriptions = [
            node.create_subscription(kind, topic, self._keeping(kind, topic, use), qos)
            for kind, topic, use, qos in wanted
        ]

    def _keeping(self, kind: Any, topic: str, use: Any) -> Any:
        """A callback that also writes the message to the bag."""
        package, name = kind.__module__.split('.')[0], kind.__name__

        def callback(message: Any) -> None:
            if use is not None:
                use(message)
            if self._bag is not None:
                from rclpy.serialization import serialize_message

                now = self._node.get_clock().now().nanoseconds
                with self._lock:
                    data = serialize_message(message)
                    self._bag.write(topic, data, now, f'{package}/msg/{name}')

        return callback

    def _on_pose(self, message: Any) -> None:
        T = transform_from_pose(message.pose.pose)
        cov = np.array(message.pose.covariance, dtype=np.float64).reshape(6, 6)
        with self._lock:
            self._poses[stamp_ns(message.header.stamp)] = (T, cov)

    def _on_status(self, message: Any) -> None:
        values = {pair.key: pair.value for status in message.status for pair in status.values}
        try:
            stamp = stamp_ns(message.header.stamp)
        except InputError:
            return  # a frame without a stamp cannot be told from another
        with self._lock:
            self._statuses[stamp] = values

    def _on_odometry(self, message: Any) -> None:
        T = transform_from_pose(message.pose.pose)
        with self._lock:
            self._track[stamp_ns(message.header.stamp)] = T

    def _on_datum(self, message: Any) -> None:
        datum = Datum(float(message.latitude), float(message.longitude), float(message.altitude))
        with self._lock:
            self._datum = datum

    def _on_diagnostics(self, message: Any) -> None:
        with self._lock:
            for status in message.status:
                self._diagnostics[status.name] = status.message

    def _on_picture(self, message: Any) -> None:
        number = self._seen_pictures
        self._seen_pictures += 1
        if self._pictures is not None and number % self._pictures.every == 0:
            self._pictures.save(f'{number:05d}_match', decode_image(message))

    def wait_for_target(self, timeout_s: float) -> bool:
        """Blocks until the node's outputs are there; False if that took too long."""
        deadline = time.monotonic() + timeout_s
        while not self._node.count_publishers(self._status_topic):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def reported(self) -> set[int]:
        """Stamps of the frames reported on so far."""
        with self._lock:
            return set(self._statuses)

    def wait_for_frames(self, stamps_ns: Iterable[int], timeout_s: float) -> bool:
        """Blocks until every one of these frames was reported on; False if that took too long."""
        wanted = {int(s) for s in stamps_ns}
        deadline = time.monotonic() + timeout_s
        while wanted - self.reported():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def record(
        self, parameters: Mapping[str, Any] | None = None, details: Mapping[str, Any] | None = None
    ) -> RunRecord:
        """What was heard so far, in the form that `scoring.score` takes."""
        with self._lock:
            frames = [self._frame(stamp, values) for stamp, values in self._statuses.items()]
            track = dict(self._track) or {s: T for s, (T, _) in self._poses.items()}
            datum, diagnostics = self._datum, dict(self._diagnostics)
        frames.sort(key=lambda f: f.stamp_ns)
        found = {
            'mode': 'live',
            'stages_ms': stage_medians(frames),
            'diagnostics': diagnostics,
            **(details or {}),
        }
        return RunRecord(
            tuple(frames), datum, Trajectory.of(track.items()), dict(parameters or {}), found
        )

    def _frame(self, stamp: int, values: Mapping[str, str]) -> FrameRecord:
        timings = {}
        for key, text in values.items():
            if key.endswith('_ms'):
                timings[key] = float(text)
        status = values.get('status', 'UNACCOUNTED')
        estimated = values.get('estimate_status', 'OK')
        if status == 'OK' and estimated != 'OK':
            status = estimated
        T, cov = self._poses.get(stamp, (None, None))
        return FrameRecord(
            stamp,
            status,
            tuple(filter(None, values.get('reasons', '').split('; '))),
            None if T is None else np.array(se3.planar(T)),
            None if cov is None else cov[np.ix_(PLANAR, PLANAR)],
            timings.get(TOTAL_MS, float('nan')),
            None,
            timings,
            T,
            cov,
        )

    def close(self) -> None:
        """Stops listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
