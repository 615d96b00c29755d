# SPDX-License-Identifier: Apache-2.0
"""Paints the city's ground: grass, pavements, asphalt with its wear, and road markings."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import City, PARKING_M, PAVEMENT_M, Street
from geoloc_core.simulation.polyline import Polyline
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.textures import fractal_noise

Array = NDArray[np.float64]
Color = tuple[float, float, float]

# How far from a junction's middle the stop line lies, and the crossing behind it.
STOP_LINE_M = 12.5
CROSSING_M = 9.0
_CROSSING_WIDTH_M = 3.0
_WHITE = (222.0, 222.0, 216.0)
# Fractions of a pixel that cv2 draws with.
_SHIFT = 4


def paint_ground(city: City, seed: int, gsd: float = 0.05) -> Ground:
    """Paints a city's ground.

    Args:
        city: Its streets and houses.
        seed: Of wear, patches and grain.
        gsd: Side of a texel, m; 2 * half_extent / gsd should be divisible by 16.

    Returns:
        The ground.
    """
    rng = np.random.default_rng([seed, 10])
    painter = _Painter(city.half_extent, gsd)
    _paint_yards(painter, rng, city)
    for street in city.streets:
        grey = rng.uniform(138, 160)
        width = 2 * (street.half_width + PAVEMENT_M)
        painter.line(street.line.points, width, (grey, grey * 0.98, grey * 0.94))
    for street in city.streets:
        _paint_paving(painter, rng, street)
    for street in city.streets:
        painter.line(street.line.points, 2 * street.half_width + 0.3, (182, 180, 174))
    for street in city.streets:
        grey = rng.uniform(78, 104)
        painter.line(street.line.points, 2 * street.half_width, (grey, grey, grey * 1.02))
    for street in city.streets:
        _paint_wear(painter, rng, street)
    for street in city.streets:
        _paint_markings(painter, rng, city, street)
    painter.mottle(rng)
    return Ground(painter.canvas, city.half_extent, seed)


class _Painter:
    """A canvas addressed in metres."""

    def __init__(self, half_extent: float, gsd: float) -> None:
        side = round(2 * half_extent / gsd)
        self._half = half_extent
        self._gsd = gsd
        self.canvas = np.zeros((side, side, 3), np.uint8)
        self.canvas[:] = (96, 112, 66)

    def _px(self, points: Array) -> NDArray[np.int32]:
        uv = np.stack([points[:, 0] + self._half, self._half - points[:, 1]], axis=-1)
        return np.rint((uv / self._gsd - 0.5) * 2**_SHIFT).astype(np.int32)

    def line(self, points: Array, width: float, colour: Color) -> None:
        thickness = max(1, round(width / self._gsd))
        cv2.polylines(
            self.canvas, [self._px(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT
        )

    def polygon(self, points: Array, colour: Color) -> None:
        cv2.fillPoly(self.canvas, [self._px(points)], colour, cv2.LINE_AA, _SHIFT)

    def disc(self, center: Array, radius: float, colour: Color) -> None:
        px = self._px(center[None])[0]
        r = round(radius / self._gsd * 2**_SHIFT)
        cv2.circle(self.canvas, px.tolist(), r, colour, -1, cv2.LINE_AA, _SHIFT)

    def colour_at(self, point: Array) -> Array:
        """The colour (3,) painted at a point so far."""
        u, v = np.clip(self._px(point[None])[0] >> _SHIFT, 0, len(self.canvas) - 1)
        return self.canvas[v, u].astype(np.float64)

    def mottle(self, rng: np.random.Generator) -> None:
        """Makes every surface lighter and darker in spots from 20 cm to 50 m."""
        side = self.canvas.shape[0]
        noise = fractal_noise(rng, max(64, side // 4), (1, 4, 16, 64, 256))
        gain = np.clip(128 + 9.5 * noise, 64, 192).astype(np.uint8)
        for top in range(0, side, 512):
            rows = np.arange(top, min(side, top + 512), dtype=np.float32)
            u = (np.arange(side, dtype=np.float32) + 0.5) * (len(gain) / side) - 0.5
            v = (rows + 0.5) * (len(gain) / side) - 0.5
            columns, lines = np.meshgrid(u, v)
            fine = cv2.remap(gain, columns, lines, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
            strip = self.canvas[top : top + len(rows)]
            cv2.multiply(strip, cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB), strip, 1 / 128)


def _oriented(center: Array, along: Array, length: float, width: float) -> Array:
    """Corners (4, 2) of a rectangle whose length runs along a unit vector."""
    across = np.array([-along[1], along[0]])
    a, b = along * length / 2, across * width / 2
    return np.array([center - a - b, center + a - b, center + a + b, center - a + b])


def _paint_yards(painter: _Painter, rng: np.random.Generator, city: City) -> None:
    """Spots in the lawns, paved yards around some houses, paths from door to street."""
    for _ in range(round(city.half_extent**2 / 40)):
        center = rng.uniform(-city.half_extent, city.half_extent, 2)
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        radius = rng.uniform(1, 6) * rng.uniform(0.7, 1.2, 14)
        ring = center + np.stack([np.cos(angles), np.sin(angles)], -1) * radius[:, None]
        green = rng.uniform(0.8, 1.2)
        painter.polygon(ring, (92 * green + rng.uniform(-6, 22), 110 * green, 64 * green))
    for building in city.buildings:
        center = building.footprint.mean(axis=0)
        if rng.random() < 0.6:
            grown = center + (building.footprint - center) * rng.uniform(1.2, 1.5)
            grey = rng.uniform(105, 165)
            painter.polygon(grown, (grey, grey * 0.97, grey * 0.92))


def _paint_paving(painter: _Painter, rng: np.random.Generator, street: Street) -> None:
    """Joints across the pavements, and slabs that were replaced."""
    for side in (-1.0, 1.0):
        middle = street.line.offset(side * (street.half_width + PAVEMENT_M / 2))
        for s in np.arange(0.5, middle.length, 1.5):
            xy, along = middle.at(s)
            base = painter.colour_at(xy)
            across = np.array([-along[1], along[0]]) * PAVEMENT_M / 2
            if rng.random() < 0.12:
                slab = _oriented(xy + along * 0.75, along, 1.5, PAVEMENT_M)
                painter.polygon(slab, tuple(base * rng.uniform(0.82, 1.12)))
            painter.line(np.array([xy - across, xy + across]), 0.05, tuple(base * 0.8))


def _paint_wear(painter: _Painter, rng: np.random.Generator, street: Street) -> None:
    """What years do to asphalt: repaired trenches and patches, seams, cracks, lids, stains."""
    line = street.line
    for _ in range(round(line.length / 7)):
        xy, along = line.at(rng.uniform(4, line.length - 4))
        across = np.array([-along[1], along[0]])
        center = xy + across * rng.uniform(-1, 1) * (street.half_width - 0.8)
        base = painter.colour_at(center) * rng.choice([0.72, 0.84, 1.14, 1.25])
        if rng.random() < 0.3:
            shape = _oriented(xy, across, 2 * street.half_width, rng.uniform(0.5, 1.2))
        else:
            shape = _oriented(center, along, rng.uniform(0.8, 6.0), rng.uniform(0.5, 1.8))
        painter.polygon(shape, tuple(base))
    for _ in range(round(line.length / 6)):
        xy, along = line.at(rng.uniform(2, line.length - 2))
        across = np.array([-along[1], along[0]])
        start = xy + across * rng.uniform(-1, 1) * street.half_width
        turn = rng.normal(0, 0.5, 10).cumsum() + rng.choice([0, np.pi / 2])
        heading = np.arctan2(along[1], along[0]) + turn
        steps = np.stack([np.cos(heading), np.sin(heading)], -1) * 0.45
        crack = start + np.concatenate([np.zeros((1, 2)), steps.cumsum(axis=0)])
        painter.line(crack, 0.05, tuple(painter.colour_at(start) * 0.62))
    for _ in range(round(line.length / 12)):
        xy, along = line.at(rng.uniform(2, line.length - 2))
        across = np.array([-along[1], along[0]])
        center = xy + across * rng.uniform(-1, 1) * (street.half_width - 0.6)
        painter.disc(center, 0.38, (58, 56, 54))
        painter.disc(center, 0.31, (86, 82, 78))
    for s in np.arange(rng.uniform(5, 15), line.length - 4, 22.0):
        for side in (-1.0, 1.0):
            xy, along = line.at(s)
            across = np.array([-along[1], along[0]]) * side
            drain = _oriented(xy + across * (street.half_width - 0.25), along, 0.55, 0.35)
            painter.polygon(drain, (48, 46, 44))


def _paint_markings(
    painter: _Painter, rng: np.random.Generator, city: City, street: Street
) -> None:
    """The middle line, stop lines, crossings, arrows, parking bays: all slightly worn."""
    white = tuple(np.array(_WHITE) * rng.uniform(0.86, 1.0))
    line = street.line
    start, end = STOP_LINE_M, line.length - STOP_LINE_M
    dash, gap = ((3.0, 3.0), (4.0, 2.0), (1.5, 1.5))[int(rng.integers(3))]
    for s in np.arange(start, end - dash, dash + gap):
        painter.polygon(_ribbon(line.part(s, s + dash), 0.14), white)
    if street.parking:
        for side in (-1.0, 1.0):
            kerb = line.offset(side * (street.half_width - PARKING_M))
            painter.polygon(_ribbon(kerb.part(start + 2, kerb.length - start - 2), 0.1), white)
            for s in np.arange(start + 2, kerb.length - start - 2, 5.8):
                xy, along = kerb.at(s)
                across = np.array([-along[1], along[0]]) * side
                tick = _oriented(xy + across * PARKING_M / 2, across, PARKING_M, 0.1)
                painter.polygon(tick, white)
    for reverse, name in ((False, 'end'), (True, 'start')):
        way = line.reversed() if reverse else line
        s = way.length - STOP_LINE_M
        xy, along = way.at(s)
        right = np.array([along[1], -along[0]])
        lane = street.half_width - (PARKING_M if street.parking else 0.0)
        painter.polygon(_oriented(xy + right * lane / 2, right, lane - 0.2, 0.4), white)
        if name == 'end' or rng.random() < 0.7:
            xy, along = way.at(way.length - CROSSING_M)
            for shift in np.arange(-street.half_width + 0.5, street.half_width - 0.3, 1.0):
                painter.polygon(
                    _oriented(xy + right * shift, along, _CROSSING_WIDTH_M, 0.5), white
                )
        if rng.random() < 0.6 and way.length > 50:
            xy, along = way.at(s - 7.0)
            _paint_arrow(painter, xy + right * lane / 2, along, white, rng)


def _ribbon(line: Polyline, width: float) -> Array:
    """Outline of a strip of paint along a line."""
    left, right = line.offset(width / 2), line.offset(-width / 2)
    return np.concatenate([left.points, right.points[::-1]])


def _paint_arrow(
    painter: _Painter, center: Array, along: Array, colour: Color, rng: np.random.Generator
) -> None:
    """A lane arrow, straight on, and for some a branch to the right."""
    right = np.array([along[1], -along[0]])

    def place(points: list[tuple[float, float]]) -> Array:
        return np.array([center + along * a + right * b for a, b in points])

    painter.polygon(place([(-2.2, -0.1), (0.8, -0.1), (0.8, 0.1), (-2.2, 0.1)]), colour)
    painter.polygon(place([(0.7, -0.42), (2.2, 0.0), (0.7, 0.42)]), colour)
    if rng.random() < 0.5:
        painter.polygon(place([(-1.2, 0.0), (-0.9, 0.0), (-0.2, 0.7), (-0.5, 0.7)]), colour)
        painter.polygon(place([(-0.6, 0.5), (0.4, 0.95), (0.1, 0.3)]), colour)
