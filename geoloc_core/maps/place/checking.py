# SPDX-License-Identifier: Apache-2.0
"""Whether a place map can be relied on, and whether it suits a camera."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera, camera_kind
from geoloc_core.geometry.registration import depth_of_points, points_of
from geoloc_core.maps.place.records import Keyframe, PlaceMap

Array = NDArray[np.float64]

# Features that see a place twice as finely, or half as finely, as the map find little of it.
_MAX_RESOLUTION_RATIO = 2.0
_MAX_OFF_PX = 1.0
_MAX_DISAGREEMENT_M = 0.10
# Up to this distance; what is further off may disagree in proportion, as a pixel shows more of it.
_NEAR_M = 4.0
_MIN_POINTS = 50
# Of the points of a keyframe, another one must see this share to overlap with it.
_OVERLAP = 0.2
_MIN_COMMON = 30
_ALIKE_RATIO = 0.8
_MAX_PAIRS = 400
_MATCHED_PAIRS = 60
# Overlap is looked for among so many nearest keyframes.
_NEAREST = 40
# Features of two pictures that match are of one thing if their points are closer than this.
_SAME_THING_M = 0.5


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        keyframes: Their number.
        points: Features with a point in space, in all of them.
        extent_m: (3,) size of the box around the keyframes' positions.
        disagreement_m: Median |difference| of the depth of overlapping keyframes; NaN if none do.
        gap_m: Median distance between the points of features that match between overlapping
            keyframes; NaN if none do.
        alone: Share of keyframes that overlap with no other.
        problems: What is wrong; one sentence each, empty where nothing is.
    """

    keyframes: int
    points: int
    extent_m: Array
    disagreement_m: float
    gap_m: float
    alone: float
    problems: tuple[str, ...]


def check_place(place: PlaceMap) -> Report:
    """Looks for what would make a robot localize badly in a map.

    Verified are: that points lie where their features see them; that there are enough of them;
    that the depth of keyframes which see the same surfaces agrees, and that features which match
    have their points at one place, both of which a wrong pose, unit or calibration breaks; that
    keyframes overlap; and that no two places look alike.
    """
    problems: list[str] = []
    counts = np.array([int(frame.has_point.sum()) for frame in place.keyframes])
    poor = [f.name for f, n in zip(place.keyframes, counts, strict=True) if n < _MIN_POINTS]
    if poor:
        problems.append(
            f'{len(poor)} of {len(counts)} keyframes have fewer than {_MIN_POINTS} points '
            f'({_some(poor)}): blank walls, darkness or missing depth'
        )
    off = [f.name for f in place.keyframes if _reprojection_px(f, place.camera) > _MAX_OFF_PX]
    if off:
        problems.append(
            f'points of {len(off)} keyframes do not lie where their features see them '
            f'({_some(off)}): poses, points and camera do not belong together; build it again'
        )
    pairs, alone = _overlapping(place)
    gaps = _disagreements(place, pairs)
    everything = np.concatenate(list(gaps.values())) if gaps else np.zeros(0)
    disagreement = float(np.median(everything)) if everything.size else float('nan')
    if disagreement > _MAX_DISAGREEMENT_M:
        problems.append(
            f'the depth of overlapping keyframes differs by {disagreement:.2f} m (median): wrong '
            'poses, wrong unit of depth, or depth that is not registered to colour'
        )
    gap, range_m = _match_gap_m(place, pairs)
    if gap > _MAX_DISAGREEMENT_M * max(1.0, range_m / _NEAR_M):
        problems.append(
            f'features that match between keyframes have points {gap:.2f} m apart (median, at '
            f'{range_m:.1f} m): wrong poses, wrong unit of depth, or depth that is not registered '
            'to colour'
        )
    if alone.mean() > 0.5 and len(alone) > 2:
        problems.append(
            f'{int(alone.sum())} of {len(alone)} keyframes overlap with no other: the sequence '
            'jumps, or its poses do not fit its depth'
        )
    for a, b, count in look_alikes(place, pairs):
        problems.append(
            f'{a.name} and {b.name} look alike ({count} features) and show different places: '
            'expect refusals there'
        )
    positions = place.poses[:, :3, 3]
    return Report(
        len(place.keyframes),
        int(counts.sum()),
        np.ptp(positions, axis=0),
        disagreement,
        gap,
        float(alone.mean()),
        tuple(problems),
    )


def require_fit(place: PlaceMap, camera: AbstractCamera) -> None:
    """Refuses a camera whose pictures cannot be matched with those of a map.

    Another camera of the same kind is welcome: points in space and its own calibration are all
    that localization needs of it, as long as it sees things about as large.

    Raises:
        MapError: Another kind of lens, or a resolution that is too different.
    """
    kinds = camera_kind(place.camera), camera_kind(camera)
    if kinds[0] != kinds[1]:
        raise MapError(
            f'the map of {place.name} was made with a {kinds[0]} camera, this one is {kinds[1]}: '
            'build a map with this camera'
        )
    ratio = pixels_a_radian(camera) / pixels_a_radian(place.camera)
    if not 1 / _MAX_RESOLUTION_RATIO <= ratio <= _MAX_RESOLUTION_RATIO:
        raise MapError(
            f'this camera has {pixels_a_radian(camera):.0f} pixels a radian, the one that made '
            f'the map of {place.name} {pixels_a_radian(place.camera):.0f}: more than a factor of '
            f'{_MAX_RESOLUTION_RATIO:g} apart; resize its pictures, or build a map with it'
        )


def pixels_a_radian(camera: AbstractCamera) -> float:
    """Resolution in the middle of the picture, px/rad."""
    middle = np.array([(camera.width - 1) / 2, (camera.height - 1) / 2])
    a, b = camera.unproject(middle + np.array([[-0.5, 0.0], [0.5, 0.0]]))
    return float(1.0 / max(np.arccos(np.clip(a @ b, -1.0, 1.0)), 1e-9))


def look_alikes(
    place: PlaceMap, overlapping: Iterable[tuple[int, int]] = (), limit: int = 5
) -> list[tuple[Keyframe, Keyframe, int]]:
    """Pairs of keyframes that show different places and could be taken for each other.

    Args:
        place: The map.
        overlapping: Pairs that see the same surfaces, which may look alike.
        limit: So many pairs at most are looked at, those with the most similar descriptors.

    Returns:
        Pairs with as many matches between things that lie apart as neighbours have of one thing.
    """
    same = set(overlapping)
    G = place.global_descriptors
    similar = np.triu(G @ G.T, 1)
    similar[np.tril_indices(len(G))] = -np.inf
    for pair in same:
        similar[pair] = -np.inf
    found = []
    for flat in np.argsort(-similar, axis=None)[:limit]:
        i, j = divmod(int(flat), len(G))
        if not np.isfinite(similar[i, j]):
            break
        a, b = place.keyframes[i], place.keyframes[j]
        i_a, i_b = mutual_matches(a.descriptors, b.descriptors)
        with np.errstate(invalid='ignore'):
            apart = np.linalg.norm(a.points[i_a] - b.points[i_b], axis=1) > _SAME_THING_M
        count = int(apart.sum())
        if count >= max(_MIN_COMMON, 0.1 * min(len(a.xy), len(b.xy))):
            found.append((a, b, count))
    return found


def depth_disagreement_m(a: PlaceMap, b: PlaceMap) -> Array:
    """(N,) m, how far surfaces that both maps show lie apart; empty where there are none."""
    found = []
    for k, frame in enumerate(a.keyframes):
        if not frame.depth.any():
            continue
        near = np.linalg.norm(b.poses[:, :3, 3] - frame.T_place_camera[:3, 3], axis=1)
        for m in np.argsort(near)[:3]:
            gap = _gap(frame, b.keyframes[m], a.camera, b.camera)
            if gap.size >= _OVERLAP * np.count_nonzero(frame.depth):
                found.append(gap)
        if k >= _MAX_PAIRS:
            break
    return np.concatenate(found) if found else np.zeros(0)


def _reprojection_px(frame: Keyframe, camera: AbstractCamera) -> float:
    """Median distance between features and where their points are seen; 0 where there are none."""
    known = frame.has_point
    if not known.any():
        return 0.0
    local = se3.transform(se3.inverse(frame.T_place_camera), frame.points[known])
    uv, _ = camera.project(local)
    error = np.linalg.norm(uv - frame.xy[known], axis=1)
    return float(np.median(np.where(np.isfinite(error), error, np.inf)))


def _overlapping(place: PlaceMap) -> tuple[list[tuple[int, int]], NDArray[np.bool_]]:
    """Pairs of keyframes that see the same surfaces, and which keyframes (K,) have no such pair.

    Those that share most come first.

    Whether depth agrees is not asked: a point within the picture of another keyframe counts.
    """
    count = len(place.keyframes)
    shares = np.zeros((count, count))
    centres = place.poses[:, :3, 3]
    for i, frame in enumerate(place.keyframes):
        points = frame.points[frame.has_point][::4].astype(np.float64)
        if not len(points):
            continue
        for j in np.argsort(np.linalg.norm(centres - centres[i], axis=1))[:_NEAREST]:
            local = se3.transform(se3.inverse(place.keyframes[j].T_place_camera), points)
            shares[i, j] = place.camera.project(local)[1].mean()
    shares = np.maximum(shares, shares.T)
    both = shares >= _OVERLAP
    np.fill_diagonal(both, False)
    pairs = [(int(i), int(j)) for i, j in np.argwhere(np.triu(both))]
    pairs.sort(key=lambda pair: -shares[pair])
    return pairs, np.asarray(~both.any(axis=1))


def _disagreements(place: PlaceMap, pairs: list[tuple[int, int]]) -> dict[tuple[int, int], Array]:
    """(N,) |difference| of depth, m, of overlapping keyframes; of some, where there are many."""
    step = max(1, len(pairs) // _MAX_PAIRS)
    gaps = {}
    for i, j in pairs[::step]:
        gap = _gap(place.keyframes[i], place.keyframes[j], place.camera, place.camera)
        if gap.size >= _MIN_COMMON:
            gaps[i, j] = gap
    return gaps


def _match_gap_m(place: PlaceMap, pairs: list[tuple[int, int]]) -> tuple[float, float]:
    """Median distance, m, between points of matched features, and of these from their cameras.

    Of the pairs that share most. Unlike depth it also notices what slides along a wall.
    """
    gaps, ranges = [], []
    for i, j in pairs[:_MATCHED_PAIRS]:
        a, b = place.keyframes[i], place.keyframes[j]
        i_a, i_b = mutual_matches(a.descriptors, b.descriptors)
        gap = np.linalg.norm(a.points[i_a] - b.points[i_b], axis=1)
        away = np.linalg.norm(a.points[i_a] - a.T_place_camera[:3, 3], axis=1)
        gaps.append(gap[np.isfinite(gap)])
        ranges.append(away[np.isfinite(gap)])
    found = np.concatenate(gaps) if gaps else np.zeros(0)
    if len(found) < _MIN_COMMON:
        return float('nan'), float('nan')
    return float(np.median(found)), float(np.median(np.concatenate(ranges)))


def _gap(
    frame: Keyframe, other: Keyframe, camera: AbstractCamera, other_camera: AbstractCamera
) -> Array:
    """(N,) |depth of one keyframe brought into another - depth there|, m."""
    if not (frame.depth.size and other.depth.size):
        return np.zeros(0)
    mine = camera.resized(*frame.depth.shape[::-1])
    its = other_camera.resized(*other.depth.shape[::-1])
    T = se3.inverse(other.T_place_camera) @ frame.T_place_camera
    warped = depth_of_points(points_of(frame.depth_m(), mine, T), its)
    gap = np.abs(warped - other.depth_m())
    return gap[np.isfinite(gap)].astype(np.float64)


def mutual_matches(
    a: NDArray[np.float32], b: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Features that are each other's nearest, and nearer than `_ALIKE_RATIO` of the second."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    similarity = a @ b.T
    best = similarity.argmax(axis=1)
    mutual = similarity.argmax(axis=0)[best] == np.arange(len(a))
    second, first = np.partition(similarity, -2, axis=1)[:, -2:].T
    distance, next_distance = (np.sqrt(np.maximum(2 - 2 * s, 0)) for s in (first, second))
    good = np.flatnonzero(mutual & (distance < _ALIKE_RATIO * next_distance))
    return good, best[good]


def _some(names: list[str]) -> str:
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more
