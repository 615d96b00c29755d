# SPDX-License-Identifier: Apache-2.0
"""Whether a covariance can be believed: NEES and coverage of the sigma ellipses.

The normalised estimation error squared is that of Bar-Shalom, Li, Kirubarajan, "Estimation with
Applications to Tracking and Navigation", 2001, section 5.4.2: e^T P^-1 e, chi-squared with as many
degrees of freedom as e has entries when P is true.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

SIGMAS = (1, 2, 3)


def nees(errors: ArrayLike, covs: ArrayLike) -> Array:
    """Normalised estimation error squared.

    Args:
        errors: (N, D).
        covs: (N, D, D), positive definite; NaN rows give NaN.

    Returns:
        (N,), of mean D when the covariances are true.
    """
    e = np.asarray(errors, dtype=np.float64)
    p = np.asarray(covs, dtype=np.float64)
    result = np.full(len(e), np.nan)
    usable = np.isfinite(e).all(axis=1) & np.isfinite(p).all(axis=(1, 2))
    if usable.any():
        solved = np.linalg.solve(p[usable], e[usable][..., None])[..., 0]
        result[usable] = np.einsum('nd,nd->n', e[usable], solved)
    return result


def chi2_limit(probability: float, dof: int) -> float:
    """Value below which a chi-squared variable stays with this probability."""
    if dof == 2:
        return float(-2.0 * np.log1p(-probability))
    from scipy.stats import chi2

    return float(chi2.ppf(probability, dof))


def sigma_probability(sigma: float, dof: int) -> float:
    """Probability inside the `sigma` ellipse of a Gaussian: 0.393 for 1 sigma in the plane."""
    if dof == 2:
        return float(-np.expm1(-0.5 * sigma**2))
    from scipy.stats import chi2

    return float(chi2.cdf(sigma**2, dof))


def coverage(nees_values: ArrayLike, limit: float) -> float:
    """Fraction of finite NEES values at or below a limit; NaN when there is none."""
    values = np.asarray(nees_values, dtype=np.float64)
    values = values[np.isfinite(values)]
    return float((values <= limit).mean()) if values.size else float('nan')


def consistency_summary(
    error_xy: ArrayLike, yaw_errors: ArrayLike, covs: ArrayLike
) -> dict[str, float]:
    """Figures that tell whether the covariances are honest.

    Args:
        error_xy: (N, 2) estimate - truth, m.
        yaw_errors: (N,) wrapped, rad.
        covs: (N, 3, 3) of (x, y, yaw).

    Returns:
        `coverage_95` (position ellipse), `coverage_{1,2,3}sigma` with the `expected_*` of a true
        Gaussian, the same for `yaw_`, and `nees_{mean,median}` (2 expected of the mean) and
        `yaw_nees_mean` (1 expected).
    """
    cov = np.asarray(covs, dtype=np.float64).reshape(-1, 3, 3)
    position = nees(np.asarray(error_xy, dtype=np.float64).reshape(-1, 2), cov[:, :2, :2])
    yaw = nees(np.asarray(yaw_errors, dtype=np.float64).reshape(-1, 1), cov[:, 2:, 2:])
    finite = position[np.isfinite(position)]
    finite_yaw = yaw[np.isfinite(yaw)]
    figures = {
        'coverage_95': coverage(position, chi2_limit(0.95, 2)),
        'nees_mean': float(finite.mean()) if finite.size else float('nan'),
        'nees_median': float(np.median(finite)) if finite.size else float('nan'),
        'yaw_nees_mean': float(finite_yaw.mean()) if finite_yaw.size else float('nan'),
    }
    for sigma in SIGMAS:
        figures[f'coverage_{sigma}sigma'] = coverage(position, sigma**2)
        figures[f'expected_{sigma}sigma'] = sigma_probability(sigma, 2)
        figures[f'yaw_coverage_{sigma}sigma'] = coverage(yaw, sigma**2)
        figures[f'yaw_expected_{sigma}sigma'] = sigma_probability(sigma, 1)
    return figures
