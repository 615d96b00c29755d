# SPDX-License-Identifier: Apache-2.0
"""A city of another year: roofs, houses, trees and parked cars that are not those of today."""

from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city.plan import Building, City, Rgb, Tree
from geoloc_core.simulation.conditions.draws import AerialDay

Array = NDArray[np.float64]

_TILES: tuple[Rgb, ...] = (
    (150, 78, 58), (124, 60, 46), (104, 84, 74), (84, 84, 90), (172, 108, 80), (70, 62, 60),
)  # fmt: skip
_FLATS: tuple[Rgb, ...] = (
    (132, 130, 128), (176, 172, 166), (92, 94, 98), (206, 204, 198), (96, 116, 84), (120, 96, 80),
)  # fmt: skip
_SMALLEST_TREE_M = 0.6
# A place for a new house or tree is looked for so many times.
_TRIES = 12


def changed_city(city: City, day: AerialDay) -> City:
    """The city as it stood on the day of a flight.

    Streets and what is painted on them stay: a map matches today's streets.

    Args:
        city: Of today.
        day: How much is different; nothing of what it leaves at 0 changes.

    Returns:
        Another city over the same ground.
    """
    buildings, gone = _buildings(city, day)
    trees = _trees(city, day, buildings, gone)
    cars = city.other_cars if day.moved_cars else city.cars
    return replace(city, buildings=buildings, trees=trees, cars=cars)


def _stream(day: AerialDay, number: int) -> np.random.Generator:
    return np.random.default_rng([day.seed, day.index, 64, number])


def _buildings(city: City, day: AerialDay) -> tuple[tuple[Building, ...], list[Building]]:
    """Houses of that day, and those of today that were not there."""
    count = len(city.buildings)
    fate = _stream(day, 0).random(count)
    rebuild, roof = _stream(day, 1), _stream(day, 2)
    new_roof = roof.random(count) < day.roofs_changed
    kept: list[Building] = []
    gone: list[Building] = []
    for building, chance, recoloured in zip(city.buildings, fate, new_roof, strict=True):
        # Drawn for every house, so that one house's fate does not change another's looks.
        scale, pick = rebuild.uniform(0.45, 0.85), roof.integers(len(_TILES))
        wall = tuple(int(c) for c in np.roll(building.wall_rgb, int(rebuild.integers(1, 3))))
        if chance < day.houses_changed / 2:
            gone.append(building)
            continue
        if chance < day.houses_changed:
            height = max(building.base + 2.8, building.height * scale)
            rgb = (wall[0], wall[1], wall[2])
            building = replace(building, height=height, wall_rgb=rgb)
        if recoloured:
            building = _another_roof(building, int(pick))
        kept.append(building)
    wanted = int(_stream(day, 3).binomial(count, day.houses_changed / 2))
    kept += _former(city, kept, _stream(day, 4), wanted)
    return tuple(kept), gone


def _another_roof(building: Building, pick: int) -> Building:
    colours = _TILES if building.gable > 0 else _FLATS
    rgb = colours[pick]
    if np.abs(np.subtract(rgb, building.roof_rgb)).sum() < 40:
        rgb = colours[(pick + 1) % len(colours)]
    return replace(building, roof_rgb=rgb)


def _former(
    city: City, standing: list[Building], rng: np.random.Generator, wanted: int
) -> list[Building]:
    """Houses that stood where nothing stands today: in yards, away from every street."""
    if not wanted or not city.buildings:
        return []
    middles = np.array([b.footprint.mean(axis=0) for b in standing]).reshape(-1, 2)
    reach = np.array(
        [np.linalg.norm(b.footprint - b.footprint.mean(axis=0), axis=1).max() for b in standing]
    )
    roads, half_widths = _road_points(city)
    found: list[Building] = []
    for _ in range(wanted * _TRIES):
        if len(found) == wanted:
            break
        model = city.buildings[int(rng.integers(len(city.buildings)))]
        own = model.footprint - model.footprint.mean(axis=0)
        size = float(np.linalg.norm(own, axis=1).max())
        xy = rng.uniform(-1, 1, 2) * (city.half_extent - size - 2)
        near_house = (np.linalg.norm(middles - xy, axis=1) < reach + size + 1).any()
        near_road = (np.linalg.norm(roads - xy, axis=1) < half_widths + size).any()
        if near_house or near_road or size > 18:
            continue
        # Wings carry the footprint's place of their own.
        wings = tuple(w - model.footprint.mean(axis=0) + xy for w in model.wings)
        found.append(replace(model, footprint=own + xy, wings=wings))
        middles, reach = np.vstack([middles, xy]), np.append(reach, size)
    return found


def _road_points(city: City) -> tuple[Array, Array]:
    """Points (N, 2) about every 4 m of all streets, and how far each street reaches there (N,)."""
    lines = [(s.line.resampled(4.0).points, s.half_width + s.pavement) for s in city.streets]
    points = [p for p, _ in lines]
    if not points:
        return np.zeros((0, 2)), np.zeros(0)
    return np.concatenate(points), np.concatenate([np.full(len(p), w) for p, w in lines])


def _trees(
    city: City, day: AerialDay, buildings: tuple[Building, ...], gone: list[Building]
) -> tuple[Tree, ...]:
    fate = _stream(day, 5).random(len(city.trees))
    # Trees of today that had not been planted yet.
    kept = [t for t, f in zip(city.trees, fate, strict=True) if f >= day.trees_changed / 2]
    rng = _stream(day, 6)
    wanted = int(rng.binomial(len(city.trees), day.trees_changed / 2))
    kept += _felled(city, buildings, gone, rng, wanted)
    new = [b for b in buildings if not any(b.footprint is o.footprint for o in city.buildings)]
    kept = [t for t in kept if not any(_inside(t.xy, b.footprint) for b in new)]
    if day.growth_m == 0 and day.crowns == 1:
        return tuple(kept)
    return tuple(_grown(tree, day) for tree in kept)


def _felled(
    city: City,
    buildings: tuple[Building, ...],
    gone: list[Building],
    rng: np.random.Generator,
    wanted: int,
) -> list[Tree]:
    """Trees that stand no more: off the roads, outside of houses."""
    roads, _ = _road_points(city)
    width = np.concatenate(
        [np.full(len(s.line.resampled(4.0).points), s.half_width + 1.0) for s in city.streets]
        or [np.zeros(0)]
    )
    houses = list(chain(buildings, gone))
    found: list[Tree] = []
    for _ in range(wanted * _TRIES):
        if len(found) == wanted:
            break
        model = city.trees[int(rng.integers(len(city.trees)))]
        xy = rng.uniform(-1, 1, 2) * (city.half_extent - 4)
        if (np.linalg.norm(roads - xy, axis=1) < width).any():
            continue
        if any(_inside((xy[0], xy[1]), b.footprint) for b in houses):
            continue
        found.append(replace(model, xy=(float(xy[0]), float(xy[1]))))
    return found


def _grown(tree: Tree, day: AerialDay) -> Tree:
    """A tree with the crown of that year."""
    radius = max(_SMALLEST_TREE_M, tree.radius - day.growth_m) * day.crowns
    # The lowest leaves stay where they are.
    height = max(radius, tree.crown_height + 0.85 * (radius - tree.radius))
    return replace(tree, radius=radius, crown_height=height)


def _inside(xy: tuple[float, float], ring: Array) -> bool:
    """Whether a point lies in a ring (even-odd rule)."""
    if not (ring.min(axis=0) <= xy).all() or not (ring.max(axis=0) >= xy).all():
        return False
    a, b = ring, np.roll(ring, -1, axis=0)
    spans = (a[:, 1] > xy[1]) != (b[:, 1] > xy[1])
    with np.errstate(divide='ignore', invalid='ignore'):
        cross = a[:, 0] + (xy[1] - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
    return bool(np.count_nonzero(spans & (xy[0] < cross)) % 2)
