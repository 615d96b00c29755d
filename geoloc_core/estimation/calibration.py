# SPDX-License-Identifier: Apache-2.0
"""Wheel scale and gyro bias, estimated on the way from track and fixes.

A small extended Kalman filter beside the smoother, in the plane. Its state is the pose, the scale
and the bias of the track, and the error of the receiver, which stays alike for seconds: a
first-order Gauss-Markov process. Leaving that last part out makes the filter take every wander of
the fixes for a bias of the gyro.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.config import CalibrationConfig, LocalizerConfig
from geoloc_core.estimation.odometry_buffer import NS, PoseBuffer
from geoloc_core.geometry import angles, se3

Array = NDArray[np.float64]

# Longer steps between fixes are cut, because a bias acts along the way.
STEP_NS = NS // 2
WHITE_FRACTION = 0.03
CAUCHY_WIDTH = 3.0
BREAK_STD = np.array([5.0, 5.0, 0.5])
X, Y, YAW, SCALE, BIAS, EAST, NORTH = range(7)


@dataclass(frozen=True)
class Calibration:
    """What is known of odometry and gyro, and how well.

    Attributes:
        scale: True distance per metre of odometry.
        bias: What the yaw rate reads too much, rad/s.
        std_scale: Its deviation.
        std_bias: Its deviation, rad/s.
        distance: Metres driven under fixes so far.
    """

    scale: float = 1.0
    bias: float = 0.0
    std_scale: float = 0.03
    std_bias: float = 0.001
    distance: float = 0.0


class Calibrator:
    """The filter. It is given fixes, and reads the raw track itself."""

    def __init__(self, config: LocalizerConfig) -> None:
        self._config: CalibrationConfig = config.calibration
        self._odometry = config.odometry
        self._tau = max(config.gnss.correlation_s, 1e-3)
        self._waiting: deque[tuple[int, Array, Array, Array]] = deque(maxlen=100)
        self._stamp: int | None = None
        self._x = np.zeros(7)
        self._x[SCALE] = 1.0
        self._P = np.zeros((7, 7))
        self._P[SCALE, SCALE] = self._config.std_scale**2
        self._P[BIAS, BIAS] = self._config.std_bias**2
        self._distance = 0.0

    @property
    def result(self) -> Calibration:
        """What is known now; the prior belief until enough has been driven."""
        c = self._config
        if not c.enabled or self._distance < c.min_distance:
            return Calibration(1.0, 0.0, c.std_scale, c.std_bias, self._distance)
        return Calibration(
            float(np.clip(self._x[SCALE], 1 - c.max_scale_change, 1 + c.max_scale_change)),
            float(np.clip(self._x[BIAS], -c.max_bias, c.max_bias)),
            max(float(np.sqrt(self._P[SCALE, SCALE])), c.std_scale_floor),
            max(float(np.sqrt(self._P[BIAS, BIAS])), c.std_bias_floor),
            self._distance,
        )

    def restart(self, stamp_ns: int, xyyaw: Array, cov: Array) -> None:
        """Sets the pose (3,) and its covariance (3, 3); scale and bias are kept."""
        self._stamp = stamp_ns
        self._x[:3] = xyyaw
        self._x[EAST:] = 0.0
        kept = self._P[SCALE : BIAS + 1, SCALE : BIAS + 1].copy()
        self._P[:] = 0.0
        self._P[:3, :3] = cov
        self._P[SCALE : BIAS + 1, SCALE : BIAS + 1] = kept

    def broken(self) -> None:
        """The track has been broken: the pose is no longer known well."""
        self._P[:3, :3] += np.diag(BREAK_STD**2)

    def add_fix(self, stamp_ns: int, xy: Array, cov: Array, arm: Array) -> None:
        """Takes where the antenna was: (2,) m, (2, 2) m^2, and `arm` (2,) m in the base."""
        if self._stamp is not None and stamp_ns > self._stamp:
            self._waiting.append((stamp_ns, xy, cov, arm))

    def learn(self, track: PoseBuffer) -> None:
        """Works off the fixes that the track has reached."""
        while self._waiting and track.covers(self._waiting[0][0]):
            stamp, xy, cov, arm = self._waiting.popleft()
            if self._stamp is None or stamp <= self._stamp or not track.covers(self._stamp):
                self._stamp = max(stamp, self._stamp or stamp)
                continue
            while self._stamp < stamp:
                self._predict(track, min(stamp, self._stamp + STEP_NS), cov)
            self._correct(xy, cov, arm)

    def _predict(self, track: PoseBuffer, to_ns: int, cov_fix: Array) -> None:
        assert self._stamp is not None
        first, last = track.at(self._stamp), track.at(to_ns)
        dt = (to_ns - self._stamp) / NS
        self._stamp = to_ns
        if first is None or last is None:
            return
        forward, left, turn = se3.planar(se3.inverse(first) @ last)
        x, P, o = self._x, self._P, self._odometry
        way = float(np.hypot(forward, left))
        self._distance += way
        yaw = x[YAW] - 0.5 * x[BIAS] * dt
        c, s = np.cos(yaw), np.sin(yaw)
        east, north = c * forward - s * left, s * forward + c * left
        F = np.eye(7)
        F[X, YAW], F[Y, YAW] = -x[SCALE] * north, x[SCALE] * east
        F[X, SCALE], F[Y, SCALE] = east, north
        F[X, BIAS], F[Y, BIAS] = 0.5 * dt * x[SCALE] * north, -0.5 * dt * x[SCALE] * east
        F[YAW, BIAS] = -dt
        rho = np.exp(-dt / self._tau)
        F[EAST, EAST] = F[NORTH, NORTH] = rho
        x[X] += x[SCALE] * east
        x[Y] += x[SCALE] * north
        x[YAW] = angles.wrap(x[YAW] + turn - x[BIAS] * dt)
        x[EAST:] *= rho
        Q = np.zeros(7)
        Q[X] = Q[Y] = o.std_along_per_sqrt_m**2 * way + 1e-6
        Q[YAW] = o.std_yaw_per_sqrt_m**2 * way + (o.std_yaw_per_rad * turn) ** 2
        Q[YAW] += o.std_yaw_per_sqrt_s**2 * dt if way > 0.01 * dt else 1e-8 * dt
        Q[BIAS] = self._config.std_bias_walk**2 * dt
        Q[EAST:] = (1.0 - rho**2) * np.diag(cov_fix)
        self._P = F @ P @ F.T + np.diag(Q)

    def _correct(self, xy: Array, cov: Array, arm: Array) -> None:
        x, P = self._x, self._P
        if P[EAST, EAST] < 1e-9:  # the first fix after a start brings a whole error with it
            P[EAST, EAST], P[NORTH, NORTH] = np.diag(cov)
        c, s = np.cos(x[YAW]), np.sin(x[YAW])
        ax, ay = c * arm[0] - s * arm[1], s * arm[0] + c * arm[1]
        H = np.zeros((2, 7))
        H[0, X] = H[1, Y] = H[0, EAST] = H[1, NORTH] = 1.0
        H[0, YAW], H[1, YAW] = -ay, ax
        error = xy - x[[X, Y]] - x[[EAST, NORTH]] - [ax, ay]
        R = WHITE_FRACTION * cov
        squared = error @ np.linalg.solve(H @ P @ H.T + R, error)
        # A gross error must not teach anything: its noise grows with its surprise.
        S = H @ P @ H.T + R * (1.0 + squared / CAUCHY_WIDTH**2)
        K = np.linalg.solve(S, H @ P).T
        keep = np.eye(7) - K @ H
        self._P = keep @ P @ keep.T + K @ (S - H @ P @ H.T) @ K.T
        self._x = x + K @ error
        self._x[YAW] = angles.wrap(self._x[YAW])
