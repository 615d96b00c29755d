# SPDX-License-Identifier: Apache-2.0
"""Where in a city a hall can stand: at a straight street, with a free way to its door."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.city import Area, Building, City, Street
from geoloc_core.simulation.city.room import frontage, inside, Room
from geoloc_core.simulation.robots.pavements import pavement_offset
from geoloc_core.simulation.rooms.hall import Hall, make_hall

Array = NDArray[np.float64]

# A street along which a robot can come: so long before the door at least, so long at most.
MIN_WALK_M, MAX_WALK_M = 30.0, 70.0
# So far it goes on after it has left the hall.
ONWARD_M = 14.0
# Half the width of the way from the pavement to the door, m.
_WAY_M = 2.4
_STRAIGHT_RAD = np.radians(1.5)
_STEP_M = 4.0
# A house that has to go is worth so many metres of way.
_HOUSE_M = 12.0


@dataclass(frozen=True)
class Site:
    """A hall and how one comes to it.

    Attributes:
        hall: The hall.
        way: (N, 2) along the pavement to the point before the door, m, map frame.
        onward: (N, 2) from there on.
    """

    hall: Hall
    way: Array
    onward: Array


class _Placed(Protocol):
    """What stands somewhere: trees, furniture, people, cars."""

    @property
    def xy(self) -> tuple[float, float]:
        """Its middle."""


def with_hall(city: City, seed: int) -> tuple[City, Site]:
    """Builds a hall into a city.

    Args:
        city: Not changed.
        seed: Of the hall.

    Returns:
        The city with the hall among its buildings, without what stood there, and the site.

    Raises:
        ConfigError: No street has room for it.
    """
    rng = np.random.default_rng([seed, 74])
    size = (float(rng.uniform(14.0, 17.0)), float(rng.uniform(10.5, 12.5)))
    setback = float(rng.uniform(5.5, 7.0))
    best, found = -np.inf, None
    rooms: dict[int, Room] = {}
    for street, side, s, walk in _places(city):
        frame = frontage(street, side, s, setback)
        plot = frame.box(-size[0] / 2 - 1.5, -0.5, size[0] + 3.0, size[1] + 2.0)
        score = min(walk, MAX_WALK_M) + rng.uniform(0, 2)
        if score <= best:
            continue
        if id(street) not in rooms:
            rooms[id(street)] = _room_beside(city, street)
        if not rooms[id(street)].is_free(plot):
            continue
        score -= _HOUSE_M * sum(_touches(plot, house) for house in city.buildings)
        if score > best:
            best, found = score, (street, side, s, frame)
    if found is None:
        raise ConfigError('no street of this city has room for a hall: choose another seed')
    street, side, s, frame = found
    offset = pavement_offset(street)
    hall = make_hall(seed, frame, size, setback, setback + street.reach - offset)
    before, onward = _pavement(street, side * offset, frame.at(0.0, -hall.pavement_m))
    return _cleared(city, hall), Site(hall, before, onward)


def _pavement(street: Street, offset: float, door: tuple[float, float]) -> tuple[Array, Array]:
    """The way to a place on a pavement, from the longer side, and the way on from there."""
    near, far = street.mouths
    line = street.line.part(near, street.line.length - far).offset(offset).resampled(0.5)
    at = int(np.argmin(np.linalg.norm(line.points - door, axis=1)))
    if line.s[at] < line.length / 2:
        line, at = line.reversed(), len(line.points) - 1 - at
    first, last = np.searchsorted(line.s, (line.s[at] - MAX_WALK_M, line.s[at] + ONWARD_M))
    return line.points[first : at + 1], line.points[at : last + 1]


def _places(city: City) -> Iterator[tuple[Street, float, float, float]]:
    """(street, side, place along it, metres of pavement before it) where a door could be."""
    for street in city.streets:
        line = street.line
        if street.pavement < 0.5 or np.abs(line.points).max() > city.half_extent - 4.0:
            continue
        near, far = street.mouths
        for s in np.arange(near + 12.0, line.length - far - 12.0, _STEP_M):
            ahead = [line.at(float(s + k))[1] for k in (-12.0, -6.0, 0.0, 6.0, 12.0)]
            turn = max(abs(float(a[0] * ahead[2][1] - a[1] * ahead[2][0])) for a in ahead)
            walk = max(s - near, line.length - far - s)
            rest = min(s - near, line.length - far - s)
            if turn > np.sin(_STRAIGHT_RAD) or walk < MIN_WALK_M or rest < ONWARD_M:
                continue
            for side in (1.0, -1.0):
                yield street, side, float(s), float(walk)


def _room_beside(city: City, own: Street) -> Room:
    """What other streets and ponds leave free."""
    room = Room(city.half_extent)
    for street in city.streets:
        if street is not own:
            room.take_street(street)
    for area in city.areas:
        if area.kind == 'pond':
            room.take(area.outline)
    return room


def _touches(plot: Array, house: Building) -> bool:
    """Whether a house stands on a plot, by a corner or the middle of either in the other."""
    footprint = house.footprint
    if np.linalg.norm(footprint.mean(axis=0) - plot.mean(axis=0)) > 60.0:
        return False
    grid = [plot[0] + a * (plot[1] - plot[0]) + b * (plot[3] - plot[0])
            for a in np.linspace(0, 1, 9) for b in np.linspace(0, 1, 9)]  # fmt: skip
    return any(inside(footprint, xy) for xy in grid) or any(inside(plot, xy) for xy in footprint)


def _cleared(city: City, hall: Hall) -> City:
    """The city with the hall, and nothing left on its plot or in the way to its door."""
    length, depth = hall.size
    plot = hall.frame.box(-length / 2 - 1.0, -0.3, length + 2.0, depth + 1.3)
    way = hall.frame.box(-_WAY_M, -hall.forecourt_m, 2 * _WAY_M, hall.forecourt_m + 0.1)
    walls = hall.frame.box(-length / 2, 0.0, length, depth)

    def is_clear(things: Sequence[_Placed]) -> list[bool]:
        return [not (inside(plot, thing.xy) or inside(way, thing.xy)) for thing in things]

    def kept(things: Sequence) -> tuple:
        return tuple(t for t, clear in zip(things, is_clear(things), strict=True) if clear)

    trees = tuple(
        tree for tree in kept(city.trees) if _distance(walls, tree.xy) > tree.radius + 0.3
    )
    fences = tuple(
        fence
        for fence in city.fences
        if not any(inside(plot, xy) or inside(way, xy) for xy in _fine(fence.line))
    )
    houses = tuple(house for house in city.buildings if not _touches(plot, house))
    return replace(
        city,
        buildings=(*houses, hall.building),
        trees=trees,
        fences=fences,
        furniture=kept(city.furniture),
        people=kept(city.people),
        cars=kept(city.cars),
        other_cars=kept(city.other_cars),
        areas=(*city.areas, Area('square', way)),
    )


def _fine(line: Array) -> Array:
    """Points (N, 2) of a line, half a metre apart."""
    pieces = [
        a + np.linspace(0, 1, 2 + int(2 * np.linalg.norm(b - a)))[:, None] * (b - a)
        for a, b in pairwise(line)
    ]
    return np.concatenate([line[:1], *pieces])


def _distance(polygon: Array, xy: tuple[float, float]) -> float:
    """From a place to a polygon's outline, m; 0 inside it."""
    if inside(polygon, xy):
        return 0.0
    return float(np.linalg.norm(_fine(np.vstack([polygon, polygon[:1]])) - xy, axis=1).min())
