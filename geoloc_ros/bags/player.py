# SPDX-License-Identifier: Apache-2.0
"""Plays a bag into the live ROS graph, with /clock, without `ros2 bag`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
import importlib
import logging
import time
from typing import Any

from geoloc_core.bags.reader import BagReader
from geoloc_core.bags.topics import LATCHED
from geoloc_core.errors import BagError

log = logging.getLogger(__name__)

# Time between two /clock messages where the bag itself is silent, s of the wall clock.
CLOCK_PERIOD_S = 0.01


@dataclass(frozen=True)
class PlayOptions:
    """How to play.

    Attributes:
        rate: Speed against real time, positive.
        remap: Topic of the bag -> topic to publish on.
        topics: Only these topics of the bag; all if None.
        exclude: Topics of the bag to leave out, such as the ground truth.
        start_s: Begin this far into the bag; latched topics before it are still published.
        duration_s: Play this much of it; to the end if None.
        loop: Start again at the end, with /clock jumping back, until stopped.
        wait_for: Topics of the bag that must have a subscriber before the first message.
        wait_timeout_s: Give up waiting after this time of the wall clock.
        settle_s: Time of the wall clock with /clock standing at the beginning, once everybody is
            there: a subscriber may know of the publisher a moment later than the other way round.
    """

    rate: float = 1.0
    remap: Mapping[str, str] = field(default_factory=dict)
    topics: Collection[str] | None = None
    exclude: Collection[str] = ()
    start_s: float = 0.0
    duration_s: float | None = None
    loop: bool = False
    wait_for: Collection[str] = ()
    wait_timeout_s: float = 30.0
    settle_s: float = 0.5


class BagPlayer:
    """Publishes a bag's messages at their times of recording.

    Use as: `BagPlayer(reader, node, options).play()`. Someone else may spin the node; playing does
    not need it.
    """

    def __init__(self, reader: BagReader, node: Any, options: PlayOptions | None = None) -> None:
        """Creates the publishers.

        Args:
            reader: The bag.
            node: The rclpy node to publish from.
            options: How to play.

        Raises:
            BagError: The rate is not positive, a named topic is not in the bag, or nothing in it
                can be published.
        """
        self.options = options or PlayOptions()
        if not self.options.rate > 0:
            raise BagError(f'rate must be positive, got {self.options.rate}')
        self._reader = reader
        self._node = node
        known = reader.topics
        named = {*self.options.remap, *self.options.wait_for, *(self.options.topics or ())}
        missing = sorted(named - set(known))
        if missing:
            raise BagError(
                f'{reader.path} has no {", ".join(missing)}; it has: {", ".join(known)}'
            )
        self._publishers = self._make_publishers()
        self.published = 0
        self._stopped = False

        from rclpy.qos import QoSProfile
        from rosgraph_msgs.msg import Clock

        self._clock_type = Clock
        self._clock = node.create_publisher(Clock, '/clock', QoSProfile(depth=10))

    def _make_publishers(self) -> dict[str, Any]:
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

        publishers, unknown = {}, []
        for summary in self._reader.topics.values():
            chosen = self.options.topics is None or summary.name in self.options.topics
            if not chosen or summary.name in self.options.exclude or summary.name == '/clock':
                continue
            kind = _message_class(summary.msgtype)
            if kind is None:
                unknown.append(f'{summary.name} [{summary.msgtype}]')
                continue
            latched = summary.name in LATCHED
            qos = QoSProfile(
                depth=1 if latched else 10,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=DurabilityPolicy.TRANSIENT_LOCAL
                if latched
                else DurabilityPolicy.VOLATILE,
            )
            target = self.options.remap.get(summary.name, summary.name)
            publishers[summary.name] = self._node.create_publisher(kind, target, qos)
        if unknown:
            log.warning(
                'not played, their message packages are not installed: %s', ', '.join(unknown)
            )
        if not publishers:
            raise BagError(f'nothing in {self._reader.path} can be played')
        return publishers

    def wait_for_subscribers(self) -> None:
        """Waits until every topic of `options.wait_for` has a subscriber.

        Raises:
            BagError: It took longer than `options.wait_timeout_s`, or the topic is not played.
        """
        deadline = time.monotonic() + self.options.wait_timeout_s
        for topic in self.options.wait_for:
            if topic not in self._publishers:
                raise BagError(f'cannot wait for subscribers of {topic}: it is not played')
            publisher = self._publishers[topic]
            while publisher.get_subscription_count() < 1:
                if time.monotonic() > deadline:
                    raise BagError(
                        f'nobody subscribed to {publisher.topic_name} in '
                        f'{self.options.wait_timeout_s:g} s: is the node up and active, and are '
                        f'its topics remapped to this one?'
                    )
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends `play` soon, from another thread or a signal handler."""
        self._stopped = True

    def play(self, progress: Callable[[float], None] | None = None) -> int:
        """Plays to the end (or until stopped).

        Args:
            progress: Called with the seconds of bag time since its last call.

        Returns:
            The number of messages published.

        Raises:
            BagError: Waiting for subscribers was in vain, or the bag is damaged.
        """
        if self.options.wait_for:
            self.wait_for_subscribers()
            self._settle()
        while True:
            self._play_once(progress)
            if not self.options.loop or self._stopped:
                return self.published

    def _settle(self) -> None:
        begin = self._reader.start_ns + int(self.options.start_s * 1e9)
        deadline = time.monotonic() + self.options.settle_s
        while time.monotonic() < deadline and not self._stopped:
            self._publish_clock(begin)
            time.sleep(CLOCK_PERIOD_S)

    def _play_once(self, progress: Callable[[float], None] | None) -> None:
        reader, options = self._reader, self.options
        begin = reader.start_ns + int(options.start_s * 1e9)
        end = None if options.duration_s is None else begin + int(options.duration_s * 1e9)
        latched = [t for t in self._publishers if t in LATCHED]
        if options.start_s > 0 and latched:
            for topic, msgtype, _, data in reader.raw(latched, stop_ns=begin):
                self._publish(topic, msgtype, data)
        wall_begin = time.monotonic()
        reached = begin
        self._publish_clock(begin)
        for topic, msgtype, recorded, data in reader.raw(self._publishers, begin, end):
            if not self._pace(recorded, begin, wall_begin):
                return
            if progress is not None:
                progress((recorded - reached) * 1e-9)
                reached = recorded
            self._publish_clock(recorded)
            self._publish(topic, msgtype, data)

    def _pace(self, recorded_ns: int, begin_ns: int, wall_begin: float) -> bool:
        """Waits for a message's time, ticking /clock meanwhile; False if stopped."""
        while not self._stopped:
            elapsed = time.monotonic() - wall_begin
            now_ns = begin_ns + int(elapsed * self.options.rate * 1e9)
            left = (recorded_ns - now_ns) * 1e-9 / self.options.rate
            if left <= 0:
                return True
            if left > CLOCK_PERIOD_S:
                self._publish_clock(now_ns)
            time.sleep(min(left, CLOCK_PERIOD_S))
        return False

    def publish_clock(self, stamp_ns: int) -> None:
        """Sets /clock once, to let time go on after the bag's end."""
        self._publish_clock(stamp_ns)

    def _publish_clock(self, stamp_ns: int) -> None:
        message = self._clock_type()
        message.clock.sec, message.clock.nanosec = divmod(int(stamp_ns), 1_000_000_000)
        self._clock.publish(message)

    def _publish(self, topic: str, msgtype: str, data: bytes) -> None:
        self._publishers[topic].publish(self._reader.to_cdr(msgtype, data))
        self.published += 1

    def close(self) -> None:
        """Destroys the publishers."""
        for publisher in (*self._publishers.values(), self._clock):
            self._node.destroy_publisher(publisher)
        self._publishers = {}


def _message_class(msgtype: str) -> Any:
    """The rclpy class of a type such as 'sensor_msgs/msg/Imu', or None where not installed."""
    package, _, name = msgtype.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError):
        return None
