# SPDX-License-Identifier: Apache-2.0
"""The plan of a small flat: rooms, doors and windows, and where furniture may stand.

Everything is in metres in the map frame; the flat's middle is the origin and z = 0 is its floor.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.rooms.furniture import Piece, ROOM_KINDS

Array = NDArray[np.float64]
# x0, y0, x1, y1
Rect = tuple[float, float, float, float]

CEILING_M = 2.6
# Half the thickness of a wall between rooms.
HALF_WALL_M = 0.06
DOOR_M = (0.9, 2.05)
SILL_M, LINTEL_M = 0.9, 2.25
# Somebody who carries a camera needs this much room on each side.
BODY_M = 0.27
CELL_M = 0.05
# No furniture within this distance of a door, inwards.
_DOOR_ROOM_M = 0.85
# Part of every room's floor that stays open for the middle of a walker.
_OPEN_FLOOR = 0.12


@dataclass(frozen=True)
class Opening:
    """A door or window in one side of a room.

    Attributes:
        side: 0 south, 1 east, 2 north, 3 west; along a side one walks with the room to the left.
        start: Where it begins along that side, m.
        end: Where it ends.
        bottom: Lower edge, m over the floor.
        top: Upper edge.
    """

    side: int
    start: float
    end: float
    bottom: float
    top: float


@dataclass
class RoomPlan:
    """One room.

    Attributes:
        rect: Inner faces of its walls.
        kind: A key of `ROOM_KINDS`.
        openings: Doors and windows.
    """

    rect: Rect
    kind: str
    openings: list[Opening] = field(default_factory=list)

    def side(self, index: int) -> tuple[Array, Array, float]:
        """First corner (2,), unit direction (2,) and length of a side; the room lies left."""
        x0, y0, x1, y1 = self.rect
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        a, b = corners[index], corners[(index + 1) % 4]
        length = float(np.linalg.norm(b - a))
        return a, (b - a) / length, length


@dataclass(frozen=True)
class Placed:
    """A piece of furniture in its place.

    Attributes:
        piece: Its kind.
        corner: (2,) where its axes begin.
        along: (2,) direction of its x axis.
        size: Width, depth, height, m.
    """

    piece: Piece
    corner: Array
    along: Array
    size: tuple[float, float, float]

    @property
    def footprint(self) -> Array:
        """Corners (4, 2)."""
        a = self.along * self.size[0]
        b = np.array([-self.along[1], self.along[0]]) * self.size[1]
        return np.array([self.corner, self.corner + a, self.corner + a + b, self.corner + b])


@dataclass
class FlatPlan:
    """A flat.

    Attributes:
        half: (2,) half its size, m.
        rooms: Its rooms.
        doors: Floor of every doorway.
        furniture: What stands in it.
    """

    half: Array
    rooms: list[RoomPlan]
    doors: list[Rect]
    furniture: list[Placed] = field(default_factory=list)

    def free(self) -> NDArray[np.uint8]:
        """(H, W) raster of `CELL_M`, 1 where the floor is free; row 0 is the south."""
        width, height = np.ceil(2 * self.half / CELL_M).astype(int)
        mask = np.zeros((height, width), np.uint8)
        for x0, y0, x1, y1 in [*(room.rect for room in self.rooms), *self.doors]:
            low, high = self.cell(np.array([(x0, y0), (x1, y1)]))
            mask[low[1] : high[1], low[0] : high[0]] = 1
        for item in self.furniture:
            corners = np.rint(self.cell(item.footprint)).astype(np.int32)
            cv2.fillConvexPoly(mask, corners, 0)
        return mask

    def cell(self, xy: Array) -> NDArray[np.int64]:
        """Cells (N, 2), column and row, of places (N, 2)."""
        return np.floor((xy + self.half) / CELL_M + 1e-9).astype(np.int64)

    def place(self, cell: NDArray) -> Array:
        """Middles (N, 2) of cells (N, 2), column and row."""
        return np.asarray((np.asarray(cell) + 0.5) * CELL_M - self.half)

    def is_connected(self) -> bool:
        """Whether somebody can walk between all doors and into every room."""
        room_to_walk = (clearance(self.free()) > BODY_M + 0.05).astype(np.uint8)
        _, part = cv2.connectedComponents(room_to_walk, connectivity=4)
        reached = set()
        for x0, y0, x1, y1 in self.doors:
            column, row = self.cell(np.array([[(x0 + x1) / 2, (y0 + y1) / 2]]))[0]
            reached.add(int(part[row, column]))
        main = int(np.argmax(np.bincount(part[part > 0]))) if (part > 0).any() else 0
        for room in self.rooms:
            low, high = self.cell(np.array([room.rect[:2], room.rect[2:]]))
            inside = part[low[1] : high[1], low[0] : high[0]]
            if (inside == main).mean() < _OPEN_FLOOR:
                return False
        return main > 0 and reached <= {main}


def clearance(free: NDArray[np.uint8]) -> Array:
    """Distance (H, W) of every cell's middle to the nearest one that is not free, m."""
    padded = np.pad(free, 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return np.asarray(distance * CELL_M, np.float64)


def make_plan(rng: np.random.Generator) -> FlatPlan:
    """Draws a flat of one to four rooms, furnished, all of it walkable."""
    count = int(rng.integers(1, 5))
    area = count * rng.uniform(13.0, 19.0)
    ratio = rng.uniform(1.0, 1.5) if count > 1 else rng.uniform(1.0, 1.3)
    size = np.sqrt(area * np.array([ratio, 1 / ratio]))
    plan = _split(rng, size / 2, count)
    for room in plan.rooms:
        _open_windows(rng, plan, room)
    for room in plan.rooms:
        _furnish(rng, plan, room)
    return plan


def _split(rng: np.random.Generator, half: Array, count: int) -> FlatPlan:
    """Cuts the flat into rooms, and a door into every cut."""
    rects: list[Rect] = [(-half[0], -half[1], half[0], half[1])]
    cuts: list[tuple[int, float, float, float]] = []
    while len(rects) < count:
        rects.sort(key=lambda r: (r[2] - r[0]) * (r[3] - r[1]))
        x0, y0, x1, y1 = rects.pop()
        share = rng.uniform(0.42, 0.58)
        if x1 - x0 > y1 - y0:
            x = x0 + share * (x1 - x0)
            rects += [(x0, y0, x, y1), (x, y0, x1, y1)]
            cuts.append((0, x, y0, y1))
        else:
            y = y0 + share * (y1 - y0)
            rects += [(x0, y0, x1, y), (x0, y, x1, y1)]
            cuts.append((1, y, x0, x1))
    kinds = ['living', *rng.permutation(['kitchen', 'bedroom', 'study'])]
    t = HALF_WALL_M
    rooms = [
        RoomPlan((r[0] + t, r[1] + t, r[2] - t, r[3] - t), str(kind))
        for r, kind in zip(rects, kinds, strict=False)
    ]
    plan = FlatPlan(half, rooms, [])
    for axis, at, low, high in cuts:
        _cut_door(rng, plan, axis, at, low, high)
    return plan


def _cut_door(
    rng: np.random.Generator, plan: FlatPlan, axis: int, at: float, low: float, high: float
) -> None:
    """Opens a door in the wall at x (axis 0) or y (axis 1) = `at`, where two rooms share it."""
    before, after = [], []
    other = 1 - axis
    for room in plan.rooms:
        if abs(room.rect[axis + 2] + HALF_WALL_M - at) < 1e-6:
            before.append(room)
        if abs(room.rect[axis] - HALF_WALL_M - at) < 1e-6:
            after.append(room)
    pairs = []
    for a in before:
        for b in after:
            start = max(a.rect[other], b.rect[other], low)
            end = min(a.rect[other + 2], b.rect[other + 2], high)
            if end - start > DOOR_M[0] + 0.3:
                pairs.append((a, b, start, end))
    if not pairs:
        return
    a, b, start, end = pairs[int(rng.integers(len(pairs)))]
    begin = rng.uniform(start + 0.12, end - DOOR_M[0] - 0.12)
    stop = begin + DOOR_M[0]
    wall = (at - HALF_WALL_M, at + HALF_WALL_M)
    if axis == 0:
        plan.doors.append((wall[0], begin, wall[1], stop))
        sides = (1, 3)
    else:
        plan.doors.append((begin, wall[0], stop, wall[1]))
        sides = (2, 0)
    for room, side in ((a, sides[0]), (b, sides[1])):
        corner = room.side(side)[0]
        ends = sorted(abs(v - corner[other]) for v in (begin, stop))
        room.openings.append(Opening(side, ends[0], ends[1], 0.0, DOOR_M[1]))


def _open_windows(rng: np.random.Generator, plan: FlatPlan, room: RoomPlan) -> None:
    """One or two windows in outer walls."""
    outer = []
    edges = (-plan.half[1], plan.half[0], plan.half[1], -plan.half[0])
    for side, index in enumerate((1, 2, 3, 0)):
        if abs(abs(room.rect[index] - edges[side]) - HALF_WALL_M) < 1e-6:
            outer.append(side)
    rng.shuffle(outer)
    for side in outer[:2]:
        length = room.side(side)[2]
        wide = min(rng.uniform(1.0, 2.0), length - 0.8)
        if wide < 0.7:
            continue
        start = rng.uniform(0.4, length - wide - 0.4)
        room.openings.append(Opening(side, start, start + wide, SILL_M, LINTEL_M))


def _furnish(rng: np.random.Generator, plan: FlatPlan, room: RoomPlan) -> None:
    """Sets furniture, as long as one can still walk everywhere."""
    for piece in ROOM_KINDS[room.kind]:
        for _ in range(30):
            item = _somewhere(rng, room, piece)
            if item is None or not _fits(plan, room, item):
                continue
            plan.furniture.append(item)
            if plan.is_connected():
                break
            plan.furniture.pop()


def _somewhere(rng: np.random.Generator, room: RoomPlan, piece: Piece) -> Placed | None:
    """A try at placing a piece, or None if the wall chosen is too short."""
    size = (
        float(rng.uniform(*piece.width)),
        float(rng.uniform(*piece.depth)),
        float(rng.uniform(*piece.height)),
    )
    if piece.free:
        x0, y0, x1, y1 = room.rect
        turn = rng.choice([0.0, np.pi / 2, np.pi, -np.pi / 2]) + rng.normal(0, 0.12)
        corner = np.array([rng.uniform(x0, x1), rng.uniform(y0, y1)])
        return Placed(piece, corner, np.array([np.cos(turn), np.sin(turn)]), size)
    side = int(rng.integers(4))
    corner, along, length = room.side(side)
    if length < size[0] + 0.1:
        return None
    start = rng.uniform(0.02, length - size[0] - 0.02)
    inward = np.array([-along[1], along[0]])
    item = Placed(piece, corner + along * start + inward * 0.02, along, size)
    for gap in room.openings:
        hides = gap.side == side and start < gap.end and start + size[0] > gap.start
        if hides and (gap.bottom == 0 or size[2] > gap.bottom):
            return None
    return item


def _fits(plan: FlatPlan, room: RoomPlan, item: Placed) -> bool:
    """Whether a piece lies in its room, clear of doors and of other pieces."""
    low, high = item.footprint.min(axis=0), item.footprint.max(axis=0)
    x0, y0, x1, y1 = room.rect
    if low[0] < x0 + 0.01 or low[1] < y0 + 0.01 or high[0] > x1 - 0.01 or high[1] > y1 - 0.01:
        return False
    for a, b, c, d in plan.doors:
        near = _DOOR_ROOM_M
        if low[0] < c + near and high[0] > a - near and low[1] < d + near and high[1] > b - near:
            return False
    for other in plan.furniture:
        taken_low = other.footprint.min(axis=0) - 0.04
        taken_high = other.footprint.max(axis=0) + 0.04
        if (low < taken_high).all() and (high > taken_low).all():
            return False
    return True
