# SPDX-License-Identifier: Apache-2.0
"""Likelihood volumes over (yaw, y, x): times a prior, normalised, and told in few numbers.

A volume may have several peaks and a floor of doubt. Its few numbers are: modes with their
masses, entropy, and around the best mode the mean and covariance both of the posterior and of
the likelihood alone (which a smoother that already holds the prior must use).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import angles
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import Array, PoseMode, PoseVolume

Volume = NDArray[np.float32]

# A yaw prior flatter than this (rad) says nothing: a Gaussian is no picture of a whole circle.
_FLAT_YAW_STD = 1.2


@dataclass(frozen=True)
class VolumeSummary:
    """What a volume says.

    Attributes:
        mean: (3,) x, y, yaw of the best mode, prior included.
        cov: (3, 3) second moments of the whole posterior about `mean`: other modes and the floor
            of doubt widen it.
        likelihood_mean: (3,) of the best mode, prior not included.
        likelihood_cov: (3, 3) of the best mode, prior not included.
        modes: Peaks, best first.
        entropy: Of the posterior, nats.
    """

    mean: Array
    cov: Array
    likelihood_mean: Array
    likelihood_cov: Array
    modes: tuple[PoseMode, ...]
    entropy: float


def gaussian_log_prior(grid: Grid, yaws: Array, mean: Array, cov: Array) -> Volume:
    """Log-density of a Gaussian over a volume's cells, up to a constant.

    Args:
        grid: (H, W) cells -> metres.
        yaws: (K,) rad.
        mean: (3,) x, y, yaw.
        cov: (3, 3), positive definite. A yaw deviation above 1.2 rad counts as "unknown".

    Returns:
        (K, H, W) float32, 0 at the mean.
    """
    x = grid.xy_from_uv(np.stack([np.arange(grid.width), np.zeros(grid.width)], -1))[:, 0]
    y = grid.xy_from_uv(np.stack([np.zeros(grid.height), np.arange(grid.height)], -1))[:, 1]
    dx, dy = (x - mean[0])[None, :], (y - mean[1])[:, None]
    info = information_of(cov)
    plane = info[0, 0] * dx**2 + 2 * info[0, 1] * dx * dy + info[1, 1] * dy**2
    slope = 2 * (info[0, 2] * dx + info[1, 2] * dy)
    d_yaw = angles.difference(yaws, mean[2])
    out = np.empty((len(yaws), grid.height, grid.width), np.float32)
    for layer, d in zip(out, d_yaw, strict=True):
        layer[:] = -0.5 * (plane + d * slope + info[2, 2] * d**2)
    return out


def information_of(cov: Array) -> Array:
    """(3, 3) inverse of a prior's covariance; nothing is known of a yaw flatter than 1.2 rad.

    Args:
        cov: (3, 3) of x, y, yaw, positive definite.
    """
    info: Array = np.zeros((3, 3))
    if cov[2, 2] > _FLAT_YAW_STD**2:
        info[:2, :2] = np.linalg.inv(cov[:2, :2])
    else:
        info[:] = np.linalg.inv(cov)
    return info


def posterior(
    log_likelihood: Volume, log_prior: Volume, grid: Grid, yaws: Array, outlier_rate: float
) -> PoseVolume:
    """Likelihood times prior, with a floor for views that match nothing true.

    With probability `outlier_rate` the view says nothing at all, and the prior stands:
    p = (1 - e) L prior / sum(L prior) + e prior / sum(prior).

    Args:
        log_likelihood: (K, H, W), any offset.
        log_prior: (K, H, W), any offset.
        grid: (H, W) cells -> metres.
        yaws: (K,) rad.
        outlier_rate: e, in [0, 1).

    Returns:
        The normalised posterior.
    """
    prior = np.exp(log_prior - log_prior.max())
    joint = log_likelihood + log_prior
    probability = np.exp(joint - joint.max())
    probability *= (1.0 - outlier_rate) / probability.sum(dtype=np.float64)
    prior *= outlier_rate / prior.sum(dtype=np.float64)
    probability += prior
    with np.errstate(divide='ignore'):
        log_prob = np.log(probability, out=probability)
    return PoseVolume(log_prob, grid, np.asarray(yaws, dtype=np.float64))


def moments(
    weights: Volume, grid: Grid, yaws: Array, about: Array | None = None
) -> tuple[Array, Array]:
    """Mean and covariance of non-negative weights over a volume's cells.

    Args:
        weights: (K, H, W), sum positive.
        grid: (H, W) cells -> metres.
        yaws: (K,) rad.
        about: (3,) point to take second moments about, or None for the mean.

    Returns:
        (3,) mean with a circular yaw and (3, 3) covariance; half a cell's spread is included.
    """
    total = float(weights.sum(dtype=np.float64))
    x = grid.xy_from_uv(np.stack([np.arange(grid.width), np.zeros(grid.width)], -1))[:, 0]
    y = grid.xy_from_uv(np.stack([np.zeros(grid.height), np.arange(grid.height)], -1))[:, 1]
    p_yaw_x = weights.sum(axis=1, dtype=np.float64) / total
    p_yaw_y = weights.sum(axis=2, dtype=np.float64) / total
    p_yx = weights.sum(axis=0, dtype=np.float64) / total
    p_yaw = p_yaw_x.sum(axis=1)
    px, py = p_yx.sum(axis=0), p_yx.sum(axis=1)
    mean = np.array([px @ x, py @ y, angles.circular_mean(yaws, p_yaw)])
    center = mean if about is None else np.asarray(about, dtype=np.float64)
    dx, dy, d_yaw = x - center[0], y - center[1], angles.difference(yaws, center[2])
    step = abs(float(yaws[1] - yaws[0])) if len(yaws) > 1 else 0.0
    cell = np.array([grid.gsd, grid.gsd, step]) ** 2 / 12.0
    xy, xw, yw = dy @ p_yx @ dx, d_yaw @ p_yaw_x @ dx, d_yaw @ p_yaw_y @ dy
    cov = np.array(
        [
            [px @ dx**2, xy, xw],
            [xy, py @ dy**2, yw],
            [xw, yw, p_yaw @ d_yaw**2],
        ]
    )
    return mean, cov + np.diag(cell)


def _sub_cell(values: Volume, peak: tuple[int, int, int]) -> Array:
    """Offset (yaw, row, column) in cells of the parabola's top through a peak's neighbours."""
    offset = np.zeros(3)
    for axis in range(3):
        index = peak[axis]
        if not 0 < index < values.shape[axis] - 1:
            continue
        low, high = list(peak), list(peak)
        low[axis], high[axis] = index - 1, index + 1
        a, b, c = float(values[tuple(low)]), float(values[peak]), float(values[tuple(high)])
        bend = a - 2 * b + c
        if bend < -1e-9:
            offset[axis] = np.clip(0.5 * (a - c) / bend, -0.5, 0.5)
    return offset


def _mode_estimate(
    log_values: Volume, region: NDArray[np.bool_], grid: Grid, yaws: Array, drop: float
) -> tuple[Array, Array]:
    """Mean and covariance of exp(log_values) inside a region (H, W), sub-cell."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = np.where(region[box], log_values[:, box[0], box[1]], -np.inf).astype(np.float32)
    top = float(inside.max())
    weights = np.exp(inside - top)
    weights[inside < top - drop] = 0.0
    height, width = inside.shape[1:]
    middle = ((columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2)
    piece = Grid(tuple(grid.xy_from_uv(middle)), grid.gsd, width, height)
    mean, cov = moments(weights, piece, yaws)
    k, v, u = (int(i) for i in np.unravel_index(int(inside.argmax()), inside.shape))
    peak = (k, v + int(rows[0]), u + int(columns[0]))
    step = float(yaws[1] - yaws[0]) if len(yaws) > 1 else 0.0
    offset = _sub_cell(log_values, peak)
    fine_xy = grid.xy_from_uv((peak[2] + offset[2], peak[1] + offset[1]))
    fine = np.array([*fine_xy, yaws[peak[0]] + offset[0] * step])
    # Sampled moments are exact down to a deviation of half a cell; below, the parabola is.
    cell = np.array([grid.gsd, grid.gsd, max(step, 1e-9)])
    narrow = np.diag(cov) - cell**2 / 12.0 < (0.4 * cell) ** 2
    return np.where(narrow, fine, mean), cov


def summarise(
    volume: PoseVolume,
    log_likelihood: Volume,
    widening: float = 1.0,
    mode_drop: float = 4.5,
    max_modes: int = 5,
) -> VolumeSummary:
    """Tells a posterior in few numbers.

    Modes are the connected areas of the plane where the posterior, maximised over yaw, stays
    within `mode_drop` nats of the peak: a long ridge is one uncertain mode, two hills are two.

    Args:
        volume: The posterior.
        log_likelihood: (K, H, W) that it was made from.
        widening: Factor on the covariance of modes.
        mode_drop: Depth of a valley that separates modes, nats; 4.5 is three deviations.
        max_modes: How many modes to list.

    Returns:
        The summary; yaws wrapped.
    """
    log_prob, grid, yaws = volume.log_prob, volume.grid, volume.yaws
    ridge = log_prob.max(axis=0)
    high = (ridge > ridge.max() - mode_drop).astype(np.uint8)
    count, labels = cv2.connectedComponents(high, connectivity=8)
    probability = np.exp(log_prob)
    flat = probability.sum(axis=0)
    modes = []
    for label in range(1, count):
        area = labels == label
        v, u = np.unravel_index(int(np.where(area, ridge, -np.inf).argmax()), ridge.shape)
        k = int(log_prob[:, v, u].argmax())
        x, y = grid.xy_from_uv((u, v))
        mode = PoseMode(float(x), float(y), float(angles.wrap(yaws[k])), float(flat[area].sum()))
        modes.append((mode, label))
    modes.sort(key=lambda item: -item[0].mass)
    best = labels == modes[0][1]
    mean, mode_cov = _mode_estimate(log_prob, best, grid, yaws, mode_drop)
    _, cov = moments(probability, grid, yaws, about=mean)
    own = log_likelihood.max(axis=0)
    v, u = np.unravel_index(int(np.where(best, ridge, -np.inf).argmax()), ridge.shape)
    _, labels = cv2.connectedComponents((own >= own[v, u] - mode_drop).astype(np.uint8))
    likelihood_mean, likelihood_cov = _mode_estimate(
        log_likelihood, labels == labels[v, u], grid, yaws, mode_drop
    )
    mean[2], likelihood_mean[2] = angles.wrap(mean[2]), angles.wrap(likelihood_mean[2])
    finite = np.isfinite(log_prob)
    entropy = -float((probability[finite] * log_prob[finite]).sum(dtype=np.float64))
    return VolumeSummary(
        mean,
        cov + (widening - 1.0) * mode_cov,
        likelihood_mean,
        widening * likelihood_cov,
        tuple(mode for mode, _ in modes[:max_modes]),
        entropy,
    )
