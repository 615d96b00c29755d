# SPDX-License-Identifier: Apache-2.0
"""Which tiles a robot will need: a rectangle, a circle's square, or a strip along a track."""

from collections.abc import Iterable
import math

import numpy as np
from numpy.typing import ArrayLike

from geoloc_core.errors import MapError
from geoloc_core.geometry.tiles import MAX_LAT_DEG, tiles_in_bounds, wrap_lon
from geoloc_core.maps.tile_store import Tile

Bounds = tuple[float, float, float, float]

_METRES_PER_DEGREE = 111_320.0
_TOUCH_DEG = 1e-9


def square_bounds(lat: float, lon: float, radius_m: float) -> Bounds:
    """(west, south, east, north), deg, of the square around a circle; west > east is possible.

    Raises:
        MapError: The place is not on the web-mercator map, or the radius is not positive.
    """
    if not (abs(lat) <= MAX_LAT_DEG and abs(lon) <= 180.0):
        raise MapError(f'lat {lat}, lon {lon} is not on a web-mercator map; is it LAT,LON?')
    if not radius_m > 0:
        raise MapError(f'radius must be positive, got {radius_m} m')
    up = radius_m / _METRES_PER_DEGREE
    aside = up / max(math.cos(math.radians(lat)), 0.01)
    south, north = max(lat - up, -MAX_LAT_DEG), min(lat + up, MAX_LAT_DEG)
    return float(wrap_lon(lon - aside)), south, float(wrap_lon(lon + aside)), north


def tiles_in_area(areas: Iterable[Bounds], zooms: Iterable[int], limit: int) -> list[Tile]:
    """All tiles that touch any of the rectangles, coarse zooms first, each once.

    Args:
        areas: (west, south, east, north), deg.
        zooms: Zooms wanted.
        limit: Most tiles that are accepted.

    Raises:
        MapError: There would be more than `limit`.
    """
    areas = list(areas)
    found: list[Tile] = []
    for zoom in sorted(zooms):
        tiles: set[Tile] = set()
        for area in areas:
            for x, y in tiles_in_bounds(*_inner(area), zoom):
                tiles.add(Tile(zoom, x, y))
                if len(found) + len(tiles) > limit:
                    raise MapError(
                        f'more than {limit} tiles up to zoom {zoom}; name a smaller area, fewer '
                        'zooms, or a higher limit'
                    )
        found += sorted(tiles, key=lambda tile: (tile.y, tile.x))
    return found


def _inner(area: Bounds) -> Bounds:
    """The area less its outermost tenth of a millimetre: neighbours that only touch stay out."""
    west, south, east, north = area
    margin = min(_TOUCH_DEG, (north - south) / 4)
    return west + margin, south + margin, east - margin, north - margin


def along_track(lats: ArrayLike, lons: ArrayLike, radius_m: float) -> list[Bounds]:
    """Rectangles that together cover everything within `radius_m` of a track.

    Args:
        lats: (N,) deg.
        lons: (N,) deg.
        radius_m: Half the strip's width, m.
    """
    areas: list[Bounds] = []
    last: tuple[float, float] | None = None
    step_m = radius_m / 4  # squares overlap: no need for one per fix
    for lat, lon in zip(np.asarray(lats, float), np.asarray(lons, float), strict=True):
        if last is not None:
            turn = (lon - last[1] + 180.0) % 360.0 - 180.0
            north_m = (lat - last[0]) * _METRES_PER_DEGREE
            east_m = turn * _METRES_PER_DEGREE * math.cos(math.radians(lat))
            if math.hypot(north_m, east_m) < step_m:
                continue
        last = (lat, lon)
        areas.append(square_bounds(lat, lon, radius_m + step_m))
    return areas
