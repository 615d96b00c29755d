# SPDX-License-Identifier: Apache-2.0
"""Camera frames of a bag as `GroundView`s."""

from collections.abc import Iterator
from dataclasses import replace
import logging

from geoloc_core.bags.reader import BagMessage, BagReader, in_stamp_order
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.errors import BagError, CalibrationError, InputError
from geoloc_core.messages.camera_feed import CameraFeed
from geoloc_core.messages.conversions import check_size
from geoloc_core.messages.depth_stream import DepthSettings, DepthStream
from geoloc_core.messages.image_decoding import decode_compressed_image, decode_image
from geoloc_core.messages.transform_buffer import Mounts
from geoloc_core.types import GroundView

log = logging.getLogger(__name__)

COMPRESSED = 'sensor_msgs/msg/CompressedImage'
_INFO = 'sensor_msgs/msg/CameraInfo'


class ViewMaker:
    """Turns image messages into views, with the bag's calibration and mounts.

    Attributes:
        image_topic: Whose messages are given to `view`.
        info_topic: Of the camera.
        kinds: Topic -> 'image', 'camera_info', 'depth' or 'depth_info': what to read. All but
            images are given to `take`.
        depth: What becomes of depth images; None where they are not wanted, or not there.
    """

    def __init__(
        self,
        reader: BagReader,
        mounts: Mounts,
        topics: TopicChoice | None = None,
        *,
        rectified: bool = False,
        depth: DepthSettings | None = None,
    ) -> None:
        """Finds camera and calibration in a bag.

        Args:
            reader: The bag.
            mounts: Where the cameras sit.
            topics: The user's choice of topics.
            rectified: The pictures are rectified, so that P of camera_info describes them.
            depth: How depth joins the pictures; None leaves it out.

        Raises:
            BagError: The bag has no image or camera_info, or several and none was chosen.
        """
        topics = topics or TopicChoice()
        self.image_topic = reader.require('image', topics.image)
        self.info_topic = reader.require('camera_info', topics.camera_info)
        self.kinds = {self.image_topic: 'image', self.info_topic: 'camera_info'}
        self.mounts = mounts
        self.depth: DepthStream | None = None
        self._delays: dict[str, int] = {}
        self._info = CameraFeed(rectified)
        # The first image may have been recorded before the first camera_info.
        self._take_first(reader, self.info_topic)
        depth_topic = reader.find('depth', topics.depth) if depth is not None else None
        if depth is not None and depth_topic is None:
            log.warning('%s has no depth topic: its images go alone', reader.path)
        elif depth is not None and depth_topic is not None:
            # What was recorded is there already: nothing to wait for.
            self.depth = DepthStream(replace(depth, wait_s=0.0), mounts.T_camera_depth)
            self.kinds[depth_topic] = 'depth'
            self._delays[depth_topic] = -int(depth.slop_s * 1e9)
            info = reader.find('depth_info', topics.depth_info) if topics.depth_info else None
            info = info or _info_beside(reader, depth_topic, self.info_topic)
            if info is not None:
                self.kinds[info] = 'depth_info'
                self._take_first(reader, info)

    def _take_first(self, reader: BagReader, topic: str) -> None:
        for item in reader.messages([topic]):
            self.take(item)
            return

    def delays(self, image_delay_ns: int = 0) -> dict[str, int]:
        """What `in_stamp_order` needs, so that each image finds its depth.

        Args:
            image_delay_ns: Pictures and depth arrive so much later than they were taken.
        """
        delays = {topic: image_delay_ns + slop for topic, slop in self._delays.items()}
        return {**delays, self.image_topic: image_delay_ns}

    def take(self, item: BagMessage) -> None:
        """Takes a message that is not an image; what is wrong with it is said by `view`."""
        kind = self.kinds[item.topic]
        if kind == 'camera_info':
            self._info.take(item.message)
        elif self.depth is not None and kind == 'depth_info':
            self.depth.info.take(item.message)
        elif self.depth is not None and kind == 'depth':
            try:
                self.depth.add(item.message)
            except InputError:
                self.depth.counts['refused'] += 1  # it has no stamp: no image can ask for it

    def view(self, item: BagMessage) -> GroundView:
        """The view of an image message.

        Raises:
            InputError: The picture is damaged or not of the camera's size.
            CalibrationError: The calibration or the camera's mount cannot be used.
        """
        camera = self._info.camera()
        decode = decode_compressed_image if item.msgtype == COMPRESSED else decode_image
        image = decode(item.message)
        check_size('image', image.shape, camera)
        frame_id = str(item.message.header.frame_id)
        T_base_camera = self.mounts.T_base_sensor('camera', frame_id, item.stamp_ns)
        view = GroundView(item.stamp_ns, image, camera, T_base_camera)
        if self.depth is None:
            return view
        return replace(view, depth=self.depth.for_image(view.stamp_ns, camera, frame_id).depth)


def views(
    reader: BagReader,
    maker: ViewMaker,
    every: int = 1,
    offset: int = 0,
) -> Iterator[GroundView]:
    """The views of a bag in order of recording, damaged ones left out.

    Args:
        reader: The bag.
        maker: What makes them.
        every: One frame of so many.
        offset: Number of the first frame.

    Raises:
        BagError: Not one frame can be used (with the reason).
    """
    number, good, reason = -1, 0, ''
    items: Iterator[BagMessage] = reader.messages(list(maker.kinds))
    if maker.depth is not None:
        items = in_stamp_order(items, delay_ns=maker.delays())
    for item in items:
        if item.topic != maker.image_topic:
            maker.take(item)
            continue
        number += 1
        if number < offset or (number - offset) % every:
            continue
        try:
            view = maker.view(item)
        except (InputError, CalibrationError) as error:
            reason = str(error)
            continue
        good += 1
        yield view
    if not good:
        raise BagError(f'no usable frame on {maker.image_topic} of {reader.path}: {reason}')


def _info_beside(reader: BagReader, depth_topic: str, colour_info: str) -> str | None:
    """The CameraInfo that belongs to a depth topic: beside it, or the only one of its name."""
    folder = depth_topic.removesuffix('/compressedDepth').rpartition('/')[0]
    beside = f'{folder}/camera_info'
    summary = reader.topics.get(beside)
    if summary is not None and summary.msgtype == _INFO and beside != colour_info:
        return beside
    found = [topic for topic in reader.candidates('depth_info') if topic != colour_info]
    return found[0] if len(found) == 1 else None
