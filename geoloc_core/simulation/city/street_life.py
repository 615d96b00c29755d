# SPDX-License-Identifier: Apache-2.0
"""Fills streets and parks with what makes a city of them: trees, cars, lamps, signs, people."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city.green import plant
from geoloc_core.simulation.city.parking import built_room, park_cars
from geoloc_core.simulation.city.plan import (
    Area,
    Building,
    Car,
    CROSSING_BEHIND_M,
    Fence,
    Furniture,
    Path,
    Person,
    Rgb,
    Street,
    Tree,
)
from geoloc_core.simulation.city.room import Frame, frontage, inside, Room
from geoloc_core.simulation.city.streets import arms_of

Array = NDArray[np.float64]

_STEEL = (112, 116, 118)
# Between things on a pavement there is room for a robot or a pram, m.
_CLEAR_M = 2.2
_SIGNS: tuple[Rgb, ...] = ((196, 32, 36), (28, 84, 168), (232, 190, 40), (236, 236, 232))
COATS: tuple[Rgb, ...] = (
    (40, 44, 60), (150, 44, 40), (70, 88, 62), (196, 186, 160), (36, 36, 38), (60, 96, 150),
    (210, 206, 200), (128, 92, 66), (176, 120, 40), (96, 60, 96),
)  # fmt: skip
TROUSERS: tuple[Rgb, ...] = ((52, 54, 66), (36, 38, 44), (96, 88, 76), (58, 72, 104))


class _Kerbside:
    """What stands on pavements; nobody shall have to squeeze through between two things."""

    def __init__(self, roads: Room) -> None:
        self.things: list[Furniture] = []
        self.roads = roads
        self.standing = Room(roads.half)

    def has_room(self, xy: tuple[float, float], clear: float = _CLEAR_M) -> bool:
        """Whether a place is off the road and has no neighbour within `clear` metres."""
        return self.roads.is_point_free(xy, 0.25) and self.standing.is_point_free(xy, clear)

    def put(
        self, kind: str, xy: tuple[float, float], yaw: float, height: float, rgb: Rgb,
        clear: float = _CLEAR_M,
    ) -> None:  # fmt: skip
        """Puts a thing at a place if it has room there."""
        if self.has_room(xy, clear):
            self.things.append(Furniture(kind, xy, yaw, height, rgb))
            self.occupy(xy)

    def occupy(self, xy: tuple[float, float]) -> None:
        """Marks a place as taken."""
        self.standing.take_line(np.array([xy, xy]), 0.5)


@dataclass(frozen=True)
class Life:
    """What `furnish` adds to streets and buildings; the fields are those of `City`."""

    trees: tuple[Tree, ...]
    cars: tuple[Car, ...]
    other_cars: tuple[Car, ...]
    furniture: tuple[Furniture, ...]
    people: tuple[Person, ...]


def furnish(
    rng: np.random.Generator,
    streets: tuple[Street, ...],
    buildings: tuple[Building, ...],
    areas: tuple[Area, ...],
    half_extent: float,
    *,
    paths: tuple[Path, ...] = (),
    fences: tuple[Fence, ...] = (),
    trees: tuple[Tree, ...] = (),
    furniture: tuple[Furniture, ...] = (),
) -> Life:
    """Fills a city of any origin with life.

    Args:
        rng: The same state gives the same life.
        streets: With their `mouths` set, see `with_mouths`.
        buildings: Nothing is put into them.
        areas: Parks and the like.
        half_extent: Half the city's side, m.
        paths: Kept free; drives get cars.
        fences: Kept free.
        trees: Trees that are there already.
        furniture: Likewise.

    Returns:
        Trees and furniture, those given among them, and what else there is.
    """
    roads = Room(half_extent)
    room = built_room(half_extent, buildings)
    built = built_room(half_extent, buildings)
    for street in streets:
        roads.take_line(street.line.points, 2 * street.half_width)
        room.take_street(street)
    for path in paths:
        room.take_line(path.line.points, path.width)
    for fence in fences:
        room.take_line(fence.line, 0.8)
    for area in areas:
        if area.kind in ('pond', 'playground', 'field'):
            room.take(area.outline)
    for xy in [t.xy for t in trees] + [f.xy for f in furniture]:
        room.take_line(np.array([xy, xy]), 1.6)
    seeds = rng.integers(0, 2**31, 5)
    kerbside = _Kerbside(roads)
    _equip(np.random.default_rng(seeds[0]), streets, kerbside)
    grown = plant(np.random.default_rng(seeds[1]), streets, areas, room, roads)
    grown = [t for t in grown if kerbside.standing.is_point_free(t.xy, 0.8 * _CLEAR_M)]
    for tree in grown:
        kerbside.occupy(tree.xy)
    parked, other = (
        tuple(park_cars(np.random.default_rng(s), streets, areas, paths, built))
        for s in seeds[2:4]
    )
    people = _people(np.random.default_rng(seeds[4]), streets, areas, built, kerbside)
    things = (*furniture, *kerbside.things)
    return Life((*trees, *grown), parked, other, things, tuple(people))


def _equip(rng: np.random.Generator, streets: tuple[Street, ...], kerbside: _Kerbside) -> None:
    """Lamps, signs, lights, shelters and small things along all streets."""
    for around in arms_of(streets).values():
        if len(around) >= 3:
            _junction(rng, kerbside, streets, around)
    for street in streets:
        if street.pavement < 1.0:
            continue
        _lamps(rng, kerbside, street)
        if street.kind != 'lane' and not street.parking and rng.random() < 0.4:
            _shelter(rng, kerbside, street)
        _small_things(rng, kerbside, street)


def _lamps(rng: np.random.Generator, kerbside: _Kerbside, street: Street) -> None:
    """Lamps at alternate kerbs, their arms over the road."""
    height = {'lane': 4.6, 'street': 6.2, 'avenue': 8.0}.get(street.kind, 6.0)
    rgb = ((92, 98, 100), (58, 66, 62), (146, 150, 150))[int(rng.integers(3))]
    spacing = rng.uniform(18, 26)
    side = float(rng.choice([-1.0, 1.0]))
    for s in np.arange(0.7 * street.mouths[0] + 2, street.line.length - 6, spacing):
        frame = frontage(street, side, float(s))
        yaw = frame.yaw - np.pi / 2
        kerbside.put('lamp', frame.at(0, 0.5 - street.pavement), yaw, height, rgb)
        side = -side


def _small_things(rng: np.random.Generator, kerbside: _Kerbside, street: Street) -> None:
    """Parking signs, bins, bollards, benches, cable boxes."""
    for _ in range(round(street.line.length / 16)):
        side, s = float(rng.choice([-1.0, 1.0])), float(rng.uniform(4, street.line.length - 4))
        frame = frontage(street, side, s)
        kerb, wall = 0.45 - street.pavement, -0.35
        kind = str(rng.choice(['sign', 'bin', 'bollard', 'box', 'bench']))
        if kind == 'sign':
            rgb = _SIGNS[int(rng.integers(4))]
            kerbside.put(kind, frame.at(0, kerb), frame.yaw + np.pi, 2.4, rgb)
        elif kind == 'bin':
            kerbside.put(kind, frame.at(0, kerb), frame.yaw, 0.9, (196, 108, 36))
        elif kind == 'bollard':
            for u in np.arange(0, 6, 1.5):
                kerbside.put(kind, frame.at(u, kerb - 0.1), frame.yaw, 0.9, (72, 74, 76), 1.1)
        elif kind == 'box':
            kerbside.put(kind, frame.at(0, wall), frame.yaw - np.pi / 2, 1.1, (138, 144, 136))
        elif street.pavement > 2.2:
            kerbside.put(kind, frame.at(0, wall), frame.yaw - np.pi / 2, 0.85, (122, 92, 62))


def _shelter(rng: np.random.Generator, kerbside: _Kerbside, street: Street) -> None:
    """A bus stop with its sign; its bay is painted on the road."""
    side = float(rng.choice([-1.0, 1.0]))
    s = float(rng.uniform(0.35, 0.65)) * street.line.length
    frame = frontage(street, side, s)
    if kerbside.roads.is_point_free(frame.at(0, -0.6), 1.8):
        kerbside.put('shelter', frame.at(0, -0.7), frame.yaw - np.pi / 2, 2.5, _STEEL)
        kerbside.put('sign', frame.at(3.5, 0.5 - street.pavement), frame.yaw, 2.6, _SIGNS[2])


def _junction(
    rng: np.random.Generator,
    kerbside: _Kerbside,
    streets: tuple[Street, ...],
    around: list[tuple[float, int, bool]],
) -> None:
    """Lights at some junctions, signs at the others; street names at all."""
    wide = any(streets[i].kind == 'avenue' for _, i, _ in around)
    small = all(streets[i].kind == 'lane' for _, i, _ in around)
    has_lights = not small and (wide or (len(around) >= 4 and rng.random() < 0.5))
    for _, i, at_end in around:
        street = streets[i]
        # Drivers come towards the junction: at the end they drive with the line.
        side = -1.0 if at_end else 1.0
        s = street.mouths[1] if at_end else street.mouths[0]
        s = street.line.length - s if at_end else s
        frame = frontage(street, side, s)
        kerb = 0.4 - street.pavement
        # The frame's `along` points back on the right-hand side: signs face who comes.
        facing = frame.yaw
        if has_lights:
            kerbside.put('traffic_light', frame.at(0, kerb), facing, 3.3, _STEEL)
        elif rng.random() < 0.8:
            kerbside.put(
                'sign',
                frame.at(0.5, kerb),
                facing,
                2.5,
                _SIGNS[int(rng.integers(3))],
            )
        if rng.random() < 0.4:
            kerbside.put(
                'sign',
                frame.at(-CROSSING_BEHIND_M - 3, -0.3),
                facing,
                2.9,
                (38, 60, 130),
            )


def _people(
    rng: np.random.Generator,
    streets: tuple[Street, ...],
    areas: tuple[Area, ...],
    built: Room,
    kerbside: _Kerbside,
) -> list[Person]:
    """Those who stand and talk on pavements and squares."""
    people = []

    def group(frame: Frame, depth: float) -> None:
        """One to three people, in a ring flattened to `depth` across the frame."""
        heading = float(rng.uniform(0, 2 * np.pi))
        for k in range(int(rng.integers(1, 4))):
            turn = heading + 2.1 * k
            xy = frame.at(0.55 * float(np.cos(turn)), depth * float(np.sin(turn)))
            # Those of a group come one after the other: only who stood there before is in the way.
            if kerbside.has_room(xy) and built.is_point_free(xy, 0.3):
                people.append(make_person(rng, xy, frame.yaw + turn + np.pi))

    for street in streets:
        # Where pavements are narrow nobody stands in the way.
        for _ in range(rng.poisson(street.line.length / 90) if street.pavement > 2 else 0):
            side = float(rng.choice([-1.0, 1.0]))
            s = float(rng.uniform(3, street.line.length - 3))
            group(frontage(street, side, s, -0.55), 0.22)
    for area in areas:
        if area.kind in ('square', 'park', 'playground'):
            low, high = area.outline.min(axis=0), area.outline.max(axis=0)
            for xy in rng.uniform(low, high, (round(np.prod(high - low) / 400), 2)):
                if inside(area.outline, xy):
                    group(Frame(xy, np.array([1.0, 0.0])), 0.55)
    return people


def make_person(
    rng: np.random.Generator, xy: tuple[float, float], yaw: float, phase: float = -1.0
) -> Person:
    """Somebody of a usual height in usual clothes."""
    coat, legs = COATS[int(rng.integers(len(COATS)))], TROUSERS[int(rng.integers(len(TROUSERS)))]
    return Person(xy, yaw, float(rng.uniform(1.5, 1.9)), coat, legs, phase)
