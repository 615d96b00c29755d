# SPDX-License-Identifier: Apache-2.0
"""A canvas of colours and a canvas of classes, both addressed in metres."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.polyline import Polyline
from geoloc_core.simulation.render.labels import Label

Array = NDArray[np.float64]
Color = tuple[float, float, float]

GRASS_RGB = (96, 112, 66)
# Fractions of a pixel that cv2 draws with.
_SHIFT = 4


class Painter:
    """Paints colours, smooth at their edges, and classes, hard at theirs."""

    def __init__(self, half_extent: float, gsd: float) -> None:
        """Everything is a meadow.

        Args:
            half_extent: The canvas covers [-half_extent, half_extent] in x and y, m.
            gsd: Side of a texel, m.
        """
        side = round(2 * half_extent / gsd)
        self.half = half_extent
        self.gsd = gsd
        self.canvas = np.empty((side, side, 3), np.uint8)
        self.canvas[:] = GRASS_RGB
        self.classes = np.full((side, side), Label.GRASS, np.uint8)

    def _px(self, points: ArrayLike) -> NDArray[np.int32]:
        xy = np.asarray(points, np.float64)
        uv = np.stack([xy[..., 0] + self.half, self.half - xy[..., 1]], axis=-1)
        return np.rint((uv / self.gsd - 0.5) * 2**_SHIFT).astype(np.int32)

    def line(
        self, points: ArrayLike, width: float, colour: Color, label: Label | None = None
    ) -> None:
        """A line of a width with round ends; the class below stays if there is no label."""
        px = [self._px(points)]
        thickness = max(1, round(width / self.gsd))
        cv2.polylines(self.canvas, px, False, colour, thickness, cv2.LINE_AA, _SHIFT)
        if label is not None:
            cv2.polylines(self.classes, px, False, int(label), thickness, cv2.LINE_8, _SHIFT)

    def polygon(self, points: ArrayLike, colour: Color, label: Label | None = None) -> None:
        """A filled polygon (N, 2)."""
        self.polygons([points], colour, label)

    def polygons(
        self, shapes: Sequence[ArrayLike], colour: Color, label: Label | None = None
    ) -> None:
        """Filled polygons that do not overlap one another."""
        if not len(shapes):
            return
        px = [self._px(points) for points in shapes]
        cv2.fillPoly(self.canvas, px, colour, cv2.LINE_AA, _SHIFT)
        if label is not None:
            cv2.fillPoly(self.classes, px, int(label), cv2.LINE_8, _SHIFT)

    def disc(
        self, center: ArrayLike, radius: float, colour: Color, label: Label | None = None
    ) -> None:
        """A filled disc."""
        px = self._px(center).tolist()
        r = round(radius / self.gsd * 2**_SHIFT)
        cv2.circle(self.canvas, px, r, colour, -1, cv2.LINE_AA, _SHIFT)
        if label is not None:
            cv2.circle(self.classes, px, r, int(label), -1, cv2.LINE_8, _SHIFT)

    def colour_at(self, point: Array) -> Array:
        """The colour (3,) painted at a point so far."""
        u, v = np.clip(self._px(point) >> _SHIFT, 0, len(self.canvas) - 1)
        return self.canvas[v, u].astype(np.float64)


def ribbon(line: Polyline, width: float, offset: float = 0.0) -> Array:
    """Outline (N, 2) of a strip along a line, its middle `offset` m to the left of it."""
    left, right = line.offset(offset + width / 2), line.offset(offset - width / 2)
    return np.concatenate([left.points, right.points[::-1]])


def oriented(center: Array, along: Array, length: float, width: float) -> Array:
    """Corners (4, 2) of a rectangle whose length runs along a unit vector."""
    across = np.array([-along[1], along[0]])
    a, b = along * length / 2, across * width / 2
    return np.array([center - a - b, center + a - b, center + a + b, center - a + b])


def grey(value: float, warmth: float = 0.0) -> Color:
    """A grey, a little warmer (towards red) or cooler."""
    return value * (1 + warmth), value, value * (1 - warmth)


def hatch(outline: Array, angle: float, spacing: float) -> list[Array]:
    """Parallel lines within a polygon.

    Args:
        outline: (N, 2).
        angle: Their heading, rad.
        spacing: Between them, m.

    Returns:
        Segments (2, 2).
    """
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    u, v = outline @ along, outline @ across
    segments = []
    for level in np.arange(np.ceil(v.min() / spacing), v.max() / spacing) * spacing:
        following = np.roll(v, -1)
        cut = (v > level) != (following > level)
        t = (level - v[cut]) / (following[cut] - v[cut])
        places = np.sort(u[cut] + t * (np.roll(u, -1)[cut] - u[cut]))
        for start, end in zip(places[::2], places[1::2], strict=False):
            segments.append(np.array([start * along, end * along]) + level * across)
    return segments
