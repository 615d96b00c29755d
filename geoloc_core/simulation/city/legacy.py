# SPDX-License-Identifier: Apache-2.0
"""The plan of a small made-up city: streets, buildings, trees and parked cars, from a seed.

Everything is in metres in the map frame (x east, y north, origin at the datum).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city.plan import (
    Building,
    Car,
    City,
    LANE_M,
    PARKING_M,
    PAVEMENT_M,
    Street,
    Tree,
)
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

# Cell of the raster in which buildings and trees look for free room.
_ROOM_GSD = 0.25


class _Room:
    """Which ground is still free, as a raster."""

    def __init__(self, half_extent: float) -> None:
        self._half = half_extent
        side = round(2 * half_extent / _ROOM_GSD)
        self._taken = np.zeros((side, side), np.uint8)

    def _px(self, points: Array) -> NDArray[np.int32]:
        uv = np.stack([points[:, 0] + self._half, self._half - points[:, 1]], -1) / _ROOM_GSD
        return np.rint((uv - 0.5) * 16).astype(np.int32)

    def take_line(self, points: Array, width: float) -> None:
        thickness = max(1, round(width / _ROOM_GSD))
        cv2.polylines(self._taken, [self._px(points)], False, 1, thickness, shift=4)

    def take(self, polygon: Array) -> None:
        cv2.fillPoly(self._taken, [self._px(polygon)], 1, shift=4)

    def is_free(self, polygon: Array) -> bool:
        if np.abs(polygon).max() > self._half - 1:
            return False
        px = self._px(polygon) // 16
        low, high = px.min(axis=0) - 1, px.max(axis=0) + 2
        window = self._taken[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros_like(window)
        cv2.fillPoly(mask, [px - low], 1)
        return not bool((window & mask).any())


def make_city(seed: int, half_extent: float = 200.0, blocks: int = 4) -> City:
    """Draws a city.

    Args:
        seed: The same seed gives the same city.
        half_extent: Half the side of the square it fills, m.
        blocks: Blocks of houses along each side.

    Returns:
        The city.
    """
    rng = np.random.default_rng([seed, 1])
    junctions, streets = _streets(rng, half_extent, blocks)
    room = _Room(half_extent)
    for street in streets:
        room.take_line(street.line.points, 2 * (street.half_width + PAVEMENT_M))
    buildings = _buildings(rng, streets, room)
    trees = _trees(rng, streets, room, half_extent)
    cars = _cars(np.random.default_rng([seed, 2]), streets, half_extent)
    other = _cars(np.random.default_rng([seed, 3]), streets, half_extent)
    return City(
        half_extent, junctions, streets, tuple(buildings), tuple(trees), tuple(cars), tuple(other)
    )


def _streets(
    rng: np.random.Generator, half_extent: float, blocks: int
) -> tuple[Array, tuple[Street, ...]]:
    """Junctions of a bent net and the streets between them, some missing, some curved."""
    n = blocks + 1
    margin = 30.0
    ticks = np.linspace(-half_extent + margin, half_extent - margin, n)
    spacing = ticks[1] - ticks[0]
    xy = np.stack(np.meshgrid(ticks, ticks, indexing='xy'), -1).reshape(-1, 2)
    xy = xy + rng.uniform(-0.14, 0.14, xy.shape) * spacing
    pairs = [(r * n + c, r * n + c + 1) for r in range(n) for c in range(n - 1)]
    pairs += [(r * n + c, (r + 1) * n + c) for r in range(n - 1) for c in range(n)]
    degree = np.bincount(np.ravel(pairs), minlength=n * n)
    # A few streets are missing, so that blocks differ in size; no dead ends.
    to_remove = max(1, n * n // 6)
    for i in rng.permutation(len(pairs)):
        a, b = pairs[i]
        if to_remove and degree[a] > 3 and degree[b] > 3:
            pairs[i] = (-1, -1)
            degree[a] -= 1
            degree[b] -= 1
            to_remove -= 1
    streets = []
    for a, b in pairs:
        if a < 0:
            continue
        along = xy[b] - xy[a]
        normal = np.array([-along[1], along[0]])
        bow = rng.uniform(-0.16, 0.16) if rng.random() < 0.6 else 0.0
        control = (xy[a] + xy[b]) / 2 + normal * bow
        t = np.linspace(0, 1, 33)[:, None]
        curve = (1 - t) ** 2 * xy[a] + 2 * t * (1 - t) * control + t**2 * xy[b]
        parking = bool(rng.random() < 0.6)
        half_width = LANE_M + (PARKING_M if parking else 0.3)
        streets.append(Street(a, b, Polyline(curve), half_width, parking))
    return xy, tuple(streets)


def _rectangle(center: Array, along: Array, length: float, depth: float) -> Array:
    """Corners, counter-clockwise, of a rectangle whose long side runs `along` (unit vector)."""
    across = np.array([-along[1], along[0]])
    a, b = along * length / 2, across * depth / 2
    return np.array([center - a - b, center + a - b, center + a + b, center - a + b])


_WALLS = (
    (222, 214, 196), (205, 182, 146), (190, 120, 92), (232, 228, 220), (176, 168, 158),
    (214, 196, 170), (160, 98, 78), (198, 204, 206), (228, 206, 150),
)  # fmt: skip
_TILES = ((150, 78, 58), (128, 66, 52), (104, 84, 74), (92, 90, 94))
_FLAT_ROOFS = ((132, 130, 128), (158, 154, 148), (104, 106, 108), (178, 176, 170))


def _buildings(
    rng: np.random.Generator, streets: tuple[Street, ...], room: _Room
) -> list[Building]:
    """Rows of houses along both sides of every street, where there is room."""
    buildings = []
    for street in streets:
        tall = rng.uniform(0, 1)
        for side in (-1.0, 1.0):
            s = rng.uniform(6, 12)
            while s < street.line.length - 6:
                width, depth = rng.uniform(9, 24), rng.uniform(9, 14)
                setback = rng.choice([0.3, 1.5, 4.0])
                xy, along = street.line.at(s + width / 2)
                left = np.array([-along[1], along[0]]) * side
                offset = street.half_width + PAVEMENT_M + setback + depth / 2
                footprint = _rectangle(xy + left * offset, along, width, depth)
                s += width + rng.choice([0.4, 3.0, 6.0])
                if not room.is_free(footprint):
                    continue
                room.take(_rectangle(xy + left * offset, along, width + 0.6, depth + 0.6))
                floors = int(rng.integers(2, 4) if tall < 0.5 else rng.integers(3, 7))
                gable = rng.uniform(2.0, 4.0) if floors < 5 and rng.random() < 0.6 else 0.0
                roofs = _TILES if gable else _FLAT_ROOFS
                buildings.append(
                    Building(
                        footprint=footprint,
                        height=3.1 * floors + 0.6,
                        gable=gable,
                        facade=int(rng.integers(0, 6)),
                        wall_rgb=_WALLS[rng.integers(len(_WALLS))],
                        roof_rgb=roofs[rng.integers(len(roofs))],
                    )
                )
    return buildings


def _trees(
    rng: np.random.Generator, streets: tuple[Street, ...], room: _Room, half_extent: float
) -> list[Tree]:
    """Street trees at the kerb of some streets, and trees in yards."""
    places = []
    for street in streets:
        if rng.random() < 0.5:
            continue
        spacing = rng.uniform(11, 17)
        for side in (-1.0, 1.0):
            for s in np.arange(12, street.line.length - 12, spacing):
                if rng.random() < 0.25:
                    continue
                xy, along = street.line.at(s + rng.uniform(-1, 1))
                left = np.array([-along[1], along[0]]) * side
                places.append((xy + left * (street.half_width + 0.8), rng.uniform(1.5, 2.4)))
    for _ in range(round(half_extent**2 / 60)):
        xy = rng.uniform(-half_extent + 3, half_extent - 3, 2)
        radius = rng.uniform(1.6, 4.0)
        square = _rectangle(xy, np.array([1.0, 0.0]), 1.6 * radius, 1.6 * radius)
        if room.is_free(square):
            room.take(square)
            places.append((xy, radius))
    trees = []
    for xy, radius in places:
        green = rng.uniform(0.75, 1.15)
        rgb = (round(78 * green), round(104 * green), round(52 * green))
        height = 2.4 + radius * rng.uniform(0.9, 1.2)
        trees.append(Tree((float(xy[0]), float(xy[1])), radius, height, rgb))
    return trees


_CAR_COLOURS = (
    (38, 38, 42), (200, 202, 204), (235, 235, 232), (120, 124, 128), (140, 30, 28), (34, 58, 110),
    (70, 74, 78), (186, 178, 160), (40, 84, 62),
)  # fmt: skip


def _cars(rng: np.random.Generator, streets: tuple[Street, ...], half_extent: float) -> list[Car]:
    """Cars at the kerbs where parking is allowed, about half of the places taken."""
    cars = []
    for street in streets:
        if not street.parking:
            continue
        for side in (-1.0, 1.0):
            for s in np.arange(16.0, street.line.length - 16, 5.8):
                if rng.random() < 0.5:
                    continue
                xy, along = street.line.at(s + rng.uniform(-0.4, 0.4))
                left = np.array([-along[1], along[0]]) * side
                offset = street.half_width - PARKING_M / 2 + rng.uniform(-0.12, 0.12)
                xy = xy + left * offset
                yaw = float(np.arctan2(along[1], along[0]) + (np.pi if side > 0 else 0.0))
                size = (rng.uniform(3.9, 4.9), rng.uniform(1.7, 1.9), rng.uniform(1.4, 1.7))
                rgb = _CAR_COLOURS[rng.integers(len(_CAR_COLOURS))]
                cars.append(Car((float(xy[0]), float(xy[1])), yaw, size, rgb))
    return cars
