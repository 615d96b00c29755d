# SPDX-License-Identifier: Apache-2.0
"""One view of a place made of the RGB-D frames that saw most of it, the nearest surface first.

Surfaces have no thickness: a camera that comes to stand behind one sees its front from behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.types import GroundView
from training.augmentation.viewpoint import Warp, warp
from training.datasets.observations import world_of
from training.datasets.sample import Sample

Array = NDArray[np.float64]

# Points of a frame that say what it sees, rows x columns.
_GRID = (9, 12)
# Cells of the new view that frames are chosen to cover.
_CELLS = (6, 8)
# A frame that saw a surface from more than this beside where it is looked at now is not chosen for
# it: it saw another side, and less of it.
_MAX_TURN_DEG = 55.0
# Surfaces that agree to this share are one, seen by two frames.
_AGREES = 0.05
# Nobody holds a camera this near to things, m.
_TOO_NEAR_M = 0.35


@dataclass(frozen=True)
class Merged:
    """A view made of several.

    Attributes:
        image: (H, W, 3) uint8, black where nothing is known.
        depth: (H, W) float32 m, NaN where unknown.
        shown: (H, W) bool, where some frame knows the colour.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    shown: NDArray[np.bool_]

    @property
    def known(self) -> float:
        """Part of the view, 0..1."""
        return float(self.shown.mean())

    @property
    def near(self) -> float:
        """Part of the view, 0..1, with something just before the camera."""
        return float((np.nan_to_num(self.depth, nan=np.inf) < _TOO_NEAR_M).mean())


class SeenPlace:
    """All frames of a place, and what each of them saw, in few points.

    Attributes:
        frames: Those with depth and a pose.
        poses: (N, 4, 4) of their cameras, camera -> map.
    """

    def __init__(self, frames: Sequence[Sample]) -> None:
        """Keeps the frames that have depth and a pose.

        Raises:
            DataError: None has, one is a panorama, or they are of several places.
        """
        self.frames = [f for f in frames if f.view.depth is not None and f.T_map_base is not None]
        if not self.frames:
            raise DataError('novel_views: no frame has both depth and a pose: nothing to carry')
        if any(f.view.camera.wraps for f in self.frames):
            raise DataError('novel_views: panoramas are not carried to other places')
        worlds = sorted({world_of(f) for f in self.frames})
        if len(worlds) > 1:
            raise DataError(
                f'novel_views: frames of {worlds[0]!r} and of {worlds[1]!r} are not in one frame '
                'of reference: train on one place at a time'
            )
        self.poses = np.array([_camera_pose(f) for f in self.frames])
        parts = [_points(f) for f in self.frames]
        # (P, 3) of all frames, m, map frame; and which frame saw it.
        self._points = np.concatenate(parts)
        self._seer = np.repeat(np.arange(len(parts)), [len(p) for p in parts])

    def seen_from(self, T: Array, camera: AbstractCamera, most: int) -> Merged | None:
        """What the frames that see most of it show of a view; None where none sees any of it.

        Args:
            T: (4, 4) pose of the camera, camera -> map.
            camera: Of the view.
            most: So many frames at most.
        """
        local = (self._points - T[:3, 3]) @ T[:3, :3]
        u, v, valid = camera.project_xyz(*local.T)
        seen = self._points - self.poses[self._seer, :3, 3]
        now = self._points - T[:3, 3]
        lengths = np.linalg.norm(seen, axis=1) * np.linalg.norm(now, axis=1)
        cosine = np.einsum('ij,ij->i', seen, now) / np.maximum(lengths, 1e-9)
        with np.errstate(invalid='ignore'):
            inside = valid & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        inside &= cosine > np.cos(np.radians(_MAX_TURN_DEG))
        which = np.flatnonzero(inside)
        rows = (v[which] * _CELLS[0] / camera.height).astype(int)
        columns = (u[which] * _CELLS[1] / camera.width).astype(int)
        # How well (0..1) each frame saw what is in each cell: the cosine between the two looks.
        well = np.zeros((len(self.frames), _CELLS[0] * _CELLS[1]))
        np.maximum.at(well, (self._seer[which], rows * _CELLS[1] + columns), cosine[which])
        warps = [
            warp(self.frames[i].view, se3.inverse(self.poses[i]) @ T, camera)
            for i in _covering(well, most)
        ]
        return _merge(warps) if warps else None


def _covering(well: Array, most: int) -> list[int]:
    """Frames, the best first, each chosen for what those before it saw less well."""
    chosen: list[int] = []
    so_far = np.zeros(well.shape[1])
    for _ in range(min(most, len(well))):
        gains = np.maximum(well, so_far).sum(axis=1)
        gains[chosen] = -1.0
        best = int(gains.argmax())
        if gains[best] <= so_far.sum():
            break
        chosen.append(best)
        so_far = np.maximum(so_far, well[best])
    return chosen


def _merge(warps: Sequence[Warp]) -> Merged:
    """The nearest surface of each pixel, as the first warp shows it that has it."""
    depths = np.stack([np.where(np.isfinite(w.depth), w.depth, np.inf) for w in warps])
    nearest = depths.min(axis=0)
    measured = np.isfinite(nearest)
    with np.errstate(invalid='ignore'):
        has = np.where(measured, depths <= (1 + _AGREES) * nearest, [w.shown for w in warps])
    first = has.argmax(axis=0)
    shown = has.any(axis=0)
    image = np.stack([w.image for w in warps])
    image = np.take_along_axis(image, first[None, ..., None], axis=0)[0]
    depth = np.take_along_axis(depths, first[None], axis=0)[0]
    return Merged(
        np.where(shown[..., None], image, 0).astype(np.uint8),
        np.where(measured, depth, np.nan).astype(np.float32),
        shown,
    )


def _camera_pose(frame: Sample) -> Array:
    T = frame.T_map_camera
    assert T is not None
    return T


def _points(frame: Sample) -> Array:
    """Some points (P, 3) that a frame sees, m, map frame."""
    view: GroundView = frame.view
    assert view.depth is not None
    height, width = view.depth.shape
    rows = ((np.arange(_GRID[0]) + 0.5) * height / _GRID[0]).astype(int)
    columns = ((np.arange(_GRID[1]) + 0.5) * width / _GRID[1]).astype(int)
    depth = view.depth[np.ix_(rows, columns)].astype(np.float64)
    rays = view.camera.rays()[np.ix_(rows, columns)]
    with np.errstate(invalid='ignore', divide='ignore'):
        points = (rays / rays[..., 2:] * depth[..., None]).reshape(-1, 3)
    T = _camera_pose(frame)
    return points[np.isfinite(points).all(axis=1)] @ T[:3, :3].T + T[:3, 3]
