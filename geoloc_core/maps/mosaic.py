# SPDX-License-Identifier: Apache-2.0
"""An aerial map made from the ground: posed views, projected to the ground and blended.

Where no fresh satellite image exists, a robot localizes against its own earlier drive. Each view
is projected once, onto a lattice that all views share, so a piece of map from any subset of the
views is a weighted mean of stored tiles.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import rasterio
from rasterio.windows import Window

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import GroundProjector
from geoloc_core.maps.source import AbstractMapSource, MapInfo
from geoloc_core.types import AerialPatch, Array, GroundView

_EARTH_RADIUS_M = 6_371_000.0
# Weights travel as bytes; this one is full weight.
_FULL = 255.0
_BLOCK_PX = 1024


@dataclass(frozen=True)
class MosaicConfig:
    """Settings of a mosaic.

    Attributes:
        gsd: Side of a cell, m.
        base_height_m: Height of base_link's origin over the ground.
        range_m: Ground farther than this from the camera is not used.
        falloff_m: Distance at which ground begins to count less: near ground is seen sharper.
        falloff_power: How fast the weight falls beyond that.
        edge_m: Weight fades to nothing over this distance at the edge of what a view sees.
        robust_grey: Difference from the mean (grey levels) at which a view loses half of its
            weight: something moved there, or stands above the ground.
    """

    gsd: float = 0.1
    base_height_m: float = 0.0
    range_m: float = 30.0
    falloff_m: float = 5.0
    falloff_power: float = 2.0
    edge_m: float = 1.0
    robust_grey: float = 20.0


@dataclass(frozen=True)
class _Tile:
    """One view on the lattice: cell (left, top) is the first; rows run north to south."""

    left: int
    top: int
    image: NDArray[np.uint8]
    weight: NDArray[np.uint8]


class OrthoMosaic(AbstractMapSource):
    """Views blended to a map; itself a map source.

    Convention: lattice cell (i, j) is centred at x = (i + 0.5) gsd, y = -(j + 0.5) gsd.
    """

    def __init__(self, frame: EnuFrame, config: MosaicConfig | None = None) -> None:
        """Begins an empty mosaic.

        Args:
            frame: Map frame of the poses to come.
            config: Settings.
        """
        self.frame = frame
        self.config = config or MosaicConfig()
        self._tiles: list[_Tile] = []
        self._excluded: frozenset[int] = frozenset()
        self._projector: GroundProjector | None = None

    def add(self, view: GroundView, T_map_base: Array) -> int:
        """Projects one posed view.

        Args:
            view: What the camera saw.
            T_map_base: (4, 4) its pose, roll and pitch included.

        Returns:
            The view's number, for `excluding`.

        Raises:
            CalibrationError: The camera lies below the ground.
        """
        config, gsd = self.config, self.config.gsd
        T_map_camera = np.asarray(T_map_base) @ view.T_base_camera
        # The ground below base_link, on a corner of the lattice, is the origin to project around.
        corner = np.round(T_map_camera[:2, 3] / gsd).astype(int)
        pose = T_map_camera.copy()
        pose[:2, 3] -= corner * gsd
        pose[2, 3] -= T_map_base[2, 3] - config.base_height_m
        half = int(np.ceil(config.range_m / gsd)) + 1
        projector = self._projector
        if projector is None or projector.camera != view.camera:
            grid = Grid((0.0, 0.0), gsd, 2 * half, 2 * half)
            projector = self._projector = GroundProjector(view.camera, grid)
        bev = projector.bev(view.image, pose)
        weight = self._weight(bev.mask, pose)
        rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
        if len(rows):
            box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            left = int(corner[0]) - half + int(columns[0])
            top = -int(corner[1]) - half + int(rows[0])
            self._tiles.append(_Tile(left, top, bev.image[box].copy(), weight[box].copy()))
        else:
            empty = np.zeros((0, 0), np.uint8)
            self._tiles.append(_Tile(0, 0, np.zeros((0, 0, 3), np.uint8), empty))
        return len(self._tiles) - 1

    def _weight(self, mask: NDArray[np.bool_], pose: Array) -> NDArray[np.uint8]:
        """Weight (H, W), at least 1 where the view is used."""
        config = self.config
        side = mask.shape[0]
        place = (np.arange(side) - (side - 1) / 2).astype(np.float32) * np.float32(config.gsd)
        distance = np.hypot(place[None, :] - pose[0, 3], -place[:, None] - pose[1, 3])
        used = mask & (distance <= config.range_m)
        inward = cv2.distanceTransform(used.astype(np.uint8), cv2.DIST_L2, 3) * config.gsd
        fade = np.clip(inward / max(config.edge_m, 1e-6), 0.0, 1.0)
        weight = fade / (1.0 + distance / config.falloff_m) ** config.falloff_power
        return np.where(used, np.clip(_FULL * weight, 1.0, _FULL), 0.0).astype(np.uint8)

    def excluding(self, numbers: Iterable[int]) -> 'OrthoMosaic':
        """The same mosaic without some views; tiles are shared, nothing is projected again."""
        other = OrthoMosaic(self.frame, self.config)
        other._tiles = self._tiles
        other._excluded = frozenset(numbers)
        return other

    def __len__(self) -> int:
        """Number of views."""
        return len(self._tiles) - len(self._excluded)

    # ---- as a map source ----

    @property
    def info(self) -> MapInfo:
        """What this map is.

        Raises:
            MapError: Nothing was added yet.
        """
        left, top, right, bottom = self._bounds()
        gsd = self.config.gsd
        corners = np.array([[left, -bottom, 0], [right, -top, 0]]) * gsd
        lat, lon, _ = self.frame.geodetic_from_enu(corners)
        return MapInfo(
            f'mosaic of {len(self)} views',
            'mosaic',
            self.crs(),
            (float(lon[0]), float(lat[0]), float(lon[1]), float(lat[1])),
            gsd,
            (right - left, bottom - top),
        )

    def patch(
        self, frame: EnuFrame, center_xy: tuple[float, float], size_m: float, gsd: float
    ) -> AerialPatch:
        """See `AbstractMapSource`."""
        side = round(size_m / gsd)
        grid = Grid((float(center_xy[0]), float(center_xy[1])), gsd, side, side)
        # Three pixels of the patch, in the mosaic's own frame, give the affine map between both.
        pixels = np.array([[0.0, 0.0], [side - 1.0, 0.0], [0.0, side - 1.0]])
        own = grid.xy_from_uv(pixels)
        if frame != self.frame:
            flat = np.concatenate([own, np.zeros((3, 1))], axis=1)
            own = self.frame.enu_from_geodetic(*frame.geodetic_from_enu(flat))[:, :2]
        reach = np.concatenate([own, own[1:2] + own[2:3] - own[0:1]])
        factor = max(1, round(gsd / self.config.gsd))
        cell = factor * self.config.gsd
        left, top = np.floor([reach[:, 0].min() / cell, -reach[:, 1].max() / cell]) - 2
        right, bottom = np.ceil([reach[:, 0].max() / cell, -reach[:, 1].min() / cell]) + 2
        columns, rows = int(right - left), int(bottom - top)
        image, mask = self._blend(
            int(left) * factor, int(top) * factor, columns * factor, rows * factor
        )
        if factor > 1:
            image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
        uv = np.stack([own[:, 0] / cell - left, -own[:, 1] / cell - top], axis=-1) - 0.5
        affine = cv2.getAffineTransform(pixels.astype(np.float32), uv.astype(np.float32))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = cv2.warpAffine(image, affine, (side, side), flags=flags)
        inside = cv2.warpAffine(mask, affine, (side, side), flags=flags) > 0.99 * _FULL
        out[~inside] = 0
        return AerialPatch(out.astype(np.uint8, copy=False), inside, grid)

    def _used(self) -> list[_Tile]:
        return [
            tile
            for number, tile in enumerate(self._tiles)
            if number not in self._excluded and tile.weight.size
        ]

    def _bounds(self) -> tuple[int, int, int, int]:
        """Cells (left, top, right, bottom), the last two exclusive."""
        tiles = self._used()
        if not tiles:
            raise MapError('the mosaic is empty: add views that see the ground')
        return (
            min(tile.left for tile in tiles),
            min(tile.top for tile in tiles),
            max(tile.left + tile.weight.shape[1] for tile in tiles),
            max(tile.top + tile.weight.shape[0] for tile in tiles),
        )

    def _blend(
        self, left: int, top: int, width: int, height: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Blends the lattice's cells from (left, top).

        Returns:
            (height, width, 3) uint8 and its mask (height, width) uint8, 0 or 255.
        """
        total = np.zeros((height, width, 3), np.float32)
        weights = np.zeros((height, width), np.float32)
        touched = []
        for tile in self._used():
            u, v = tile.left - left, tile.top - top
            u0, v0 = max(u, 0), max(v, 0)
            u1, v1 = min(u + tile.weight.shape[1], width), min(v + tile.weight.shape[0], height)
            if u1 <= u0 or v1 <= v0:
                continue
            here = (slice(v0, v1), slice(u0, u1))
            there = (slice(v0 - v, v1 - v), slice(u0 - u, u1 - u))
            weight = tile.weight[there].astype(np.float32)
            if not weight.any():
                continue
            image = tile.image[there].astype(np.float32)
            total[here] += image * weight[..., None]
            weights[here] += weight
            touched.append((here, image, weight))
        mask = weights > 0
        mean = total / np.maximum(weights, 1e-6)[..., None]
        if len(touched) > 1:
            # One step of iteratively reweighted least squares: what only few views show moved.
            total[:] = 0.0
            weights[:] = 0.0
            for here, image, weight in touched:
                apart = np.abs(image - mean[here]) @ np.full(3, 1 / 3, np.float32)
                trusted = weight / (1.0 + (apart / self.config.robust_grey) ** 2)
                total[here] += image * trusted[..., None]
                weights[here] += trusted
            mean = total / np.maximum(weights, 1e-6)[..., None]
        return (mean + 0.5).astype(np.uint8), mask.astype(np.uint8) * np.uint8(_FULL)

    # ---- as a file ----

    def crs(self) -> str:
        """A projection whose coordinates are the map frame's x and y.

        A transverse Mercator through the datum has true scale and no convergence there; k_0
        lifts it from the ellipsoid to the datum's height. It leaves the tangent plane by the cube
        of the distance: millimetres over kilometres.
        """
        datum = self.frame.datum
        scale = 1.0 + datum.alt_m / _EARTH_RADIUS_M
        return (
            f'+proj=tmerc +lat_0={datum.lat_deg:.12f} +lon_0={datum.lon_deg:.12f} '
            f'+k_0={scale:.12f} +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs'
        )

    def write_geotiff(self, path: str | Path) -> None:
        """Writes the whole mosaic as a tiled, georeferenced RGB + alpha GeoTIFF.

        Raises:
            MapError: The mosaic is empty or the file cannot be written.
        """
        left, top, right, bottom = self._bounds()
        gsd = self.config.gsd
        datum = self.frame.datum
        try:
            with rasterio.open(
                path,
                'w',
                driver='GTiff',
                width=right - left,
                height=bottom - top,
                count=4,
                dtype='uint8',
                crs=self.crs(),
                transform=rasterio.Affine(gsd, 0.0, left * gsd, 0.0, -gsd, -top * gsd),
                photometric='RGB',
                alpha='YES',
                tiled=True,
                blockxsize=512,
                blockysize=512,
                compress='deflate',
                predictor=2,
            ) as file:
                for row in range(0, bottom - top, _BLOCK_PX):
                    for column in range(0, right - left, _BLOCK_PX):
                        width = min(_BLOCK_PX, right - left - column)
                        height = min(_BLOCK_PX, bottom - top - row)
                        image, mask = self._blend(left + column, top + row, width, height)
                        image[mask == 0] = 0
                        bands = np.concatenate([np.moveaxis(image, -1, 0), mask[None]])
                        file.write(bands, window=Window(column, row, width, height))
                file.update_tags(
                    GEOLOC_DATUM_LAT_DEG=repr(datum.lat_deg),
                    GEOLOC_DATUM_LON_DEG=repr(datum.lon_deg),
                    GEOLOC_DATUM_ALT_M=repr(datum.alt_m),
                    GEOLOC_VIEWS=str(len(self)),
                )
        except (rasterio.errors.RasterioError, OSError) as error:
            raise MapError(f'cannot write the mosaic to {path}: {error}') from error
