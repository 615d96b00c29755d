# SPDX-License-Identifier: Apache-2.0
"""Drawing on an aerial patch in its own frame: heat, masks, poses, ellipses."""

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.visualization.ink import BACKGROUND, heat_colours, put_text, Rgb, TEXT
from geoloc_core.visualization.overlay import ellipse

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

TRUTH: Rgb = (60, 230, 90)
ANSWER: Rgb = (86, 200, 255)
PRIOR: Rgb = (255, 190, 0)
MASK: Rgb = (255, 90, 200)
_BITS = 4
_MOST_HEAT = 0.6


@dataclass(frozen=True)
class Canvas:
    """A square-pixel picture of the ground that is drawn on.

    Convention: metres are counted from its middle, x to the right, y up (the patch's frame).

    Attributes:
        image: (H, W, 3) uint8 RGB; changed by drawing.
        gsd: m/px.
    """

    image: Image
    gsd: float

    @classmethod
    def of(cls, patch: Image, gsd: float, width: int) -> 'Canvas':
        """A patch (h, w, 3) shown `width` pixels wide."""
        height = round(width * patch.shape[0] / patch.shape[1])
        method = cv2.INTER_AREA if width < patch.shape[1] else cv2.INTER_CUBIC
        image = cv2.resize(np.ascontiguousarray(patch), (width, height), interpolation=method)
        return cls(image, gsd * patch.shape[1] / width)

    def pixels(self, xy: Array) -> Array:
        """(..., 2) pixels of metres (..., 2)."""
        height, width = self.image.shape[:2]
        xy = np.asarray(xy, dtype=np.float64)
        u = xy[..., 0] / self.gsd + (width - 1) / 2
        v = (height - 1) / 2 - xy[..., 1] / self.gsd
        return np.stack([u, v], axis=-1)

    def line(self, xy: Array, colour: Rgb, *, closed: bool = False, width: int = 2) -> None:
        """A polyline of metric points (N, 2) with a dark rim that shows on any ground."""
        uv = self.pixels(xy)
        if not np.isfinite(uv).all():
            return
        # cv2 wants int32; far outside only the direction of a line matters.
        points = np.round(np.clip(uv, -1e5, 1e5) * (1 << _BITS)).astype(np.int32)[:, None]
        for ink, thick in ((BACKGROUND, width + 2), (colour, width)):
            cv2.polylines(self.image, [points], closed, ink, thick, cv2.LINE_AA, _BITS)

    def pose(self, xy: Array, heading: float, colour: Rgb) -> None:
        """A dot with an arrow; `heading` rad, 0 = to the right, counter-clockwise."""
        ahead = np.array([math.cos(heading), math.sin(heading)])
        left = np.array([-ahead[1], ahead[0]])
        length = 0.1 * self.image.shape[1] * self.gsd
        tip = np.asarray(xy) + length * ahead
        self.line(np.stack([xy, tip]), colour)
        wings = [tip - 0.3 * length * (ahead + side * left) for side in (0.6, -0.6)]
        self.line(np.stack([wings[0], tip, wings[1]]), colour)
        self.spot(xy, colour)

    def spot(self, xy: Array, colour: Rgb, radius: int = 4) -> None:
        """A dot."""
        uv = self.pixels(xy)
        if np.isfinite(uv).all():
            u, v = np.clip(np.round(uv), -1e5, 1e5).astype(int).tolist()
            cv2.circle(self.image, (u, v), radius + 1, BACKGROUND, -1, cv2.LINE_AA)
            cv2.circle(self.image, (u, v), radius, colour, -1, cv2.LINE_AA)

    def cross(self, xy: Array, colour: Rgb) -> None:
        """A small upright cross."""
        arm = 6 * self.gsd
        x, y = float(xy[0]), float(xy[1])
        self.line(np.array([[x - arm, y], [x + arm, y]]), colour, width=1)
        self.line(np.array([[x, y - arm], [x, y + arm]]), colour, width=1)

    def ellipse(self, xy: Array, cov: Array, colour: Rgb) -> None:
        """The ellipse that holds 95 % of a Gaussian with covariance (2, 2), m^2."""
        if np.isfinite(cov).all():
            self.line(ellipse(np.asarray(xy), cov), colour, closed=True, width=1)

    def heat(self, probability: NDArray, cell_m: float) -> None:
        """Lays a map (h, w) of cells around the middle over the picture, however it is scaled."""
        probability = np.nan_to_num(probability).astype(np.float32)
        peak = float(probability.max(initial=0.0))
        if not peak > 0:
            return
        level = self._spread(probability / peak, cell_m)
        # The root keeps second places visible beside a sharp peak.
        level = np.sqrt(np.clip(level, 0, 1))
        alpha = (np.minimum(1.5 * level, 1.0) * _MOST_HEAT)[..., None]
        mixed = alpha * heat_colours(level) + (1 - alpha) * self.image
        self.image[:] = np.round(mixed).astype(np.uint8)

    def mask(self, classes: NDArray, colour: Rgb = MASK) -> None:
        """Tints where a mask (h, w), as wide as the picture's ground, is not 0."""
        size = (self.image.shape[1], self.image.shape[0])
        known = cv2.resize((classes > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        tinted = 0.6 * self.image + 0.4 * np.array(colour)
        self.image[known > 0] = np.round(tinted).astype(np.uint8)[known > 0]
        outlines, _ = cv2.findContours(known, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(self.image, outlines, -1, colour, 1, cv2.LINE_AA)

    def scale_bar(self) -> None:
        """A bar of a round length at the lower left."""
        longest = 0.3 * self.image.shape[1] * self.gsd
        decade = 10.0 ** math.floor(math.log10(longest))
        length = max(step * decade for step in (1, 2, 5) if step * decade <= longest)
        bottom, pixels = self.image.shape[0] - 12, round(length / self.gsd)
        cv2.line(self.image, (12, bottom), (12 + pixels, bottom), BACKGROUND, 4)
        cv2.line(self.image, (12, bottom), (12 + pixels, bottom), TEXT, 2)
        put_text(self.image, f'{length:g} m', (12, bottom - 6), TEXT, 0.42, rim=True)

    def _spread(self, values: NDArray[np.float32], cell_m: float) -> NDArray[np.float32]:
        """Cells around the middle -> this picture's pixels; 0 beyond them."""
        height, width = self.image.shape[:2]
        rows, columns = values.shape
        ratio = self.gsd / cell_m
        affine = np.array(
            [
                [ratio, 0.0, (columns - 1) / 2 - ratio * (width - 1) / 2],
                [0.0, ratio, (rows - 1) / 2 - ratio * (height - 1) / 2],
            ]
        )
        if ratio > 1:
            # Several cells a pixel: their largest counts, else a sharp peak could fall between.
            side = 2 * math.ceil(ratio / 2) + 1
            values = cv2.dilate(values, np.ones((side, side), np.uint8))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(values, affine, (width, height), flags=flags, borderValue=0.0)


def titled(image: Image, title: str) -> Image:
    """A picture with a line of words above it."""
    bar = np.full((22, image.shape[1], 3), BACKGROUND, np.uint8)
    put_text(bar, title, (6, 15), TEXT, 0.42)
    return np.concatenate([bar, image])


def row(pictures: list[Image], gap: int = 6) -> Image:
    """Pictures side by side, at their own sizes, tops level."""
    height = max(p.shape[0] for p in pictures)
    parts = []
    for index, picture in enumerate(pictures):
        filled = np.full((height, picture.shape[1], 3), BACKGROUND, np.uint8)
        filled[: picture.shape[0]] = picture
        if index:
            parts.append(np.full((height, gap, 3), BACKGROUND, np.uint8))
        parts.append(filled)
    return np.concatenate(parts, axis=1)


def fitted(image: Image, height: int, most: int = 640) -> Image:
    """A picture brought to a height, and to no more than a width."""
    scale = min(height / image.shape[0], most / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=method)


def hot(image: Image, values: NDArray) -> Image:
    """A picture with a map (h, w) laid over all of it, from its least to its largest value."""
    size = (image.shape[1], image.shape[0])
    values = np.nan_to_num(values).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    level = (values - low) / (high - low if high > low else 1.0)
    level = np.clip(cv2.resize(level, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    alpha = (level * _MOST_HEAT)[..., None]
    return np.round(alpha * heat_colours(level) + (1 - alpha) * image).astype(np.uint8)
