# SPDX-License-Identifier: Apache-2.0
"""Errors of camera poses in six degrees of freedom, as indoor localization is judged.

Convention: poses are T_map_camera, so that the error of position is that of the camera's CENTRE.
A frame without an answer has an infinite error and stays in every denominator.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError
from geoloc_core.evaluation.consistency import chi2_limit, coverage
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

# Bounds (m, degrees) within which a frame counts as localized.
BOUNDS = ((0.02, 2.0), (0.05, 5.0), (0.10, 5.0), (0.25, 5.0), (0.5, 10.0))


def pose_errors(estimates: ArrayLike, truths: ArrayLike) -> Array:
    """Errors of N poses.

    Args:
        estimates: (N, 4, 4); NaN where there is none.
        truths: (N, 4, 4).

    Returns:
        (N, 6) m and rad, map axes: position, then the rotation vector that turns the estimate
        into the truth, both truth minus estimate; NaN where there is no estimate.

    Raises:
        InputError: The two differ in number or shape.
    """
    found = np.asarray(estimates, dtype=np.float64)
    true = np.asarray(truths, dtype=np.float64)
    if found.shape != true.shape or found.ndim != 3 or found.shape[1:] != (4, 4):
        raise InputError(f'poses are {found.shape} and {true.shape}, expected (N, 4, 4) twice')
    errors = np.full((len(found), 6), np.nan)
    for i in np.flatnonzero(np.isfinite(found).all(axis=(1, 2))):
        errors[i, :3] = true[i, :3, 3] - found[i, :3, 3]
        errors[i, 3:] = se3.log_rotation(true[i, :3, :3] @ found[i, :3, :3].T)
    return errors


def listed_errors(estimates: Mapping[str, Array], truths: Mapping[str, Array]) -> Array:
    """Errors of named poses: of every picture that has a truth, whether it has an answer or not.

    Args:
        estimates: T_map_camera (4, 4) by name.
        truths: The same; their order is that of the errors.

    Returns:
        (N, 6) as of `pose_errors`.

    Raises:
        InputError: No name is in both: lists of another scene, or names of another kind.
    """
    if truths and not estimates.keys() & truths.keys():
        raise InputError(
            f'no picture is in both lists: one begins with {next(iter(estimates), "nothing")!r}, '
            f'the other with {next(iter(truths))!r}; are they of one scene?'
        )
    none = np.full((4, 4), np.nan)
    found = [estimates.get(name, none) for name in truths]
    return pose_errors(np.reshape(found, (-1, 4, 4)), np.reshape([*truths.values()], (-1, 4, 4)))


def camera_pose_figures(errors: ArrayLike) -> dict[str, float]:
    """Figures of the errors (N, 6) that `pose_errors` gives; NaN rows have no answer.

    Returns:
        `translation_{mean,median}_m`, `rotation_{mean,median}_deg` (infinite and 180 of a frame
        without an answer), `recall_<cm>cm_<deg>deg` for `BOUNDS` (strictly below both, 0..1), and
        `answered` (0..1). NaN where there are no frames.
    """
    values = np.asarray(errors, dtype=np.float64).reshape(-1, 6)
    good = np.isfinite(values).all(axis=1)
    distance = np.where(good, np.linalg.norm(values[:, :3], axis=1), np.inf)
    degrees = np.where(good, np.degrees(np.linalg.norm(values[:, 3:], axis=1)), 180.0)
    none = len(values) == 0
    figures = {
        'translation_mean_m': np.nan if none else distance.mean(),
        'translation_median_m': np.nan if none else np.median(distance),
        'rotation_mean_deg': np.nan if none else degrees.mean(),
        'rotation_median_deg': np.nan if none else np.median(degrees),
    }
    for metres, angle in BOUNDS:
        within = (distance < metres) & (degrees < angle)
        name = f'recall_{round(100 * metres)}cm_{angle:g}deg'
        figures[name] = np.nan if none else within.mean()
    figures['answered'] = np.nan if none else good.mean()
    return {name: float(value) for name, value in figures.items()}


def coverage_95(nees: ArrayLike) -> float:
    """Share of N NEES values of six numbers that lie in the 95 % ellipsoid; 0.95 if true."""
    return coverage(nees, chi2_limit(0.95, 6))
