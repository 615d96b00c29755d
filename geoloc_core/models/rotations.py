# SPDX-License-Identifier: Apache-2.0
"""Rotations as a network can give them, in batches; nothing here but +, *, sqrt and atan2.

Convention: R (..., 3, 3) takes points of the camera into the map; quaternions are (x, y, z, w).
Two representations of a network's answer:

log_quaternion  u = axis * angle / 2 (..., 3), half the rotation vector, as PoseNet's successors
                give it (Brahmbhatt et al., "Geometry-Aware Learning of Maps for Camera
                Localization", CVPR 2018). It is cut: a turn past 180 degrees jumps by a length of
                pi, and no continuous function can follow.
sixd            the first two columns of R before they are made orthonormal (..., 6), which is
                continuous everywhere (Zhou et al., "On the Continuity of Rotation Representations
                in Neural Networks", CVPR 2019, eq. 15).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SIZES = {'sixd': 6, 'log_quaternion': 3}
_TINY = 1e-12
# Below this half angle a series is more exact than the quotient, in float32.
_SMALL = 1e-4
_SQUARINGS = 8


def rotation_from(raw: Tensor, kind: str) -> Tensor:
    """R (..., 3, 3) of a network's answer.

    Args:
        raw: (..., SIZES[kind]).
        kind: 'sixd' or 'log_quaternion'.
    """
    return rotation_from_sixd(raw) if kind == 'sixd' else rotation_from_log_quaternion(raw)


def rotation_from_sixd(raw: Tensor) -> Tensor:
    """R (..., 3, 3) by Gram-Schmidt of two columns (..., 6)."""
    first = F.normalize(raw[..., :3], dim=-1, eps=1e-6)
    second = raw[..., 3:] - (first * raw[..., 3:]).sum(-1, keepdim=True) * first
    second = F.normalize(second, dim=-1, eps=1e-6)
    third = torch.linalg.cross(first, second, dim=-1)
    return torch.stack([first, second, third], dim=-1)


def rotation_from_log_quaternion(u: Tensor) -> Tensor:
    """R (..., 3, 3) of u (..., 3) of any length: exp u = (sin|u| u / |u|, cos|u|)."""
    half = (u * u).sum(-1, keepdim=True).clamp(min=_TINY).sqrt()
    vector = u * torch.where(half < _SMALL, 1.0 - half * half / 6.0, torch.sin(half) / half)
    return rotation_from_quaternion(torch.cat([vector, torch.cos(half)], dim=-1))


def log_quaternion(R: Tensor) -> Tensor:
    """Half the rotation vector (..., 3), of length 0 .. pi / 2, of R (..., 3, 3)."""
    q = quaternion_from_rotation(R)
    vector, w = q[..., :3], q[..., 3:]
    length = (vector * vector).sum(-1, keepdim=True).clamp(min=_TINY).sqrt()
    ratio = torch.where(length < _SMALL, torch.ones_like(w), torch.atan2(length, w) / length)
    return vector * ratio


def rotation_vector(R: Tensor) -> Tensor:
    """Axis times angle (..., 3), rad, of length 0 .. pi, of R (..., 3, 3)."""
    return 2.0 * log_quaternion(R)


def rotation_from_quaternion(q: Tensor) -> Tensor:
    """R (..., 3, 3) of unit quaternions (..., 4)."""
    x, y, z, w = q.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quaternion_from_rotation(R: Tensor) -> Tensor:
    """Unit quaternions (..., 4) with w >= 0 of R (..., 3, 3)."""
    return _column(_outer_product(R))


def chordal_mean(R: Tensor) -> Tensor:
    """The rotation (..., 3, 3) nearest to all of R (..., K, 3, 3).

    It maximises q^T M q with M the mean of q q^T (Markley et al., "Averaging Quaternions", 2007),
    which needs no q: M is linear in R. Its first eigenvector is found by squaring M, which has no
    branches and cannot fail, whatever K rotations a network gives.
    """
    M = _outer_product(R.mean(dim=-3))
    for _ in range(_SQUARINGS):
        # M @ M as a sum of products, over its trace, which for M = M^T is |M|^2. TensorRT-RTX
        # writes a chain of small matrix products (and `diagonal`) out into one expression, several
        # times longer with each of them; sums end an expression.
        square = (M[..., :, :, None] * M[..., None, :, :]).sum(dim=-2)
        M = square / ((M * M).sum(dim=(-2, -1), keepdim=True) + _TINY)
    return rotation_from_quaternion(_column(M))


def angle_between(R: Tensor, other: Tensor) -> Tensor:
    """Angle (...,) rad, 0 .. pi, between rotations (..., 3, 3)."""
    return torch.linalg.vector_norm(rotation_vector(other.transpose(-1, -2) @ R), dim=-1)


def half_angle_sine(R: Tensor, other: Tensor) -> Tensor:
    """sin(angle / 2) (...,) between rotations: |R - other|_F / (2 sqrt 2).

    For small angles it is the distance of their log-quaternions; it has a slope for all but equal
    and opposite ones, where the rotation vector has a cut.
    """
    return ((R - other) ** 2).sum((-2, -1)).clamp(min=_TINY).sqrt() / 8.0**0.5


def _outer_product(R: Tensor) -> Tensor:
    """(..., 4, 4) q q^T of rotations; of a mean of rotations, the mean of theirs."""
    a, b, c = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    xy, xz, yz = (
        R[..., 0, 1] + R[..., 1, 0],
        R[..., 0, 2] + R[..., 2, 0],
        R[..., 1, 2] + R[..., 2, 1],
    )
    xw, yw, zw = (
        R[..., 2, 1] - R[..., 1, 2],
        R[..., 0, 2] - R[..., 2, 0],
        R[..., 1, 0] - R[..., 0, 1],
    )
    rows = [
        [1 + a - b - c, xy, xz, xw],
        [xy, 1 - a + b - c, yz, yw],
        [xz, yz, 1 - a - b + c, zw],
        [xw, yw, zw, 1 + a + b + c],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2) / 4.0


def _column(M: Tensor) -> Tensor:
    """The unit vector v (..., 4), last entry not negative, of M = c v v^T."""
    # Of the longest column, so that nothing is divided by a small number.
    best = M.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    index = best[..., None, None].expand(*M.shape[:-1], 1)
    v = F.normalize(M.gather(-1, index).squeeze(-1), dim=-1, eps=1e-9)
    return torch.where(v[..., 3:] < 0, -v, v)
