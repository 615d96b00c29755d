# SPDX-License-Identifier: Apache-2.0
"""Triangles of the city, each with what the shader must know about its surface."""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.city import Building, Car, City, Tree
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import DEFAULT_LABEL, Material

Array = NDArray[np.float64]
Color = tuple[float, float, float]

# The ground reaches far beyond the city, so that a horizon closes every street.
_GROUND_EXTENT_M = 4000.0


class Mesh:
    """All triangles of a scene.

    Attributes:
        triangles: (M, 3, 3) float64 corners, m, map frame.
        material: (M,) uint8, a `Material`.
        rgb: (M, 3) float32 colour, 0..255.
        normal: (M, 3) float64, unit.
        offset: (M,) float64, of the plane normal . x = offset, m.
        kind: (M,) uint8 facade pattern of walls.
        wall_axis: (M, 3) float32 (tx, ty, s0): distance along a wall is tx x + ty y + s0, m.
        label: (M,) uint8, a `Label`; the ground's texels have their own.
        crown_center: (M, 3) float32 middle of the tree crown a triangle belongs to.
    """

    def __init__(self, pieces: 'MeshBuilder') -> None:
        """Freezes what a builder gathered."""
        self.triangles: Array = np.concatenate(pieces.triangles)
        self.material = np.concatenate(pieces.material)
        self.rgb = np.concatenate(pieces.rgb)
        self.kind = np.concatenate(pieces.kind)
        self.label = np.concatenate(pieces.label)
        self.wall_axis = np.concatenate(pieces.wall_axis)
        self.crown_center = np.concatenate(pieces.crown_center)
        a, b, c = self.triangles[:, 0], self.triangles[:, 1], self.triangles[:, 2]
        normal = np.cross(b - a, c - a)
        self.normal: Array = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        self.offset: Array = np.einsum('ij,ij->i', self.normal, a)


class MeshBuilder:
    """Gathers triangles."""

    def __init__(self) -> None:
        """Starts without any."""
        self.triangles: list[Array] = []
        self.material: list[NDArray[np.uint8]] = []
        self.rgb: list[NDArray[np.float32]] = []
        self.kind: list[NDArray[np.uint8]] = []
        self.label: list[NDArray[np.uint8]] = []
        self.wall_axis: list[NDArray[np.float32]] = []
        self.crown_center: list[NDArray[np.float32]] = []

    def add(
        self,
        triangles: ArrayLike,
        material: Material,
        rgb: Color,
        *,
        kind: int = 0,
        wall_axis: ArrayLike = (0.0, 0.0, 0.0),
        crown_center: ArrayLike = (0.0, 0.0, 0.0),
        label: Label | None = None,
    ) -> None:
        """Adds triangles (M, 3, 3) of one surface; see `Mesh` for the rest.

        A surface without a label gets the one its material most often has.
        """
        named = DEFAULT_LABEL[material] if label is None else label
        corners = np.asarray(triangles, np.float64).reshape(-1, 3, 3)
        m = len(corners)
        self.triangles.append(corners)
        self.material.append(np.full(m, material, np.uint8))
        self.rgb.append(np.tile(np.asarray(rgb, np.float32), (m, 1)))
        self.kind.append(np.full(m, kind, np.uint8))
        self.label.append(np.full(m, named, np.uint8))
        self.wall_axis.append(np.tile(np.asarray(wall_axis, np.float32), (m, 1)))
        self.crown_center.append(np.tile(np.asarray(crown_center, np.float32), (m, 1)))

    def add_ground(self) -> None:
        """Adds the plane z = 0."""
        e = _GROUND_EXTENT_M
        quad = [(-e, -e, 0.0), (e, -e, 0.0), (e, e, 0.0), (-e, e, 0.0)]
        self.add(_fan(quad), Material.GROUND, (128, 128, 128))

    def add_wall(
        self, start: Array, end: Array, top: float, rgb: Color, kind: int, bottom: float = 0.0
    ) -> None:
        """Adds an upright wall over the segment start -> end (2,), windows along it."""
        quad = [(*start, bottom), (*end, bottom), (*end, top), (*start, top)]
        along = (end - start) / np.linalg.norm(end - start)
        axis = (along[0], along[1], -float(along @ start))
        self.add(_fan(quad), Material.WALL, rgb, kind=kind, wall_axis=axis)

    def add_building(self, building: Building) -> None:
        """Adds walls, roof and, on flat roofs, a stair house."""
        corners = building.footprint
        height = building.height
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            self.add_wall(a, b, height, building.wall_rgb, building.facade)
        if building.gable > 0 and len(corners) == 4:
            self._add_gable(building)
            return
        self.add(_fan([(*c, height) for c in corners]), Material.ROOF, building.roof_rgb)
        # A stair house tells one flat roof from the next, seen from above.
        low, along = corners[0], corners[1] - corners[0]
        deep = corners[-1] - corners[0]
        places = ((0.2, 0.3), (0.45, 0.3), (0.45, 0.7), (0.2, 0.7))
        box = [low + along * a + deep * b for a, b in places]
        self._add_prism(np.array(box), height, height + 2.2, _darker(building.roof_rgb, 0.8))

    def _add_gable(self, building: Building) -> None:
        a, b, c, d = building.footprint
        low, high = building.height, building.height + building.gable
        p, q = (a + d) / 2, (b + c) / 2
        rgb = building.roof_rgb
        self.add(_fan([(*a, low), (*b, low), (*q, high), (*p, high)]), Material.ROOF, rgb)
        # The far slope is a little darker, as weather and sun leave it.
        self.add(
            _fan([(*c, low), (*d, low), (*p, high), (*q, high)]), Material.ROOF, _darker(rgb, 0.9)
        )
        ends = [[(*d, low), (*a, low), (*p, high)], [(*b, low), (*c, low), (*q, high)]]
        self.add(ends, Material.PLAIN, building.wall_rgb)

    def _add_prism(
        self, base: Array, bottom: float, top: float, rgb: Color, taper: float = 1.0
    ) -> None:
        """Adds an upright prism, its top scaled about its middle by `taper`."""
        center = base.mean(axis=0)
        upper = center + (base - center) * taper
        n = len(base)
        for i in range(n):
            j = (i + 1) % n
            side = [(*base[i], bottom), (*base[j], bottom), (*upper[j], top), (*upper[i], top)]
            self.add(_fan(side), Material.PLAIN, rgb)
        self.add(_fan([(*p, top) for p in upper]), Material.PLAIN, rgb)

    def add_car(self, car: Car) -> None:
        """Adds a car: dark underside, body, dark windows, roof."""
        length, width, height = car.size
        c, s = np.cos(car.yaw), np.sin(car.yaw)
        rotation = np.array([[c, -s], [s, c]])

        def base(scale_x: float, scale_y: float, shift: float) -> Array:
            box = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
            local = box * (length * scale_x, width * scale_y) + (shift * length, 0)
            return local @ rotation.T + car.xy

        belt = 0.58 * height
        self._add_prism(base(0.92, 0.92, 0.0), 0.05, 0.32, (26, 26, 28))
        self._add_prism(base(1.0, 1.0, 0.0), 0.28, belt, car.rgb, taper=0.97)
        self._add_prism(base(0.60, 0.92, -0.04), belt, height - 0.04, (34, 40, 46), taper=0.84)
        roof = base(0.60 * 0.84, 0.92 * 0.84, -0.04)
        self._add_prism(roof, height - 0.04, height, car.rgb)

    def add_tree(self, tree: Tree, rng: np.random.Generator) -> None:
        """Adds a trunk and an uneven crown."""
        angles = np.arange(5) * 2 * np.pi / 5
        ring = np.stack([np.cos(angles), np.sin(angles)], -1) * 0.16 + tree.xy
        self._add_prism(ring, 0.0, tree.crown_height, (82, 66, 50))
        vertices, faces = _ICOSPHERE
        size = tree.radius * rng.uniform(0.82, 1.12, len(vertices))[:, None]
        center = np.array([*tree.xy, tree.crown_height])
        crown = center + vertices * size * (1.0, 1.0, 0.85)
        self.add(crown[faces], Material.CROWN, tree.rgb, crown_center=center)


def build_mesh(city: City, seed: int, *, moved_cars: bool = False) -> Mesh:
    """All triangles of a city.

    Args:
        city: What stands where.
        seed: Of the crowns' shapes.
        moved_cars: Park `city.other_cars` instead of `city.cars`.

    Returns:
        The mesh; its first triangles are the ground.
    """
    rng = np.random.default_rng([seed, 30])
    builder = MeshBuilder()
    builder.add_ground()
    for building in city.buildings:
        builder.add_building(building)
    for tree in city.trees:
        builder.add_tree(tree, rng)
    for car in city.other_cars if moved_cars else city.cars:
        builder.add_car(car)
    return Mesh(builder)


def _darker(rgb: Color, factor: float) -> Color:
    return rgb[0] * factor, rgb[1] * factor, rgb[2] * factor


def _fan(corners: ArrayLike) -> Array:
    """Triangles (N - 2, 3, 3) of a convex polygon (N, 3)."""
    points = np.asarray(corners, np.float64)
    return np.stack([np.stack([points[0], a, b]) for a, b in pairwise(points[1:])])


def _icosphere() -> tuple[Array, NDArray[np.int64]]:
    """A unit sphere of 80 triangles: vertices (42, 3) and faces (80, 3)."""
    g = (1 + 5**0.5) / 2
    vertices = [
        (-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g),
        (0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1),
    ]  # fmt: skip
    faces = [
        (0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4),
        (11, 10, 2), (10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8),
        (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1),
    ]  # fmt: skip
    points = [np.array(v, float) / np.linalg.norm(v) for v in vertices]
    middles: dict[tuple[int, int], int] = {}

    def middle(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in middles:
            m = points[a] + points[b]
            points.append(m / np.linalg.norm(m))
            middles[key] = len(points) - 1
        return middles[key]

    split = []
    for a, b, c in faces:
        ab, bc, ca = middle(a, b), middle(b, c), middle(c, a)
        split += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return np.array(points), np.array(split)


_ICOSPHERE = _icosphere()
