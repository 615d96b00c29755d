# SPDX-License-Identifier: Apache-2.0
"""A piece of a raster on the ground, at another scale and turned."""

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.lookup import SHRINK

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GridCut:
    """Where each pixel of the piece lies in the raster; `read` reads it with OpenCV.

    Attributes:
        factor: So many pixels along each side become one first; what is left over of the last
            ones is dropped.
        affine: (2, 3) pixel (u, v, 1) of the piece -> pixel (u, v) of the shrunken raster.
        size: (width, height) px of the piece.
    """

    factor: int
    affine: Array
    size: tuple[int, int]

    def read(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The piece (height, width, C), black where nothing is known; and where something is.

        Args:
            image: (H, W, C) of the raster.
            mask: (H, W), where it has content.
        """
        if self.factor > 1:
            n = self.factor
            height, width = mask.shape[0] // n, mask.shape[1] // n
            box = (slice(0, height * n), slice(0, width * n))
            whole = np.ascontiguousarray(image[box])
            image = cv2.resize(  # type: ignore[assignment]
                whole, (width, height), interpolation=cv2.INTER_AREA
            )
            # A shrunken pixel counts as known if all that it mixes is.
            mask = np.asarray(mask[box].reshape(height, n, width, n).all(axis=(1, 3)))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = cv2.warpAffine(
            image, self.affine, self.size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        seen = cv2.warpAffine(mask.astype(np.uint8) * 255, self.affine, self.size, flags=flags)
        known = seen >= 128
        out[~known] = 0
        return out, known  # type: ignore[return-value]


def cut_of(
    grid: Grid, center_xy: tuple[float, float], turn: float, gsd: float, size: tuple[int, int]
) -> GridCut | None:
    """How to cut a piece out of a raster.

    Args:
        grid: Of the raster.
        center_xy: (x, y) of the piece's middle, m.
        turn: Direction of the piece's right-hand side, rad counter-clockwise of the raster's.
        gsd: m/px wanted.
        size: (width, height) px wanted.

    Returns:
        The cut; None if the raster itself is what is wanted.
    """
    if turn == 0.0 and Grid(center_xy, gsd, *size) == grid:
        return None
    factor = 1
    if gsd / grid.gsd > SHRINK:
        # Whole factors keep pixel borders, and with them the grid's middle, where they were.
        factor = max(int(gsd / grid.gsd), 2)
        width, height = grid.width // factor, grid.height // factor
        corner = grid.xy_from_uv(((width * factor - 1) / 2, (height * factor - 1) / 2))
        grid = Grid((float(corner[0]), float(corner[1])), grid.gsd * factor, width, height)
    # Three corners of the wanted piece, in pixels of the raster.
    corners = np.array([[0.0, 0.0], [size[0] - 1.0, 0.0], [0.0, size[1] - 1.0]])
    local = (corners - [(size[0] - 1) / 2, (size[1] - 1) / 2]) * [gsd, -gsd]
    c, s = math.cos(turn), math.sin(turn)
    world = local @ np.array([[c, s], [-s, c]]) + center_xy
    affine = cv2.getAffineTransform(
        corners.astype(np.float32), grid.uv_from_xy(world).astype(np.float32)
    )
    return GridCut(factor, np.asarray(affine), size)
