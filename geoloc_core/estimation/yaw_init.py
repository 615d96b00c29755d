# SPDX-License-Identifier: Apache-2.0
"""The first pose: yaw from the motion and the fixes, or from the course over ground."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.alignment import align, Alignment, Track
from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.odometry_buffer import NS, PoseBuffer
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

# Fewer nodes than this would let a turn between fixes go unnoticed.
NODE_NS = NS // 2
COURSE_WINDOW_S = 10.0


@dataclass(frozen=True)
class Position:
    """Where the antenna is.

    Attributes:
        stamp_ns: When.
        xyz: (3,) m, map frame.
        cov: (3, 3) m^2, map axes.
        arm: (3,) m, the antenna in the base.
    """

    stamp_ns: int
    xyz: Array
    cov: Array
    arm: Array


def track_under(
    fixes: Sequence[Position], buffer: PoseBuffer, not_before_ns: int
) -> tuple[int, Track] | None:
    """The track from the first of the fixes on; with the stamp of its last node."""
    if not len(buffer):
        return None
    newest, start = buffer.stamps[-1], max(buffer.stamps[0], not_before_ns)
    inside = sorted(
        (fix for fix in fixes if start <= fix.stamp_ns <= newest), key=lambda fix: fix.stamp_ns
    )
    if len(inside) < 3:
        return None
    first = inside[0].stamp_ns
    grid = range(first - first % NODE_NS + NODE_NS, newest, NODE_NS)
    stamps = sorted({*(fix.stamp_ns for fix in inside), *grid, newest})
    index = {stamp: i for i, stamp in enumerate(stamps)}
    poses = [T for T in map(buffer.at, stamps) if T is not None]
    return newest, Track(
        (np.array(stamps) - newest) / NS,
        np.array([se3.planar(T) for T in poses]),
        np.array([index[fix.stamp_ns] for fix in inside]),
        np.array([fix.xyz[:2] for fix in inside]),
        np.array([np.sqrt(0.5 * np.trace(fix.cov[:2, :2])) for fix in inside]),
        inside[-1].arm[:2],
    )


def yaw_from_motion(
    fixes: Sequence[Position], buffer: PoseBuffer, config: LocalizerConfig, not_before_ns: int = 0
) -> tuple[int, Alignment] | None:
    """Lays the odometry track over the fixes.

    Args:
        fixes: Recent ones.
        buffer: The track.
        config: How far to drive and how sure to be.
        not_before_ns: The track is broken before this.

    Returns:
        The stamp of the track's end and its alignment, or None while it says too little.
    """
    found = track_under(fixes, buffer, not_before_ns)
    if found is None:
        return None
    c = config.calibration
    aligned = align(found[1], config.gnss.correlation_s, (1.0, 0.0), (c.std_scale, c.std_bias))
    if aligned is None or aligned.inliers < 0.5:
        return None
    # The extent of a straight drive of length d is d / sqrt(12).
    if aligned.extent * np.sqrt(12.0) < config.yaw_init.min_distance:
        return None
    # The track's own yaw walks while it is driven; the alignment takes it for rigid.
    walk = config.odometry.std_yaw_per_sqrt_s**2 * float(-found[1].times[0]) / 3.0
    aligned.cov[2, 2] += walk
    if aligned.cov[2, 2] > config.yaw_init.max_std**2:
        return None
    return found[0], aligned


def course_over_ground(
    fixes: Sequence[Position], min_distance: float, max_std: float
) -> tuple[Array, Array] | None:
    """Fits a straight, steady motion to the last fixes: for a robot that drives forward.

    Args:
        fixes: By increasing stamp.
        min_distance: The fit must have gone this far, m.
        max_std: And know its direction this well, rad.

    Returns:
        (3,) x, y, yaw of the base at the last fix and its covariance (3, 3), or None.
    """
    last = fixes[-1]
    recent = [fix for fix in fixes if last.stamp_ns - fix.stamp_ns <= COURSE_WINDOW_S * NS]
    if len(recent) < 4:
        return None
    t = np.array([(fix.stamp_ns - last.stamp_ns) / NS for fix in recent])
    xy = np.array([fix.xyz[:2] for fix in recent])
    std = np.sqrt([0.5 * np.trace(fix.cov[:2, :2]) for fix in recent])
    A = np.column_stack([np.ones_like(t), t]) / std[:, None]
    solution, weight = np.zeros((2, 2)), np.ones_like(t)
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
    arm = (se3.rotation_from_rpy(0.0, 0.0, yaw) @ last.arm)[:2]
    cov = np.zeros((3, 3))
    cov[:2, :2] = last.cov[:2, :2]
    cov[2, 2] = std_yaw**2
    return np.array([*(position - arm), yaw]), cov
