# SPDX-License-Identifier: Apache-2.0
"""Shapes drawn once and placed many times, all copies of one in a single step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.mesh.builder import BOX_FACES, MeshBuilder
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material

Array = NDArray[np.float64]
Rgb = tuple[float, float, float]

# Which colour a face takes: its own, or the first or second one of the copy.
OWN, FIRST, SECOND = 0, 1, 2


@dataclass(frozen=True)
class Template:
    """A shape in its own frame: x forward, y left, z up, origin on the ground.

    Attributes:
        triangles: (K, 3, 3).
        material: (K,) `Material`.
        rgb: (K, 3) own colours, 0..255; a gain in percent where a copy's colour is taken.
        paint: (K,) OWN, FIRST or SECOND.
        center: (K, 3) middle of the lump of leaves each triangle belongs to.
    """

    triangles: Array
    material: NDArray[np.uint8]
    rgb: NDArray[np.float32]
    paint: NDArray[np.uint8]
    center: Array


class Sketch:
    """Draws a template."""

    def __init__(self) -> None:
        """Starts empty."""
        self._triangles: list[Array] = []
        self._material: list[int] = []
        self._rgb: list[Rgb] = []
        self._paint: list[int] = []
        self._center: list[Array] = []

    def add(
        self,
        triangles: ArrayLike,
        rgb: Rgb = (100.0, 100.0, 100.0),
        material: Material = Material.PLAIN,
        paint: int = OWN,
        center: ArrayLike = (0.0, 0.0, 0.0),
    ) -> 'Sketch':
        """Adds triangles (M, 3, 3) of one surface."""
        corners = np.asarray(triangles, np.float64).reshape(-1, 3, 3)
        self._triangles.append(corners)
        m = len(corners)
        self._material += [int(material)] * m
        self._rgb += [rgb] * m
        self._paint += [paint] * m
        self._center.append(np.broadcast_to(np.asarray(center, np.float64), (m, 3)))
        return self

    def frustum(
        self,
        low: tuple[float, float, float],
        size: tuple[float, float],
        high: tuple[float, float, float],
        top: tuple[float, float],
        rgb: Rgb = (100.0, 100.0, 100.0),
        material: Material = Material.PLAIN,
        paint: int = OWN,
    ) -> 'Sketch':
        """A box that may taper and lean: middles of bottom and top, and their (length, width)."""
        box = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
        lower = np.concatenate([box * size + low[:2], np.full((4, 1), low[2])], axis=1)
        upper = np.concatenate([box * top + high[:2], np.full((4, 1), high[2])], axis=1)
        corners = np.concatenate([lower, upper])
        return self.add(corners[BOX_FACES[:10]], rgb, material, paint)

    def box(
        self,
        center: tuple[float, float, float],
        size: tuple[float, float, float],
        rgb: Rgb = (100.0, 100.0, 100.0),
        material: Material = Material.PLAIN,
        paint: int = OWN,
    ) -> 'Sketch':
        """An upright box, closed below as well."""
        x, y, z = center
        half = size[2] / 2
        low, high = np.array([x, y, z - half]), np.array([x, y, z + half])
        box = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2 * size[:2]
        corners = np.concatenate(
            [np.concatenate([box + p[:2], np.full((4, 1), p[2])], axis=1) for p in (low, high)]
        )
        return self.add(corners[BOX_FACES], rgb, material, paint)

    def prism(
        self,
        foot: tuple[float, float, float],
        radius: float,
        height: float,
        sides: int = 6,
        rgb: Rgb = (100.0, 100.0, 100.0),
        material: Material = Material.PLAIN,
        paint: int = OWN,
        taper: float = 1.0,
    ) -> 'Sketch':
        """An upright prism with a lid."""
        angles = np.arange(sides) * 2 * np.pi / sides
        ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(sides)], axis=-1) * radius
        lower = ring + foot
        upper = ring * taper + foot + np.array([0.0, 0.0, height])
        a, b = lower, np.roll(lower, -1, axis=0)
        c, d = np.roll(upper, -1, axis=0), upper
        lid = np.broadcast_to(upper.mean(axis=0), a.shape)
        sides3 = [np.stack([a, b, c], 1), np.stack([a, c, d], 1), np.stack([d, c, lid], 1)]
        return self.add(np.concatenate(sides3), rgb, material, paint)

    def disc(
        self, center: tuple[float, float, float], radius: float, axis: int, sides: int = 8,
        rgb: Rgb = (100.0, 100.0, 100.0), material: Material = Material.PLAIN, paint: int = OWN,
    ) -> 'Sketch':  # fmt: skip
        """A flat disc whose normal is one of the axes (0 = x, 1 = y, 2 = z)."""
        angles = np.arange(sides) * 2 * np.pi / sides
        ring = np.zeros((sides, 3))
        ring[:, (axis + 1) % 3] = radius * np.cos(angles)
        ring[:, (axis + 2) % 3] = radius * np.sin(angles)
        ring += center
        fan = [(ring[0], ring[i], ring[i + 1]) for i in range(1, sides - 1)]
        return self.add(np.array(fan), rgb, material, paint)

    def done(self) -> Template:
        """The template."""
        return Template(
            np.concatenate(self._triangles), np.array(self._material, np.uint8),
            np.array(self._rgb, np.float32), np.array(self._paint, np.uint8),
            np.concatenate(self._center),
        )  # fmt: skip


def place(
    builder: MeshBuilder,
    template: Template,
    xy: ArrayLike,
    yaw: ArrayLike,
    scale: ArrayLike,
    label: Label,
    first: ArrayLike = (128.0, 128.0, 128.0),
    second: ArrayLike = (128.0, 128.0, 128.0),
    z: ArrayLike = 0.0,
) -> None:
    """Adds copies of a template.

    Args:
        builder: Takes the triangles.
        template: To copy.
        xy: (N, 2) places, m.
        yaw: (N,) headings, rad.
        scale: (N, 3) or (3,) stretch along the template's axes.
        label: Of all triangles.
        first: (N, 3) or (3,) colour of the faces painted FIRST, 0..255.
        second: Likewise of those painted SECOND.
        z: (N,) or one height of the template's origin, m.
    """
    spots = np.asarray(xy, np.float64).reshape(-1, 2)
    n, k = len(spots), len(template.triangles)
    if not n:
        return
    stretch = np.broadcast_to(np.asarray(scale, np.float64), (n, 3))
    c = np.broadcast_to(np.cos(yaw), (n,))
    s = np.broadcast_to(np.sin(yaw), (n,))
    height = np.broadcast_to(np.asarray(z, np.float64), (n,))

    def placed(points: Array) -> Array:
        local = points[None] * stretch.reshape(n, *(1,) * (points.ndim - 1), 3)
        shape = (n, *(1,) * (points.ndim - 1))
        c_, s_ = c.reshape(shape), s.reshape(shape)
        return np.stack(
            [
                c_ * local[..., 0] - s_ * local[..., 1] + spots[:, 0].reshape(shape),
                s_ * local[..., 0] + c_ * local[..., 1] + spots[:, 1].reshape(shape),
                local[..., 2] + height.reshape(shape),
            ],
            axis=-1,
        )

    rgb = np.broadcast_to(template.rgb, (n, k, 3)).copy()
    for paint, colour in ((FIRST, first), (SECOND, second)):
        chosen = template.paint == paint
        if chosen.any():
            own = np.broadcast_to(np.asarray(colour, np.float32), (n, 3))[:, None]
            rgb[:, chosen] = own * template.rgb[chosen] / 100
    builder.add_many(
        placed(template.triangles).reshape(-1, 3, 3),
        np.tile(template.material, n),
        np.clip(rgb, 0, 255).reshape(-1, 3),
        label,
        placed(template.center).reshape(-1, 3),
    )
