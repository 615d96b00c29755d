# SPDX-License-Identifier: Apache-2.0
"""Which feature of the view is which point of the map.

Each keyframe is matched alone: over several of them the second-best neighbour is often the same
point seen again, and a ratio test would throw away what the map knows best. It also lets two
places that look alike both speak, so that the solver can see that there are two answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.features.base import LocalFeatures
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.maps.place.depth import points_at
from geoloc_core.maps.place.records import Keyframe

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# Features of a view and of a keyframe -> indices (L,) into the one and (L,) into the other.
Match = Callable[[LocalFeatures, LocalFeatures], tuple[Index, Index]]

# Beyond this a picture's features have so many points near that one product is quicker.
_LAX_PX = 40.0


@dataclass(frozen=True, eq=False)
class Sight:
    """The features of a view, as geometry needs them.

    Attributes:
        local: The features themselves.
        rays: (N, 3) x/z, y/z, 1 in the optical frame; NaN where a pixel has no such ray.
        depth: (N,) m along the optical axis, NaN where there is none.
        focal_px: Turns x/z near the axis into pixels.
    """

    local: LocalFeatures
    rays: Array
    depth: Array
    focal_px: float

    def with_depth(self, depth: Array) -> 'Sight':
        """The same with other depths (N,)."""
        return Sight(self.local, self.rays, depth, self.focal_px)


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Features of a view beside points of the map; some of them wrong.

    Attributes:
        rays: (M, 3) x/z, y/z, 1 in the optical frame.
        depth: (M,) m, measured by the view; NaN where it was not.
        points: (M, 3) m, place frame.
        feature: (M,) index of the view's feature; one may be matched in several keyframes.
        keyframe: (M,) index of the keyframe that the point is from.
        focal_px: Of the view.
    """

    rays: Array
    depth: Array
    points: Array
    feature: Index
    keyframe: Index
    focal_px: float

    def __len__(self) -> int:
        """M."""
        return len(self.rays)

    def take(self, index: NDArray) -> 'Correspondences':
        """Some of them, by indices or by a mask (M,)."""
        return Correspondences(
            self.rays[index],
            self.depth[index],
            self.points[index],
            self.feature[index],
            self.keyframe[index],
            self.focal_px,
        )

    def joined(self, other: 'Correspondences') -> 'Correspondences':
        """These and those of the same view with other keyframes."""
        return Correspondences(
            np.concatenate([self.rays, other.rays]),
            np.concatenate([self.depth, other.depth]),
            np.concatenate([self.points, other.points]),
            np.concatenate([self.feature, other.feature]),
            np.concatenate([self.keyframe, other.keyframe]),
            self.focal_px,
        )

    def without_depth(self) -> 'Correspondences':
        """The same as a colour camera alone gives them."""
        nothing = np.full(len(self), np.nan)
        return Correspondences(
            self.rays, nothing, self.points, self.feature, self.keyframe, self.focal_px
        )


def sight_of(
    local: LocalFeatures, camera: AbstractCamera, depth: NDArray[np.float32] | None
) -> Sight:
    """The features of a view with their rays and depths.

    Args:
        local: Features of a picture of the camera's size.
        camera: Its camera.
        depth: (H, W) m registered to the picture, NaN where invalid, or None.
    """
    xy = local.xy.astype(np.float64)
    unit = camera.unproject(xy) if len(xy) else np.zeros((0, 3))
    with np.errstate(invalid='ignore', divide='ignore'):
        # Beyond 80 degrees from the axis x/z says more about the lens than about the place.
        rays = np.where(unit[:, 2:] > 0.17, unit / unit[:, 2:], np.nan)
    middle = np.array([(camera.width - 1) / 2, (camera.height - 1) / 2])
    pair = camera.unproject(middle + np.array([[-0.5, 0.0], [0.5, 0.0]]))
    focal = 1.0 / float(np.linalg.norm(pair[1] - pair[0]))
    z = np.full(len(xy), np.nan)
    if depth is not None:
        # As the map's own points are made, so that both err alike.
        z = points_at(xy, depth, camera, np.eye(4))[:, 2].astype(np.float64)
    return Sight(local, rays, z, focal)


def mutual_matches(
    query: NDArray[np.float32], reference: NDArray[np.float32], max_ratio: float
) -> tuple[Index, Index]:
    """Pairs that are each other's nearest, and clearly nearer than the second nearest.

    The ratio test is Lowe's ("Distinctive image features from scale-invariant keypoints", IJCV
    2004, section 7.1), on distances of unit vectors: d^2 = 2 - 2 a.b.

    Args:
        query: (N, D) unit rows.
        reference: (M, D) unit rows.
        max_ratio: Largest ratio of nearest to second-nearest distance; 1 lets all pass.

    Returns:
        Indices (L,) into query and (L,) into reference.
    """
    nothing = np.zeros(0, np.int64)
    if not len(query) or not len(reference):
        return nothing, nothing
    similarity = query @ reference.T
    rows = np.arange(len(query))
    best = similarity.argmax(axis=1)
    if len(reference) > 1 and max_ratio < 1.0:
        first = similarity[rows, best]
        similarity[rows, best] = -2.0
        clear = _clear(first, similarity.max(axis=1), max_ratio)
        similarity[rows, best] = first
        # Few pass, and a look down the columns of those alone is much quicker than down all.
        rows = rows[clear]
    columns = best[rows]
    mutual = similarity[:, columns].argmax(axis=0) == rows
    return rows[mutual], columns[mutual]


def mutual_among(
    query: NDArray[np.float32],
    reference: NDArray[np.float32],
    i: Index,
    j: Index,
    max_ratio: float,
) -> tuple[Index, Index]:
    """`mutual_matches` among some pairs only; the others neither match nor compete.

    Args:
        query: (N, D) unit rows.
        reference: (M, D) unit rows.
        i: (P,) into query.
        j: (P,) into reference.
        max_ratio: See there.

    Returns:
        Indices (L,) into query and (L,) into reference.
    """
    nothing = np.zeros(0, np.int64)
    if not len(i):
        return nothing, nothing
    similarity = np.einsum('pd,pd->p', query[i], reference[j])
    # Pairs of one query beside each other, the best first.
    by_query = np.lexsort((-similarity, i))
    first = np.flatnonzero(np.diff(i[by_query], prepend=-1))
    best = by_query[first]
    after = np.minimum(first + 1, len(i) - 1)
    rival = by_query[after]
    alone = (i[rival] != i[best]) | (rival == best)
    second = np.where(alone, -2.0, similarity[rival])
    by_reference = np.lexsort((-similarity, j))
    favourite = np.full(len(reference), -1, np.int64)
    firsts = np.flatnonzero(np.diff(j[by_reference], prepend=-1))
    favourite[j[by_reference[firsts]]] = by_reference[firsts]
    mutual = (favourite[j[best]] == best) & _clear(similarity[best], second, max_ratio)
    return i[best[mutual]], j[best[mutual]]


def _clear(first: NDArray, second: NDArray, max_ratio: float) -> NDArray[np.bool_]:
    """Whether similarities are so much better than the second-best ones as the ratio asks."""
    distance = np.sqrt(np.maximum(2.0 - 2.0 * first, 0.0))
    other = np.sqrt(np.maximum(2.0 - 2.0 * second, 1e-12))
    return np.asarray(distance <= max_ratio * other)


def correspondences(
    sight: Sight,
    keyframes: Sequence[Keyframe],
    indices: Sequence[int],
    max_ratio: float,
    T_place_camera: Array | None = None,
    radius_px: float = 0.0,
    match: Match | None = None,
) -> Correspondences:
    """Matches a view to several keyframes.

    Args:
        sight: The view's features.
        keyframes: All of the map.
        indices: Which of them to match.
        max_ratio: See `mutual_matches`.
        T_place_camera: (4, 4) where the view is believed to be taken; None if unknown.
        radius_px: With such a belief, how far from its prediction a point may be seen; one so
            wide that looking everywhere is quicker is not looked at.
        match: What matches where there is no such belief; nearest descriptors if None.
    """
    usable = np.flatnonzero(np.isfinite(sight.rays[:, 2]))
    rays = sight.rays[usable]
    local = sight.local.take(usable)
    query = local.descriptors
    features, points, origin = [], [], []
    for k in indices:
        keyframe = keyframes[k]
        seen = np.flatnonzero(keyframe.has_point)
        there = keyframe.descriptors[seen]
        if match is not None and T_place_camera is None:
            i, j = match(local, keyframe.features(seen))
        elif T_place_camera is None or radius_px > _LAX_PX:
            i, j = mutual_matches(query, there, max_ratio)
        else:
            near = _near(rays, keyframe.points[seen], T_place_camera, radius_px / sight.focal_px)
            i, j = mutual_among(query, there, *near, max_ratio)
        features.append(usable[i])
        points.append(keyframe.points[seen[j]].astype(np.float64))
        origin.append(np.full(len(i), k, np.int64))
    if not features:
        nothing = np.zeros(0, np.int64)
        empty = np.zeros((0, 3))
        return Correspondences(empty, np.zeros(0), empty, nothing, nothing, sight.focal_px)
    feature = np.concatenate(features)
    return Correspondences(
        sight.rays[feature],
        sight.depth[feature],
        np.concatenate(points),
        feature,
        np.concatenate(origin),
        sight.focal_px,
    )


def _near(
    rays: Array, points: NDArray[np.float32], T_place_camera: Array, radius: float
) -> tuple[Index, Index]:
    """Pairs (ray, point) where the point would be seen within `radius` (in x/z) of the ray."""
    # Imported here: robots without a place map need not carry it.
    from scipy.spatial import cKDTree

    seen = se3.transform(se3.inverse(T_place_camera), points)
    ahead = np.flatnonzero(seen[:, 2] > 0.05)
    nothing = np.zeros(0, np.int64)
    if not len(ahead) or not len(rays):
        return nothing, nothing
    there = cKDTree(seen[ahead, :2] / seen[ahead, 2:])
    near = cKDTree(rays[:, :2]).sparse_distance_matrix(there, radius, output_type='ndarray')
    return near['i'].astype(np.int64), ahead[near['j']]
