# SPDX-License-Identifier: Apache-2.0
"""A bag as a posed sequence, of which a place map is made."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from geoloc_core.bags.reader import BagReader, read_bag
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.errors import BagError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.evaluation.tum import read_tum
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.maps.place.records import Anchor
from geoloc_core.maps.place.sequence import AbstractPosedSequence, PosedView
from geoloc_ros.bags.drive_map import drive_poses
from geoloc_ros.bags.views import views


class BagSequence(AbstractPosedSequence):
    """Frames of a bag that have a pose: true, estimated, or of a TUM file."""

    z_up = True

    def __init__(
        self,
        path: Path,
        params: Mapping[str, Any],
        poses: str = 'truth',
        topics: TopicChoice | None = None,
        *,
        datum: Datum | None = None,
        every: int = 1,
        offset: int = 0,
    ) -> None:
        """Opens the bag and finds the poses.

        Args:
            path: The bag.
            params: All parameters of the node, for mounts and depth.
            poses: 'truth' (a topic), 'estimate' (geoloc's own, of GNSS and odometry), or a TUM
                file of base_link in a frame with z up.
            topics: The user's choice of topics.
            datum: Of the poses' frame (then ENU), where the bag does not tell it.
            every: One frame of so many.
            offset: Number of the first frame.

        Raises:
            BagError: No bag, no camera, or no such poses.
        """
        self.name = path.stem if path.is_file() else path.resolve().name
        self._path, self._params, self._topics = path, params, topics or TopicChoice()
        self._every, self._offset = every, offset
        self._without = 0
        with read_bag(path) as reader:
            image = reader.require('image', self._topics.image)
            self._count = -(-max(0, reader.topics[image].count - offset) // every)
            self._poses, self.anchor = self._find_poses(reader, poses, datum)

    def _find_poses(
        self, reader: BagReader, source: str, datum: Datum | None
    ) -> tuple[Trajectory, Anchor | None]:
        if source == 'estimate':
            found, frame = drive_poses(reader, source, self._params, self._topics)
            return found, Anchor(frame.datum, 0.0)
        if source == 'truth':
            truth = reader.truth(self._topics.truth)
            if truth is None:
                raise BagError(
                    f'{self._path} has no ground truth: name a topic that has poses (--topic '
                    'truth=/odom), give a TUM file, or use estimated ones (--poses estimate)'
                )
            where = datum or reader.truth_datum()
        else:
            truth, where = read_tum(source), datum
        return truth, None if where is None else Anchor(where, 0.0)

    def __len__(self) -> int:
        """Frames in the bag, of which one in `every` is tried."""
        return self._count

    def views(self, only: Collection[str] | None = None) -> Iterator[PosedView]:
        """The frames; those without a pose are left out and counted."""
        self._without = 0
        with read_bag(self._path) as reader:
            for view in views(reader, self._params, self._topics, self._every, self._offset):
                name = str(view.stamp_ns)
                if only is not None and name not in only:
                    continue
                pose, known = self._poses.at([view.stamp_ns])
                if not known[0]:
                    self._without += 1
                    continue
                yield PosedView(name, view, pose[0])

    def problems(self) -> list[str]:
        """How many frames have no pose."""
        if not self._without:
            return []
        return [f'{self._without} of {self._count} frames have no pose at their stamp']
