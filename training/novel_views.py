# SPDX-License-Identifier: Apache-2.0
"""A mapped place seen from where nobody stood: pictures made of all of its RGB-D frames.

A regressor that was shown one walk through a room knows that walk. Its frames together know the
room: each new view takes, pixel by pixel, what the frames that saw that part of the room show of
it, carried through their depth, the nearest surface first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.types import GroundView
from training.augmentation.viewpoint import Warp, warp
from training.datasets.base import AbstractDataset, UnreadableError
from training.datasets.observations import world_of
from training.datasets.protocol import Protocol
from training.datasets.sample import Sample
from training.loop.reading import OutOfRange

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_STREAM = 0x6E6F76
_KEY = 'novel/'
# Points of a frame that say what it sees, rows x columns.
_GRID = (9, 12)
# Cells of the new view that frames are chosen to cover.
_CELLS = (6, 8)
# A frame that saw a surface from more than this beside where it is looked at now is not chosen for
# it: it saw another side, and less of it.
_MAX_TURN_DEG = 55.0
# Surfaces that agree to this share are one, seen by two frames.
_AGREES = 0.05
# Nobody holds a camera this near to things, m; not more than this share of a view may be nearer.
_TOO_NEAR_M = 0.35
_MAX_NEAR = 0.03
# A view is drawn so often at most; one of which then less than this part is known is given up.
_DRAWS = 20
_LEAST = 0.05


@dataclass(frozen=True)
class NovelViews:
    """How many, and from where.

    Attributes:
        count: Views, besides the frames themselves.
        half_m: (right, down, forward) from a frame's camera, uniformly within plus or minus, m.
        half_deg: (pitch, yaw, roll) of the camera likewise, about its own x, y and z axes.
        frames: A view is made of so many frames at most.
        least_known: Part of a view, 0..1, that they shall show; others are drawn anew, and the one
            of twenty that shows most is taken where none shows so much.
        distraction: Share of the views whose unknown parts show what another frame saw, in place
            of nothing: a robot's camera shows more than the map knows, and never a black hole.
        seed: Of all draws.
    """

    count: int
    half_m: tuple[float, float, float] = (0.4, 0.2, 0.4)
    half_deg: tuple[float, float, float] = (12.0, 35.0, 12.0)
    frames: int = 6
    least_known: float = 0.5
    distraction: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name, least in (('count', 1), ('frames', 1), ('seed', 0)):
            if getattr(self, name) < least:
                raise OutOfRange(name, f'{least} or more')
        for name, most in (('half_m', 10.0), ('half_deg', 180.0)):
            if not all(0 <= v <= most for v in getattr(self, name)):
                raise OutOfRange(name, f'three numbers of 0..{most:g}')
        for name in ('least_known', 'distraction'):
            if not 0 <= getattr(self, name) <= 1:
                raise OutOfRange(name, 'a part, 0..1')


class WithNovelViews(AbstractDataset):
    """The frames of a data set, and views of the same place that are made of them.

    Views are of the frames' own cameras, at their reduced size, in which all frames are held in
    memory together. Frames must be of one place, and know their depth and pose; those that cannot
    be read are left out. Surfaces have no thickness: a camera that comes to stand behind one sees
    its front from behind.
    """

    NAME = 'novel views'
    LAYOUT = '  of the data set that they are made of\n'

    def __init__(
        self,
        frames: AbstractDataset,
        settings: NovelViews,
        reduce: Callable[[Sample], Sample] | None = None,
    ) -> None:
        """Takes the frames.

        Args:
            frames: Read when the first view is made, once in each process.
            settings: How many, and from where.
            reduce: Brings a frame to the size of the views.

        Raises:
            DataError: No frames.
        """
        if not len(frames):
            raise DataError(f'novel_views: {frames.root} has no frame to make views of')
        self.SPLITS = frames.SPLITS  # type: ignore[misc]
        super().__init__(frames.root, frames.split, seed=frames.seed)
        self._real, self._settings, self._reduce = frames, settings, reduce
        self._keys = [*frames.keys, *(f'{_KEY}{i:06d}' for i in range(settings.count))]
        self._place: _Place | None = None

    @property
    def opened(self) -> str:
        """See `AbstractDataset`: of the frames, and of the views."""
        name = getattr(self._reduce, 'name', '')
        return f'{self._real.opened} {self._settings} {name}'

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Never: it is made of another one."""
        return False

    @property
    def keys(self) -> Sequence[str]:
        """Those of the frames, then 'novel/000000' and so on."""
        return self._keys

    @property
    def protocol(self) -> Protocol | None:
        """That of the frames."""
        return self._real.protocol

    def files(self, index: int) -> tuple[Path, ...]:
        """Of a frame, its own; of a view, none of its own."""
        return self._real.files(index) if index < len(self._real) else ()

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """A frame as it is, or a view; a view is the same in every epoch."""
        if index < len(self._real):
            return self._real.sample(index, epoch)
        if self._place is None:
            self._place = _Place(list(self._readable()))
        made = self._place.view(index - len(self._real), self._keys[index], self._settings)
        if made is None:
            raise UnreadableError(
                self.root / self._keys[index],
                'poses from which the frames show something: narrow novel_views.half_m, half_deg',
            )
        return made

    def _readable(self) -> Iterator[Sample]:
        """The frames, each reduced before the next one is read."""
        for i in range(len(self._real)):
            try:
                frame = self._real.sample(i)
            except UnreadableError as error:
                log.warning('%s: no novel view is made of it', error)
                continue
            yield self._reduce(frame) if self._reduce else frame


class _Place:
    """All frames, and what each of them saw, in few points."""

    def __init__(self, frames: Sequence[Sample]) -> None:
        self._frames = [f for f in frames if f.view.depth is not None and f.T_map_base is not None]
        if not self._frames:
            raise DataError('novel_views: no frame has both depth and a pose: nothing to carry')
        if any(f.view.camera.wraps for f in self._frames):
            raise DataError('novel_views: panoramas are not carried to other places')
        worlds = sorted({world_of(f) for f in self._frames})
        if len(worlds) > 1:
            raise DataError(
                f'novel_views: frames of {worlds[0]!r} and of {worlds[1]!r} are not in one frame '
                'of reference: train on one place at a time'
            )
        self._poses = np.array([_camera_pose(f) for f in self._frames])
        parts = [_points(f) for f in self._frames]
        # (P, 3) of all frames, m, map frame; and which frame saw it.
        self._points = np.concatenate(parts)
        self._seer = np.repeat(np.arange(len(parts)), [len(p) for p in parts])

    def view(self, number: int, key: str, settings: NovelViews) -> Sample | None:
        """One new view; of the best of the poses drawn, where none is good, or None."""
        rng = np.random.default_rng([_STREAM, settings.seed, number])
        best: tuple[float, _Merged, Sample, Array] | None = None
        for _ in range(_DRAWS):
            base = int(rng.integers(len(self._frames)))
            turn = np.radians(rng.uniform(-1, 1, 3) * settings.half_deg)
            moved = rng.uniform(-1, 1, 3) * settings.half_m
            T = self._poses[base] @ se3.make(se3.exp_rotation(turn), moved)
            frame = self._frames[base]
            merged = self._merged(T, frame, settings.frames)
            good = merged is not None and merged.near <= _MAX_NEAR
            if merged is not None and (best is None or merged.known * good > best[0]):
                best = (merged.known * good, merged, frame, T)
            if best is not None and best[0] >= settings.least_known:
                break
        if best is None or best[0] < _LEAST:
            return None
        _, merged, frame, T = best
        other = self._frames[int(rng.integers(len(self._frames)))].view
        image, depth = merged.image, merged.depth
        if rng.uniform() < settings.distraction and other.image.shape == image.shape:
            image = np.where(merged.shown[..., None], image, other.image)
            depth = np.where(merged.shown, depth, other.depth)
        view = replace(frame.view, image=image, depth=depth)
        return Sample(
            key=key,
            sequence=frame.sequence,
            view=view,
            T_map_base=T @ se3.inverse(frame.view.T_base_camera),
            datum=frame.datum,
        )

    def _merged(self, T: Array, frame: Sample, most: int) -> '_Merged | None':
        """What the frames that see most of it show of a pose (4, 4), camera -> map."""
        camera = frame.view.camera
        local = (self._points - T[:3, 3]) @ T[:3, :3]
        u, v, valid = camera.project_xyz(*local.T)
        seen = self._points - self._poses[self._seer, :3, 3]
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
        well = np.zeros((len(self._frames), _CELLS[0] * _CELLS[1]))
        np.maximum.at(well, (self._seer[which], rows * _CELLS[1] + columns), cosine[which])
        warps = [
            warp(self._frames[i].view, se3.inverse(self._poses[i]) @ T, camera)
            for i in _covering(well, most)
        ]
        return _merge(warps) if warps else None


@dataclass(frozen=True)
class _Merged:
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


def _merge(warps: Sequence[Warp]) -> _Merged:
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
    return _Merged(
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
