# SPDX-License-Identifier: Apache-2.0
"""Draws indoor things in axes of their own: along a wall, away from it, and up."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.mesh import MeshBuilder
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material

Array = NDArray[np.float64]
Rgb = tuple[float, float, float]
Image = NDArray[np.uint8]


class Drawing:
    """A place in a room with axes x (along), y (away from the wall) and z (up).

    Everything is added to one `MeshBuilder`, with the label `INTERIOR`.
    """

    def __init__(self, builder: MeshBuilder, origin: ArrayLike, along: ArrayLike) -> None:
        """Puts the axes somewhere.

        Args:
            builder: Gathers the triangles.
            origin: (3,) m, map frame.
            along: (2,) unit direction of x in the map; y is a quarter turn to its left.
        """
        a = np.asarray(along, np.float64)
        self._builder = builder
        self._origin = np.asarray(origin, np.float64)
        self._axes = np.array([[a[0], a[1], 0.0], [-a[1], a[0], 0.0], [0.0, 0.0, 1.0]])
        self._along = a

    def world(self, points: ArrayLike) -> Array:
        """Points (N, 3) of these axes in the map frame."""
        return np.asarray(self._origin + np.asarray(points, np.float64) @ self._axes)

    def moved(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> 'Drawing':
        """Axes that begin elsewhere, turned about the vertical by `yaw` rad."""
        c, s = np.cos(yaw), np.sin(yaw)
        along = self._along @ np.array([[c, s], [-s, c]])
        return Drawing(self._builder, self.world([(x, y, z)])[0], along)

    def quad(
        self, corner: ArrayLike, u: ArrayLike, v: ArrayLike, rgb: Rgb,
        material: Material = Material.PLAIN,
    ) -> None:  # fmt: skip
        """A parallelogram from a corner (3,) along u (3,) and v (3,)."""
        c, e, f = (np.asarray(k, np.float64) for k in (corner, u, v))
        p = self.world([c, c + e, c + e + f, c + f])
        axis = (self._along[0], self._along[1], 0.0)
        triangles = np.array([[p[0], p[1], p[2]], [p[0], p[2], p[3]]])
        self._builder.add(triangles, material, rgb, wall_axis=axis, label=Label.INTERIOR)

    def box(
        self, low: ArrayLike, high: ArrayLike, rgb: Rgb, material: Material = Material.PLAIN
    ) -> None:
        """A box between two corners (3,)."""
        (x, y, z), (w, d, h) = np.asarray(low, float), np.subtract(high, low)
        side = tuple(0.93 * c for c in rgb)
        self.quad((x, y, z), (w, 0, 0), (0, 0, h), rgb, material)
        self.quad((x, y + d, z), (w, 0, 0), (0, 0, h), rgb, material)
        self.quad((x, y, z), (0, d, 0), (0, 0, h), (side[0], side[1], side[2]), material)
        self.quad((x + w, y, z), (0, d, 0), (0, 0, h), (side[0], side[1], side[2]), material)
        self.quad((x, y, z), (w, 0, 0), (0, d, 0), rgb, material)
        self.quad((x, y, z + h), (w, 0, 0), (0, d, 0), rgb, material)

    def image(self, corner: ArrayLike, u: ArrayLike, v: ArrayLike, pixels: Image) -> None:
        """A picture of (H, W, 3) uint8 pixels; its lower left is at the corner, v leads up."""
        height, width = pixels.shape[:2]
        c, e, f = (np.asarray(k, np.float64) for k in (corner, u, v))
        # One rectangle for each run of equal pixels in a row.
        for row in range(height):
            line = pixels[height - 1 - row]
            change = np.flatnonzero((line[1:] != line[:-1]).any(axis=1)) + 1
            edges = [0, *change.tolist(), width]
            for start, end in pairwise(edges):
                r, g, b = (float(value) for value in line[start])
                place = c + e * (start / width) + f * (row / height)
                self.quad(place, e * ((end - start) / width), f / height, (r, g, b))


def colour(rng: np.random.Generator, low: float = 40, high: float = 235) -> Rgb:
    """Any colour, most of them muted."""
    rgb = rng.uniform(low, high, 3)
    r, g, b = rgb + (rgb.mean() - rgb) * rng.beta(4, 2)
    return float(r), float(g), float(b)


def wood(rng: np.random.Generator) -> Rgb:
    """A colour of furniture: pine, oak, walnut or white paint."""
    base = np.array(
        ((214, 176, 124), (178, 132, 82), (112, 76, 50), (226, 224, 218))[rng.integers(4)]
    )
    r, g, b = base * rng.uniform(0.9, 1.08)
    return float(r), float(g), float(b)


def poster(rng: np.random.Generator, height: int = 20, width: int = 16) -> Image:
    """A picture that is like no other: shapes, lines and lines of text."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = colour(rng, 30, 240)
    for _ in range(int(rng.integers(4, 9))):
        shade = colour(rng, 0, 255)
        x, y = (int(rng.integers(0, n)) for n in (width, height))
        p, q = (int(rng.integers(0, n)) for n in (width, height))
        kind = int(rng.integers(3))
        if kind == 0:
            cv2.rectangle(image, (min(x, p), min(y, q)), (max(x, p), max(y, q)), shade, -1)
        elif kind == 1:
            cv2.circle(image, (x, y), int(rng.integers(2, max(3, width // 3))), shade, -1)
        else:
            cv2.line(image, (x, y), (p, q), shade, 1)
    for row in range(2, height, int(rng.integers(3, 7))):
        image[row, 1 : width - 1][rng.random(width - 2) < 0.55] = colour(rng, 0, 255)
    spots = rng.random((height, width)) < 0.18
    image[spots] = np.clip(image[spots] * rng.uniform(0.6, 1.4, (spots.sum(), 1)), 0, 255)
    return image


def weave(rng: np.random.Generator, height: int, width: int) -> Image:
    """A pattern of cloth: checks or stripes of a few colours, with some threads changed."""
    colours = np.array([colour(rng, 40, 230) for _ in range(4)])
    i, j = np.mgrid[0:height, 0:width]
    step, other = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    index = (i // step + (j // other if rng.random() < 0.7 else 0)) % 4
    index[rng.random(index.shape) < 0.06] = int(rng.integers(4))
    return np.asarray(colours[index], np.uint8)
