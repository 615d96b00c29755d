# SPDX-License-Identifier: Apache-2.0
"""Ways through a city: along the right-hand lanes, or along the pavements and over the crossings.

A route never jumps: it goes round, or crosses, or (in a town of dead ends only) turns in a loop.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.city import City, LANE_M, STOP_LINE_M, Street
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

STEP_M = 0.25
# A turn leaves its lane this far behind the stop line.
_BEHIND_LINE_M = 1.5
# Radius of the loop at a dead end, m.
_LOOP_M = 5.0
# From base_link (the rear axle) to the car's nose, which stops at the line.
_NOSE_M = 3.5
# Speed limits by kind of street and, whatever it is called, by its width, m/s: 30 and 50 km/h.
_SLOW, _FAST = 8.3, 13.9
_NARROW_M = 3.8


@dataclass(frozen=True)
class Stop:
    """A place where one may have to wait.

    Attributes:
        s: Distance along the route, m.
        kind: 'line' (a stop line), 'light' (a stop line with traffic lights) or 'kerb' (before a
            crossing on foot).
    """

    s: float
    kind: str


@dataclass(frozen=True)
class Route:
    """A smooth way.

    Attributes:
        line: Where it goes, points about every `STEP_M`.
        limit: (N,) speed allowed at each point of the line, m/s.
        stops: In the order in which they come.
    """

    line: Polyline
    limit: Array
    stops: tuple[Stop, ...]


@dataclass(frozen=True)
class Arm:
    """A street as seen from one of its junctions.

    Attributes:
        street: Index in the city.
        line: Its middle, leading away from the junction.
        to: The junction at its other end.
        mouth: Distance from this junction to the stop line, m.
        far_mouth: The same at the other end.
    """

    street: int
    line: Polyline
    to: int
    mouth: float
    far_mouth: float


def speed_limit(street: Street) -> float:
    """Speed allowed in a street, m/s."""
    narrow = street.kind == 'lane' or street.half_width < _NARROW_M
    return _SLOW if narrow else _FAST


def arms_of(city: City, streets: Iterable[int]) -> dict[int, list[Arm]]:
    """The streets at every junction."""
    arms: dict[int, list[Arm]] = {}
    for i in streets:
        street = city.streets[i]
        near, far = street.mouths
        arms.setdefault(street.start, []).append(Arm(i, street.line, street.end, near, far))
        back = street.line.reversed()
        arms.setdefault(street.end, []).append(Arm(i, back, street.start, far, near))
    return arms


def through_streets(city: City) -> list[int]:
    """Streets from which a way always leads on: those left when dead ends are cut off.

    Streets that leave the city's square are left out. Where nothing but dead ends remains, all
    streets within the square are given, and a route has to turn in loops.

    Raises:
        ConfigError: The city has no street.
    """
    inside = [
        i
        for i, street in enumerate(city.streets)
        if np.abs(street.line.points).max() < city.half_extent - 2 and street.line.length > 8
    ]
    if not inside:
        raise ConfigError('a drive needs streets, but this city has none')
    kept = set(inside)
    while True:
        ends = [j for i in kept for j in (city.streets[i].start, city.streets[i].end)]
        count = np.bincount(ends, minlength=1) if ends else np.zeros(1, int)
        dead = {i for i in kept if min(count[[city.streets[i].start, city.streets[i].end]]) < 2}
        if not dead:
            return sorted(kept) if kept else inside
        kept -= dead


def smoothed(
    pieces: list[Array], limits: list[float], stops: list[tuple[float, str]], sigma_m: float
) -> Route:
    """Joins pieces to a route.

    Args:
        pieces: Points (N_i, 2) of every piece, in order.
        limits: Speed allowed on each.
        stops: (distance along the joined pieces, kind).
        sigma_m: How far corners are rounded, m.

    Returns:
        The route.
    """
    rough = Polyline(np.concatenate(pieces))
    ends = np.cumsum([Polyline(piece).length if len(piece) > 1 else 0.0 for piece in pieces])
    # The joints between pieces count with the piece behind them.
    ends *= rough.length / max(ends[-1], 1e-9)
    fine = rough.resampled(STEP_M)
    points = gaussian_filter1d(fine.points, sigma_m / STEP_M, axis=0, mode='nearest')
    line = Polyline(points)
    owner = np.minimum(
        np.searchsorted(ends, np.linspace(0, rough.length, len(points))), len(ends) - 1
    )
    limit = np.array(limits)[owner]
    # Rounded corners are shorter: a stop stays at its point, not at its distance.
    place = [round(s / rough.length * (len(points) - 1)) for s, _ in stops]
    kept = [(i, kind) for i, (_, kind) in zip(place, stops, strict=True) if 0 < i < len(line.s)]
    return Route(line, limit, tuple(Stop(float(line.s[i]), kind) for i, kind in kept))


def driving_route(rng: np.random.Generator, city: City, length: float) -> Route:
    """A way in the right-hand lanes.

    It prefers streets not driven yet and never turns back into the street it came from.

    Args:
        rng: Decides where it begins and which of equal ways it takes.
        city: Its streets.
        length: At least this long, m.

    Returns:
        The route.

    Raises:
        ConfigError: The city has no street.
    """
    streets = through_streets(city)
    arms = arms_of(city, streets)
    lit = _lit_junctions(city)
    # Streets that are not driven meet the others all the same.
    meeting = np.bincount([n for street in city.streets for n in (street.start, street.end)])
    driven = np.zeros(len(city.streets))
    first = city.streets[streets[int(rng.integers(len(streets)))]]
    node, last = first.start, -1
    pieces: list[Array] = []
    limits: list[float] = []
    stops: list[tuple[float, str]] = []
    total = 0.0
    while total < length:
        ways = [arm for arm in arms[node] if arm.street != last]
        turning_back = not ways
        ways = ways or arms[node]
        cost = [driven[arm.street] + 0.5 * rng.random() for arm in ways]
        arm = ways[int(np.argmin(cost))]
        street = city.streets[arm.street]
        lane = _lane(street, arm)
        if pieces:
            turn = _loop if turning_back else _turn
            joint = turn(pieces[-1], lane.points)
            total += Polyline(joint).length
            pieces.append(joint[1:-1])
            limits.append(_SLOW)
        pieces.append(lane.points)
        limits.append(speed_limit(street))
        total += lane.length
        node, last = arm.to, arm.street
        driven[last] += 1
        if meeting[node] > 2:
            kind = 'light' if node in lit else 'line'
            stops.append((total - _BEHIND_LINE_M - _NOSE_M, kind))
    return smoothed(pieces, limits, stops, 2.0)


def _lane(street: Street, arm: Arm) -> Polyline:
    """The middle of the outer lane, from turn to turn."""
    length = arm.line.length
    # In a short street half of it is turning.
    start = min(max(arm.mouth - _BEHIND_LINE_M, 2.0), 0.35 * length)
    end = min(max(arm.far_mouth - _BEHIND_LINE_M, 2.0), 0.35 * length)
    # In a street narrower than two lanes one drives in the middle of its half.
    offset = min(street.lane_offset, street.lanes_edge / 2 + street.median / 4)
    if street.lanes > 1:
        offset = street.lane_offset
    return arm.line.part(start, length - end).offset(-offset).resampled(1.0)


def _lit_junctions(city: City) -> set[int]:
    """Junctions with traffic lights."""
    lights = np.array([f.xy for f in city.furniture if f.kind == 'traffic_light']).reshape(-1, 2)
    if not len(lights):
        return set()
    away = np.linalg.norm(city.junctions[:, None] - lights, axis=2).min(axis=1)
    return set(np.flatnonzero(away < STOP_LINE_M + 2 * LANE_M).tolist())


def _turn(before: Array, after: Array) -> Array:
    """A cubic Bezier curve (21, 2) from the end of one lane to the start of the next."""
    p, q = before[-1], after[0]
    out = (before[-1] - before[-2]) / np.linalg.norm(before[-1] - before[-2])
    into = (after[1] - after[0]) / np.linalg.norm(after[1] - after[0])
    reach = 0.39 * np.linalg.norm(q - p)
    t = np.linspace(0, 1, 21)[:, None]
    a, b = p + out * reach, q - into * reach
    return np.asarray(
        (1 - t) ** 3 * p + 3 * t * (1 - t) ** 2 * a + 3 * t**2 * (1 - t) * b + t**3 * q
    )


def _loop(before: Array, after: Array) -> Array:
    """A turning loop (26, 2) at a dead end: out to the right, round to the left, and back."""
    p, q = before[-1], after[0]
    out = (before[-1] - before[-2]) / np.linalg.norm(before[-1] - before[-2])
    left = np.array([-out[1], out[0]])
    center = (p + q) / 2 + out * 1.6 * _LOOP_M
    angle = np.radians(np.linspace(-110, 110, 24))[:, None]
    ring = center + _LOOP_M * (out * np.cos(angle) + left * np.sin(angle))
    return np.concatenate([p[None], ring, q[None]])
