# SPDX-License-Identifier: Apache-2.0
"""How far two answers to the same input lie apart, in units that matter to a robot.

Used where a bundle is made (graph against network), and where it is checked (this machine against
the stored sample).
"""

from collections.abc import Iterable, Mapping
import math

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError
from geoloc_core.export_record import ParityFigure
from geoloc_core.spec import OutputSpec

Figures = dict[str, float]
# Cells less probable than the best by more than this decide nothing: e^-7 is a thousandth.
_PLAUSIBLE_NATS = 7.0

# Measure -> unit, in the order in which they are shown.
VOLUME = {'log-probability': 'nats', 'probability': '', 'position': 'm', 'yaw': 'degrees'}
POSE = {'position': 'm', 'rotation': 'degrees', 'covariance': ''}
DESCRIPTOR = {'distance': ''}


def volume_difference(wanted: NDArray, found: NDArray, yaws: NDArray, cell_m: float) -> Figures:
    """Compares two volumes of poses.

    Args:
        wanted: (1, K, H, W) log-likelihoods, any offset.
        found: The same from elsewhere.
        yaws: (K,) rad.
        cell_m: Side of a cell, m.

    Returns:
        'log-probability': largest difference (nats) in cells at least a thousandth as probable as
        the best; 'probability': total variation, the largest difference of the probabilities of
        any event; 'position': m between the means; 'yaw': degrees between the mean directions,
        each shorter than one where the yaw is not known (so flat ones do not differ).

    Raises:
        BundleError: Other shapes, numbers that are not finite, or an answer without any range.
    """
    if wanted.shape != found.shape:
        raise BundleError(f'the graph answers with {found.shape}, the network with {wanted.shape}')
    if not (np.isfinite(wanted).all() and np.isfinite(found).all()):
        raise BundleError('the logits are not all finite: there is nothing to compare')
    if float(np.ptp(wanted)) == 0.0:
        raise BundleError('the network answers the same everywhere: there is nothing to compare')
    log_p, log_q = log_probability(wanted[0]), log_probability(found[0])
    p, q = np.exp(log_p), np.exp(log_q)
    plausible = log_p > log_p.max() - _PLAUSIBLE_NATS
    excess = p - q
    height, width = excess.shape[1:]
    dx = excess.sum(axis=(0, 1)) @ (np.arange(width) - (width - 1) / 2)
    dy = excess.sum(axis=(0, 2)) @ ((height - 1) / 2 - np.arange(height))
    turn = excess.sum(axis=(1, 2)) @ np.exp(1j * np.asarray(yaws, np.float64))
    return {
        'log-probability': float(np.abs(log_p - log_q)[plausible].max()),
        'probability': float(np.abs(excess).sum() / 2),
        'position': cell_m * math.hypot(dx, dy),
        'yaw': math.degrees(abs(turn)),
    }


def bin_yaws(output: OutputSpec) -> NDArray[np.float64]:
    """(K,) rad: the bins of yaw that a network answers on by itself."""
    bins, half = output.yaw_bins, math.radians(output.yaw_half_range_deg)
    if half >= math.pi:
        return np.asarray(-np.pi + 2 * np.pi * np.arange(bins) / bins)
    return np.linspace(-half, half, bins)


def log_probability(logits: NDArray) -> NDArray[np.float64]:
    """Log-likelihoods as log-probabilities, whose exponentials sum to one."""
    shifted = logits.astype(np.float64) - float(logits.max())
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def pose_difference(
    wanted: tuple[NDArray, NDArray, NDArray], found: tuple[NDArray, NDArray, NDArray]
) -> Figures:
    """Compares two poses with their covariances: (3,) m, (3, 3) and (6, 6).

    Returns:
        'position' in m, 'rotation' in degrees, 'covariance' as a share of the deviations' product.
    """
    apart = np.linalg.norm(wanted[1].astype(np.float64) - found[1])
    # The chord between two rotations: |R - S| = 2 sqrt(2) sin(angle / 2).
    angle = 2 * math.asin(min(float(apart) / math.sqrt(8.0), 1.0))
    std = np.sqrt(np.diagonal(wanted[2]).astype(np.float64))
    return {
        'position': float(np.linalg.norm(wanted[0].astype(np.float64) - found[0])),
        'rotation': math.degrees(angle),
        # By deviations, so that metres and radians count alike.
        'covariance': float((np.abs(wanted[2] - found[2]) / np.outer(std, std)).max()),
    }


def descriptor_difference(wanted: NDArray, found: NDArray) -> Figures:
    """'distance': Euclidean, of two vectors of length one; 0 to 2."""
    return {'distance': float(np.linalg.norm(wanted.astype(np.float64) - found))}


def figures_of(
    differences: Iterable[Figures],
    units: Mapping[str, str],
    tolerances: Mapping[str, float],
    held: str,
) -> tuple[ParityFigure, ...]:
    """Many comparisons as one figure a measure.

    Args:
        differences: Of each answer.
        units: Measure -> unit.
        tolerances: Measure -> what is allowed.
        held: What must keep to it, 'worst' or 'median'.

    Raises:
        BundleError: Something is no number: then no tolerance was kept.
    """
    every = list(differences)
    made = []
    for name, unit in units.items():
        values = np.array([each[name] for each in every])
        if not np.isfinite(values).all():
            raise BundleError(f'the answers differ in {name} by what is no number')
        made.append(
            ParityFigure(
                name, unit, float(np.median(values)), float(values.max()), tolerances[name], held
            )
        )
    return tuple(made)
