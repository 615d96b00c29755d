# SPDX-License-Identifier: Apache-2.0
"""From a net to streets: curves, widths, dead ends, and how far junctions reach."""

from dataclasses import replace
import heapq
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city.network import Edge, key, make_network, MIN_ANGLE, Network
from geoloc_core.simulation.city.plan import LANE_M, PARKING_M, PAVEMENT_M, Street
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

# From where two kerbs meet to the stop line: the round of the corner, the crossing, a gap.
_CORNER_TO_STOP_M = 7.1
# Directions at a junction are those of the street's first metres.
_ARM_M = 8.0


def make_streets(
    rng: np.random.Generator, half_extent: float, blocks: int
) -> tuple[Array, tuple[Street, ...], Array | None]:
    """Draws the streets of a city.

    Args:
        rng: Of everything.
        half_extent: Half the city's side, m.
        blocks: About as many blocks along each side.

    Returns:
        Junctions (J, 2), streets, and the middle (2,) of a square that streets run around, if
        there is one. Without its dead ends the net still connects all other junctions.
    """
    net = make_network(rng, half_extent, blocks)
    wide = set(net.avenue)
    if blocks >= 4 and not wide:
        wide = _main_road(rng, net)
    streets = []
    for chain in _chains(net):
        points = _curve(rng, net, chain)
        edges = {key(a, b) for a, b in pairwise(chain)}
        kind = 'avenue' if edges <= wide else ''
        streets.append(_dressed(rng, chain[0], chain[-1], Polyline(points), kind))
    junctions = net.xy
    if blocks >= 3:
        junctions, streets = _add_dead_ends(rng, junctions, streets, half_extent)
        junctions, streets = _add_exits(rng, junctions, streets, half_extent)
    used = sorted({n for s in streets for n in (s.start, s.end)})
    index = {old: new for new, old in enumerate(used)}
    streets = [replace(s, start=index[s.start], end=index[s.end]) for s in streets]
    junctions = junctions[used]
    return junctions, with_mouths(streets), net.plaza


def drivable(streets: tuple[Street, ...]) -> list[int]:
    """Indices of the streets that are part of a round trip: no dead end and no way to one."""
    kept = list(range(len(streets)))
    while True:
        ends = [n for i in kept for n in (streets[i].start, streets[i].end)]
        lone = {n for n in ends if ends.count(n) == 1}
        fewer = [i for i in kept if not {streets[i].start, streets[i].end} & lone]
        if len(fewer) == len(kept):
            return kept
        kept = fewer


def arms_of(streets: tuple[Street, ...]) -> dict[int, list[tuple[float, int, bool]]]:
    """Streets at each junction, counter-clockwise: (heading away from it, street, at its end)."""
    arms: dict[int, list[tuple[float, int, bool]]] = {}
    for i, street in enumerate(streets):
        reach = min(_ARM_M, street.line.length / 3)
        for node, at_end in ((street.start, False), (street.end, True)):
            line = street.line
            s = line.length - reach if at_end else reach
            away = line.at(s)[0] - line.points[-1 if at_end else 0]
            arms.setdefault(node, []).append((float(np.arctan2(away[1], away[0])), i, at_end))
    return {node: sorted(around) for node, around in arms.items()}


def with_mouths(streets: list[Street] | tuple[Street, ...]) -> tuple[Street, ...]:
    """The streets with their stop lines where their neighbours' kerbs leave room for them."""
    streets = tuple(streets)
    mouths = np.full((len(streets), 2), 4.0)
    for around in arms_of(streets).values():
        if len(around) < 2:
            continue
        for k, (heading, i, at_end) in enumerate(around):
            for other in (around[k - 1], around[(k + 1) % len(around)]):
                gap = abs((other[0] - heading + np.pi) % (2 * np.pi) - np.pi)
                if gap > np.radians(150):
                    continue
                gap = max(gap, np.radians(35))
                own, beside = streets[i].half_width, streets[other[1]].half_width
                corner = (beside + own * np.cos(gap)) / np.sin(gap)
                mouths[i, int(at_end)] = max(mouths[i, int(at_end)], corner + _CORNER_TO_STOP_M)
    out = []
    for street, (start, end) in zip(streets, mouths, strict=True):
        room = 0.42 * street.line.length
        out.append(replace(street, mouths=(float(min(start, room)), float(min(end, room)))))
    return tuple(out)


def _chains(net: Network) -> list[list[int]]:
    """Runs of edges between nodes with three streets or more; bends are no junctions."""
    beside: dict[int, list[int]] = {}
    for a, b in net.edges:
        beside.setdefault(a, []).append(b)
        beside.setdefault(b, []).append(a)
    junction = {n for n, around in beside.items() if len(around) != 2}
    # A ring without any junction needs some node to begin at; and no street is a closed loop.
    if len(junction) < 2:
        junction |= {net.edges[0][0], net.edges[0][1]}
    chains, seen = [], set()
    for start in sorted(junction):
        for step in sorted(beside[start]):
            if key(start, step) in seen:
                continue
            chain = [start, step]
            while chain[-1] not in junction:
                a, b = beside[chain[-1]]
                chain.append(b if a == chain[-2] else a)
            seen |= {key(a, b) for a, b in pairwise(chain)}
            if chain[0] == chain[-1]:
                middle = len(chain) // 2
                chains += [chain[: middle + 1], chain[middle:]]
            else:
                chains.append(chain)
    return chains


def _curve(rng: np.random.Generator, net: Network, chain: list[int]) -> Array:
    """Points (N, 2) about every 2 m: an arc, a bow, or corners cut round."""
    points = net.xy[chain]
    if len(chain) > 2:
        for _ in range(4):
            points = _chaikin(points)
        return Polyline(points).resampled(2.0).points
    edge: Edge = key(chain[0], chain[1])
    sign = 1.0 if chain[0] == edge[0] else -1.0
    bow = net.bow.get(edge)
    if bow is None and edge not in net.avenue and rng.random() < 0.7:
        bow = _free_bow(rng, net, edge)
    along = points[1] - points[0]
    normal = np.array([-along[1], along[0]])
    control = points.mean(axis=0) + normal * 2 * sign * (bow or 0.0)
    t = np.linspace(0, 1, max(9, round(float(np.linalg.norm(along)) / 2)))[:, None]
    return (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * control + t**2 * points[1]


def _chaikin(points: Array) -> Array:
    """One round of cutting corners, ends kept."""
    a, b = points[:-1], points[1:]
    inner = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
    return np.concatenate([points[:1], inner[1:-1], points[-1:]])


def _free_bow(rng: np.random.Generator, net: Network, edge: Edge) -> float:
    """A bow that leaves both junctions' angles wide enough."""
    bow = float(rng.uniform(-0.09, 0.09))
    for node, sign in ((edge[0], 1.0), (edge[1], -1.0)):
        other = edge[1] if node == edge[0] else edge[0]
        away = net.xy[other] - net.xy[node]
        own = np.arctan2(away[1], away[0])
        for e in net.edges:
            if node in e and e != edge:
                beside = net.xy[e[1] if e[0] == node else e[0]] - net.xy[node]
                gap = (np.arctan2(beside[1], beside[0]) - own + np.pi) % (2 * np.pi) - np.pi
                turn = np.arctan(4 * bow) * sign
                # Both may turn towards each other, by twenty degrees at most each.
                if gap * turn > 0 and abs(gap) < MIN_ANGLE + 0.7:
                    return 0.0
    return bow


def _main_road(rng: np.random.Generator, net: Network) -> set[Edge]:
    """Edges of the straightest way from one side of the city to the other."""
    angle = rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    start, goal = int(np.argmin(net.xy @ along)), int(np.argmax(net.xy @ along))
    size = float(np.abs(net.xy).max())
    beside: dict[int, list[int]] = {}
    for a, b in net.edges:
        beside.setdefault(a, []).append(b)
        beside.setdefault(b, []).append(a)
    queue: list[tuple[float, int, int, tuple[int, ...]]] = [(0.0, start, -1, (start,))]
    done: set[tuple[int, int]] = set()
    while queue:
        cost, node, before, way = heapq.heappop(queue)
        if node == goal:
            return {key(a, b) for a, b in pairwise(way)}
        if (node, before) in done:
            continue
        done.add((node, before))
        for following in beside[node]:
            step = net.xy[following] - net.xy[node]
            turn = 0.0
            if before >= 0:
                last = net.xy[node] - net.xy[before]
                turn = 1 - float(step @ last / np.linalg.norm(step) / np.linalg.norm(last))
            # Through the middle rather than around it.
            rim = float(np.abs(net.xy[[node, following]]).mean()) / size
            price = cost + float(np.linalg.norm(step)) * (1 + 2 * rim**2) + 150 * turn
            heapq.heappush(queue, (price, following, node, (*way, following)))
    return set()


def _dressed(
    rng: np.random.Generator, start: int, end: int, line: Polyline, kind: str = ''
) -> Street:
    """A street of a kind, with lanes, parking and the rest that goes with it."""
    kind = kind or ('lane' if rng.random() < 0.3 else 'street')
    if kind == 'avenue':
        parking = bool(rng.random() < 0.6)
        half = 1.5 + 2 * LANE_M + 1.5 + (PARKING_M if parking else 0.0)
        return Street(start, end, line, half, parking, kind, 2, 3.0, 1.5, 3.6)
    if kind == 'lane':
        parking = bool(rng.random() < 0.5)
        half = LANE_M - 0.3 + (PARKING_M if parking else 0.0)
        return Street(start, end, line, half, parking, kind, pavement=1.8)
    parking = bool(rng.random() < 0.6)
    bike = 1.5 if rng.random() < 0.3 else 0.0
    half = LANE_M + bike + (PARKING_M if parking else 0.3)
    return Street(start, end, line, half, parking, kind, bike=bike, pavement=PAVEMENT_M)


def _add_dead_ends(
    rng: np.random.Generator, junctions: Array, streets: list[Street], half_extent: float
) -> tuple[Array, list[Street]]:
    """Lanes that end in a block, off the middle of long streets."""
    out = list(streets)
    xy = list(junctions)
    wanted = max(1, len(streets) // 9)
    for i in rng.permutation(len(streets)):
        street = streets[i]
        if not wanted or street.kind == 'avenue' or street.line.length < 100:
            continue
        s = street.line.length * rng.uniform(0.42, 0.58)
        foot, along = street.line.at(s)
        side = rng.choice([-1.0, 1.0])
        away = side * np.array([-along[1], along[0]])
        length = rng.uniform(38, 62)
        tip = foot + away * length
        others = np.concatenate([o.line.points for o in out if o is not street])
        probe = foot + away * np.linspace(20, length, 8)[:, None]
        gap = np.linalg.norm(others[:, None] - probe, axis=-1).min()
        if gap < 27 or np.abs(tip).max() > half_extent - 22:
            continue
        node, end = len(xy), len(xy) + 1
        bend = rng.uniform(-0.1, 0.1) * length * along
        t = np.linspace(0, 1, 21)[:, None]
        line = Polyline(foot + away * length * t + bend * t**2)
        xy += [foot, line.points[-1]]
        first = replace(street, end=node, line=street.line.part(0.0, s))
        second = replace(street, start=node, line=street.line.part(s, street.line.length))
        out.remove(street)
        out += [first, second, replace(_dressed(rng, node, end, line, 'lane'), parking=False)]
        out[-1] = replace(out[-1], half_width=LANE_M - 0.3)
        wanted -= 1
    return np.array(xy), out


def _add_exits(
    rng: np.random.Generator, junctions: Array, streets: list[Street], half_extent: float
) -> tuple[Array, list[Street]]:
    """Roads that leave the city, from junctions that open towards its rim."""
    out = list(streets)
    xy = list(junctions)
    around = arms_of(tuple(streets))
    for node in rng.permutation(sorted(around))[: 4 * len(around) // 5]:
        headings = np.array([a[0] for a in around[node]])
        gaps = (np.roll(headings, -1) - headings) % (2 * np.pi)
        if len(headings) == 1 or gaps.max() < np.radians(135):
            continue
        k = int(np.argmax(gaps))
        heading = headings[k] + gaps[k] / 2
        away = np.array([np.cos(heading), np.sin(heading)])
        foot = junctions[node]
        length = float(np.min((half_extent - 1 - np.sign(away) * foot) / np.abs(away)))
        if not 18 < length < 0.9 * half_extent:
            continue
        probe = foot + away * np.arange(min(38, length), length + 1, 8)[:, None]
        others = np.concatenate([o.line.points for o in out])
        if np.linalg.norm(others[:, None] - probe, axis=-1).min() < min(25, 0.9 * length):
            continue
        bend = rng.uniform(-0.08, 0.08) * length * np.array([-away[1], away[0]])
        t = np.linspace(0, 1, max(9, round(length / 2)))[:, None]
        line = Polyline(foot + away * length * t + bend * t**2)
        xy.append(line.points[-1])
        wide = any(out[i].kind == 'avenue' for _, i, _ in around[node] if i < len(streets))
        street = _dressed(rng, int(node), len(xy) - 1, line, 'street' if wide else '')
        out.append(street)
    return np.array(xy), out
