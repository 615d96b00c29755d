# SPDX-License-Identifier: Apache-2.0
"""Which ground is free, as a raster; and small helpers to place shapes on it."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.city.plan import Street
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

_GSD = 0.25


@dataclass(frozen=True)
class Frame:
    """A right-handed frame on the ground: `along` and, to its left, `away`."""

    origin: Array
    along: Array

    @property
    def away(self) -> Array:
        """Unit vector (2,) to the left of `along`."""
        return np.array([-self.along[1], self.along[0]])

    @property
    def yaw(self) -> float:
        """Heading of `along`, rad."""
        return float(np.arctan2(self.along[1], self.along[0]))

    def place(self, points: ArrayLike) -> Array:
        """Points (N, 2) of the frame in the map frame."""
        local = np.asarray(points, np.float64).reshape(-1, 2)
        return self.origin + local[:, :1] * self.along + local[:, 1:] * self.away

    def box(self, u: float, v: float, length: float, depth: float) -> Array:
        """Corners (4, 2), counter-clockwise, of the box [u, u + length] x [v, v + depth]."""
        return self.place([(u, v), (u + length, v), (u + length, v + depth), (u, v + depth)])

    def at(self, u: float, v: float) -> tuple[float, float]:
        """One point of the frame in the map frame."""
        x, y = self.place([(u, v)])[0]
        return float(x), float(y)


def frontage(street: Street, side: float, s: float, setback: float = 0.0) -> Frame:
    """The frame of a plot at a street: its origin `setback` behind the pavement, facing away.

    Args:
        street: At which the plot lies.
        side: +1 for the left of the street's direction, -1 for the right.
        s: Distance along the street, m.
        setback: Distance from the pavement's outer edge, m.

    Returns:
        The frame; `away` points from the street into the plot.
    """
    xy, along = street.line.at(s)
    frame = Frame(xy, along * side)
    return Frame(xy + frame.away * (street.reach + setback), frame.along)


def rectangle(center: ArrayLike, yaw: float, length: float, width: float) -> Array:
    """Corners (4, 2), counter-clockwise, of a rectangle whose length runs along `yaw`."""
    frame = Frame(np.asarray(center, np.float64), np.array([np.cos(yaw), np.sin(yaw)]))
    return frame.box(-length / 2, -width / 2, length, width)


def shrunk(polygon: Array, by: float) -> Array:
    """A polygon whose corners moved towards its middle by about `by` metres each."""
    away = polygon - polygon.mean(axis=0)
    reach = np.linalg.norm(away, axis=1, keepdims=True)
    return polygon - away * np.minimum(1.0, by * 1.4 / np.maximum(reach, 1e-9))


def area_of(polygon: Array) -> float:
    """Signed area of a polygon (N, 2), m^2; positive if counter-clockwise."""
    x, y = polygon.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@lru_cache(maxsize=64)
def _disc(radius_px: int) -> NDArray[np.uint8]:
    """A mask (2 r + 1, 2 r + 1) of a disc, without the outermost ring of half pixels."""
    steps = np.arange(-radius_px, radius_px + 1)
    return (np.hypot(*np.meshgrid(steps, steps)) < radius_px + 0.2).astype(np.uint8)


class Room:
    """A raster of what is taken."""

    def __init__(self, half_extent: float) -> None:
        """All free.

        Args:
            half_extent: The square covers [-half_extent, half_extent] in x and y, m.
        """
        self.half = half_extent
        side = round(2 * half_extent / _GSD)
        self.taken = np.zeros((side, side), np.uint8)

    def px(self, points: Array) -> NDArray[np.int32]:
        """Pixels (N, 2) of points, with four fractional bits."""
        uv = points * (16 / _GSD, -16 / _GSD) + (16 * self.half / _GSD - 8)
        return np.rint(uv).astype(np.int32)

    def take_line(self, points: Array, width: float) -> None:
        """Takes a strip around a line."""
        thickness = max(1, round(width / _GSD))
        cv2.polylines(self.taken, [self.px(points)], False, 1, thickness, shift=4)

    def take(self, polygon: Array) -> None:
        """Takes a polygon."""
        cv2.fillPoly(self.taken, [self.px(polygon)], 1, shift=4)

    def take_street(self, street: Street) -> None:
        """Takes a street with its pavements."""
        self.take_line(street.line.points, 2 * street.reach)

    def is_free(self, polygon: Array) -> bool:
        """Whether a polygon lies within the square and on free ground only."""
        if np.abs(polygon).max() > self.half - 1:
            return False
        px = self.px(polygon) // 16
        low, high = px.min(axis=0) - 1, px.max(axis=0) + 2
        window = self.taken[max(0, low[1]) : high[1], max(0, low[0]) : high[0]]
        mask = np.zeros_like(window)
        cv2.fillPoly(mask, [px - np.maximum(low, 0)], 1)
        return not bool((window & mask).any())

    def is_point_free(self, xy: Array | tuple[float, float], radius: float) -> bool:
        """Whether a disc is free."""
        x, y = float(xy[0]), float(xy[1])
        if max(abs(x), abs(y)) + radius > self.half - 1:
            return False
        u, v = int((x + self.half) / _GSD), int((self.half - y) / _GSD)
        disc = _disc(ceil(radius / _GSD))
        r = len(disc) // 2
        return not bool((self.taken[v - r : v + r + 1, u - r : u + r + 1] & disc).any())

    def components(self) -> tuple[NDArray[np.int32], list[Array], float]:
        """Connected free ground, such as the blocks between streets.

        Returns:
            Raster of component numbers (0 is taken), outlines (N, 2) counter-clockwise of
            components 1, 2, ..., two metres beyond their border, and the raster's cell, m.
        """
        step = 4
        coarse = (self.taken[::step, ::step] == 0).astype(np.uint8)
        count, labels = cv2.connectedComponents(coarse, connectivity=4)
        outlines = []
        for i in range(1, count):
            # Grown under the pavements around it, so that no gap is left there.
            own = cv2.dilate((labels == i).astype(np.uint8), np.ones((5, 5), np.uint8))
            found, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            contour = cv2.approxPolyDP(max(found, key=len), 0.8, True)[:, 0].astype(np.float64)
            xy = np.stack(
                [(contour[:, 0] * step + 0.5) * _GSD, (contour[:, 1] * step + 0.5) * _GSD], -1
            )
            xy = np.stack([xy[:, 0] - self.half, self.half - xy[:, 1]], axis=-1)
            outlines.append(xy if area_of(xy) > 0 else xy[::-1])
        return labels.astype(np.int32), outlines, step * _GSD


def smoothed(outline: Array, spacing: float = 3.0, rounds: int = 2) -> Array:
    """A closed outline with its corners cut round."""
    closed = Polyline(np.concatenate([outline, outline[:1]])).resampled(spacing).points[:-1]
    for _ in range(rounds):
        closed = (np.roll(closed, 1, axis=0) + 2 * closed + np.roll(closed, -1, axis=0)) / 4
    return closed


def inside(outline: Array, xy: ArrayLike) -> bool:
    """Whether a place (2,) lies in a polygon (N, 2)."""
    x, y = np.asarray(xy, np.float64)
    polygon = outline.astype(np.float32)[:, None]
    return bool(cv2.pointPolygonTest(polygon, (float(x), float(y)), False) > 0)
