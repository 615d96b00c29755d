# SPDX-License-Identifier: Apache-2.0
"""Rigid motions of the plane, SE(2), as (3, 3) matrices; tangent vectors are (x, y, yaw)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def matrix(x: float, y: float, yaw: float) -> Array:
    """The motion (3, 3) that turns by `yaw` (rad, CCW) and then moves by (x, y) m."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, x], [s, c, y], [0.0, 0.0, 1.0]], dtype=np.float64)


def from_matrix(T: ArrayLike) -> tuple[float, float, float]:
    """(x, y, yaw) of a motion (3, 3); m, rad in (-pi, pi]."""
    T = np.asarray(T, dtype=np.float64)
    return float(T[0, 2]), float(T[1, 2]), float(np.arctan2(T[1, 0], T[0, 0]))


def inverse(T: ArrayLike) -> Array:
    """The motion (3, 3) that undoes T (3, 3)."""
    T = np.asarray(T, dtype=np.float64)
    R_t = T[:2, :2].T
    result = np.eye(3)
    result[:2, :2] = R_t
    result[:2, 2] = -R_t @ T[:2, 2]
    return result


def compose(*transforms: ArrayLike) -> Array:
    """Product of motions (3, 3), left to right: `compose(T_a_b, T_b_c)` is T_a_c."""
    result = np.eye(3)
    for T in transforms:
        result = result @ np.asarray(T, dtype=np.float64)
    return result


def transform(T: ArrayLike, points: ArrayLike) -> Array:
    """Points (..., 2) moved by T (3, 3)."""
    T = np.asarray(T, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ T[:2, :2].T + T[:2, 2]


def _left_jacobian(yaw: float) -> Array:
    # sin(a)/a and (1 - cos(a))/a, written so that they are exact at and near zero.
    a = np.sinc(yaw / np.pi)
    b = 0.5 * yaw * np.sinc(yaw / (2 * np.pi)) ** 2
    return np.array([[a, -b], [b, a]])


def exp(twist: ArrayLike) -> Array:
    """The motion (3, 3) of moving with constant twist (3,) (x, y in m, yaw in rad) for one unit.

    Reference: Sola et al., "A micro Lie theory for state estimation in robotics", eq. 156-158.
    """
    twist = np.asarray(twist, dtype=np.float64)
    T = matrix(0.0, 0.0, float(twist[2]))
    T[:2, 2] = _left_jacobian(float(twist[2])) @ twist[:2]
    return T


def log(T: ArrayLike) -> Array:
    """The twist (3,) (x, y, yaw) whose `exp` is T; yaw in (-pi, pi]."""
    T = np.asarray(T, dtype=np.float64)
    yaw = float(np.arctan2(T[1, 0], T[0, 0]))
    xy = np.linalg.solve(_left_jacobian(yaw), T[:2, 2])
    return np.array([xy[0], xy[1], yaw])


def adjoint(T: ArrayLike) -> Array:
    """Matrix (3, 3) with T exp(a) T^-1 = exp(adjoint(T) a); order (x, y, yaw)."""
    T = np.asarray(T, dtype=np.float64)
    result = np.eye(3)
    result[:2, :2] = T[:2, :2]
    result[0, 2] = T[1, 2]
    result[1, 2] = -T[0, 2]
    return result


def rotate_cov(cov: ArrayLike, yaw: float) -> Array:
    """Covariance (3, 3) of (x, y, yaw) with its position axes turned by `yaw` (rad).

    With `yaw` the robot's yaw in the map it takes a covariance in body axes to map axes.
    """
    R = matrix(0.0, 0.0, yaw)
    return R @ np.asarray(cov, dtype=np.float64) @ R.T
