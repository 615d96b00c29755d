# SPDX-License-Identifier: Apache-2.0
"""Folders of RGB-D frames (7-Scenes, TUM) as posed sequences, of which place maps are made."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.evaluation.trajectory import associate
from geoloc_core.formats.rgbd_folder import open_rgbd_folder, Picture, read_counts, RgbdFolder
from geoloc_core.geometry import se3
from geoloc_core.geometry.registration import register_depth
from geoloc_core.maps.place.sequence import AbstractPosedSequence, PosedView
from geoloc_core.messages.conversions import R_BODY_OPTICAL
from geoloc_core.types import GroundView

Array = NDArray[np.float64]

# base_link of a hand-held camera is its centre, x forward, y left, z up.
_T_BASE_CAMERA: Array = se3.make(R_BODY_OPTICAL, np.zeros(3))
# Colour and depth of TUM, as its publisher pairs them.
_MAX_APART_NS = 20_000_000
# Its poses come at 100 Hz: a longer gap is a loss. Those of 7-Scenes belong to their frames.
_POSE_PERIOD_NS = 10_000_000
_MAX_POSE_GAP_NS = {'TUM': 10 * _POSE_PERIOD_NS, '7-Scenes': 0}
_MAX_PROBLEMS = 20


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame: where its files are and where it was taken (camera optical frame -> world)."""

    name: str
    folder: RgbdFolder
    colour: Picture
    depth: Path
    T_world_camera: Array


class FolderSequence(AbstractPosedSequence):
    """Frames of one folder, or of several whose poses are in one world."""

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        calibration: str = 'liris',
        intrinsics: Sequence[float] | None = None,
        first: int = 0,
        last: int | None = None,
        every: int = 1,
    ) -> None:
        """Lists the frames that have colour, depth and a pose.

        Args:
            folders: Each of one sequence.
            calibration: See `open_rgbd_folder`.
            intrinsics: See `open_rgbd_folder`.
            first: Number of the first frame: as in the file names of 7-Scenes, counted in TUM's.
            last: Number of the last one; to the end if None.
            every: One frame of so many.

        Raises:
            DataError: A folder that is none, or not one whole frame.
        """
        opened = [
            open_rgbd_folder(folder, calibration=calibration, intrinsics=intrinsics)
            for folder in folders
        ]
        self.name = ', '.join(folder.name for folder in opened)
        self.z_up = all(folder.z_up for folder in opened)
        self._problems: dict[str, None] = {}
        self._frames: list[_Frame] = []
        for folder in opened:
            self._problems |= dict.fromkeys(folder.problems)
            prefix = f'{folder.name}/' if len(opened) > 1 else ''
            self._add(folder, prefix, first, np.inf if last is None else last, every)
        names = [frame.name for frame in self._frames]
        if len(set(names)) < len(names):
            raise DataError(f'{self.name}: two folders of one name hold frames of one name')
        if not self._frames:
            raise DataError(
                f'{self.name}: not one frame from {first} to {last if last is not None else "end"}'
                ' has colour, depth and a pose; '
                + ('; '.join(list(self._problems)[:3]) or 'the folder has no such frames')
            )

    def _add(self, folder: RgbdFolder, prefix: str, first: int, last: float, every: int) -> None:
        colour = [p for p in folder.colour if first <= p.number <= last][::every]
        i, j = associate(
            [p.stamp_ns for p in colour], [p.stamp_ns for p in folder.depth], _MAX_APART_NS
        )
        if len(i) < len(colour):
            self._problems[
                f'{folder.name}: {len(colour) - len(i)} of {len(colour)} pictures have no depth'
            ] = None
        paired = [(colour[a], folder.depth[b].path) for a, b in zip(i, j, strict=True)]
        stamps = np.array([picture.stamp_ns for picture, _ in paired], np.int64)
        poses, known = _poses_at(folder, stamps)
        if not known.all():
            self._problems[
                f'{folder.name}: {int((~known).sum())} of {len(paired)} pictures have no pose'
            ] = None
        for (picture, depth), T, placed in zip(paired, poses, known, strict=True):
            if placed:
                name = prefix + picture.path.stem.removesuffix('.color')
                self._frames.append(_Frame(name, folder, picture, depth, T))

    def __len__(self) -> int:
        """Frames with colour, depth and a pose."""
        return len(self._frames)

    def views(self, only: Collection[str] | None = None) -> Iterator[PosedView]:
        """Reads the frames; damaged ones are left out and told of in `problems`."""
        for frame in self._frames:
            if only is not None and frame.name not in only:
                continue
            try:
                view = _view(frame)
            except DataError as error:
                self._problems[str(error)] = None
                continue
            yield PosedView(frame.name, view, frame.T_world_camera @ se3.inverse(_T_BASE_CAMERA))

    def problems(self) -> list[str]:
        """What the folders lack, and which frames could not be read."""
        found = list(self._problems)
        more = len(found) - _MAX_PROBLEMS
        return found[:_MAX_PROBLEMS] + ([f'... and {more} more'] if more > 0 else [])


def _poses_at(folder: RgbdFolder, stamps: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
    """T_world_camera (N, 4, 4) at stamps, and (N,) where there is one."""
    poses, known = folder.poses.at(stamps, _MAX_POSE_GAP_NS[folder.layout])
    if folder.layout == 'TUM':
        # Just before the first pose or after the last there is nothing to interpolate.
        i, j = associate(stamps, folder.poses.stamps_ns, _POSE_PERIOD_NS)
        alone = ~known[i]
        poses[i[alone]] = folder.poses.poses[j[alone]]
        known[i[alone]] = True
    return poses, known


def _view(frame: _Frame) -> GroundView:
    """Reads one frame, depth registered to colour.

    Raises:
        DataError: A picture is missing, damaged or of another size.
    """
    folder, path = frame.folder, frame.colour.path
    camera, sensor = folder.colour_camera, folder.depth_camera
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None or pixels.shape[:2] != (camera.height, camera.width):
        raise DataError(f'{path} is not a picture of {camera.width} x {camera.height}')
    counts = read_counts(frame.depth)
    if counts.shape != (sensor.height, sensor.width):
        raise DataError(f'{frame.depth} is not of {sensor.width} x {sensor.height}')
    depth = counts.astype(np.float32) * np.float32(folder.unit_m)
    depth[counts == 0] = np.nan
    if not folder.is_registered:
        depth = register_depth(depth, sensor, camera, folder.T_colour_depth)
    image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    return GroundView(frame.colour.stamp_ns, image, camera, _T_BASE_CAMERA, depth)
