# SPDX-License-Identifier: Apache-2.0
"""Rays into a lit scene: what each one meets, how far away, and in what colour.

Intersections are found by Embree in float32; distances are then computed anew in float64 from the
plane of the triangle that was hit, so depth is exact to well under a millimetre. Embree and the
shading kernels release the interpreter lock: rays of several threads run side by side.
"""

from copy import copy
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.mesh import Mesh
from geoloc_core.simulation.render.appearance import Appearance, Light
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.materials import Material

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]

# Rays handled at once: enough to make calls cheap, few enough to stay in the processor's cache.
CHUNK = 16384
_MISS = -1
# A ray passes at most so many leaves of crowns; after that it has met one.
_GAPS = 5
# With fewer leaves than this, what only crowns shade is half lit.
_THIN = 0.97

__all__ = ['Appearance', 'Hits', 'Light', 'Scene']


@dataclass(frozen=True)
class Hits:
    """What rays met.

    Attributes:
        range_m: (N,) float64 distance along the ray, inf where it met nothing.
        triangle: (N,) int64 index into the mesh, those of the traffic after those of the city, -1
            where it met nothing.
        rgb: (N, 3) float32, 0..255 and beyond.
        label: (N,) uint8 `Label`.
        normal: (N, 3) float32 unit normal towards the viewer, 0 where it met nothing; crowns have
            the normals of spheres.
        lit: (N,) float32 part of the sun's disc that is seen from there.
    """

    range_m: Array
    triangle: NDArray[np.int64]
    rgb: Float32
    label: NDArray[np.uint8]
    normal: Float32
    lit: Float32


class _Solids:
    """A mesh, its search tree and its surfaces; shared by scenes of different days."""

    def __init__(self, mesh: Mesh) -> None:
        from geoloc_core.simulation.render.surfaces import make_surfaces

        self.mesh = mesh
        self.surfaces = make_surfaces(mesh)
        self.tree = _tree(mesh.triangles)
        self.has_crowns = bool((mesh.material == Material.CROWN).any())
        self._lock = Lock()
        self._opaque: Any = None

    def opaque(self) -> Any:
        """Search tree of all but the crowns, built when it is first asked for."""
        with self._lock:
            if self._opaque is None:
                self._opaque = _tree(self.mesh.triangles[self.mesh.material != Material.CROWN])
            return self._opaque


def _tree(triangles: Array) -> Any:
    """An Embree scene of triangles (M, 3, 3) and what must live as long as it does."""
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    scene = EmbreeScene()
    keep = TriangleMesh(scene, np.ascontiguousarray(triangles, np.float32))
    if len(triangles):
        # The tree is built by the first ray; here, before threads share it.
        ray = np.array([[0.0, 0.0, 1.0]], np.float32)
        scene.run(ray * 0, ray, query='OCCLUDED')
    return scene, keep


class Scene:
    """A mesh with its surfaces on one day."""

    def __init__(
        self,
        mesh: Mesh,
        ground: Ground,
        facades: Facades,
        appearance: Appearance | Light | None = None,
    ) -> None:
        """Builds the search tree.

        Args:
            mesh: Triangles.
            ground: Colours of the ground plane.
            facades: Patterns of the walls.
            appearance: The day, or only its light; a clear summer's day if None.
        """
        self._ground = ground
        self._facades = facades
        self._city = _Solids(mesh)
        self._movers: _Solids | None = None
        self._set_day(appearance)

    def _set_day(self, appearance: Appearance | Light | None) -> None:
        from geoloc_core.simulation.render.day import make_day, make_lamps

        if isinstance(appearance, Light):
            appearance = Appearance(light=appearance)
        self.appearance = appearance or Appearance()
        self.light = self.appearance.light
        self._day = make_day(self.appearance)
        self._lamps = make_lamps(self.appearance)

    def with_appearance(self, appearance: Appearance | Light | None) -> 'Scene':
        """The same scene on another day; search trees and textures are shared."""
        other = copy(self)
        other._set_day(appearance)
        return other

    def with_traffic(self, mesh: Mesh | None) -> 'Scene':
        """The same scene with movers, or without them if None; all that stands is shared.

        Movers hide what is behind them and cast shadows. Their triangles follow those of the city
        in `Hits.triangle`.
        """
        other = copy(self)
        other._movers = _Solids(mesh) if mesh is not None and len(mesh.triangles) else None
        return other

    def cast(
        self, origins: Array, directions: Array, footprint_m: float, footprint_rad: float
    ) -> Hits:
        """Follows rays to the first surface.

        Args:
            origins: (N, 3) or (3,) float64, m, map frame.
            directions: (N, 3) float64, unit.
            footprint_m: Width of a ray at its origin, m (parallel rays).
            footprint_rad: Growth of that width per metre (rays of a camera).

        Returns:
            Ranges, triangles, colours, labels and normals.
        """
        n = len(directions)
        origins = np.ascontiguousarray(np.atleast_2d(np.asarray(origins, np.float64)))
        rays = np.ascontiguousarray(directions, np.float64)
        hits = empty_hits(n)
        for i in range(0, n, CHUNK):
            part = slice(i, min(n, i + CHUNK))
            self.trace(
                origins[part] if len(origins) > 1 else origins,
                rays[part],
                rays[part].astype(np.float32),
                footprint_m,
                footprint_rad,
                hits_part(hits, part),
            )
        return hits

    def trace(
        self,
        origins: Array,
        rays: Array,
        rays32: Float32,
        footprint_m: float,
        footprint_rad: float,
        out: Hits,
    ) -> None:
        """Follows one chunk of rays; the inner part of `cast`, without copies.

        Args:
            origins: (N, 3) or (1, 3) float64.
            rays: (N, 3) float64, unit.
            rays32: The same as float32.
            footprint_m: Width of a ray at its origin, m.
            footprint_rad: Growth of that width per metre.
            out: Filled, N long.
        """
        from geoloc_core.simulation.render import shading

        n = len(rays)
        city, movers = self._city, self._movers
        origins32 = np.empty((n, 3), np.float32)
        origins32[:] = origins
        start32 = np.empty((n, 3), np.float32)
        triangle = city.tree[0].run(origins32, rays32, query='INTERSECT')
        index = np.arange(n)
        if city.has_crowns:
            onward32 = np.empty((n, 3), np.float32)
            look = index
            for _ in range(_GAPS):
                again = np.empty(len(look), np.int64)
                k = shading.see_through(
                    look, triangle, origins, rays, footprint_m, footprint_rad, city.surfaces,
                    self._day, start32, onward32, again,
                )  # fmt: skip
                if k == 0:
                    break
                look = again[:k]
                triangle[look] = city.tree[0].run(start32[:k], onward32[:k], query='INTERSECT')
        mover = np.zeros(0, np.int32)
        if movers is not None:
            mover = movers.tree[0].run(origins32, rays32, query='INTERSECT')
        others = city.surfaces if movers is None else movers.surfaces
        k = shading.meet(
            triangle, mover, origins, rays, city.surfaces, others, self._day,
            out.range_m, out.triangle, out.normal, start32, index,
        )  # fmt: skip
        out.lit[:] = 0
        if k:
            out.lit[index[:k]] = self._sunlight(start32[:k])
        shading.shade(
            out.range_m, out.triangle, out.normal, out.lit, origins, rays, footprint_m,
            footprint_rad, city.surfaces, others, self._ground.data, self._facades.data,
            self._lamps, self._day, out.rgb, out.label,
        )  # fmt: skip

    def material_of(self, triangle: NDArray[np.int64]) -> NDArray[np.int64]:
        """`Material` of triangles of any shape of array; -1 where there is none (the sky)."""
        material = self._city.mesh.material
        if self._movers is not None:
            material = np.concatenate([material, self._movers.mesh.material])
        return np.where(triangle == _MISS, _MISS, material[triangle].astype(np.int64))

    def is_lit(self, points: Array, normals: Array | Float32) -> NDArray[np.bool_]:
        """Which points (N, 3) with outward normals (N, 3) the sun reaches."""
        return self._sunlight((points + 0.02 * normals).astype(np.float32)) > 0.99

    def _sunlight(self, start32: Float32) -> Float32:
        """Part (N,) of the sunlight that reaches places (N, 3)."""
        sun = np.empty_like(start32)
        sun[:] = self.light.direction
        free = self._city.tree[0].run(start32, sun, query='OCCLUDED') == _MISS
        light = free.astype(np.float32)
        if self._city.has_crowns and self.appearance.leaf < _THIN:
            shaded = np.flatnonzero(~free)
            if len(shaded):
                tree = self._city.opaque()[0]
                thin = tree.run(start32[shaded], sun[shaded], query='OCCLUDED') == _MISS
                light[shaded] = thin * np.float32(0.85 * (1 - self.appearance.leaf))
        if self._movers is not None:
            light *= self._movers.tree[0].run(start32, sun, query='OCCLUDED') == _MISS
        return light


def empty_hits(n: int) -> Hits:
    """Room for the answers to n rays."""
    return Hits(
        np.empty(n),
        np.empty(n, np.int64),
        np.empty((n, 3), np.float32),
        np.empty(n, np.uint8),
        np.empty((n, 3), np.float32),
        np.empty(n, np.float32),
    )


def hits_part(hits: Hits, part: slice) -> Hits:
    """A view of some of the answers."""
    return Hits(
        hits.range_m[part],
        hits.triangle[part],
        hits.rgb[part],
        hits.label[part],
        hits.normal[part],
        hits.lit[part],
    )
