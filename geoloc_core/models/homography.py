# SPDX-License-Identifier: Apache-2.0
"""The homography that moves the four corners of a rectangle, in closed form.

Solving the usual 8 x 8 linear system is exact too, but cannot be exported to ONNX. A rectangle's
corners allow the direct solution of Heckbert ("Fundamentals of Texture Mapping and Image
Warping", 1989, square to quadrilateral): a few products and one division.
"""

import torch
from torch import Tensor

# Area (px^2) under which a quadrilateral counts as folded; only its sign is kept then.
_MIN_AREA = 1.0
# Depth at the top right and bottom left corners is that of the top left one times 1 plus this.
# Ground on a map has no perspective at all, so this is ample; a network that has not learned yet
# folds quadrilaterals, and one such answer, thrown to infinity, would undo its training.
_PERSPECTIVE = (-0.4, 1.0)
# Least depth, which no point inside the raster reaches.
_MIN_W = 0.1


def corners_of(width: float, height: float) -> Tensor:
    """(4, 2) centres of a raster's corner pixels: top left, top right, bottom left, bottom right.

    The order is that of a 2 x 2 map read row by row.
    """
    right, bottom = width - 1.0, height - 1.0
    return torch.tensor([[0.0, 0.0], [right, 0.0], [0.0, bottom], [right, bottom]])


def from_corners(corners: Tensor, width: float, height: float) -> Tensor:
    """The homography that takes a raster's corners to given places.

    Where that would need more perspective than ground on a map can have, the fourth corner (bottom
    right) is let go.

    Args:
        corners: (..., 4, 2) px, where `corners_of(width, height)` go.
        width: Of the raster, px.
        height: The same.

    Returns:
        (..., 3, 3), H[2, 2] = 1: raster px (u, v, 1) -> target px, up to scale.
    """
    p0, p1, p3, p2 = corners.unbind(-2)
    d1, d2, fold = p1 - p2, p3 - p2, p0 - p1 + p2 - p3
    area = _cross(d1, d2)
    # Not zero, and its sign kept.
    area = torch.where(area < 0, area.clamp(max=-_MIN_AREA), area.clamp(min=_MIN_AREA))
    g = (_cross(fold, d2) / area).clamp(*_PERSPECTIVE)
    h = (_cross(d1, fold) / area).clamp(*_PERSPECTIVE)
    first = p1 - p0 + g[..., None] * p1
    second = p3 - p0 + h[..., None] * p3
    right, bottom = width - 1.0, height - 1.0
    one = torch.ones_like(g)
    rows = [
        first[..., 0] / right, second[..., 0] / bottom, p0[..., 0],
        first[..., 1] / right, second[..., 1] / bottom, p0[..., 1],
        g / right, h / bottom, one,
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).view(*g.shape, 3, 3)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def project(homography: Tensor, points: Tensor) -> Tensor:
    """Where points go.

    Args:
        homography: (..., 3, 3).
        points: (N, 2) px.

    Returns:
        (..., N, 2) px. A point outside the raster may lack depth; it is given the least there is.
    """
    u, v = points[:, 0], points[:, 1]
    rows = (homography[..., :, :1] * u + homography[..., :, 1:2] * v) + homography[..., :, 2:]
    return torch.stack([rows[..., 0, :], rows[..., 1, :]], dim=-1) / rows[..., 2, :, None].clamp(
        min=_MIN_W
    )
