# SPDX-License-Identifier: Apache-2.0
"""Yaw at every place of a map: what a panorama's columns show against what lies along the rays.

The fusion transformer answers with a place alone. This head gives it a yaw, without learning
directions by heart: around each cell of the aerial features it reads those along N rays at a few
distances, in the order of the panorama's columns, and compares them with the columns. A robot
that has turned sees the same columns rolled, so the comparison with the columns rolled by k says
how well a yaw offset of k columns fits. Turning the panorama moves the answer by as much, exactly
(to whole columns), and a place further along the map reads its own surroundings.

Convention: column n of N looks 2 pi (n + 1/2) / N - pi clockwise of up the patch if the prior's
yaw is right; a yaw offset d (counter-clockwise) moves content to the right by d N / 2 pi columns.
"""

from collections.abc import Sequence
import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.models.correlation_pyramid import full_precision

Size = tuple[int, int]
_EPS = 1e-6


def ray_offsets(rays: int, radii_m: Sequence[float]) -> Tensor:
    """(rays, radii, 2) offsets (x right, y up, m) of the points along each column's ray."""
    bearing = 2 * math.pi * (torch.arange(rays) + 0.5) / rays - math.pi
    unit = torch.stack([bearing.sin(), bearing.cos()], dim=-1)
    return unit[:, None] * torch.tensor(list(radii_m))[None, :, None]


def circular_cubic(yaws: Tensor, bins: int) -> Tensor:
    """Weights that read a circle of values at any angle, smooth and exact at the bins.

    Catmull-Rom interpolation, so that the best yaw may lie between two columns.

    Args:
        yaws: (K,) rad.
        bins: Values on the circle; the i-th belongs to the angle 2 pi i / bins.

    Returns:
        (K, bins), rows sum to one.
    """
    at = yaws.double() * bins / (2 * math.pi)
    first = at.floor()
    t = at - first
    parts = (
        (-0.5, 1.0, -0.5, 0.0),
        (1.5, -2.5, 0.0, 1.0),
        (-1.5, 2.0, 0.5, 0.0),
        (0.5, -0.5, 0.0, 0.0),
    )
    weights = torch.zeros(len(yaws), bins, dtype=torch.float64)
    for k, (a, b, c, d) in enumerate(parts):
        value = ((a * t + b) * t + c) * t + d
        index = (first.long() + k - 1).remainder(bins)
        # Few bins may meet on the circle: values add up.
        weights.scatter_add_(1, index[:, None], value[:, None])
    return weights.float()


class ColumnFeatures(nn.Module):
    """A feature map and the next coarser one, reduced and added; columns may wrap."""

    def __init__(self, fine: int, coarse: int, channels: int, wraps: bool) -> None:
        """Takes the channels of both maps and of the result."""
        super().__init__()
        self.fine = nn.Conv2d(fine, channels, 1)
        self.coarse = nn.Conv2d(coarse, channels, 1, bias=False)
        self.wraps = wraps

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(B, fine, h, w) and (B, coarse, h / 2, w / 2) -> (B, channels, h, w)."""
        x = self.coarse(coarse)
        if self.wraps:
            x = torch.cat([x[..., -1:], x, x[..., :1]], dim=-1)
        x = F.interpolate(x, scale_factor=2.0, mode='bilinear', align_corners=False)
        if self.wraps:
            x = x[..., 2:-2]
        out: Tensor = self.fine(fine) + x
        return out


class RayYawHead(nn.Module):
    """Ground and aerial features -> a score of each yaw offset at each place.

    Attributes:
        bins: N, of the scores: one a column of the panorama's features.
    """

    grid: Tensor
    rolls: Tensor

    def __init__(
        self,
        view: Size,
        patch: Size,
        view_cells: Size,
        patch_cells: Size,
        cell_m: float,
        radii_m: Sequence[float] = (4.0, 8.0, 14.0, 22.0),
        channels: int = 16,
    ) -> None:
        """Builds the head.

        Args:
            view: Channels of the ground features (fine, next coarser).
            patch: Channels of the aerial features, likewise.
            view_cells: (rows, columns) of the fine ground features; all of the circle.
            patch_cells: (rows, columns) of the fine aerial features.
            cell_m: Side of a cell of those, m.
            radii_m: Distances at which rays are read.
            channels: That are compared, for each distance.
        """
        super().__init__()
        rows, self.bins = view_cells
        self.radii = len(radii_m)
        self.view = ColumnFeatures(*view, channels, wraps=True)
        self.patch = ColumnFeatures(*patch, channels, wraps=False)
        # Which rows of the panorama show what is how far away is learned.
        self.fold = nn.Conv2d(channels, channels * self.radii, (rows, 1))
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())
        offsets = ray_offsets(self.bins, radii_m).flatten(0, 1) / cell_m
        height, width = patch_cells
        v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
        # For grid_sample: -1 and 1 are the outer borders of the outer cells.
        x = (u.flatten() + 0.5 + offsets[:, :1]) * 2 / width - 1
        y = (v.flatten() + 0.5 - offsets[:, 1:]) * 2 / height - 1
        self.register_buffer('grid', torch.stack([x, y], dim=-1)[None], persistent=False)
        n = torch.arange(self.bins)
        # Content has moved right by k columns: ray n is now seen in column n + k.
        self.register_buffer('rolls', (n[:, None] + n).remainder(self.bins), persistent=False)

    def forward(self, view: Sequence[Tensor], patch: Sequence[Tensor]) -> Tensor:
        """Scores of all yaw offsets at all places.

        Args:
            view: Ground features (fine, next coarser).
            patch: Aerial features (fine, next coarser).

        Returns:
            (B, N, h, w) float32 on the cells of the fine aerial features; bin k is the offset
            2 pi k / N. Cosines times a learned scale: logits of the yaw, given the place.
        """
        columns = self.fold(self.view(view[0], view[1]))
        aerial = self.patch(patch[0], patch[1])
        batch, channels, height, width = aerial.shape
        with full_precision(aerial):
            aerial = aerial.float()
            grid = self.grid.to(aerial.dtype).expand(batch, -1, -1, -1)
            # (B, channels, rays * radii, places), 0 outside the patch.
            rays = F.grid_sample(aerial, grid, align_corners=False)
            rays = rays.view(batch, channels, self.bins, self.radii, height * width)
            rays = rays.permute(0, 2, 3, 1, 4).reshape(batch, -1, height * width)
            norm = rays.square().sum(dim=1, keepdim=True).clamp_min(_EPS**2).sqrt()
            # (B, channels * radii, 1, N) -> (B, k, n, radii, channels).
            ground = columns.float().view(batch, channels, self.radii, self.bins)
            ground = ground.permute(0, 3, 2, 1)
            ground = F.normalize(ground.flatten(1), dim=1, eps=_EPS).view_as(ground)
            rolled = ground[:, self.rolls].flatten(2)
            scores = (rolled @ rays) / norm * self.log_scale.exp()
        return scores.view(batch, self.bins, height, width)
