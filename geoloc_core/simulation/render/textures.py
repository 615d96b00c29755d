# SPDX-License-Identifier: Apache-2.0
"""Rasters that are sampled without squares or flicker: bilinear, from the mip level that fits."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

# cv2.remap refuses destinations with a side of 32767 or more: lists are folded to this width.
_FOLD = 1024

Float32 = NDArray[np.float32]


def remap_points(image: NDArray, u: Float32, v: Float32, border: int) -> NDArray:
    """Bilinear samples of an image at a list of places.

    Args:
        image: (H, W) or (H, W, C) uint8 or float32.
        u: (N,) float32, px.
        v: (N,) float32, px.
        border: A cv2 border mode, e.g. `cv2.BORDER_WRAP`.

    Returns:
        (N,) or (N, C) of the image's dtype.
    """
    n = len(u)
    rows = max(1, -(-n // _FOLD))
    folded = np.zeros((2, rows * _FOLD), np.float32)
    folded[0, :n] = u
    folded[1, :n] = v
    shape = (rows, _FOLD)
    out = cv2.remap(
        image, folded[0].reshape(shape), folded[1].reshape(shape), cv2.INTER_LINEAR, None, border
    )
    return out.reshape(rows * _FOLD, *out.shape[2:])[:n]


class MipTexture:
    """An image and its halvings; level k averages 2^k x 2^k texels.

    Convention: integer (u, v) of level 0 is a texel's centre.
    """

    def __init__(self, image: NDArray, border: int = cv2.BORDER_REFLECT, levels: int = 8) -> None:
        """Builds the levels.

        Args:
            image: (H, W) or (H, W, C) uint8; sides divisible by 2^(levels - 1) keep the levels
                exactly aligned.
            border: What lies outside, a cv2 border mode.
            levels: How many levels at most.
        """
        self._border = border
        self._levels = [np.ascontiguousarray(image)]
        while len(self._levels) < levels and min(self._levels[-1].shape[:2]) >= 8:
            last = self._levels[-1]
            half = (last.shape[1] // 2, last.shape[0] // 2)
            self._levels.append(cv2.resize(last, half, interpolation=cv2.INTER_AREA))

    @property
    def levels(self) -> Sequence[NDArray]:
        """The images, finest first."""
        return tuple(self._levels)

    def sample(self, u: Float32, v: Float32, footprint_px: Float32) -> NDArray:
        """Samples each place from the level whose texels are as big as what a pixel sees.

        Args:
            u: (N,) level-0 column.
            v: (N,) level-0 row.
            footprint_px: (N,) size of what the camera pixel covers, level-0 texels.

        Returns:
            (N,) or (N, C) uint8.
        """
        top = len(self._levels) - 1
        level = np.clip(np.rint(np.log2(np.maximum(footprint_px, 1.0))), 0, top).astype(np.uint8)
        out = np.empty((len(u), *self._levels[0].shape[2:]), self._levels[0].dtype)
        for k in np.flatnonzero(np.bincount(level, minlength=top + 1)):
            chosen = np.flatnonzero(level == k)
            scale = np.float32(0.5**k)
            out[chosen] = remap_points(
                self._levels[k],
                (u[chosen] + np.float32(0.5)) * scale - np.float32(0.5),
                (v[chosen] + np.float32(0.5)) * scale - np.float32(0.5),
                self._border,
            )
        return out


def fractal_noise(
    rng: np.random.Generator,
    size: int,
    cells: Sequence[int],
    *,
    tileable: bool = False,
    exponent: float = 0.5,
) -> Float32:
    """Smooth noise of several scales, zero mean, unit standard deviation.

    Args:
        rng: Source of randomness.
        size: Side of the square raster, px.
        cells: Cell sizes, px.
        tileable: The raster continues over its own borders.
        exponent: A scale contributes in proportion to its cell size to this power: at 0.5 large
            spots carry more than fine grain, at 0 all scales carry the same.

    Returns:
        (size, size) float32.
    """
    total = np.zeros((size, size), np.float32)
    for cell in cells:
        count = max(2, size // cell)
        grid = rng.standard_normal((count, count)).astype(np.float32)
        if tileable:
            grid = np.pad(grid, 2, mode='wrap')
        scale = size / count
        fine = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        start = (fine.shape[0] - size) // 2
        total += fine[start : start + size, start : start + size] * cell**exponent
    total -= total.mean()
    return total / total.std()
