# SPDX-License-Identifier: Apache-2.0
"""Rasters as raw material for painting: noise of several scales, samples at lists of places."""

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
