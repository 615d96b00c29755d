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
from training.datasets.base import AbstractDataset, UnreadableError
from training.datasets.protocol import Protocol
from training.datasets.sample import Sample
from training.merged_views import Merged, SeenPlace
from training.ranges import OutOfRange

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_STREAM = 0x6E6F76
_KEY = 'novel/'
# No more than this part of a view may have something just before the camera.
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
        self._place: SeenPlace | None = None

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
            self._place = SeenPlace(list(self._readable()))
        made = self._made(self._place, index - len(self._real), self._keys[index])
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

    def _made(self, place: SeenPlace, number: int, key: str) -> Sample | None:
        """One new view; of the best of the poses drawn, where none is good, or None."""
        settings = self._settings
        rng = np.random.default_rng([_STREAM, settings.seed, number])
        best: tuple[float, Merged, Sample, Array] | None = None
        for _ in range(_DRAWS):
            base = int(rng.integers(len(place.frames)))
            turn = np.radians(rng.uniform(-1, 1, 3) * settings.half_deg)
            moved = rng.uniform(-1, 1, 3) * settings.half_m
            T = place.poses[base] @ se3.make(se3.exp_rotation(turn), moved)
            frame = place.frames[base]
            merged = place.seen_from(T, frame.view.camera, settings.frames)
            good = merged is not None and merged.near <= _MAX_NEAR
            if merged is not None and (best is None or merged.known * good > best[0]):
                best = (merged.known * good, merged, frame, T)
            if best is not None and best[0] >= settings.least_known:
                break
        if best is None or best[0] < _LEAST:
            return None
        _, merged, frame, T = best
        other = place.frames[int(rng.integers(len(place.frames)))].view
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
