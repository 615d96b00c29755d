# SPDX-License-Identifier: Apache-2.0
"""What each block between streets is used for."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.city.plan import Area, Building, Fence, Furniture, Path, Street, Tree
from geoloc_core.simulation.city.room import area_of, Room

Array = NDArray[np.float64]

USES = ('centre', 'houses', 'flats', 'industry', 'park', 'square', 'market')
# A block's ground, before anything is built on it.
_GROUND = {
    'centre': 'yard', 'houses': 'lawn', 'flats': 'lawn', 'industry': 'gravel', 'park': 'park',
    'square': 'square', 'market': 'parking',
}  # fmt: skip


@dataclass
class Site:
    """A city under construction.

    Attributes:
        room: Free ground.
        streets: All streets.
        buildings: Built so far; likewise the rest.
    """

    room: Room
    streets: tuple[Street, ...]
    buildings: list[Building] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)
    furniture: list[Furniture] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """Ground between streets.

    Attributes:
        outline: (N, 2) counter-clockwise.
        use: One of `USES`.
        middle: (2,) the place farthest from any street.
        radius: Of the largest disc that fits there, m.
        is_rim: It reaches the border of the city.
    """

    outline: Array
    use: str
    middle: Array
    radius: float
    is_rim: bool


class Blocks:
    """All blocks, and which one a place lies in."""

    def __init__(self, rng: np.random.Generator, room: Room, plaza: Array | None) -> None:
        """Finds the blocks and decides on their use.

        Args:
            rng: Of the uses.
            room: With nothing but streets on it.
            plaza: Middle of a square that streets run around, or None.
        """
        self._labels, outlines, self._gsd = room.components()
        self._half = room.half
        shapes = [self._measured(i + 1, outline) for i, outline in enumerate(outlines)]
        use = _uses(rng, shapes, room.half)
        if plaza is not None:
            use[self.index_at(plaza)] = 'square' if rng.random() < 0.6 else 'park'
        # One side of the city's rim is where its halls stand.
        self._halls = float(rng.uniform(0, 2 * np.pi)) if len(outlines) > 6 else None
        self.blocks = [
            Block(o, use[i], middle, radius, rim)
            for i, (o, middle, radius, rim) in enumerate(shapes)
        ]

    def _measured(self, label: int, outline: Array) -> tuple[Array, Array, float, bool]:
        mask = np.pad((self._labels == label).astype(np.uint8), 1)
        away = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[1:-1, 1:-1]
        v, u = np.unravel_index(int(np.argmax(away)), away.shape)
        middle = np.array([u * self._gsd - self._half, self._half - v * self._gsd])
        own = self._labels == label
        rim = bool(own[0].any() or own[-1].any() or own[:, 0].any() or own[:, -1].any())
        return outline, middle, float(away.max() * self._gsd), rim

    def index_at(self, xy: ArrayLike) -> int:
        """Index of the block at a place (2,); -1 on a street."""
        x, y = np.asarray(xy, np.float64)
        u, v = int((x + self._half) / self._gsd), int((self._half - y) / self._gsd)
        side = len(self._labels)
        if not (0 <= u < side and 0 <= v < side):
            return -1
        return int(self._labels[v, u]) - 1

    def use_at(self, xy: ArrayLike) -> str:
        """Use of the block at a place; the empty word on a street or outside."""
        i = self.index_at(xy)
        if i < 0:
            return ''
        block = self.blocks[i]
        if block.is_rim and block.use == 'houses' and self._halls is not None:
            x, y = np.asarray(xy, np.float64)
            turn = (np.arctan2(y, x) - self._halls + np.pi) % (2 * np.pi) - np.pi
            return 'industry' if abs(turn) < 0.55 else 'houses'
        return block.use

    def areas(self) -> list[Area]:
        """The blocks' own ground."""
        return [Area(_GROUND[b.use], b.outline) for b in self.blocks if not b.is_rim or
                b.use in ('industry', 'flats')]  # fmt: skip


def _uses(
    rng: np.random.Generator, shapes: list[tuple[Array, Array, float, bool]], half: float
) -> list[str]:
    """Houses at the rim, an old centre, and a few blocks of every other kind."""
    use = []
    for outline, middle, radius, rim in shapes:
        away = float(np.linalg.norm(middle)) / half + rng.normal(0, 0.18)
        if radius < 7 or area_of(outline) < 350:
            use.append('park')
        elif rim:
            use.append('houses')
        else:
            use.append('centre' if away < 0.45 else ('flats' if rng.random() < 0.28 else 'houses'))
    inner = [i for i in rng.permutation(len(shapes)) if not shapes[i][3] and shapes[i][2] > 12]
    size = {i: area_of(shapes[i][0]) for i in inner}
    taken: set[int] = set()

    def give(kind: str, count: int, smallest: float, largest: float) -> None:
        for i in inner:
            if count and i not in taken and smallest < size[i] < largest:
                use[i] = kind
                taken.add(i)
                count -= 1

    # Small cities keep most of their few blocks for houses.
    few = len(inner) < 6
    give('square', 0 if few else 1, 700, 6000)
    give('park', 1 if few else max(1, len(inner) // 9), 1200, 16000)
    give('market', 0 if few else max(1, len(inner) // 18), 2200, 12000)
    if not few:
        # Never all of the land around a city.
        rims = [i for i, s in enumerate(shapes) if s[3] and s[2] > 22]
        for i in rng.permutation(rims)[: len(rims) // 4]:
            if area_of(shapes[int(i)][0]) < 0.1 * (2 * half) ** 2:
                use[int(i)] = 'industry'
        give('industry', len(inner) // 16, 3500, 20000)
        give('flats', max(1, len(inner) // 7), 2500, 20000)
    return use
