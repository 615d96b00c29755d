# SPDX-License-Identifier: Apache-2.0
"""The fixed-lag smoother: gtsam's, over SE(3) keyframes, kept alive whatever happens to it.

Covariances enter and leave in the project's order (x, y, z, rot x, rot y, rot z) with map axes;
gtsam has rotation first and the axes of the body, and that stays inside this file.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import gtsam
import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.dead_reckoning import Motion
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.geometry import se3

try:  # gtsam 4.3 moved the smoothers into the main module
    from gtsam import FixedLagSmootherKeyTimestampMap, IncrementalFixedLagSmoother
except ImportError:
    from gtsam_unstable import (  # type: ignore[attr-defined, no-redef]
        FixedLagSmootherKeyTimestampMap,
        IncrementalFixedLagSmoother,
    )

try:
    from gtsam import AttitudeFactorPose3
except ImportError:  # its name in gtsam 4.2
    from gtsam import (  # type: ignore[attr-defined, no-redef]
        Pose3AttitudeFactor as AttitudeFactorPose3,
    )

Array = NDArray[np.float64]

ROTATION_FIRST = [3, 4, 5, 0, 1, 2]
MAX_PENDING = 4


def _noise(cov: Array, robust_width: float = 0.0) -> gtsam.noiseModel.Base:
    """Gtsam's noise model of a covariance, with a Cauchy kernel if a width is given."""
    model = gtsam.noiseModel.Gaussian.Covariance(0.5 * (cov + cov.T))
    if robust_width <= 0.0:
        return model
    kernel = gtsam.noiseModel.mEstimator.Cauchy.Create(robust_width)
    return gtsam.noiseModel.Robust.Create(kernel, model)


@dataclass(frozen=True)
class PlacedPoint:
    """A measured point of a keyframe's body.

    Attributes:
        keyframe_ns: The keyframe.
        arm: (3,) m, the point in the keyframe's body.
        xyz: (3,) m, where in the map it was measured.
    """

    keyframe_ns: int
    arm: Array
    xyz: Array


def _position_error(T: Array, point: PlacedPoint, hat_arm: Array) -> tuple[Array, Array]:
    """Error (3,) of a pose (4, 4), and its derivative (3, 6) in gtsam's order."""
    R = T[:3, :3]
    J = np.empty((3, 6))
    J[:, :3] = -R @ hat_arm
    J[:, 3:] = R
    return R @ point.arm + T[:3, 3] - point.xyz, J


class FixedLagSmoother:
    """Keyframe poses over the last `lag_s` seconds."""

    def __init__(self, lag_s: float) -> None:
        self._lag_ns = int(lag_s * NS)
        self.rebuilds = 0
        self._stop()

    def _stop(self) -> None:
        self._smoother: Any = None
        self.stamps: list[int] = []
        self._keys: dict[int, int] = {}
        self._values: gtsam.Values | None = None
        self._cov_cache: dict[int, Array] = {}
        self._last_good: tuple[int, Array, Array] | None = None
        self._pending = gtsam.NonlinearFactorGraph()
        self._pending_values = gtsam.Values()
        self._pending_stamps: Any = FixedLagSmootherKeyTimestampMap()

    @property
    def running(self) -> bool:
        """Whether it has been started."""
        return self._smoother is not None

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest keyframe."""
        return self.stamps[-1]

    def start(self, stamp_ns: int, T_map_base: Array, cov: Array) -> None:
        """Forgets everything and begins with one keyframe.

        Args:
            stamp_ns: Its stamp.
            T_map_base: (4, 4).
            cov: (6, 6), map axes.
        """
        self._stop()
        params = gtsam.ISAM2Params()
        params.setRelinearizeThreshold(0.001)
        params.relinearizeSkip = 1
        params.findUnusedFactorSlots = True
        self._origin_ns = stamp_ns
        self._next_key = 0
        # One keyframe more than promised, so that the oldest usable one is never being removed.
        self._smoother = IncrementalFixedLagSmoother(self._lag_ns / NS + 1.0, params)
        key = self._insert(stamp_ns, T_map_base)
        prior = _noise(self._to_gtsam(cov, T_map_base))
        self._pending.add(gtsam.PriorFactorPose3(key, gtsam.Pose3(T_map_base), prior))
        self._last_good = (stamp_ns, T_map_base, cov)
        self.update()

    def add_keyframe(self, stamp_ns: int, motion: Motion) -> None:
        """Appends a keyframe reached from the newest one by `motion`."""
        before = self.newest_ns
        key_before = self._keys[before]
        T = self.pose(before) @ motion.T
        key = self._insert(stamp_ns, T)
        cov = motion.cov[np.ix_(ROTATION_FIRST, ROTATION_FIRST)] + 1e-12 * np.eye(6)
        between = gtsam.BetweenFactorPose3(key_before, key, gtsam.Pose3(motion.T), _noise(cov))
        self._pending.add(between)
        # gtsam must not be given more at once than its lag holds.
        if self._pending_values.size() >= MAX_PENDING:
            self.update()

    def add_tilt(self, stamp_ns: int, roll: float, pitch: float, std: float) -> None:
        """Says how a keyframe is tilted (rad)."""
        down_in_body = se3.rotation_from_rpy(roll, pitch, 0.0).T @ np.array([0.0, 0.0, -1.0])
        factor = AttitudeFactorPose3(
            self._keys[stamp_ns],
            gtsam.Unit3(np.array([0.0, 0.0, -1.0])),
            gtsam.noiseModel.Isotropic.Sigma(2, std),
            gtsam.Unit3(down_in_body),
        )
        self._pending.add(factor)

    def add_position(
        self,
        point: PlacedPoint,
        cov: Array,
        robust_width: float,
        before: PlacedPoint | None = None,
        rho: float = 0.0,
    ) -> None:
        """Says where a point of a keyframe's body is.

        An error that stays alike from one measurement to the next (a first-order Gauss-Markov
        process with correlation `rho`) is whitened: what counts is error - rho * error before.

        Args:
            point: The measurement.
            cov: (3, 3) m^2, map axes, of the whitened error.
            robust_width: Of the kernel, sigmas.
            before: The measurement before, on a keyframe that is still remembered.
            rho: Correlation with it, 0..1.
        """
        if point.keyframe_ns not in self._keys:
            return  # lost in a rebuild just now
        keys = [self._keys[point.keyframe_ns]]
        if before is not None and before.keyframe_ns not in self._keys:
            before = None
        if before is not None and before.keyframe_ns != point.keyframe_ns:
            keys.append(self._keys[before.keyframe_ns])

        hat_arm = se3.hat(point.arm)
        hat_before = None if before is None else se3.hat(before.arm)

        def error(_: object, values: gtsam.Values, jacobians: list | None) -> Array:
            e, J = _position_error(values.atPose3(keys[0]).matrix(), point, hat_arm)
            if before is None or hat_before is None:
                if jacobians is not None:
                    jacobians[0] = J
                return e
            T_before = values.atPose3(keys[-1]).matrix()
            e_before, J_before = _position_error(T_before, before, hat_before)
            if jacobians is not None:
                if len(keys) == 1:
                    jacobians[0] = J - rho * J_before
                else:
                    jacobians[0], jacobians[1] = J, -rho * J_before
            return e - rho * e_before

        self._pending.add(gtsam.CustomFactor(_noise(cov, robust_width), keys, error))

    def add_pose(self, stamp_ns: int, T_map_base: Array, cov: Array, robust_width: float) -> None:
        """Says where a keyframe is: pose (4, 4) and covariance (6, 6), map axes."""
        if stamp_ns not in self._keys:
            return  # lost in a rebuild just now
        noise = _noise(self._to_gtsam(cov, T_map_base), robust_width)
        prior = gtsam.PriorFactorPose3(self._keys[stamp_ns], gtsam.Pose3(T_map_base), noise)
        self._pending.add(prior)

    def nearest(self, stamp_ns: int) -> int | None:
        """Stamp of the keyframe nearest to a stamp; None if that is older than the lag."""
        if stamp_ns < self.stamps[0] - NS // 2 or stamp_ns < self.newest_ns - self._lag_ns:
            return None
        i = bisect_left(self.stamps, stamp_ns)
        around = self.stamps[max(0, i - 1) : i + 1]
        return min(around, key=lambda each: abs(each - stamp_ns))

    def pose(self, stamp_ns: int) -> Array:
        """The pose (4, 4) of the keyframe with this stamp."""
        key = self._keys[stamp_ns]
        if self._pending_values.exists(key):
            return self._pending_values.atPose3(key).matrix()
        if self._values is None:
            raise KeyError(stamp_ns)
        return self._values.atPose3(key).matrix()

    def cov(self, stamp_ns: int) -> Array:
        """The covariance (6, 6) of the keyframe with this stamp, map axes."""
        self.update()
        if stamp_ns not in self._cov_cache:
            self._cov_cache[stamp_ns] = self._marginal(stamp_ns)
        return self._cov_cache[stamp_ns]

    def update(self) -> None:
        """Solves with what was added. Called by itself where a covariance is asked for."""
        if self._smoother is None or self._pending.size() == 0:
            return
        graph, values, stamps = self._pending, self._pending_values, self._pending_stamps
        newest = self.newest_ns
        guess = self.pose(newest)
        self._pending = gtsam.NonlinearFactorGraph()
        self._pending_values = gtsam.Values()
        self._pending_stamps = FixedLagSmootherKeyTimestampMap()
        self._cov_cache = {}
        try:
            self._smoother.update(graph, values, stamps)
            # A second step lets a late or large correction settle before it is read.
            self._smoother.update(
                gtsam.NonlinearFactorGraph(), gtsam.Values(), FixedLagSmootherKeyTimestampMap()
            )
            self._values = self._smoother.calculateEstimate()
            T = self._values.atPose3(self._keys[newest]).matrix()
            if not np.all(np.isfinite(T)):
                raise RuntimeError('the smoother gave a pose that is not finite')
        except (RuntimeError, IndexError, ValueError):
            self._rebuild(newest, guess)
            return
        self._forget(newest - self._lag_ns)

    def _insert(self, stamp_ns: int, T: Array) -> int:
        key = self._next_key
        self._next_key += 1
        self._keys[stamp_ns] = key
        self.stamps.append(stamp_ns)
        self._pending_values.insert(key, gtsam.Pose3(T))
        self._pending_stamps.insert((key, (stamp_ns - self._origin_ns) / NS))
        return key

    def _forget(self, before_ns: int) -> None:
        while len(self.stamps) > 1 and self.stamps[0] < before_ns:
            del self._keys[self.stamps.pop(0)]

    def _marginal(self, stamp_ns: int) -> Array:
        key = self._keys[stamp_ns]
        T = self.pose(stamp_ns)
        try:
            if hasattr(self._smoother, 'marginalCovariance'):
                cov = self._smoother.marginalCovariance(key)
            else:
                cov = self._smoother.getISAM2().marginalCovariance(key)
            if not np.all(np.isfinite(cov)) or np.any(np.diag(cov) <= 0.0):
                raise RuntimeError('the smoother gave an impossible covariance')
        except (RuntimeError, IndexError, ValueError):
            self._rebuild(self.newest_ns, self.pose(self.newest_ns))
            return self._cov_cache[self.newest_ns]
        cov = cov[np.ix_(ROTATION_FIRST, ROTATION_FIRST)]
        cov = se3.rotate_cov(0.5 * (cov + cov.T), T[:3, :3])
        if stamp_ns == self.newest_ns:
            self._last_good = (stamp_ns, T, cov)
        return cov

    def _rebuild(self, stamp_ns: int, guess: Array) -> None:
        """Begins again from the last good estimate after a numerical fault."""
        good = self._last_good
        assert good is not None  # set by `start`, before anything can fail
        if not np.all(np.isfinite(guess)):
            guess = good[1]
        # The covariance is older than the guess: four times as wide, and more with the distance.
        distance = float(np.linalg.norm(guess[:3, 3] - good[1][:3, 3]))
        wide = 0.1 * distance + 0.1
        cov = 4.0 * good[2] + np.diag([wide, wide, wide, 0.01, 0.01, 0.05]) ** 2
        count = self.rebuilds
        self.start(stamp_ns, guess, cov)
        self.rebuilds = count + 1
        self._cov_cache[stamp_ns] = cov

    @staticmethod
    def _to_gtsam(cov: Array, T: Array) -> Array:
        body = se3.rotate_cov(cov, T[:3, :3].T)
        return body[np.ix_(ROTATION_FIRST, ROTATION_FIRST)]
