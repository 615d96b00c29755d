# SPDX-License-Identifier: Apache-2.0
"""Features of a picture laid on flat ground around the robot.

Reference: Shi et al., "Weakly-supervised camera localization by ground-to-satellite image
registration" (G2SWeakly), ECCV 2024, section 3: every cell of a grid on the ground is looked up
in the picture. Level camera, flat ground, known height.
"""

import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec, RasterSpec

# Points nearer to a pinhole's own plane than this are not seen, m.
_NEAREST = 0.1


class GroundProjection(nn.Module):
    """A grid on the ground, axes as the patch's, whose middle is the robot.

    Convention: rows run down the patch (-y), columns to its right (x); `yaw` is the robot's offset
    from the prior's yaw, counter-clockwise. At yaw 0 the middle column of a panorama looks up the
    patch, a pinhole to its right (`InputSpec.turned` 'view' and 'patch').

    A map of features of any size is taken to cover the whole picture, so that no stride needs to
    be known. A panorama's first and last columns are neighbours.

    Attributes:
        x: (h, w) of the cells' centres, m, to the right of the robot.
        y: (h, w), m, up the patch.
    """

    x: Tensor
    y: Tensor

    def __init__(
        self, size: tuple[int, int], cell_m: float, camera: CameraSpec, view: RasterSpec
    ) -> None:
        """Lays out the grid.

        Args:
            size: (rows, columns).
            cell_m: Side of a cell, m.
            camera: That took the picture.
            view: Size of the picture that `camera` counts its pixels in.

        Raises:
            ConfigError: An empty grid.
        """
        super().__init__()
        rows, columns = size
        if rows < 1 or columns < 1 or not cell_m > 0:
            raise ConfigError(f'a ground grid of {rows} x {columns} cells of {cell_m} m is empty')
        self._camera = camera
        self._view = view
        x = (torch.arange(columns) - (columns - 1) / 2) * cell_m
        y = ((rows - 1) / 2 - torch.arange(rows)) * cell_m
        y, x = torch.meshgrid(y, x, indexing='ij')
        # Straight below the camera every direction is as good, but none has no derivative.
        x = torch.where((x == 0) & (y == 0), torch.full_like(x, 1e-4), x)
        self.register_buffer('x', x.contiguous(), persistent=False)
        self.register_buffer('y', y.contiguous(), persistent=False)

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.x.shape[0], self.x.shape[1]

    def places(self, yaw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the cells are in the picture.

        Args:
            yaw: (B,) rad.

        Returns:
            (B, h, w) fractions of the width, from the left border; fractions of the height, from
            the upper one; and where the picture shows the cell, bool.
        """
        panorama = self._camera.kind == 'equirectangular'
        heading = (yaw.float() + (math.pi / 2 if panorama else 0.0)).view(-1, 1, 1)
        c, s = heading.cos(), heading.sin()
        forward = self.x * c + self.y * s
        right = self.x * s - self.y * c
        height = self._camera.height_m
        if panorama:
            distance = (self.x**2 + self.y**2).sqrt().expand_as(forward)
            u = 0.5 + torch.atan2(right, forward) / (2 * math.pi)
            v = 0.5 + torch.atan2(torch.full_like(distance, height), distance) / math.pi
            return u, v, torch.ones_like(u, dtype=torch.bool)
        assert self._camera.focal_px is not None and self._camera.center_px is not None
        (fx, fy), (cx, cy) = self._camera.focal_px, self._camera.center_px
        ahead = forward > _NEAREST
        depth = forward.clamp_min(_NEAREST)
        u = (fx * right / depth + cx + 0.5) / self._view.width
        v = (fy * height / depth + cy + 0.5) / self._view.height
        return u, v, ahead & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)

    def forward(self, features: Tensor, yaw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of the cells, read bilinearly.

        Args:
            features: (B, C, H, W), covering the whole picture.
            yaw: (B,) rad; 0 if None.

        Returns:
            (B, C, h, w) float32, 0 where the picture shows nothing; (B, 1, h, w) float32, 1 where
            it shows something.
        """
        features = features.float()
        batch, columns = features.shape[0], features.shape[-1]
        if yaw is None:
            yaw = features.new_zeros(batch)
        u, v, seen = self.places(yaw)
        if self._camera.kind == 'equirectangular':
            # One column more on either side joins the seam.
            features = torch.cat([features[..., -1:], features, features[..., :1]], dim=-1)
            u = (u * columns + 1) / (columns + 2)
        mask = seen[:, None].to(features)
        # What is unseen may lie anywhere; far outside, its weights would be infinite.
        grid = torch.stack([2 * u - 1, 2 * v - 1], dim=-1).clamp(-2.0, 2.0)
        read = F.grid_sample(features, grid, padding_mode='border', align_corners=False)
        return read * mask, mask
