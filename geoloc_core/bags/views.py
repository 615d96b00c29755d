# SPDX-License-Identifier: Apache-2.0
"""Camera frames of a bag as `GroundView`s."""

from collections.abc import Iterator
from typing import Any

from geoloc_core.bags.reader import BagMessage, BagReader
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.errors import BagError, CalibrationError, InputError
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.messages.conversions import camera_from_info, check_size
from geoloc_core.messages.image_decoding import decode_compressed_image, decode_image
from geoloc_core.messages.transform_buffer import Mounts
from geoloc_core.types import GroundView

COMPRESSED = 'sensor_msgs/msg/CompressedImage'


class ViewMaker:
    """Turns image messages into views, with the bag's calibration and mounts."""

    def __init__(
        self,
        reader: BagReader,
        mounts: Mounts,
        topics: TopicChoice | None = None,
        *,
        rectified: bool = False,
    ) -> None:
        """Finds camera and calibration in a bag.

        Args:
            reader: The bag.
            mounts: Where the camera sits.
            topics: The user's choice of topics.
            rectified: The pictures are rectified, so that P of camera_info describes them.

        Raises:
            BagError: The bag has no image or camera_info, or several and none was chosen.
        """
        topics = topics or TopicChoice()
        self.image_topic = reader.require('image', topics.image)
        self.info_topic = reader.require('camera_info', topics.camera_info)
        self.mounts = mounts
        self._rectified = rectified
        self._info: Any = None
        self._camera: AbstractCamera | None = None
        # The first image may have been recorded before the first camera_info.
        self.take_info(next(iter(reader.messages([self.info_topic]))).message)

    def take_info(self, message: Any) -> None:
        """Takes a camera_info; an unusable one makes `view` explain itself."""
        if self._info is not None and _same_camera(message, self._info):
            return
        self._info, self._camera = message, None

    def view(self, item: BagMessage) -> GroundView:
        """The view of an image message.

        Raises:
            InputError: The picture is damaged or not of the camera's size.
            CalibrationError: The calibration or the camera's mount cannot be used.
        """
        if self._camera is None:
            self._camera = camera_from_info(self._info, self._rectified)
        decode = decode_compressed_image if item.msgtype == COMPRESSED else decode_image
        image = decode(item.message)
        check_size('image', image.shape, self._camera)
        frame_id = str(item.message.header.frame_id)
        T_base_camera = self.mounts.T_base_sensor('camera', frame_id, item.stamp_ns)
        return GroundView(item.stamp_ns, image, self._camera, T_base_camera)


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
    for item in reader.messages([maker.image_topic, maker.info_topic]):
        if item.topic == maker.info_topic:
            maker.take_info(item.message)
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


def _same_camera(a: Any, b: Any) -> bool:
    for ros2, ros1 in (('k', 'K'), ('d', 'D'), ('p', 'P')):
        mine = getattr(a, ros2) if hasattr(a, ros2) else getattr(a, ros1)
        other = getattr(b, ros2) if hasattr(b, ros2) else getattr(b, ros1)
        if list(mine) != list(other):
            return False
    return (a.width, a.height, a.distortion_model) == (b.width, b.height, b.distortion_model)
