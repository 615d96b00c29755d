# SPDX-License-Identifier: Apache-2.0
"""Covariances (6, 6) that may be shown to others: symmetric, positive definite, bounded."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PLANAR = np.array([0, 1, 5])
# Of a correlation matrix: below this, axes are as good as tied together.
MIN_EIGENVALUE = 1e-6


def planar_block(cov: Array) -> Array:
    """The (3, 3) block of x, y, yaw."""
    return cov[np.ix_(PLANAR, PLANAR)]


def horizontal_std(cov: Array) -> float:
    """The longer half-axis of the one-sigma ellipse of x and y, m."""
    return float(np.sqrt(np.linalg.eigvalsh(cov[:2, :2])[-1]))


def bounded(cov: Array, min_position: float, min_yaw: float, max_position: float) -> Array:
    """Brings a covariance within floors and ceilings.

    Args:
        cov: (6, 6), any; what is not finite is replaced by the ceiling.
        min_position: Smallest deviation of x, y, z, m.
        min_yaw: Smallest deviation of the rotations, rad.
        max_position: Largest deviation of x, y, z, m; rotations end at pi.

    Returns:
        (6, 6), symmetric and positive definite, with its correlations kept.
    """
    ceiling = np.array([max_position] * 3 + [np.pi] * 3)
    if not np.all(np.isfinite(cov)):
        return np.diag(ceiling**2)
    cov = 0.5 * (cov + cov.T)
    std = np.sqrt(np.maximum(np.diag(cov), 1e-12))
    # As correlations, metres and radians of any size can be repaired alike.
    values, vectors = np.linalg.eigh(cov / np.outer(std, std))
    cov = (vectors * np.maximum(values, MIN_EIGENVALUE)) @ vectors.T * np.outer(std, std)
    shrink = np.minimum(1.0, ceiling / np.sqrt(np.diag(cov)))
    cov = cov * np.outer(shrink, shrink)
    floor = np.array([min_position] * 3 + [min_yaw] * 3) ** 2
    cov = cov + np.diag(np.maximum(floor - np.diag(cov), 0.0))
    return 0.5 * (cov + cov.T)


def is_usable(cov: Array, size: int) -> bool:
    """Whether a covariance is finite, symmetric enough and positive definite."""
    cov = np.asarray(cov, dtype=np.float64)
    if cov.shape != (size, size) or not np.all(np.isfinite(cov)):
        return False
    if np.any(np.diag(cov) <= 0.0):
        return False
    std = np.sqrt(np.diag(cov))
    correlation = cov / np.outer(std, std)
    if not np.allclose(correlation, correlation.T, atol=1e-6):
        return False
    return bool(np.linalg.eigvalsh(correlation)[0] > 1e-9)
