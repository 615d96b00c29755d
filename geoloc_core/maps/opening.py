# SPDX-License-Identifier: Apache-2.0
"""One door to all maps: a path, a template or a URL becomes an `AbstractMapSource`."""

from pathlib import Path

from geoloc_core.errors import MapError
from geoloc_core.maps.geotiff import GeoTiffPyramid
from geoloc_core.maps.mbtiles import MbtilesStore
from geoloc_core.maps.pyramid import AbstractPyramid
from geoloc_core.maps.raster_source import DEFAULT_BLOCK_M, DEFAULT_MEMORY_MB, RasterMapSource
from geoloc_core.maps.tile_folder import folder_template, FolderStore
from geoloc_core.maps.tile_pyramid import TilePyramid
from geoloc_core.maps.tile_url import default_cache_dir, UrlOptions, UrlStore

# What is loaded ahead from a server: enough to drive on, not a square kilometre for every stop.
_MAX_URL_BLOCK_M = 400.0

_KINDS = (
    'a GeoTIFF (.tif, .tiff, .vrt, .jp2), an MBTiles archive (.mbtiles), a folder of tiles, or a '
    'path or URL with {z}, {x} and {y}'
)


def open_map(
    spec: str | Path,
    *,
    attribution: str = '',
    crs: str | None = None,
    block_m: float = DEFAULT_BLOCK_M,
    memory_mb: float = DEFAULT_MEMORY_MB,
    cache_dir: str | Path | None = None,
    cache_size_mb: float = 1024.0,
    cache_days: float = 30.0,
    min_zoom: int = 0,
    max_zoom: int = 19,
    tile_px: int = 0,
    timeout_s: float = 5.0,
) -> RasterMapSource:
    """Opens a map.

    Args:
        spec: A GeoTIFF (any reference system), an MBTiles archive, a folder of {z}/{x}/{y} tiles,
            or a path, file:// or http(s):// URL with the placeholders {z} (or {level}), {x} and
            {y} (or {-y} for rows from the south).
        attribution: Who must be named where the map is shown; '' takes it from the file.
        crs: For a GeoTIFF: reference system to use instead of the one it states.
        block_m: Side of the block kept decoded around the robot, m; at most 400 m for a URL.
        memory_mb: Limit of the memory for decoded blocks, MiB.
        cache_dir: For a URL: folder of the disk cache; None is ~/.cache/geoloc.
        cache_size_mb: For a URL: most that the cache keeps, MiB.
        cache_days: For a URL: age after which a tile is asked for again.
        min_zoom: For a URL: coarsest zoom the server has.
        max_zoom: For a URL: finest zoom the server has.
        tile_px: For a URL: side of its tiles, px; 0: 512 if it says @2x, else 256.
        timeout_s: For a URL: longest wait for one answer.

    Returns:
        The source; close it when done.

    Raises:
        MapError: There is no such map, it is damaged, or its georeference cannot be believed.
    """
    text = str(spec)
    if not text.strip():
        raise MapError(f'no map named; expected {_KINDS}')
    if text.startswith(('http://', 'https://')):
        options = UrlOptions(
            cache_dir=Path(cache_dir) if cache_dir else default_cache_dir(),
            cache_size_mb=cache_size_mb,
            cache_days=cache_days,
            min_zoom=min_zoom,
            max_zoom=max_zoom,
            tile_px=tile_px,
            timeout_s=timeout_s,
        )
        pyramid = TilePyramid(UrlStore(text, options, attribution))
        return RasterMapSource(pyramid, min(block_m, _MAX_URL_BLOCK_M), memory_mb)
    return RasterMapSource(_open_local(text, crs, attribution), block_m, memory_mb)


def _open_local(text: str, crs: str | None, attribution: str) -> AbstractPyramid:
    if text.startswith('file://'):
        text = text[len('file://') :]
    elif '://' in text or text.startswith('/vsi'):
        raise MapError(f'{text} is not a map that can be opened; expected {_KINDS}')
    text = str(Path(text).expanduser())
    if '{' in text:
        return TilePyramid(FolderStore(text, attribution))
    path = Path(text)
    if path.is_dir():
        if any(path.glob('*.tif')) or any(path.glob('*.tiff')):
            raise MapError(
                f'{path} holds GeoTIFFs; open one of them, or join them: '
                f'gdalbuildvrt {path}/map.vrt {path}/*.tif'
            )
        return TilePyramid(FolderStore(folder_template(path), attribution))
    if not path.exists():
        raise MapError(f'{path} does not exist; expected {_KINDS}')
    if path.suffix.lower() == '.mbtiles':
        return TilePyramid(MbtilesStore(path, attribution))
    return GeoTiffPyramid(path, crs, attribution)
