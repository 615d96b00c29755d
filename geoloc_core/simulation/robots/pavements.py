# SPDX-License-Identifier: Apache-2.0
"""Ways on foot: pavements, round the corners of blocks, and over the crossings."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import City, STOP_LINE_M, Street
from geoloc_core.simulation.city.plan import CROSSING_BEHIND_M
from geoloc_core.simulation.polyline import Polyline
from geoloc_core.simulation.robots.routes import Arm, arms_of, Route, smoothed, through_streets

Array = NDArray[np.float64]

# Trees and lamps stand at the kerb: one walks a little beyond the middle of the pavement.
_PLACE_ON_PAVEMENT = 0.6
# Where there is no pavement, one keeps this far from the edge of the road.
_EDGE_M = 0.6
_WALKING_LIMIT = 6.0
_CHANCE_TO_CROSS = 0.35


def pavement_offset(street: Street) -> float:
    """Distance from a street's middle to where one walks, m."""
    if street.pavement > 0.5:
        return street.half_width + _PLACE_ON_PAVEMENT * street.pavement
    return street.half_width - _EDGE_M


@dataclass
class _Node:
    """A junction's arms, counter-clockwise, and how far from it each one's crossing lies."""

    arms: list[Arm]
    cut: list[float] = field(default_factory=list)


def walking_route(rng: np.random.Generator, city: City, length: float) -> Route:
    """A way along pavements.

    Args:
        rng: Decides where it begins and where it crosses.
        city: Its streets.
        length: At least this long, m.

    Returns:
        The route; before every crossing there is a stop at the kerb.

    Raises:
        ConfigError: The city has no street.
    """
    streets = through_streets(city)
    nodes = {j: _node(city, arms) for j, arms in arms_of(city, streets).items()}
    walked = np.zeros(len(city.streets))
    first = streets[int(rng.integers(len(streets)))]
    node = city.streets[first].start
    k = next(i for i, arm in enumerate(nodes[node].arms) if arm.street == first)
    side = -1.0
    pieces: list[Array] = []
    stops: list[tuple[float, str]] = []
    total = 0.0
    while total < length:
        arm = nodes[node].arms[k]
        walked[arm.street] += 1
        there = nodes[arm.to]
        # The same street as an arm of the next junction; left and right change places there.
        back = next(
            i
            for i, other in enumerate(there.arms)
            if other.street == arm.street and other.to == node
        )
        way = _pavement(city, arm, nodes[node].cut[k], there.cut[back], side)
        if pieces:
            total += float(np.linalg.norm(way[0] - pieces[-1][-1]))
        pieces.append(way)
        total += Polyline(way).length
        corner, k, crosses = _onward(rng, city, there, back, -side, walked)
        if crosses:
            stops.append((total - 1.0, 'kerb'))
        if len(corner):
            total += Polyline(np.concatenate([way[-1:], corner])).length
            pieces.append(corner)
        # Left becomes right at the far end of a street, at a crossing, and round a corner.
        turns = 1 + crosses + (len(there.arms) > 1)
        side, node = side * (-1.0) ** turns, arm.to
    return smoothed(pieces, [_WALKING_LIMIT] * len(pieces), stops, 0.6)


def _node(city: City, arms: list[Arm]) -> _Node:
    """Sorts the arms and finds where pavements are clear of the neighbouring street."""
    heading = []
    for arm in arms:
        point = arm.line.at(min(12.0, 0.5 * arm.line.length))[0] - arm.line.points[0]
        heading.append(np.arctan2(point[1], point[0]))
    order = [arms[i] for i in np.argsort(heading)]
    node = _Node(order)
    for arm in order:
        mouth = arm.mouth if len(order) > 2 else min(arm.mouth, STOP_LINE_M)
        node.cut.append(min(max(mouth - CROSSING_BEHIND_M, 3.0), 0.4 * arm.line.length))
    n = len(order)
    for k in range(n if n > 1 else 0):
        a, b = k, (k + 1) % n
        for _ in range(4):
            # Sharp corners: both pavements are cut back until they have not crossed yet.
            ahead = _meeting(city, node, a, b)[1]
            if ahead is None or min(ahead) > 0:
                break
            for arm_index, distance in zip((a, b), ahead, strict=True):
                longest = 0.45 * order[arm_index].line.length
                node.cut[arm_index] = min(node.cut[arm_index] + max(1.0 - distance, 0.0), longest)
    return node


def _side_point(city: City, arm: Arm, distance: float, side: float) -> tuple[Array, Array]:
    """Where one walks beside an arm (side +1: left, looking outwards), and its direction."""
    xy, along = arm.line.at(distance)
    left = np.array([-along[1], along[0]])
    return xy + left * side * pavement_offset(city.streets[arm.street]), along


def _meeting(
    city: City, node: _Node, a: int, b: int
) -> tuple[Array | None, tuple[float, float] | None]:
    """Where the left pavement of arm a and the right one of arm b meet.

    Returns:
        The point, and how far ahead of both pavements' ends it lies (negative: behind); None
        where the pavements are nearly parallel.
    """
    p, u = _side_point(city, node.arms[a], node.cut[a], 1.0)
    q, v = _side_point(city, node.arms[b], node.cut[b], -1.0)
    cross = u[0] * v[1] - u[1] * v[0]
    if abs(cross) < 0.2:
        return None, None
    gap = q - p
    # p - s u = q - t v, with s and t towards the junction.
    s = -(gap[0] * v[1] - gap[1] * v[0]) / cross
    t = (-gap[0] * u[1] + gap[1] * u[0]) / cross
    return p - s * u, (float(s), float(t))


def _pavement(city: City, arm: Arm, start: float, end: float, side: float) -> Array:
    """Points of a pavement along an arm, from crossing to crossing."""
    middle = arm.line.part(start, arm.line.length - end)
    offset = side * pavement_offset(city.streets[arm.street])
    return middle.offset(offset).resampled(1.0).points


def _corner(city: City, node: _Node, a: int, b: int) -> Array:
    """Points (N, 2) to walk round from the left of arm a to the right of its neighbour b."""
    first, second = node.arms[a], node.arms[b]
    middle = first.line.points[0]
    _, u = first.line.at(node.cut[a])
    _, v = second.line.at(node.cut[b])
    beyond = float(np.arctan2(v[1], v[0]) - np.arctan2(u[1], u[0]) - np.pi) % (2 * np.pi)
    if 0.1 < beyond < np.pi:
        # Round the outside of a bend the kerb is an arc about the junction.
        t = np.linspace(0.0, 1.0, 6)
        angle = np.arctan2(u[1], u[0]) + np.pi / 2 + t * beyond
        near, far = (pavement_offset(city.streets[arm.street]) for arm in (first, second))
        radius = near + (far - near) * t
        return middle + np.stack([np.cos(angle), np.sin(angle)], -1) * radius[:, None]
    point, ahead = _meeting(city, node, a, b)
    if point is None or ahead is None or min(ahead) <= 0 or max(ahead) > 30:
        return np.zeros((0, 2))
    return point[None]


def _onward(
    rng: np.random.Generator, city: City, node: _Node, back: int, side: float, walked: Array
) -> tuple[Array, int, bool]:
    """Where to go from the end of a pavement.

    Args:
        rng: Decides.
        city: Its streets.
        node: The junction reached.
        back: The arm one came along.
        side: Of that arm, looking outwards, one walks on.
        walked: How often each street was walked.

    Returns:
        Points to pass, the next arm, and whether the street one came along is crossed first.
    """
    n = len(node.arms)
    straight, over = (back + round(side)) % n, (back - round(side)) % n
    wish = walked[node.arms[straight].street] - walked[node.arms[over].street]
    crosses = n == 1 or (n > 2 and (wish > 0 or rng.random() < _CHANCE_TO_CROSS))
    if not crosses:
        return _way_round(city, node, back, straight, side), straight, False
    landing = _side_point(city, node.arms[back], node.cut[back], -side)[0][None]
    if n == 1:
        return landing, back, True
    corner = _way_round(city, node, back, over, -side)
    return np.concatenate([landing, corner]), over, True


def _way_round(city: City, node: _Node, back: int, onto: int, side: float) -> Array:
    """The corner from side `side` of arm `back` to the neighbouring arm on that side."""
    if side > 0:
        return _corner(city, node, back, onto)
    return _corner(city, node, onto, back)[::-1]
