# SPDX-License-Identifier: Apache-2.0
"""Rigid motions of space, SE(3), as (4, 4) matrices.

Convention: `T_a_b` takes points of b into a. Tangent vectors and covariances are ordered
(x, y, z, rot x, rot y, rot z). Euler angles are REP-103: R = Rz(yaw) Ry(pitch) Rx(roll), so a
positive pitch is nose down and a positive roll is right side down. Quaternions are (x, y, z, w).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError

Array = NDArray[np.float64]


def make(R: ArrayLike, t: ArrayLike) -> Array:
    """The motion (4, 4) with rotation R (3, 3) and translation t (3,) m."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = t
    return T


def inverse(T: ArrayLike) -> Array:
    """The motion (4, 4) that undoes T (4, 4)."""
    T = np.asarray(T, dtype=np.float64)
    R_t = T[:3, :3].T
    return make(R_t, -R_t @ T[:3, 3])


def transform(T: ArrayLike, points: ArrayLike) -> Array:
    """Points (..., 3) moved by T (4, 4)."""
    T = np.asarray(T, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ T[:3, :3].T + T[:3, 3]


_EYE3 = np.eye(3)
_LAST_ROW = np.array([0.0, 0.0, 0.0, 1.0])


def is_rigid(T: ArrayLike, tolerance: float = 1e-6) -> bool:
    """Whether T is a finite (4, 4) rotation and translation, to `tolerance` per element."""
    T = np.asarray(T, dtype=np.float64)
    if T.shape != (4, 4) or not np.all(np.isfinite(T)):
        return False
    R = T[:3, :3]
    # np.allclose says the same but checks far more on the way; every sensor sample passes here.
    return bool(
        np.abs(R @ R.T - _EYE3).max() <= tolerance
        and np.linalg.det(R) > 0
        and np.abs(T[3] - _LAST_ROW).max() <= tolerance
    )


# ---- Euler angles and the plane ----


def rotation_from_rpy(roll: float, pitch: float, yaw: float) -> Array:
    """R (3, 3) = Rz(yaw) Ry(pitch) Rx(roll); rad."""
    cr, sr = np.cos(roll), np.sin(roll)
    cp, sp = np.cos(pitch), np.sin(pitch)
    cy, sy = np.cos(yaw), np.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def from_xyz_rpy(x: float, y: float, z: float, roll: float, pitch: float, yaw: float) -> Array:
    """The motion (4, 4) of a position (m) and REP-103 Euler angles (rad)."""
    return make(rotation_from_rpy(roll, pitch, yaw), [x, y, z])


def rpy_from(T: ArrayLike) -> tuple[float, float, float]:
    """REP-103 (roll, pitch, yaw) in rad of a motion (4, 4) or a rotation (3, 3).

    Looking straight up or down only yaw - roll is defined; roll is then given as zero.
    """
    R = np.asarray(T, dtype=np.float64)[:3, :3]
    cos_pitch = np.hypot(R[0, 0], R[1, 0])
    pitch = float(np.arctan2(-R[2, 0], cos_pitch))
    if cos_pitch < 1e-9:
        return 0.0, pitch, float(np.arctan2(-R[0, 1], R[1, 1]))
    return float(np.arctan2(R[2, 1], R[2, 2])), pitch, float(np.arctan2(R[1, 0], R[0, 0]))


def yaw_of(T: ArrayLike) -> float:
    """Yaw in rad of a motion (4, 4) or a rotation (3, 3): where its x axis points."""
    return rpy_from(T)[2]


def planar(T: ArrayLike) -> tuple[float, float, float]:
    """(x, y, yaw) of a motion (4, 4); m, rad."""
    T = np.asarray(T, dtype=np.float64)
    return float(T[0, 3]), float(T[1, 3]), yaw_of(T)


def from_planar(
    x: float, y: float, yaw: float, z: float = 0.0, roll: float = 0.0, pitch: float = 0.0
) -> Array:
    """The motion (4, 4) of a planar pose, with what the plane does not know given or zero."""
    return from_xyz_rpy(x, y, z, roll, pitch, yaw)


# ---- quaternions ----


def rotation_from_quaternion(xyzw: ArrayLike) -> Array:
    """R (3, 3) of a quaternion (4,), x y z w; it is normalised first.

    Raises:
        InputError: The quaternion is not finite or has (nearly) zero length.
    """
    q = np.asarray(xyzw, dtype=np.float64)
    norm = np.linalg.norm(q)
    if q.shape != (4,) or not np.isfinite(norm) or norm < 1e-6:
        raise InputError(
            f'quaternion (x, y, z, w) = {q.tolist()} is no rotation: expected four finite '
            'numbers of unit length; check whether the sender fills in its orientation'
        )
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def from_quaternion(xyz: ArrayLike, xyzw: ArrayLike) -> Array:
    """The motion (4, 4) of a position (3,) m and a quaternion (4,), x y z w.

    Raises:
        InputError: The quaternion is not finite or has (nearly) zero length.
    """
    return make(rotation_from_quaternion(xyzw), xyz)


def quaternion_xyzw(R: ArrayLike) -> Array:
    """Unit quaternion (4,), x y z w with w >= 0, of a rotation (3, 3) or a motion (4, 4)."""
    R = np.asarray(R, dtype=np.float64)[:3, :3]
    # Shepperd's method: solve for the largest component first, so that nothing is divided by a
    # small number.
    trace = np.trace(R)
    i = int(np.argmax([R[0, 0], R[1, 1], R[2, 2], trace]))
    q = np.empty(4)
    if i == 3:
        q[3] = 1 + trace
        q[:3] = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        q[i] = 1 + 2 * R[i, i] - trace
        q[j] = R[j, i] + R[i, j]
        q[k] = R[k, i] + R[i, k]
        q[3] = R[k, j] - R[j, k]
    q /= np.linalg.norm(q)
    return q if q[3] >= 0 else -q


# ---- tangent space ----


def hat(w: ArrayLike) -> Array:
    """The skew matrix (3, 3) of w (3,): multiplying by it is the cross product with w."""
    x, y, z = np.asarray(w, dtype=np.float64)
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def exp_rotation(w: ArrayLike) -> Array:
    """R (3, 3) of a rotation vector (3,), rad."""
    w = np.asarray(w, dtype=np.float64)
    angle = float(np.linalg.norm(w))
    W = hat(w)
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + a * W + b * (W @ W)


def log_rotation(R: ArrayLike) -> Array:
    """Rotation vector (3,), rad, of length in [0, pi], of R (3, 3)."""
    q = quaternion_xyzw(R)
    length = float(np.linalg.norm(q[:3]))
    if length < 1e-12:
        return 2.0 * q[:3]
    # Through the quaternion the angle stays exact near pi, where the trace formula loses it.
    return q[:3] * (2.0 * np.arctan2(length, q[3]) / length)


def exp(twist: ArrayLike) -> Array:
    """The motion (4, 4) of moving with constant twist (6,) for one unit of time.

    Reference: Sola et al., "A micro Lie theory for state estimation in robotics", eq. 172-174.

    Args:
        twist: (6,) translation (m) first, then rotation (rad).
    """
    twist = np.asarray(twist, dtype=np.float64)
    v, w = twist[:3], twist[3:]
    angle = float(np.linalg.norm(w))
    W = hat(w)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    # (a - sin a) / a^3 cancels near zero; its Taylor series is exact to double precision there.
    if angle < 1e-2:
        c = 1 / 6 - angle**2 / 120 + angle**4 / 5040
    else:
        c = (angle - np.sin(angle)) / angle**3
    return make(exp_rotation(w), (np.eye(3) + b * W + c * (W @ W)) @ v)


def log(T: ArrayLike) -> Array:
    """The twist (6,), translation first, whose `exp` is T (4, 4)."""
    T = np.asarray(T, dtype=np.float64)
    w = log_rotation(T[:3, :3])
    angle = float(np.linalg.norm(w))
    W = hat(w)
    if angle < 1e-2:
        c = 1 / 12 + angle**2 / 720 + angle**4 / 30240
    else:
        c = (1 - 0.5 * angle / np.tan(0.5 * angle)) / angle**2
    return np.concatenate([(np.eye(3) - 0.5 * W + c * (W @ W)) @ T[:3, 3], w])


def adjoint(T: ArrayLike) -> Array:
    """Matrix (6, 6) with T exp(a) T^-1 = exp(adjoint(T) a); translation first.

    Takes a covariance of a right (body) perturbation to the left (map) one: Ad cov Ad^T.
    """
    T = np.asarray(T, dtype=np.float64)
    R = T[:3, :3]
    result = np.zeros((6, 6))
    result[:3, :3] = R
    result[3:, 3:] = R
    result[:3, 3:] = hat(T[:3, 3]) @ R
    return result


def interpolate(T0: ArrayLike, T1: ArrayLike, alpha: float) -> Array:
    """The motion between T0 (alpha 0) and T1 (alpha 1): straight line and SLERP, as tf2 does.

    Outside [0, 1] it extrapolates at the same velocities.
    """
    T0 = np.asarray(T0, dtype=np.float64)
    T1 = np.asarray(T1, dtype=np.float64)
    turn = log_rotation(T0[:3, :3].T @ T1[:3, :3])
    R = T0[:3, :3] @ exp_rotation(alpha * turn)
    return make(R, (1 - alpha) * T0[:3, 3] + alpha * T1[:3, 3])


def rotate_cov(cov: ArrayLike, R: ArrayLike) -> Array:
    """Covariance (6, 6) with both its position and its rotation axes turned by R (3, 3).

    With R = R_map_base it takes a covariance in body axes to map axes.
    """
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = np.asarray(R, dtype=np.float64)[:3, :3]
    return turn @ np.asarray(cov, dtype=np.float64) @ turn.T
