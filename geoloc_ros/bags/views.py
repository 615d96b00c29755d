# SPDX-License-Identifier: Apache-2.0
"""Camera frames of a bag as `GroundView`s, with the node's parameters."""

from collections.abc import Iterator, Mapping
from typing import Any

from geoloc_core.bags import views as core
from geoloc_core.bags.reader import BagReader
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.messages.transform_buffer import Mounts
from geoloc_core.types import GroundView
from geoloc_ros.assembly import depth_settings, mounts_from_parameters


def view_maker(
    reader: BagReader,
    params: Mapping[str, Any],
    topics: TopicChoice | None = None,
    with_depth: bool = True,
) -> core.ViewMaker:
    """Finds camera and calibration in a bag.

    Args:
        reader: The bag.
        params: All parameters; mounts that the bag does not tell are taken from there.
        topics: The user's choice of topics.
        with_depth: Leave depth out where false, also with `depth.enabled`.

    Raises:
        BagError: The bag has no image or camera_info, or several and none was chosen.
    """
    mounts = Mounts(reader.transforms(), params['frames.base'], mounts_from_parameters(params))
    return core.ViewMaker(
        reader,
        mounts,
        topics,
        rectified=bool(params['image.rectified']),
        depth=depth_settings(params) if params['depth.enabled'] and with_depth else None,
    )


def views(
    reader: BagReader,
    params: Mapping[str, Any],
    topics: TopicChoice | None = None,
    every: int = 1,
    offset: int = 0,
) -> Iterator[GroundView]:
    """The views of a bag in order of recording, damaged ones left out.

    Args:
        reader: The bag.
        params: All parameters.
        topics: The user's choice of topics.
        every: One frame of so many.
        offset: Number of the first frame.

    Raises:
        BagError: There is no camera, or not one frame can be used (with the reason).
    """
    return core.views(reader, view_maker(reader, params, topics), every, offset)
