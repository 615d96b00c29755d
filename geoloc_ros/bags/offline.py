# SPDX-License-Identifier: Apache-2.0
"""Runs the same `Localizer` as the node over a bag, without ROS: deterministic and fast.

Sensor messages are handed over in the order of their stamps, one after the other, each frame
finished before the next message: nothing is dropped and two runs give the same numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
import time
from typing import Any

import numpy as np

from geoloc_core.bags.reader import BagMessage, BagReader, in_stamp_order
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.errors import CalibrationError, InputError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.localizer import Localizer
from geoloc_core.messages.conversions import gnss_from_fix, imu_from_message, odometry_from_message
from geoloc_core.types import GroundView, PoseEstimate, Status
from geoloc_ros.bags.run import FrameRecord, RunRecord
from geoloc_ros.bags.views import view_maker

# Called with every view before it is matched, and with the answer after.
BeforeView = Callable[[GroundView], None]
AfterView = Callable[[int, GroundView, PoseEstimate], None]

SENSORS = ('fix', 'odometry', 'imu', 'image', 'depth')


@dataclass(frozen=True)
class OfflineOptions:
    """How to run.

    Attributes:
        topics: The user's choice of topics.
        image_delay_s: Frames arrive this much later than they were taken, s.
        every: Take one camera frame of so many.
        offset: Number of the first frame taken.
        sensors: Kinds handed over; leave one out to see what it is worth. Depth needs
            `depth.enabled` besides, as in the node.
    """

    topics: TopicChoice = field(default_factory=TopicChoice)
    image_delay_s: float = 0.0
    every: int = 1
    offset: int = 0
    sensors: tuple[str, ...] = SENSORS


class _Feed:
    """Hands messages to a localizer, as the node's callbacks do."""

    def __init__(
        self,
        reader: BagReader,
        localizer: Localizer,
        params: Mapping[str, Any],
        options: OfflineOptions,
    ) -> None:
        topics = options.topics
        self.localizer = localizer
        self.params = params
        self.maker = None
        if 'image' in options.sensors:
            self.maker = view_maker(reader, params, topics, 'depth' in options.sensors)
        found = {
            kind: reader.find(kind, getattr(topics, kind))
            for kind in ('fix', 'odometry', 'imu')
            if kind in options.sensors
        }
        self.kinds = {topic: kind for kind, topic in found.items() if topic is not None}
        if self.maker is not None:
            self.kinds |= self.maker.kinds
        self.mounts = self.maker.mounts if self.maker else _mounts(reader, params)
        self.refused: Counter[str] = Counter()
        self._said: set[str] = set()

    def sensor(self, kind: str, item: BagMessage) -> None:
        """Hands over a message that is not an image; counts it where it cannot be used."""
        try:
            if kind == 'fix':
                self._fix(item)
            elif kind == 'odometry':
                status = self.localizer.on_odometry(
                    odometry_from_message(item.message, self.params['frames.base'])
                )
                self._count(kind, status)
            elif kind == 'imu':
                T = self.mounts.T_base_sensor('imu', item.message.header.frame_id, item.stamp_ns)
                self._count(kind, self.localizer.on_imu(imu_from_message(item.message, T[:3, :3])))
        except CalibrationError:
            self.refused[f'{kind}: mount not known'] += 1
        except InputError:
            self.refused[f'{kind}: {Status.BAD_INPUT.name}'] += 1

    def _fix(self, item: BagMessage) -> None:
        try:
            frame_id = item.message.header.frame_id
            antenna = self.mounts.T_base_sensor('antenna', frame_id, item.stamp_ns)[:3, 3]
        except CalibrationError:
            antenna = None  # the localizer takes its configured lever arm
        fix = gnss_from_fix(item.message, antenna, self.params['fix.default_std_m'])
        if fix is None:
            self._count('fix', Status.NO_FIX)
        else:
            self._count('fix', self.localizer.on_gnss(fix))

    def _count(self, kind: str, status: Status) -> None:
        if status is not Status.OK:
            self.refused[f'{kind}: {status.name}'] += 1


def _mounts(reader: BagReader, params: Mapping[str, Any]) -> Any:
    from geoloc_core.messages.transform_buffer import Mounts
    from geoloc_ros.assembly import mounts_from_parameters

    return Mounts(reader.transforms(), params['frames.base'], mounts_from_parameters(params))


def run_offline(
    reader: BagReader,
    localizer: Localizer,
    params: Mapping[str, Any],
    options: OfflineOptions | None = None,
    *,
    before_view: BeforeView | None = None,
    after_view: AfterView | None = None,
    progress: Callable[[Iterable[BagMessage]], Iterable[BagMessage]] | None = None,
) -> RunRecord:
    """Runs a localizer over a bag.

    Args:
        reader: The bag.
        localizer: Fresh, as `assembly.build_localizer` makes it.
        params: The parameters it was made with.
        options: How to run.
        before_view: Called before each view is matched.
        after_view: Called with (number, view, answer) after it.
        progress: Wraps the messages, for a progress bar.

    Returns:
        What became of every frame.

    Raises:
        BagError: The bag lacks a camera, or is damaged.
    """
    options = options or OfflineOptions()
    # An engine that changes over somewhere on the way would make every run another one.
    for engine in localizer.engines:
        engine.wait_ready()
    feed = _Feed(reader, localizer, params, options)
    delays = {}
    if feed.maker is not None:
        delays = feed.maker.delays(int(options.image_delay_s * 1e9))
    items: Iterable[BagMessage] = reader.messages(list(feed.kinds))
    if progress is not None:
        items = progress(items)
    frames: list[FrameRecord] = []
    seen = -1
    begin = time.perf_counter()
    for item in in_stamp_order(items, delay_ns=delays):
        kind = feed.kinds[item.topic]
        if feed.maker is not None and kind in ('camera_info', 'depth', 'depth_info'):
            feed.maker.take(item)
        elif kind != 'image':
            feed.sensor(kind, item)
        elif feed.maker is not None:
            seen += 1
            if seen < options.offset or (seen - options.offset) % options.every:
                continue
            frames.append(_frame(feed, item, len(frames), before_view, after_view))
    wall_s = time.perf_counter() - begin
    frame = localizer.frame
    return RunRecord(
        tuple(frames),
        None if frame is None else frame.datum,
        Trajectory.of((f.stamp_ns, f.T_map_base) for f in frames if f.T_map_base is not None),
        dict(params),
        {
            'mode': 'offline',
            'wall_s': wall_s,
            'sensor_messages_refused': dict(feed.refused),
            'stages_ms': stage_medians(frames),
            **_depth_counts(feed),
        },
    )


def _frame(
    feed: _Feed,
    item: BagMessage,
    number: int,
    before_view: BeforeView | None,
    after_view: AfterView | None,
) -> FrameRecord:
    begin = time.perf_counter()
    try:
        assert feed.maker is not None
        view = feed.maker.view(item)
    except (InputError, CalibrationError) as error:
        return FrameRecord(item.stamp_ns, Status.BAD_INPUT.name, (str(error),))
    if before_view is not None:
        before_view(view)
    estimate = feed.localizer.on_view(view)
    record = FrameRecord.of(estimate, 1e3 * (time.perf_counter() - begin))
    depth = feed.maker.depth
    if depth is not None and depth.last is not None and depth.last.note:
        record = replace(record, reasons=(*record.reasons, depth.last.note))
    if after_view is not None:
        after_view(number, view, estimate)
    return record


def _depth_counts(feed: _Feed) -> dict[str, Any]:
    """How many images had depth, for the run's details."""
    if feed.maker is None or feed.maker.depth is None:
        return {}
    return {'depth': dict(feed.maker.depth.counts)}


def stage_medians(frames: Iterable[FrameRecord]) -> dict[str, float]:
    """Median duration of each stage over the frames that went through it, ms."""
    stages: dict[str, list[float]] = {}
    for frame in frames:
        for stage, duration in frame.timings_ms.items():
            stages.setdefault(stage, []).append(duration)
    return {stage: float(np.median(values)) for stage, values in sorted(stages.items())}
