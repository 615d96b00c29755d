# SPDX-License-Identifier: Apache-2.0
"""Figures of single-frame localization: what the tables of the cross-view field show, and more.

Every sample counts in every figure. One without a finite answer has an infinite position error
and a yaw error of half a turn; it is never left out.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.evaluation.consistency import chi2_limit, coverage
from geoloc_core.evaluation.metrics import (
    joint_recall,
    lateral_longitudinal,
    recall,
    RECALL_DEG,
    RECALL_M,
)

Array = NDArray[np.float64]

# (m, degrees): a sample counts when it is within both.
JOINT = ((1.0, 5.0), (3.0, 10.0), (5.0, 20.0))
CED_MAX_M = 25.0
CED_POINTS = 250
_REJECT_POINTS = 1000


def position_figures(error_xy: ArrayLike, truth_yaw: ArrayLike) -> dict[str, float]:
    """Figures of position errors.

    Args:
        error_xy: (N, 2) estimate - truth in the map frame, m; inf where there was no answer.
        truth_yaw: (N,) true yaw in the map frame, rad.

    Returns:
        `position_{mean,median,q1,q3,std,min,max}_m`, `recall_{1,3,5}m`, and of the distances
        across and along the true heading `{lateral,longitudinal}_{mean,median}_m` and
        `{lateral,longitudinal}_recall_{1,3,5}m`; NaN when there are no samples.
    """
    error = np.asarray(error_xy, dtype=np.float64).reshape(-1, 2)
    distance = np.linalg.norm(error, axis=1)
    # A projection of an infinite error may be inf - inf: it is as far off as can be.
    with np.errstate(invalid='ignore'):
        sides = [np.abs(side) for side in lateral_longitudinal(error, truth_yaw)]
    lateral, longitudinal = (np.where(np.isnan(side), np.inf, side) for side in sides)
    figures = _spread('position', 'm', distance)
    for threshold in RECALL_M:
        figures[f'recall_{threshold:g}m'] = recall(distance, threshold)
    for name, values in (('lateral', lateral), ('longitudinal', longitudinal)):
        figures[f'{name}_mean_m'] = _of(np.mean, values)
        figures[f'{name}_median_m'] = _of(np.median, values)
        for threshold in RECALL_M:
            figures[f'{name}_recall_{threshold:g}m'] = recall(values, threshold)
    return figures


def yaw_figures(error_rad: ArrayLike) -> dict[str, float]:
    """Figures of yaw errors (N,), wrapped, rad: `yaw_*_deg` as above, `yaw_recall_{1,3,5}deg`."""
    error = np.abs(np.degrees(np.asarray(error_rad, dtype=np.float64)))
    figures = _spread('yaw', 'deg', error)
    for threshold in RECALL_DEG:
        figures[f'yaw_recall_{threshold:g}deg'] = recall(error, threshold)
    return figures


def joint_figures(distance_m: ArrayLike, yaw_error_rad: ArrayLike) -> dict[str, float]:
    """`joint_recall_{1m_5deg,3m_10deg,5m_20deg}` of (N,) distances and yaw errors."""
    return {
        f'joint_recall_{m:g}m_{deg:g}deg': joint_recall(distance_m, yaw_error_rad, m, deg)
        for m, deg in JOINT
    }


def belief_figures(nll: ArrayLike, nees: ArrayLike, dof: int) -> dict[str, float]:
    """Whether the probabilities can be believed.

    Args:
        nll: (N,) -log density at the truth, nats.
        nees: (N,) normalised estimation error squared, `consistency.nees`.
        dof: Its degrees of freedom.

    Returns:
        `nll` (mean), `nees_mean` (`dof` expected), `nees_median`, and `coverage_{50,90,95}`: the
        share of samples whose error lies in the ellipsoid that should hold that many percent.
    """
    values = np.asarray(nees, dtype=np.float64)
    figures = {
        'nll': _of(np.mean, np.asarray(nll, dtype=np.float64)),
        'nees_mean': _of(np.mean, values),
        'nees_median': _of(np.median, values),
    }
    for percent in (50, 90, 95):
        # inf, an answer that is not finite, lies in no ellipsoid.
        inside = coverage(
            np.where(np.isfinite(values), values, 1e300), chi2_limit(percent / 100, dof)
        )
        figures[f'coverage_{percent}'] = inside
    return figures


def ced_curve(
    distance_m: ArrayLike, longest_m: float = CED_MAX_M, points: int = CED_POINTS
) -> tuple[Array, Array]:
    """Cumulative error distribution.

    Args:
        distance_m: (N,) position errors, m.
        longest_m: The last threshold.
        points: Number of thresholds, evenly spaced from 0.

    Returns:
        Thresholds (points,) in m and the share (points,) of all samples at or below each.
    """
    thresholds = np.linspace(0.0, longest_m, points)
    ordered = np.sort(np.asarray(distance_m, dtype=np.float64))
    found = np.searchsorted(ordered, thresholds, side='right')
    return thresholds, found / len(ordered) if len(ordered) else np.full(points, np.nan)


def reject_curve(error: ArrayLike, doubt: ArrayLike) -> tuple[Array, Array, Array]:
    """What is left when the samples that a method doubts most are refused.

    Args:
        error: (N,) errors, not negative.
        doubt: (N,) larger = less sure; NaN is refused first.

    Returns:
        Share kept (M,), up to 1, and mean (M,) and median (M,) error of those kept; M is N, or a
        thousand if there are more.
    """
    errors = np.asarray(error, dtype=np.float64)
    doubts = np.asarray(doubt, dtype=np.float64)
    order = np.argsort(np.where(np.isnan(doubts), np.inf, doubts), kind='stable')
    sure_first = errors[order]
    total = len(sure_first)
    count = np.unique(np.linspace(min(1, total), total, min(total, _REJECT_POINTS)).astype(int))
    medians = np.array([np.median(sure_first[:n]) for n in count])
    return count / max(total, 1), np.cumsum(sure_first)[count - 1] / count, medians


def reliability_curve(nees: ArrayLike, dof: int, points: int = 101) -> tuple[Array, Array]:
    """How often the truth lies in the ellipsoid that should hold it with a probability.

    Args:
        nees: (N,) normalised estimation error squared.
        dof: Its degrees of freedom.
        points: Number of probabilities, evenly spaced from 0 to 1.

    Returns:
        Nominal (points,) and observed (points,) probabilities; NaN without samples.
    """
    nominal = np.linspace(0.0, 1.0, points)
    ordered = np.sort(np.asarray(nees, dtype=np.float64))
    if not len(ordered):
        return nominal, np.full(points, np.nan)
    limits = np.array([chi2_limit(float(p), dof) for p in nominal[:-1]] + [math.inf])
    found = np.searchsorted(ordered, limits, side='right')
    found[-1] = len(ordered)
    return nominal, found / len(ordered)


def _spread(name: str, unit: str, values: Array) -> dict[str, float]:
    figures = {
        f'{name}_mean_{unit}': _of(np.mean, values),
        f'{name}_median_{unit}': _of(np.median, values),
    }
    for label, percent in (('q1', 25), ('q3', 75)):
        # 'lower' keeps inf from meeting inf in an interpolation.
        figures[f'{name}_{label}_{unit}'] = (
            float(np.percentile(values, percent, method='nearest')) if len(values) else math.nan
        )
    with np.errstate(invalid='ignore'):
        figures[f'{name}_std_{unit}'] = _of(np.std, values)
    figures[f'{name}_min_{unit}'] = _of(np.min, values)
    figures[f'{name}_max_{unit}'] = _of(np.max, values)
    return figures


def _of(figure, values: Array) -> float:  # type: ignore[no-untyped-def]
    return float(figure(values)) if len(values) else math.nan
