# SPDX-License-Identifier: Apache-2.0
"""Indoor rooms for RGB-D: a furnished flat of one to four rooms, from a seed.

room = make_room(seed=3)
walk = room_trajectory(room, seed=1, frames=600)        # in room_paths
picture = render(room.scene(), camera, walk.T_map_camera[0])
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.mesh import Mesh, MeshBuilder
from geoloc_core.simulation.render.appearance import Appearance, Light
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.render.scene import Scene
from geoloc_core.simulation.rooms.drawing import colour, Drawing, poster, Rgb, weave, wood
from geoloc_core.simulation.rooms.plan import (
    CEILING_M,
    FlatPlan,
    HALF_WALL_M,
    make_plan,
    Opening,
    Rect,
    RoomPlan,
)

Array = NDArray[np.float64]

# Paint and tiles lie this far off the wall, so that nothing flickers.
_SKIN_M = 0.0015
# The house across the street, seen through the windows, and how far below the street is.
_ACROSS_M, _STREET_M = 14.0, -6.5


@dataclass(frozen=True)
class Room:
    """A flat and everything in it.

    Attributes:
        seed: It was made from.
        plan: Rooms, doors, windows, furniture; tells where one can walk.
        sunny: The sun shines through the windows.
    """

    seed: int
    plan: FlatPlan
    sunny: bool

    @cached_property
    def mesh(self) -> Mesh:
        """All triangles."""
        return Mesh(_build(self))

    def scene(self, appearance: Appearance | Light | None = None) -> Scene:
        """The flat by day.

        Args:
            appearance: Another light; the room's own if None.

        Returns:
            The scene.
        """
        return Scene(
            self.mesh,
            Ground(np.full((64, 64, 3), 120, np.uint8), 32.0, self.seed),
            Facades(self.seed),
            appearance or self.light,
        )

    @property
    def light(self) -> Light:
        """Even light from all sides, as walls and ceiling spread it, and the sun if it shines."""
        rng = np.random.default_rng([self.seed, 71])
        tint = 1 + rng.uniform(-0.05, 0.05, 3)
        return Light(
            azimuth=rng.uniform(-np.pi, np.pi),
            elevation=rng.uniform(0.35, 0.75),
            sun=0.5 if self.sunny else 0.0,
            sky=rng.uniform(0.72, 0.92),
            tint=(float(tint[0]), float(tint[1]), float(tint[2])),
            haze_m=1e5,
        )


def make_room(seed: int) -> Room:
    """Makes a flat.

    Args:
        seed: The same seed gives the same flat, to the byte.

    Returns:
        One to four rooms with doors, windows and furniture.
    """
    rng = np.random.default_rng([seed, 70])
    return Room(seed, make_plan(rng), bool(rng.random() < 0.5))


def _build(room: Room) -> MeshBuilder:
    rng = np.random.default_rng([room.seed, 72])
    builder = MeshBuilder()
    drawing = Drawing(builder, (0.0, 0.0, 0.0), (1.0, 0.0))
    for part in room.plan.rooms:
        _floor(drawing, rng, part.rect)
        for side in range(4):
            _wall(builder, rng, part, side)
        _ceiling(drawing, rng, part.rect)
    for rect in room.plan.doors:
        _doorway(drawing, rect)
    for item in room.plan.furniture:
        place = Drawing(builder, (*item.corner, 0.0), item.along)
        item.piece.draw(place, rng, *item.size)
    _outside(builder, rng, room.plan)
    return builder


def _floor(d: Drawing, rng: np.random.Generator, rect: Rect) -> None:
    """Planks, tiles or carpet, and often a rug."""
    x0, y0, x1, y1 = rect
    kind = int(rng.integers(3))
    if kind == 0:
        base = np.array(wood(rng))
        wide = rng.uniform(0.09, 0.16)
        y = y0
        while y < y1 - 1e-6:
            end = min(y + wide, y1)
            x = x0 - rng.uniform(0, 1.2)
            while x < x1:
                length = rng.uniform(0.7, 1.5)
                left, right = max(x, x0), min(x + length, x1)
                if right > left:
                    r, g, b = base * rng.uniform(0.78, 1.1)
                    size = (right - left - 0.003, 0, 0)
                    d.quad((left, y, 0), size, (0, end - y - 0.003, 0), (r, g, b), Material.WOOD)
                x += length
            y = end
        d.quad((x0, y0, -_SKIN_M), (x1 - x0, 0, 0), (0, y1 - y0, 0), (60, 48, 40))
    elif kind == 1:
        base = np.array(colour(rng, 120, 230))
        step = rng.uniform(0.28, 0.45)
        d.quad((x0, y0, -_SKIN_M), (x1 - x0, 0, 0), (0, y1 - y0, 0), (110, 108, 104))
        for x in np.arange(x0, x1, step):
            for y in np.arange(y0, y1, step):
                r, g, b = base * rng.uniform(0.86, 1.06)
                w, h = min(step, x1 - x) - 0.006, min(step, y1 - y) - 0.006
                if w > 0 and h > 0:
                    d.quad((x, y, 0), (w, 0, 0), (0, h, 0), (r, g, b), Material.INTERIOR_WALL)
    else:
        rgb = colour(rng, 90, 190)
        d.quad((x0, y0, 0), (x1 - x0, 0, 0), (0, y1 - y0, 0), rgb, Material.FABRIC)
    if rng.random() < 0.7:
        room = np.array([x1 - x0, y1 - y0])
        spread = np.minimum(rng.uniform(1.0, 2.2, 2), room - 0.6)
        low = np.array([x0, y0]) + rng.uniform(0.2, 0.8) * (room - spread)
        rug = np.kron(weave(rng, 11, 9), np.ones((2, 2, 1), np.uint8))
        d.image((low[0], low[1], 0.006), (spread[0], 0, 0), (0, spread[1], 0), rug)


def _ceiling(d: Drawing, rng: np.random.Generator, rect: Rect) -> None:
    x0, y0, x1, y1 = rect
    plane = ((x1 - x0, 0, 0), (0, y1 - y0, 0))
    d.quad((x0, y0, CEILING_M), *plane, (236, 235, 230), Material.INTERIOR_WALL)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    size = rng.uniform(0.15, 0.25)
    low = CEILING_M - rng.uniform(0.12, 0.5)
    d.box((x - 0.01, y - 0.01, low), (x + 0.01, y + 0.01, CEILING_M), (70, 70, 70))
    d.box((x - size, y - size, low - 0.12), (x + size, y + size, low), colour(rng, 190, 250))


def _wall(builder: MeshBuilder, rng: np.random.Generator, room: RoomPlan, side: int) -> None:
    """One wall with its paint or paper, skirting, windows, and what hangs on it."""
    corner, along, length = room.side(side)
    d = Drawing(builder, (*corner, 0.0), along)
    gaps = [gap for gap in room.openings if gap.side == side]
    paint = np.random.default_rng(np.abs(np.array(room.rect) * 1e3).astype(np.int64))
    base = colour(paint, 150, 238)
    papered = paint.random() < 0.8 or room.kind == 'living'
    pattern = weave(paint, 6, 4)
    for start, end, bottom, top in _solid(length, gaps):
        d.quad((start, 0, bottom), (end - start, 0, 0), (0, 0, top - bottom), base,
               Material.INTERIOR_WALL)  # fmt: skip
        if papered:
            _paper(d, pattern, base, (start, end, bottom, top))
        if bottom == 0:
            d.box((start, 0, 0), (end, 0.012, 0.07), (226, 224, 218))
    for gap in gaps:
        if gap.bottom > 0:
            _window(d, rng, gap)
        else:
            _frame(d, gap)
    _hang(d, rng, length, gaps)


def _solid(length: float, gaps: list[Opening]) -> list[tuple[float, float, float, float]]:
    """What is left of a wall around its openings: (start, end, bottom, top) pieces."""
    pieces, at = [], 0.0
    for gap in sorted(gaps, key=lambda g: g.start):
        if gap.start > at:
            pieces.append((at, gap.start, 0.0, CEILING_M))
        if gap.bottom > 0:
            pieces.append((gap.start, gap.end, 0.0, gap.bottom))
        pieces.append((gap.start, gap.end, gap.top, CEILING_M))
        at = max(at, gap.end)
    if at < length:
        pieces.append((at, length, 0.0, CEILING_M))
    return pieces


def _paper(
    d: Drawing, pattern: NDArray[np.uint8], base: Rgb, piece: tuple[float, float, float, float]
) -> None:
    """Wallpaper: a small pattern, repeated, a little darker or lighter than the wall."""
    start, end, bottom, top = piece
    rows, columns = pattern.shape[:2]
    # Stems lead up, leaves stand on them; how large and how dark repeats with the pattern.
    step = 0.16 + 0.1 * float(pattern[0, 0, 0]) / 255
    for j in range(int(np.ceil(start / step)), int((end - 0.12) / step) + 1):
        x = j * step
        if x + 0.1 > end:
            continue
        for i in range(int(np.ceil(bottom / step)), int((top - 0.05) / step)):
            red, green, _ = (float(v) / 255 for v in pattern[i % rows, j % columns])
            tone, size = 0.62 + 0.5 * red, 0.35 * step + 0.25 * step * green
            rgb = (base[0] * tone, base[1] * tone, base[2] * tone)
            lean = (0.5 - red) * size
            low = (x + max(0.0, -lean), _SKIN_M, i * step + 0.02)
            d.quad(low, (0.55 * size, 0, 0), (lean, 0, size), rgb)


def _window(d: Drawing, rng: np.random.Generator, gap: Opening) -> None:
    """Reveals, a frame, a sill with things on it, a radiator below and perhaps a curtain."""
    white = (232, 232, 228)
    wide, tall = gap.end - gap.start, gap.top - gap.bottom
    out = -0.18
    for z in (gap.bottom, gap.top):
        d.quad((gap.start, out, z), (wide, 0, 0), (0, -out, 0), white)
    for x in (gap.start, gap.end):
        d.quad((x, out, gap.bottom), (0, -out, 0), (0, 0, tall), white)
    bars = [gap.start, (gap.start + gap.end) / 2 - 0.03, gap.end - 0.06]
    for x in bars:
        d.box((x, out, gap.bottom), (x + 0.06, out + 0.05, gap.top), white)
    for z in (gap.bottom, gap.top - 0.06):
        d.box((gap.start, out, z), (gap.end, out + 0.05, z + 0.06), white)
    d.box((gap.start - 0.05, 0, gap.bottom - 0.04), (gap.end + 0.05, 0.14, gap.bottom), white)
    for x in np.arange(gap.start + 0.1, gap.end - 0.25, rng.uniform(0.4, 0.8)):
        size = rng.uniform(0.08, 0.16)
        low = (x, 0.0, gap.bottom)
        d.box(low, (x + size, 0.12, gap.bottom + size), colour(rng))
    for x in np.arange(gap.start + 0.1, gap.end - 0.1, 0.09):
        d.box((x, 0.02, 0.12), (x + 0.07, 0.09, gap.bottom - 0.15), (236, 236, 232))
    if rng.random() < 0.7:
        cloth = weave(rng, 20, 6)
        for x in (gap.start - 0.25, gap.end - 0.05):
            d.image((x, 0.1, 0.3), (0.3, 0, 0), (0, 0, gap.top - 0.15), cloth)


def _frame(d: Drawing, gap: Opening) -> None:
    """The frame around a door."""
    white = (228, 226, 220)
    for x in (gap.start - 0.06, gap.end):
        d.box((x, 0, 0), (x + 0.06, 0.015, gap.top + 0.06), white)
    d.box((gap.start, 0, gap.top), (gap.end, 0.015, gap.top + 0.06), white)


def _hang(d: Drawing, rng: np.random.Generator, length: float, gaps: list[Opening]) -> None:
    """Pictures, posters and a clock where no opening is."""
    x = rng.uniform(0.15, 0.5)
    while x < length - 0.4:
        wide, tall = rng.uniform(0.25, 0.7), rng.uniform(0.3, 0.8)
        low = rng.uniform(1.2, 1.5)
        clear = all(x + wide < gap.start - 0.08 or x > gap.end + 0.08 for gap in gaps)
        if clear and x + wide < length - 0.1 and rng.random() < 0.9:
            rgb = colour(rng, 20, 220)
            d.box((x, 0, low), (x + wide, 0.02, low + tall), rgb)
            pixels = poster(rng, int(rng.integers(18, 32)), int(rng.integers(16, 28)))
            place = (x + 0.03, 0.022, low + 0.03)
            d.image(place, (wide - 0.06, 0, 0), (0, 0, tall - 0.06), pixels)
        x += wide + rng.uniform(0.06, 0.35)


def _doorway(d: Drawing, rect: Rect) -> None:
    """Jambs, lintel and threshold in the thickness of a wall."""
    x0, y0, x1, y1 = rect
    top, white = 2.05, (222, 220, 214)
    across = x1 - x0 < 3 * HALF_WALL_M
    jambs: list[tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]]
    if across:
        jambs = [((x0, y, 0), (x1 - x0, 0, 0), (0, 0, top)) for y in (y0, y1)]
    else:
        jambs = [((x, y0, 0), (0, y1 - y0, 0), (0, 0, top)) for x in (x0, x1)]
    for corner, u, v in jambs:
        d.quad(corner, u, v, white)
    for z, rgb in ((0.0, (120, 96, 70)), (top, white)):
        d.quad((x0, y0, z), (x1 - x0, 0, 0), (0, y1 - y0, 0), rgb)


def _outside(builder: MeshBuilder, rng: np.random.Generator, plan: FlatPlan) -> None:
    """Houses on the other sides of the streets, so that windows show something far away."""
    x, y = plan.half + _ACROSS_M
    corners = np.array([(-x, -y), (x, -y), (x, y), (-x, y)])
    for k in range(4):
        a, b = corners[k], corners[(k + 1) % 4]
        kind = int(rng.integers(0, 6))
        r, g, b_ = (float(v) for v in rng.uniform(130, 225, 3))
        builder.add_wall(b, a, rng.uniform(3.0, 9.0), (r, g, b_), kind, bottom=_STREET_M)
    street = [(*corner, _STREET_M) for corner in corners]
    triangles = np.array([[street[0], street[1], street[2]], [street[0], street[2], street[3]]])
    builder.add(triangles, Material.PLAIN, (96, 96, 98), label=Label.ROAD)
