# SPDX-License-Identifier: Apache-2.0
"""Wheels and inertial units that are wrong in the ways real ones are.

Every fault draws from a random stream of its own, so that switching one on leaves the others as
they were.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from geoloc_core.geometry import se2, se3
from geoloc_core.simulation.robots.trajectory import Trajectory
from geoloc_core.types import ImuSample, OdometrySample

Array = NDArray[np.float64]

_GRAVITY = 9.80665
# Faster turns than this are turns, each with an error of its own, rad/s.
_TURN_RATE = np.radians(3.0)


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
        turn_scale_std: Every turn is reported too large or too small by a factor of its own, of
            this standard deviation around `yaw_scale`.
        grip: Acceleration along the road from which the wheels slip, m/s^2; dry asphalt holds
            about 8, wet 4, snow 1.5. Accelerating wheels turn too fast, braking ones too slowly.
        slip: Mean part of the speed lost for each m/s^2 beyond `grip`; each time the wheels slip
            they do so by up to twice as much or not at all.
        tick_m: Step of the wheel's encoder, m; 0 for none.
    """

    rate_hz: float = 20.0
    scale: float = 1.02
    yaw_drift: float = float(np.radians(0.12))
    yaw_scale: float = 1.005
    speed_std: float = 0.05
    yaw_rate_std: float = float(np.radians(0.3))
    turn_scale_std: float = 0.0
    grip: float = np.inf
    slip: float = 0.1
    tick_m: float = 0.0


@dataclass(frozen=True)
class ImuModel:
    """An inexpensive inertial unit in base_link axes.

    Attributes:
        rate_hz: Samples a second.
        gyro_bias: (3,) at the start, rad/s.
        gyro_std: White noise of a sample, rad/s.
        gyro_walk: How the bias wanders, rad/s per square root of a second.
        accel_bias: (3,) at the start, m/s^2.
        accel_std: White noise of a sample, m/s^2.
        accel_walk: How the bias wanders, m/s^2 per square root of a second.
    """

    rate_hz: float = 50.0
    gyro_bias: tuple[float, float, float] = (0.001, -0.0015, 0.0025)
    gyro_std: float = 0.002
    gyro_walk: float = 0.0
    accel_bias: tuple[float, float, float] = (0.02, -0.03, 0.05)
    accel_std: float = 0.05
    accel_walk: float = 0.0


def sample_times(trajectory: Trajectory, rate_hz: float) -> Array:
    """Sampling times (M,) within the drive, s."""
    return np.arange(0.0, trajectory.duration, 1 / rate_hz)


def stamp_ns_from(start_ns: int, t: float) -> int:
    """Stamp of a time since the start, s."""
    return start_ns + round(t * 1e9)


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
    times = sample_times(trajectory, model.rate_hz)
    # True increments over each interval, so that a low rate does not lose distance in turns.
    slipping = trajectory.speed * slip_factor(trajectory, model, seed)
    distance = np.concatenate([[0.0], np.cumsum(slipping[:-1] * np.diff(trajectory.t))])
    driven = np.diff(trajectory.sample(distance, times), prepend=0.0)
    yaw = _reported_yaw(trajectory, model, seed)
    turned = np.diff(trajectory.sample(yaw, times), prepend=yaw[0])
    moving = trajectory.sample(trajectory.speed, times) > 0.05
    speed = driven * model.rate_hz * model.scale
    speed += moving * rng.normal(0, model.speed_std, len(times))
    if model.tick_m:
        # The counter keeps what has not filled a tick yet, so steps do not add up to a drift.
        ticks = np.floor(np.cumsum(speed) / model.rate_hz / model.tick_m)
        speed = np.diff(ticks, prepend=0.0) * model.tick_m * model.rate_hz
    rate = turned * model.rate_hz * model.yaw_scale + model.yaw_drift
    rate += rng.normal(0, model.yaw_rate_std, len(times))
    pose = np.eye(3)
    samples = []
    for i, t in enumerate(times):
        if i > 0:
            pose = pose @ se2.exp(np.array([speed[i], 0.0, rate[i]]) / model.rate_hz)
        x, y, heading = se2.from_matrix(pose)
        samples.append(
            OdometrySample(
                stamp_ns_from(start_ns, t),
                se3.from_planar(x, y, heading),
                linear=np.array([speed[i], 0.0, 0.0]),
                angular=np.array([0.0, 0.0, rate[i]]),
            )
        )
    return samples


def slip_factor(trajectory: Trajectory, model: OdometryModel, seed: int) -> Array:
    """Speed of the wheels over speed of the robot, (N,), at every moment of a trajectory.

    1 wherever the acceleration stays within the grip; above 1 while it accelerates beyond it,
    below 1 while it brakes beyond it, and never negative.
    """
    beyond = np.abs(trajectory.acceleration) - model.grip
    event, count = label(beyond > 0)
    strength = np.random.default_rng([seed, 55]).uniform(0, 2, count + 1)
    part = model.slip * np.maximum(beyond, 0.0) * strength[event]
    return np.asarray(np.maximum(1.0 + np.sign(trajectory.acceleration) * part, 0.0))


def _reported_yaw(trajectory: Trajectory, model: OdometryModel, seed: int) -> Array:
    """The yaw (N,) with the error of every turn, rad."""
    yaw = trajectory.rpy[:, 2]
    if not model.turn_scale_std:
        return yaw
    step = np.diff(yaw, prepend=yaw[0])
    turn, count = label(np.abs(trajectory.angular[:, 2]) > _TURN_RATE)
    factor = np.random.default_rng([seed, 56]).normal(1.0, model.turn_scale_std, count + 1)
    factor[0] = 1.0
    return np.asarray(yaw[0] + np.cumsum(step * factor[turn]))


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
    times = sample_times(trajectory, model.rate_hz)
    angular = trajectory.sample(trajectory.angular, times)
    roll, pitch, _ = trajectory.sample(trajectory.rpy, times).T
    force = np.stack(
        [-np.sin(pitch), np.sin(roll) * np.cos(pitch), np.cos(roll) * np.cos(pitch)], axis=-1
    )
    force *= _GRAVITY
    force[:, 0] += trajectory.sample(trajectory.acceleration, times)
    force[:, 1] += trajectory.sample(trajectory.speed, times) * angular[:, 2]
    wander = np.random.default_rng([seed, 57])
    angular = angular + _walk(wander, model.gyro_walk, model.rate_hz, len(times))
    force = force + _walk(wander, model.accel_walk, model.rate_hz, len(times))
    angular = angular + model.gyro_bias + rng.normal(0, model.gyro_std, angular.shape)
    force = force + model.accel_bias + rng.normal(0, model.accel_std, force.shape)
    return [
        ImuSample(stamp_ns_from(start_ns, t), rates, accelerations)
        for t, rates, accelerations in zip(times, angular, force, strict=True)
    ]


def _walk(rng: np.random.Generator, strength: float, rate_hz: float, count: int) -> Array:
    """A random walk (count, 3) from zero, `strength` per square root of a second."""
    steps = rng.standard_normal((count, 3)) * (strength / np.sqrt(rate_hz))
    return np.cumsum(steps, axis=0)
