# SPDX-License-Identifier: Apache-2.0
"""What the node holds between configure and cleanup, and how data runs through it.

Executor callbacks only hand over: sensor samples to a thread that takes them in order, images to a
worker that takes the newest. Timers publish what the localizer knows at the present.
"""

from collections.abc import Mapping
from functools import partial
import time
import traceback
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped, QuaternionStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, NavSatFix

from geoloc_core.errors import ConfigError, GeolocError
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.messages.camera_feed import CameraFeed
from geoloc_core.messages.depth_stream import DepthStream
from geoloc_core.messages.transform_buffer import Mounts, TransformBuffer
from geoloc_core.types import Status
from geoloc_ros import assembly
from geoloc_ros.diagnostics import Complaints, Durations, InputMonitor, WINDOW_S
from geoloc_ros.frames import FramePipeline, FrameReport, INTERNAL_ERROR
from geoloc_ros.health import health
from geoloc_ros.inputs import SensorInputs, StampGuard, TOPICS
from geoloc_ros.outputs import Outputs
from geoloc_ros.place_assembly import build_place
from geoloc_ros.transforms import tf_message_type
from geoloc_ros.worker import LatestWorker, OrderedWorker

# Drivers publish best effort; a reliable subscription would receive nothing from them.
IMAGE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
# Small and frequent: a deeper queue costs nothing and outlives a hiccup.
SAMPLE_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
REQUEST_QOS = QoSProfile(depth=5)
TF_QOS = QoSProfile(depth=100)
TF_STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# A frame waits this long for the samples that arrived before it.
SAMPLES_FIRST_S = 0.2
NO_SEQUENCE = 2**64 - 1


class Session:
    """A configured node.

    Args:
        node: The node to run on.
        params: All parameters.

    Raises:
        ConfigError: Settings that contradict each other, or TF required and not to be had.
        MapError: The map cannot be opened.
    """

    def __init__(self, node: LifecycleNode, params: Mapping[str, Any]) -> None:
        self._node = node
        self._params = params
        self._log = node.get_logger()
        tf_message = tf_message_type()
        if tf_message is None:
            text = 'tf2_msgs is not installed: no /tf; map -> odom is on ~/map_to_odom alone'
            if params['output.require_tf']:
                raise ConfigError(f'{text}, and output.require_tf is set')
            self._log.info(text + ', extrinsics come from parameters')
        self.complaints = Complaints(self._log.warning)
        self.monitors = {
            topic: InputMonitor(topic, expected, topic != 'initialpose')
            for topic, expected in TOPICS.items()
        }
        self.monitors['depth/image'].expected = params['depth.enabled']
        self.durations = Durations()
        self.frame_counts: dict[str, int] = {}
        self.last_report: FrameReport | None = None
        mounts = Mounts(
            buffer := TransformBuffer(),
            params['frames.base'],
            assembly.mounts_from_parameters(params),
            self._log.info,
        )
        self._buffer = buffer
        self.map_source = assembly.build_map(params)
        try:
            self.place = build_place(params)
            self.localizer = assembly.build_localizer(params, self.map_source, self.place)
        except GeolocError:
            self._close_map()
            raise
        if self.map_source is None and self.place is None:
            self._log.warning('neither map.path nor place_map is set: images cannot be matched')
        self.camera: AbstractCamera | None = None
        self.camera_refusal = ''
        self._engines_told: list[str] = []
        self._tell_engines()
        self._resets = 0
        self._started = 0.0
        self._guard = StampGuard(self.now_ns, params['time.max_ahead_s'])
        self._sensors = SensorInputs(
            params, self.localizer, mounts, self._guard, self.monitors, self.complaints
        )
        self._pipeline = FramePipeline(
            params, self.localizer, mounts, self._guard, partial(self.complaints.add, 'depth')
        )
        self.outputs = Outputs(node, params)
        self._samples: OrderedWorker | None = None
        self._frames: LatestWorker[tuple[Any, float]] | None = None
        self._timers: list[Any] = []
        self._subscriptions = list(self._subscribe(tf_message))

    # ---- lifecycle ----

    def start(self) -> None:
        """Begins to listen and to speak."""
        self._samples = OrderedWorker(self._sample_failed, self._samples_lost)
        self._frames = LatestWorker(self._process, self._dropped, self._failed)
        self.outputs.restart()
        self._started = time.monotonic()
        self._timers.append(
            self._node.create_timer(
                1.0 / self._params['output.odometry_rate_hz'], self._publish_present
            )
        )

    def stop(self) -> None:
        """Falls silent; what is being worked on ends first."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._timers.clear()
        frames, self._frames = self._frames, None
        samples, self._samples = self._samples, None
        for worker in (frames, samples):
            if worker is not None and not worker.stop():
                self._log.error('a worker did not end in time: it is left behind')

    def close(self) -> None:
        """Gives everything back."""
        self.stop()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self.outputs.destroy()
        self.localizer.close()
        self._close_map()

    def _close_map(self) -> None:
        if self.map_source is not None:
            self.map_source.close()

    def reset(self, reason: str) -> None:
        """Forgets the estimate, the path and whatever is buffered."""
        frames = self._frames
        if frames is not None:
            frames.clear()
        self._buffer.clear()
        self._pipeline.clear()
        self._guard.clear()
        self.localizer.reset(reason)
        self._resets = self.localizer.counters['reset']
        self.outputs.restart()

    def clock_jumped(self, delta_s: float) -> None:
        """ROS time went back: a bag that loops, a simulation that restarts."""
        samples = self._samples
        reason = f'ROS time went back by {abs(delta_s):.3f} s'
        # In order with the samples: those that came before the jump go before the reset.
        if samples is not None:
            samples.submit(self.reset, reason)
        else:
            self.reset(reason)

    def now_ns(self) -> int:
        """ROS time; 0 before the first /clock of simulated time."""
        return self._node.get_clock().now().nanoseconds

    # ---- input ----

    def _subscribe(self, tf_message: type | None) -> Any:
        params = self._params
        compressed = params['image.transport'] == 'compressed'
        topic = 'image/compressed' if compressed else 'image'
        kind = CompressedImage if compressed else Image
        yield self._subscription(kind, topic, self._on_image, IMAGE_QOS)
        yield self._subscription(CameraInfo, 'camera_info', self._on_camera_info, IMAGE_QOS)
        if params['depth.enabled']:
            compressed = params['depth.transport'] == 'compressed'
            topic = 'depth/image/compressedDepth' if compressed else 'depth/image'
            kind = CompressedImage if compressed else Image
            yield self._subscription(kind, topic, self._on_depth, IMAGE_QOS)
            yield self._subscription(
                CameraInfo, 'depth/camera_info', self._on_depth_info, IMAGE_QOS
            )
        for topic, kind, use, qos in (
            ('fix', NavSatFix, self._sensors.fix, SAMPLE_QOS),
            ('odom', Odometry, self._sensors.odom, SAMPLE_QOS),
            ('imu', Imu, self._sensors.imu, SAMPLE_QOS),
            ('heading', QuaternionStamped, self._sensors.heading, SAMPLE_QOS),
            ('initialpose', PoseWithCovarianceStamped, self._sensors.initialpose, REQUEST_QOS),
        ):
            callback = partial(self._on_sample, self.monitors[topic], use)
            yield self._subscription(kind, topic, callback, qos)
        if tf_message is not None:
            for topic, qos in (('/tf', TF_QOS), ('/tf_static', TF_STATIC_QOS)):
                callback = partial(self._on_tf, topic == '/tf_static')
                yield self._node.create_subscription(tf_message, topic, callback, qos)

    def _subscription(self, kind: type, topic: str, callback: Any, qos: QoSProfile) -> Any:
        subscription = self._node.create_subscription(
            kind,
            topic,
            callback,
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        # People look for the name that remapping and transport have made of it.
        kept_as = topic.removesuffix('/compressed').removesuffix('/compressedDepth')
        self.monitors[kept_as].topic = subscription.topic_name
        return subscription

    def _on_sample(self, monitor: InputMonitor, use: Any, message: Any) -> None:
        if self._samples is not None:
            monitor.arrived()
            self._samples.submit(use, message)

    def _on_image(self, message: Any, info: Any) -> None:
        if self._frames is None:
            return
        sequence = info.get('publication_sequence_number')
        self.monitors['image'].arrived(None if sequence == NO_SEQUENCE else sequence)
        self._frames.submit((message, time.perf_counter()))

    def _on_camera_info(self, message: Any) -> None:
        self._take_info('camera_info', self._pipeline.camera_info, message)
        camera = self._pipeline.camera_info.newest
        if camera is not None and camera is not self.camera:
            # Said once and in diagnostics: each frame is going to be refused.
            self.camera, self.camera_refusal = camera, self.localizer.refusal_of(camera)
            if self.camera_refusal:
                self._log.error(self.camera_refusal)

    def _on_depth_info(self, message: Any) -> None:
        assert self._pipeline.depth is not None
        self._take_info('depth/camera_info', self._pipeline.depth.info, message)

    def _take_info(self, topic: str, feed: CameraFeed, message: Any) -> None:
        if self._frames is None:
            return
        self.monitors[topic].arrived()
        error = feed.take(message)
        if error is not None:
            self.monitors[topic].refuse(Status.BAD_INPUT.name, str(error))
            self.complaints.add(topic, str(error))

    @property
    def depth(self) -> DepthStream | None:
        """What becomes of depth images; None where they are not wanted."""
        return self._pipeline.depth

    def _on_depth(self, message: Any) -> None:
        if self._frames is None or self._pipeline.depth is None:
            return
        monitor = self.monitors['depth/image']
        monitor.arrived()
        try:
            self._pipeline.depth.add(message)
        except GeolocError as error:
            monitor.refuse(Status.BAD_INPUT.name, str(error))
            self.complaints.add('depth/image', str(error))

    def _on_tf(self, static: bool, message: Any) -> None:
        topic = '/tf_static' if static else '/tf'
        for error in self._buffer.add(message, static):
            self.complaints.add(topic, str(error))
        # Where geoloc does not publish it, somebody else is expected to.
        if self._params['output.publish_tf'] and self.outputs.authority.seen(message):
            self.complaints.add(topic, 'somebody else publishes map -> odom too: stop one of both')

    # ---- a frame ----

    def _process(self, item: tuple[Any, float]) -> None:
        message, arrived = item
        started = time.perf_counter()
        if self._samples is not None:
            self._samples.wait_for_earlier(SAMPLES_FIRST_S)
        report = self._pipeline.process(message)
        self.outputs.pose(report)
        report.timings_ms['queue_ms'] = 1e3 * (started - arrived)
        report.timings_ms['total_ms'] = 1e3 * (time.perf_counter() - arrived)
        self.outputs.status(report)
        self._account(report)
        try:
            self.outputs.overlay(report)
        except Exception as error:  # a picture for people must not cost the frame its report
            self.complaints.add('match_image', f'{type(error).__name__}: {error}')

    def _dropped(self, item: tuple[Any, float]) -> None:
        self._report_unprocessed(item[0], Status.DROPPED.name, Status.DROPPED.value)

    def _failed(self, item: tuple[Any, float], error: Exception) -> None:
        self._log.error('a frame failed:\n' + ''.join(traceback.format_exception(error)))
        self._report_unprocessed(item[0], INTERNAL_ERROR, f'{type(error).__name__}: {error}')

    def _report_unprocessed(self, message: Any, status: str, reason: str) -> None:
        stamp = message.header.stamp
        report = FrameReport(int(stamp.sec) * 10**9 + int(stamp.nanosec), status, (reason,))
        self.outputs.status(report)
        self._account(report)

    def _account(self, report: FrameReport) -> None:
        self.frame_counts[report.status] = self.frame_counts.get(report.status, 0) + 1
        if report.status == Status.DROPPED.name:
            self.monitors['image'].refuse(report.status, report.reasons[0])
            return
        self.last_report = report
        self.durations.add(report.timings_ms)
        if report.status != Status.OK.name:
            text = '; '.join(report.reasons) or Status[report.status].value
            self.monitors['image'].refuse(report.status, text)
            self.complaints.add('image', f'{report.status}: {text}')

    # ---- samples ----

    def _sample_failed(self, error: Exception) -> None:
        self._log.error('a sample failed:\n' + ''.join(traceback.format_exception(error)))
        self.frame_counts['samples_failed'] = self.frame_counts.get('samples_failed', 0) + 1

    def _samples_lost(self, count: int) -> None:
        self.complaints.add('samples', f'{count} given up: they arrive faster than they are used')

    # ---- output ----

    def _publish_present(self) -> None:
        """Timer: the estimate carried to the present, map -> odom, the datum."""
        if self.localizer.counters['reset'] != self._resets:
            # It noticed by itself that stamps went back (a bag that loops without /clock).
            self._resets = self.localizer.counters['reset']
            self._guard.clear()
            self.outputs.restart()
        frame = self.localizer.frame
        newest = self._guard.newest_ns
        if not newest:
            return
        now = self.now_ns() or newest
        # Inputs that stopped, or a bag replayed against the wall clock: no further than they told.
        reach = self._params['time.max_extrapolation_s'] * 1e9
        stamp = now if now - newest <= reach else newest
        if frame is not None:
            self.outputs.datum(frame.datum, now)
        self.outputs.propagated(self.localizer.estimate(stamp), frame)
        transform = self.localizer.T_map_odom()
        if transform is not None:
            self.outputs.transform(transform[1], stamp)

    def _tell_engines(self) -> None:
        """Says what runs the networks, whenever that has changed."""
        reports = [engine.report() for engine in self.localizer.engines]
        for report in reports:
            if str(report) in self._engines_told:
                continue
            # Two lines: rclpy's logger lets none change its severity.
            if report.degraded:
                self._log.warning(f'network runs on {report}')
            else:
                self._log.info(f'network runs on {report}')
        self._engines_told = [str(report) for report in reports]

    def diagnose(self) -> Any:
        """DiagnosticStatus list, and what belongs to the same slow rhythm."""
        self.outputs.path(self._guard.newest_ns or self.now_ns())
        others = self.outputs.other_publishers()
        if others:
            self.complaints.add(
                'map_to_odom', f'{others} other publisher of this topic: stop one of both'
            )
        if time.monotonic() - self._started > WINDOW_S:
            for topic, monitor in self.monitors.items():
                complaint = monitor.complaint()
                if complaint:
                    self.complaints.add(topic, complaint)
        while self.localizer.events:
            self.complaints.add('localizer', self.localizer.events.popleft())
        self._tell_engines()
        newest = self._guard.newest_ns
        estimate = self.localizer.estimate(newest) if newest else None
        return health(self, estimate, others + self.outputs.authority.foreign)


def steady_clock() -> Clock:
    """For watchdogs: goes on while simulated time is paused."""
    return Clock(clock_type=ClockType.STEADY_TIME)
