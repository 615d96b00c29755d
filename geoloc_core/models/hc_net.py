# SPDX-License-Identifier: Apache-2.0
"""HC-Net: the homography that lays a bird's-eye view of the camera's surroundings on the map.

Wang et al., "Fine-Grained Cross-View Geo-Localization Using a Correlation-Aware Homography
Estimator", NeurIPS 2023. The view becomes a bird's-eye view (`spherical`); both pictures become
feature maps, all cells of which are correlated; six times, correlations around where each cell is
taken to lie move the four corners of the bird's-eye view on the patch. The homography says where
the camera is and which way it looks.

Differences from the released code:
- One pixel rule (integers are centres), also for the middle of an even picture and across the
  levels of the pyramid, where it had corners and centres mixed.
- Corner moves are predicted in cells of the map, not in pixels: the same first moves, but quicker
  learning.
- Places are looked up without gradient, as in RAFT; losses reach every increment through the sum.
- The perspective of a homography is bounded (`homography`): a folded one undid whole trainings.
- Yaw is read along one line in training and in use (an eighth of the bird's-eye view long).
- The published count of 11.21 M parameters includes the ImageNet classifiers of both backbones
  (head of 1280 channels and 1000 classes, 1.693 M each), which are never run. They are not built
  here, which leaves 7.82 M.
"""

import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models import homography
from geoloc_core.models.backbones.registry import make_backbone
from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import Belief, evenly_spaced_yaws, volume_from_parts
from geoloc_core.models.correlation_pyramid import CorrelationPyramid, full_precision, tents
from geoloc_core.models.hc_net_settings import HcNetSettings, PER_GROUP
from geoloc_core.models.spherical import FrontViewTransform, ground_homography, SphericalTransform

# The line along which yaw is read, as a share of the bird's-eye view.
_PROBE = 1 / 8


class CornerUpdate(nn.Module):
    """Correlations around each cell -> a move of the four corners."""

    def __init__(self, channels: int, width: int, cells: tuple[int, int]) -> None:
        """Builds the network.

        Args:
            channels: Of its input.
            width: Of its layers.
            cells: (rows, columns) of its input; halved until 2 are left on the shorter side.
        """
        super().__init__()
        halvings = max(0, round(math.log2(min(cells) / 2)))
        layers: list[nn.Module] = []
        for i in range(halvings + 1):
            layers += [
                nn.Conv2d(channels if i == 0 else width, width, 3, padding=1),
                nn.GroupNorm(width // PER_GROUP, width),
                nn.ReLU(),
            ]
            if i < halvings:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, rows, columns) -> (B, 4, 2), cells, in the order of `corners_of`."""
        x = self.layers(x)
        if x.shape[2:] != (2, 2):
            x = F.adaptive_avg_pool2d(x, 2)
        moves: Tensor = self.last(x)
        return moves.float().flatten(2).transpose(1, 2)


class HcNet(CrossViewModel):
    """HC-Net.

    `forward` gives, after each of the I iterations, `positions` (B, I, 2) m and `yaws` (B, I) rad
    of the camera in the patch's frame and `corners` (B, I, 4, 2) px of the patch; and `match`
    (B, h, w), the correlation of the bird's-eye view's middle with every cell of the patch.

    The belief is a mixture: around the homography's pose a Gaussian with a von Mises in yaw, and,
    for the case that the homography went astray, the softmax of `match` (the paper's confidence).
    How much is given to which depends on the confidence at the pose; all its scalars are fitted
    on validation data.
    """

    NAME = 'hc_net'
    Settings = HcNetSettings
    cells: Tensor
    start_corners: Tensor
    start_places: Tensor
    line: Tensor
    middle: Tensor
    offset_m: Tensor
    yaw_bins: Tensor
    belief_x: Tensor
    belief_y: Tensor

    def __init__(self, settings: HcNetSettings) -> None:
        """Builds the network.

        Raises:
            ConfigError: Sizes that do not fit the backbone's stride, or an unknown name.
        """
        super().__init__(settings, settings.inputs)
        s = settings
        self.view_net = make_backbone(s.backbone, weights=s.weights, taps=[s.tap])
        self.patch_net = (
            self.view_net
            if s.siamese
            else make_backbone(s.backbone, weights=s.weights, taps=[s.tap])
        )
        self.stride = self.view_net.strides[-1]
        for name in ('patch_width', 'patch_height', 'bev_width', 'bev_height'):
            if getattr(s, name) % self.stride or getattr(s, name) < 2 * self.stride:
                raise ConfigError(
                    f'hc_net: {name} is {getattr(s, name)}, expected a multiple of the stride '
                    f'{self.stride} of {s.tap}, at least two of them'
                )
        rows, columns = s.bev_height // self.stride, s.bev_width // self.stride
        window = s.levels * (2 * s.radius + 1) ** 2
        self.update = CornerUpdate(window + 2, s.width, (rows, columns))
        with torch.no_grad():
            # Cells stand where the publisher has pixels: so the first moves are as small as there.
            for parameter in self.update.last.parameters():
                parameter.div_(self.stride)
        self._lay_out(rows, columns)
        # Wide at first: from there the likelihood of any truth has a slope.
        for scalar, value in (('temperature', 400.0), ('sigma_m', 4.0), ('kappa', 50.0)):
            self.calibration[f'log_{scalar}'] = nn.Parameter(torch.tensor(value).log())
        self.calibration['log_kappa_astray'] = nn.Parameter(torch.tensor(0.0))
        self.calibration['trust'] = nn.Parameter(torch.tensor(1.0))
        self.calibration['trust_per_confidence'] = nn.Parameter(torch.tensor(0.0))

    def _lay_out(self, rows: int, columns: int) -> None:
        """Everything that depends on sizes alone."""
        s: HcNetSettings = self.settings
        bev = (s.bev_width, s.bev_height)
        middle = torch.tensor([(s.bev_width - 1) / 2, (s.bev_height - 1) / 2])
        if s.camera == 'equirectangular':
            spherical = SphericalTransform((s.view_width, s.view_height), bev, s.bev_fov_deg)
            gsd = s.camera_height_m / spherical.cells_per_height
            foot, ahead = middle, torch.tensor([0.0, -1.0])
            self.transform: nn.Module = spherical
        else:
            gsd = s.bev_gsd
            foot, ahead = torch.tensor([-0.5, float(middle[1])]), torch.tensor([1.0, 0.0])
            assert s.focal_px is not None and s.center_px is not None
            lens = (s.focal_px, s.center_px, s.camera_height_m)
            self.transform = FrontViewTransform(
                (s.view_width, s.view_height),
                bev,
                ground_homography(gsd, (float(foot[0]), float(foot[1])), *lens),
            )
        probe = foot + ahead * max(bev) * _PROBE
        # How far, and which way, the middle of the bird's-eye view lies from the camera.
        offset = (middle - foot) * torch.tensor([gsd, -gsd])
        v, u = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')
        cells = (torch.stack([u, v], dim=-1).flatten(0, 1) + 0.5) * self.stride - 0.5
        corners = homography.corners_of(*bev)
        patch = torch.tensor([s.patch_width, s.patch_height])
        if s.start == 'corners':
            start = corners * (patch - 1) / (torch.tensor(bev) - 1)
        else:
            start = (patch - 1) / 2 + (corners - foot) * gsd / s.patch_gsd
        places = homography.project(homography.from_corners(start, *bev), cells)
        self.ahead_yaw = math.atan2(-float(ahead[1]), float(ahead[0]))
        wide, high = s.patch_width // s.cell_px, s.patch_height // s.cell_px
        cell_m = s.cell_px * s.patch_gsd
        # Row of the correlation that belongs to the middle, which may lie between cells.
        at = (middle + 0.5) / self.stride - 0.5
        weights = (tents(at[1], rows)[:, None] * tents(at[0], columns)).flatten()
        for name, value in (
            ('cells', cells),
            ('start_corners', start),
            ('start_places', self._to_cells(places)),
            ('line', torch.stack([foot, probe])),
            ('middle', weights),
            ('offset_m', offset),
            ('belief_x', (torch.arange(wide) - (wide - 1) / 2) * cell_m),
            ('belief_y', (torch.arange(high) - (high - 1) / 2) * -cell_m),
            ('yaw_bins', evenly_spaced_yaws(s.yaw_bins, s.half_yaw_deg)),
        ):
            self.register_buffer(name, value, persistent=False)

    def _to_cells(self, px: Tensor) -> Tensor:
        """Pixels of the patch -> cells of its feature map; integers are centres of either."""
        return (px + 0.5) / self.stride - 0.5

    def bird_eye(self, view: Tensor) -> Tensor:
        """(B, C, bev_height, bev_width) of a normalised view (B, C, H, W)."""
        bev: Tensor = self.transform(view)
        return bev

    def forward(self, view: Tensor, patch: Tensor, **extra: Tensor) -> Outputs:
        """See the class.

        Args:
            view: (B, 3, view_height, view_width).
            patch: (B, 3, patch_height, patch_width).
            extra: None is used.
        """
        s: HcNetSettings = self.settings
        # Convolutions, the depthwise ones above all, are quicker where channels lie together.
        together = torch.channels_last
        ground = self.view_net(self.bird_eye(view).contiguous(memory_format=together))[-1]
        aerial = self.patch_net(patch.contiguous(memory_format=together))[-1]
        pyramid = CorrelationPyramid.of(ground, aerial, s.levels)
        moves = torch.zeros_like(self.start_corners).expand(view.shape[0], -1, -1)
        places = self.start_places.expand(view.shape[0], -1, -1)
        corners, positions, yaws = [], [], []
        for i in range(s.iterations):
            seen = torch.cat(
                [pyramid.around(places, s.radius), places - self.start_places], dim=-1
            )
            seen = seen.transpose(1, 2).reshape(view.shape[0], -1, *ground.shape[2:])
            moves = moves + self.update(seen) * self.stride
            corners.append(self.start_corners + moves)
            H = homography.from_corners(corners[-1], s.bev_width, s.bev_height)
            position, yaw = self._pose(H)
            positions.append(position)
            yaws.append(yaw)
            if i + 1 < s.iterations:
                places = self._to_cells(homography.project(H, self.cells)).detach()
        with full_precision(view):
            match = torch.einsum('n,bnhw->bhw', self.middle, pyramid.volumes[0])
        return {
            'corners': torch.stack(corners, dim=1),
            'positions': torch.stack(positions, dim=1),
            'yaws': torch.stack(yaws, dim=1),
            'match': match,
        }

    def _pose(self, H: Tensor) -> tuple[Tensor, Tensor]:
        """Position (B, 2) m and yaw offset (B,) rad, in -pi..pi, of homographies (B, 3, 3)."""
        foot, probe = self._to_m(homography.project(H, self.line)).unbind(1)
        ahead = probe - foot
        yaw = torch.atan2(ahead[:, 1], ahead[:, 0]) - self.ahead_yaw
        return foot, (yaw + math.pi).remainder(2 * math.pi) - math.pi

    def _to_m(self, px: Tensor) -> Tensor:
        """Pixels (..., 2) of the patch -> (x, y) m in its frame."""
        s: HcNetSettings = self.settings
        middle = px.new_tensor([(s.patch_width - 1) / 2, (s.patch_height - 1) / 2])
        return (px - middle) * px.new_tensor([s.patch_gsd, -s.patch_gsd])

    def match_cells(self, xy: Tensor, yaw: Tensor) -> Tensor:
        """Where the bird's-eye view's middle lies in `match` if the camera is at a pose.

        Args:
            xy: (B, ..., 2) m.
            yaw: (B,) offset, rad.

        Returns:
            (B, ..., 2) (column, row), cells.
        """
        s: HcNetSettings = self.settings
        c, n = yaw.cos(), yaw.sin()
        dx, dy = self.offset_m[0], self.offset_m[1]
        moved = torch.stack([c * dx - n * dy, n * dx + c * dy], dim=-1)
        moved = moved.view(-1, *([1] * (xy.dim() - 2)), 2)
        cell_m = self.stride * s.patch_gsd
        columns, rows = s.patch_width // self.stride, s.patch_height // self.stride
        at = (xy + moved) / xy.new_tensor([cell_m, -cell_m])
        return at + xy.new_tensor([(columns - 1) / 2, (rows - 1) / 2])

    def belief(self, outputs: Outputs) -> Belief:
        """See `CrossViewModel` and the class."""
        with full_precision(outputs['match']):
            return self._belief(outputs)

    def _belief(self, outputs: Outputs) -> Belief:
        s: HcNetSettings = self.settings
        fitted = self.calibration
        cell_m = s.cell_px * s.patch_gsd
        x, y = self.belief_x, self.belief_y
        rows, columns = y.numel(), x.numel()
        match, xy, yaw = outputs['match'], outputs['positions'][:, -1], outputs['yaws'][:, -1]

        # The heat map on the belief's cells: reading is separable, also when shifted.
        in_x = self.match_cells(torch.stack([x, torch.zeros_like(x)], -1)[None], yaw)[..., 0]
        in_y = self.match_cells(torch.stack([torch.zeros_like(y), y], -1)[None], yaw)[..., 1]
        across = tents(_kept_inside(in_x, match.shape[2]), match.shape[2])
        down = tents(_kept_inside(in_y, match.shape[1]), match.shape[1])
        heat = (down @ match @ across.transpose(1, 2)) * (-fitted['log_temperature']).exp()
        log_heat = _normalised(heat)

        # Confidence: how many times likelier than elsewhere the heat map finds the pose (or the
        # nearest place on the patch).
        at_x = (xy[:, 0] / cell_m + (columns - 1) / 2).clamp(0.0, columns - 1.0)
        at_y = (xy[:, 1] / -cell_m + (rows - 1) / 2).clamp(0.0, rows - 1.0)
        across, down = tents(at_x, columns), tents(at_y, rows)
        confidence = (down[:, None] @ log_heat @ across[:, :, None]).view(-1, 1, 1)
        confidence = confidence + math.log(rows * columns)
        trust = fitted['trust'] + fitted['trust_per_confidence'] * confidence

        # Narrower than its cells, a Gaussian would fall between them.
        variance = (2 * fitted['log_sigma_m']).exp() + (0.5 * cell_m) ** 2
        squares = (x - xy[:, :1]).square()[:, None, :] + (y - xy[:, 1:]).square()[:, :, None]
        log_peak = _normalised(-0.5 * squares / variance)
        direction = yaw[:, None, None]
        logits = torch.logaddexp(
            volume_from_parts(
                log_peak + F.logsigmoid(trust),
                self.yaw_bins,
                direction,
                fitted['log_kappa'].exp(),
            ),
            volume_from_parts(
                log_heat + F.logsigmoid(-trust),
                self.yaw_bins,
                direction,
                fitted['log_kappa_astray'].exp(),
            ),
        )
        pose = torch.cat([xy, yaw[:, None]], dim=1)
        return Belief(logits, cell_m, self.yaw_bins, s.half_yaw_deg >= 180.0, pose)


def _kept_inside(cells: Tensor, size: int) -> Tensor:
    """Places in the outer half of the first and last cell read that cell; others stay."""
    inside = cells.clamp(0.0, size - 1.0)
    return torch.where((cells - inside).abs() <= 0.5 + 1e-4, inside, cells)


def _normalised(logits: Tensor) -> Tensor:
    """(B, h, w) -> log-probabilities."""
    return F.log_softmax(logits.flatten(1), dim=1).view_as(logits)
