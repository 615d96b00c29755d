# SPDX-License-Identifier: Apache-2.0
"""The motion between any two stamps, from the best of odometry, gyro and a motion model.

Distance comes from odometry. Yaw comes from the gyro where there is one (wheels of a skid-steered
robot turn badly, a gyro only drifts), else from odometry. Where odometry is silent the last speed
is carried on for a moment; after that, and without odometry at all, the robot is assumed to go on
as it did. Wheel scale and gyro bias, once known, correct every motion read from here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.config import MotionConfig, OdometryConfig
from geoloc_core.estimation.gyro_buffer import GyroBuffer
from geoloc_core.estimation.odometry_buffer import Break, Increment, NS, OdometryBuffer, PoseBuffer
from geoloc_core.geometry import se3
from geoloc_core.types import ImuSample, OdometrySample, Status

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """A relative motion and its uncertainty.

    Attributes:
        T: (4, 4) pose at the end stamp in the base at the start stamp.
        cov: (6, 6) of a right perturbation, T exp(e): axes of the base at the end stamp.
        source: 'odometry', 'extrapolated' (last speed carried on) or 'model' (guessed).
        broken: The break it spans, if any.
    """

    T: Array
    cov: Array
    source: str
    broken: Break | None = None

    def then(self, other: 'Motion') -> 'Motion':
        """This motion followed by another."""
        ad = se3.adjoint(se3.inverse(other.T))
        rank = ('odometry', 'extrapolated', 'model')
        source = max(self.source, other.source, key=rank.index)
        cov = ad @ self.cov @ ad.T + other.cov
        return Motion(self.T @ other.T, cov, source, self.broken or other.broken)

    def reversed(self) -> 'Motion':
        """The same motion from its end to its start."""
        ad = se3.adjoint(self.T)
        return Motion(se3.inverse(self.T), ad @ self.cov @ ad.T, self.source, self.broken)


class DeadReckoning:
    """Joins odometry and gyro into one track, and answers for the motion along it.

    Attributes:
        scale: True distance per metre of odometry.
        bias: What the yaw rate of the track reads too much, rad/s.
        model_twist: (2,) forward speed and yaw rate assumed where odometry tells nothing.
    """

    def __init__(self, odometry: OdometryConfig, motion: MotionConfig, history_s: float) -> None:
        self._config = odometry
        self._motion = motion
        self.odometry = OdometryBuffer(odometry, history_s)
        self.gyro = GyroBuffer(history_s)
        self.track = PoseBuffer(history_s)
        self._gyro_used: tuple[float, int] | None = None
        self.scale = 1.0
        self.bias = 0.0
        self.model_twist: Array = np.zeros(2)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest odometry, or None before the first."""
        return self.odometry.newest_ns

    def push_odometry(self, sample: OdometrySample) -> tuple[Status, str, Break | None]:
        """Takes one sample; returns its fate, and the break it caused if any."""
        status, reason, increment = self.odometry.push(sample)
        if status is not Status.OK:
            return status, reason, None
        yaw = self.gyro.yaw_at(sample.stamp_ns) if self._config.yaw_source != 'odometry' else None
        if increment is None:
            self.track.append(sample.stamp_ns, sample.T_odom_base.copy())
        else:
            step = self._with_gyro(increment, yaw)
            self.track.append(sample.stamp_ns, self.track.poses[-1] @ step)
        # What was used, not what the gyro says later about the same stamp: so that no part of a
        # turn is lost when its samples arrive after the odometry.
        self._gyro_used = yaw
        return status, reason, increment.broken if increment else None

    def push_imu(self, sample: ImuSample) -> tuple[Status, str]:
        """Takes one sample; returns its fate."""
        return self.gyro.push(sample)

    def _with_gyro(self, increment: Increment, yaw: tuple[float, int] | None) -> Array:
        """The increment (4, 4) with its turn about z replaced by the gyro's."""
        T = increment.T_start_end
        before = self._gyro_used
        if yaw is None or before is None or yaw[1] != before[1]:
            return T
        extra = yaw[0] - before[0] - se3.yaw_of(T)
        # The step is taken half-way through the turn, so half of the change turns it too.
        half = _turn(0.5 * extra)
        return half @ T @ half

    def motion(self, start_ns: int, end_ns: int) -> Motion:
        """The motion between two stamps, whatever is known of it."""
        if end_ns < start_ns:
            return self.motion(end_ns, start_ns).reversed()
        newest = self.newest_ns
        if newest is None or not self.track.covers(min(start_ns, newest)):
            return self._model(start_ns, end_ns)
        if end_ns <= newest:
            return self._read(start_ns, end_ns)
        if start_ns < newest:
            return self._read(start_ns, newest).then(self.motion(newest, end_ns))
        if end_ns - newest <= self._config.extrapolate_s * NS:
            return self._extrapolated(start_ns, end_ns)
        return self._model(start_ns, end_ns)

    def twist(self, stamp_ns: int) -> Array | None:
        """Body velocity (6,) at a stamp, m/s and rad/s, calibrated; None if unknown."""
        twist = self.track.twist(stamp_ns)
        if twist is None:
            return None
        twist[:3] *= self.scale
        twist[5] -= self.bias
        return twist

    def _read(self, start_ns: int, end_ns: int) -> Motion:
        first, last = self.track.at(start_ns), self.track.at(end_ns)
        if first is None or last is None:
            return self._model(start_ns, end_ns)
        dt = (end_ns - start_ns) / NS
        T = self._calibrated(se3.inverse(first) @ last, dt)
        cov = self._noise(T, dt)
        broken = None
        for each in self.odometry.breaks:
            overlap = (min(each.end_ns, end_ns) - max(each.start_ns, start_ns)) / NS
            if overlap > 0:
                broken = each
                std = self._motion.std_broken_speed * max(overlap, 0.2)
                yaw = self._motion.std_broken_yaw
                if self._gyro_used is not None:
                    yaw = 0.05
                cov = cov + np.diag([std, std, 0.3 * std, 0.05, 0.05, yaw]) ** 2
        return Motion(T, cov, 'odometry', broken)

    def _calibrated(self, T: Array, dt: float) -> Array:
        half = _turn(-0.5 * self.bias * dt)
        T = half @ T @ half
        T[:3, 3] *= self.scale
        return T

    def _noise(self, T: Array, dt: float) -> Array:
        """Covariance (6, 6) of a motion read from odometry."""
        c = self._config
        d = float(np.linalg.norm(T[:3, 3]))
        turn = abs(se3.yaw_of(T))
        # At rest nothing but the clock of the noise floor runs.
        moving = d > 0.01 * dt or turn > 0.01 * dt
        rest = c.std_rest**2 * dt
        tilt = c.std_tilt_per_sqrt_m**2 * d + 1e-6 * dt
        yaw = c.std_yaw_per_sqrt_m**2 * d + (c.std_yaw_per_rad * turn) ** 2 + 1e-8 * dt
        yaw += c.std_yaw_per_sqrt_s**2 * dt if moving else 0.0
        return np.diag(
            [
                c.std_along_per_sqrt_m**2 * d + rest,
                c.std_across_per_sqrt_m**2 * d + rest,
                c.std_vertical_per_sqrt_m**2 * d + rest,
                tilt,
                tilt,
                yaw,
            ]
        )

    def _extrapolated(self, start_ns: int, end_ns: int) -> Motion:
        dt = (end_ns - start_ns) / NS
        newest = self.newest_ns
        twist = self.twist(newest) if newest is not None else None
        T = se3.exp(np.zeros(6) if twist is None else twist * dt)
        along = 0.5 * self._motion.std_accel * dt**2
        yaw = 0.5 * self._motion.std_yaw_rate * dt
        across = self._motion.std_across * dt
        extra = np.diag([along, across, 0.3 * across, 0.01 * dt, 0.01 * dt, yaw]) ** 2
        return Motion(T, self._noise(T, dt) + extra, 'extrapolated')

    def _model(self, start_ns: int, end_ns: int) -> Motion:
        dt = (end_ns - start_ns) / NS
        m = self._motion
        turn, std_yaw = self.model_twist[1] * dt, m.std_yaw_rate * np.sqrt(dt)
        first, last = self.gyro.yaw_at(start_ns), self.gyro.yaw_at(end_ns)
        if first is not None and last is not None and first[1] == last[1]:
            turn = last[0] - first[0] - self.bias * dt
            std_yaw = self._config.std_yaw_per_sqrt_s * np.sqrt(dt) + 0.001
        T = se3.exp(np.array([self.model_twist[0] * dt, 0.0, 0.0, 0.0, 0.0, turn]))
        along = m.std_accel * dt
        across = m.std_across * dt + 0.01
        vertical = m.std_vertical * dt + 0.01
        tilt = m.std_tilt_rate * np.sqrt(dt) + 0.01
        cov = np.diag([along, across, vertical, tilt, tilt, std_yaw]) ** 2
        return Motion(T, cov, 'model')


def _turn(yaw: float) -> Array:
    return se3.from_planar(0.0, 0.0, yaw)
