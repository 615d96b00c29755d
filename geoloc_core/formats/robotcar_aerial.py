# SPDX-License-Identifier: Apache-2.0
"""How Oxford RobotCar's one big aerial picture lies on the ground, and UTM in its zone."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
import pyproj

from geoloc_core.errors import DataError
from geoloc_core.formats import robotcar
from geoloc_core.geometry.geodesy import Datum, EnuFrame

Array = NDArray[np.float64]

# Beyond this a picture cannot pass for north-up: 0.1 m at the edge of a piece of 75 m.
_MAX_TURN_DEG = 0.2


@dataclass(frozen=True)
class Tie:
    """The aerial picture's place.

    Attributes:
        matrix: (2, 3) from (easting, northing, 1) relative to `middle` to (column, row), pixel
            edges integer.
        middle: (2,) UTM.
        gsd: m/px on the ground.
        frame: ENU at `middle`.
    """

    matrix: Array
    middle: Array
    gsd: float
    frame: EnuFrame

    @classmethod
    def of(cls, control: Array, gsd: float | None = None) -> 'Tie':
        """The least-squares tie of control points.

        Args:
            control: (N, 4) easting, northing, column, row.
            gsd: The published m/px; that of the points if None.

        Raises:
            DataError: They do not tie a picture to the ground, or it is not north-up.
        """
        matrix = robotcar.map_from_utm(control)
        middle = control[:, :2].mean(axis=0)
        lat, lon = latlon_from_utm(middle)
        frame = EnuFrame(Datum(float(lat), float(lon)))
        # UTM of 100 m east and 100 m north: turned by the meridian convergence and scaled.
        steps = np.array(
            [[50.0, 0.0, 0.0], [-50.0, 0.0, 0.0], [0.0, 50.0, 0.0], [0.0, -50.0, 0.0]]
        )
        utm = utm_from_latlon(*frame.geodetic_from_enu(steps)[:2])
        px = (utm[0::2] - utm[1::2]) @ matrix[:, :2].T / 100.0
        turns = np.degrees([np.arctan2(px[0, 1], px[0, 0]), np.arctan2(px[1, 0], -px[1, 1])])
        if np.abs(turns).max() > _MAX_TURN_DEG:
            raise DataError(
                f'the aerial picture is turned by {turns[0]:.2f} degrees and sheared to '
                f'{turns[1]:.2f} against true north; expected a north-up one, as Web Mercator '
                'tiles are: check the control points, or turn the picture'
            )
        return cls(matrix, middle, gsd or float(abs(np.linalg.det(px)) ** -0.5), frame)

    def pixel(self, utm: Array) -> tuple[float, float]:
        """Column and row, pixel edges integer, of a UTM place (2,)."""
        column, row = self.matrix @ [*(utm - self.middle), 1.0]
        return float(column), float(row)


@lru_cache(maxsize=1)
def _utm_to_geodetic() -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(robotcar.UTM_EPSG, 4326, always_xy=True)


def latlon_from_utm(utm: ArrayLike) -> tuple[Array, Array]:
    """Latitude and longitude, degrees, of (..., 2) easting and northing of zone 30 N."""
    utm = np.asarray(utm, dtype=np.float64)
    lon, lat = _utm_to_geodetic().transform(utm[..., 0], utm[..., 1])
    return np.asarray(lat), np.asarray(lon)


def utm_from_latlon(lat: ArrayLike, lon: ArrayLike) -> Array:
    """(..., 2) easting and northing of zone 30 N, m, of degrees."""
    east, north = _utm_to_geodetic().transform(lon, lat, direction='INVERSE')
    return np.stack([east, north], axis=-1)
