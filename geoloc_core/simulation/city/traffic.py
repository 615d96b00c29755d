# SPDX-License-Identifier: Apache-2.0
"""What moves through a city at any moment: cars around blocks, people on pavements.

Cars turn right at every junction, so that each keeps to the lanes around its own block. No two of
these rounds share a lane or cross, hence nobody ever has to give way, and the place of every
mover is a smooth function of time that can be asked for in any order.
"""

from threading import Lock

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from geoloc_core.simulation.city.parking import make_car
from geoloc_core.simulation.city.plan import Car, City, CROSSING_BEHIND_M, Person, Street
from geoloc_core.simulation.city.street_life import make_person
from geoloc_core.simulation.city.streets import arms_of, drivable
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

_SPEED_MS = {'lane': 7.5, 'street': 11.0, 'avenue': 13.5}
_LATERAL = 2.0
_ACCELERATION = 1.5
# Cars on a round follow one another by at least this, s.
_HEADWAY_S = 5.0
_STRIDE_M = 1.4
_PACE_MS = 1.3
# Farther from the camera a mover is smaller than a pixel or two, and not worth its triangles.
_CARS_SEEN_M = 400.0
_PEOPLE_SEEN_M = 200.0
_STEP_M = 0.5
# Cars and people on a usual kilometre of street.
CARS_PER_KM, PEOPLE_PER_KM = 11.5, 57.0
# Cities whose movers are remembered.
_KEPT = 4


class _Round:
    """A closed way and when each of its places is reached."""

    def __init__(self, xy: Array, time: Array) -> None:
        """Takes places (N, 2), the last of which is the first, and times (N,), s."""
        self.time = time
        step = np.diff(xy, axis=0)
        # A place's heading lies between those of the steps to and from it.
        both = step + np.roll(step, 1, axis=0)
        both = np.concatenate([both, both[:1]])
        yaw = np.unwrap(np.arctan2(both[:, 1], both[:, 0]))
        self._columns = (xy[:, 0].copy(), xy[:, 1].copy(), yaw)

    def at(self, t: Array) -> tuple[list[float], list[float], list[float]]:
        """x, y and yaw of those who have been on their way for times (M,)."""
        turn = np.mod(t, self.time[-1])
        x, y, yaw = (np.interp(turn, self.time, column).tolist() for column in self._columns)
        return x, y, yaw


class Traffic:
    """All movers of a city."""

    def __init__(
        self,
        city: City,
        seed: int,
        cars_per_km: float = CARS_PER_KM,
        people_per_km: float = PEOPLE_PER_KM,
    ) -> None:
        """Sends them on their rounds.

        Args:
            city: Its streets.
            seed: Of who goes where.
            cars_per_km: Cars on each kilometre of street, on average; no more than their headway
                allows.
            people_per_km: Likewise on foot.
        """
        # Each street has a round on either side; of all rounds a quarter has no cars.
        self._cars_per_m = cars_per_km / 1000 / 2 / 0.75
        # And two directions on either pavement.
        self._people_per_m = people_per_km / 1000 / 4
        rng = np.random.default_rng([seed, 5])
        self._cars: list[tuple[_Round, Array, list[Car]]] = []
        self._people: list[tuple[_Round, Array, list[Person]]] = []
        self._crossing: list[tuple[Array, Array, float, float, Person]] = []
        quiet: dict[int, int] = {}
        for ring in _rings(city.streets):
            self._add_cars(rng, city, ring, quiet)
            self._add_people(rng, city, ring)
        for i in sorted(i for i, sides in quiet.items() if sides == 2 and people_per_km > 0):
            self._add_crossing(rng, city.streets[i])

    def _add_cars(
        self, rng: np.random.Generator, city: City, ring: list[tuple[int, bool]],
        quiet: dict[int, int],
    ) -> None:  # fmt: skip
        way = _lane_round(city.streets, ring)
        busy = any(city.streets[i].kind == 'avenue' for i, _ in ring)
        count = 0
        if way is not None and rng.random() < (0.95 if busy else 0.7):
            length = way.time[-1] * 8
            count = min(
                int(rng.poisson(length * self._cars_per_m)), int(way.time[-1] / _HEADWAY_S)
            )
        if not count or way is None:
            for i, _ in ring:
                quiet[i] = quiet.get(i, 0) + 1
            return
        phase = (np.arange(count) + 0.4 * rng.random(count)) / count * way.time[-1]
        kinds = rng.choice(['car', 'van', 'bus', 'truck'], count, p=[0.8, 0.1, 0.05, 0.05])
        narrow = all(city.streets[i].kind == 'lane' for i, _ in ring)
        cars = [make_car(rng, (0.0, 0.0), 0.0, 'car' if narrow else str(k)) for k in kinds]
        self._cars.append((way, phase, cars))

    def _add_people(
        self, rng: np.random.Generator, city: City, ring: list[tuple[int, bool]]
    ) -> None:
        for direction in (1.0, -1.0):
            way = _pavement_round(city.streets, ring, float(rng.uniform(0.42, 0.58)))
            if way is None:
                continue
            speed = float(rng.uniform(1.1, 1.5))
            s = Polyline(way).s
            walk = _Round(way if direction > 0 else way[::-1], s / speed)
            count = int(rng.poisson(s[-1] * self._people_per_m))
            phase = rng.uniform(0, walk.time[-1], count)
            if count:
                people = [make_person(rng, (0.0, 0.0), 0.0) for _ in range(count)]
                self._people.append((walk, phase, people))

    def _add_crossing(self, rng: np.random.Generator, street: Street) -> None:
        """Somebody who goes to and fro over a crossing that no car of ours drives over."""
        s = street.mouths[0] - CROSSING_BEHIND_M
        if rng.random() < 0.6 or s < 3:
            return
        xy, along = street.line.at(s)
        across = np.array([-along[1], along[0]]) * (street.half_width + 0.8)
        walker = make_person(rng, (0.0, 0.0), 0.0)
        self._crossing.append(
            (
                xy - across,
                xy + across,
                float(rng.uniform(0, 60)),
                float(rng.uniform(1.0, 1.4)),
                walker,
            )
        )

    def at(
        self, t: float, avoid_xy: ArrayLike | None = None, avoid_m: float = 6.0
    ) -> tuple[tuple[Car, ...], tuple[Person, ...]]:
        """Everybody at a moment; see `traffic`."""
        cars = [
            Car((x, y), yaw, car.size, car.rgb, car.kind)
            for way, phase, members in self._cars
            for x, y, yaw, car in zip(*way.at(phase + t), members, strict=True)
        ]
        people = []
        for way, phase, members in self._people:
            walked = (phase + t).tolist()
            for x, y, yaw, s, p in zip(*way.at(phase + t), walked, members, strict=True):
                # All who share a round share its pace; tall people take fewer steps.
                stride = s * _PACE_MS / (_STRIDE_M * p.height / 1.75) % 1.0
                people.append(Person((x, y), yaw, p.height, p.rgb, p.legs_rgb, stride))
        people += [_on_crossing(t, *member) for member in self._crossing]
        if avoid_xy is not None:
            ego = np.asarray(avoid_xy, np.float64)[:2]
            cars = [c for c in cars if avoid_m < _gap(c, ego) < _CARS_SEEN_M]
            people = [p for p in people if avoid_m < np.hypot(*(ego - p.xy)) < _PEOPLE_SEEN_M]
        return tuple(cars), tuple(people)


_Key = tuple[int, float, float]
_known: list[tuple[City, _Key, Traffic]] = []
_lock = Lock()


def traffic(
    city: City,
    seed: int,
    t: float,
    avoid_xy: ArrayLike | None = None,
    avoid_m: float = 6.0,
    *,
    cars_per_km: float = CARS_PER_KM,
    people_per_km: float = PEOPLE_PER_KM,
) -> tuple[tuple[Car, ...], tuple[Person, ...]]:
    """Who moves through a city at a moment.

    Args:
        city: Its streets.
        seed: Of who goes where.
        t: Time, s; places are continuous in it.
        avoid_xy: (2,) place of the car that carries the camera, m; nobody comes near it, and
            those too far away to be seen from it are left out.
        avoid_m: How near: those whose body is closer than this are left out.
        cars_per_km: Cars on each kilometre of street, on average.
        people_per_km: People on each kilometre of street, on average.

    Returns:
        Vehicles and people. The same city, seed and time give the same.
    """
    with _lock:
        key = (seed, cars_per_km, people_per_km)
        found = next((m for c, k, m in _known if c is city and k == key), None)
        if found is None:
            found = Traffic(city, *key)
            _known.insert(0, (city, key, found))
            del _known[_KEPT:]
    return found.at(t, avoid_xy, avoid_m)


def _gap(car: Car, place: Array) -> float:
    """Distance from a place to a car's body, m."""
    away = place - car.xy
    c, s = np.cos(car.yaw), np.sin(car.yaw)
    local = np.abs([c * away[0] + s * away[1], -s * away[0] + c * away[1]])
    outside = np.maximum(local - np.array(car.size[:2]) / 2, 0)
    return float(np.hypot(*outside))


def _on_crossing(
    t: float, start: Array, end: Array, phase: float, speed: float, who: Person
) -> Person:
    """Walks over, waits, walks back, waits."""
    length = float(np.linalg.norm(end - start))
    walk, wait = length / speed, 9.0
    moment = (t + phase) % (2 * (walk + wait))
    there = moment < walk + wait
    done = min((moment if there else moment - walk - wait) / walk, 1.0)
    f = done if there else 1 - done
    xy = start + (end - start) * f
    way = (end - start) if there else (start - end)
    stride = done * length / _STRIDE_M % 1.0 if done < 1 else -1.0
    yaw = float(np.arctan2(way[1], way[0]))
    return Person((float(xy[0]), float(xy[1])), yaw, who.height, who.rgb, who.legs_rgb, stride)


def _rings(streets: tuple[Street, ...]) -> list[list[tuple[int, bool]]]:
    """Rounds of (street, driven backwards) that turn right wherever they can."""
    core = drivable(streets)
    kept = tuple(streets[i] for i in core)
    following: dict[tuple[int, bool], tuple[int, bool]] = {}
    for around in arms_of(kept).values():
        for k, (_, i, at_end) in enumerate(around):
            # Who arrives along arm k leaves by the next one counter-clockwise from it.
            _, j, leaves_at_end = around[(k + 1) % len(around)]
            following[(core[i], not at_end)] = (core[j], leaves_at_end)
    rings, seen = [], set()
    for first in sorted(following):
        if first in seen:
            continue
        ring = [first]
        while following[ring[-1]] != first:
            ring.append(following[ring[-1]])
        seen |= set(ring)
        rings.append(ring)
    return rings


def _joint(before: Array, after: Array) -> Array:
    """A smooth curve (9, 2) from the end of one piece to the start of the next."""
    p, q = before[-1], after[0]
    out = (before[-1] - before[-2]) / np.linalg.norm(before[-1] - before[-2])
    into = (after[1] - after[0]) / np.linalg.norm(after[1] - after[0])
    reach = 0.39 * float(np.linalg.norm(q - p))
    t = np.linspace(0, 1, 11)[1:-1, None]
    a, b = p + out * reach, q - into * reach
    curve: Array = (1 - t) ** 3 * p + 3 * t * (1 - t) ** 2 * a
    return curve + 3 * t**2 * (1 - t) * b + t**3 * q


def _closed(pieces: list[Array], sigma_m: float) -> Array | None:
    """Pieces joined to a smooth closed line, about two points a metre, first point repeated."""
    joined = []
    for k, piece in enumerate(pieces):
        joined += [piece, _joint(piece, pieces[(k + 1) % len(pieces)])]
    points = np.concatenate([*joined, pieces[0][:1]])
    if not np.isfinite(points).all():
        return None
    even = Polyline(points).resampled(_STEP_M).points[:-1]
    smooth = gaussian_filter1d(even, sigma_m / _STEP_M, axis=0, mode='wrap')
    return np.concatenate([smooth, smooth[:1]])


def _way(street: Street, backwards: bool) -> tuple[Polyline, float, float]:
    """A street's middle as driven, and its mouths in that order."""
    line = street.line.reversed() if backwards else street.line
    near, far = street.mouths[::-1] if backwards else street.mouths
    return line, near, far


def _lane_round(streets: tuple[Street, ...], ring: list[tuple[int, bool]]) -> _Round | None:
    """The lanes of a ring, and when a car is where."""
    pieces, marks = [], []
    for i, backwards in ring:
        street = streets[i]
        line, near, far = _way(street, backwards)
        start, end = min(near, 0.35 * line.length), line.length - min(far, 0.35 * line.length)
        lane = line.part(start, end).offset(-street.lane_offset).resampled(1.0)
        pieces.append(lane.points)
        marks.append((lane.at(lane.length / 2)[0], _SPEED_MS.get(street.kind, 9.0)))
    xy = _closed(pieces, 1.5)
    if xy is None:
        return None
    step = np.linalg.norm(np.diff(xy, axis=0), axis=1)
    heading = np.unwrap(np.arctan2(*np.diff(xy, axis=0).T[::-1]))
    bend = np.abs(np.gradient(heading)) / np.maximum(step, 1e-6)
    places = np.array([m for m, _ in marks])
    nearest = np.argmin(((xy[:-1, None] - places) ** 2).sum(-1), axis=1)
    limit = np.array([v for _, v in marks])[nearest]
    speed = np.clip(np.sqrt(_LATERAL / np.maximum(bend, 1e-3)), 2.5, limit)
    # Twice around, so that braking for the first corner reaches back over the joint.
    square = np.tile(speed**2, 2)
    ahead = np.tile(step, 2)
    for i in range(1, len(square)):
        square[i] = min(square[i], square[i - 1] + 2 * _ACCELERATION * ahead[i - 1])
    for i in range(len(square) - 2, -1, -1):
        square[i] = min(square[i], square[i + 1] + 2 * _ACCELERATION * ahead[i])
    n = len(step)
    pace = np.sqrt(np.concatenate([square[n : 2 * n - n // 2], square[n - n // 2 : n]]))
    return _Round(xy, np.concatenate([[0.0], np.cumsum(step / np.maximum(pace, 1.0))]))


def _pavement_round(
    streets: tuple[Street, ...], ring: list[tuple[int, bool]], share: float
) -> Array | None:
    """A closed line on the pavements around a block, `share` of their width from the kerb."""
    ways = []
    for i, backwards in ring:
        if streets[i].pavement < 1.2:
            return None
        ways.append((_way(streets[i], backwards)[0], streets[i]))
    offsets = [street.half_width + share * street.pavement for _, street in ways]
    cuts = []
    for k, (line, _) in enumerate(ways):
        following = ways[(k + 1) % len(ways)][0]
        back = line.points[-1] - line.at(line.length - 8)[0]
        ahead = following.at(8)[0] - following.points[0]
        turn = np.arctan2(
            back[0] * ahead[1] - back[1] * ahead[0], float(back @ ahead)
        )  # left is positive
        inner = np.pi + turn
        one, two = offsets[k], offsets[(k + 1) % len(ways)]
        if np.radians(25) < inner < np.radians(155):
            cut = [
                (b + a * np.cos(inner)) / np.sin(inner) + 1.0 for a, b in ((one, two), (two, one))
            ]
        else:
            cut = [1.0, 1.0]
        cuts.append(cut)
    pieces = []
    for k, (line, _) in enumerate(ways):
        start, end = max(cuts[k - 1][1], 0.5), line.length - max(cuts[k][0], 0.5)
        start, end = min(start, 0.45 * line.length), max(end, 0.55 * line.length)
        pieces.append(line.part(start, end).offset(-offsets[k]).resampled(1.0).points)
    return _closed(pieces, 0.7)
