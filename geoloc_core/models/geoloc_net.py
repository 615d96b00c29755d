# SPDX-License-Identifier: Apache-2.0
"""Our own network, the one a robot runs by default: learned features, exact geometry.

What the comparison of the field's methods teaches, put together:

- The view is laid on the ground before the network sees it, by the camera's own calibration and
  attitude (`preprocess`): pinhole, fisheye and panorama look alike to it, and nothing has to be
  learned that geometry knows (HC-Net, Wang et al., NeurIPS 2023; but with real metres).
- And on a plane over the camera as well: walls and roofs, which the ground alone does not show
  and which OrienterNet's learned depth lives by, come into the same picture without a network.
- Both by direction and distance: whatever stands upright is smeared along a column, in whichever
  direction it stands, as the columns of OrienterNet are rays. Only features are then laid on
  square cells, where a few layers more see what is beside what.
- Cheap features: the first stages of an EfficientNet-Lite with ImageNet weights, joined to one
  map of a metre a cell, on the unit sphere; how much a cell of the view may say is learned
  (G2SWeakly, Shi et al., ECCV 2024).
- Every yaw and every place is scored by the same features, turned and shifted (OrienterNet,
  Sarlin et al., CVPR 2023): one pass whether yaw is known or not. Which yaws is an input: a robot
  that knows its heading asks for few and fine ones around it.
- Learned by the likelihood of the true pose; its temperature, and how often it takes one place for
  another, are fitted on held-out data, so that the spread of the volume is the error to expect.

The weights of a view are divided by the root of the sum of their squares: each cell is one more
witness, and a view that shows little ground says less.
"""

from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.geometry.polar_grid import PolarGrid
from geoloc_core.input_spec import CAMERA_KINDS, InputSpec, PolarSpec, RasterSpec
from geoloc_core.models.backbones import Backbone, input_statistics, make_backbone
from geoloc_core.models.backbones.circular import make_circular
from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import Belief, doubted_place, evenly_spaced_yaws
from geoloc_core.models.rotation_correlation import correlate_rotations


@dataclass(frozen=True)
class GeolocNetSettings:
    """Sizes of `GeolocNet`.

    Attributes:
        directions: Columns of the view, around the whole circle.
        rings: Rows of the view.
        near_m: Where the nearest ring begins.
        reach_m: Where the farthest one ends: radius of the ground that is matched.
        heights_m: Planes that the view is laid on, see `PolarSpec`: the ground, and some over it.
        patch_px: Side of the aerial patch, px.
        gsd: m/px of the patch.
        backbone: Of both encoders, see `backbones.registry`.
        weights: null, 'imagenet', or the path of a file.
        taps: Stages that are joined; the first one's stride makes the cells.
        width: Channels while joining.
        blocks: Layers on the square cells of the view.
        channels: Channels that are matched.
        half_range_m: Poses up to this far from the patch's middle are scored, along each axis.
        half_yaw_deg: Range of the yaw offsets; 180 closes the circle.
        yaw_bins: Number of yaws.
    """

    directions: int = 256
    rings: int = 32
    near_m: float = 1.5
    reach_m: float = 24.0
    heights_m: tuple[float, ...] = (0.0, 6.0)
    patch_px: int = 128
    gsd: float = 0.5
    backbone: str = 'efficientnet_lite0'
    weights: str | None = 'imagenet'
    taps: tuple[str, ...] = ('stage1', 'stage2', 'stage3', 'stage5')
    width: int = 48
    blocks: int = 1
    channels: int = 16
    half_range_m: float = 20.0
    half_yaw_deg: float = 180.0
    yaw_bins: int = 36

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: Says which setting.
        """
        for name in (
            'directions', 'rings', 'near_m', 'patch_px', 'gsd', 'half_range_m', 'channels', 'width'
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ConfigError(f'geoloc: {name} is {getattr(self, name)}, expected more than 0')
        if self.yaw_bins < 3 or not 0 < self.half_yaw_deg <= 180:
            raise ConfigError(
                f'geoloc: {self.yaw_bins} yaw_bins over +-{self.half_yaw_deg} degrees; expected '
                'at least 3 bins and a half_yaw_deg of 0..180'
            )
        if not self.reach_m > self.near_m:
            raise ConfigError(
                f'geoloc: reach_m is {self.reach_m}, expected more than near_m, {self.near_m}'
            )

    @property
    def inputs(self) -> InputSpec:
        """What the network is fed."""
        statistics = input_statistics(self.backbone)
        return InputSpec(
            camera_kinds=CAMERA_KINDS,
            view_kind='polar',
            view=RasterSpec(
                'view', self.directions, self.rings, *statistics, True, len(self.heights_m)
            ),
            bev=None,
            polar=PolarSpec(self.near_m, self.reach_m, self.heights_m),
            camera=None,
            patch=RasterSpec('patch', self.patch_px, self.patch_px, *statistics, with_mask=True),
            patch_gsd=self.gsd,
            turned='view',
        )


class _Encoder(nn.Module):
    """A picture with its mask -> one map at the stride of the first tap."""

    def __init__(self, settings: GeolocNetSettings, inputs: int, circular: bool) -> None:
        super().__init__()
        self.backbone: Backbone = make_backbone(
            settings.backbone,
            weights=settings.weights,
            in_channels=inputs,
            taps=settings.taps,
            circular=circular,
        )
        width = settings.width
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in self.backbone.channels)
        self.smooth = nn.ModuleList(_smoothing(width) for _ in self.backbone.channels[1:])
        if circular:
            make_circular(self.smooth)
        # By repetition a cylinder's columns stay equal.
        self.enlarge = 'nearest' if circular else 'bilinear'
        self.stride = self.backbone.strides[0]

    def forward(self, image: Tensor) -> Tensor:
        maps = self.backbone(image)
        merged: Tensor = self.lateral[-1](maps[-1])
        for i in range(len(maps) - 2, -1, -1):
            own: Tensor = self.lateral[i](maps[i])
            merged = own + F.interpolate(merged, size=own.shape[-2:], mode=self.enlarge)
            merged = merged + self.smooth[i](merged)
        return merged


def _smoothing(width: int) -> nn.Module:
    """Cheap 3x3 mixing: depthwise between two pointwise ones (MobileNetV2's block)."""
    inner = 3 * width
    return nn.Sequential(
        nn.Conv2d(width, inner, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU6(inplace=True),
        nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU6(inplace=True),
        nn.Conv2d(inner, width, 1, bias=False),
        nn.BatchNorm2d(width),
    )


class Encoded(NamedTuple):
    """A view and a patch as they are matched.

    Attributes:
        features: (B, C, n, n) unit features of the view, on square cells around base_link.
        weight: (B, 1, n, n) how much each of its cells may say; squares sum to one.
        aerial: (B, C, m, m) features of the patch, as long as they may say much; 0 where the map
            has nothing.
    """

    features: Tensor
    weight: Tensor
    aerial: Tensor


class GeolocNet(CrossViewModel):
    """See the module.

    Attributes:
        cell_m: Side of a cell of features and belief, m.
    """

    NAME = 'geoloc'
    Settings = GeolocNetSettings
    takes_yaws = True
    polar_cells: Tensor
    within: Tensor

    def __init__(self, settings: GeolocNetSettings) -> None:
        """Makes the layers.

        Raises:
            ConfigError: Sizes that do not go together, or as `make_backbone`.
        """
        super().__init__(settings, settings.inputs)
        s = settings
        self.view_encoder = _Encoder(s, self.inputs.view.channels, circular=True)
        self.blocks = nn.ModuleList(_smoothing(s.width) for _ in range(s.blocks))
        self.view_head = nn.Conv2d(s.width, s.channels + 1, 1)
        self.patch_encoder = _Encoder(s, self.inputs.patch.channels, circular=False)
        self.patch_head = nn.Conv2d(s.width, s.channels + 1, 1)
        stride = self.view_encoder.stride
        for name in ('directions', 'rings', 'patch_px'):
            if getattr(s, name) % stride:
                raise ConfigError(
                    f'geoloc: {name} is {getattr(s, name)}, expected a multiple of {stride}'
                )
        self.cell_m = s.gsd * stride
        self.cells = s.patch_px // stride
        # As many as asked for, but even or odd like the map, whose middle they lie around.
        wanted = 2 * round(s.half_range_m / self.cell_m) + self.cells % 2
        self.answered = min(wanted, self.cells)
        cells, within = _square_cells(s, stride, self.cell_m)
        self.register_buffer('polar_cells', cells, persistent=False)
        self.register_buffer('within', within, persistent=False)
        # A sharp start: a few hundred steps are long with a timid one.
        self.log_scale = nn.Parameter(torch.tensor(0.3))
        self.calibration['log_temperature'] = nn.Parameter(torch.zeros(()))
        self.calibration['doubt'] = nn.Parameter(torch.tensor(-4.0))

    def forward(  # type: ignore[override]
        self, view: Tensor, patch: Tensor, yaws: Tensor | None = None
    ) -> Outputs:
        """Scores of all poses.

        Args:
            view: (B, C, rings, directions) the view on the ground, normalised: three channels a
                plane, and the ground's mask.
            patch: (B, 4, patch_px, patch_px) aerial patch, normalised, and its mask.
            yaws: (K,) or (B, K) offsets to score, rad, evenly spaced; the settings' own if None.

        Returns:
            scores (B, K, h, w); bev (B, C, n, n) unit features of the view and bev_confidence
            (B, 1, n, n); map (B, C, m, m) features of the patch; yaws as scored.
        """
        encoded = self.encode(view, patch)
        own = (self.own_yaws() if yaws is None else yaws).to(view.device)
        return {
            'scores': self.score(encoded, own),
            'bev': encoded.features,
            'bev_confidence': encoded.weight,
            'map': encoded.aerial,
            'yaws': own,
        }

    def score(self, encoded: Encoded, yaws: Tensor) -> Tensor:
        """Scores (B, K, h, w) of encoded pictures at any yaws (K,) or (B, K), rad."""
        scores = correlate_rotations(
            encoded.features,
            encoded.weight,
            encoded.aerial,
            yaws,
            size=(self.answered, self.answered),
            canvas=self.within.shape[-1],
            # The tables are quickest for one pair in a graph, transforms for many.
            method='dft' if encoded.aerial.shape[0] == 1 else 'fft',
        )
        return scores * self.log_scale.float().exp()

    def encode(self, view: Tensor, patch: Tensor) -> Encoded:
        """What both pictures are to the matching; arguments as of `forward`."""
        count = self.settings.channels
        cells, seen = self.on_square_cells(view)
        answer = self.view_head(cells)
        features = F.normalize(answer[:, :count].float(), dim=1)
        weight = torch.sigmoid(answer[:, count:].float()) * seen
        weight = weight / (weight.square().sum(dim=(2, 3), keepdim=True) + 1e-6).sqrt()
        answer = self.patch_head(self.patch_encoder(patch))
        known = F.avg_pool2d(patch[:, 3:4], self.patch_encoder.stride)
        # 1 before anything is learned.
        length = 2 * torch.sigmoid(answer[:, count:].float()) * known
        return Encoded(features, weight, F.normalize(answer[:, :count].float(), dim=1) * length)

    def on_square_cells(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """A view -> features (B, width, n, n) around base_link, and which share of it was seen."""
        seen = F.avg_pool2d(view[:, -1:], self.view_encoder.stride)
        polar = torch.cat([self.view_encoder(view), seen.to(view)], dim=1)
        # The circle closes: one column more on either side.
        polar = torch.cat([polar[..., -1:], polar, polar[..., :1]], dim=-1)
        grid = self.polar_cells.to(polar).expand(polar.shape[0], -1, -1, -1)
        square = F.grid_sample(
            polar, grid, mode='bilinear', padding_mode='border', align_corners=False
        )
        square = square * self.within.to(polar)
        cells, seen = square[:, :-1], square[:, -1:]
        for block in self.blocks:
            cells = cells + block(cells)
        return cells, seen.float()

    def belief(self, outputs: Outputs) -> Belief:
        """The softmax over all scores, the place doubted a little; the pose is its peak."""
        scores = outputs['scores'] * torch.exp(-self.calibration['log_temperature'])
        logits = doubted_place(scores, self.calibration['doubt'])
        yaws = outputs['yaws'].to(logits)
        closed = False
        if not torch.compiler.is_exporting():  # a graph has logits alone, and no numbers to test
            one = yaws if yaws.dim() == 1 else yaws[0]
            closed = abs(float(one[1] - one[0]) * len(one) - 2 * math.pi) < 1e-3
        return Belief(logits, self.cell_m, yaws, closed)

    def own_yaws(self) -> Tensor:
        """(K,) rad: those of the settings."""
        return evenly_spaced_yaws(self.settings.yaw_bins, self.settings.half_yaw_deg)


def _square_cells(s: GeolocNetSettings, stride: int, cell_m: float) -> tuple[Tensor, Tensor]:
    """Where the middles of square cells lie on the polar map, one column wider on either side.

    Returns:
        (1, n, n, 2) in `grid_sample`'s coordinates, and (1, 1, n, n) 1 within the rings, else 0;
        n is odd: base_link stands on the middle cell.
    """
    rings, directions = s.rings // stride, s.directions // stride
    reach = math.floor(s.reach_m / cell_m)
    steps = np.arange(-reach, reach + 1) * cell_m
    x, y = np.meshgrid(steps, -steps)
    column, row = PolarGrid(s.near_m, s.reach_m, directions, rings).cells(x, y)
    distance = np.hypot(x, y)
    within = (distance >= s.near_m) & (distance <= s.reach_m)
    row = np.where(within, row, 0.0)
    grid = np.stack([(2 * column + 3) / (directions + 2) - 1, (2 * row + 1) / rings - 1], axis=-1)
    return torch.from_numpy(grid[None]).float(), torch.from_numpy(within[None, None]).float()
