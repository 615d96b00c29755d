# SPDX-License-Identifier: Apache-2.0
"""One bag as a recording to learn from: which pictures it has, and how to read one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.bags.reader import BagMessage, BagReader
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.bags.views import COMPRESSED, ViewMaker
from geoloc_core.errors import CalibrationError, GeolocError, InputError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.registration import register_depth
from geoloc_core.messages.conversions import (
    camera_from_info,
    check_size,
    gnss_from_fix,
    transform_from_pose,
)
from geoloc_core.messages.image_decoding import decode_compressed_depth, decode_depth
from geoloc_core.messages.transform_buffer import Mounts
from geoloc_core.types import GnssFix, GroundView
from training.datasets.base import UnreadableError
from training.datasets.gnss_labels import Fixes, Odometry

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

# Where nothing tells the antenna's place on the robot, it stands within about so far of the base.
UNKNOWN_ARM_STD_M = 1.0
_MAX_DEPTH_GAP_NS = 50_000_000
_NO_POSITION_STD_M = 5.0


@dataclass(frozen=True)
class Frame:
    """A picture in a bag: when it was recorded, and its own stamp."""

    recorded_ns: int
    stamp_ns: int


@dataclass(frozen=True)
class Index:
    """What one pass over a bag finds.

    Attributes:
        frames: Pictures by increasing stamp; of a repeated stamp the first.
        depths: Depth pictures by increasing stamp.
        fixes: Good fixes by increasing stamp.
        arm: (3,) antenna in base_link, m, or None where nothing tells it.
        odometry: The track, or None.
        damaged: Messages that could not be used, by reason.
    """

    frames: tuple[Frame, ...]
    depths: tuple[Frame, ...]
    fixes: tuple[GnssFix, ...]
    arm: Array | None
    odometry: Odometry | None
    damaged: Mapping[str, int]


def build_index(reader: BagReader, topics: TopicChoice, base_frame: str) -> Index:
    """Reads everything but the pictures' pixels.

    Raises:
        BagError: There is no image, camera_info or fix, or several and none was chosen.
    """
    image = reader.require('image', topics.image)
    reader.require('camera_info', topics.camera_info)
    fix = reader.require('fix', topics.fix)
    odometry = reader.find('odometry', topics.odometry)
    depth = reader.find('depth', topics.depth)
    frames: dict[int, Frame] = {}
    depths: dict[int, Frame] = {}
    fixes: dict[int, GnssFix] = {}
    poses: dict[int, Array] = {}
    damaged: dict[str, int] = {}
    arm: Array | None = None
    for item in reader.messages([t for t in (image, fix, odometry, depth) if t is not None]):
        try:
            if item.topic in (image, depth):
                found = frames if item.topic == image else depths
                found.setdefault(item.stamp_ns, Frame(item.recorded_ns, item.stamp_ns))
            elif item.topic == fix:
                good = gnss_from_fix(item.message, default_std_m=_NO_POSITION_STD_M)
                if good is not None:
                    fixes.setdefault(good.stamp_ns, good)
                    mount = reader.extrinsic(base_frame, str(item.message.header.frame_id))
                    arm = None if mount is None else mount[:3, 3]
            else:
                T = transform_from_pose(item.message.pose.pose)
                poses.setdefault(item.stamp_ns, np.array(se3.planar(T)))
        except InputError as error:
            damaged[f'{item.topic}: {error}'] = damaged.get(f'{item.topic}: {error}', 0) + 1
    track = None
    if poses:
        stamps = np.array(sorted(poses), dtype=np.int64)
        values = np.array([poses[int(stamp)] for stamp in stamps])
        values[:, 2] = np.unwrap(values[:, 2])
        track = Odometry(stamps, values)
    return Index(
        tuple(frames[s] for s in sorted(frames)),
        tuple(depths[s] for s in sorted(depths)),
        tuple(fixes[s] for s in sorted(fixes)),
        arm,
        track,
        damaged,
    )


def fixes_in(frame: EnuFrame, index: Index, antenna_in_base: Array | None) -> Fixes:
    """The fixes in a map frame.

    Args:
        frame: The map frame.
        index: Of the bag.
        antenna_in_base: (3,) m where the user gives it; else what the bag tells.
    """
    arm = index.arm if antenna_in_base is None else antenna_in_base
    place = np.array([[f.lat_deg, f.lon_deg, f.alt_m] for f in index.fixes]).reshape(-1, 3)
    cov = np.array([f.cov_enu[:2, :2] for f in index.fixes]).reshape(-1, 2, 2)
    if arm is None:
        cov = cov + UNKNOWN_ARM_STD_M**2 * np.eye(2)
    return Fixes(
        np.array([f.stamp_ns for f in index.fixes], dtype=np.int64),
        frame.enu_from_geodetic(*place.T)[:, :2],
        cov,
        np.zeros(2) if arm is None else np.asarray(arm, dtype=np.float64)[:2],
    )


def datum_of(index: Index, base_height_m: float = 0.0) -> Datum:
    """The ground under the first fix; the ellipsoid where the receiver gives no height."""
    first = index.fixes[0]
    above = base_height_m + (0.0 if index.arm is None else float(index.arm[2]))
    alt = 0.0 if np.isnan(first.alt_m) else first.alt_m - above
    return Datum(first.lat_deg, first.lon_deg, alt)


class FrameReader:
    """An open bag that gives single frames. Not to be shared between threads."""

    def __init__(
        self,
        path: Path,
        topics: TopicChoice,
        base_frame: str,
        T_base_camera: Array | None,
        rectified: bool,
    ) -> None:
        """Opens a bag.

        Raises:
            BagError: It cannot be read, or has no camera.
        """
        self.path = path
        self._bag = BagReader(path)
        given = {} if T_base_camera is None else {'camera': T_base_camera}
        mounts = Mounts(self._bag.transforms(), base_frame, given)
        self._maker = ViewMaker(self._bag, mounts, topics, rectified=rectified)
        self._depth_topic = self._bag.find('depth', topics.depth)
        self._base_frame = base_frame

    def view(self, frame: Frame, depth: Frame | None) -> GroundView:
        """A picture, with depth where there is one of about the same time.

        Raises:
            UnreadableError: The message is damaged, or not of the camera's size.
            CalibrationError: The calibration or the mount cannot be used.
        """
        item = self._message(self._maker.image_topic, frame)
        try:
            view = self._maker.view(item)
        except InputError as error:
            raise self._unreadable(item, error) from error
        if depth is None or self._depth_topic is None:
            return view
        return self._with_depth(view, item, self._message(self._depth_topic, depth))

    def _with_depth(self, view: GroundView, colour: BagMessage, item: BagMessage) -> GroundView:
        decode = decode_compressed_depth if item.msgtype == COMPRESSED else decode_depth
        try:
            depth = decode(item.message)
            sensor = str(item.message.header.frame_id).lstrip('/')
            optical = str(colour.message.header.frame_id).lstrip('/')
            if sensor != optical:
                camera = camera_from_info(self._depth_info())
                check_size('depth', depth.shape, camera)
                T = self._bag.extrinsic(optical, sensor)
                if T is None:
                    raise CalibrationError(
                        f'{self.path}: no transform {optical} <- {sensor}, so depth cannot be '
                        'laid on the picture: record /tf_static, or set depth = false'
                    )
                depth = register_depth(depth, camera, view.camera, T)
            else:
                check_size('depth', depth.shape, view.camera)
        except InputError as error:
            raise self._unreadable(item, error) from error
        return GroundView(view.stamp_ns, view.image, view.camera, view.T_base_camera, depth)

    def _depth_info(self) -> Any:
        """The first camera_info beside the depth topic."""
        assert self._depth_topic is not None
        folder = self._depth_topic.rpartition('/')[0]
        beside = [
            name
            for name, topic in self._bag.topics.items()
            if topic.msgtype == 'sensor_msgs/msg/CameraInfo'
            and (name.rpartition('/')[0] in (folder, folder.rpartition('/')[0]))
            and 'depth' in name
        ]
        if not beside:
            raise CalibrationError(
                f'{self.path}: {self._depth_topic} is in another frame than the picture and has '
                'no camera_info beside it: record it, or set depth = false'
            )
        return next(iter(self._bag.messages(beside[:1]))).message

    def _message(self, topic: str, frame: Frame) -> BagMessage:
        found = self._bag.messages([topic], frame.recorded_ns, frame.recorded_ns + 1)
        for item in found:
            if item.stamp_ns == frame.stamp_ns:
                return item
        raise UnreadableError(self.path, f'a message on {topic} recorded at {frame.recorded_ns}')

    def _unreadable(self, item: BagMessage, error: GeolocError) -> UnreadableError:
        return UnreadableError(
            self.path, f'a whole picture on {item.topic} at {item.stamp_ns} ({error})'
        )

    def close(self) -> None:
        """Closes the file."""
        self._bag.close()


def nearest_depth(index: Index, stamp_ns: int) -> Frame | None:
    """The depth picture nearest in time, if near enough."""
    if not index.depths:
        return None
    stamps = np.array([d.stamp_ns for d in index.depths], dtype=np.int64)
    nearest = int(np.argmin(np.abs(stamps - stamp_ns)))
    return index.depths[nearest] if abs(stamps[nearest] - stamp_ns) <= _MAX_DEPTH_GAP_NS else None
