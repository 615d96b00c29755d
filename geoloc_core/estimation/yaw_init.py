# SPDX-License-Identifier: Apache-2.0
"""A first yaw where there is no odometry: the course over ground of a robot that drives forward."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.odometry_buffer import NS

Array = NDArray[np.float64]

WINDOW_S = 10.0


class TimedPosition(Protocol):
    """What is needed of a fix."""

    stamp_ns: int
    xyz: Array
    cov: Array
    arm: Array


def course_over_ground(
    fixes: Sequence[TimedPosition], min_distance: float, max_std: float
) -> tuple[Array, Array] | None:
    """Fits a straight, steady motion to the last fixes.

    Args:
        fixes: By increasing stamp.
        min_distance: The fit must have gone this far, m.
        max_std: And know its direction this well, rad.

    Returns:
        (3,) x, y, yaw of the base at the last fix and its covariance (3, 3), or None.
    """
    last = fixes[-1]
    recent = [fix for fix in fixes if last.stamp_ns - fix.stamp_ns <= WINDOW_S * NS]
    if len(recent) < 4:
        return None
    t = np.array([(fix.stamp_ns - last.stamp_ns) / NS for fix in recent])
    xy = np.array([fix.xyz[:2] for fix in recent])
    std = np.sqrt([0.5 * np.trace(fix.cov[:2, :2]) for fix in recent])
    A = np.column_stack([np.ones_like(t), t]) / std[:, None]
    weight = np.ones_like(t)
    for _ in range(10):
        root = np.sqrt(weight)[:, None]
        solution = np.linalg.lstsq(root * A, root * xy / std[:, None], rcond=None)[0]
        residual = np.linalg.norm(A @ solution - xy / std[:, None], axis=1)
        weight = 1.0 / (1.0 + (residual / 2.0) ** 2)
    position, velocity = solution
    distance = float(np.hypot(*velocity) * (t[-1] - t[0]))
    # The receiver's error is alike from fix to fix, so more fixes do not make a better course.
    std_yaw = float(np.sqrt(2.0) * np.median(std) / max(distance, 1e-3))
    if distance < min_distance or std_yaw > max_std:
        return None
    yaw = float(np.arctan2(velocity[1], velocity[0]))
    c, s = np.cos(yaw), np.sin(yaw)
    arm = np.array([c * last.arm[0] - s * last.arm[1], s * last.arm[0] + c * last.arm[1]])
    cov = np.zeros((3, 3))
    cov[:2, :2] = last.cov[:2, :2]
    cov[2, 2] = std_yaw**2
    return np.array([*(position - arm), yaw]), cov
