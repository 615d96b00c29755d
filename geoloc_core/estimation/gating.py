# SPDX-License-Identifier: Apache-2.0
"""Which measurements to believe, and which of the refused ones agree with each other.

A gate on the normalised innovation squared keeps gross errors out. It would also keep a lost
estimate lost for ever, so what it refuses is remembered: `reacquisition` finds the way back by it.
"""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
import math

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.config import ReacquireConfig
from geoloc_core.estimation.odometry_buffer import NS

Array = NDArray[np.float64]

MAX_AGE_NS = 60 * NS


def nis(innovation: Array, cov: Array) -> float:
    """Normalised innovation squared of (d,) with covariance (d, d)."""
    return float(innovation @ np.linalg.solve(cov, innovation))


@lru_cache(maxsize=64)
def threshold(sigma: float, dof: int) -> float:
    """The NIS that d dimensions exceed as seldom as one dimension exceeds `sigma` sigmas."""
    wanted = math.erfc(sigma / math.sqrt(2.0))
    if wanted == 0.0:
        return math.inf
    # Halving needs no more than these: the tail falls with every step, and no further than 0.
    low, high = 0.0, 2.0 * (sigma**2 + 8.0 * dof) + 64.0
    while (middle := 0.5 * (low + high)) not in (low, high):
        low, high = (middle, high) if _tail(middle, dof) > wanted else (low, middle)
    return middle


def _tail(value: float, dof: int) -> float:
    """Share of chi-squared of `dof` degrees of freedom over a value.

    Not scipy's, whose import costs a node more than all of the gate: two degrees more add
    (x/2)^(d/2) exp(-x/2) / Gamma(d/2 + 1) to the tail of d.
    """
    half = 0.5 * value
    tail, held = (math.erfc(math.sqrt(half)), 1) if dof % 2 else (math.exp(-half), 2)
    while held < dof:
        tail += math.exp(-half) * half ** (0.5 * held) / math.gamma(0.5 * held + 1.0)
        held += 2
    return tail


@dataclass(frozen=True)
class Refused:
    """A measurement that was gated.

    Attributes:
        stamp_ns: Its stamp.
        offset: (2,) or (3,): measured minus predicted x, y (and yaw).
        cov: Of the measurement alone, same size.
        predicted_xy: (2,) m, where the estimate had the robot.
    """

    stamp_ns: int
    offset: Array
    cov: Array
    predicted_xy: Array


class Gate:
    """The gate of one source of absolute measurements."""

    def __init__(self, sigma: float, config: ReacquireConfig) -> None:
        self._sigma = sigma
        self._config = config
        self._refused: deque[Refused] = deque(maxlen=40)
        self.last_accepted_ns: int | None = None

    def passes(self, stamp_ns: int, innovation: Array, cov: Array) -> tuple[bool, float]:
        """Judges an innovation by its covariance; returns the verdict and the NIS."""
        value = nis(innovation, cov)
        if np.isfinite(value) and value <= threshold(self._sigma, len(innovation)):
            self.last_accepted_ns = max(stamp_ns, self.last_accepted_ns or stamp_ns)
            self._refused.clear()
            return True, value
        return False, value

    def refuse(self, refused: Refused) -> None:
        """Remembers a refused measurement."""
        self._refused.append(refused)

    @property
    def refused(self) -> list[Refused]:
        """What was refused since something was last accepted, oldest first."""
        return list(self._refused)

    def agreement(self, now_ns: int, std_yaw: float) -> list[Refused]:
        """Refused measurements that agree with the newest one.

        Args:
            now_ns: The newest one's stamp.
            std_yaw: How wrong the estimate's yaw may be, rad: offsets then change with the way.

        Returns:
            They, if they are many and most of the recent ones; else nothing.
        """
        recent = [each for each in self._refused if now_ns - each.stamp_ns <= MAX_AGE_NS]
        if len(recent) < self._config.count:
            return []
        recent = recent[-4 * self._config.count :]
        last = recent[-1]
        alike = []
        for each in recent:
            d = (each.offset - last.offset)[:2]
            way = float(np.linalg.norm(each.predicted_xy - last.predicted_xy))
            S = each.cov[:2, :2] + last.cov[:2, :2] + (std_yaw * way) ** 2 * np.eye(2)
            if nis(d, S) <= self._config.agree_sigma**2:
                alike.append(each)
        enough = len(alike) >= max(self._config.count, int(0.6 * len(recent)))
        return alike if enough else []
