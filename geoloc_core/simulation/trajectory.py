# SPDX-License-Identifier: Apache-2.0
"""A car's way through the city: a route along streets, driven within what a car can do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.angles import wrap
from geoloc_core.simulation.city import City, LANE_M
from geoloc_core.simulation.ground import STOP_LINE_M
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

_RATE_HZ = 100.0
_STEP_M = 0.25
# A turn leaves its street this far before the junction's middle.
_TURN_M = 11.0


@dataclass(frozen=True)
class DrivingStyle:
    """Limits a driver keeps.

    Attributes:
        speed: On a straight, m/s.
        acceleration: m/s^2.
        braking: m/s^2.
        lateral: Sideways acceleration in turns, m/s^2.
        stop_every: A stop at every n-th junction on average; 0 for none.
        stop_s: How long a stop lasts, s.
    """

    speed: float = 9.0
    acceleration: float = 1.3
    braking: float = 1.6
    lateral: float = 1.8
    stop_every: int = 5
    stop_s: float = 3.0


@dataclass(frozen=True)
class Trajectory:
    """True motion of base_link, sampled every 10 ms.

    Attributes:
        t: (N,) s since the start.
        xyz: (N, 3) m, map frame.
        rpy: (N, 3) roll, pitch, yaw, rad; yaw is continuous, not wrapped.
        speed: (N,) m/s along x of base_link.
        acceleration: (N,) m/s^2 along x of base_link.
        angular: (N, 3) rad/s in base_link.
    """

    t: Array
    xyz: Array
    rpy: Array
    speed: Array
    acceleration: Array
    angular: Array

    @property
    def duration(self) -> float:
        """Length in time, s."""
        return float(self.t[-1])

    def at(self, t: float) -> Array:
        """T_map_base (4, 4) at a time, s."""
        x, y, z = (float(np.interp(t, self.t, column)) for column in self.xyz.T)
        roll, pitch, yaw = (float(np.interp(t, self.t, column)) for column in self.rpy.T)
        return se3.from_xyz_rpy(x, y, z, roll, pitch, float(wrap(yaw)))

    def sample(self, values: Array, t: Array) -> Array:
        """One of the trajectory's series, (N,) or (N, C), at times (M,)."""
        if values.ndim == 1:
            return np.interp(t, self.t, values)
        return np.stack([np.interp(t, self.t, column) for column in values.T], axis=-1)


def make_trajectory(
    city: City,
    seed: int,
    duration: float,
    *,
    style: DrivingStyle | None = None,
    base_height: float = 0.3,
) -> Trajectory:
    """Drives through a city.

    Args:
        city: Its streets.
        seed: Of the route and of the car's swaying.
        duration: s; the car is still driving when it ends.
        style: Limits; a calm driver if None.
        base_height: Of base_link's origin over the ground, m.

    Returns:
        The motion, starting from rest.

    Raises:
        ConfigError: `duration` is not positive.
    """
    if not duration > 0:
        raise ConfigError(f'a drive needs a positive duration in seconds, got {duration}')
    style = style or DrivingStyle()
    rng = np.random.default_rng([seed, 40])
    path, junctions = _route(rng, city, duration * style.speed + 50.0)
    s, speed = _speed_profile(rng, path, junctions, style, duration)
    spline = CubicSpline(path.s, path.points)
    t = np.arange(len(s)) / _RATE_HZ
    xy, tangent, bend = spline(s), spline(s, 1), spline(s, 2)
    yaw = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    curvature = tangent[:, 0] * bend[:, 1] - tangent[:, 1] * bend[:, 0]
    curvature /= np.linalg.norm(tangent, axis=1) ** 3
    acceleration = np.gradient(speed, t)
    roll, pitch = _sway(rng, path.length, s, acceleration, speed**2 * curvature)
    rpy = np.stack([roll, pitch, yaw], axis=-1)
    xyz = np.concatenate([xy, np.full((len(s), 1), base_height)], axis=1)
    return Trajectory(t, xyz, rpy, speed, acceleration, _body_rates(t, rpy))


def _route(rng: np.random.Generator, city: City, length: float) -> tuple[Polyline, list[float]]:
    """A smooth line in the right-hand lane, and where on it the stop lines are.

    The route never turns back into the street it came from and prefers streets not driven yet.
    """
    leaving: dict[int, list[tuple[int, Polyline, int]]] = {}
    for i, street in enumerate(city.streets):
        leaving.setdefault(street.start, []).append((street.end, street.line, i))
        leaving.setdefault(street.end, []).append((street.start, street.line.reversed(), i))
    driven = np.zeros(len(city.streets))
    first = city.streets[int(rng.integers(len(city.streets)))]
    node, last = first.start, -1
    pieces: list[Array] = []
    stops: list[float] = []
    total = 0.0
    while total < length:
        ways = [way for way in leaving[node] if way[2] != last]
        cost = [driven[way[2]] + 0.5 * rng.random() for way in ways]
        node, line, last = ways[int(np.argmin(cost))]
        driven[last] += 1
        lane = line.part(_TURN_M, line.length - _TURN_M).offset(-LANE_M / 2).resampled(1.0)
        if pieces:
            turn = _turn(pieces[-1], lane.points)
            total += Polyline(turn).length
            pieces.append(turn[1:-1])
        pieces.append(lane.points)
        total += lane.length
        # The car's nose, not its rear axle, stops at the line.
        stops.append(total - (STOP_LINE_M - _TURN_M) - 3.5)
    rough = Polyline(np.concatenate(pieces)).resampled(_STEP_M)
    smooth = gaussian_filter1d(rough.points, 2.0 / _STEP_M, axis=0, mode='nearest')
    return Polyline(smooth), stops


def _turn(before: Array, after: Array) -> Array:
    """A cubic Bezier curve (21, 2) from the end of one lane to the start of the next."""
    p, q = before[-1], after[0]
    out = (before[-1] - before[-2]) / np.linalg.norm(before[-1] - before[-2])
    into = (after[1] - after[0]) / np.linalg.norm(after[1] - after[0])
    reach = 0.39 * np.linalg.norm(q - p)
    t = np.linspace(0, 1, 21)[:, None]
    a, b = p + out * reach, q - into * reach
    return (1 - t) ** 3 * p + 3 * t * (1 - t) ** 2 * a + 3 * t**2 * (1 - t) * b + t**3 * q


def _speed_profile(
    rng: np.random.Generator,
    path: Polyline,
    stops: list[float],
    style: DrivingStyle,
    duration: float,
) -> tuple[Array, Array]:
    """Distance driven and speed, every 10 ms: slow in turns, at rest at some junctions."""
    s = np.arange(0.0, path.length, _STEP_M)
    spline = CubicSpline(path.s, path.points)
    tangent, bend = spline(s, 1), spline(s, 2)
    curvature = np.abs(tangent[:, 0] * bend[:, 1] - tangent[:, 1] * bend[:, 0])
    limit = np.minimum(style.speed, np.sqrt(style.lateral / np.maximum(curvature, 1e-4)))
    limit[0] = 0.0
    wait = np.zeros(len(s))
    for stop in stops:
        i = round(stop / _STEP_M)
        if style.stop_every and i < len(s) and rng.random() < 1 / style.stop_every:
            limit[i] = 0.0
            wait[i] = style.stop_s
    square = limit**2
    for i in range(1, len(s)):
        square[i] = min(square[i], square[i - 1] + 2 * style.acceleration * _STEP_M)
    for i in range(len(s) - 2, -1, -1):
        square[i] = min(square[i], square[i + 1] + 2 * style.braking * _STEP_M)
    speed = np.sqrt(square)
    passing = 2 * _STEP_M / np.maximum(speed[1:] + speed[:-1], 1e-3)
    arrive = np.concatenate([[0.0], np.cumsum(passing + wait[:-1])])
    # At a stop the clock runs on while the distance stands: both ends of the pause are points.
    times = np.stack([arrive, arrive + wait], axis=1).ravel()
    steps = np.repeat(speed, 2)
    t = np.arange(0.0, duration + 0.5 / _RATE_HZ, 1 / _RATE_HZ)
    smooth = gaussian_filter1d(np.interp(t, times, steps), 0.3 * _RATE_HZ, mode='nearest')
    driven = np.concatenate([[0.0], np.cumsum((smooth[1:] + smooth[:-1]) / 2 / _RATE_HZ)])
    return driven, smooth


def _sway(
    rng: np.random.Generator, length: float, s: Array, forward: Array, sideways: Array
) -> tuple[Array, Array]:
    """Roll and pitch (rad): the body leans with acceleration, and the road is not quite even."""
    count = round(length) + 2
    bumps = gaussian_filter1d(rng.standard_normal((2, count)), 4.0, axis=1)
    bumps *= np.radians(0.25) / bumps.std(axis=1, keepdims=True)
    uneven = [CubicSpline(np.arange(count), row)(s) for row in bumps]
    return uneven[0] + 0.006 * sideways, uneven[1] - 0.006 * forward


def _body_rates(t: Array, rpy: Array) -> Array:
    """Angular velocity (N, 3) in base_link of REP-103 angles."""
    roll, pitch, _ = rpy.T
    d_roll, d_pitch, d_yaw = np.gradient(rpy, t, axis=0).T
    return np.stack(
        [
            d_roll - d_yaw * np.sin(pitch),
            d_pitch * np.cos(roll) + d_yaw * np.sin(roll) * np.cos(pitch),
            d_yaw * np.cos(roll) * np.cos(pitch) - d_pitch * np.sin(roll),
        ],
        axis=-1,
    )
