# SPDX-License-Identifier: Apache-2.0
"""Where streets run, as a planar graph: grids, organic nets, rings and spokes, diagonals."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Edge = tuple[int, int]

STYLES = ('grid', 'organic', 'radial')
# The rim of the city without streets, m.
_MARGIN_M = 30.0
# Cleaning leaves some nets with holes: so many are drawn at most, until one covers enough.
_TRIES = 6
_ENOUGH = 0.93
# Two streets never leave a junction at a sharper angle.
MIN_ANGLE = float(np.radians(56.0))


@dataclass
class Network:
    """A planar graph in the making.

    Attributes:
        xy: (N, 2) nodes, m.
        edges: Pairs of nodes.
        bow: Curvature that an edge must have, as the sagitta over the chord, to the left.
        avenue: Edges of a diagonal that shall stay and be wide.
        plaza: Middle of a square that streets run around, if there is one.
    """

    xy: Array
    edges: list[Edge]
    bow: dict[Edge, float] = field(default_factory=dict)
    avenue: set[Edge] = field(default_factory=set)
    plaza: Array | None = None

    def degree(self) -> NDArray[np.int64]:
        """(N,) streets at each node."""
        ends = np.ravel(self.edges) if self.edges else np.zeros(0, np.int64)
        return np.bincount(ends.astype(np.int64), minlength=len(self.xy))


def key(a: int, b: int) -> Edge:
    """An edge's name, whichever way it is walked."""
    return (a, b) if a < b else (b, a)


def make_network(rng: np.random.Generator, half_extent: float, blocks: int) -> Network:
    """Draws a net of a random style and cleans it.

    Args:
        rng: Of style and shape.
        half_extent: Half the city's side, m.
        blocks: About as many blocks along each side.

    Returns:
        A connected planar net in which every node has two streets or more.
    """
    spacing = 2 * (half_extent - _MARGIN_M) / blocks
    style = STYLES[rng.choice(3, p=[0.4, 0.35, 0.25])] if blocks >= 3 else 'grid'
    best: Network | None = None
    covered = -1.0
    for _ in range(_TRIES):
        if style == 'radial':
            net = _radial(rng, half_extent, spacing)
        elif style == 'organic':
            net = _organic(rng, half_extent, blocks)
        else:
            net = _grid(rng, half_extent, blocks)
            if blocks >= 5 and rng.random() < 0.6:
                _cut_diagonal(rng, net, half_extent, spacing)
        clean(net, min(46.0, 0.55 * spacing))
        share = _coverage(net, half_extent, spacing)
        # By Euler: as many blocks as a net has more edges than a tree would.
        share *= min(1.0, (len(net.edges) - len(net.xy) + 1) / (0.6 * blocks**2))
        if best is None or share > covered:
            best, covered = net, share
        if covered > _ENOUGH:
            break
    assert best is not None
    return best


def _coverage(net: Network, half_extent: float, spacing: float) -> float:
    """Share of the city's square from which a street is not farther than most of a block."""
    if not net.edges:
        return 0.0
    ticks = np.linspace(-0.85, 0.85, 13) * (half_extent - _MARGIN_M)
    probe = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 1, 2)
    ends = net.xy[np.array(net.edges)]
    t = np.linspace(0, 1, 7)[:, None, None]
    along = (ends[:, 0] * (1 - t) + ends[:, 1] * t).reshape(1, -1, 2)
    away = np.linalg.norm(probe - along, axis=-1).min(axis=1)
    return float(np.mean(away < 0.6 * spacing))


def _grid(rng: np.random.Generator, half_extent: float, blocks: int) -> Network:
    """A bent, turned grid with some streets missing."""
    n = blocks + 1
    size = half_extent - _MARGIN_M
    ticks = [np.linspace(-1, 1, n) * size for _ in range(2)]
    spacing = 2 * size / blocks
    for tick in ticks:
        tick[1:-1] += rng.uniform(-0.18, 0.18, n - 2) * spacing
    xy = np.stack(np.meshgrid(*ticks, indexing='xy'), -1).reshape(-1, 2)
    xy = xy + rng.uniform(-0.07, 0.07, xy.shape) * spacing
    xy = _warped(rng, xy, size, 0.5 if blocks >= 3 else 0.1)
    if blocks >= 3:
        turn = rng.uniform(-0.5, 0.5)
        c, s = np.cos(turn), np.sin(turn)
        # A turned square reaches further out; it is made smaller by as much.
        xy = xy @ np.array([[c, s], [-s, c]]) / (abs(c) + 0.6 * abs(s))
    edges = [key(r * n + c, r * n + c + 1) for r in range(n) for c in range(n - 1)]
    edges += [key(r * n + c, (r + 1) * n + c) for r in range(n - 1) for c in range(n)]
    net = Network(xy, list(edges))
    to_remove = max(1, n * n // 6)
    for i in rng.permutation(len(edges)):
        a, b = edges[i]
        degree = net.degree()
        if to_remove and degree[a] > 3 and degree[b] > 3:
            net.edges.remove((a, b))
            to_remove -= 1
    return net


def _warped(rng: np.random.Generator, xy: Array, size: float, strength: float) -> Array:
    """Places bent by slow waves of up to `strength` times 60 m, never beyond the city."""
    moved = xy.copy()
    for axis in (0, 1):
        phase, length = rng.uniform(0, 2 * np.pi), rng.uniform(1.6, 3.0) * size
        wave = np.sin(2 * np.pi * xy[:, 1 - axis] / length + phase)
        moved[:, axis] += strength * min(60.0, 0.3 * size) * wave
    return np.clip(moved, -size - 10, size + 10)


def _organic(rng: np.random.Generator, half_extent: float, blocks: int) -> Network:
    """Borders of cells around scattered points, as old towns have grown."""
    from scipy.spatial import Voronoi

    size = half_extent - _MARGIN_M
    count = max(7, round((0.95 * blocks) ** 2))
    points = rng.uniform(-size, size, (count, 2))
    for _ in range(3):
        # Lloyd's relaxation on samples: cells become alike in size, not in shape.
        probe = rng.uniform(-size, size, (60 * count, 2))
        owner = np.argmin(((probe[:, None] - points) ** 2).sum(-1), axis=1)
        for i in range(count):
            if (owner == i).any():
                points[i] = probe[owner == i].mean(axis=0)
    # Mirrored points give the outermost cells a border along the city's rim.
    mirrored = [points]
    for axis in (0, 1):
        for sign in (-1.0, 1.0):
            copy = points.copy()
            copy[:, axis] = sign * 2 * size - copy[:, axis]
            mirrored.append(copy)
    cells = Voronoi(np.concatenate(mirrored))
    inside = (np.abs(cells.vertices) < size + 1).all(axis=1)
    keep = np.flatnonzero(inside)
    index = np.full(len(cells.vertices), -1)
    index[keep] = np.arange(len(keep))
    pairs = [p for p in cells.ridge_vertices if min(p) >= 0 and inside[p].all()]
    edges = sorted({key(int(index[a]), int(index[b])) for a, b in pairs})
    return Network(_warped(rng, cells.vertices[keep], size, 0.4), edges)


def _radial(rng: np.random.Generator, half_extent: float, spacing: float) -> Network:
    """Rings around a square and spokes away from it."""
    size = half_extent - _MARGIN_M
    center = rng.uniform(-0.15, 0.15, 2) * half_extent
    count = int(rng.integers(5, 7))
    first = max(54.0, 0.5 * spacing)
    start = rng.uniform(0, 2 * np.pi)
    angles = start + np.arange(count) * 2 * np.pi / count
    angles += rng.uniform(-0.12, 0.12, count)
    nodes: list[Array] = []
    net = Network(np.zeros((0, 2)), [], plaza=center)
    before: list[int] = []
    radius, ring = first, 0
    while radius < 1.4 * size:
        ids = []
        for angle in angles:
            wobble = radius * (1 + 0.05 * np.sin(3 * angle + start) * (ring > 0))
            nodes.append(center + wobble * np.array([np.cos(angle), np.sin(angle)]))
            ids.append(len(nodes) - 1)
        for i, node in enumerate(ids):
            following = ids[(i + 1) % len(ids)]
            gap = (angles[(i + 1) % len(ids)] - angles[i]) % (2 * np.pi)
            net.edges.append(key(node, following))
            # Edges are walked from the lower index: the ring's last edge is walked backwards.
            sign = -1.0 if node < following else 1.0
            net.bow[key(node, following)] = sign * float(np.tan(gap / 4)) / 2
        if before:
            step = len(ids) // len(before)
            for i, node in enumerate(before):
                net.edges.append(key(node, ids[i * step]))
        before = ids
        radius += spacing * rng.uniform(0.8, 1.05)
        ring += 1
        if 2 * np.pi * radius / len(angles) > 1.9 * spacing:
            after = np.append(angles[1:], angles[0] + 2 * np.pi)
            angles = np.stack([angles, (angles + after) / 2], axis=-1).ravel()
    net.xy = np.array(nodes)
    out = np.abs(net.xy).max(axis=1) > size + 8
    net.edges = [e for e in net.edges if not (out[e[0]] or out[e[1]])]
    return net


def _cut_diagonal(
    rng: np.random.Generator, net: Network, half_extent: float, spacing: float
) -> None:
    """Lays an avenue across a net, through nodes near it and new ones."""
    angle = rng.uniform(0.5, 1.05) * rng.choice([-1, 1])
    along = np.array([np.cos(angle), np.sin(angle)])
    normal = np.array([-along[1], along[0]])
    shift = rng.uniform(-0.25, 0.25) * half_extent
    side = net.xy @ normal - shift
    # Nodes near the line move onto it, so that no slivers of blocks arise.
    near = np.abs(side) < 0.3 * spacing
    net.xy[near] -= side[near, None] * normal
    side[near] = 0.0
    chain = [int(i) for i in np.flatnonzero(near)]
    xy = list(net.xy)
    edges = []
    for a, b in net.edges:
        if side[a] * side[b] < 0:
            t = side[a] / (side[a] - side[b])
            xy.append(net.xy[a] + t * (net.xy[b] - net.xy[a]))
            new = len(xy) - 1
            chain.append(new)
            edges += [key(a, new), key(b, new)]
        elif not (near[a] and near[b]):
            edges.append((a, b))
    net.xy = np.array(xy)
    chain.sort(key=lambda i: float(net.xy[i] @ along))
    net.avenue = {key(a, b) for a, b in pairwise(chain)}
    net.edges = edges + sorted(net.avenue)


def clean(net: Network, shortest: float) -> None:
    """Makes a net one that can be built and driven.

    Args:
        net: Changed in place: short edges shrink to a node, streets that would run into another
            or leave a junction at too sharp an angle go, and what is no longer part of a round
            trip goes with them.
        shortest: Length below which a street is not worth building, m.
    """
    _contract(net, shortest)
    _drop_near(net, 0.6 * shortest)
    _drop_sharp(net)
    _two_core(net)
    used = np.unique(np.ravel(net.edges))
    index = {int(old): new for new, old in enumerate(used)}
    net.xy = net.xy[used]

    def renamed(e: Edge) -> Edge:
        return index[e[0]], index[e[1]]

    net.bow = {renamed(e): b for e, b in net.bow.items() if e in set(net.edges)}
    net.avenue = {renamed(e) for e in net.avenue if e in set(net.edges)}
    net.edges = [renamed(e) for e in net.edges]


def _contract(net: Network, shortest: float) -> None:
    """Shrinks edges shorter than `shortest`, the shortest first."""
    while True:
        pairs = np.array(net.edges)
        length = np.linalg.norm(net.xy[pairs[:, 0]] - net.xy[pairs[:, 1]], axis=1)
        i = int(np.argmin(length))
        if length[i] >= shortest:
            return
        a, b = net.edges[i]
        on_avenue = [any(n in e for e in net.avenue) for n in (a, b)]
        weight = 0.5 if on_avenue[0] == on_avenue[1] else float(on_avenue[1])
        net.xy[a] = net.xy[a] * (1 - weight) + net.xy[b] * weight

        def merged(e: Edge, a: int = a, b: int = b) -> Edge:
            return key(*(a if n == b else n for n in e))

        net.bow = {merged(e): v for e, v in net.bow.items() if merged(e) == e}
        net.avenue = {merged(e) for e in net.avenue if len(set(merged(e))) == 2}
        net.edges = sorted({merged(e) for e in net.edges if len(set(merged(e))) == 2})


def _drop_near(net: Network, clearance: float) -> None:
    """Drops edges that cross another or pass close by a node that is not their own."""
    order = sorted(net.edges, key=lambda e: (e not in net.avenue, _length(net, e)))
    kept: list[Edge] = []
    for edge in order:
        a, b = net.xy[edge[0]], net.xy[edge[1]]
        along = b - a
        t = np.clip((net.xy - a) @ along / (along @ along), 0, 1)
        away = np.linalg.norm(net.xy - (a + t[:, None] * along), axis=1)
        away[list(edge)] = np.inf
        crosses = any(
            not set(edge) & set(o) and _cross(a, b, net.xy[o[0]], net.xy[o[1]]) for o in kept
        )
        used = np.zeros(len(net.xy), bool)
        used[np.unique(np.ravel(net.edges))] = True
        if not crosses and not (away[used] < clearance).any():
            kept.append(edge)
    net.edges = sorted(kept)


def _length(net: Network, edge: Edge) -> float:
    return float(np.linalg.norm(net.xy[edge[0]] - net.xy[edge[1]]))


def _cross(a: Array, b: Array, c: Array, d: Array) -> bool:
    def side(p: Array, q: Array, r: Array) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def _drop_sharp(net: Network) -> None:
    """Drops one of two streets that leave a junction at too sharp an angle."""
    for node in range(len(net.xy)):
        while True:
            around = [e for e in net.edges if node in e]
            heading = []
            for e in around:
                other = e[1] if e[0] == node else e[0]
                away = net.xy[other] - net.xy[node]
                # A bow turns the street's first metres.
                turn = np.arctan(4 * net.bow.get(e, 0.0)) * (1 if e[0] == node else -1)
                heading.append(float(np.arctan2(away[1], away[0]) + turn))
            order = np.argsort(np.mod(heading, 2 * np.pi))
            worst, pair = MIN_ANGLE, None
            for i, j in zip(order, np.roll(order, -1), strict=True):
                gap = (heading[j] - heading[i]) % (2 * np.pi)
                if i != j and gap < worst:
                    worst, pair = gap, (around[i], around[j])
            if pair is None:
                break
            degree = net.degree()
            # The street goes whose other end loses least.
            net.edges.remove(
                min(pair, key=lambda e: (e in net.avenue, -min(degree[list(e)]), -_length(net, e)))
            )


def _two_core(net: Network) -> None:
    """Keeps the largest connected part without dead ends."""
    while True:
        degree = net.degree()
        kept = [e for e in net.edges if degree[e[0]] > 1 and degree[e[1]] > 1]
        if len(kept) == len(net.edges):
            break
        net.edges = kept
    parent = list(range(len(net.xy)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in net.edges:
        parent[root(a)] = root(b)
    roots = [root(a) for a, _ in net.edges]
    largest = max(set(roots), key=lambda r: (roots.count(r), -r))
    net.edges = [e for e, r in zip(net.edges, roots, strict=True) if r == largest]
