# SPDX-License-Identifier: Apache-2.0
"""Depth as pieces of surface: points with normals, of a view and of the map's keyframes."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.maps.place.depth import shrink
from geoloc_core.maps.place.records import PlaceMap

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Index = NDArray[np.int64]

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


class RayGrids:
    """Rays of the last few cameras: to make them takes longer than what is done with them."""

    def __init__(self, keep: int = 4) -> None:
        """Remembers those of `keep` cameras."""
        self._keep = keep
        self._known: list[tuple[AbstractCamera, Array]] = []

    def get(self, camera: AbstractCamera) -> Array:
        """(h, w, 3) x/z, y/z, 1 of all pixels, optical frame."""
        for known, rays in self._known:
            if known == camera:
                return rays
        rays = camera.rays()
        with np.errstate(invalid='ignore', divide='ignore'):
            rays = rays / rays[..., 2:]
        self._known = [*self._known, (camera, rays)][-self._keep :]
        return rays


def surface_of(depth: Floats, camera: AbstractCamera, grids: RayGrids | None = None) -> Surface:
    """Points and normals of a depth raster.

    Args:
        depth: (h, w) m along the optical axis, NaN where invalid.
        camera: Of exactly that size.
        grids: Where its rays may be known from before.

    Returns:
        The surface in the optical frame.
    """
    rays = (grids or RayGrids()).get(camera)
    points = (rays * depth[..., None]).astype(np.float32)
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


def view_surface(depth: Floats, camera: AbstractCamera, grids: RayGrids | None = None) -> Surface:
    """The surface of a view's own depth (H, W) m, made small as that of the map is."""
    small = shrink(depth)
    metres = np.where(small > 0, small * np.float32(1e-3), np.float32(np.nan))
    return surface_of(metres, camera.resized(small.shape[1], small.shape[0]), grids)


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
        self._grids = RayGrids()

    def get(self, index: int) -> Surface | None:
        """The surface of keyframe `index` in the place frame; None where it has no depth."""
        if index in self._made:
            self._made.move_to_end(index)
            return self._made[index]
        keyframe = self._place.keyframes[index]
        surface = None
        if min(keyframe.depth.shape) > 2 * _ARM and keyframe.depth.any():
            height, width = keyframe.depth.shape
            camera = self._place.camera.resized(width, height)
            surface = surface_of(keyframe.depth_m(), camera, self._grids)
            surface = surface.moved(np.asarray(keyframe.T_place_camera))
        self._made[index] = surface
        while len(self._made) > self._keep:
            self._made.popitem(last=False)
        return surface

    def pairs(
        self,
        indices: Sequence[int],
        points: Array,
        normals: Array,
        reach_m: float,
        min_cosine: float = 0.8,
    ) -> tuple[Index, Index, Array, Array]:
        """Points of keyframes that points of a view fall on, by projection into them.

        Reference: Newcombe et al., "KinectFusion", ISMAR 2011, section 3.5.

        Args:
            indices: Of the keyframes.
            points: (N, 3) place frame.
            normals: (N, 3) place frame.
            reach_m: Pairs farther apart are none.
            min_cosine: Of the angle between the normals.

        Returns:
            Index (L,) into points, and keyframe (L,), one keyframe after the other; the map's
            points (L, 3) and normals (L, 3), place frame.
        """
        found = [(k, surface) for k in indices if (surface := self.get(k)) is not None]
        if not found or not len(points):
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, np.zeros((0, 3)), np.zeros((0, 3))
        keyframes = np.array([k for k, _ in found])
        T = np.stack([self._place.keyframes[k].T_place_camera for k in keyframes])
        # All at once, and in single precision, which is a hundredth of a pixel at worst.
        seen = ((points - T[:, None, :3, 3]) @ T[:, :3, :3]).astype(np.float32)
        camera = self._place.camera
        u, v, valid = camera.project_xyz(seen[..., 0], seen[..., 1], seen[..., 2])
        row, hit = np.nonzero(valid)
        target = np.empty((len(hit), 3), np.float32)
        normal = np.empty((len(hit), 3), np.float32)
        ends = np.searchsorted(row, np.arange(len(found) + 1))
        u, v = (u[row, hit] + 0.5) / camera.width, (v[row, hit] + 0.5) / camera.height
        for (_, surface), first, last in zip(found, ends[:-1], ends[1:], strict=True):
            height, width = surface.points.shape[:2]
            column = np.minimum((u[first:last] * width).astype(np.int64), width - 1)
            line = np.minimum((v[first:last] * height).astype(np.int64), height - 1)
            target[first:last] = surface.points[line, column]
            normal[first:last] = surface.normals[line, column]
        with np.errstate(invalid='ignore'):
            near = ((points[hit] - target) ** 2).sum(axis=1) < reach_m**2
            near &= np.einsum('ni,ni->n', normals[hit], normal) > min_cosine
        return (
            hit[near],
            keyframes[row[near]],
            target[near].astype(np.float64),
            normal[near].astype(np.float64),
        )
