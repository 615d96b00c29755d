# SPDX-License-Identifier: Apache-2.0
"""What errors of wheel scale and gyro bias do to the pose while nothing absolute is seen.

The smoother's noise is independent from step to step and grows with the root of the way. An error
of scale or bias is the same at every step: it grows with the way, and with its square in time.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class CalibrationDrift:
    """Sensitivity of the pose to scale and bias since the last absolute measurements."""

    def __init__(self) -> None:
        # Rows x, y, yaw (map axes); columns scale, bias.
        self._J = np.zeros((3, 2))

    def grow(self, T_map_base: Array, step: Array, dt: float) -> None:
        """Adds a step (4, 4) of dt seconds, taken from a pose (4, 4)."""
        dx, dy = (T_map_base[:3, :3] @ step[:3, 3])[:2]
        # A yaw error that has already grown turns the step; half of this step's own joins it.
        yaw = self._J[2] + np.array([0.0, 0.5 * dt])
        self._J[0] += np.array([dx, 0.0]) - dy * yaw
        self._J[1] += np.array([dy, 0.0]) + dx * yaw
        self._J[2, 1] += dt

    def shrink(self, P: Array, R: Array) -> None:
        """Takes a position measurement (R) fused with the estimate (P), both (2, 2), m^2."""
        gain = float(np.trace(P) / (np.trace(P) + np.trace(R)))
        self._J *= 1.0 - gain

    def cov(self, std_scale: float, std_bias: float) -> Array:
        """The covariance (6, 6) it makes, map axes."""
        C = (self._J * np.array([std_scale, std_bias]) ** 2) @ self._J.T
        full = np.zeros((6, 6))
        planar = np.array([0, 1, 5])
        full[np.ix_(planar, planar)] = C
        return full
