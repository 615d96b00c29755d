# SPDX-License-Identifier: Apache-2.0
"""How the frames of two maps lie to each other, found in what both of them show.

Features of both are matched; each match is a pair of points, one in either frame, and one rigid
motion must explain those that are right. It is sought among samples of three (Fischler and Bolles,
"Random sample consensus", 1981) with the closed form of Umeyama (TPAMI 1991), and believed only
if several keyframes support it and no other motion is supported nearly as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.evaluation.trajectory import umeyama
from geoloc_core.features.base import AbstractMatcher, LocalFeatures
from geoloc_core.features.global_descriptor import KIND, restore
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.maps.place.checking import mutual_matches
from geoloc_core.maps.place.records import Keyframe, PlaceMap

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_CANDIDATES = 5
_MAX_KEYFRAMES = 150
_MIN_MATCHES = 8
_MAX_POOL = 20_000
_SAMPLES = 3000
# Points of one thing in two maps: noise of depth and of both maps' poses.
_INLIER_M = 0.10
# Three points closer together than this fix no turn.
_MIN_SIDE_M = 0.3
_MIN_INLIERS = 40
# A second motion with this share of the first one's support makes the answer ambiguous.
_RIVAL = 0.6


@dataclass(frozen=True, eq=False)
class Alignment:
    """How one map lies in another.

    Attributes:
        T_base_other: (4, 4) place frame of the other map -> that of the base.
        support: Matched features that agree with it.
        keyframes: Of the other map, that have `_MIN_MATCHES` of them.
        gap_m: Median distance of their points after it.
    """

    T_base_other: Array
    support: int
    keyframes: int
    gap_m: float


@dataclass(frozen=True, eq=False)
class _Pool:
    """Matches: points (N, 3) in either frame, the pair of keyframes and the keyframe of other."""

    base: Array
    other: Array
    pair: NDArray[np.intp]
    keyframe: NDArray[np.intp]

    def take(self, index: NDArray) -> '_Pool':
        return _Pool(self.base[index], self.other[index], self.pair[index], self.keyframe[index])


def align_places(
    base: PlaceMap, other: PlaceMap, seed: int = 0, matcher: AbstractMatcher | None = None
) -> Alignment:
    """Finds the frame of a map in that of another.

    Args:
        base: The map whose frame is kept.
        other: Of the same kinds of features, with something in common.
        seed: Of the samples; the same maps and seed give the same answer.
        matcher: Network that matches pairs of keyframes; nearest descriptors if None.

    Raises:
        MapError: Too little in common, or several answers.
    """
    names = f'{base.name} and {other.name}'
    pool = _matches(base, other, matcher)
    rng = np.random.default_rng(seed)
    best = _consensus(pool, rng)
    needed = min(2, len(other.keyframes))
    if best is not None:
        T, inlier = best
        keyframes = _supporting(pool.keyframe[inlier])
    if best is None or inlier.sum() < _MIN_INLIERS or keyframes < needed:
        agreeing = 0 if best is None else int(inlier.sum())
        raise MapError(
            f'{names} have too little in common: {agreeing} of {len(pool.pair)} matched features '
            f'agree on how they lie, {_MIN_INLIERS} of {needed} keyframes are needed'
        )
    rival = _consensus(pool.take(np.flatnonzero(~inlier)), rng)
    if rival is not None and rival[1].sum() >= max(_RIVAL * inlier.sum(), _MIN_INLIERS):
        raise MapError(
            f'{names} fit together in several ways ({int(inlier.sum())} and '
            f'{int(rival[1].sum())} matched features): they show things that look alike; tie both '
            'to the Earth (--anchor), or map them in one go'
        )
    gap = np.linalg.norm(se3.transform(T, pool.other[inlier]) - pool.base[inlier], axis=1)
    return Alignment(T, int(inlier.sum()), keyframes, float(np.median(gap)))


def _matches(base: PlaceMap, other: PlaceMap, matcher: AbstractMatcher | None) -> _Pool:
    """Matched features with points, between keyframes that look alike."""
    asked = other.global_descriptors
    if base.global_kind == KIND:
        # The other map describes its pictures in words of its own.
        vlad = restore(base.global_kind, base.global_arrays)
        asked = np.stack(
            [
                vlad.describe(
                    None,
                    LocalFeatures(k.xy, k.descriptors, np.ones(len(k.xy), np.float32)),
                )
                for k in other.keyframes
            ]
        )
    similar = asked @ base.global_descriptors.T
    step = -(-len(other.keyframes) // _MAX_KEYFRAMES)
    rows: list[tuple[Floats, Floats, int, int]] = []
    for m in range(0, len(other.keyframes), step):
        b = other.keyframes[m]
        for k in np.argsort(-similar[m])[:_CANDIDATES]:
            a = base.keyframes[k]
            i_a, i_b = _matched(a, b, base.camera, other.camera, matcher)
            if len(i_a) >= _MIN_MATCHES:
                rows.append((a.points[i_a], b.points[i_b], len(rows), m))
    if not rows:
        none = np.zeros(0, np.intp)
        return _Pool(np.zeros((0, 3)), np.zeros((0, 3)), none, none)
    counts = [len(row[0]) for row in rows]
    pool = _Pool(
        np.concatenate([row[0] for row in rows]).astype(np.float64),
        np.concatenate([row[1] for row in rows]).astype(np.float64),
        np.repeat([row[2] for row in rows], counts),
        np.repeat([row[3] for row in rows], counts),
    )
    if len(pool.pair) > _MAX_POOL:
        pool = pool.take(np.arange(0, len(pool.pair), -(-len(pool.pair) // _MAX_POOL)))
    return pool


def _matched(
    a: Keyframe,
    b: Keyframe,
    camera_a: AbstractCamera,
    camera_b: AbstractCamera,
    matcher: AbstractMatcher | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Features of two keyframes that are of one thing and have a point each: indices (L,)."""
    if matcher is None:
        i_a, i_b = mutual_matches(a.descriptors, b.descriptors)
        known = a.has_point[i_a] & b.has_point[i_b]
        return i_a[known], i_b[known]
    seen_a, seen_b = np.flatnonzero(a.has_point), np.flatnonzero(b.has_point)
    i_a, i_b = matcher.match(
        (camera_a.width, camera_a.height),
        (camera_b.width, camera_b.height),
        a.features(seen_a),
        b.features(seen_b),
    )
    return seen_a[i_a], seen_b[i_b]


def _consensus(pool: _Pool, rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]] | None:
    """The motion that most matches agree with, and which (N,); None where there is none."""
    count = len(pool.pair)
    if count < _MIN_MATCHES:
        return None
    starts = np.searchsorted(pool.pair, pool.pair, side='left')
    sizes = np.searchsorted(pool.pair, pool.pair, side='right') - starts
    best: tuple[Array, NDArray[np.bool_]] | None = None
    for first in rng.integers(count, size=_SAMPLES):
        # Three of one pair of keyframes: if that pair is right, most of its matches are.
        if sizes[first] < _MIN_MATCHES:
            continue
        chosen = starts[first] + rng.choice(sizes[first], 3, replace=False)
        a, b = pool.base[chosen], pool.other[chosen]
        sides_a, sides_b = _sides(a), _sides(b)
        if sides_a.min() < _MIN_SIDE_M or np.abs(sides_a - sides_b).max() > _INLIER_M:
            continue
        T = umeyama(b, a)
        inlier = _agreeing(pool, T)
        if best is None or inlier.sum() > best[1].sum():
            best = T, inlier
    if best is None:
        return None
    T, inlier = best
    for _ in range(5):
        if inlier.sum() < 3:
            return None
        T = umeyama(pool.other[inlier], pool.base[inlier])
        inlier = _agreeing(pool, T)
    return T, inlier


def _agreeing(pool: _Pool, T: Array) -> NDArray[np.bool_]:
    gap = np.linalg.norm(se3.transform(T, pool.other) - pool.base, axis=1)
    return np.asarray(gap < _INLIER_M)


def _sides(triangle: Array) -> Array:
    """(3,) lengths of the sides of three points (3, 3)."""
    return np.asarray(np.linalg.norm(triangle - triangle[[1, 2, 0]], axis=1))


def _supporting(keyframe: NDArray[np.intp]) -> int:
    """How many keyframes have `_MIN_MATCHES` or more of the matches."""
    return int((np.unique(keyframe, return_counts=True)[1] >= _MIN_MATCHES).sum())
