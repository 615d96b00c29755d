# SPDX-License-Identifier: Apache-2.0
"""Pieces of aerial pictures with their place, without resampling."""

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch


def whole_patch(image: NDArray[np.uint8], grid: Grid, attribution: str = '') -> AerialPatch:
    """A whole tile as a patch."""
    return AerialPatch(image, np.ones(image.shape[:2], dtype=bool), grid, attribution)


def crop_patch(
    image: NDArray[np.uint8],
    grid: Grid,
    center_xy: tuple[float, float],
    size_px: tuple[int, int],
    attribution: str = '',
) -> AerialPatch:
    """The piece of a picture around a place, cut at whole pixels so that none is interpolated.

    Args:
        image: (H, W, 3) uint8; may be memory-mapped, only the piece is read.
        grid: Its place.
        center_xy: Wanted middle, m; the piece's middle is within half a pixel of it on each axis.
        size_px: (width, height) of the piece.
        attribution: Who must be named where it is shown.

    Returns:
        The patch; where the picture ends it is black and its mask False.
    """
    width, height = size_px
    u, v = grid.uv_from_xy(center_xy)
    left = round(float(u) - (width - 1) / 2)
    top = round(float(v) - (height - 1) / 2)
    piece = np.zeros((height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), dtype=bool)
    rows = slice(max(top, 0), min(top + height, grid.height))
    columns = slice(max(left, 0), min(left + width, grid.width))
    if rows.start < rows.stop and columns.start < columns.stop:
        inside = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        piece[inside] = image[rows, columns]
        mask[inside] = True
    x, y = grid.xy_from_uv([left + (width - 1) / 2, top + (height - 1) / 2])
    return AerialPatch(
        piece, mask, Grid((float(x), float(y)), grid.gsd, width, height), attribution
    )
