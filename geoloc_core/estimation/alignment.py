# SPDX-License-Identifier: Apache-2.0
"""Lays a dead-reckoned track over GNSS fixes: the pose at its end, wheel scale and gyro bias.

Robust generalised least squares. A receiver's error is in part alike for seconds and in part new
with each fix. The residuals are whitened with the covariance of that sum, so that fixes in quick
succession neither count as many independent positions nor as exact displacements.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import angles

Array = NDArray[np.float64]

STARTS = 8
CAUCHY_WIDTH = 2.0
# Share of a fix's variance that is new with each fix. No receiver tells it: taken as nothing, the
# differences of noisy fixes would pass for exact and the yaw for far better than it is.
FRESH_SHARE = 0.5
OUTLIER_SIGMAS = 4.0
# Median of the squared length of a standard normal vector of two dimensions.
CHI2_MEDIAN = 1.386


@dataclass(frozen=True)
class Track:
    """What is to be aligned. N nodes by increasing time, M fixes.

    Attributes:
        times: (N,) s.
        poses: (N, 3) x, y, yaw of the base in the track's own frame, uncalibrated.
        fix_nodes: (M,) int, the node of each fix, not decreasing.
        fixes: (M, 2) m, antenna in the map.
        std: (M,) m, one horizontal axis.
        arm: (2,) m, antenna in the base.
    """

    times: Array
    poses: Array
    fix_nodes: NDArray[np.int64]
    fixes: Array
    std: Array
    arm: Array


@dataclass(frozen=True)
class Alignment:
    """Where the track ends on the map.

    Attributes:
        x: Base at the last node, m.
        y: m.
        yaw: rad.
        scale: True metres per metre of track.
        bias: What the track's yaw rate reads too much, rad/s.
        cov: (5, 5) of x, y, yaw, scale, bias.
        std_factor: What the fixes scatter about the track, over what they claim.
        inliers: Fraction of the fixes that fit, 0..1.
        extent: Root-mean-square distance of the fixes' nodes from their mean, m.
    """

    x: float
    y: float
    yaw: float
    scale: float
    bias: float
    cov: Array
    std_factor: float
    inliers: float
    extent: float


def backward_track(track: Track, scale: float, bias: float) -> tuple[Array, Array]:
    """The calibrated track seen from its own end.

    Returns:
        (N, 2) m and (N,) rad: each node's position and yaw in the base at the last node.
    """
    x, y, yaw = track.poses.T
    dt = np.diff(track.times)
    turn = angles.difference(yaw[1:], yaw[:-1])
    # Each step in the axes half-way through its turn, where a constant bias acts alike.
    along = yaw[:-1] + 0.5 * turn
    step = (np.diff(x) + 1j * np.diff(y)) * np.exp(-1j * along)
    turn = turn - bias * dt
    heading = np.concatenate([[0.0], np.cumsum(turn)])
    step = scale * step * np.exp(1j * (heading[:-1] + 0.5 * turn))
    place = np.concatenate([[0.0], np.cumsum(step)])
    place = (place - place[-1]) * np.exp(-1j * heading[-1])
    return np.column_stack([place.real, place.imag]), heading - heading[-1]


def _predict(track: Track, p: Array) -> Array:
    """Antenna at each fix, (M, 2), for parameters x, y, yaw, scale, bias."""
    xy, heading = backward_track(track, p[3], p[4])
    xy, heading = xy[track.fix_nodes], heading[track.fix_nodes]
    c, s = np.cos(heading), np.sin(heading)
    ax, ay = track.arm
    local = xy + np.column_stack([c * ax - s * ay, s * ax + c * ay])
    c, s = np.cos(p[2]), np.sin(p[2])
    return np.column_stack(
        [p[0] + c * local[:, 0] - s * local[:, 1], p[1] + s * local[:, 0] + c * local[:, 1]]
    )


def _jacobian(track: Track, p: Array) -> Array:
    """(M, 2, 5), by central differences: five evaluations of a cheap function."""
    steps = np.array([1e-3, 1e-3, 1e-5, 1e-5, 1e-6])
    columns = []
    for k, step in enumerate(steps):
        d = np.zeros(5)
        d[k] = step
        columns.append((_predict(track, p + d) - _predict(track, p - d)) / (2 * step))
    return np.stack(columns, axis=-1)


def _whitener(times: Array, correlation_s: float) -> Array:
    """(M, M) that makes unit-variance errors at these times, s, independent of each other."""
    if correlation_s <= 0.0:
        return np.eye(len(times))
    alike = np.exp(-np.abs(times[:, None] - times[None, :]) / correlation_s)
    cov = (1.0 - FRESH_SHARE) * alike + FRESH_SHARE * np.eye(len(times))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(cov)))


def _solve(
    track: Track, p: Array, prior: Array, prior_std: Array, correlation_s: float, steps: int
) -> tuple[Array, Array, float]:
    """Gauss-Newton with a Cauchy kernel; returns parameters, covariance (5, 5) and cost."""
    whiten = _whitener(track.times[track.fix_nodes], correlation_s)
    information = np.diag(1.0 / prior_std**2)
    cov, cost = np.eye(5), np.inf
    for _ in range(steps):
        r = (_predict(track, p) - track.fixes) / track.std[:, None]
        J = _jacobian(track, p) / track.std[:, None, None]
        r, J = whiten @ r, np.einsum('mn,nik->mik', whiten, J)
        squared = (r**2).sum(axis=1) / CAUCHY_WIDTH**2
        w = 1.0 / (1.0 + squared)
        H = np.einsum('mik,m,mil->kl', J, w, J) + np.diag([1e-9, 1e-9, 1e-9, 0, 0])
        H[3:, 3:] += information
        g = np.einsum('mik,m,mi->k', J, w, r)
        g[3:] += information @ (p[3:] - prior)
        cov = np.linalg.inv(H)
        step = cov @ g
        p = p - step
        cost = float(np.log1p(squared).sum())
        if np.all(np.abs(step) < [1e-3, 1e-3, 1e-5, 1e-6, 1e-7]):
            break
    return p, cov, cost


def align(
    track: Track,
    correlation_s: float,
    prior: tuple[float, float],
    prior_std: tuple[float, float],
    start: tuple[float, float, float] | None = None,
) -> Alignment | None:
    """Aligns a track with its fixes.

    Args:
        track: Both.
        correlation_s: Time over which the fixes' errors stay alike.
        prior: (scale, bias) believed beforehand.
        prior_std: Their deviations.
        start: (x, y, yaw) of the end to begin from; None to try every direction.

    Returns:
        The alignment, or None where the fixes are too few or do not fit the track.
    """
    if len(track.fixes) < 3:
        return None
    mean, std = np.array(prior), np.array(prior_std)
    xy = _predict(track, np.array([0.0, 0.0, 0.0, *prior]))
    extent = float(np.sqrt(((xy - xy.mean(axis=0)) ** 2).sum(axis=1).mean()))
    # Fixes' own errors are first taken as independent: differences would double the outliers.
    best: tuple[Array, Array, float] | None = None
    for k in range(STARTS if start is None else 1):
        if start is None:
            yaw = 2 * np.pi * k / STARTS
            c, s = np.cos(yaw), np.sin(yaw)
            turned = np.column_stack([c * xy[:, 0] - s * xy[:, 1], s * xy[:, 0] + c * xy[:, 1]])
            p = np.array([*np.median(track.fixes - turned, axis=0), yaw, *prior])
        else:
            p = np.array([*start, *prior])
        found = _solve(track, p, mean, std, 0.0, 12)
        if best is None or found[2] < best[2]:
            best = found
    if best is None or not np.all(np.isfinite(best[0])):
        return None
    p = best[0]
    residual = np.linalg.norm(_predict(track, p) - track.fixes, axis=1) / track.std
    factor = float(np.sqrt(np.median(residual**2) / CHI2_MEDIAN))
    fits = residual <= OUTLIER_SIGMAS * max(factor, 1.0)
    if fits.sum() < 3:
        return None
    clean = Track(
        track.times,
        track.poses,
        track.fix_nodes[fits],
        track.fixes[fits],
        track.std[fits] * max(factor, 1.0),
        track.arm,
    )
    p, cov, _ = _solve(clean, p, mean, std, correlation_s, 6)
    if not (np.all(np.isfinite(p)) and np.all(np.isfinite(cov))):
        return None
    return Alignment(
        float(p[0]),
        float(p[1]),
        float(angles.wrap(p[2])),
        float(p[3]),
        float(p[4]),
        cov,
        factor,
        float(fits.mean()),
        extent,
    )
