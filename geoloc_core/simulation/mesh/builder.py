# SPDX-License-Identifier: Apache-2.0
"""Triangles of a scene, each with what the shader must know about its surface."""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
        """Freezes what a builder gathered; what has no area is left out."""
        corners = np.concatenate([np.zeros((0, 3, 3)), *pieces.triangles])
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        e, f = b - a, c - a
        normal = np.empty_like(e)
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            normal[:, i] = e[:, j] * f[:, k] - e[:, k] * f[:, j]
        size = np.linalg.norm(normal, axis=1)
        flat = size <= 1e-12
        # Indexing with a slice copies nothing: most meshes have no triangle to leave out.
        kept = ~flat if flat.any() else slice(None)
        count = [len(part) for part in pieces.triangles]

        def column(values: list, dtype: type, width: int = 0) -> NDArray:
            """One value a triangle, from values that hold for a piece or for each of its own."""
            shape = (0, width) if width else (0,)
            parts: list[NDArray] = [np.zeros(shape, dtype)]
            plain: list = []
            repeat: list[int] = []

            def flush() -> None:
                if plain:
                    parts.append(np.repeat(np.array(plain, dtype), repeat, axis=0))
                    plain.clear()
                    repeat.clear()

            for value, m in zip(values, count, strict=True):
                if isinstance(value, np.ndarray) and value.ndim == 1 + bool(width):
                    flush()
                    parts.append(value.astype(dtype, copy=False))
                else:
                    plain.append(value)
                    repeat.append(m)
            flush()
            return np.concatenate(parts)[kept]

        self.triangles: Array = corners[kept]
        self.material = column(pieces.material, np.uint8)
        self.rgb = column(pieces.rgb, np.float32, 3)
        self.kind = column(pieces.kind, np.uint8)
        self.label = column(pieces.label, np.uint8)
        self.wall_axis = column(pieces.wall_axis, np.float32, 3)
        self.crown_center = column(pieces.crown_center, np.float32, 3)
        self.normal: Array = normal[kept] / size[kept][:, None]
        self.offset: Array = np.einsum('ij,ij->i', self.normal, self.triangles[:, 0])


class MeshBuilder:
    """Gathers triangles, in pieces of one surface or many."""

    def __init__(self) -> None:
        """Starts without any."""
        self.triangles: list[Array] = []
        self.material: list = []
        self.rgb: list = []
        self.kind: list = []
        self.label: list = []
        self.wall_axis: list = []
        self.crown_center: list = []

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
        self.triangles.append(np.asarray(triangles, np.float64).reshape(-1, 3, 3))
        self.material.append(int(material))
        self.rgb.append(tuple(rgb))
        self.kind.append(kind)
        self.label.append(int(DEFAULT_LABEL[material] if label is None else label))
        self.wall_axis.append(tuple(np.asarray(wall_axis, np.float64).tolist()))
        self.crown_center.append(tuple(np.asarray(crown_center, np.float64).tolist()))

    def add_many(
        self,
        triangles: Array,
        material: ArrayLike,
        rgb: ArrayLike,
        label: ArrayLike,
        crown_center: Array | None = None,
    ) -> None:
        """Adds triangles (M, 3, 3) of many surfaces at once.

        Args:
            triangles: (M, 3, 3) corners, m.
            material: (M,) or one `Material`.
            rgb: (M, 3) or one colour, 0..255.
            label: (M,) or one `Label`.
            crown_center: (M, 3), m; zero if None.
        """
        m = len(triangles)
        self.triangles.append(triangles)
        self.material.append(np.broadcast_to(np.asarray(material, np.uint8), (m,)))
        self.rgb.append(np.broadcast_to(np.asarray(rgb, np.float32), (m, 3)))
        self.kind.append(0)
        self.label.append(np.broadcast_to(np.asarray(label, np.uint8), (m,)))
        self.wall_axis.append((0.0, 0.0, 0.0))
        self.crown_center.append((0.0, 0.0, 0.0) if crown_center is None else crown_center)

    def add_ground(self) -> None:
        """Adds the plane z = 0."""
        e = _GROUND_EXTENT_M
        quad = [(-e, -e, 0.0), (e, -e, 0.0), (e, e, 0.0), (-e, e, 0.0)]
        self.add(fan(quad), Material.GROUND, (128, 128, 128))

    def add_wall(
        self,
        start: ArrayLike,
        end: ArrayLike,
        top: float,
        rgb: Color,
        kind: int,
        bottom: float = 0.0,
        material: Material = Material.WALL,
    ) -> None:
        """Adds an upright wall over the segment start -> end (2,), windows along it."""
        (x0, y0), (x1, y1) = np.asarray(start).tolist(), np.asarray(end).tolist()
        length = float(np.hypot(x1 - x0, y1 - y0))
        if length < 1e-6:
            return
        tx, ty = (x1 - x0) / length, (y1 - y0) / length
        a, b = (x0, y0, bottom), (x1, y1, bottom)
        c, d = (x1, y1, top), (x0, y0, top)
        axis = (tx, ty, -(tx * x0 + ty * y0))
        self.add([(a, b, c), (a, c, d)], material, rgb, kind=kind, wall_axis=axis)


def darker(rgb: Color, factor: float) -> Color:
    """A colour times a factor."""
    return rgb[0] * factor, rgb[1] * factor, rgb[2] * factor


def fan(corners: ArrayLike) -> Array:
    """Triangles (N - 2, 3, 3) of a convex polygon (N, 3)."""
    points = np.asarray(corners, np.float64)
    return np.array([(points[0], a, b) for a, b in pairwise(points[1:])])


def ear_clip(polygon: Array) -> NDArray[np.int64]:
    """Triangulates a simple polygon.

    Args:
        polygon: (N, 2) corners, counter-clockwise, without holes.

    Returns:
        (N - 2, 3) indices; corners that lie on a straight line may give triangles of no area.
    """
    points = [(float(x), float(y)) for x, y in polygon]
    left = list(range(len(points)))
    out = []

    def cross(i: int, j: int, k: int) -> float:
        (ax, ay), (bx, by), (cx, cy) = points[i], points[j], points[k]
        return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)

    while len(left) > 3:
        best = None
        for n, b in enumerate(left):
            a, c = left[n - 1], left[(n + 1) % len(left)]
            turn = cross(a, b, c)
            if turn < -1e-9:
                continue
            blocked = any(
                cross(a, b, p) > -1e-12 and cross(b, c, p) > -1e-12 and cross(c, a, p) > -1e-12
                for p in left
                if p not in (a, b, c) and points[p] not in (points[a], points[b], points[c])
            )
            if not blocked:
                best = n
                break
        # A polygon that crosses itself has no ear left at some point: any corner will do.
        n = best if best is not None else 0
        out.append((left[n - 1], left[n], left[(n + 1) % len(left)]))
        left.pop(n)
    out.append((left[0], left[1], left[2]))
    return np.array(out, np.int64)


# Corners of a box, and its faces without the bottom, counter-clockwise from outside.
_BOX = np.array(
    [(-1, -1, -1), (1, -1, -1), (1, 1, -1), (-1, 1, -1), (-1, -1, 1), (1, -1, 1), (1, 1, 1),
     (-1, 1, 1)], float,
) / 2  # fmt: skip
BOX_FACES = np.array(
    [(0, 1, 5), (0, 5, 4), (1, 2, 6), (1, 6, 5), (2, 3, 7), (2, 7, 6), (3, 0, 4), (3, 4, 7),
     (4, 5, 6), (4, 6, 7), (0, 2, 1), (0, 3, 2)]
)  # fmt: skip


def boxes(center: ArrayLike, size: ArrayLike, yaw: ArrayLike = 0.0) -> Array:
    """Closed boxes.

    Args:
        center: (N, 3) middles, m.
        size: (N, 3) or (3,) length, width, height, m.
        yaw: (N,) or one heading of their length, rad.

    Returns:
        (12 N, 3, 3) triangles, outward.
    """
    middle = np.atleast_2d(np.asarray(center, np.float64))
    n = len(middle)
    local = _BOX * np.broadcast_to(np.asarray(size, np.float64), (n, 3))[:, None]
    c, s = np.cos(yaw), np.sin(yaw)
    c, s = np.broadcast_to(c, (n,))[:, None], np.broadcast_to(s, (n,))[:, None]
    x = c * local[..., 0] - s * local[..., 1]
    y = s * local[..., 0] + c * local[..., 1]
    corners = np.stack([x, y, local[..., 2]], axis=-1) + middle[:, None]
    return corners[:, BOX_FACES].reshape(-1, 3, 3)
