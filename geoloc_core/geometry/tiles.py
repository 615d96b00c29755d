# SPDX-License-Identifier: Apache-2.0
"""Web-Mercator (EPSG:3857) tile arithmetic, in float64.

Convention: world pixels count from the north-west corner of the square world, x east, y south,
in units of pixels of side 1 whose EDGES are integers, as everywhere in tile schemes. Subtract 0.5
to get geoloc's pixel-centre coordinates. Tile rows count from the north (XYZ); `tms_row` flips.
At zoom 20 a world pixel number is about 1e8, which float32 cannot hold: float64 throughout.
"""

from collections.abc import Iterator
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError

Array = NDArray[np.float64]

EARTH_CIRCUMFERENCE_M = 2 * math.pi * 6378137.0
# The latitude at which the square world ends: atan(sinh(pi)).
MAX_LAT_DEG = math.degrees(math.atan(math.sinh(math.pi)))
# A tile's own corner, computed and read back, must fall into that tile in spite of rounding
# (1e-14 of the world is less than a micrometre).
_CORNER_SLACK = 1e-14


def pixel_from_lonlat(
    lon: ArrayLike, lat: ArrayLike, z: float, tile: int = 256
) -> tuple[Array, Array]:
    """World pixel coordinates at a zoom.

    Args:
        lon: (...) degrees, not wrapped: 190 lies past the right edge of the world.
        lat: (...) degrees; past +-85.05 the pixel lies outside the square world.
        z: Zoom, may be fractional.
        tile: Side of a tile, px.

    Returns:
        x (...), y (...), px, edges are integers.
    """
    size = tile * 2.0**z
    sin_lat = np.sin(np.deg2rad(np.asarray(lat, dtype=np.float64)))
    x = size * (0.5 + np.asarray(lon, dtype=np.float64) / 360.0)
    with np.errstate(divide='ignore'):
        y = size * (0.5 - np.arctanh(sin_lat) / (2 * np.pi))
    return x, y


def lonlat_from_pixel(
    x: ArrayLike, y: ArrayLike, z: float, tile: int = 256
) -> tuple[Array, Array]:
    """Longitude (not wrapped) and latitude, degrees, of world pixel coordinates at a zoom."""
    size = tile * 2.0**z
    lon = 360.0 * (np.asarray(x, dtype=np.float64) / size - 0.5)
    lat = np.rad2deg(
        np.arctan(np.sinh(2 * np.pi * (0.5 - np.asarray(y, dtype=np.float64) / size)))
    )
    return lon, lat


def wrap_lon(lon: ArrayLike) -> Array:
    """Longitude in [-180, 180); a value already in [-180, 180] is returned unchanged."""
    lon = np.asarray(lon, dtype=np.float64)
    return np.where(np.abs(lon) <= 180.0, lon, np.mod(lon + 180.0, 360.0) - 180.0)[()]


def tile_from_lonlat(lon: float, lat: float, z: int) -> tuple[int, int]:
    """The tile (x, y), rows from the north, that holds a place.

    Longitudes wrap; latitudes past the square world give its first or last row. Longitude 180
    itself counts as the end of the last tile, as in mercantile.

    Args:
        lon: Degrees.
        lat: Degrees.
        z: Zoom, >= 0.

    Raises:
        InputError: A value is not finite, |lat| > 90 or the zoom is negative.
    """
    if not (math.isfinite(lon) and math.isfinite(lat)) or abs(lat) > 90 or z < 0:
        raise InputError(
            f'no tile at lon {lon}, lat {lat}, zoom {z}: expected finite degrees, |lat| <= 90, '
            'zoom >= 0'
        )
    count = 2**z
    lat = min(max(lat, -MAX_LAT_DEG), MAX_LAT_DEG)
    x, y = pixel_from_lonlat(wrap_lon(lon), lat, 0, tile=1)
    column = math.floor((float(x) + _CORNER_SLACK) * count)
    row = math.floor((float(y) + _CORNER_SLACK) * count)
    return min(max(column, 0), count - 1), min(max(row, 0), count - 1)


def tile_bounds(x: int, y: int, z: int) -> tuple[float, float, float, float]:
    """(west, south, east, north) in degrees of a tile, rows from the north."""
    west, north = lonlat_from_pixel(x, y, z, tile=1)
    east, south = lonlat_from_pixel(x + 1, y + 1, z, tile=1)
    return float(west), float(south), float(east), float(north)


def tiles_in_bounds(
    west: float, south: float, east: float, north: float, z: int
) -> Iterator[tuple[int, int]]:
    """All tiles (x, y) that touch a rectangle, row by row from the north-west.

    Args:
        west: Degrees.
        south: Degrees.
        east: Degrees; less than `west` means across the antimeridian.
        north: Degrees.
        z: Zoom.

    Yields:
        (x, y), each once, x already wrapped into the world.

    Raises:
        InputError: A value is not finite, out of range, or south exceeds north.
    """
    if south > north:
        raise InputError(f'south {south} lies north of north {north}')
    count = 2**z
    first_x, first_y = tile_from_lonlat(west, north, z)
    last_x, last_y = tile_from_lonlat(east, south, z)
    if wrap_lon(east) < wrap_lon(west) or (last_x < first_x):
        last_x += count
    columns = min(last_x - first_x + 1, count)
    for y in range(first_y, last_y + 1):
        for x in range(first_x, first_x + columns):
            yield x % count, y


def wrap_column(x: int, z: int) -> int:
    """Column of the same tile inside the world: columns repeat every 2^z."""
    return x % 2**z


def tms_row(y: int, z: int) -> int:
    """TMS row (from the south) of an XYZ row (from the north), and the other way round."""
    return 2**z - 1 - y


def gsd(lat: float, z: float, tile: int = 256) -> float:
    """Ground size of a world pixel, m/px, on the sphere that Web Mercator assumes.

    On the ellipsoid the true size differs by up to 0.7 % and is not quite square; code that needs
    better goes through `EnuFrame`.
    """
    return EARTH_CIRCUMFERENCE_M * math.cos(math.radians(lat)) / (tile * 2.0**z)


def zoom_for_gsd(lat: float, gsd_m: float, tile: int = 256) -> int:
    """The lowest zoom (>= 0) whose pixels at `lat` are at most `gsd_m` m."""
    # The slack keeps gsd(lat, z) itself at zoom z.
    return max(0, math.ceil(math.log2(gsd(lat, 0, tile) / gsd_m) - 1e-9))
