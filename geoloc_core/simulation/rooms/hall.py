# SPDX-License-Identifier: Apache-2.0
"""A hall with an open door in a city: what a robot meets that drives in from the street."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.city.plan import Building, Doorway
from geoloc_core.simulation.city.room import Frame
from geoloc_core.simulation.mesh import MeshBuilder
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.rooms.drawing import colour, Drawing, poster, weave, wood
from geoloc_core.simulation.rooms.furniture import (
    BOARD,
    BOXES,
    DESK,
    LOW_SHELF,
    Piece,
    PLANT,
    SHELF,
    SOFA,
    WARDROBE,
)

Array = NDArray[np.float64]
Rng = np.random.Generator

WALL_M = 0.3
CEILING_M = 4.0
HEIGHT_M = 5.2
DOOR_M = (2.4, 2.6)
# The floor lies a little over the street's plane, which runs on below it.
FLOOR_M = 0.01
# What hangs on walls and doors stands off them by this, so that nothing flickers.
_SKIN_M = 0.004
# Half the size of what stands in the middle of each half of the hall, m.
ISLAND_M = (1.1, 0.8)
_AT_WALLS: tuple[Piece, ...] = (SHELF, BOXES, LOW_SHELF, WARDROBE, DESK, BOXES, SOFA, PLANT, BOARD)


@dataclass(frozen=True)
class Hall:
    """A hall of one room, its door in the middle of its front.

    Its own axes: u along the front, v inwards, both 0 in the middle of the door, in the plane of
    the front's outer face.

    Attributes:
        seed: Of what stands and hangs in it.
        frame: Its axes in the map.
        size: (length along the front, depth), outer faces, m.
        forecourt_m: From the front to the outer edge of the pavement.
        pavement_m: From the front to where one walks on the pavement.
        building: The hall as the city's plan has it.
    """

    seed: int
    frame: Frame
    size: tuple[float, float]
    forecourt_m: float
    pavement_m: float
    building: Building

    @property
    def lanes(self) -> tuple[float, float, float]:
        """|u| of the outer lanes, v of the lane behind the front and of that at the far wall."""
        return self.size[0] / 2 - 1.9, 2.0, self.size[1] - 2.0

    @property
    def islands(self) -> Array:
        """(2, 2) middles of what stands in the hall, own axes."""
        u, v = 0.25 * self.size[0], 0.5 * self.size[1]
        return np.array([(-u, v), (u, v)])

    def own(self, xy: ArrayLike) -> Array:
        """Places (N, 2) of the map in the hall's own axes."""
        away = np.asarray(xy, np.float64).reshape(-1, 2) - self.frame.origin
        return np.stack([away @ self.frame.along, away @ self.frame.away], axis=-1)

    def is_inside(self, xy: ArrayLike) -> NDArray[np.bool_]:
        """Which places (N, 2) of the map lie under its roof."""
        u, v = self.own(xy).T
        return (np.abs(u) <= self.size[0] / 2) & (v >= 0) & (v <= self.size[1])

    def draw(self, builder: MeshBuilder) -> None:
        """Adds what is inside, and the front's posters; walls and roof are the building's."""
        rng = np.random.default_rng([self.seed, 76])
        d = Drawing(builder, (*self.frame.origin, FLOOR_M), self.frame.along)
        length, depth = self.size
        u, v = length / 2 - WALL_M, depth - WALL_M
        _floor(d, rng, (-u, 0.0, u, v))
        _ceiling(d, rng, (-u, WALL_M, u, v))
        door = (u - DOOR_M[0] / 2, u + DOOR_M[0] / 2)
        for corner, yaw, long, gap in (
            ((-u, WALL_M), 0.0, 2 * u, door),
            ((u, WALL_M), np.pi / 2, v - WALL_M, None),
            ((u, v), np.pi, 2 * u, None),
            ((-u, v), -np.pi / 2, v - WALL_M, None),
        ):
            _wall(d.moved(*corner, 0.0, yaw), rng, long, gap)
        _jambs(d)
        for middle in self.islands:
            _island(d.moved(*middle), rng)
        _front(d, rng)


def make_hall(
    seed: int,
    frame: Frame,
    size: tuple[float, float],
    forecourt_m: float,
    pavement_m: float,
) -> Hall:
    """A hall on a plot; see `Hall` for the arguments."""
    rng = np.random.default_rng([seed, 75])
    length, depth = size
    start = (length - DOOR_M[0]) / 2
    r, g, b = (int(v) for v in rng.uniform(140, 225, 3))
    building = Building(
        frame.box(-length / 2, 0.0, length, depth),
        HEIGHT_M,
        0.0,
        int(rng.integers(0, 6)),
        (r, g, b),
        (112, 110, 106),
        roof='flat',
        extras=('plant',),
        doors=(Doorway(0, start, start + DOOR_M[0], DOOR_M[1] + FLOOR_M),),
    )
    return Hall(seed, frame, size, forecourt_m, pavement_m, building)


def _floor(d: Drawing, rng: Rng, rect: tuple[float, float, float, float]) -> None:
    """Slabs, no two quite alike, and carpets."""
    u0, v0, u1, v1 = rect
    base, step = np.array(colour(rng, 130, 215)), 0.6
    d.quad((u0, v0, -0.004), (u1 - u0, 0, 0), (0, v1 - v0, 0), (112, 108, 102))
    for u in np.arange(u0, u1, step):
        for v in np.arange(v0, v1, step):
            r, g, b = base * rng.uniform(0.72, 1.1)
            wide, deep = min(step, u1 - u) - 0.012, min(step, v1 - v) - 0.012
            if wide > 0 and deep > 0:
                d.quad((u, v, 0), (wide, 0, 0), (0, deep, 0), (r, g, b), Material.INTERIOR_WALL)
    for _ in range(5):
        wide, deep = rng.uniform(1.4, 2.6, 2)
        corner = (rng.uniform(u0 + 0.8, u1 - 0.8 - wide), rng.uniform(1.0, v1 - 0.6 - deep), 0.004)
        d.image(corner, (wide, 0, 0), (0, deep, 0), weave(rng, 15, 12))


def _ceiling(d: Drawing, rng: Rng, rect: tuple[float, float, float, float]) -> None:
    """Panels between beams, and lamps."""
    u0, v0, u1, v1 = rect
    d.quad((u0, v0, CEILING_M), (u1 - u0, 0, 0), (0, v1 - v0, 0), (214, 212, 206))
    for u in np.arange(u0 + 1.2, u1 - 0.3, 2.4):
        low = CEILING_M - rng.uniform(0.2, 0.35)
        d.box((u, v0, low), (u + 0.18, v1, CEILING_M), colour(rng, 60, 170))
        for v in np.arange(v0 + 1.0, v1 - 0.6, 2.2):
            u_lamp = u + rng.uniform(0.6, 1.4)
            if u_lamp + 0.5 < u1:
                high = CEILING_M - rng.uniform(0.3, 0.7)
                box = (u_lamp, v, high), (u_lamp + 0.5, v + 0.5, high + 0.12)
                d.box(*box, colour(rng, 180, 255))


def _wall(d: Drawing, rng: Rng, length: float, gap: tuple[float, float] | None) -> None:
    """One wall: panels, posters in two rows, furniture before it.

    Args:
        d: Axes at the wall's first corner: x along it, y into the hall.
        rng: Of everything on it.
        length: m.
        gap: (start, end) of the door, or None.
    """
    base = np.array(colour(rng, 150, 235))
    u = 0.0
    while u < length - 1e-6:
        end = min(u + rng.uniform(0.5, 0.9), length)
        r, g, b = base * rng.uniform(0.78, 1.06)
        for start, stop, bottom in _clear_of(u, end, gap):
            d.quad((start, 0, bottom), (stop - start, 0, 0), (0, 0, CEILING_M - bottom), (r, g, b))
        u = end
    for low, high, tall in ((1.25, 1.4, (0.6, 0.9)), (2.45, 2.6, (0.7, 1.2))):
        _posters(d, rng, (length, gap), (low, high), tall)
    u = 0.35
    while u < length - 0.6:
        piece = _AT_WALLS[int(rng.integers(len(_AT_WALLS)))]
        wide, deep, tall_m = (
            float(rng.uniform(*span)) for span in (piece.width, piece.depth, piece.height)
        )
        beside_door = gap is not None and u < gap[1] + 0.7 and u + wide > gap[0] - 0.7
        if u + wide < length - 0.9 and not beside_door:
            piece.draw(d.moved(u, 0.02), rng, wide, min(deep, 0.6), tall_m)
        u += wide + rng.uniform(0.15, 0.7)


def _clear_of(
    start: float, end: float, gap: tuple[float, float] | None
) -> Iterator[tuple[float, float, float]]:
    """Pieces (start, end, bottom) of a strip of wall, which over the door begin above it."""
    cuts = [start, *(g for g in gap or () if start < g < end), end]
    for a, b in pairwise(cuts):
        over = gap is not None and gap[0] < (a + b) / 2 < gap[1]
        yield a, b, DOOR_M[1] if over else 0.0


def _posters(
    d: Drawing,
    rng: Rng,
    wall: tuple[float, tuple[float, float] | None],
    low: tuple[float, float],
    tall: tuple[float, float],
) -> None:
    """A row of pictures, each like no other, where no door is."""
    length, gap = wall
    u = rng.uniform(0.1, 0.4)
    while u < length - 0.6:
        wide, high, z = rng.uniform(0.5, 1.2), rng.uniform(*tall), rng.uniform(*low)
        beside = gap is None or u > gap[1] + 0.05 or u + wide < gap[0] - 0.05
        if u + wide < length - 0.05 and (beside or z > DOOR_M[1]):
            pixels = poster(rng, int(rng.integers(16, 26)), int(rng.integers(16, 26)))
            d.image((u, _SKIN_M, z), (wide, 0, 0), (0, 0, high), pixels)
        u += wide + rng.uniform(0.1, 0.5)


def _jambs(d: Drawing) -> None:
    """Both sides and the top of the doorway, in the thickness of the wall."""
    half, top = DOOR_M[0] / 2, DOOR_M[1]
    for u in (-half, half):
        d.quad((u, 0, 0), (0, WALL_M, 0), (0, 0, top), (206, 204, 198))
    d.quad((-half, 0, top), (2 * half, 0, 0), (0, WALL_M, 0), (206, 204, 198))


def _island(d: Drawing, rng: Rng) -> None:
    """A plinth with a board across it that has pictures on both sides, and boxes before it."""
    half_u, half_v = ISLAND_M
    d.box((-half_u, -half_v, 0), (half_u, half_v, 0.25), wood(rng), Material.WOOD)
    d.box((-half_u, -0.04, 0.25), (half_u, 0.04, 1.9), colour(rng, 60, 200))
    for side in (0.0, np.pi):
        face = d.moved(0.0, 0.0, 0.0, side)
        for u in (-half_u + 0.05, 0.03):
            place = (u, 0.04 + _SKIN_M, 0.85)
            face.image(place, (half_u - 0.1, 0, 0), (0, 0, 0.95), poster(rng, 22, 22))
        for u in np.arange(-half_u + 0.1, half_u - 0.5, 0.65):
            size = (0.5, 0.45, float(rng.uniform(0.3, 0.6)))
            BOXES.draw(face.moved(float(u), 0.25, 0.25), rng, *size)


def _front(d: Drawing, rng: Rng) -> None:
    """Banners on both sides of the door and a sign over it, seen from the street."""
    out = d.moved(0.0, 0.0, 0.0, np.pi)
    half = DOOR_M[0] / 2
    for u in (-half - 1.7, half + 0.3):
        out.image((u, _SKIN_M, 0.5), (1.4, 0, 0), (0, 0, 2.0), poster(rng, 30, 22))
    out.image(
        (-half, _SKIN_M, DOOR_M[1] + 0.15), (2 * half, 0, 0), (0, 0, 1.0), poster(rng, 14, 32)
    )
