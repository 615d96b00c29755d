# SPDX-License-Identifier: Apache-2.0
"""Whether a raster can lie where its georeference says: a wrong map is worse than none."""

import numpy as np
import pyproj

from geoloc_core.errors import MapError
from geoloc_core.maps.georeference import CrsGeoreference

# Coarser "aerial imagery" is a file in metres that says degrees.
_MAX_GSD_M = 100.0
# Neighbouring data is often delivered in one zone; further out it is a mistake.
_ZONE_MARGIN_DEG = 6.0
# Local coordinates start near zero, projected ones rarely do.
_LOCAL_EXTENT = 5000.0

_REMEDY = (
    'if its coordinates are local metres, set its crs (parameter map.crs, option --crs) to '
    "'+proj=aeqd +lat_0=LAT +lon_0=LON' of their origin; "
    'otherwise assign the right reference system (gdal_edit.py -a_srs)'
)


def require_plausible(
    name: str, georeference: CrsGeoreference, corners_xy: np.ndarray, width: int, height: int
) -> None:
    """Refuses a raster whose reference system contradicts its extent.

    Args:
        name: The file, for the message.
        georeference: As stated by the file.
        corners_xy: (4, 2) outer corners in units of the reference system.
        width: Columns.
        height: Rows.

    Raises:
        MapError: The raster cannot lie there.
    """
    crs = georeference.pyproj_crs
    extent = _text(corners_xy)
    if crs.is_geographic:
        x, y = corners_xy[:, 0], corners_xy[:, 1]
        if np.abs(y).max() > 90.0 + 1e-6 or np.abs(x).max() > 540.0:
            raise MapError(
                f'{name} says {georeference.crs}, which is degrees, but spans {extent}, which is '
                f'not on Earth; {_REMEDY}'
            )
    lon, lat = georeference.lonlat_from_uv(
        [[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]]
    )
    if not (np.all(np.isfinite(lon)) and np.all(np.isfinite(lat))):
        raise MapError(
            f'{name} says {georeference.crs}, but {extent} lies outside of what that reference '
            f'system can express; {_REMEDY}'
        )
    gsd = max(georeference.pixel_size_m([(width - 1) / 2, (height - 1) / 2]))
    if gsd > _MAX_GSD_M:
        raise MapError(
            f'{name} says {georeference.crs} and spans {extent}: {gsd:.0f} m a pixel, which no '
            f'map for a robot has; {_REMEDY}'
        )
    _require_in_area_of_use(name, georeference, corners_xy, float(lon.mean()), float(lat.mean()))


def _require_in_area_of_use(
    name: str, georeference: CrsGeoreference, corners_xy: np.ndarray, lon: float, lat: float
) -> None:
    crs = georeference.pyproj_crs
    area = _area_of_use(crs)
    if area is None or area[0] > area[2]:
        return
    west, south, east, north = area
    outside = max(west - lon, lon - east, south - lat, lat - north)
    looks_local = crs.is_projected and np.abs(corners_xy).max() < _LOCAL_EXTENT
    if outside > (0.0 if looks_local else _ZONE_MARGIN_DEG):
        raise MapError(
            f'{name} says {georeference.crs}, made for lon {west:g} to {east:g}, lat '
            f'{south:g} to {north:g}, but {_text(corners_xy)} would lie at lat '
            f'{lat:.4f}, lon {lon:.4f}; {_REMEDY}'
        )


def _area_of_use(crs: pyproj.CRS) -> tuple[float, float, float, float] | None:
    """(west, south, east, north), deg."""
    if crs.area_of_use is None:
        # Files carry the definition alone; the register behind its name knows the area.
        authority = crs.to_authority(min_confidence=70)
        crs = pyproj.CRS.from_authority(*authority) if authority else crs
    return crs.area_of_use.bounds if crs.area_of_use is not None else None


def _text(corners_xy: np.ndarray) -> str:
    low, high = corners_xy.min(axis=0), corners_xy.max(axis=0)
    return f'x {low[0]:.10g} to {high[0]:.10g}, y {low[1]:.10g} to {high[1]:.10g}'
