# SPDX-License-Identifier: Apache-2.0
"""The estimator: keyframes along the dead-reckoned track, tied to the map by what is measured.

Nothing here knows of datums, images or locks. Positions and poses come in the map frame, at their
own stamps, in any order within the lag.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.calibration import Calibrator
from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.covariance import bounded, planar_block
from geoloc_core.estimation.gating import Refused
from geoloc_core.estimation.keyframes import Keyframes
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.estimation.reacquisition import Reacquisition
from geoloc_core.estimation.smoother import PlacedPoint
from geoloc_core.estimation.starting import FirstPose, Start
from geoloc_core.estimation.yaw_init import Position
from geoloc_core.geometry import angles, se3
from geoloc_core.types import ImuSample, OdometrySample, Status

Array = NDArray[np.float64]

# Part of a fix's variance that is new with every fix.
WHITE_FRACTION = 0.01


@dataclass(frozen=True)
class Prediction:
    """The estimate at a stamp: pose (4, 4), covariance (6, 6) in map axes, twist (6,) or None."""

    stamp_ns: int
    T: Array
    cov: Array
    twist: Array | None
    source: str


class Estimator:
    """See the module's text. Every input returns what became of it and why."""

    def __init__(self, config: LocalizerConfig) -> None:
        self._config = config
        self.events: list[str] = []
        self.reset()

    def reset(self) -> None:
        """Forgets everything, calibration included."""
        c = self._config
        window = max(c.yaw_init.window_s, c.smoother.lag_s) + 10.0
        self._keyframes = Keyframes(c, window)
        self.reckoning = self._keyframes.reckoning
        self.smoother = self._keyframes.smoother
        self.calibrator = Calibrator(c)
        self._first = FirstPose(c, self._keyframes)
        self._forget_measured()

    def _forget_measured(self) -> None:
        """What was measured, or refused, says nothing of an estimate that starts anew."""
        self._reacquisition = Reacquisition(self._config, self.reckoning)
        self._fixes: list[tuple[int, PlacedPoint]] = []
        self._views: list[int] = []

    @property
    def running(self) -> bool:
        """Whether there is a pose."""
        return self.smoother.running

    @property
    def has_position(self) -> bool:
        """Whether a position is known, with or without a yaw."""
        return self.running or bool(self._first.fixes)

    # ---- dead reckoning ----

    def push_odometry(self, sample: OdometrySample) -> tuple[Status, str]:
        """Takes odometry in and moves the keyframes on."""
        status, reason, broken = self.reckoning.push_odometry(sample)
        if status is not Status.OK:
            return status, reason
        if broken is not None:
            self.events.append(f'odometry broken: {broken.reason}')
            self.calibrator.broken()
            self._first.broken_ns = sample.stamp_ns
            self._reacquisition.yaw_lost = self.reckoning.gyro.newest_ns is None
            reason = broken.reason
        self._keyframes.advance(sample.stamp_ns)
        self.calibrator.learn(self.reckoning.track)
        found = self.calibrator.result
        self.reckoning.scale, self.reckoning.bias = found.scale, found.bias
        return Status.OK, reason

    def push_imu(self, sample: ImuSample) -> tuple[Status, str]:
        """Takes a gyro sample in."""
        return self.reckoning.push_imu(sample)

    # ---- absolute measurements ----

    def push_position(self, fix: Position) -> tuple[Status, str]:
        """Takes a fix in: starts the estimate, or corrects it."""
        fix = replace(fix, cov=fix.cov * self._config.gnss.std_factor**2)
        if not self._first.add_fix(fix):
            return Status.BAD_STAMP, 'a fix with this stamp has been used already'
        if not self.running:
            started = self._try_start()
            return (Status.OK, '') if started else (Status.NO_YAW, self._first.why_not())
        attached = self._keyframes.attach(fix.stamp_ns)
        if attached is None:
            return Status.STALE, 'fix older than the smoother remembers'
        keyframe, motion = attached
        cov = fix.cov
        T, P = self._keyframes.at(keyframe, motion)
        R = T[:3, :3]
        predicted = T[:3, 3] + R @ fix.arm
        lever = np.hstack([np.eye(3), -se3.hat(R @ fix.arm)])
        S = lever @ P @ lever.T + cov
        innovation = fix.xyz - predicted
        gate = self._reacquisition.gnss_gate
        passed, value = gate.passes(fix.stamp_ns, innovation[:2], S[:2, :2])
        if not passed:
            gate.refuse(Refused(fix.stamp_ns, innovation[:2], cov[:2, :2], T[:2, 3]))
            first = self._first
            again = self._reacquisition.from_fixes(
                fix.stamp_ns, self._newest(), first.fixes, first.broken_ns
            )
            if self._start_again(again):
                return Status.OK, 'taken as a new start: refused fixes agreed with each other'
            return Status.GATED, f'{np.hypot(*innovation[:2]):.1f} m off, NIS {value:.0f}'
        point = PlacedPoint(keyframe, se3.transform(motion.T, fix.arm), fix.xyz)
        before, rho = self._fix_before(fix.stamp_ns)
        white = WHITE_FRACTION * cov + R @ motion.cov[:3, :3] @ R.T
        self.smoother.add_position(
            point,
            (1.0 - rho**2) * cov + (1.0 + rho**2) * white,
            self._config.gnss.robust_width,
            before,
            rho,
        )
        self._fixes = [*self._fixes[-100:], (fix.stamp_ns, point)]
        self.calibrator.add_fix(fix.stamp_ns, fix.xyz[:2], cov[:2, :2], fix.arm[:2])
        self._keyframes.drift.shrink(fix.stamp_ns, P[:2, :2], cov[:2, :2] / (1.0 - rho + 1e-3))
        self.smoother.update()
        return Status.OK, ''

    def _fix_before(self, stamp_ns: int) -> tuple[PlacedPoint | None, float]:
        """The fix before a stamp, if its keyframe is still there, and their correlation."""
        earlier = [each for each in self._fixes if each[0] < stamp_ns]
        tau = self._config.gnss.correlation_s
        if not earlier or tau <= 0.0:
            return None, 0.0
        stamp, point = max(earlier, key=lambda each: each[0])
        if point.keyframe_ns not in self.smoother.stamps:
            return None, 0.0
        return point, float(np.exp(-(stamp_ns - stamp) / NS / tau))

    def push_pose(
        self, stamp_ns: int, T_map_base: Array, cov: Array, dof: int
    ) -> tuple[Status, str]:
        """Takes a measured pose in.

        Args:
            stamp_ns: Its stamp.
            T_map_base: (4, 4).
            cov: (6, 6), map axes; large where it says nothing.
            dof: 3 if it speaks of x, y and yaw alone, else 6.
        """
        if not self.running:
            return Status.NO_PRIOR, 'nothing to add a measurement to yet'
        attached = self._keyframes.attach(stamp_ns, own=dof == 6)
        if attached is None:
            return Status.STALE, 'measurement older than the smoother remembers'
        keyframe, motion = attached
        T, P = self._keyframes.at(keyframe, motion)
        c = self._config.vision
        floor = np.array([c.std_position_min] * 3 + [c.std_yaw_min] * 3) ** 2
        cov = cov + np.diag(np.maximum(floor - np.diag(cov), 0.0))
        turn = se3.log_rotation(T_map_base[:3, :3] @ T[:3, :3].T)
        innovation = np.concatenate([T_map_base[:3, 3] - T[:3, 3], turn])
        if dof == 3:
            innovation = innovation[[0, 1, 5]]
            innovation[2] = angles.difference(se3.yaw_of(T_map_base), se3.yaw_of(T))
            S = planar_block(P + cov)
        else:
            S = P + cov
        gate = self._reacquisition.pose_gate
        passed, value = gate.passes(stamp_ns, innovation, S)
        if not passed:
            yaw = float(angles.difference(se3.yaw_of(T_map_base), se3.yaw_of(T)))
            offset = np.array([T_map_base[0, 3] - T[0, 3], T_map_base[1, 3] - T[1, 3], yaw])
            gate.refuse(Refused(stamp_ns, offset, planar_block(cov), T[:2, 3]))
            whole = Start(stamp_ns, T_map_base, cov) if dof == 6 else None
            again = self._reacquisition.from_poses(stamp_ns, self._newest(), whole)
            if self._start_again(again):
                return Status.OK, 'taken as a new start: refused views agreed with each other'
            off = np.hypot(*offset[:2])
            return Status.GATED, f'{off:.2f} m and {np.degrees(yaw):.1f} deg off, NIS {value:.0f}'
        weight = self._correlation(stamp_ns, c.correlation_s)
        back = motion.reversed()
        T_key = T_map_base @ back.T
        extra = se3.rotate_cov(back.cov, T_key[:3, :3])
        # Yaw error of the measurement turns the short way back to the keyframe as well.
        shift = np.eye(6)
        shift[:3, 3:] = -se3.hat(T_key[:3, 3] - T_map_base[:3, 3])
        cov_key = shift @ (weight * cov) @ shift.T + extra
        self.smoother.add_pose(keyframe, T_key, cov_key, c.robust_width)
        self._keyframes.drift.shrink(stamp_ns, P[:2, :2], weight * cov[:2, :2])
        self.smoother.update()
        return Status.OK, ''

    def push_yaw(self, stamp_ns: int, yaw: float, std: float) -> tuple[Status, str]:
        """Takes a heading in, rad; it can start the estimate where a position is known."""
        if not self.running:
            self._first.add_heading(stamp_ns, yaw, std)
            return (Status.OK, '') if self._try_start() else (Status.NO_PRIOR, 'no fix yet')
        attached = self._keyframes.attach(stamp_ns)
        if attached is None:
            return Status.STALE, 'heading older than the smoother remembers'
        keyframe, motion = attached
        T, P = self._keyframes.at(keyframe, motion)
        innovation = float(angles.difference(yaw, se3.yaw_of(T)))
        if innovation**2 > self._config.vision.gate_sigma**2 * (P[5, 5] + std**2):
            return Status.GATED, f'heading {np.degrees(innovation):.0f} degrees off'
        # Only the yaw is said: the rest is where the estimate has it, and very wide.
        T_measured = T.copy()
        T_measured[:3, :3] = se3.rotation_from_rpy(0.0, 0.0, innovation) @ T[:3, :3]
        cov = np.diag([1e6, 1e6, 1e6, 1e2, 1e2, std**2])
        T_key = T_measured @ motion.reversed().T
        self.smoother.add_pose(keyframe, T_key, cov, 0.0)
        self.smoother.update()
        return Status.OK, ''

    def set_pose(self, stamp_ns: int, T_map_base: Array, cov: Array) -> None:
        """Starts anew from a given pose (4, 4) with covariance (6, 6), map axes."""
        self._start(Start(stamp_ns, T_map_base, cov).carried_on(self.reckoning))

    def move(self, T_new_old: Array) -> None:
        """Takes the estimate to another map frame (a new datum)."""
        self._first.move(T_new_old)
        if self.running:
            newest = self.smoother.newest_ns
            cov = se3.rotate_cov(self.smoother.cov(newest), T_new_old[:3, :3])
            drift = self._keyframes.drift
            self._start(Start(newest, T_new_old @ self.smoother.pose(newest), cov))
            self._keyframes.drift = drift

    # ---- answers ----

    def predict(self, stamp_ns: int) -> Prediction | tuple[Status, str]:
        """The estimate at a stamp, carried there by dead reckoning; or why there is none."""
        if not self.running:
            if self.has_position:
                return Status.NO_YAW, self._first.why_not()
            return Status.NO_PRIOR, 'no fix and no initial pose yet'
        newest_input = max(self.smoother.newest_ns, self.reckoning.newest_ns or 0)
        reach = self._config.odometry.extrapolate_s
        if not self._keyframes.odometry_alive(self.smoother.newest_ns):
            reach *= 3.0  # without odometry the keyframes come with the fixes, at their rate
        ahead = (stamp_ns - newest_input) / NS
        if ahead > reach:
            return Status.STALE, f'nothing has been heard for {ahead:.1f} s'
        attached = self._keyframes.attach(stamp_ns, create=False)
        if attached is None:
            return Status.STALE, 'asked for a time the smoother no longer remembers'
        keyframe, motion = attached
        T, cov = self._keyframes.at(keyframe, motion)
        tilt = self.reckoning.gyro.tilt(stamp_ns)
        if tilt is not None:
            # Gravity is felt at this very moment; the smoother's tilt trails behind.
            x, y, yaw = se3.planar(T)
            T = se3.from_planar(x, y, yaw, float(T[2, 3]), *tilt)
        c = self._config
        found = self.calibrator.result
        cov = cov + self._keyframes.drift.cov(stamp_ns, found.std_scale, found.std_bias)
        cov = bounded(
            cov,
            c.smoother.min_std_position,
            c.smoother.min_std_yaw,
            c.smoother.max_std_position,
        )
        return Prediction(stamp_ns, T, cov, self.reckoning.twist(stamp_ns), motion.source)

    def _correlation(self, stamp_ns: int, correlation_s: float) -> float:
        """How much a view's covariance must grow, so that many alike count as few."""
        gap = min((abs(stamp_ns - each) for each in self._views), default=None)
        self._views = [*self._views[-20:], stamp_ns]
        if gap is None or correlation_s <= 0.0:
            return 1.0
        # A Gauss-Markov error of time constant tau, sampled every dt, carries the information of
        # independent errors with 2 tau / dt times its variance.
        return max(1.0, 2.0 * correlation_s / max(gap / NS, 0.02))

    # ---- starting, and starting again ----

    def _try_start(self) -> bool:
        """Starts the estimate once the yaw can be known."""
        found = self._first.find()
        if found is not None:
            self._start(found)
        return found is not None

    def _start_again(self, again: tuple[Start, str] | None) -> bool:
        """Starts anew where refused measurements agree that the robot is."""
        if again is None:
            return False
        start, told_by = again
        self._start(start)
        self.events.append(f're-acquired from {told_by}')
        return True

    def _start(self, start: Start) -> None:
        c = self._config.smoother
        cov = bounded(start.cov, c.min_std_position, c.min_std_yaw, c.max_std_position)
        self._forget_measured()
        self._keyframes.start(start.stamp_ns, start.T, cov)
        planar = np.array(se3.planar(start.T))
        self.calibrator.restart(start.stamp_ns, planar, planar_block(cov))

    def _newest(self) -> Start:
        """The newest keyframe, as the estimate has it."""
        newest = self.smoother.newest_ns
        return Start(newest, self.smoother.pose(newest), self.smoother.cov(newest))
