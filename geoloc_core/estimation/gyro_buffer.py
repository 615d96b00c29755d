# SPDX-License-Identifier: Apache-2.0
"""Yaw integrated from a gyro, and roll and pitch where the IMU gives them."""

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.geometry import se3
from geoloc_core.types import ImuSample, Status

Array = NDArray[np.float64]

# A longer silence cannot be integrated over.
MAX_GAP_NS = NS // 2
# IMU samples often arrive a little after the odometry they belong to.
HOLD_NS = NS // 4
MAX_RATE = 20.0


class GyroBuffer:
    """Cumulative yaw about the base's z axis, at any stamp."""

    def __init__(self, history_s: float) -> None:
        self._history_ns = int(history_s * NS)
        self._stamps: list[int] = []
        self._yaw: list[float] = []
        self._rate: list[float] = []
        self._stretch: list[int] = []
        self._tilts: list[tuple[int, float, float]] = []

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample, or None before the first."""
        return self._stamps[-1] if self._stamps else None

    def push(self, sample: ImuSample) -> tuple[Status, str]:
        """Takes one sample; returns OK and '', or why it is refused."""
        rates = np.asarray(sample.angular, dtype=np.float64)
        if rates.shape != (3,) or not np.all(np.abs(rates) < MAX_RATE):
            return Status.BAD_INPUT, 'angular rate is not finite or impossible'
        newest = self.newest_ns
        if newest is not None and sample.stamp_ns <= newest:
            return Status.BAD_STAMP, f'imu {(newest - sample.stamp_ns) / NS:.3f} s back'
        rate = float(rates[2])
        yaw, stretch = 0.0, 0
        if newest is not None:
            gap = sample.stamp_ns - newest
            yaw, stretch = self._yaw[-1], self._stretch[-1]
            if gap > MAX_GAP_NS:
                stretch += 1
            else:
                yaw += 0.5 * (rate + self._rate[-1]) * gap / NS
        self._stamps.append(sample.stamp_ns)
        self._yaw.append(yaw)
        self._rate.append(rate)
        self._stretch.append(stretch)
        self._trim()
        if sample.R_world_base is not None and np.all(np.isfinite(sample.R_world_base)):
            roll, pitch, _ = se3.rpy_from(sample.R_world_base)
            self._tilts.append((sample.stamp_ns, roll, pitch))
            if self._tilts[-1][0] - self._tilts[0][0] > 2 * self._history_ns:
                kept = self._tilts[-1][0] - self._history_ns
                self._tilts = [each for each in self._tilts if each[0] >= kept]
        return Status.OK, ''

    def tilt(self, stamp_ns: int) -> tuple[float, float] | None:
        """(roll, pitch) in rad nearest to the stamp, if at most 0.5 s away."""
        best: tuple[int, float, float] | None = None
        for each in reversed(self._tilts):
            if best is not None and abs(each[0] - stamp_ns) > abs(best[0] - stamp_ns):
                break
            best = each
        if best is None or abs(best[0] - stamp_ns) > NS // 2:
            return None
        return best[1], best[2]

    def yaw_at(self, stamp_ns: int) -> tuple[float, int] | None:
        """Cumulative yaw (rad) and the number of the unbroken stretch it counts in.

        The newest rate is held for a moment; None where the gyro was silent. Only yaws of the
        same stretch may be subtracted.
        """
        i = bisect_right(self._stamps, stamp_ns) - 1
        if i < 0:
            return None
        dt = stamp_ns - self._stamps[i]
        if i + 1 < len(self._stamps) and self._stretch[i] == self._stretch[i + 1]:
            span = self._stamps[i + 1] - self._stamps[i]
            return self._yaw[i] + (self._yaw[i + 1] - self._yaw[i]) * dt / span, self._stretch[i]
        if dt > HOLD_NS:
            return None
        return self._yaw[i] + self._rate[i] * dt / NS, self._stretch[i]

    def _trim(self) -> None:
        oldest = bisect_left(self._stamps, self._stamps[-1] - self._history_ns) - 1
        if oldest > 256 and oldest > len(self._stamps) // 2:
            for values in (self._stamps, self._yaw, self._rate, self._stretch):
                del values[:oldest]
