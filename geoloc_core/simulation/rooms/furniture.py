# SPDX-License-Identifier: Apache-2.0
"""Furniture, each piece like no other, so that a camera finds its way among them.

Every piece is drawn with x along the wall behind it, y into the room and z up, from the corner of
its footprint.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.rooms.drawing import colour, Drawing, poster, Rgb, weave, wood

Rng = np.random.Generator
Draw = Callable[[Drawing, Rng, float, float, float], None]


@dataclass(frozen=True)
class Piece:
    """A kind of furniture.

    Attributes:
        name: Of the kind.
        width: (smallest, largest) along the wall, m.
        depth: The same away from the wall, m.
        height: The same, m.
        draw: Draws one of (width, depth, height) into axes at its corner.
        free: It stands in the room, not at a wall.
    """

    name: str
    width: tuple[float, float]
    depth: tuple[float, float]
    height: tuple[float, float]
    draw: Draw
    free: bool = False


def _shelf(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    rgb = wood(rng)
    d.box((0, 0, 0), (w, 0.015, h), _shade(rgb, 0.8), Material.WOOD)
    for x in (0.0, w - 0.02):
        d.box((x, 0, 0), (x + 0.02, depth, h), rgb, Material.WOOD)
    floors = max(2, round(h / 0.34))
    for k in range(floors + 1):
        z = k * (h - 0.02) / floors
        d.box((0, 0, z), (w, depth, z + 0.02), rgb, Material.WOOD)
        if k < floors:
            _books(d.moved(0.03, 0.0, z + 0.02), rng, w - 0.06, depth, (h - 0.02) / floors - 0.03)


def _books(d: Drawing, rng: Rng, w: float, depth: float, room: float) -> None:
    x = rng.uniform(0, 0.1)
    while x < w - 0.06:
        if rng.random() < 0.08:
            _clutter(d.moved(x, 0.05), rng, min(0.22, w - x), depth - 0.1, room)
            x += 0.26
            continue
        thick = rng.uniform(0.018, 0.055)
        tall = min(room, rng.uniform(0.17, 0.29))
        front = depth - rng.uniform(0.02, 0.08)
        rgb = colour(rng, 25, 230)
        d.box((x, 0.03, 0), (x + thick, front, tall), rgb)
        for z in rng.uniform(0.1, 0.85, int(rng.integers(1, 4))):
            low = (x + 0.003, front + 0.001, z * tall)
            d.quad(low, (thick - 0.006, 0, 0), (0, 0, tall * 0.09), colour(rng, 0, 255))
        x += thick + (rng.uniform(0.02, 0.2) if rng.random() < 0.07 else 0.001)


def _clutter(d: Drawing, rng: Rng, w: float, depth: float, room: float) -> None:
    """A box, a pot or a stack of papers."""
    size = min(w, depth, room) * rng.uniform(0.6, 0.95)
    kind = int(rng.integers(3))
    if kind == 0:
        d.box((0, 0, 0), (size, size, size), colour(rng))
        d.image(
            (0.01, size + 0.001, 0.01), (size - 0.02, 0, 0), (0, 0, size - 0.02), poster(rng, 8, 8)
        )
    elif kind == 1:
        rgb = colour(rng)
        for k in range(4):
            r = size * (0.3 + 0.2 * np.sin(k + size * 9))
            low, high = size * k / 4, size * (k + 1) / 4
            d.box((size / 2 - r, size / 2 - r, low), (size / 2 + r, size / 2 + r, high), rgb)
    else:
        for k in range(int(rng.integers(2, 7))):
            dx, dy = rng.uniform(0, 0.03, 2)
            z = k * 0.02
            d.box((dx, dy, z), (dx + size, dy + size * 0.8, z + 0.019), colour(rng))


def _on_top(d: Drawing, rng: Rng, w: float, depth: float, count: int) -> None:
    """Things that lie about on a table top."""
    for _ in range(count):
        x, y = rng.uniform(0.02, max(0.03, w - 0.3)), rng.uniform(0.02, max(0.03, depth - 0.3))
        spot = d.moved(x, y, 0.0, rng.uniform(-0.5, 0.5))
        if rng.random() < 0.4:
            spot.image((0, 0, 0.004), (0.21, 0, 0), (0, 0.28, 0), poster(rng, 14, 10))
        else:
            _clutter(spot, rng, 0.25, 0.25, 0.2)


def _table(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    rgb = wood(rng)
    d.box((0, 0, h - 0.03), (w, depth, h), rgb, Material.WOOD)
    for x in (0.03, w - 0.09):
        for y in (0.03, depth - 0.09):
            d.box((x, y, 0), (x + 0.06, y + 0.06, h - 0.03), _shade(rgb, 0.9), Material.WOOD)
    if rng.random() < 0.5:
        cloth = weave(rng, 18, 6)
        d.image((w * 0.3, 0.02, h + 0.002), (w * 0.4, 0, 0), (0, depth - 0.04, 0), cloth)
    _on_top(d.moved(0, 0, h + 0.003), rng, w, depth, int(rng.integers(3, 8)))


def _chair(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    rgb = wood(rng)
    for x in (0.0, w - 0.04):
        for y in (0.0, depth - 0.04):
            d.box((x, y, 0), (x + 0.04, y + 0.04, h if y == 0 else 0.45), rgb, Material.WOOD)
    d.box((0, 0, 0.43), (w, depth, 0.47), colour(rng), Material.FABRIC)
    for z in np.arange(0.55, h - 0.05, 0.13):
        d.box((0.04, 0.01, z), (w - 0.04, 0.03, z + 0.07), rgb, Material.WOOD)


def _bed(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    rgb = wood(rng)
    d.box((0, 0, 0), (w, depth, 0.28), rgb, Material.WOOD)
    d.box((0, 0, 0), (w, 0.05, h + 0.45), rgb, Material.WOOD)
    d.box((0.03, 0.05, 0.28), (w - 0.03, depth - 0.03, h), (228, 226, 220), Material.FABRIC)
    blanket = weave(rng, 24, 18)
    d.image((0.02, 0.6, h + 0.01), (w - 0.04, 0, 0), (0, depth - 0.62, 0), blanket)
    d.image((0.02, depth - 0.02, 0.18), (w - 0.04, 0, 0), (0, 0, h - 0.17), weave(rng, 5, 18))
    pillows = 1 if w < 1.2 else 2
    for k in range(pillows):
        x = 0.1 + k * w / pillows
        low, high = (x, 0.1, h), (x + w / pillows - 0.2, 0.5, h + 0.12)
        d.box(low, high, colour(rng, 150, 245), Material.FABRIC)


def _sofa(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    rgb = colour(rng, 50, 190)
    d.box((0, 0, 0.08), (w, depth, 0.42), rgb, Material.FABRIC)
    d.box((0, 0, 0.42), (w, 0.22, h), rgb, Material.FABRIC)
    for x in (0.0, w - 0.18):
        d.box((x, 0, 0.42), (x + 0.18, depth, 0.62), _shade(rgb, 0.92), Material.FABRIC)
    for _ in range(int(rng.integers(2, 5))):
        x = rng.uniform(0.2, w - 0.65)
        d.image((x, 0.24, 0.44), (0.42, 0, 0), (0, 0.12, 0.38), weave(rng, 8, 8))
    if rng.random() < 0.5:
        d.image((0.3, 0.3, 0.425), (0.5, 0, 0), (0, depth - 0.3, 0), weave(rng, 12, 9))


def _kitchen(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    front, top = colour(rng, 120, 240), colour(rng, 50, 140)
    d.box((0, 0, 0.08), (w, depth - 0.03, h - 0.04), front)
    d.box((0, 0, h - 0.04), (w, depth, h), top, Material.WOOD)
    count = max(2, round(w / 0.55))
    for k in range(count):
        x = k * w / count
        step = w / count
        low = (x + 0.01, depth - 0.029, 0.11)
        d.quad(low, (step - 0.02, 0, 0), (0, 0, h - 0.2), _shade(front, rng.uniform(0.9, 1.06)))
        d.box(
            (x + 0.06, depth - 0.03, h - 0.16),
            (x + step - 0.06, depth - 0.01, h - 0.14),
            (90, 92, 96),
        )
        if rng.random() < 0.8:
            d.box((x, 0, 1.45), (x + step, 0.34, 2.1), _shade(front, 0.96))
            low = (x + 0.01, 0.341, 1.46)
            d.quad(low, (step - 0.02, 0, 0), (0, 0, 0.63), _shade(front, rng.uniform(0.92, 1.08)))
            d.box((x + step - 0.08, 0.34, 1.52), (x + step - 0.06, 0.36, 1.7), (80, 82, 86))
    shades = rng.integers(150, 240, 3) + rng.normal(0, 12, (5, round(w / 0.12), 1))
    tiles = np.clip(shades, 0, 255).astype(np.uint8)
    d.image((0, 0.004, h), (w, 0, 0), (0, 0, 0.5), tiles)
    d.quad((0.15, 0.08, h + 0.002), (0.5, 0, 0), (0, 0.42, 0), (28, 28, 30))
    for x, y in ((0.2, 0.13), (0.45, 0.13), (0.2, 0.33), (0.45, 0.33)):
        d.quad((x, y, h + 0.004), (0.15, 0, 0), (0, 0.12, 0), (120, 40, 36))
    _on_top(d.moved(0.75, 0.05, h), rng, w - 0.8, depth - 0.1, int(rng.integers(4, 9)))


def _wardrobe(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    rgb = wood(rng)
    d.box((0, 0, 0), (w, depth, h), rgb, Material.WOOD)
    doors = max(2, round(w / 0.5))
    for k in range(doors):
        x, step = k * w / doors, w / doors
        inner = _shade(rgb, rng.uniform(0.86, 0.97))
        d.quad((x + 0.03, depth + 0.002, 0.08), (step - 0.06, 0, 0), (0, 0, h - 0.16), inner)
        side = x + (step - 0.06 if k % 2 == 0 else 0.04)
        d.box((side, depth, 0.95), (side + 0.02, depth + 0.03, 1.15), (70, 66, 60))
    if rng.random() < 0.6:
        low = (0.1, depth + 0.004, rng.uniform(1.1, 1.4))
        d.image(low, (0.35, 0, 0), (0, 0, 0.45), poster(rng, 16, 12))
    _on_top(d.moved(0.05, 0.05, h), rng, w - 0.1, depth - 0.1, int(rng.integers(1, 4)))


def _desk(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    _table(d, rng, w, depth, h)
    x = rng.uniform(0.15, max(0.2, w - 0.75))
    d.box((x + 0.22, 0.16, h), (x + 0.32, 0.2, h + 0.14), (40, 40, 42))
    d.box((x, 0.12, h + 0.12), (x + 0.55, 0.15, h + 0.46), (24, 24, 26))
    screen = poster(rng, 14, 22)
    d.image((x + 0.02, 0.152, h + 0.14), (0.51, 0, 0), (0, 0, 0.3), screen)
    keys = rng.choice([40, 60, 90, 200], (5, 16)).astype(np.uint8)
    d.image(
        (x + 0.05, 0.35, h + 0.02), (0.42, 0, 0), (0, 0.15, 0), np.repeat(keys[..., None], 3, 2)
    )


def _board(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    """A low cabinet with a television."""
    rgb = wood(rng)
    d.box((0, 0, 0.05), (w, depth, h), rgb, Material.WOOD)
    for k in range(3):
        low = (k * w / 3 + 0.02, depth + 0.002, 0.09)
        d.quad(low, (w / 3 - 0.04, 0, 0), (0, 0, h - 0.13), _shade(rgb, rng.uniform(0.8, 1.0)))
    wide = min(1.1, w - 0.1)
    x = (w - wide) / 2
    d.box((x, 0.1, h + 0.05), (x + wide, 0.14, h + 0.05 + 0.58 * wide), (20, 20, 22))
    d.image(
        (x + 0.02, 0.142, h + 0.07), (wide - 0.04, 0, 0), (0, 0, 0.54 * wide), poster(rng, 16, 26)
    )
    _on_top(d.moved(0, depth * 0.4, h), rng, w, depth * 0.5, 2)


def _plant(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    d.box((0.1 * w, 0.1 * depth, 0), (0.9 * w, 0.9 * depth, 0.3), (150, 84, 60))
    for _ in range(int(rng.integers(26, 44))):
        turn = rng.uniform(0, 2 * np.pi)
        leaf = d.moved(w / 2, depth / 2, rng.uniform(0.28, h * 0.75), turn)
        size = rng.uniform(0.08, 0.45 * w)
        g = rng.uniform(0.6, 1.2)
        lift = rng.uniform(0.05, 0.35)
        leaf.quad((0.03, -0.03, 0), (size, 0, lift), (0, 0.09, 0.02), (52 * g, 104 * g, 44 * g))


def _lamp(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    x, y = w / 2, depth / 2
    d.box((x - 0.12, y - 0.12, 0), (x + 0.12, y + 0.12, 0.03), (60, 60, 62))
    d.box((x - 0.015, y - 0.015, 0), (x + 0.015, y + 0.015, h - 0.2), (60, 60, 62))
    shade = colour(rng, 170, 250)
    for k in range(5):
        low, high = h - 0.3 + 0.06 * k, h - 0.3 + 0.06 * (k + 1)
        r = (0.5 - 0.04 * k) * w
        tone = _shade(shade, 1.0 if k % 2 else 0.85)
        d.box((x - r, y - r, low), (x + r, y + r, high), tone, Material.FABRIC)


def _boxes(d: Drawing, rng: Rng, w: float, depth: float, h: float) -> None:
    z = 0.0
    while z < h - 0.15:
        tall = min(h - z, rng.uniform(0.18, 0.4))
        inset = rng.uniform(0, 0.12)
        tone = rng.uniform(0.85, 1.1)
        rgb = (178 * tone, 138 * tone, 92 * tone)
        d.box((inset, 0.02, z), (w - 0.02, depth - inset, z + tall), rgb)
        low = (inset + 0.05, depth - inset + 0.002, z + 0.03)
        d.image(low, (w - 0.2, 0, 0), (0, 0, tall * 0.6), poster(rng, 8, 14))
        top = z + tall + 0.002
        d.quad(
            (w / 2 - 0.03, 0.02, top), (0.06, 0, 0), (0, depth - inset - 0.02, 0), (206, 190, 150)
        )
        z += tall


def _shade(rgb: Rgb, factor: float) -> Rgb:
    return rgb[0] * factor, rgb[1] * factor, rgb[2] * factor


SHELF = Piece('shelf', (0.8, 1.6), (0.26, 0.34), (1.5, 2.1), _shelf)
LOW_SHELF = Piece('low shelf', (0.7, 1.3), (0.26, 0.34), (0.75, 1.0), _shelf)
TABLE = Piece('table', (1.1, 1.5), (0.75, 0.9), (0.72, 0.76), _table, free=True)
SMALL_TABLE = Piece('small table', (0.6, 0.9), (0.45, 0.6), (0.42, 0.5), _table, free=True)
CHAIR = Piece('chair', (0.42, 0.46), (0.42, 0.46), (0.85, 0.98), _chair, free=True)
BED = Piece('bed', (0.95, 1.6), (1.95, 2.05), (0.46, 0.56), _bed)
SOFA = Piece('sofa', (1.5, 2.1), (0.8, 0.9), (0.78, 0.9), _sofa)
KITCHEN = Piece('kitchen', (1.8, 2.8), (0.58, 0.62), (0.88, 0.92), _kitchen)
WARDROBE = Piece('wardrobe', (1.0, 1.8), (0.55, 0.62), (1.9, 2.15), _wardrobe)
DESK = Piece('desk', (1.1, 1.5), (0.62, 0.75), (0.72, 0.76), _desk)
BOARD = Piece('board', (1.2, 1.8), (0.38, 0.46), (0.42, 0.55), _board)
PLANT = Piece('plant', (0.4, 0.6), (0.4, 0.6), (0.8, 1.5), _plant)
LAMP = Piece('lamp', (0.36, 0.46), (0.36, 0.46), (1.4, 1.7), _lamp)
BOXES = Piece('boxes', (0.45, 0.65), (0.4, 0.55), (0.4, 1.2), _boxes)

# What stands in a room of each kind, the most important first.
ROOM_KINDS: dict[str, tuple[Piece, ...]] = {
    'living': (SOFA, BOARD, SHELF, PLANT, SMALL_TABLE, LAMP, LOW_SHELF, BOXES),
    'kitchen': (KITCHEN, TABLE, CHAIR, CHAIR, LOW_SHELF, PLANT, BOXES),
    'bedroom': (BED, WARDROBE, LOW_SHELF, LAMP, CHAIR, BOXES, PLANT),
    'study': (DESK, SHELF, SHELF, CHAIR, BOXES, LAMP, LOW_SHELF),
}
