# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye view of features by depth that is inferred, not assumed (OrienterNet's way).

Each pixel has a distribution over scales (px on the picture for a metre in the world); a scale
and the camera's focal length give a distance, so that the same network serves any camera. Along
each column the pixels compete for each distance, which makes a polar view: columns by distances
(Sarlin et al., "OrienterNet", CVPR 2023, Sec. 3.2; the idea of columns as rays is of Roddick and
Cipolla, "Predicting semantic map representations from images using pyramid occupancy networks",
CVPR 2020). The polar view is then read on the cells of a Cartesian grid. No height of the camera
and no flat ground is assumed, only that columns stand upright.
"""

import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec


class PolarBev(nn.Module):
    """Features of a picture -> features on the ground around the camera.

    Convention: cells of `cell_m`, the camera in the middle of cell (reach, reach) of a square of
    2 reach + 1 cells. A panorama's middle column looks up the square (north), columns to its
    right clockwise. A pinhole looks to the right of the square; only the cells from the camera's
    own column on are made, `hidden_columns` to their left are not.

    Attributes:
        reach: Cells from the camera to the farthest distance.
        hidden_columns: Columns of the square that are behind the camera.
        visible: (1, 1, rows, columns) float32, 1 where the camera may look.
    """

    scale_of_distance: Tensor
    grid: Tensor
    visible: Tensor

    def __init__(
        self,
        camera: CameraSpec,
        view_width: int,
        columns: int,
        reach_m: float,
        cell_m: float,
        log2_scales: tuple[float, float],
        scale_bins: int,
    ) -> None:
        """Prepares the tables.

        Args:
            camera: That takes the pictures; level.
            view_width: Of the pictures, px.
            columns: Of the features.
            reach_m: Farthest distance.
            cell_m: Side of a cell and step of the distances, m.
            log2_scales: Lowest and highest scale, log2 of px/m, for pictures of this size.
            scale_bins: Number of scales between them, ends included.

        Raises:
            ConfigError: Less than one cell within reach, or less than two scales.
        """
        super().__init__()
        self.reach = int(reach_m / cell_m + 1e-6)
        if self.reach < 1 or scale_bins < 2 or log2_scales[0] >= log2_scales[1]:
            raise ConfigError(
                f'reach {reach_m} m of {cell_m} m cells and {scale_bins} scales in {log2_scales}: '
                'expected a cell within reach, and two scales or more from low to high'
            )
        self.wraps = camera.kind == 'equirectangular'
        self.hidden_columns = 0 if self.wraps else self.reach
        focal = view_width / (2 * math.pi)
        if camera.focal_px is not None:
            focal = camera.focal_px[0]
        distances = cell_m * torch.arange(1, self.reach + 1)
        self.register_buffer(
            'scale_of_distance',
            _interpolation(torch.log2(focal / distances), log2_scales, scale_bins),
            persistent=False,
        )
        step = view_width / columns
        steps = torch.arange(-self.reach, self.reach + 1, dtype=torch.float32) * cell_m
        up, right = torch.meshgrid(-steps, steps[self.hidden_columns :], indexing='ij')
        if self.wraps:
            distance = torch.hypot(right, up)
            # Clockwise from the middle column; (u + 0.5) / step - 0.5 is the cell of pixel u.
            u = torch.atan2(right, up) * focal + view_width / 2 - 0.5
            visible = torch.ones_like(distance, dtype=torch.bool)
        else:
            assert camera.center_px is not None
            distance = right
            u = camera.center_px[0] - focal * up / right.clamp_min(0.1 * cell_m)
            visible = (right > 0) & (u >= -0.5) & (u <= view_width - 0.5)
        # The camera's own cell lies in no direction.
        away = torch.hypot(right, up)
        visible = visible & (away <= reach_m) & (away > 0)
        column = (u + 0.5) / step - 0.5
        # A panorama gets one column more on either side, which joins its seam.
        width = columns + 2 if self.wraps else columns
        column = column + 1 if self.wraps else column
        row = distance / cell_m - 1
        grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / self.reach - 1], dim=-1)
        self.register_buffer('grid', grid[None], persistent=False)
        self.register_buffer('visible', visible.float()[None, None], persistent=False)

    def forward(self, features: Tensor, log_scales: Tensor) -> Tensor:
        """The bird's-eye view.

        Args:
            features: (B, C, h, columns) of the picture.
            log_scales: (B, S, h, columns) scores of the scales at each pixel.

        Returns:
            (B, C, rows, columns) on the cells of `visible`, 0 where that is 0.
        """
        polar = self.polar(features, log_scales)
        if self.wraps:
            polar = torch.cat([polar[..., -1:], polar, polar[..., :1]], dim=-1)
        grid = self.grid.to(polar).expand(polar.shape[0], -1, -1, -1)
        # Nearer than the first distance and past the last column: as at the border.
        bev = F.grid_sample(
            polar, grid, mode='bilinear', padding_mode='border', align_corners=False
        )
        return bev * self.visible.to(bev)

    def polar(self, features: Tensor, log_scales: Tensor) -> Tensor:
        """(B, C, reach, columns): at each distance the mean of a column's pixels that are there.

        Args:
            features: (B, C, h, columns).
            log_scales: (B, S, h, columns).
        """
        table = self.scale_of_distance.to(log_scales)
        scores = torch.einsum('bshw,sd->bwdh', log_scales, table)
        share = torch.softmax(scores.float(), dim=-1).to(features)
        # Products of matrices, (distances, rows) by (rows, channels), a column each.
        return (share @ features.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)


def _interpolation(log2_scale: Tensor, ends: tuple[float, float], bins: int) -> Tensor:
    """(bins, D) weights that read bins linearly at each of D scales; clamped to the ends."""
    position = (log2_scale - ends[0]) / (ends[1] - ends[0]) * (bins - 1)
    position = position.clamp(0, bins - 1)
    weights: Tensor = (1 - (position[None] - torch.arange(bins)[:, None]).abs()).clamp_min(0)
    return weights
