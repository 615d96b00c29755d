# SPDX-License-Identifier: Apache-2.0
"""From places on Earth to pixels of a raster, exactly, and by an affine map where that is enough.

Convention: pixels are (u, v) of the finest level, u right, v down, integers at pixel centres.
Rasters state their transform for pixel corners; the half pixel between the two is added here and
nowhere else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
import logging
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
import pyproj
from pyproj.transformer import TransformerGroup

from geoloc_core.errors import MapError
from geoloc_core.geometry import tiles

Array = NDArray[np.float64]
LonLat = tuple[Array, Array]

_WEB_MERCATOR_PERIOD_M = 2 * np.pi * 6378137.0
_log = logging.getLogger(__name__)


class AbstractGeoreference(ABC):
    """Where the pixels of a raster's finest level lie.

    Attributes:
        crs: Name of the coordinate reference system, e.g. 'EPSG:32632'.
    """

    crs: str

    @abstractmethod
    def uv_from_lonlat(self, lon: ArrayLike, lat: ArrayLike) -> Array:
        """Pixels (..., 2) of places; not finite where the projection is undefined.

        Places are taken across the antimeridian so that all lie around the first one.

        Args:
            lon: (...) WGS84 longitudes, deg.
            lat: (...) WGS84 latitudes, deg.
        """

    @abstractmethod
    def lonlat_from_uv(self, uv: ArrayLike) -> LonLat:
        """Longitudes and latitudes (...), deg, of pixels (..., 2)."""

    def pixel_size_m(self, uv: ArrayLike) -> tuple[float, float]:
        """Metres per pixel along u and along v at the pixel (2,)."""
        u, v = np.asarray(uv, dtype=np.float64)
        lon, lat = self.lonlat_from_uv([[u - 0.5, v], [u + 0.5, v], [u, v - 0.5], [u, v + 0.5]])
        geod = pyproj.Geod(ellps='WGS84')
        _, _, metres = geod.inv(lon[[0, 2]], lat[[0, 2]], lon[[1, 3]], lat[[1, 3]])
        return float(metres[0]), float(metres[1])

    def bounds_deg(self, width: int, height: int) -> tuple[float, float, float, float]:
        """(west, south, east, north) of the first `width` x `height` pixels, deg.

        West is greater than east for a raster across the antimeridian.
        """
        # Projected edges bend, so more than the corners is looked at.
        u = np.linspace(-0.5, width - 0.5, 21)
        v = np.linspace(-0.5, height - 0.5, 21)
        uv = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
        lon, lat = self.lonlat_from_uv(uv)
        lon_middle = lon[len(lon) // 2]
        lon = lon_middle + (lon - lon_middle + 180.0) % 360.0 - 180.0
        west, east = float(lon.min()), float(lon.max())
        if east - west >= 359.999:
            return -180.0, float(lat.min()), 180.0, float(lat.max())
        if west < -180.0:
            west += 360.0
        if east > 180.0:
            east -= 360.0
        return west, float(lat.min()), east, float(lat.max())


class CrsGeoreference(AbstractGeoreference):
    """A raster with an affine geotransform in any coordinate reference system."""

    def __init__(
        self,
        crs: str | pyproj.CRS,
        transform: tuple[float, float, float, float, float, float],
        width: int,
        height: int,
    ) -> None:
        """Prepares the transformations.

        Args:
            crs: Anything pyproj understands.
            transform: (a, b, c, d, e, f) of x = a col + b row + c, y = d col + e row + f, with
                (col, row) measured from the outer corner of the first pixel.
            width: Columns of the finest level.
            height: Rows of it.

        Raises:
            MapError: The CRS is unknown or the transform cannot be inverted.
        """
        try:
            self._crs = pyproj.CRS.from_user_input(crs)
        except pyproj.exceptions.CRSError as error:
            raise MapError(f'reference system {crs!r} is not understood: {error}') from error
        self.crs = _short_name(self._crs)
        a, b, c, d, e, f = transform
        self._forward = np.array([[a, b], [d, e]])
        self._origin = np.array([c, f])
        if not np.all(np.isfinite(transform)) or abs(np.linalg.det(self._forward)) < 1e-30:
            raise MapError(f'the geotransform {transform} has no inverse')
        self._backward = np.linalg.inv(self._forward)
        self._middle = self._forward @ np.array([width / 2, height / 2]) + self._origin
        self._to_crs = pyproj.Transformer.from_crs(4326, self._crs, always_xy=True)
        self._to_lonlat = pyproj.Transformer.from_crs(self._crs, 4326, always_xy=True)
        self._period = _period(self._crs)
        self.warning = _accuracy_warning(self._crs)

    @property
    def pyproj_crs(self) -> pyproj.CRS:
        """The reference system itself."""
        return self._crs

    def uv_from_lonlat(self, lon: ArrayLike, lat: ArrayLike) -> Array:
        """See base class."""
        x, y = self._to_crs.transform(
            np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
        )
        xy = np.stack([x, y], axis=-1)
        if self._period and np.all(np.isfinite(xy)):
            first = xy.reshape(-1, 2)[0, 0]
            first += self._period * np.round((self._middle[0] - first) / self._period)
            xy[..., 0] += self._period * np.round((first - xy[..., 0]) / self._period)
        return (xy - self._origin) @ self._backward.T - 0.5

    def lonlat_from_uv(self, uv: ArrayLike) -> LonLat:
        """See base class."""
        xy = (np.asarray(uv, dtype=np.float64) + 0.5) @ self._forward.T + self._origin
        lon, lat = self._to_lonlat.transform(xy[..., 0], xy[..., 1])
        return np.asarray(lon), np.asarray(lat)


class MercatorGeoreference(AbstractGeoreference):
    """The pixels of a web-mercator tile pyramid at its finest zoom, from the north-west corner."""

    crs = 'EPSG:3857'

    def __init__(self, zoom: int, tile_px: int, middle_u: float) -> None:
        """Takes the finest zoom, the side of a tile in pixels, and the column to unwrap around."""
        self._zoom = zoom
        self._tile_px = tile_px
        self._world_px = float(tile_px * 2**zoom)
        self._middle_u = middle_u

    def uv_from_lonlat(self, lon: ArrayLike, lat: ArrayLike) -> Array:
        """See base class."""
        px, py = tiles.pixel_from_lonlat(
            np.asarray(lon, dtype=np.float64),
            np.asarray(lat, dtype=np.float64),
            self._zoom,
            self._tile_px,
        )
        uv = np.stack([px, py], axis=-1) - 0.5
        first = uv.reshape(-1, 2)[0, 0]
        first += self._world_px * np.round((self._middle_u - first) / self._world_px)
        uv[..., 0] += self._world_px * np.round((first - uv[..., 0]) / self._world_px)
        return uv

    def lonlat_from_uv(self, uv: ArrayLike) -> LonLat:
        """See base class."""
        edge = np.asarray(uv, dtype=np.float64) + 0.5
        return tiles.lonlat_from_pixel(edge[..., 0], edge[..., 1], self._zoom, self._tile_px)


@dataclass(frozen=True)
class AffineFit:
    """Pixels of a patch -> pixels of a raster's finest level.

    Attributes:
        matrix: (2, 3); raster (u, v) = matrix @ (u, v, 1) of the patch.
        residual_px: Largest departure from the exact transformation at the nine places used,
            raster pixels.
    """

    matrix: Array
    residual_px: float


def fit_affine(
    lonlat_from_uv: Callable[[Array], LonLat],
    georeference: AbstractGeoreference,
    corner: tuple[float, float],
    width: int,
    height: int,
) -> AffineFit | None:
    """Fits the affine map from a patch to a raster through the exact transformations.

    Least squares over the outer corners, the middles of the sides and the middle.

    Args:
        lonlat_from_uv: Patch pixels (N, 2) -> longitudes, latitudes (N,), deg.
        georeference: The raster's.
        corner: (u, v) of the first pixel of the part of the patch to fit.
        width: Columns of that part.
        height: Rows of it.

    Returns:
        The fit, or None where the raster's projection is undefined.
    """
    # First the middle: the others are unwrapped around the first point.
    steps = np.array(
        [[0, 0], [-1, -1], [0, -1], [1, -1], [-1, 0], [1, 0], [-1, 1], [0, 1], [1, 1]], dtype=float
    )
    half = np.array([width, height]) / 2
    middle = np.array(corner) - 0.5 + half
    lon, lat = lonlat_from_uv(middle + steps * half)
    target = georeference.uv_from_lonlat(lon, lat)
    if not np.all(np.isfinite(target)):
        return None
    # The nine steps are orthogonal to each other, so least squares is three sums.
    mean = target.mean(axis=0)
    along_u = steps[:, 0] @ (target - mean) / 6.0
    along_v = steps[:, 1] @ (target - mean) / 6.0
    residual = target - mean - np.outer(steps[:, 0], along_u) - np.outer(steps[:, 1], along_v)
    linear = np.column_stack([along_u / half[0], along_v / half[1]])
    matrix = np.column_stack([linear, mean - linear @ middle])
    return AffineFit(matrix, float(np.abs(residual).max()))


def _short_name(crs: pyproj.CRS) -> str:
    authority = crs.to_authority(min_confidence=70)
    return ':'.join(authority) if authority else crs.name or crs.to_string()


def _period(crs: pyproj.CRS) -> float | None:
    """What may be added to x without leaving the place, or None."""
    if crs.is_geographic:
        return 360.0
    if crs.to_epsg() == 3857:
        return float(_WEB_MERCATOR_PERIOD_M)
    return None


def _accuracy_warning(crs: pyproj.CRS) -> str:
    """Says when the best datum shift is not installed: places may then be metres off."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # pyproj's own text; said better below
        group = TransformerGroup(4326, crs, always_xy=True)
    if group.best_available or not group.transformers:
        return ''
    accuracy = group.transformers[0].accuracy
    told = f'about {accuracy:g} m' if accuracy >= 0 else 'an unknown amount'
    message = (
        f'the datum shift grid for {_short_name(crs)} is not installed: the map may lie {told} '
        'off (see pyproj sync)'
    )
    _log.warning(message)
    return message
