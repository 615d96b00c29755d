# SPDX-License-Identifier: Apache-2.0
"""Sensors that are wrong in the ways real ones are: noise, drift, wrong scale, no reception."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se2, se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.trajectory import Trajectory
from geoloc_core.types import GnssFix, ImuSample, OdometrySample

Array = NDArray[np.float64]

_GRAVITY = 9.80665


@dataclass(frozen=True)
class GnssModel:
    """A receiver among houses.

    Attributes:
        rate_hz: Fixes a second.
        std_m: Standard deviation along east and along north, m; up is 1.5 times as much.
        correlated: Part of the variance (0..1) that wanders slowly, as reflections make it, and
            is not averaged away by waiting.
        correlation_s: Time over which the slow part forgets itself, s.
        outages: (start, end) spans without reception, s since the start.
        antenna_in_base: (3,) lever arm, m.
    """

    rate_hz: float = 5.0
    std_m: float = 4.0
    correlated: float = 0.5
    correlation_s: float = 20.0
    outages: tuple[tuple[float, float], ...] = ()
    antenna_in_base: tuple[float, float, float] = (-0.4, 0.0, 1.2)


@dataclass(frozen=True)
class OdometryModel:
    """Wheels and a gyroscope.

    Attributes:
        rate_hz: Samples a second.
        scale: Distance reported over distance driven.
        yaw_drift: Constant error of the yaw rate, rad/s.
        yaw_scale: Turn reported over turn made.
        speed_std: White noise of the speed, m/s.
        yaw_rate_std: White noise of the yaw rate, rad/s.
    """

    rate_hz: float = 20.0
    scale: float = 1.02
    yaw_drift: float = float(np.radians(0.12))
    yaw_scale: float = 1.005
    speed_std: float = 0.05
    yaw_rate_std: float = float(np.radians(0.3))


@dataclass(frozen=True)
class ImuModel:
    """An inexpensive inertial unit in base_link axes.

    Attributes:
        rate_hz: Samples a second.
        gyro_bias: (3,) rad/s.
        gyro_std: White noise of a sample, rad/s.
        accel_bias: (3,) m/s^2.
        accel_std: White noise of a sample, m/s^2.
    """

    rate_hz: float = 50.0
    gyro_bias: tuple[float, float, float] = (0.001, -0.0015, 0.0025)
    gyro_std: float = 0.002
    accel_bias: tuple[float, float, float] = (0.02, -0.03, 0.05)
    accel_std: float = 0.05


def _times(trajectory: Trajectory, rate_hz: float) -> Array:
    """Sampling times (M,) within the drive, s."""
    return np.arange(0.0, trajectory.duration, 1 / rate_hz)


def _is_out(model: GnssModel, t: float) -> bool:
    return any(start <= t < end for start, end in model.outages)


def stamp_ns_from(start_ns: int, t: float) -> int:
    """Stamp of a time since the start, s."""
    return start_ns + round(t * 1e9)


def gnss_fixes(
    trajectory: Trajectory, frame: EnuFrame, model: GnssModel, seed: int, start_ns: int = 0
) -> list[GnssFix]:
    """Fixes of the antenna, none while an outage lasts.

    Args:
        trajectory: True motion.
        frame: Map frame it is in.
        model: The receiver.
        seed: Of its errors.
        start_ns: Stamp of the drive's start.

    Returns:
        Fixes, their covariance telling the true variance.
    """
    rng = np.random.default_rng([seed, 50])
    times = _times(trajectory, model.rate_hz)
    std = model.std_m * np.array([1.0, 1.0, 1.5])
    slow = np.empty((len(times), 3))
    slow[0] = rng.standard_normal(3)
    memory = np.exp(-1 / (model.rate_hz * model.correlation_s))
    for i in range(1, len(times)):
        slow[i] = memory * slow[i - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(3)
    fast = rng.standard_normal((len(times), 3))
    error = (np.sqrt(model.correlated) * slow + np.sqrt(1 - model.correlated) * fast) * std
    kept = np.array([not _is_out(model, t) for t in times], dtype=bool)
    antenna = np.array([se3.transform(trajectory.at(t), model.antenna_in_base) for t in times])
    geodetic = frame.geodetic_from_enu((antenna + error)[kept])
    cov = np.diag(std**2)
    return [
        GnssFix(stamp_ns_from(start_ns, t), float(lat), float(lon), float(alt), cov)
        for t, lat, lon, alt in zip(times[kept], *geodetic, strict=True)
    ]


def outage_stamps(trajectory: Trajectory, model: GnssModel, start_ns: int = 0) -> list[int]:
    """Stamps at which the receiver has to say that it has no fix."""
    return [
        stamp_ns_from(start_ns, t) for t in _times(trajectory, model.rate_hz) if _is_out(model, t)
    ]


def odometry_samples(
    trajectory: Trajectory, model: OdometryModel, seed: int, start_ns: int = 0
) -> list[OdometrySample]:
    """Dead reckoning from the start of the drive, with its errors added up.

    Args:
        trajectory: True motion.
        model: Wheels and gyroscope.
        seed: Of the noise.
        start_ns: Stamp of the drive's start.

    Returns:
        Planar poses in the odom frame, which lies where the drive began.
    """
    rng = np.random.default_rng([seed, 51])
    times = _times(trajectory, model.rate_hz)
    inner = np.searchsorted(trajectory.t, times)
    # True increments over each interval, so that a low rate does not lose distance in turns.
    distance = np.concatenate([[0.0], np.cumsum(trajectory.speed[:-1] * np.diff(trajectory.t))])
    driven = np.diff(distance[inner], prepend=0.0)
    turned = np.diff(trajectory.rpy[inner, 2], prepend=trajectory.rpy[0, 2])
    moving = trajectory.sample(trajectory.speed, times) > 0.05
    speed = driven * model.rate_hz * model.scale
    speed += moving * rng.normal(0, model.speed_std, len(times))
    rate = turned * model.rate_hz * model.yaw_scale + model.yaw_drift
    rate += rng.normal(0, model.yaw_rate_std, len(times))
    pose = np.eye(3)
    samples = []
    for i, t in enumerate(times):
        if i > 0:
            pose = pose @ se2.exp(np.array([speed[i], 0.0, rate[i]]) / model.rate_hz)
        x, y, yaw = se2.from_matrix(pose)
        samples.append(
            OdometrySample(
                stamp_ns_from(start_ns, t),
                se3.from_planar(x, y, yaw),
                linear=np.array([speed[i], 0.0, 0.0]),
                angular=np.array([0.0, 0.0, rate[i]]),
            )
        )
    return samples


def imu_samples(
    trajectory: Trajectory, model: ImuModel, seed: int, start_ns: int = 0
) -> list[ImuSample]:
    """Rates and specific force.

    Args:
        trajectory: True motion.
        model: The unit.
        seed: Of its noise.
        start_ns: Stamp of the drive's start.

    Returns:
        Samples without orientation, as such units give none.
    """
    rng = np.random.default_rng([seed, 52])
    times = _times(trajectory, model.rate_hz)
    angular = trajectory.sample(trajectory.angular, times)
    roll, pitch, _ = trajectory.sample(trajectory.rpy, times).T
    force = np.stack(
        [-np.sin(pitch), np.sin(roll) * np.cos(pitch), np.cos(roll) * np.cos(pitch)], axis=-1
    )
    force *= _GRAVITY
    force[:, 0] += trajectory.sample(trajectory.acceleration, times)
    force[:, 1] += trajectory.sample(trajectory.speed, times) * angular[:, 2]
    angular = angular + model.gyro_bias + rng.normal(0, model.gyro_std, angular.shape)
    force = force + model.accel_bias + rng.normal(0, model.accel_std, force.shape)
    return [
        ImuSample(stamp_ns_from(start_ns, t), rates, accelerations)
        for t, rates, accelerations in zip(times, angular, force, strict=True)
    ]
