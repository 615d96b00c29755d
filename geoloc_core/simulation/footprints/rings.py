# SPDX-License-Identifier: Apache-2.0
"""Rings of polygons: area, sense, needless corners, and holes made part of the outline."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Corners nearer than this to the line between their neighbours say nothing, m.
_STRAIGHT_M = 0.02
_SAME_M = 0.01


def signed_area(ring: Array) -> float:
    """Area of a ring (N, 2), m^2; positive if it runs counter-clockwise."""
    x, y = ring.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def cleaned(ring: Array) -> Array:
    """A ring without doubled corners and corners on straight edges, counter-clockwise."""
    points = ring
    for _ in range(8):
        if len(points) < 3:
            return points
        before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
        chord = after - before
        length = np.linalg.norm(chord, axis=1)
        to = points - before
        off = np.abs(chord[:, 0] * to[:, 1] - chord[:, 1] * to[:, 0]) / np.maximum(length, 1e-12)
        same = np.linalg.norm(to, axis=1) < _SAME_M
        drop = same | ((off < _STRAIGHT_M) & (np.einsum('ij,ij->i', to, after - points) > 0))
        # Of two neighbours only one may go at a time, or a fine curve would vanish whole.
        keep = ~drop
        keep |= drop & np.roll(drop, 1) & (np.arange(len(drop)) % 2 == 0)
        if keep.all() or not drop.any():
            break
        points = points[keep]
    return points if signed_area(points) >= 0 else points[::-1]


def keyhole(outer: Array, holes: Sequence[Array]) -> Array:
    """One ring for a polygon with holes: each hole is joined to the outside by a cut of no width.

    The cut runs from the hole's easternmost corner to a corner that it sees (D. Eberly,
    "Triangulation by Ear Clipping", section 3).

    Args:
        outer: (N, 2), counter-clockwise.
        holes: Rings inside, not touching each other.

    Returns:
        (M, 2), counter-clockwise; its area is that of the polygon without its holes.
    """
    ring = outer
    for hole in sorted(holes, key=lambda h: -float(h[:, 0].max())):
        inner = hole if signed_area(hole) < 0 else hole[::-1]
        start = int(np.argmax(inner[:, 0]))
        end = _seen_from(ring, inner[start])
        if end < 0:
            continue
        loop = np.roll(inner, -start, axis=0)
        ring = np.concatenate([ring[: end + 1], loop, loop[:1], ring[end:]])
    return ring


def _seen_from(ring: Array, point: Array) -> int:
    """Index of a ring's corner in plain sight of a point inside, to its east; -1 if none."""
    order = np.argsort(np.linalg.norm(ring - point, axis=1), kind='stable')
    following = np.roll(ring, -1, axis=0)
    for i in order:
        if ring[i, 0] >= point[0] and _is_free(point, ring[i], ring, following):
            return int(i)
    return -1


def _is_free(p: Array, q: Array, a: Array, b: Array) -> bool:
    """Whether the segment pq crosses none of the edges ab (N, 2) that do not end in q."""

    def side(u: Array, v: Array, w: Array) -> Array:
        return (v[..., 0] - u[..., 0]) * (w[..., 1] - u[..., 1]) - (v[..., 1] - u[..., 1]) * (
            w[..., 0] - u[..., 0]
        )

    ends = (np.linalg.norm(a - q, axis=1) < 1e-9) | (np.linalg.norm(b - q, axis=1) < 1e-9)
    one, two = side(p, q, a), side(p, q, b)
    three, four = side(a, b, p), side(a, b, q)
    crosses = (one * two <= 0) & (three * four <= 0) & ~ends
    return not bool(crosses.any())
