# SPDX-License-Identifier: Apache-2.0
"""Small georeferenced files for the tests of maps."""

from pathlib import Path
import sqlite3

import cv2
import numpy as np
import pyproj
import rasterio
from rasterio.transform import Affine

from geoloc_core.geometry.tiles import tms_row


def write_tif(path: Path, data, crs, transform, **options) -> Path:
    """(bands, H, W) or (H, W) -> a GeoTIFF; `transform` as six numbers or an Affine."""
    data = data[None] if data.ndim == 2 else data
    profile = {
        'driver': 'GTiff',
        'count': data.shape[0],
        'height': data.shape[1],
        'width': data.shape[2],
        'dtype': data.dtype,
        'crs': crs,
        'transform': Affine(*transform[:6]),
    }
    masks = options.pop('mask', None)
    factors = options.pop('overviews', None)
    interpretation = options.pop('colorinterp', None)
    colormap = options.pop('colormap', None)
    with rasterio.open(path, 'w', **{**profile, **options}) as dataset:
        if interpretation:
            dataset.colorinterp = interpretation
        dataset.write(data)
        if colormap:
            dataset.write_colormap(1, colormap)
        if masks is not None:
            dataset.write_mask(masks)
    if factors:
        with rasterio.open(path, 'r+') as dataset:
            dataset.build_overviews(factors, rasterio.enums.Resampling.average)
    return path


def place_around(lat, lon, crs, pixel, width, height):
    """Geotransform (six numbers) of a raster in `crs` centred on a place, `pixel` in CRS units."""
    to_crs = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    x, y = to_crs.transform(lon, lat)
    return (pixel, 0, x - width / 2 * pixel, 0, -pixel, y + height / 2 * pixel)


def textured(height, width, seed=0, cell=8):
    """(3, H, W) uint8 blobs of about `cell` pixels: structure that survives interpolation."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // cell + 2, width // cell + 2, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def encode(rgb, kind='png', alpha=None):
    """(H, W, 3) RGB -> bytes of a picture."""
    bgr = rgb[..., ::-1]
    if alpha is not None:
        bgr = np.dstack([bgr, alpha])
    quality = [cv2.IMWRITE_JPEG_QUALITY, 98] if kind == 'jpg' else []
    ok, data = cv2.imencode(f'.{kind}', np.ascontiguousarray(bgr), quality)
    assert ok
    return data.tobytes()


def write_mbtiles(path: Path, tiles: dict, **metadata) -> Path:
    """{(z, x, y from the north): bytes} -> an MBTiles archive, written without our own writer."""
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE metadata (name TEXT, value TEXT)')
        connection.execute(
            'CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,'
            ' tile_data BLOB)'
        )
        connection.executemany('INSERT INTO metadata VALUES (?, ?)', metadata.items())
        connection.executemany(
            'INSERT INTO tiles VALUES (?, ?, ?, ?)',
            [(z, x, tms_row(y, z), data) for (z, x, y), data in tiles.items()],
        )
    connection.close()
    return path
