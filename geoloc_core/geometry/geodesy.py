# SPDX-License-Identifier: Apache-2.0
"""Latitude, longitude and ellipsoidal height to a local east-north-up frame, and back.

The frame is a true tangent plane (topocentric, through ECEF), so it has no zones, no borders and
no scale factor: it is the same at the equator, at the antimeridian and near a pole. Being a plane,
it leaves the ground with distance: points on the ellipsoid 1 km away lie 0.08 m below it.

Heights are over the WGS84 ellipsoid. Heights over sea level must be converted before they get
here; pyproj does so only where geoid grids are installed, and otherwise says nothing.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
import pyproj

from geoloc_core.errors import InputError
from geoloc_core.geometry import se3
from geoloc_core.geometry.tiles import wrap_lon

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Datum:
    """The origin of a local frame.

    Attributes:
        lat_deg: WGS84 latitude, -90..90.
        lon_deg: WGS84 longitude, -180..180.
        alt_m: Height over the WGS84 ellipsoid.
    """

    lat_deg: float
    lon_deg: float
    alt_m: float = 0.0

    def __post_init__(self) -> None:
        """Refuses places that are not on Earth.

        Raises:
            InputError: A value is not finite or out of range.
        """
        if not np.all(np.isfinite([self.lat_deg, self.lon_deg, self.alt_m])):
            raise InputError(
                f'datum must be finite, got lat {self.lat_deg}, lon {self.lon_deg}, '
                f'alt {self.alt_m}'
            )
        if abs(self.lat_deg) > 90 or abs(self.lon_deg) > 180:
            raise InputError(
                f'datum lat {self.lat_deg}, lon {self.lon_deg} is not on Earth: expected degrees '
                'with |lat| <= 90 and |lon| <= 180; are the two swapped?'
            )


@dataclass(frozen=True)
class EnuFrame:
    """The tangent plane at a datum: x east, y north, z up, m.

    Safe to share between threads (pyproj's transformers keep one context per thread).

    Attributes:
        datum: The origin.
    """

    datum: Datum

    @cached_property
    def _transformer(self) -> pyproj.Transformer:
        # repr() keeps every bit of a float; a rounded datum would shift the frame.
        lat, lon, alt = (
            repr(float(value))
            for value in (self.datum.lat_deg, self.datum.lon_deg, self.datum.alt_m)
        )
        return pyproj.Transformer.from_pipeline(
            '+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad '
            '+step +proj=cart +ellps=WGS84 '
            f'+step +proj=topocentric +ellps=WGS84 +lat_0={lat} +lon_0={lon} +h_0={alt}'
        )

    def enu_from_geodetic(self, lat: ArrayLike, lon: ArrayLike, alt: ArrayLike) -> Array:
        """Local positions of geodetic ones.

        Args:
            lat: (...) degrees; any broadcastable shapes.
            lon: (...) degrees; 190 is the same as -170.
            alt: (...) m over the ellipsoid. Where it is NaN (a receiver without height) the
                datum's height stands in for x and y, and z is NaN.

        Returns:
            (..., 3) float64 m; NaN where lat or lon is not finite or |lat| > 90.
        """
        lat, lon, alt = np.broadcast_arrays(
            *(np.asarray(value, dtype=np.float64) for value in (lat, lon, alt))
        )
        no_height = np.isnan(alt)
        good = np.isfinite(lat) & np.isfinite(lon) & (np.abs(np.nan_to_num(lat)) <= 90)
        x, y, z = self._transformer.transform(
            # PROJ refuses longitudes far out of range, and answers bad input with infinities.
            np.where(good, wrap_lon(np.nan_to_num(lon)), 0.0),
            np.where(good, lat, 0.0),
            np.where(no_height, self.datum.alt_m, alt),
        )
        xyz = np.stack([x, y, np.where(no_height, np.nan, z)], axis=-1)
        return np.where(good[..., None] & ~np.isinf(xyz), xyz, np.nan)

    def geodetic_from_enu(self, xyz: ArrayLike) -> tuple[Array, Array, Array]:
        """Geodetic positions of local ones.

        Args:
            xyz: (..., 3) m.

        Returns:
            lat (...) degrees, lon (...) degrees in [-180, 180], alt (...) m over the ellipsoid;
            all NaN where a coordinate is not finite.
        """
        xyz = np.asarray(xyz, dtype=np.float64)
        good = np.isfinite(xyz).all(axis=-1)
        filled = np.where(good[..., None], xyz, 0.0)
        lon, lat, alt = self._transformer.transform(
            filled[..., 0], filled[..., 1], filled[..., 2], direction='INVERSE'
        )
        return (
            np.where(good, lat, np.nan)[()],
            np.where(good, lon, np.nan)[()],
            np.where(good, alt, np.nan)[()],
        )

    def convergence(self, lat: ArrayLike, lon: ArrayLike) -> Array:
        """Direction of true north at a place, seen in this frame.

        Away from the datum's meridian true north is no longer +y: at 84 degrees north, 0.5 degree
        per 5.6 km. A yaw measured against local true north becomes a yaw in this frame by adding
        this angle.

        Convention: CCW positive from +y, so positive east of the datum in the north.

        Args:
            lat: (...) degrees.
            lon: (...) degrees.

        Returns:
            (...) rad.
        """
        phi = np.deg2rad(np.asarray(lat, dtype=np.float64))
        phi_0 = np.deg2rad(self.datum.lat_deg)
        turn = np.deg2rad(np.asarray(lon, dtype=np.float64) - self.datum.lon_deg)
        # The local north vector, resolved along the datum's west and north vectors.
        west = np.sin(phi) * np.sin(turn)
        north = np.sin(phi) * np.sin(phi_0) * np.cos(turn) + np.cos(phi) * np.cos(phi_0)
        return np.arctan2(west, north)


def T_between(old: EnuFrame, new: EnuFrame) -> Array:
    """T_new_old (4, 4): tangent planes of the same Earth, so a rigid motion."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    moved = new.enu_from_geodetic(*old.geodetic_from_enu(corners))
    R = (moved[1:] - moved[0]).T
    u, _, vt = np.linalg.svd(R)
    return se3.make(u @ vt, moved[0])


@lru_cache(maxsize=1)
def _wgs84() -> pyproj.Geod:
    return pyproj.Geod(ellps='WGS84')


def distance_m(lat_a: ArrayLike, lon_a: ArrayLike, lat_b: ArrayLike, lon_b: ArrayLike) -> Array:
    """Length (...) in m of the geodesic on the WGS84 ellipsoid; degrees, broadcastable shapes."""
    lat_a, lon_a, lat_b, lon_b = np.broadcast_arrays(
        *(np.asarray(value, dtype=np.float64) for value in (lat_a, lon_a, lat_b, lon_b))
    )
    return np.asarray(_wgs84().inv(lon_a, lat_a, lon_b, lat_b)[2], dtype=np.float64)[()]
