# SPDX-License-Identifier: Apache-2.0
"""Reads bags of ROS 1 and ROS 2 without ROS, and finds in them what geoloc can use."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
import heapq
import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.bags import topics as names
from geoloc_core.bags.messages import stamp_ns_of, typestore
from geoloc_core.errors import BagError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.messages.conversions import transform_from_pose
from geoloc_core.messages.transform_buffer import TransformBuffer

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

# What must not be taken for a sensor although its type fits.
_HINTS = {'truth': ('ground_truth', 'truth', 'gt_'), 'depth': ('depth',)}


@dataclass(frozen=True)
class TopicSummary:
    """A topic of a bag.

    Attributes:
        name: Topic.
        msgtype: Type in ROS 2 spelling, 'sensor_msgs/msg/Imu'.
        count: Number of messages.
        rate_hz: Mean rate over the bag's duration, NaN for a single message.
    """

    name: str
    msgtype: str
    count: int
    rate_hz: float


@dataclass(frozen=True)
class BagMessage:
    """A message out of a bag.

    Attributes:
        topic: Where it was published.
        msgtype: Its type.
        recorded_ns: When it was recorded.
        stamp_ns: Its header's stamp; the time of recording where it has no header.
        message: The deserialized message (rosbags' types).
    """

    topic: str
    msgtype: str
    recorded_ns: int
    stamp_ns: int
    message: Any


class BagReader:
    """An open bag; a context manager."""

    def __init__(self, path: str | Path) -> None:
        """Opens a bag.

        Args:
            path: A ROS 1 `.bag`, a rosbag2 folder, or a lone `.mcap` or `.db3` file.

        Raises:
            BagError: Nothing is there, or it cannot be read as a bag.
        """
        from rosbags.highlevel import AnyReader

        self.path = Path(path)
        if not self.path.exists():
            raise BagError(f'no bag at {self.path}')
        try:
            self._reader: Any = AnyReader([self.path], default_typestore=typestore())
            self._reader.open()
        # A damaged file can raise anything in a parser that trusts its input.
        except Exception as error:
            raise BagError(
                f'{self.path} cannot be read as a bag ({error}); expected a ROS 1 .bag, a rosbag2 '
                'folder with metadata.yaml, or a .mcap or .db3 file; a recording that was cut '
                'off can often be mended (ros2 bag reindex, mcap recover)'
            ) from error
        self._transforms: TransformBuffer | None = None

    @property
    def is_ros2(self) -> bool:
        """True for rosbag2, whose messages are CDR and can be published as they are."""
        return bool(self._reader.is2)

    @property
    def start_ns(self) -> int:
        """Time of the first message."""
        return int(self._reader.start_time)

    @property
    def end_ns(self) -> int:
        """Time just after the last message."""
        return int(self._reader.end_time)

    @property
    def duration_s(self) -> float:
        """Time from the first message to the last, s."""
        return max(0.0, (self.end_ns - self.start_ns) * 1e-9)

    @property
    def topics(self) -> dict[str, TopicSummary]:
        """The bag's topics by name."""
        counts: dict[str, TopicSummary] = {}
        for connection in self._reader.connections:
            name, count = connection.topic, connection.msgcount
            if name in counts:
                count += counts[name].count
            rate = (count - 1) / self.duration_s if count > 1 and self.duration_s else float('nan')
            counts[name] = TopicSummary(name, connection.msgtype, count, rate)
        return dict(sorted(counts.items()))

    def candidates(self, kind: str) -> list[str]:
        """Topics that can be of a kind (`topics.KINDS`), the likeliest first."""
        found = [
            topic
            for topic in self.topics.values()
            if topic.msgtype in names.KINDS[kind] and topic.count
        ]
        if kind in ('truth', 'truth_datum'):
            found = [t for t in found if any(hint in t.name for hint in _HINTS['truth'])]
        else:
            found = [t for t in found if not any(hint in t.name for hint in _HINTS['truth'])]
        if kind in ('depth', 'depth_info'):
            found = [t for t in found if 'depth' in t.name and not t.name.endswith('/compressed')]
        elif kind in ('image', 'camera_info'):
            found = [t for t in found if 'depth' not in t.name]
        return [t.name for t in sorted(found, key=lambda t: -t.count)]

    def find(self, kind: str, topic: str | None = None) -> str | None:
        """Finds the topic of a kind.

        Args:
            kind: A key of `topics.KINDS`.
            topic: The user's choice, which then must be there and of a fitting type.

        Returns:
            The topic, or None if the bag has none of this kind.

        Raises:
            BagError: The chosen topic is absent or of another type, or several fit and none was
                chosen.
        """
        if topic is not None:
            summary = self.topics.get(topic)
            if summary is None:
                raise BagError(f'{self.path} has no topic {topic}; it has: {self._listing()}')
            if summary.msgtype not in names.KINDS[kind]:
                raise BagError(
                    f'{topic} carries {summary.msgtype}, which cannot be {kind}: expected '
                    f'{" or ".join(names.KINDS[kind])}'
                )
            return topic
        found = self.candidates(kind)
        # The same camera, raw and compressed: the compressed one is smaller and says the same.
        suffix = {'image': '/compressed', 'depth': '/compressedDepth'}.get(kind, '')
        if suffix and len(found) > 1:
            compressed = [t for t in found if t.endswith(suffix)]
            if {t.removesuffix(suffix) for t in found} == {
                t.removesuffix(suffix) for t in compressed
            }:
                found = compressed
        if len(found) > 1:
            raise BagError(
                f'{self.path} has several topics that can be {kind}: {", ".join(found)}; '
                f'choose one'
            )
        return found[0] if found else None

    def require(self, kind: str, topic: str | None = None) -> str:
        """As `find`, but an error when there is none.

        Raises:
            BagError: As `find`, or the bag has no such topic.
        """
        found = self.find(kind, topic)
        if found is None:
            raise BagError(
                f'{self.path} has no {kind} ({" or ".join(names.KINDS[kind])}); it has: '
                f'{self._listing()}'
            )
        return found

    def _listing(self) -> str:
        return ', '.join(f'{t.name} [{t.msgtype}]' for t in self.topics.values()) or 'no topics'

    def raw(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """Serialized messages in order of recording.

        Args:
            topics: Only these; all if None.
            start_ns: From this time of recording.
            stop_ns: Up to, without, this one.

        Yields:
            (topic, type, recorded_ns, bytes).

        Raises:
            BagError: The bag is damaged further on.
        """
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not wanted:
            return
        try:
            for connection, recorded, data in self._reader.messages(wanted, start_ns, stop_ns):
                yield connection.topic, connection.msgtype, int(recorded), data
        except BagError:
            raise
        except Exception as error:
            raise BagError(f'{self.path} is damaged: {error}') from error

    def decode(self, msgtype: str, data: bytes) -> Any:
        """Deserializes a message of this bag.

        Raises:
            BagError: The bytes are not such a message.
        """
        try:
            return self._reader.deserialize(data, msgtype)
        except Exception as error:
            raise BagError(f'{self.path} holds a damaged {msgtype}: {error}') from error

    def to_cdr(self, msgtype: str, data: bytes) -> bytes:
        """The CDR bytes of a message, converted if the bag is ROS 1.

        Raises:
            BagError: A ROS 1 message whose type ROS 2 does not know.
        """
        if self.is_ros2:
            return bytes(data)
        return bytes(typestore().serialize_cdr(_as_ros2(self.decode(msgtype, data)), msgtype))

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Deserialized messages in order of recording; arguments as in `raw`."""
        for topic, msgtype, recorded, data in self.raw(topics, start_ns, stop_ns):
            message = self.decode(msgtype, data)
            stamp = stamp_ns_of(message)
            yield BagMessage(topic, msgtype, recorded, stamp or recorded, message)

    def transforms(self) -> TransformBuffer:
        """The bag's static transforms."""
        if self._transforms is None:
            self._transforms = TransformBuffer()
            for item in self.messages([names.TF_STATIC]):
                for error in self._transforms.add(item.message, static=True):
                    log.warning('%s: %s', self.path, error)
        return self._transforms

    def extrinsic(self, target: str, source: str) -> Array | None:
        """T_target_source (4, 4) through the static transforms, or None if not connected."""
        return self.transforms().lookup(target.lstrip('/'), source.lstrip('/'), self.start_ns)

    def truth(self, topic: str | None = None) -> Trajectory | None:
        """The ground truth as T_map_base, or None where the bag has none.

        Args:
            topic: Where it is; found by name and type if None.

        Raises:
            BagError: The chosen topic is absent or of another type.
        """
        found = self.find('truth', topic)
        if found is None:
            return None
        samples = []
        for item in self.messages([found]):
            pose = item.message.pose
            pose = getattr(pose, 'pose', pose)
            samples.append((item.stamp_ns, transform_from_pose(pose)))
        return Trajectory.of(samples)

    def truth_datum(self) -> Datum | None:
        """Where the truth's map frame lies on the Earth, or None where the bag does not say."""
        topic = self.find('truth_datum')
        if topic is None:
            return None
        fix = next(iter(self.messages([topic]))).message
        return Datum(float(fix.latitude), float(fix.longitude), float(fix.altitude))

    def close(self) -> None:
        """Closes the files."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> 'BagReader':
        """The reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the files."""
        self.close()


def read_bag(path: str | Path) -> BagReader:
    """Opens a bag of ROS 1 or ROS 2.

    Raises:
        BagError: Nothing is there, or it cannot be read.
    """
    return BagReader(path)


def in_stamp_order(
    messages: Iterable[BagMessage],
    window_ns: int = 2_000_000_000,
    delay_ns: Mapping[str, int] | None = None,
) -> Iterator[BagMessage]:
    """Sorts messages by their own stamps, looking ahead no further than a window of recording.

    Args:
        messages: In order of recording.
        window_ns: How much later than its stamp a message may have been recorded and still be
            put in its place. The memory needed is that of the messages within the window.
        delay_ns: Topic -> how much later than its stamp it arrives; simulates slow sensors.

    Yields:
        The messages; equal times keep their order of recording.
    """
    delays = delay_ns or {}
    heap: list[tuple[int, int, BagMessage]] = []
    for number, item in enumerate(messages):
        due = item.stamp_ns + delays.get(item.topic, 0)
        heapq.heappush(heap, (due, number, item))
        while heap and heap[0][0] < item.recorded_ns - window_ns:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]


def _as_ros2(message: Any) -> Any:
    """Renames what ROS 1 spells differently, all through a message.

    Raises:
        BagError: ROS 2 has no such type.
    """
    name = message.__msgtype__
    known = typestore().types.get(name)
    if known is None:
        raise BagError(f'{name} is a ROS 1 type that ROS 2 does not know')
    values = {}
    for field in (f.name for f in fields(known) if not (f.name.isupper() or f.name[:2] == '__')):
        # CameraInfo's K, D, R, P became k, d, r, p; Header lost its seq.
        value = getattr(message, field, getattr(message, field.upper(), None))
        if value is None:
            raise BagError(f'{name} of this bag has no field {field!r}')
        if hasattr(value, '__msgtype__'):
            value = _as_ros2(value)
        elif isinstance(value, list):
            value = [_as_ros2(v) if hasattr(v, '__msgtype__') else v for v in value]
        values[field] = value
    return known(**values)
