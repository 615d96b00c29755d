# SPDX-License-Identifier: Apache-2.0
"""The door for GNSS fixes: refuses the impossible, finds a datum, and puts them on the map."""

from dataclasses import replace

import numpy as np

from geoloc_core.estimation.config import DatumConfig, GnssConfig
from geoloc_core.estimation.covariance import is_usable
from geoloc_core.estimation.yaw_init import Position
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.types import GnssFix, Status

# Deviation of a height that a fix does not tell, m.
NO_HEIGHT_STD = 1000.0


def checked(fix: GnssFix, config: GnssConfig) -> GnssFix | tuple[Status, str]:
    """A fix with its floors applied, or why it cannot be used."""
    lat, lon = fix.lat_deg, fix.lon_deg
    if not (np.isfinite(lat) and np.isfinite(lon)):
        return Status.BAD_INPUT, f'fix is not finite: lat {lat}, lon {lon}'
    if abs(lat) > 90.0 or abs(lon) > 180.0:
        return Status.BAD_INPUT, f'fix is not on Earth: lat {lat}, lon {lon}'
    if lat == 0.0 and lon == 0.0:
        return Status.NO_FIX, 'fix is exactly 0, 0: what receivers send when they have none'
    alt = fix.alt_m
    if np.isinf(alt) or abs(np.nan_to_num(alt)) > config.max_abs_alt_m:
        return Status.BAD_INPUT, f'height {alt} m is impossible'
    cov = np.asarray(fix.cov_enu, dtype=np.float64)
    if not is_usable(cov, 3):
        return Status.BAD_INPUT, 'covariance is not finite, symmetric and positive definite'
    arm = fix.antenna_in_base
    if arm is not None and (np.shape(arm) != (3,) or not np.all(np.isfinite(arm))):
        return Status.BAD_INPUT, 'antenna lever arm is not finite'
    worst = float(np.sqrt(np.diag(cov)[:2].max()))
    if worst > config.std_max:
        return Status.BAD_INPUT, f'the fix itself claims {worst:.0f} m > {config.std_max:.0f} m'
    floor = np.array([config.std_min, config.std_min, config.std_vertical_min]) ** 2
    return replace(fix, cov_enu=cov + np.diag(np.maximum(floor - np.diag(cov), 0.0)))


def placed(fix: GnssFix, frame: EnuFrame, config: GnssConfig) -> Position:
    """A checked fix on the map; one without a height leaves it open.

    Args:
        fix: Of the antenna.
        frame: The map frame.
        config: Has the antenna's place for fixes that do not tell it.
    """
    xyz = frame.enu_from_geodetic(fix.lat_deg, fix.lon_deg, fix.alt_m)
    cov = fix.cov_enu
    if not np.isfinite(xyz[2]):
        xyz = np.array([xyz[0], xyz[1], 0.0])
        cov = np.zeros((3, 3))
        cov[:2, :2] = fix.cov_enu[:2, :2]
        cov[2, 2] = NO_HEIGHT_STD**2
    arm = fix.antenna_in_base
    if arm is None:
        arm = np.array(config.antenna_in_base)
    return Position(fix.stamp_ns, xyz, cov, np.asarray(arm, dtype=np.float64))


class DatumFinder:
    """The map frame: configured, given, or the median of the first good fixes."""

    def __init__(self, config: DatumConfig) -> None:
        self._config = config
        self._first: list[GnssFix] = []
        self.frame: EnuFrame | None = None
        if np.isfinite(config.lat_deg) and np.isfinite(config.lon_deg):
            self.frame = EnuFrame(Datum(config.lat_deg, config.lon_deg, config.alt_m))

    def offer(self, fix: GnssFix) -> list[GnssFix]:
        """Takes a good fix; returns the fixes that can now be placed on the map."""
        if self.frame is not None:
            return [fix]
        self._first = [*self._first[-100:], fix]
        if self._config.wait_for_datum or len(self._first) < self._config.average_fixes:
            return []
        lats = np.array([each.lat_deg for each in self._first])
        # Relative to the first one, so that the antimeridian does not run through the median.
        lon0 = self._first[0].lon_deg
        lons = np.array([(each.lon_deg - lon0 + 180.0) % 360.0 - 180.0 for each in self._first])
        alts = np.array([each.alt_m for each in self._first])
        alt = float(np.median(alts[np.isfinite(alts)])) if np.isfinite(alts).any() else 0.0
        lon = (lon0 + float(np.median(lons)) + 180.0) % 360.0 - 180.0
        self.frame = EnuFrame(Datum(float(np.median(lats)), lon, alt))
        return self.release()

    def release(self) -> list[GnssFix]:
        """The fixes that waited for a datum, once."""
        waiting, self._first = self._first, []
        return waiting
