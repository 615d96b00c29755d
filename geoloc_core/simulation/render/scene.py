# SPDX-License-Identifier: Apache-2.0
"""Rays into a lit scene: what each one meets, how far away, and in what colour.

Intersections are found by Embree in float32; distances are then computed anew in float64 from the
plane of the triangle that was hit, so depth is exact to well under a millimetre.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.mesh import Mesh
from geoloc_core.simulation.render.appearance import Appearance, Light
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.render.textures import Float32, remap_points

Array = NDArray[np.float64]

# Rays handled at once: enough to keep numpy busy, few enough to stay in the processor's cache.
CHUNK = 32768
_SHADOW_GSD = 0.2
_MISS = -1


@dataclass(frozen=True)
class Hits:
    """What rays met.

    Attributes:
        range_m: (N,) float64 distance along the ray, inf where it met nothing.
        triangle: (N,) int64 index into the mesh, -1 where it met nothing.
        rgb: (N, 3) float32, 0..255 and beyond.
        label: (N,) uint8 `Label`.
        normal: (N, 3) float32 unit normal towards the viewer, 0 where it met nothing.
    """

    range_m: Array
    triangle: NDArray[np.int64]
    rgb: Float32
    label: NDArray[np.uint8]
    normal: Float32


class Scene:
    """A mesh with its surfaces under one light."""

    def __init__(
        self,
        mesh: Mesh,
        ground: Ground,
        facades: Facades,
        appearance: Appearance | Light | None = None,
    ) -> None:
        """Builds the search tree and the shadows on the ground.

        Args:
            mesh: Triangles.
            ground: Colours of the ground plane.
            facades: Patterns of the walls.
            appearance: The day, or only its light; a clear summer's day if None.
        """
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        if isinstance(appearance, Light):
            appearance = Appearance(light=appearance)
        self.appearance = appearance or Appearance()
        self.light = self.appearance.light
        self._mesh = mesh
        self._ground = ground
        self._facades = facades
        self._embree = EmbreeScene()
        self._keep = TriangleMesh(self._embree, mesh.triangles.astype(np.float32))
        self._normal32 = mesh.normal.astype(np.float32)
        self._shadow = self._ground_shadow()

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
            Ranges, triangles and colours.
        """
        n = len(directions)
        origins = np.broadcast_to(np.asarray(origins, np.float64), (n, 3))
        parts = [
            self._cast(
                origins[i : i + CHUNK], directions[i : i + CHUNK], footprint_m, footprint_rad
            )
            for i in range(0, n, CHUNK)
        ]
        return Hits(
            np.concatenate([p.range_m for p in parts]),
            np.concatenate([p.triangle for p in parts]),
            np.concatenate([p.rgb for p in parts]),
            np.concatenate([p.label for p in parts]),
            np.concatenate([p.normal for p in parts]),
        )

    def material_of(self, triangle: NDArray[np.int64]) -> NDArray[np.int64]:
        """`Material` of triangles of any shape of array; -1 where there is none (the sky)."""
        return np.where(triangle == _MISS, _MISS, self._mesh.material[triangle].astype(np.int64))

    def with_traffic(self, mesh: Mesh) -> 'Scene':
        """The same scene with movers; the static search tree and textures are shared."""
        raise NotImplementedError

    def is_lit(self, points: Array, normals: Array | Float32) -> NDArray[np.bool_]:
        """Which points (N, 3) with outward normals (N, 3) the sun reaches."""
        start = (points + 0.02 * normals).astype(np.float32)
        rays = np.tile(self.light.direction.astype(np.float32), (len(points), 1))
        return np.asarray(self._embree.run(start, rays, query='OCCLUDED')) == _MISS

    def _ground_shadow(self) -> NDArray[np.uint8]:
        """(S, S) raster over the city, 255 where the sun reaches the ground.

        The sun stands still for a whole drive, so this is cheaper than a ray for every pixel of
        every frame; a slight blur stands for the sun's width.
        """
        half = self._ground.half_extent
        side = max(8, round(2 * half / _SHADOW_GSD))
        gsd = 2 * half / side
        ticks = (np.arange(side) + 0.5) * gsd - half
        lit = np.empty((side, side), np.uint8)
        rows = max(1, 4 * CHUNK // side)
        for top in range(0, side, rows):
            y = -ticks[top : top + rows]
            points = np.zeros((len(y), side, 3))
            points[..., 0] = ticks
            points[..., 1] = y[:, None]
            flat = points.reshape(-1, 3)
            up = np.broadcast_to(np.array([0.0, 0.0, 1.0]), flat.shape)
            lit[top : top + rows] = self.is_lit(flat, up).reshape(len(y), side) * np.uint8(255)
        return cv2.GaussianBlur(lit, (3, 3), 0).astype(np.uint8)

    def _cast(
        self, origins: Array, directions: Array, footprint_m: float, footprint_rad: float
    ) -> Hits:
        mesh = self._mesh
        found = self._embree.run(
            origins.astype(np.float32), directions.astype(np.float32), query='INTERSECT'
        )
        triangle = np.asarray(found).astype(np.int64)
        rgb = self._sky(directions.astype(np.float32))
        range_m = np.full(len(triangle), np.inf)
        label = np.zeros(len(triangle), np.uint8)
        normals = np.zeros((len(triangle), 3), np.float32)
        hit = np.flatnonzero(triangle != _MISS)
        if not len(hit):
            return Hits(range_m, triangle, rgb, label, normals)
        met = triangle[hit]
        rays = directions[hit]
        normal = mesh.normal[met]
        facing = np.einsum('ij,ij->i', normal, rays)
        # Rays that graze a plane exactly cannot be divided; Embree would not report them.
        facing[facing == 0] = -1e-12
        distance = (mesh.offset[met] - np.einsum('ij,ij->i', normal, origins[hit])) / facing
        points = origins[hit] + distance[:, None] * rays
        range_m[hit] = distance
        normals[hit] = np.where(facing[:, None] > 0, -normal, normal)
        label[hit] = mesh.label[met]
        flat = hit[mesh.material[met] == Material.GROUND]
        where = points[mesh.material[met] == Material.GROUND]
        label[flat] = self._ground.label_at(where[:, 0], where[:, 1])
        width = footprint_m + footprint_rad * distance.astype(np.float32)
        # A slanted surface fills a pixel with more of itself; the square root is the middle way
        # between blur across and flicker along.
        width = width / np.sqrt(np.maximum(np.abs(facing), 0.02)).astype(np.float32)
        colour = self._surface(met, points, rays.astype(np.float32), width)
        fade = np.exp(distance * (-1 / self.light.haze_m)).astype(np.float32)[:, None]
        rgb[hit] = colour * fade + rgb[hit] * (1 - fade)
        return Hits(range_m, triangle, rgb, label, normals)

    def _sky(self, rays: Float32) -> Float32:
        """Colour (N, 3) of the sky along rays (N, 3)."""
        up = np.clip(rays[:, 2:], 0, 1) ** np.float32(0.6)
        low = np.array([214, 222, 230], np.float32)
        high = np.array([112, 152, 206], np.float32)
        return (low + (high - low) * up) * np.array(self.light.tint, np.float32)

    def _surface(
        self, met: NDArray[np.int64], points: Array, rays: Float32, width: Float32
    ) -> Float32:
        """Lit colours (N, 3) of points on triangles `met`."""
        mesh = self._mesh
        xyz = points.astype(np.float32)
        material = mesh.material[met]
        colour = mesh.rgb[met]
        direct = np.zeros(len(met), np.float32)

        chosen = np.flatnonzero(material == Material.GROUND)
        if len(chosen):
            x, y = xyz[chosen, 0], xyz[chosen, 1]
            colour[chosen] = self._ground.albedo(x, y, width[chosen])
            direct[chosen] = self._shadow_at(x, y) * np.float32(self.light.direction[2])

        other = np.flatnonzero(material != Material.GROUND)
        if len(other):
            self._paint(other, met, material, xyz, width, colour)
            normal = self._normals(other, met, material, xyz, rays)
            cosine = normal @ self.light.direction.astype(np.float32)
            sunny = np.flatnonzero(cosine > 0)
            lit = self.is_lit(points[other[sunny]], normal[sunny])
            direct[other[sunny]] = cosine[sunny] * lit
            # Less of the sky is seen by walls than by roofs and the ground.
            colour[other] *= (0.8 + 0.2 * normal[:, 2:]).astype(np.float32)

        strength = np.float32(self.light.sky) + np.float32(self.light.sun) * direct
        return colour * strength[:, None] * np.array(self.light.tint, np.float32)

    def _paint(
        self,
        other: NDArray[np.int64],
        met: NDArray[np.int64],
        material: NDArray[np.uint8],
        xyz: Float32,
        width: Float32,
        colour: Float32,
    ) -> None:
        """Writes the own colours of walls, roofs and crowns into `colour`."""
        mesh = self._mesh
        walls = other[material[other] == Material.WALL]
        if len(walls):
            axis = mesh.wall_axis[met[walls]]
            s = xyz[walls, 0] * axis[:, 0] + xyz[walls, 1] * axis[:, 1] + axis[:, 2]
            colour[walls] = self._facades.albedo(
                mesh.kind[met[walls]], s, xyz[walls, 2], colour[walls], width[walls]
            )
        rough = other[(material[other] == Material.ROOF) | (material[other] == Material.CROWN)]
        if len(rough):
            a = xyz[rough, 0] + xyz[rough, 2]
            b = xyz[rough, 1] - xyz[rough, 2]
            grain = self._ground.grain(a * np.float32(0.2), b * np.float32(0.2), width[rough])
            contrast = np.where(material[rough] == Material.CROWN, 2.6, 1.0).astype(np.float32)
            colour[rough] *= (1 + (grain - 1) * contrast)[:, None]

    def _normals(
        self,
        other: NDArray[np.int64],
        met: NDArray[np.int64],
        material: NDArray[np.uint8],
        xyz: Float32,
        rays: Float32,
    ) -> Float32:
        """Outward normals (N, 3), turned towards the viewer; crowns are shaded as if round."""
        normal = self._normal32[met[other]]
        away = np.einsum('ij,ij->i', normal, rays[other]) > 0
        normal[away] *= -1
        crowns = np.flatnonzero(material[other] == Material.CROWN)
        if len(crowns):
            radial = xyz[other[crowns]] - self._mesh.crown_center[met[other[crowns]]]
            normal[crowns] = radial / np.linalg.norm(radial, axis=1, keepdims=True)
        return normal

    def _shadow_at(self, x: Float32, y: Float32) -> Float32:
        """How much sun (0..1) reaches places on the ground."""
        half = np.float32(self._ground.half_extent)
        scale = np.float32(len(self._shadow) / (2 * self._ground.half_extent))
        u = (x + half) * scale - np.float32(0.5)
        v = (half - y) * scale - np.float32(0.5)
        lit = remap_points(self._shadow, u, v, cv2.BORDER_REPLICATE)
        return lit.astype(np.float32) * np.float32(1 / 255)
