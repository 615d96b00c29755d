# SPDX-License-Identifier: Apache-2.0
"""Cuts north-up patches out of any pyramid: the one way from map pixels to an `AerialPatch`."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.maps.blocks import BlockCache
from geoloc_core.maps.georeference import AffineFit, Array, fit_affine, LonLat
from geoloc_core.maps.pyramid import AbstractPyramid, Mask, Rgb, Window
from geoloc_core.maps.source import AbstractMapSource, MapInfo
from geoloc_core.types import AerialPatch

DEFAULT_BLOCK_M = 1000.0
DEFAULT_MEMORY_MB = 256.0

_EARTH_RADIUS_M = 6_371_000.0

# A part of a patch is cut with one affine map if that is this exact (pixels of the patch);
# otherwise it is halved. Meridians converge: at 60 degrees north one map is 0.02 px off over
# 256 m, 0.3 px over 1 km (at 0.25 m/px, raster in degrees or web mercator).
_MAX_RESIDUAL_PX = 0.05
_MIN_PART_PX = 32
_MAX_PATCH_PX = 16384
# Where four map pixels, all of them imagery, make a pixel of the patch.
_WHOLE = 254


class RasterMapSource(AbstractMapSource):
    """Patches out of a pyramid, with a decoded block kept around the last request."""

    def __init__(
        self,
        pyramid: AbstractPyramid,
        block_m: float = DEFAULT_BLOCK_M,
        memory_mb: float = DEFAULT_MEMORY_MB,
    ) -> None:
        """Takes ownership of the pyramid.

        Args:
            pyramid: The raster; closed together with this source.
            block_m: Side of the block kept decoded around the robot, m; 0 keeps none ahead.
            memory_mb: Limit of the memory for decoded blocks, MiB; makes blocks smaller where
                the ground sampling distance is fine.
        """
        self.pyramid = pyramid
        self._cache = BlockCache(pyramid, block_m, memory_mb)

    @property
    def info(self) -> MapInfo:
        """See base class."""
        return self.pyramid.info

    def patch(
        self, frame: EnuFrame, center_xy: tuple[float, float], size_m: float, gsd: float
    ) -> AerialPatch:
        """See base class."""
        side = round(size_m / gsd) if gsd > 0 and np.isfinite(size_m / gsd) else 0
        if not 1 <= side <= _MAX_PATCH_PX:
            raise MapError(
                f'a patch of {size_m} m at {gsd} m/px has {side} pixels a side; '
                f'expected 1 to {_MAX_PATCH_PX}'
            )
        grid = Grid(center_xy, gsd, side, side)

        def lonlat_from_uv(uv: Array) -> LonLat:
            xy = grid.xy_from_uv(uv)
            # The ground is as high as the datum, on a round Earth: 0.8 m under the plane z = 0
            # 3 km away, and 50 km away a place under the plane is 1.5 m beside the one on it.
            drop = -np.sum(xy**2, axis=-1, keepdims=True) / (2 * _EARTH_RADIUS_M)
            lat, lon, _ = frame.geodetic_from_enu(np.concatenate([xy, drop], axis=-1))
            return lon, lat

        rgb, mask = self.sample(lonlat_from_uv, side, side, gsd)
        return AerialPatch(rgb, mask, grid, self.info.attribution)

    def sample(
        self, lonlat_from_uv: Callable[[Array], LonLat], width: int, height: int, gsd: float
    ) -> tuple[Rgb, NDArray[np.bool_]]:
        """Draws the map into a picture of any projection.

        Args:
            lonlat_from_uv: Picture pixels (N, 2) -> longitudes, latitudes (N,), deg.
            width: Columns of the picture.
            height: Rows of it.
            gsd: About the size of a picture's pixel on the ground, m.

        Returns:
            (height, width, 3) uint8 RGB, 0 where there is no imagery, and (height, width) bool.

        Raises:
            MapError: The map's files turn out to be damaged.
        """
        rgb = np.zeros((height, width, 3), np.uint8)
        mask = np.zeros((height, width), np.uint8)
        parts = [Window(0, 0, width, height)]
        while parts:
            part = parts.pop()
            corner = (part.col, part.row)
            fit = fit_affine(
                lonlat_from_uv, self.pyramid.georeference, corner, part.width, part.height
            )
            if self._must_split(fit, part):
                parts += _halves(part)
            elif fit is not None:
                rows, cols = slice(part.row, part.bottom), slice(part.col, part.right)
                self._draw(fit, part, gsd, rgb[rows, cols], mask[rows, cols])
        return rgb, mask >= _WHOLE

    def problems(self) -> tuple[str, ...]:
        """See base class."""
        return self.pyramid.problems()

    def wait(self) -> None:
        """Waits until nothing is being read ahead."""
        self._cache.wait()

    def close(self) -> None:
        """See base class."""
        self._cache.close()
        self.pyramid.close()

    def _must_split(self, fit: AffineFit | None, part: Window) -> bool:
        if min(part.width, part.height) < 2 * _MIN_PART_PX:
            return False
        if fit is None:  # outside the projection's domain in part or whole
            return max(part.width, part.height) > 4 * _MIN_PART_PX
        pixels_u, pixels_v = _pixels_per_pixel(fit)
        if fit.residual_px > _MAX_RESIDUAL_PX * min(pixels_u, pixels_v):
            return True
        scale = self.pyramid.scale_for(pixels_u, pixels_v)
        level = self.pyramid.levels[scale.level]
        cells_u = part.width * pixels_u / (level.factor_u * scale.step_u)
        cells_v = part.height * pixels_v / (level.factor_v * scale.step_v)
        return 2 * cells_u * cells_v > self._cache.max_cells

    def _draw(self, fit: AffineFit, part: Window, gsd: float, rgb: Rgb, mask: Mask) -> None:
        pixels_u, pixels_v = _pixels_per_pixel(fit)
        scale = self.pyramid.scale_for(pixels_u, pixels_v)
        level = self.pyramid.levels[scale.level]
        # Finest level's pixels -> this level's: (u + 0.5) / factor - 0.5.
        factors = np.array([level.factor_u, level.factor_v])
        to_level = fit.matrix / factors[:, None]
        to_level[:, 2] += 0.5 / factors - 0.5
        needed = _needed(to_level, part, (scale.step_u, scale.step_v)).intersection(level.extent)
        if needed is None:
            return
        cell_m = gsd * level.factor_u * scale.step_u / pixels_u
        block = self._cache.get(scale, needed, cell_m)
        to_cell = block.cell_from_level() @ np.vstack([to_level, [0, 0, 1]])
        # Part's own pixels start at its corner.
        to_cell[:, 2] += to_cell[:, :2] @ (part.col, part.row)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (part.width, part.height)
        cv2.warpAffine(block.rgb, to_cell, size, dst=rgb, flags=flags)
        if block.mask is None and block.window.covers(
            _needed(to_level, part, (scale.step_u, scale.step_v))
        ):
            mask[:] = 255
            return
        valid = block.mask
        if valid is None:
            valid = np.full(block.rgb.shape[:2], 255, np.uint8)
        cv2.warpAffine(valid, to_cell, size, dst=mask, flags=flags)
        rgb[mask < _WHOLE] = 0


def _pixels_per_pixel(fit: AffineFit) -> tuple[float, float]:
    """Raster pixels, along u and along v, per pixel of the patch."""
    along_u, along_v = np.linalg.norm(fit.matrix[:, :2], axis=1)
    return float(along_u), float(along_v)


def _needed(to_level: Array, part: Window, margin: tuple[float, float]) -> Window:
    """Level pixels that the part of a patch is interpolated from."""
    u = np.array([part.col, part.right, part.col, part.right]) - 0.5
    v = np.array([part.row, part.row, part.bottom, part.bottom]) - 0.5
    corners = to_level @ np.stack([u, v, np.ones(4)])
    low = np.floor(corners.min(axis=1) - margin).astype(int)
    high = np.ceil(corners.max(axis=1) + margin).astype(int) + 1
    return Window(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))


def _halves(part: Window) -> list[Window]:
    """The part cut in two across its longer side."""
    if part.width >= part.height:
        left = part.width // 2
        return [
            Window(part.col, part.row, left, part.height),
            Window(part.col + left, part.row, part.width - left, part.height),
        ]
    top = part.height // 2
    return [
        Window(part.col, part.row, part.width, top),
        Window(part.col, part.row + top, part.width, part.height - top),
    ]
