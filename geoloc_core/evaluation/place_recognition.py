# SPDX-License-Identifier: Apache-2.0
"""How well descriptors find the pictures of a place among all pictures: recall and precision at K.

A query that is itself in the database never counts as found: it is left out by its name, not by
being the nearest, which another picture of the same descriptor might be.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError

Bools = NDArray[np.bool_]
Ranks = NDArray[np.int64]

# Distances that are held at a time.
_CHUNK = 4_000_000


def same_name(queries: Sequence[str], database: Sequence[str]) -> Bools:
    """(Q, N) True where a picture of the database is the query itself."""
    place = {name: i for i, name in enumerate(dict.fromkeys([*queries, *database]))}
    left = np.array([place[name] for name in queries], np.int64)
    right = np.array([place[name] for name in database], np.int64)
    return left[:, None] == right[None]


def nearest(
    queries: ArrayLike, database: ArrayLike, depth: int, left_out: Bools | None = None
) -> Ranks:
    """The nearest pictures of the database by Euclidean distance.

    Args:
        queries: (Q, D) descriptors.
        database: (N, D).
        depth: How many at most, nearest first.
        left_out: (Q, N) True where a picture is not to be found by a query; None for none.

    Returns:
        (Q, min(depth, N)) indices, -1 after the last where some are left out. Equally near ones
        come in the database's order.

    Raises:
        InputError: Shapes do not fit, or a descriptor is not finite.
    """
    q, n = np.asarray(queries, np.float64), np.asarray(database, np.float64)
    if q.ndim != 2 or n.ndim != 2 or q.shape[1] != n.shape[1] or depth < 1:
        raise InputError(
            f'queries {q.shape}, database {n.shape}, depth {depth}: expected (Q, D), (N, D) and '
            '1 or more'
        )
    if not (np.isfinite(q).all() and np.isfinite(n).all()):
        raise InputError('a descriptor is not finite: the network that made it has diverged')
    depth = min(depth, len(n))
    ranks = np.full((len(q), depth), -1, np.int64)
    squares = (n**2).sum(axis=1)
    rows = max(_CHUNK // max(len(n), 1), 1)
    for start in range(0, len(q), rows):
        part = slice(start, start + rows)
        far = squares - 2.0 * (q[part] @ n.T)
        if left_out is not None:
            far[left_out[part]] = np.inf
        order = np.argsort(far, axis=1, kind='stable')[:, :depth]
        ranks[part] = np.where(np.isfinite(np.take_along_axis(far, order, axis=1)), order, -1)
    return ranks


def hits(ranks: Ranks, positives: Bools) -> Bools:
    """(Q, K) whether each found picture is one of the right ones.

    Args:
        ranks: Of `nearest`.
        positives: (Q, N) the right ones.
    """
    found = np.take_along_axis(positives, np.maximum(ranks, 0), axis=1)
    return found & (ranks >= 0)


def recall_at(ranks: Ranks, positives: Bools, k: int) -> float:
    """Share of the queries with a right picture among the first k.

    Queries without any right picture in the database are not counted; NaN if none has one.
    What is left out of `ranks` must not be among `positives` either.
    """
    asked = positives.any(axis=1)
    if not asked.any():
        return float('nan')
    return float(hits(ranks[:, :k], positives)[asked].any(axis=1).mean())


def capped_precision_at(ranks: Ranks, positives: Bools, k: int) -> float:
    """Mean of: right ones among the first k / right ones there could be, min(k, all right ones).

    The precision of the multi-modal CrossViT's authors; it may rise with k. Queries without any
    right picture are not counted; NaN if none has one.
    """
    possible = positives.sum(axis=1)
    asked = possible > 0
    if not asked.any():
        return float('nan')
    found = hits(ranks[:, :k], positives)[asked].sum(axis=1)
    return float((found / np.minimum(k, possible[asked])).mean())
