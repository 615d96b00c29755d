# SPDX-License-Identifier: Apache-2.0
"""A satellite receiver among houses: noise that wanders, reflections, lost satellites, outages."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.city import Building
from geoloc_core.simulation.city.room import inside
from geoloc_core.simulation.robots.gnss_sky import Constellation, SkyView, Walls
from geoloc_core.simulation.robots.sensors import sample_times, stamp_ns_from
from geoloc_core.simulation.robots.trajectory import Trajectory
from geoloc_core.types import GnssFix

Array = NDArray[np.float64]

# Receivers ignore satellites lower than this.
_MASK_RAD = np.radians(10.0)
# A fix whose horizontal dilution is worse is not given out.
_WORST_DOP = 12.0
# Weight of a satellite that is heard over a wall only: it is weaker, and receivers see that.
_REFLECTED_WEIGHT = 0.25
# An optimistic receiver reports this part of the variance of its noise, and no reflections.
_OPTIMISM = 0.25
# A wall that answers beside the direct signal shifts it by this part of the detour, up or down
# with the phase (wavelength 0.19 m), and detours beyond the chip's length do nothing.
_INTERFERENCE = 0.15
_CHIP_M = 20.0
_WAVELENGTH_M = 0.1903


@dataclass(frozen=True)
class GnssModel:
    """A receiver among houses.

    Attributes:
        rate_hz: Fixes a second.
        std_m: Standard deviation along east and along north under an open sky, m; up is 1.5
            times as much without `multipath`, and what the satellites' places make it with it.
        correlated: Part of the variance (0..1) that wanders slowly, as the atmosphere makes it,
            and is not averaged away by waiting.
        correlation_s: Time over which the slow part forgets itself, s.
        outages: (start, end) spans without reception, s since the start.
        antenna_in_base: (3,) lever arm, m.
        multipath: Satellites stand in the sky: buildings hide them or reflect them, and every
            fix is a least squares solution of the ranges that are left.
        smooth_walls: Part (0..1) of the walls that reflect.
        covariance: 'honest', the true variance of noise and reflections; or 'optimistic', a
            quarter of the noise's and nothing of the reflections, as many receivers report.
    """

    rate_hz: float = 5.0
    std_m: float = 4.0
    correlated: float = 0.5
    correlation_s: float = 20.0
    outages: tuple[tuple[float, float], ...] = ()
    antenna_in_base: tuple[float, float, float] = (-0.4, 0.0, 1.2)
    multipath: bool = False
    smooth_walls: float = 0.6
    covariance: str = 'honest'

    def __post_init__(self) -> None:
        """Checks the choices.

        Raises:
            ConfigError: `covariance` is neither of the two, or `std_m` not positive.
        """
        if self.covariance not in ('honest', 'optimistic'):
            raise ConfigError(
                f"covariance is {self.covariance!r}: expected 'honest' or 'optimistic'"
            )
        if not self.std_m > 0:
            raise ConfigError(f'std_m is {self.std_m}: expected a positive number of metres')


@dataclass(frozen=True)
class GnssRecord:
    """What a receiver said during a drive.

    Attributes:
        fixes: In the order of their stamps.
        lost_ns: Stamps at which it had to say that it has no fix.
        used: (F,) satellites used, reflected ones too, for each fix; 0 without `multipath`.
        reflected: (F,) of these, heard over a wall only.
    """

    fixes: list[GnssFix]
    lost_ns: list[int]
    used: NDArray[np.int64]
    reflected: NDArray[np.int64]


def gnss_record(
    trajectory: Trajectory,
    frame: EnuFrame,
    model: GnssModel,
    seed: int,
    start_ns: int = 0,
    buildings: Iterable[Building] = (),
) -> GnssRecord:
    """Everything a receiver says during a drive.

    Args:
        trajectory: True motion.
        frame: Map frame it is in.
        model: The receiver.
        seed: Of its errors, and of the satellites' places.
        start_ns: Stamp of the drive's start.
        buildings: What stands around, for `multipath`; and in which nothing is heard, if it has
            an open door.

    Returns:
        Fixes and moments without.
    """
    buildings = tuple(buildings)
    rng = np.random.default_rng([seed, 50])
    times = sample_times(trajectory, model.rate_hz)
    attitudes = trajectory.sample(trajectory.rpy, times)
    arm = np.array([se3.rotation_from_rpy(*rpy) @ model.antenna_in_base for rpy in attitudes])
    antenna = trajectory.sample(trajectory.xyz, times) + arm
    if model.multipath:
        solver = _SkySolver(model, frame, seed, buildings)
        found = solver.solve(rng, times, antenna)
    else:
        found = _open_sky(rng, model, len(times))
    heard = np.array([not _is_out(model, t) for t in times], dtype=bool) & found.solved
    heard &= ~_under_roofs(antenna, buildings)
    geodetic = frame.geodetic_from_enu((antenna + found.error)[heard])
    fixes = [
        GnssFix(stamp_ns_from(start_ns, t), float(lat), float(lon), float(alt), cov)
        for t, lat, lon, alt, cov in zip(times[heard], *geodetic, found.cov[heard], strict=True)
    ]
    lost = [stamp_ns_from(start_ns, t) for t in times[~heard]]
    return GnssRecord(fixes, lost, found.used[heard], found.reflected[heard])


def gnss_fixes(
    trajectory: Trajectory,
    frame: EnuFrame,
    model: GnssModel,
    seed: int,
    start_ns: int = 0,
    buildings: Iterable[Building] = (),
) -> list[GnssFix]:
    """The fixes of `gnss_record`."""
    return gnss_record(trajectory, frame, model, seed, start_ns, buildings).fixes


def _is_out(model: GnssModel, t: float) -> bool:
    return any(start <= t < end for start, end in model.outages)


def _under_roofs(antenna: Array, buildings: Iterable[Building]) -> NDArray[np.bool_]:
    """Which places (N, 3) lie in a building that one can drive into."""
    hidden = np.zeros(len(antenna), bool)
    for building in buildings:
        if building.doors:
            hidden |= np.array([inside(building.footprint, xy) for xy in antenna[:, :2]], bool)
    return hidden


@dataclass(frozen=True)
class _Solutions:
    """Errors (N, 3) m of all moments, covariances (N, 3, 3), and whether there was a solution."""

    error: Array
    cov: Array
    solved: NDArray[np.bool_]
    used: NDArray[np.int64]
    reflected: NDArray[np.int64]


def _wandering(rng: np.random.Generator, model: GnssModel, count: int, width: int) -> Array:
    """Errors (count, width) of unit variance: a slow part (Gauss-Markov) and a white one."""
    slow = np.empty((count, width))
    slow[0] = rng.standard_normal(width)
    memory = np.exp(-1 / (model.rate_hz * model.correlation_s))
    for i in range(1, count):
        slow[i] = memory * slow[i - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(width)
    fast = rng.standard_normal((count, width))
    return np.asarray(np.sqrt(model.correlated) * slow + np.sqrt(1 - model.correlated) * fast)


def _open_sky(rng: np.random.Generator, model: GnssModel, count: int) -> _Solutions:
    """Errors that do not know of satellites."""
    std = model.std_m * np.array([1.0, 1.0, 1.5])
    told = _OPTIMISM if model.covariance == 'optimistic' else 1.0
    none = np.zeros(count, np.int64)
    return _Solutions(
        _wandering(rng, model, count, 3) * std,
        np.tile(np.diag(std**2) * told, (count, 1, 1)),
        np.ones(count, bool),
        none,
        none,
    )


class _SkySolver:
    """Solves fixes from the ranges to satellites.

    The range to a satellite towards s is too long by e; linearised about the truth, the error of
    position and clock is (H' W H)^-1 H' W e with rows (-s, 1) of H and sin(elevation)^2 in W.
    """

    def __init__(
        self, model: GnssModel, frame: EnuFrame, seed: int, buildings: Iterable[Building]
    ) -> None:
        self._model = model
        self._sky = Constellation(seed, frame.datum.lat_deg, frame.datum.lon_deg)
        self._walls = Walls(buildings, seed, model.smooth_walls)

    def solve(self, rng: np.random.Generator, times: Array, antenna: Array) -> _Solutions:
        count = len(times)
        satellites = len(self._sky.directions(0.0))
        noise = _wandering(rng, self._model, count, satellites)
        error, cov = np.zeros((count, 3)), np.tile(np.eye(3), (count, 1, 1))
        solved = np.zeros(count, bool)
        used, reflected = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for i, t in enumerate(times):
            directions = self._sky.directions(float(t))
            high = np.flatnonzero(directions[:, 2] > np.sin(_MASK_RAD))
            view = self._walls.view(antenna[i], directions[high])
            heard = ~view.blocked | np.isfinite(view.excess_m)
            used[i] = heard.sum()
            reflected[i] = (heard & view.blocked).sum()
            answer = self._fix(directions[high], view, heard, noise[i, high])
            if answer is not None:
                error[i], cov[i] = answer
                solved[i] = True
        return _Solutions(error, cov, solved, used, reflected)

    def _fix(
        self, directions: Array, view: SkyView, heard: NDArray[np.bool_], noise: Array
    ) -> tuple[Array, Array] | None:
        """Error (3,) and reported covariance (3, 3) of one fix, or None without a good one."""
        sine = directions[:, 2]
        rows = np.concatenate([-directions, np.ones((len(directions), 1))], axis=1)
        open_sky = np.linalg.inv(rows.T @ (rows * sine[:, None] ** 2))
        # The noise of a range is such that an open sky gives the horizontal error promised.
        sigma = self._model.std_m / np.sqrt((open_sky[0, 0] + open_sky[1, 1]) / 2)
        if heard.sum() < 4:
            return None
        rows, sine = rows[heard], sine[heard]
        blocked, detour = view.blocked[heard], np.nan_to_num(view.excess_m[heard])
        weight = sine**2 * np.where(blocked, _REFLECTED_WEIGHT, 1.0)
        normal = rows.T @ (rows * weight[:, None])
        if np.linalg.cond(normal) > 1e10:
            return None
        inverse = np.linalg.inv(normal)
        if np.sqrt((inverse[0, 0] + inverse[1, 1]) / 2) > _WORST_DOP:
            return None
        gain = inverse @ (rows * weight[:, None]).T
        beat = np.cos(2 * np.pi * detour / _WAVELENGTH_M) * (detour < _CHIP_M)
        excess = np.where(blocked, detour, _INTERFERENCE * detour * beat)
        bias = (gain @ excess)[:3]
        error = bias + (gain @ (sigma * noise[heard] / sine))[:3]
        cov = sigma**2 * (gain / sine**2 @ gain.T)[:3, :3]
        if self._model.covariance == 'optimistic':
            return error, cov * _OPTIMISM
        return error, cov + np.diag(bias**2)
