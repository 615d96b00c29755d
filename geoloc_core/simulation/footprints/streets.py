# SPDX-License-Identifier: Apache-2.0
"""From OpenStreetMap's ways to a graph of streets that can be driven.

Ways are cut where they share a node; bends are joined to one street; junctions closer together
than a car needs to turn become one; of two carriageways of one road the greater stays.
The largest connected part is kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoloc_core.simulation.city.plan import LANE_M, PARKING_M, Street
from geoloc_core.simulation.city.streets import with_mouths
from geoloc_core.simulation.footprints.geojson import Shape
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

# Kinds of way that a car may take, and lanes each way where the file does not say.
DRIVABLE = {
    'motorway': 2, 'trunk': 2, 'primary': 2, 'secondary': 1, 'tertiary': 1, 'unclassified': 1,
    'residential': 1, 'living_street': 1, 'road': 1, 'motorway_link': 1, 'trunk_link': 1,
    'primary_link': 1, 'secondary_link': 1, 'tertiary_link': 1,
}  # fmt: skip
_RANK = {kind: rank for rank, kind in enumerate(DRIVABLE)}
_SHORTEST_M = 26.0
# Streets end so far inside the square: a route must not leave it.
_RIM_M = 3.0
# Two ways between the same junctions, nowhere farther apart than this, are one road.
_BESIDE_M = 24.0
# Ends this close are one node: digits get lost between programs.
_SNAP_M = 0.05
# Kerbs stand back from the middle by at least this.
_NARROWEST_M = 2.4
_WIDEST_M = 11.0


@dataclass
class Edge:
    """A piece of street in the making, between nodes `a` and `b`."""

    a: int
    b: int
    points: Array
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def length(self) -> float:
        """Along the line, m."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    def turned(self) -> 'Edge':
        """The same, walked the other way."""
        return Edge(self.b, self.a, self.points[::-1], self.tags)


def is_drivable(shape: Shape) -> bool:
    """Whether a shape is a street on the surface."""
    tags = shape.tags
    if shape.kind != 'LineString' or tags.get('highway') not in DRIVABLE:
        return False
    return not is_underground(shape) and tags.get('access') not in ('no', 'private')


def is_underground(shape: Shape) -> bool:
    """Whether a way runs in a tunnel or inside a house."""
    tags = shape.tags
    if tags.get('tunnel', 'no') not in ('no', 'building_passage') or 'indoor' in tags:
        return True
    layer = tags.get('layer', '0').split(';')[0]
    return layer.lstrip('-').isdigit() and int(layer) < 0


def build_streets(
    shapes: Iterable[Shape], half_extent: float, walls: Array | None = None
) -> tuple[Array, tuple[Street, ...], tuple[Polyline, ...]]:
    """Makes the graph.

    Args:
        shapes: Drivable ways.
        half_extent: Ways are cut at the border of this square, m.
        walls: (N, 2) points along houses: where they leave room, cars park at the kerbs and
            pavements are wide.

    Returns:
        Junctions (J, 2), streets, and the lines of ways that found no place in the graph.
    """
    edges, count = _split(list(shapes), half_extent - _RIM_M)
    beside: list[Edge] = []
    for _ in range(20):
        before = [(e.a, e.b, len(e.points)) for e in edges]
        edges = _contracted(_joined(edges))
        edges, dropped = _single(edges)
        beside += dropped
        if [(e.a, e.b, len(e.points)) for e in edges] == before:
            break
    kept, rest = _largest(edges, count)
    used = sorted({n for e in kept for n in (e.a, e.b)})
    index = {old: new for new, old in enumerate(used)}
    xy = np.zeros((len(used), 2))
    for edge in kept:
        xy[index[edge.a]], xy[index[edge.b]] = edge.points[0], edge.points[-1]
    streets = [_street(edge, index) for edge in kept]
    if walls is not None and len(walls):
        tree = cKDTree(walls)
        streets = [_fitted(s, e.tags, tree) for s, e in zip(streets, kept, strict=True)]
    leftover = tuple(Polyline(e.points) for e in rest + beside if e.length > 1.0)
    return xy, with_mouths(streets) if streets else (), leftover


def _split(shapes: list[Shape], limit: float) -> tuple[list[Edge], int]:
    """Edges between places where ways meet or end, within the square, and how many nodes."""
    names: dict[tuple[int, int], int] = {}

    def node(point: Array) -> int:
        cell = np.rint(point / _SNAP_M).astype(int)
        # The neighbouring cells too, as a cell's border may run between two equal points.
        for dx in (0, -1, 1):
            for dy in (0, -1, 1):
                found = names.get((cell[0] + dx, cell[1] + dy))
                if found is not None:
                    return found
        names[int(cell[0]), int(cell[1])] = len(names)
        return len(names) - 1

    lines = [(piece, s) for s in shapes for piece in clip(s.rings[0], limit)]
    ids = [[node(p) for p in line] for line, _ in lines]
    uses = np.zeros(len(names), int)
    for way in ids:
        np.add.at(uses, way, 1)
        uses[[way[0], way[-1]]] += 1
    edges = []
    for way, (line, shape) in zip(ids, lines, strict=True):
        cuts = [i for i in range(len(way)) if uses[way[i]] > 1 or i in (0, len(way) - 1)]
        for i, j in pairwise(cuts):
            points = line[i : j + 1]
            if np.linalg.norm(np.diff(points, axis=0), axis=1).sum() > _SNAP_M:
                edges.append(Edge(way[i], way[j], points, dict(shape.tags)))
    return edges, len(names)


def clip(line: Array, limit: float) -> list[Array]:
    """The pieces of a line (N, 2) that lie in the square [-limit, limit]."""
    pieces: list[list[Array]] = []
    for a, b in pairwise(line):
        step = b - a
        with np.errstate(divide='ignore', invalid='ignore'):
            t = np.sort(np.stack([(-limit - a) / step, (limit - a) / step]), axis=0)
        outside = (step == 0) & (np.abs(a) > limit)
        low = np.where(step == 0, 0.0, t[0]).max()
        high = np.where(step == 0, 1.0, t[1]).min()
        low, high = max(0.0, float(low)), min(1.0, float(high))
        if outside.any() or low >= high:
            continue
        start, end = a + low * step, b if high == 1.0 else a + high * step
        if low > 0 or not pieces or not (pieces[-1][-1] == start).all():
            pieces.append([start])
        pieces[-1].append(end)
    return [np.array(piece) for piece in pieces if len(piece) > 1]


def _joined(edges: list[Edge]) -> list[Edge]:
    """Edges that meet where nothing else does, made one."""
    edges = list(edges)
    while True:
        at: dict[int, list[int]] = {}
        for i, edge in enumerate(edges):
            at.setdefault(edge.a, []).append(i)
            at.setdefault(edge.b, []).append(i)
        done: set[int] = set()
        joined: list[Edge] = []
        for node, around in sorted(at.items()):
            if len(around) != 2 or around[0] == around[1] or done & set(around):
                continue
            first, second = edges[around[0]], edges[around[1]]
            first = first if first.b == node else first.turned()
            second = second if second.a == node else second.turned()
            # A street must not come back to where it began.
            if first.a == second.b:
                continue
            tags = max((first, second), key=lambda e: e.length).tags
            points = np.concatenate([first.points, second.points[1:]])
            joined.append(Edge(first.a, second.b, points, tags))
            done |= set(around)
        if not joined:
            return edges
        edges = [e for i, e in enumerate(edges) if i not in done] + joined


def _contracted(edges: list[Edge]) -> list[Edge]:
    """Short edges shrunk to nothing, the shortest first; their ends become one node."""
    edges = list(edges)
    while True:
        short = [(e.length, i) for i, e in enumerate(edges) if e.a != e.b]
        if not short or min(short)[0] >= _SHORTEST_M:
            return edges
        gone = edges.pop(min(short)[1])
        degree = sum((e.a in (gone.a, gone.b)) + (e.b in (gone.a, gone.b)) for e in edges)
        middle = (gone.points[0] + gone.points[-1]) / 2
        if degree == 0:
            continue
        for k, edge in enumerate(edges):
            points = edge.points
            if edge.a in (gone.a, gone.b):
                points = _pulled(points, middle)
            if edge.b in (gone.a, gone.b):
                points = _pulled(points[::-1], middle)[::-1]
            a, b = (gone.a if n == gone.b else n for n in (edge.a, edge.b))
            edges[k] = Edge(a, b, points, edge.tags)


def _pulled(points: Array, start: Array) -> Array:
    """A line that begins at `start`; points too near to it for a smooth bend are dropped."""
    away = np.linalg.norm(points - start, axis=1)
    away[-1] = np.inf
    first = int(np.argmax(away > _SHORTEST_M / 2))
    return np.concatenate([start[None], points[max(1, first) :]])


def _single(edges: list[Edge]) -> tuple[list[Edge], list[Edge]]:
    """Edges without loops and second carriageways, and those that were left out."""
    kept: list[Edge] = []
    dropped: list[Edge] = []
    for edge in sorted(edges, key=lambda e: (_rank(e), e.length)):
        ends = {edge.a, edge.b}
        twins = [o for o in kept if {o.a, o.b} == ends and _is_beside(edge, o)]
        (dropped if edge.a == edge.b or twins else kept).append(edge)
    return kept, dropped


def _is_beside(edge: Edge, other: Edge) -> bool:
    """Whether two edges between the same nodes are the two sides of one road."""
    a, b = (Polyline(e.points).resampled(4.0).points for e in (edge, other))
    return bool(np.linalg.norm(a[:, None] - b, axis=2).min(axis=1).max() < _BESIDE_M)


def _rank(edge: Edge) -> int:
    return _RANK.get(edge.tags.get('highway', ''), len(_RANK))


def _largest(edges: list[Edge], count: int) -> tuple[list[Edge], list[Edge]]:
    """Edges of the connected part with the greatest length, and all others."""
    part = list(range(count))

    def root(n: int) -> int:
        while part[n] != n:
            part[n] = part[part[n]]
            n = part[n]
        return n

    for edge in edges:
        part[root(edge.a)] = root(edge.b)
    length: dict[int, float] = {}
    for edge in edges:
        length[root(edge.a)] = length.get(root(edge.a), 0.0) + edge.length
    if not length:
        return [], []
    best = max(length, key=lambda n: length[n])
    return (
        [e for e in edges if root(e.a) == best],
        [e for e in edges if root(e.a) != best],
    )


def _street(edge: Edge, index: dict[int, int]) -> Street:
    """A street as wide as its tags say."""
    tags = edge.tags
    line = Polyline(_rounded(edge.points))
    lanes = number(tags.get('lanes', '')) or 2.0 * DRIVABLE.get(tags.get('highway', ''), 1)
    width = number(tags.get('width', '')) or lanes * LANE_M
    half = float(np.clip(width / 2, _NARROWEST_M, _WIDEST_M))
    each_way = int(np.clip(round(lanes / 2), 1, 3))
    while each_way > 1 and each_way * LANE_M > half:
        each_way -= 1
    highway = tags.get('highway', '')
    kind = {0: 'avenue', 1: 'avenue', 2: 'avenue'}.get(_RANK.get(highway, 9), 'street')
    if highway in ('living_street', 'residential'):
        kind = 'lane'
    parking = kind != 'avenue' and half - each_way * LANE_M > 0.8 * PARKING_M
    return Street(
        index[edge.a], index[edge.b], line, half, parking, kind=kind, lanes=each_way, pavement=2.4
    )


def _fitted(street: Street, tags: dict[str, str], walls: cKDTree) -> Street:
    """A street with parking bays and pavements as wide as the houses allow."""
    distance, _ = walls.query(street.line.resampled(3.0).points)
    # Gates and arcades come closer than the street's front.
    room = float(np.percentile(distance, 15))
    half = street.half_width
    spare = room - half - PARKING_M - 1.5
    parking = street.kind != 'avenue' and 'width' not in tags and spare > 0
    half += PARKING_M if parking and not street.parking else 0.0
    pavement = float(np.clip(room - half - 0.3, 1.2, 5.0))
    return replace(street, half_width=half, parking=parking or street.parking, pavement=pavement)


def _rounded(points: Array) -> Array:
    """Points about every 2 m, sharp bends cut round."""
    line = Polyline(points)
    if len(line.points) > 2:
        fine = line.resampled(max(1.0, min(6.0, line.length / 4))).points
        for _ in range(2):
            a, b = fine[:-1], fine[1:]
            inner = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
            fine = np.concatenate([fine[:1], inner[1:-1], fine[-1:]])
        line = Polyline(fine)
    return line.resampled(2.0).points


def number(text: str) -> float | None:
    """The number of metres in a tag: '12', '12.5 m', '12,5', "40'" (feet); None if there is none.

    Of several values ('3;4') the first counts.
    """
    word = text.split(';')[0].strip().replace(',', '.')
    factor = 1.0
    if word.endswith(("'", 'ft')):
        word, factor = word.rstrip("'ft"), 0.3048
    word = word.removesuffix('m').strip()
    try:
        value = float(word) * factor
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None
