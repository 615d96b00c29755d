# SPDX-License-Identifier: Apache-2.0
"""How a robot moves along its route: within what its motor, its tyres and the traffic allow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.angles import wrap
from geoloc_core.simulation.city import City
from geoloc_core.simulation.robots.detours import obstacles, round_obstacles
from geoloc_core.simulation.robots.pavements import walking_route
from geoloc_core.simulation.robots.routes import driving_route, Route, STEP_M

Array = NDArray[np.float64]

_RATE_HZ = 100.0
# Part of the time for which a traffic light is red.
_RED = 0.5
# A robot that has arrived stands for so long, s.
_REST_S = 1.0


@dataclass(frozen=True)
class DrivingStyle:
    """Limits a driver keeps.

    Attributes:
        speed: On a straight, m/s, where the street allows it.
        acceleration: m/s^2.
        braking: m/s^2.
        lateral: Sideways acceleration in turns, m/s^2.
        turn_rate: Of the yaw, rad/s.
        stop_every: A stop at every n-th junction without traffic lights on average; 0 for none.
        stop_s: How long such a stop lasts, s.
        red_s: (shortest, longest) wait at a red light, and at a kerb before crossing, s.
        on_foot: The way leads along pavements and over crossings.
        uneven_deg: Standard deviation of roll and pitch from the unevenness of the ground.
    """

    speed: float = 9.0
    acceleration: float = 1.3
    braking: float = 1.6
    lateral: float = 1.8
    turn_rate: float = 1.0
    stop_every: int = 5
    stop_s: float = 3.0
    red_s: tuple[float, float] = (2.0, 20.0)
    on_foot: bool = False
    uneven_deg: float = 0.25


# A car in town, a delivery robot on wheels, somebody who carries the camera.
ROBOTS: dict[str, DrivingStyle] = {
    'car': DrivingStyle(speed=13.9, acceleration=1.6, braking=2.0, lateral=2.2),
    'delivery': DrivingStyle(
        speed=1.6, acceleration=0.7, braking=0.9, lateral=0.5, red_s=(1.0, 8.0), on_foot=True,
        uneven_deg=0.5,
    ),
    'pedestrian': DrivingStyle(
        speed=1.4, acceleration=0.8, braking=1.0, lateral=0.6, red_s=(1.0, 8.0), on_foot=True,
        uneven_deg=1.0,
    ),
}  # fmt: skip


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
    """Drives, or walks, through a city.

    Args:
        city: Its streets.
        seed: Of the route, of the waiting and of the robot's swaying.
        duration: s; the robot is still on its way when it ends.
        style: Limits (`ROBOTS` has some); a calm driver if None.
        base_height: Of base_link's origin over the ground, m.

    Returns:
        The motion, starting from rest.

    Raises:
        ConfigError: `duration` is not positive, or the city has no streets.
    """
    if not duration > 0:
        raise ConfigError(f'a drive needs a positive duration in seconds, got {duration}')
    style = style or DrivingStyle()
    rng = np.random.default_rng([seed, 40])
    length = duration * style.speed + 50.0
    if style.on_foot:
        route = round_obstacles(walking_route(rng, city, length), *obstacles(city))
    else:
        route = driving_route(rng, city, length)
    return trajectory_along(rng, route, style, duration, base_height)


def trajectory_along(
    rng: np.random.Generator,
    route: Route,
    style: DrivingStyle,
    duration: float | None = None,
    base_height: float = 0.3,
) -> Trajectory:
    """Drives, or walks, along a route.

    Args:
        rng: Of the waiting and of the robot's swaying.
        route: The way; where its limit ends at 0 the robot comes to rest there.
        style: Limits.
        duration: s; as long as the route takes, and a second of rest, if None.
        base_height: Of base_link's origin over the ground, m.

    Returns:
        The motion, starting from rest.
    """
    path = route.line
    s, speed = _speed_profile(rng, route, style, duration)
    spline = CubicSpline(path.s, path.points)
    t = np.arange(len(s)) / _RATE_HZ
    xy, tangent, bend = spline(s), spline(s, 1), spline(s, 2)
    yaw = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    curvature = tangent[:, 0] * bend[:, 1] - tangent[:, 1] * bend[:, 0]
    curvature /= np.linalg.norm(tangent, axis=1) ** 3
    acceleration = np.gradient(speed, t)
    uneven = np.radians(style.uneven_deg)
    roll, pitch = _sway(rng, path.length, s, acceleration, speed**2 * curvature, uneven)
    rpy = np.stack([roll, pitch, yaw], axis=-1)
    xyz = np.concatenate([xy, np.full((len(s), 1), base_height)], axis=1)
    return Trajectory(t, xyz, rpy, speed, acceleration, _body_rates(t, rpy))


def _speed_profile(
    rng: np.random.Generator, route: Route, style: DrivingStyle, duration: float | None
) -> tuple[Array, Array]:
    """Distance driven and speed, every 10 ms: slow in turns, at rest at some junctions."""
    path = route.line
    s = np.arange(0.0, path.length, STEP_M)
    spline = CubicSpline(path.s, path.points)
    tangent, bend = spline(s, 1), spline(s, 2)
    curvature = np.abs(tangent[:, 0] * bend[:, 1] - tangent[:, 1] * bend[:, 0])
    limit = np.minimum(style.speed, np.interp(s, path.s, route.limit))
    limit = np.minimum(limit, np.sqrt(style.lateral / np.maximum(curvature, 1e-4)))
    limit = np.minimum(limit, style.turn_rate / np.maximum(curvature, 1e-4))
    limit[0] = 0.0
    if route.limit[-1] == 0.0:
        limit[-1] = 0.0  # the line ends between two steps: the last of them is where to stop
    wait = np.zeros(len(s))
    for stop in route.stops:
        i = round(stop.s / STEP_M)
        if stop.kind == 'line':
            pause = style.stop_s if style.stop_every and rng.random() < 1 / style.stop_every else 0
        else:
            pause = rng.uniform(*style.red_s) if rng.random() < _RED else 0.0
        if pause and 0 < i < len(s):
            limit[i] = 0.0
            wait[i] = pause
    square = limit**2
    for i in range(1, len(s)):
        square[i] = min(square[i], square[i - 1] + 2 * style.acceleration * STEP_M)
    for i in range(len(s) - 2, -1, -1):
        square[i] = min(square[i], square[i + 1] + 2 * style.braking * STEP_M)
    speed = np.sqrt(square)
    passing = 2 * STEP_M / np.maximum(speed[1:] + speed[:-1], 1e-3)
    arrive = np.concatenate([[0.0], np.cumsum(passing + wait[:-1])])
    # At a stop the clock runs on while the distance stands: both ends of the pause are points.
    times = np.stack([arrive, arrive + wait], axis=1).ravel()
    steps = np.repeat(speed, 2)
    end = float(times[-1]) + _REST_S if duration is None else duration
    t = np.arange(0.0, end + 0.5 / _RATE_HZ, 1 / _RATE_HZ)
    smooth = gaussian_filter1d(np.interp(t, times, steps), 0.3 * _RATE_HZ, mode='nearest')
    driven = np.concatenate([[0.0], np.cumsum((smooth[1:] + smooth[:-1]) / 2 / _RATE_HZ)])
    return driven, smooth


def _sway(
    rng: np.random.Generator,
    length: float,
    s: Array,
    forward: Array,
    sideways: Array,
    uneven_rad: float,
) -> tuple[Array, Array]:
    """Roll and pitch (rad): the body leans with acceleration, and the road is not quite even."""
    count = round(length) + 2
    bumps = gaussian_filter1d(rng.standard_normal((2, count)), 4.0, axis=1)
    bumps *= uneven_rad / bumps.std(axis=1, keepdims=True)
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
