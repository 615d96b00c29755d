# SPDX-License-Identifier: Apache-2.0
"""Copies an area of any map into an MBTiles archive, for robots that leave the network behind.

Tiles of a tile source are copied as they are. Tiles of a raster, and coarser zooms than a tile
source has, are drawn: JPEG where the map covers the whole tile, PNG with transparency elsewhere.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from geoloc_core.errors import MapError
from geoloc_core.geometry import tiles as mercator
from geoloc_core.maps.georeference import Array, LonLat
from geoloc_core.maps.mbtiles_writer import MbtilesWriter
from geoloc_core.maps.raster_source import RasterMapSource
from geoloc_core.maps.tile_pyramid import TilePyramid
from geoloc_core.maps.tile_store import AbstractTileStore, Tile

JPEG_QUALITY = 90
_DRAWN_TILE_PX = 256
_BATCH = 32
_SAMPLES = 5


def finest_zoom(source: RasterMapSource) -> int:
    """The zoom beyond which an archive of this map only grows."""
    if isinstance(source.pyramid, TilePyramid):
        return source.pyramid.zooms[0]
    _, south, _, north = source.info.bounds_deg
    # A rounding's worth finer than needed would quadruple the archive.
    return mercator.zoom_for_gsd((south + north) / 2, source.info.gsd * 1.05, _DRAWN_TILE_PX)


def read_tiles(source: RasterMapSource, wanted: Sequence[Tile]) -> Iterator[tuple[Tile, bytes]]:
    """Encoded tiles, in any order; those without imagery are left out.

    Raises:
        MapError: The map is damaged.
    """
    store = _store(source)
    ready = [tile for tile in wanted if store is not None and tile.z in store.ranges]
    if store is not None and ready:
        for tile, data in store.fetch(ready):
            if data is not None:
                yield tile, data
    for tile in wanted:
        if store is None or tile.z not in store.ranges:
            data = draw_tile(source, tile, store.tile_px if store else _DRAWN_TILE_PX)
            if data is not None:
                yield tile, data


def draw_tile(source: RasterMapSource, tile: Tile, side: int = _DRAWN_TILE_PX) -> bytes | None:
    """Draws one tile out of any map, or None where there is no imagery.

    Raises:
        MapError: The map is damaged.
    """

    def lonlat_from_uv(uv: Array) -> LonLat:
        edge = uv + 0.5 + np.array([tile.x, tile.y]) * side
        return mercator.lonlat_from_pixel(edge[..., 0], edge[..., 1], tile.z, side)

    _, south, _, north = mercator.tile_bounds(tile.x, tile.y, tile.z)
    gsd = mercator.gsd((south + north) / 2, tile.z, side)
    rgb, mask = source.sample(lonlat_from_uv, side, side, gsd)
    if not mask.any():
        return None
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    if mask.all():
        done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    else:
        alpha = np.where(mask, 255, 0).astype(np.uint8)
        done, data = cv2.imencode('.png', np.dstack([bgr, alpha]))
    if not done:
        raise MapError(f'tile {tile} cannot be encoded')
    return data.tobytes()


def estimate_bytes(source: RasterMapSource, wanted: Sequence[Tile]) -> int:
    """About what all tiles will take, from a few of them spread over the list.

    Raises:
        MapError: None of the few can be had: the map does not cover the area, or its server does
            not answer.
    """
    spread = np.linspace(0, len(wanted) - 1, min(_SAMPLES, len(wanted))).astype(int)
    sizes = [len(data) for _, data in read_tiles(source, [wanted[i] for i in spread])]
    if not sizes:
        causes = '; '.join(source.problems()) or 'the map does not cover this area'
        raise MapError(f'{source.info.name}: none of {len(spread)} tiles tried is there: {causes}')
    return int(np.mean(sizes) * len(wanted))


def copy_tiles(
    source: RasterMapSource, wanted: Sequence[Tile], archive: MbtilesWriter
) -> Iterator[tuple[int, int]]:
    """Fills an archive.

    Yields:
        After every few tiles: how many were stored, and how many asked for, since the last time.

    Raises:
        MapError: The map is damaged, or its server stopped answering. What was stored stays.
    """
    store = _store(source)
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        stored = 0
        for tile, data in read_tiles(source, batch):
            archive.put(tile, data)
            stored += 1
        archive.commit()
        yield stored, len(batch)
        reason = store.unavailable() if store is not None else ''
        if reason:
            raise MapError(
                f'{source.info.name}: {reason}. {archive.count()} tiles are in {archive.path}; '
                'run the same command again to continue'
            )


def _store(source: RasterMapSource) -> AbstractTileStore | None:
    pyramid = source.pyramid
    return pyramid.store if isinstance(pyramid, TilePyramid) else None
