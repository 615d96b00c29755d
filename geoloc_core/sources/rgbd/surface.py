# SPDX-License-Identifier: Apache-2.0
"""Depth as pieces of surface: points with normals, of a view and of the map's keyframes."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.maps.place.depth import shrink
from geoloc_core.maps.place.records import Keyframe, PlaceMap

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# Neighbours this many pixels away span the surface that a normal is of.
_ARM = 2
# They may differ in depth by this share of it: more is the rim of an object, or seen too flat.
_MAX_SLOPE = 0.09


@dataclass(frozen=True, eq=False)
class Surface:
    """A depth raster as a surface.

    Attributes:
        points: (h, w, 3) float32 m; NaN where nothing was measured.
        normals: (h, w, 3) float32 unit, towards the camera; NaN at rims.
    """

    points: Floats
    normals: Floats

    def moved(self, T: Array) -> 'Surface':
        """The same in another frame, T (4, 4) being the motion into it."""
        R = T[:3, :3].astype(np.float32)
        return Surface(self.points @ R.T + T[:3, 3].astype(np.float32), self.normals @ R.T)

    def sample(self, count: int) -> tuple[Array, Array]:
        """Up to `count` points (N, 3) and normals (N, 3), evenly over the raster."""
        good = np.flatnonzero(np.isfinite(self.normals[..., 0]) & np.isfinite(self.points[..., 2]))
        if len(good) > count:
            good = good[np.linspace(0, len(good) - 1, count).astype(int)]
        points = self.points.reshape(-1, 3)[good].astype(np.float64)
        return points, self.normals.reshape(-1, 3)[good].astype(np.float64)


def surface_of(depth: Floats, camera: AbstractCamera) -> Surface:
    """Points and normals of a depth raster.

    Args:
        depth: (h, w) m along the optical axis, NaN where invalid.
        camera: Of exactly that size.

    Returns:
        The surface in the optical frame.
    """
    rays = camera.rays()
    with np.errstate(invalid='ignore', divide='ignore'):
        points = (rays / rays[..., 2:] * depth[..., None]).astype(np.float32)
    across = np.full_like(points, np.nan)
    down = np.full_like(points, np.nan)
    across[:, _ARM:-_ARM] = points[:, 2 * _ARM :] - points[:, : -2 * _ARM]
    down[_ARM:-_ARM] = points[2 * _ARM :] - points[: -2 * _ARM]
    with np.errstate(invalid='ignore', divide='ignore'):
        # Down x across points back to the camera: x right, y down, z forward.
        normals = np.cross(down, across)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        limit = _MAX_SLOPE * depth
        rim = (np.abs(across[..., 2]) > limit) | (np.abs(down[..., 2]) > limit)
    normals[rim] = np.nan
    return Surface(points, normals)


def view_surface(depth: Floats, camera: AbstractCamera) -> Surface:
    """The surface of a view's own depth (H, W) m, made small as that of the map is."""
    small = shrink(depth)
    metres = np.where(small > 0, small * np.float32(1e-3), np.float32(np.nan))
    return surface_of(metres, camera.resized(small.shape[1], small.shape[0]))


class MapSurfaces:
    """Surfaces of the keyframes, made when first needed; the last ones used are kept."""

    def __init__(self, place: PlaceMap, keep: int = 256) -> None:
        """Takes the map.

        Args:
            place: Whose keyframes.
            keep: How many surfaces at most are held, some 0.5 MB each.
        """
        self._place = place
        self._keep = keep
        self._made: OrderedDict[int, Surface | None] = OrderedDict()
        self._cameras: dict[tuple[int, int], AbstractCamera] = {}

    def camera(self, keyframe: Keyframe) -> AbstractCamera:
        """The camera of a keyframe's depth raster."""
        height, width = keyframe.depth.shape
        if (width, height) not in self._cameras:
            self._cameras[width, height] = self._place.camera.resized(width, height)
        return self._cameras[width, height]

    def get(self, index: int) -> Surface | None:
        """The surface of keyframe `index` in the place frame; None where it has no depth."""
        if index in self._made:
            self._made.move_to_end(index)
            return self._made[index]
        keyframe = self._place.keyframes[index]
        surface = None
        if min(keyframe.depth.shape) > 2 * _ARM and keyframe.depth.any():
            surface = surface_of(keyframe.depth_m(), self.camera(keyframe))
            surface = surface.moved(np.asarray(keyframe.T_place_camera))
        self._made[index] = surface
        while len(self._made) > self._keep:
            self._made.popitem(last=False)
        return surface

    def pairs(
        self,
        index: int,
        points: Array,
        normals: Array,
        reach_m: float,
        min_cosine: float = 0.8,
    ) -> tuple[NDArray[np.int64], Array, Array]:
        """Points of a keyframe that points of a view fall on, by projection into it.

        Reference: Newcombe et al., "KinectFusion", ISMAR 2011, section 3.5.

        Args:
            index: Of the keyframe.
            points: (N, 3) place frame.
            normals: (N, 3) place frame.
            reach_m: Pairs farther apart are none.
            min_cosine: Of the angle between the normals.

        Returns:
            Index (L,) into points; the map's points (L, 3) and normals (L, 3), place frame.
        """
        surface = self.get(index)
        if surface is None:
            return np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3))
        keyframe = self._place.keyframes[index]
        seen = se3.transform(se3.inverse(keyframe.T_place_camera), points).T
        u, v, valid = self.camera(keyframe).project_xyz(seen[0], seen[1], seen[2])
        hit = np.flatnonzero(valid)
        height, width = keyframe.depth.shape
        column = np.clip(np.rint(u[hit]).astype(int), 0, width - 1)
        row = np.clip(np.rint(v[hit]).astype(int), 0, height - 1)
        target = surface.points[row, column].astype(np.float64)
        normal = surface.normals[row, column].astype(np.float64)
        with np.errstate(invalid='ignore'):
            near = np.linalg.norm(points[hit] - target, axis=1) < reach_m
            near &= np.einsum('ni,ni->n', normals[hit], normal) > min_cosine
        return hit[near], target[near], normal[near]
