# SPDX-License-Identifier: Apache-2.0
"""Lawns, yards, squares, ponds and paths."""

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import Area, Building, City
from geoloc_core.simulation.ground.painter import Color, GRASS_RGB, grey, hatch, Painter
from geoloc_core.simulation.render.labels import Label

Array = NDArray[np.float64]

# Colour and class of each kind of area.
_KINDS: dict[str, tuple[Color, Label]] = {
    'park': ((92, 116, 62), Label.GRASS),
    'lawn': ((98, 118, 66), Label.GRASS),
    'field': ((128, 124, 76), Label.GRASS),
    'pond': ((52, 74, 74), Label.WATER),
    'playground': ((196, 176, 132), Label.BARE),
    'square': ((168, 158, 146), Label.PAVEMENT),
    'parking': ((98, 98, 100), Label.ROAD),
    'asphalt': ((108, 107, 106), Label.ROAD),
    'yard': ((138, 132, 122), Label.BARE),
    'gravel': ((150, 142, 126), Label.BARE),
}
_CROPS: tuple[tuple[Color, Label], ...] = (
    ((168, 148, 92), Label.GRASS),
    ((122, 98, 74), Label.BARE),
    ((104, 126, 58), Label.GRASS),
    ((142, 134, 70), Label.GRASS),
)
_PATHS: dict[str, tuple[Color, Label]] = {
    'gravel': ((176, 164, 138), Label.BARE),
    'paved': ((156, 150, 142), Label.PAVEMENT),
    'asphalt': ((104, 103, 102), Label.ROAD),
}


def _varied(rng: np.random.Generator, colour: Color, spread: float = 0.1) -> Color:
    """A colour, lighter or darker, and a little to the red or to the blue."""
    gain, tilt = 1 + rng.uniform(-spread, spread), rng.uniform(-0.03, 0.03)
    return colour[0] * (gain + tilt), colour[1] * gain, colour[2] * (gain - tilt)


def _spot(rng: np.random.Generator, center: Array, radius: float) -> Array:
    """An uneven round shape (14, 2)."""
    angles = np.arange(14) * 2 * np.pi / 14
    reach = radius * rng.uniform(0.7, 1.2, 14)
    return center + np.stack([np.cos(angles), np.sin(angles)], -1) * reach[:, None]


def paint_areas(painter: Painter, rng: np.random.Generator, city: City) -> None:
    """All areas in their order, with meadows below and yards around houses above."""
    half = city.half_extent
    _spots(painter, rng, half, round(half**2 / 90))
    for area in city.areas:
        _paint_area(painter, rng, area)
    for building in city.buildings:
        _paint_yard(painter, rng, building)


def _spots(painter: Painter, rng: np.random.Generator, half: float, count: int) -> None:
    """Where grass is drier, greener, or mown."""
    for _ in range(count):
        green = rng.uniform(0.86, 1.14)
        colour = (
            GRASS_RGB[0] * green + rng.uniform(-6, 10), GRASS_RGB[1] * green, GRASS_RGB[2] * green
        )  # fmt: skip
        spot = _spot(rng, rng.uniform(-half, half, 2), rng.uniform(1, 9))
        painter.polygon(spot, colour)


def _paint_area(painter: Painter, rng: np.random.Generator, area: Area) -> None:
    colour, label = _KINDS.get(area.kind, _KINDS['yard'])
    if area.kind == 'field':
        colour, label = _CROPS[int(rng.integers(len(_CROPS)))]
    colour = _varied(rng, colour)
    outline = area.outline
    middle = outline.mean(axis=0)
    if area.kind in ('pond', 'playground'):
        rim = middle + (outline - middle) * (1.07 if area.kind == 'pond' else 1.04)
        painter.polygon(rim, (134, 122, 94), Label.BARE)
    painter.polygon(outline, colour, label)
    if area.kind == 'square':
        dark = (colour[0] * 0.8, colour[1] * 0.8, colour[2] * 0.8)
        angle = float(rng.uniform(0, np.pi))
        for turn in (0.0, np.pi / 2):
            for segment in hatch(outline, angle + turn, float(rng.choice([3.0, 4.5, 6.0]))):
                painter.line(segment, 0.3, dark)
    elif area.kind == 'field':
        for segment in hatch(outline, float(rng.uniform(0, np.pi)), 2.5):
            painter.line(segment, 0.7, _varied(rng, colour, 0.05))
    elif area.kind == 'pond':
        deep = middle + (outline - middle) * 0.7
        painter.polygon(deep, (colour[0] * 0.8, colour[1] * 0.86, colour[2] * 0.92))
    elif area.kind in ('yard', 'lawn', 'park'):
        low, high = outline.min(axis=0), outline.max(axis=0)
        # Single spots within the largest rectangle that any place in the area allows.
        for _ in range(round(float(np.prod(high - low)) / 260)):
            spot = _spot(rng, rng.uniform(low, high), rng.uniform(1.0, 5.0))
            if _is_within(painter, spot, label):
                worn = area.kind == 'yard' and rng.random() < 0.35
                tone = _varied(rng, GRASS_RGB if worn else colour, 0.12)
                painter.polygon(spot, tone, Label.GRASS if worn else label)


def _is_within(painter: Painter, shape: Array, label: Label) -> bool:
    """Whether all corners lie on a class, so that a spot does not run over a border."""
    side = len(painter.classes)
    u = ((shape[:, 0] + painter.half) / painter.gsd).astype(int)
    v = ((painter.half - shape[:, 1]) / painter.gsd).astype(int)
    if min(u.min(), v.min()) < 0 or max(u.max(), v.max()) >= side:
        return False
    return bool((painter.classes[v, u] == label).all())


def _paint_yard(painter: Painter, rng: np.random.Generator, building: Building) -> None:
    """A paved strip around a house, or a yard behind it."""
    if rng.random() > 0.6 or building.base > 0:
        return
    center = building.footprint.mean(axis=0)
    grown = center + (building.footprint - center) * rng.uniform(1.08, 1.3)
    paved = rng.random() < 0.6
    colour = grey(rng.uniform(118, 162), 0.03) if paved else (146, 134, 112)
    painter.polygon(grown, colour, Label.PAVEMENT if paved else Label.BARE)


def paint_paths(painter: Painter, rng: np.random.Generator, city: City) -> None:
    """Paths in parks and to houses, each with a slightly darker edge."""
    for path in city.paths:
        colour, label = _PATHS.get(path.surface, _PATHS['gravel'])
        colour = _varied(rng, colour)
        edge = (colour[0] * 0.84, colour[1] * 0.84, colour[2] * 0.8)
        painter.line(path.line.points, path.width + 0.24, edge, label)
        painter.line(path.line.points, path.width, colour)
