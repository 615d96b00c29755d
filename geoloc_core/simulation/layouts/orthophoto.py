# SPDX-License-Identifier: Apache-2.0
"""One big aerial picture, and the pieces that data sets cut out of it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import tiles
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.geometry.grid import Grid

Array = NDArray[np.float64]

# Pixels much finer than what is cut out would flicker; much coarser ones would look soft.
_MAX_SCALE = 1.6


@dataclass(frozen=True)
class Orthophoto:
    """An aerial picture in a map frame; pieces are cut out of it with sub-pixel accuracy.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        grid: Its place in the map frame.
        frame: The map frame.
        attribution: Who must be named where it is shown; '' if nobody.
        mask: (H, W) uint8, 255 where the picture shows what is asked for and 0 elsewhere; or None.
    """

    image: NDArray[np.uint8]
    grid: Grid
    frame: EnuFrame
    attribution: str = ''
    mask: NDArray[np.uint8] | None = None

    def crop(self, grid: Grid) -> NDArray[np.uint8]:
        """A piece, north-up in the map frame.

        Args:
            grid: The raster to fill.

        Returns:
            (grid.height, grid.width, 3) uint8 RGB.

        Raises:
            ConfigError: It reaches outside the picture, or its pixels are far larger.
        """
        corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        corners *= [grid.width - 1, grid.height - 1]
        back = self._back(corners, grid.xy_from_uv(corners))
        return _warped(self.image, back, (grid.width, grid.height))

    def mercator(self, lat: float, lon: float, zoom: float, side_px: int) -> NDArray[np.uint8]:
        """A piece as tile servers and static maps give it: pixels of Web Mercator.

        Convention: the place lies in the picture's middle, at the common corner of its four
        middle pixels. At zoom z a pixel is 1/256 of a tile; a map '@2x' has the pixels of z + 1.

        Args:
            lat: Degrees.
            lon: Degrees.
            zoom: Web-Mercator zoom.
            side_px: Side of the picture, even.

        Returns:
            (side_px, side_px, 3) uint8 RGB.

        Raises:
            ConfigError: As for `crop`.
        """
        return _warped(self.image, self._mercator(lat, lon, zoom, side_px), (side_px, side_px))

    def mercator_mask(
        self, lat: float, lon: float, zoom: float, side_px: int
    ) -> NDArray[np.uint8]:
        """The mask of a piece, pixel by pixel that of `mercator` with the same arguments.

        It lies on the picture, as if somebody had marked the picture itself: where that was
        registered with an error, the mask has the same one.

        Returns:
            (side_px, side_px) uint8: 255 where more than half of a pixel is marked, else 0.

        Raises:
            ConfigError: As for `crop`, or the picture has no mask.
        """
        if self.mask is None:
            raise ConfigError(
                f'the aerial picture {self.grid} has no mask: render it with labels, and give '
                'Orthophoto where those wanted are'
            )
        back = self._mercator(lat, lon, zoom, side_px)
        share = _warped(self.mask, back, (side_px, side_px))
        return np.where(share >= 128, 255, 0).astype(np.uint8)

    def _mercator(self, lat: float, lon: float, zoom: float, side_px: int) -> Array:
        """(2, 3) pixels of a piece of Web Mercator -> those of the picture."""
        x, y = tiles.pixel_from_lonlat(lon, lat, zoom)
        corners = np.array([[0.0, 0.0], [side_px - 1, 0.0], [0.0, side_px - 1]])
        # Mercator's pixels are counted at their edges, a picture's at their centres.
        world = corners + 0.5 - side_px / 2 + [float(x), float(y)]
        lon_c, lat_c = tiles.lonlat_from_pixel(world[:, 0], world[:, 1], zoom)
        xy = self.frame.enu_from_geodetic(lat_c, lon_c, self.frame.datum.alt_m)[:, :2]
        return self._back(corners, xy)

    def _back(self, uv: Array, xy: Array) -> Array:
        """(2, 3) pixels of a piece -> those of the picture; `uv` (3, 2) lie at `xy` (3, 2)."""
        source = self.grid.uv_from_xy(xy)
        fourth = source[1] + source[2] - source[0]
        ends = np.vstack([source, fourth])
        limit = np.array([self.grid.width, self.grid.height]) - 0.5
        if (ends < -0.5 - 1e-6).any() or (ends > limit + 1e-6).any():
            low, high = xy.min(axis=0), xy.max(axis=0)
            raise ConfigError(
                f'the aerial picture {self.grid} does not cover x {low[0]:.1f}..{high[0]:.1f} m, '
                f'y {low[1]:.1f}..{high[1]:.1f} m: render it larger, or stay away from its edge'
            )
        scale = np.abs(source[1, 0] - source[0, 0]) / max(1.0, uv[1, 0] - uv[0, 0])
        if scale > _MAX_SCALE:
            raise ConfigError(
                f'pixels {scale:.1f} times as large as those of the aerial picture '
                f'({self.grid.gsd:g} m) would flicker: render it coarser'
            )
        # In float64: cv2.getAffineTransform rounds its points to float32.
        back = np.linalg.solve(np.column_stack([uv, np.ones(3)]), source).T
        return np.asarray(back, np.float64)


def _warped(image: NDArray[np.uint8], back: Array, size: tuple[int, int]) -> NDArray[np.uint8]:
    piece = cv2.warpAffine(
        image,
        back,
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return piece.astype(np.uint8, copy=False)
