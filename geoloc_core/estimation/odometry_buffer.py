# SPDX-License-Identifier: Apache-2.0
"""A ring buffer of timed poses, and the odometry that is kept in one.

Odometry is only ever used as motion between two stamps, never as a place. So a sample that
teleports, or that comes after a long silence, does not move the robot: it breaks the track. The
track is carried on by its last speed, and every motion that spans the break says so.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.config import OdometryConfig
from geoloc_core.geometry import angles, se3
from geoloc_core.types import OdometrySample, Status

Array = NDArray[np.float64]

NS = 1_000_000_000
# A twist is a difference over at least this time, so that stamp jitter does not become speed.
TWIST_SPAN_NS = NS // 5


class PoseBuffer:
    """Poses by increasing stamp; interpolates between them and forgets the old ones."""

    def __init__(self, history_s: float) -> None:
        self._history_ns = int(history_s * NS)
        self.stamps: list[int] = []
        self.poses: list[Array] = []

    def __len__(self) -> int:
        return len(self.stamps)

    def append(self, stamp_ns: int, T: Array) -> None:
        """Adds a pose (4, 4) that is newer than all others."""
        self.stamps.append(stamp_ns)
        self.poses.append(T)
        # Lists are cut now and then rather than at every sample, which would cost O(n) each.
        oldest = bisect_left(self.stamps, stamp_ns - self._history_ns) - 1
        if oldest > 256 and oldest > len(self.stamps) // 2:
            del self.stamps[:oldest]
            del self.poses[:oldest]

    def covers(self, stamp_ns: int) -> bool:
        """Whether the stamp lies between the oldest and the newest pose."""
        return bool(self.stamps) and self.stamps[0] <= stamp_ns <= self.stamps[-1]

    def at(self, stamp_ns: int) -> Array | None:
        """The pose (4, 4) at a stamp, by SLERP between its neighbours; None outside."""
        if not self.covers(stamp_ns):
            return None
        i = bisect_left(self.stamps, stamp_ns)
        if self.stamps[i] == stamp_ns:
            return self.poses[i]
        t0, t1 = self.stamps[i - 1], self.stamps[i]
        return se3.interpolate(self.poses[i - 1], self.poses[i], (stamp_ns - t0) / (t1 - t0))

    def twist(self, stamp_ns: int) -> Array | None:
        """Body velocity (6,) just before a stamp (m/s, rad/s), or None with too few poses."""
        i = min(bisect_right(self.stamps, stamp_ns), len(self.stamps)) - 1
        if i < 1:
            return None
        j = i - 1
        while j > 0 and self.stamps[i] - self.stamps[j] < TWIST_SPAN_NS:
            j -= 1
        dt = (self.stamps[i] - self.stamps[j]) / NS
        return se3.log(se3.inverse(self.poses[j]) @ self.poses[i]) / dt


@dataclass(frozen=True)
class Break:
    """A stretch of time over which odometry cannot be read.

    Attributes:
        start_ns: Last sample before it.
        end_ns: First sample after it.
        reason: For people, e.g. 'jump of 12.0 m in 0.10 s'.
    """

    start_ns: int
    end_ns: int
    reason: str


@dataclass(frozen=True)
class Increment:
    """The motion between two consecutive samples.

    Attributes:
        start_ns: Stamp of the first.
        end_ns: Stamp of the second.
        T_start_end: (4, 4).
        broken: Set if it is a guess, because odometry cannot be read here.
    """

    start_ns: int
    end_ns: int
    T_start_end: Array
    broken: Break | None = None


class OdometryBuffer:
    """Odometry as it came (`odom` frame), checked sample by sample."""

    def __init__(self, config: OdometryConfig, history_s: float) -> None:
        self._config = config
        self.odom = PoseBuffer(history_s)
        self.breaks: list[Break] = []
        # Poses since the last break only: a speed must not be read across one.
        self._since_break = PoseBuffer(2.0)
        self._last_twist: Array = np.zeros(6)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample, or None before the first."""
        return self.odom.stamps[-1] if len(self.odom) else None

    def push(self, sample: OdometrySample) -> tuple[Status, str, Increment | None]:
        """Takes one sample.

        Returns:
            OK, '' and the motion since the sample before (None for the first one);
            or why the sample is refused.
        """
        if not se3.is_rigid(sample.T_odom_base, 1e-3):
            return Status.BAD_INPUT, 'odometry is not a finite rigid transform', None
        newest = self.newest_ns
        if newest is not None and sample.stamp_ns <= newest:
            return Status.BAD_STAMP, f'odometry {(newest - sample.stamp_ns) / NS:.3f} s back', None
        increment = None
        if newest is not None:
            increment = self._increment(newest, sample)
        self.odom.append(sample.stamp_ns, sample.T_odom_base)
        self._since_break.append(sample.stamp_ns, sample.T_odom_base)
        twist = self._since_break.twist(sample.stamp_ns)
        if twist is not None:
            self._last_twist = twist
        return Status.OK, '', increment

    def _increment(self, newest: int, sample: OdometrySample) -> Increment:
        T = se3.inverse(self.odom.poses[-1]) @ sample.T_odom_base
        reason = self._implausible((sample.stamp_ns - newest) / NS, T)
        if reason is None:
            return Increment(newest, sample.stamp_ns, T)
        broken = Break(newest, sample.stamp_ns, reason)
        self.breaks = [*self.breaks[-20:], broken]
        self._since_break = PoseBuffer(2.0)
        dt = min((sample.stamp_ns - newest) / NS, self._config.extrapolate_s)
        return Increment(newest, sample.stamp_ns, se3.exp(self._last_twist * dt), broken)

    def _implausible(self, dt: float, T: Array) -> str | None:
        """Why a step T (4, 4) in dt seconds cannot be a motion, or None."""
        if dt > self._config.max_gap_s:
            return f'no odometry for {dt:.2f} s'
        distance = float(np.linalg.norm(T[:3, 3]))
        # Two samples with nearly the same stamp are jitter of the clock, not speed.
        dt = max(dt, 0.05)
        if distance > self._config.max_speed * dt + 0.2:
            return f'jump of {distance:.2f} m in {dt:.2f} s'
        guess = se3.exp(self._last_twist * dt)
        surprise = float(np.linalg.norm(T[:3, 3] - guess[:3, 3]))
        if len(self._since_break) > 2 and surprise > (
            self._config.max_jump + self._config.max_accel * dt * dt
        ):
            return f'jump of {surprise:.2f} m beside the motion so far'
        turn = abs(float(angles.wrap(se3.yaw_of(T))))
        if turn > self._config.max_yaw_rate * dt + 0.05:
            return f'turn of {np.degrees(turn):.0f} degrees in {dt:.2f} s'
        return None
