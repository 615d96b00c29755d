# SPDX-License-Identifier: Apache-2.0
"""Keyframes at regular times along the dead-reckoned track, and the poses between them."""

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.dead_reckoning import DeadReckoning, Motion
from geoloc_core.estimation.drift import CalibrationDrift
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.estimation.smoother import FixedLagSmoother
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

# With more keyframes than this to catch up with after a silence, they are spread wider.
MAX_CATCH_UP = 60
# Time over which tilts read from a keyframe count as one: their error is the mounting's.
TILT_CORRELATION_S = 10.0


class Keyframes:
    """The smoother, fed by dead reckoning.

    Attributes:
        reckoning: Motion between any two stamps.
        smoother: Poses at the keyframes.
        drift: What errors of the calibration add to the poses.
    """

    def __init__(self, config: LocalizerConfig, history_s: float) -> None:
        self._config = config
        self._step_ns = int(config.smoother.keyframe_s * NS)
        self.reckoning = DeadReckoning(config.odometry, config.motion, history_s)
        self.smoother = FixedLagSmoother(config.smoother.lag_s)
        self.drift = CalibrationDrift(0, np.eye(4), 0.0)

    def start(self, stamp_ns: int, T_map_base: Array, cov: Array) -> None:
        """Begins anew at a pose (4, 4) with covariance (6, 6), map axes."""
        self.smoother.start(stamp_ns, T_map_base, cov)
        self.drift = CalibrationDrift(stamp_ns, T_map_base, 2.0 * self._config.smoother.lag_s)
        newest = self.reckoning.newest_ns
        if newest is not None:
            self.advance(newest)

    def advance(self, to_ns: int) -> None:
        """Adds the keyframes that are due up to a stamp, at regular times."""
        if not self.smoother.running:
            return
        last, step = self.smoother.newest_ns, self._step_ns
        count = (to_ns - last) // step
        if count > MAX_CATCH_UP:
            step *= int(np.ceil(count / MAX_CATCH_UP))
        stamp = last - last % self._step_ns + step
        while stamp <= to_ns:
            self._add_keyframe(stamp)
            stamp += step

    def _add_keyframe(self, stamp_ns: int) -> None:
        before = self.smoother.newest_ns
        self._learn_model_twist(before)
        motion = self.reckoning.motion(before, stamp_ns)
        T_before = self.smoother.pose(before)
        self.smoother.add_keyframe(stamp_ns, motion)
        self.drift.grow(stamp_ns, T_before, motion.T, (stamp_ns - before) / NS)
        tilt = self.reckoning.gyro.tilt(stamp_ns)
        std = self._config.smoother.std_tilt
        if tilt is not None:
            std = self._config.smoother.std_tilt_imu
        std *= np.sqrt(max(1.0, TILT_CORRELATION_S / self._config.smoother.keyframe_s))
        self.smoother.add_tilt(stamp_ns, *(tilt or (0.0, 0.0)), std)

    def _learn_model_twist(self, stamp_ns: int) -> None:
        """Speed and yaw rate to go on with where odometry tells nothing."""
        twist = self.reckoning.twist(stamp_ns) if self.odometry_alive(stamp_ns) else None
        if twist is not None:
            self.reckoning.model_twist = np.array([twist[0], twist[5]])
            return
        recent = [each for each in self.smoother.stamps if each >= stamp_ns - 3 * NS]
        if len(recent) < 2:
            self.reckoning.model_twist = np.zeros(2)
            return
        dt = (recent[-1] - recent[0]) / NS
        first, last = self.smoother.pose(recent[0]), self.smoother.pose(recent[-1])
        T = se3.inverse(first) @ last
        forward = np.cos(0.5 * se3.yaw_of(T)) * T[0, 3] + np.sin(0.5 * se3.yaw_of(T)) * T[1, 3]
        self.reckoning.model_twist = np.array([forward, se3.yaw_of(T)]) / dt

    def odometry_alive(self, stamp_ns: int) -> bool:
        """Whether odometry has been heard shortly before a stamp, or after it."""
        newest = self.reckoning.newest_ns
        return newest is not None and (
            stamp_ns - newest <= self._config.odometry.extrapolate_s * NS
        )

    def attach(
        self, stamp_ns: int, create: bool = True, own: bool = False
    ) -> tuple[int, Motion] | None:
        """The nearest keyframe and the motion from it to a stamp; None if that is too old.

        Args:
            stamp_ns: The stamp.
            create: Add the keyframes that are due where no odometry adds them.
            own: There, add one at the stamp itself: a whole pose must not reach its keyframe
                through a motion that is only guessed.
        """
        if create and not self.odometry_alive(stamp_ns):
            self.advance(stamp_ns)
            if own and self.smoother.running and stamp_ns > self.smoother.newest_ns:
                self._add_keyframe(stamp_ns)
        # Now, so that a rebuild does not take the keyframe away later.
        self.smoother.cov(self.smoother.newest_ns)
        keyframe = self.smoother.nearest(stamp_ns)
        if keyframe is None:
            return None
        if not self.odometry_alive(stamp_ns):
            self._learn_model_twist(keyframe)
        return keyframe, self.reckoning.motion(keyframe, stamp_ns)

    def at(self, keyframe: int, motion: Motion) -> tuple[Array, Array]:
        """Pose (4, 4) and covariance (6, 6), map axes, reached from a keyframe by a motion."""
        P = self.smoother.cov(keyframe)
        if keyframe not in self.smoother.stamps:  # it was rebuilt just now
            keyframe = self.smoother.newest_ns
        T_key = self.smoother.pose(keyframe)
        T = T_key @ motion.T
        shift = np.eye(6)
        shift[:3, 3:] = -se3.hat(T[:3, 3] - T_key[:3, 3])
        return T, shift @ P @ shift.T + se3.rotate_cov(motion.cov, T[:3, :3])
