# SPDX-License-Identifier: Apache-2.0
"""Errors along and across the road, yaw, recalls, outages, rates: what the tables show."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RECALL_M = (1.0, 3.0, 5.0)
RECALL_DEG = (1.0, 3.0, 5.0)


def lateral_longitudinal(error_xy: ArrayLike, truth_yaw: ArrayLike) -> tuple[Array, Array]:
    """Splits position errors by the robot's true heading.

    Convention: longitudinal is positive when the estimate lies ahead of the truth, lateral when
    it lies to its left. Both are projections on the heading's unit vectors, so they are right at
    any heading, not only along an axis of the image.

    Args:
        error_xy: (N, 2) estimate - truth in the map frame, m.
        truth_yaw: (N,) true yaw, rad.

    Returns:
        (lateral, longitudinal), each (N,), m, signed.
    """
    error = np.asarray(error_xy, dtype=np.float64)
    yaw = np.asarray(truth_yaw, dtype=np.float64)
    cos, sin = np.cos(yaw), np.sin(yaw)
    return -sin * error[..., 0] + cos * error[..., 1], cos * error[..., 0] + sin * error[..., 1]


def yaw_error(estimate: ArrayLike, truth: ArrayLike) -> Array:
    """Signed yaw error, estimate - truth, wrapped to (-pi, pi], rad."""
    difference = np.asarray(estimate, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    return np.pi - np.mod(np.pi - difference, 2 * np.pi)


def recall(errors: ArrayLike, threshold: float, total: int | None = None) -> float:
    """Fraction of the samples whose error is at most the threshold.

    Args:
        errors: (N,) errors, of any sign; NaN never counts as found.
        threshold: Largest error that counts.
        total: Number of samples asked for, where some gave no answer; N if None.

    Returns:
        0..1, NaN when there is nothing to count.
    """
    values = np.abs(np.asarray(errors, dtype=np.float64))
    count = len(values) if total is None else total
    return float((values <= threshold).sum() / count) if count else float('nan')


def joint_recall(
    position_m: ArrayLike,
    yaw_rad: ArrayLike,
    threshold_m: float,
    threshold_deg: float,
    total: int | None = None,
) -> float:
    """Fraction of the samples within both thresholds; arguments as in `recall`."""
    within = (np.abs(np.asarray(position_m, dtype=np.float64)) <= threshold_m) & (
        np.degrees(np.abs(np.asarray(yaw_rad, dtype=np.float64))) <= threshold_deg
    )
    count = len(within) if total is None else total
    return float(within.sum() / count) if count else float('nan')


def percentile(values: ArrayLike, percent: float) -> float:
    """Percentile of the finite absolute values; NaN when there is none."""
    finite = np.abs(np.asarray(values, dtype=np.float64))
    finite = finite[np.isfinite(finite)]
    return float(np.percentile(finite, percent)) if finite.size else float('nan')


def median(values: ArrayLike) -> float:
    """Median of the finite absolute values; NaN when there is none."""
    return percentile(values, 50)


def rmse(values: ArrayLike) -> float:
    """Root mean square of the finite values; NaN when there is none."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else float('nan')


def rate_hz(stamps_ns: ArrayLike) -> float:
    """Mean rate of a stream, Hz; NaN with fewer than two stamps or no time between them."""
    stamps = np.asarray(stamps_ns, dtype=np.int64)
    span = int(stamps.max() - stamps.min()) if len(stamps) > 1 else 0
    return (len(stamps) - 1) / (span * 1e-9) if span else float('nan')


def gaps(
    stamps_ns: ArrayLike, start_ns: int, end_ns: int, longer_than_s: float = 2.0
) -> list[tuple[int, int]]:
    """Times a stream was silent, such as GNSS outages.

    Args:
        stamps_ns: (N,) stamps of the messages that count, in any order.
        start_ns: Where the run starts.
        end_ns: Where it ends.
        longer_than_s: Shorter silences are not outages, s. A stream slower than a third of this
            is measured by three times its own median interval instead.

    Returns:
        (last message before, first message after) of each silence, clipped to the run.
    """
    stamps = np.unique(np.asarray(stamps_ns, dtype=np.int64))
    stamps = stamps[(stamps >= start_ns) & (stamps <= end_ns)]
    if not len(stamps):
        return [(start_ns, end_ns)]
    limit = longer_than_s * 1e9
    if len(stamps) > 2:
        limit = max(limit, 3 * float(np.median(np.diff(stamps))))
    edges = np.concatenate([[start_ns], stamps, [end_ns]])
    return [(int(a), int(b)) for a, b in pairwise(edges) if b - a > limit]


def inside(stamps_ns: ArrayLike, segments: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which stamps (N,) lie strictly inside one of the (start, end) segments."""
    stamps = np.asarray(stamps_ns, dtype=np.int64)
    within = np.zeros(len(stamps), dtype=bool)
    for start, end in segments:
        within |= (stamps > start) & (stamps < end)
    return within


def position_summary(error_xy: ArrayLike, truth_yaw: ArrayLike) -> dict[str, float]:
    """Figures of a set of position errors.

    Args:
        error_xy: (N, 2) estimate - truth, m; NaN rows where there was no estimate.
        truth_yaw: (N,) rad.

    Returns:
        `position_{median,p90,p95,max,rmse}_m`, `{lateral,longitudinal}_median_m` and
        `recall_{1,3,5}m` with `lateral_recall_*`, `longitudinal_recall_*`; rows without an
        estimate count against the recalls and are left out of the rest.
    """
    error = np.asarray(error_xy, dtype=np.float64).reshape(-1, 2)
    distance = np.linalg.norm(error, axis=1)
    lateral, longitudinal = lateral_longitudinal(error, truth_yaw)
    figures = {
        'position_median_m': median(distance),
        'position_p90_m': percentile(distance, 90),
        'position_p95_m': percentile(distance, 95),
        'position_max_m': percentile(distance, 100),
        'position_rmse_m': rmse(distance),
        'lateral_median_m': median(lateral),
        'longitudinal_median_m': median(longitudinal),
    }
    for threshold in RECALL_M:
        figures[f'recall_{threshold:g}m'] = recall(distance, threshold)
        figures[f'lateral_recall_{threshold:g}m'] = recall(lateral, threshold)
        figures[f'longitudinal_recall_{threshold:g}m'] = recall(longitudinal, threshold)
    return figures


def yaw_summary(errors_rad: ArrayLike) -> dict[str, float]:
    """Figures of yaw errors (N,), rad: `yaw_{median,p95,max}_deg`, `yaw_recall_{1,3,5}deg`."""
    errors = np.degrees(np.asarray(errors_rad, dtype=np.float64))
    figures = {
        'yaw_median_deg': median(errors),
        'yaw_p95_deg': percentile(errors, 95),
        'yaw_max_deg': percentile(errors, 100),
    }
    for threshold in RECALL_DEG:
        figures[f'yaw_recall_{threshold:g}deg'] = recall(errors, threshold)
    return figures
