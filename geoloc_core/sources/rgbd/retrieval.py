# SPDX-License-Identifier: Apache-2.0
"""Keyframes that may show what a view shows: by their descriptors, or by where the view is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.maps.place.records import PlaceMap

Array = NDArray[np.float64]

# From this many keyframes on an index is asked, if one is installed: a plain product was quicker
# for up to 60,000 of them (tests/benchmarks/place_index.py).
_LARGE = 100_000
# A place that looks nearly as alike as the best one, this far away, is looked at as well.
_ELSEWHERE_M = 4.0
_NEARLY = 0.85
# Depth of a keyframe that differs by more is of something else, in front or behind.
_HIDDEN_M = 0.15


class KeyframeIndex:
    """The keyframes of a map by their global descriptors; exact, FAISS or not."""

    def __init__(self, place: PlaceMap) -> None:
        """Takes the descriptors of a map."""
        self._descriptors = np.ascontiguousarray(place.global_descriptors, np.float32)
        self._places = place.poses[:, :3, 3]
        self._faiss = _faiss_index(self._descriptors)

    def __len__(self) -> int:
        """Number of keyframes."""
        return len(self._descriptors)

    def nearest(
        self, descriptor: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The most similar keyframes.

        Args:
            descriptor: (G,) of unit length.
            count: How many; fewer if there are not so many.

        Returns:
            Indices (count,) and similarities (count,), best first; of equal ones the earlier.
        """
        count = min(count, len(self))
        if self._faiss is not None:
            similarity, index = self._faiss.search(descriptor[None], count)
            return index[0].astype(np.int64), similarity[0]
        similarity = self._descriptors @ descriptor
        order = np.argsort(-similarity, kind='stable')[:count]
        return order.astype(np.int64), similarity[order]

    def candidates(self, descriptor: NDArray[np.float32], count: int) -> list[int]:
        """Keyframes to match: the most similar ones, and who looks nearly like them elsewhere.

        Without the latter a twin of a room would never be looked at, and the answer would be
        sure of itself instead of ambiguous.

        Args:
            descriptor: (G,) of unit length.
            count: Of the most similar ones; of the others at most half as many.
        """
        order, similarity = self.nearest(descriptor, 6 * count)
        chosen = [int(k) for k in order[:count]]
        extra: list[int] = []
        for k, alike in zip(order[count:], similarity[count:], strict=True):
            if alike < _NEARLY * similarity[0] or len(extra) >= count // 2:
                break
            apart = np.linalg.norm(self._places[chosen + extra] - self._places[k], axis=1)
            if apart.min() > _ELSEWHERE_M:
                extra.append(int(k))
        return chosen + extra


class Overlaps:
    """What the keyframes of a map share with a view at a pose."""

    def __init__(self, place: PlaceMap) -> None:
        """Takes a map."""
        self._place = place
        self._poses = place.poses

    def seeing(
        self, T_place_camera: Array, points: Array, count: int, within_m: float = 10.0
    ) -> list[int]:
        """Keyframes that saw most of what a view at a pose sees.

        Args:
            T_place_camera: (4, 4) of the view.
            points: (N, 3) m some of what it sees, optical frame.
            count: How many at most.
            within_m: Keyframes taken farther away are not looked at.

        Returns:
            Indices, best first, of keyframes that saw at least a tenth of it.
        """
        apart = np.linalg.norm(self._poses[:, :3, 3] - T_place_camera[:3, 3], axis=1)
        near = np.flatnonzero(apart < within_m)
        shares = self.shares(T_place_camera, points, near)
        order = near[np.argsort(-shares, kind='stable')]
        enough = int((shares >= 0.1).sum())
        return [int(k) for k in order[: min(count, enough)]]

    def shares(self, T_place_camera: Array, points: Array, indices: NDArray[np.int64]) -> Array:
        """Which share of the points that a view sees keyframes saw as well.

        Args:
            T_place_camera: (4, 4) of the view.
            points: (N, 3) m in the view's optical frame.
            indices: (K,) of the keyframes.

        Returns:
            (K,) 0..1, times the cosine between the viewing directions: a wall looks different
            from its side. Where a keyframe has depth, what it saw something else in front of is
            not seen.
        """
        shares = np.zeros(len(indices))
        cosines = self._poses[indices, :3, 2] @ T_place_camera[:3, 2]
        facing = np.flatnonzero(cosines > 0.0)
        if not len(points) or not len(facing):
            return shares
        T = self._poses[indices[facing]]
        placed = se3.transform(T_place_camera, points)
        seen = (placed - T[:, None, :3, 3]) @ T[:, :3, :3]
        camera = self._place.camera
        u, v, valid = camera.project_xyz(seen[..., 0], seen[..., 1], seen[..., 2])
        for row, k in enumerate(indices[facing]):
            depth = self._place.keyframes[k].depth
            if not depth.size:
                continue
            hit = np.flatnonzero(valid[row])
            h, w = depth.shape
            column = np.clip(((u[row, hit] + 0.5) * (w / camera.width)).astype(int), 0, w - 1)
            line = np.clip(((v[row, hit] + 0.5) * (h / camera.height)).astype(int), 0, h - 1)
            there = depth[line, column] * 1e-3
            hidden = (there > 0) & (np.abs(there - seen[row, hit, 2]) > _HIDDEN_M)
            valid[row, hit[hidden]] = False
        shares[facing] = valid.mean(axis=1) * cosines[facing]
        return shares


def glance(camera: AbstractCamera, distance_m: float = 2.0) -> Array:
    """Points (N, 3) m that a camera without depth may be looking at: its rays at a distance."""
    u, v = np.meshgrid(
        np.linspace(0.1, 0.9, 9) * (camera.width - 1),
        np.linspace(0.1, 0.9, 7) * (camera.height - 1),
    )
    rays = camera.unproject(np.stack([u.ravel(), v.ravel()], axis=1))
    rays = rays[rays[:, 2] > 0.1]
    return np.asarray(rays / rays[:, 2:] * distance_m)


def _faiss_index(descriptors: NDArray[np.float32]):  # type: ignore[no-untyped-def]
    """An exact index of inner products, where FAISS is installed and the map is large."""
    if len(descriptors) < _LARGE:
        return None
    try:
        import faiss
    except ImportError:
        return None
    index = faiss.IndexFlatIP(descriptors.shape[1])
    index.add(descriptors)
    return index


def sample(points: Array, count: int) -> Array:
    """Up to `count` of some points (N, 3), evenly."""
    if len(points) <= count:
        return points
    return points[np.linspace(0, len(points) - 1, count).astype(int)]


__all__: Sequence[str] = ('KeyframeIndex', 'Overlaps', 'glance', 'sample')
