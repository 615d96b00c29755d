# SPDX-License-Identifier: Apache-2.0
"""What errors of wheel scale and gyro bias do to the pose while nothing absolute is seen.

The smoother's noise is independent from step to step and grows with the root of the way. An error
of scale or bias is the same at every step: it grows with the way, and with its square in time.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.covariance import PLANAR
from geoloc_core.estimation.odometry_buffer import NS

Array = NDArray[np.float64]


@dataclass
class _Mark:
    """Sensitivity at a keyframe: rows x, y, yaw (map axes); columns scale, bias."""

    stamp_ns: int
    xy: Array
    J: Array


class CalibrationDrift:
    """Sensitivity of the pose to scale and bias, as far as measurements have not taken it off.

    It is kept keyframe by keyframe, because a measurement that comes late takes off only what had
    grown by its own stamp.
    """

    def __init__(self, stamp_ns: int, T_map_base: Array, history_s: float) -> None:
        self._history_ns = int(history_s * NS)
        self._marks = [_Mark(stamp_ns, T_map_base[:2, 3].copy(), np.zeros((3, 2)))]

    def grow(self, stamp_ns: int, T_map_base: Array, step: Array, dt: float) -> None:
        """Adds a step (4, 4) of dt seconds, taken from a pose (4, 4), that ends at a stamp."""
        last = self._marks[-1]
        dx, dy = (T_map_base[:3, :3] @ step[:3, 3])[:2]
        # A yaw error that has already grown turns the step; half of this step's own joins it.
        yaw = last.J[2] - np.array([0.0, 0.5 * dt])
        J = last.J.copy()
        J[0] += np.array([dx, 0.0]) - dy * yaw
        J[1] += np.array([dy, 0.0]) + dx * yaw
        J[2, 1] -= dt
        self._marks.append(_Mark(stamp_ns, T_map_base[:2, 3] + [dx, dy], J))
        while len(self._marks) > 2 and self._marks[1].stamp_ns < stamp_ns - self._history_ns:
            del self._marks[0]

    def shrink(self, stamp_ns: int, P: Array, R: Array) -> None:
        """Takes off what a position measurement (R) corrects of the estimate (P), (2, 2), m^2."""
        gain = float(np.trace(P) / (np.trace(P) + np.trace(R)))
        i = self._index(stamp_ns)
        origin, taken = self._marks[i].xy, gain * self._marks[i].J
        for mark in self._marks[i:]:
            dx, dy = mark.xy - origin
            mark.J[0] -= taken[0] - dy * taken[2]
            mark.J[1] -= taken[1] + dx * taken[2]
            mark.J[2] -= taken[2]

    def cov(self, stamp_ns: int, std_scale: float, std_bias: float) -> Array:
        """The covariance (6, 6) it makes at a stamp, map axes."""
        J = self._marks[self._index(stamp_ns)].J
        full = np.zeros((6, 6))
        full[np.ix_(PLANAR, PLANAR)] = (J * np.array([std_scale, std_bias]) ** 2) @ J.T
        return full

    def _index(self, stamp_ns: int) -> int:
        """The newest keyframe at or before a stamp, else the oldest one."""
        return max(0, bisect_right(self._marks, stamp_ns, key=lambda mark: mark.stamp_ns) - 1)
