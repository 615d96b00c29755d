# SPDX-License-Identifier: Apache-2.0
"""Weighted, masked, normalised cross-correlation of a turned template over a map, by DFT.

The score of a shift s is the weighted correlation coefficient about zero

    rho(s) = sum_t w(t) <T(t), I(t+s)>
             / sqrt( sum_t w(t) |T(t)|^2 m(t+s) * sum_t w(t) |I(t+s)|^2 )

with template T, its weight w, map I and its mask m (Padfield, "Masked object registration in the
Fourier domain", IEEE TIP 2012, eq. 8-12, with weights for one of the masks and channels that have
no mean to remove). Every sum over t is a correlation: a whole window of shifts costs a few DFTs.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]  # float32; Any because OpenCV's stubs promise no element type


@dataclass(frozen=True)
class Template:
    """What is looked for, in its own metric frame.

    Attributes:
        features: (H, W, C) float32 channels, gradients in the last two (x then y).
        weight: (H, W) float32, 0 where the template says nothing.
        anchor_uv: (u, v) of the reference point (base_link) in pixels; may lie outside.
    """

    features: Image
    weight: Image
    anchor_uv: tuple[float, float]


@dataclass(frozen=True)
class TurnedTemplate:
    """A template turned by a yaw, on the map's lattice.

    Attributes:
        weighted: (C, h, w) weight times features.
        weight: (h, w).
        energy: (h, w) weight times squared features.
        offset: (columns, rows) from the reference point to pixel (0, 0).
    """

    weighted: tuple[Image, ...]
    weight: Image
    energy: Image
    offset: tuple[int, int]


def turned_bounds(template: Template, yaw: float) -> tuple[int, int, int, int]:
    """Extent of the turned template about its reference point, px.

    Convention: yaw counter-clockwise as seen with v down.

    Returns:
        (u_min, v_min, u_max, v_max), whole pixels that contain every weighted pixel.
    """
    rows = np.flatnonzero(template.weight.any(axis=1))
    columns = np.flatnonzero(template.weight.any(axis=0))
    corners = np.array(
        [(u, v) for u in (columns[0], columns[-1]) for v in (rows[0], rows[-1])], dtype=np.float64
    ) - np.asarray(template.anchor_uv)
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned = corners @ np.array([[cos, -sin], [sin, cos]])
    low, high = np.floor(turned.min(axis=0)) - 1, np.ceil(turned.max(axis=0)) + 1
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def turn(template: Template, yaw: float) -> TurnedTemplate:
    """Turns a template counter-clockwise about its reference point.

    The gradient channels are vectors on the ground, so they turn with it.

    Args:
        template: What is looked for.
        yaw: Angle, rad.

    Returns:
        The template on the map's lattice, its reference point on a whole pixel.
    """
    u_min, v_min, u_max, v_max = turned_bounds(template, yaw)
    cos, sin = float(np.cos(yaw)), float(np.sin(yaw))
    u0, v0 = template.anchor_uv
    # Maps destination pixels back to the template: rotate by -yaw about the reference point
    # (v points down, hence the signs).
    inverse = np.array(
        [
            [cos, -sin, u0 + cos * u_min - sin * v_min],
            [sin, cos, v0 + sin * u_min + cos * v_min],
        ]
    )
    size = (u_max - u_min + 1, v_max - v_min + 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    stacked = np.dstack([template.features * template.weight[..., None], template.weight])
    turned = cv2.warpAffine(stacked, inverse, size, flags=flags)
    contrast, along_x, along_y, weight = cv2.split(turned)
    weighted = (contrast, cos * along_x - sin * along_y, sin * along_x + cos * along_y)
    squares = weighted[0] ** 2 + weighted[1] ** 2 + weighted[2] ** 2
    energy = squares / np.maximum(weight, np.float32(1e-6))
    return TurnedTemplate(weighted, weight, energy, (u_min, v_min))


class CorrelationWindow:
    """A piece of map, transformed once, over which templates of many yaws are scored."""

    def __init__(self, features: Image, mask: NDArray[np.bool_]) -> None:
        """Transforms the map's channels.

        Args:
            features: (H, W, C) float32 map channels, 0 outside the mask.
            mask: (H, W) bool.
        """
        height, width = mask.shape
        self._size = (cv2.getOptimalDFTSize(height), cv2.getOptimalDFTSize(width))
        self._shape = (height, width)
        self._channels = [self._dft(channel) for channel in cv2.split(features)]
        self._energy = self._dft(np.einsum('hwc,hwc->hw', features, features))
        self._full = bool(mask.all())
        self._mask = None if self._full else self._dft(mask.astype(np.float32))

    def _dft(self, image: Image) -> Image:
        padded = np.zeros(self._size, np.float32)
        padded[: image.shape[0], : image.shape[1]] = image
        return cv2.dft(padded, nonzeroRows=image.shape[0])

    def scores(
        self, template: TurnedTemplate, first: tuple[int, int], count: tuple[int, int]
    ) -> tuple[Image, Image]:
        """Scores of a window of shifts.

        Args:
            template: What is looked for, at one yaw.
            first: (u, v) map pixel of the first reference point.
            count: (columns, rows) of reference points.

        Returns:
            ((rows, columns) scores in [-1, 1], (rows, columns) fraction of the template's weight
            that the map covers there).

        Raises:
            ValueError: The window of shifts reaches outside the map piece.
        """
        u, v = first[0] + template.offset[0], first[1] + template.offset[1]
        height, width = template.weight.shape
        if (
            min(u, v) < 0
            or u + count[0] - 1 + width > self._shape[1]
            or v + count[1] - 1 + height > self._shape[0]
        ):
            raise ValueError(f'a {width} x {height} template at ({u}, {v}) leaves the map piece')
        window = (slice(v, v + count[1]), slice(u, u + count[0]))
        product: Image = np.zeros(self._size, np.float32)
        for channel, spectrum in zip(template.weighted, self._channels, strict=True):
            product += cv2.mulSpectrums(spectrum, self._dft(channel), 0, conjB=True)
        dot = self._back(product)[window]
        weight = self._dft(template.weight)
        there = self._back(cv2.mulSpectrums(self._energy, weight, 0, conjB=True))[window]
        total = float(template.weight.sum())
        if self._mask is None:
            covered = np.ones_like(dot)
            own = np.full_like(dot, template.energy.sum())
        else:
            covered = self._back(cv2.mulSpectrums(self._mask, weight, 0, conjB=True))[window]
            covered = np.clip(covered / max(total, 1e-9), 0.0, 1.0)
            energy = self._dft(template.energy)
            own = self._back(cv2.mulSpectrums(self._mask, energy, 0, conjB=True))[window]
        # A floor keeps rounding of the DFT from becoming structure where there is none.
        floor = 1e-6 * max(total, 1e-9)
        scale = np.sqrt(np.maximum(own, floor) * np.maximum(there, floor))
        return np.clip(dot / scale, -1.0, 1.0), covered

    def _back(self, spectrum: Image) -> Image:
        return cv2.dft(spectrum, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
