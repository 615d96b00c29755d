# SPDX-License-Identifier: Apache-2.0
"""CCVPE: convolutional cross-view pose estimation (Xia, Booij, Kooij, T-PAMI 2024).

Descriptors of the ground view are compared with the aerial one under every turn, from coarse cells
to fine ones; a decoder makes one heat map of that, another one a field of directions.

The published network carries the ImageNet classifiers of both its backbones (1.281 M parameters
each) without using them: 57.40 M, of which 54.83 M do something and are built here. The rolled
maps of the original are not: see `RollingMatch`.
"""

from collections.abc import Sequence
import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import make_backbone
from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import Belief, evenly_spaced_yaws, volume_from_parts
from geoloc_core.models.ccvpe_settings import ccvpe_inputs, CcvpeSettings, STRIDE
from geoloc_core.models.rolling_match import RollingMatch, ViewDescriptors

_BELIEF_SIDE = 128
# Least mass of a cell, and least weight of a direction; a pixel at the top has 1.
_FLOOR, _SOME = 1e-20, 1e-6


class Ccvpe(CrossViewModel):
    """CCVPE; `forward` also takes a mask of the view's columns, for limited fields of view."""

    NAME = 'ccvpe'
    Settings = CcvpeSettings

    def __init__(self, settings: CcvpeSettings) -> None:
        """Builds the network.

        Args:
            settings: Its sizes and backbone.

        Raises:
            ConfigError: A backbone without maps at stride 32, or weights that do not fit.
        """
        super().__init__(settings, ccvpe_inputs(settings))
        s = settings
        name = s.backbone
        taps = None
        if name.startswith('efficientnet'):
            taps = ('stage1', 'stage2', 'stage3', 'stage5', 'stage7', 'head')
        channels = 4 if s.with_mask else 3
        self.view_net, self.patch_net = (
            make_backbone(
                name, weights=s.weights, in_channels=channels, taps=taps, circular=circular
            )
            for circular in (s.camera == 'panorama', False)
        )
        strides = self.patch_net.strides
        if strides[-1] != STRIDE:
            raise ConfigError(
                f'CCVPE needs a backbone with maps down to stride {STRIDE}, the deepest of '
                f'{name} is at {strides[-1]}: use an EfficientNet, a ResNet or a ConvNeXt'
            )
        depth = self.patch_net.channels[-1]
        view_columns = s.view_size[0] // STRIDE
        circle = view_columns * s.bins // s.view_bins
        lengths = [circle * n for n in s.descriptor_channels]
        self.descriptor_columns = view_columns
        self.descriptors = ViewDescriptors(depth, s.view_size[1] // STRIDE, s.descriptor_channels)
        self.match = RollingMatch(circle, view_columns, s.bins, s.half_yaw_deg)
        # Patches of 2x2 cells, joined linearly.
        self.cells = nn.Conv2d(depth, lengths[0], 2, stride=2)
        # Of each stride, the first tap: EfficientNet's last stage rather than its head.
        self.skip_index = [
            strides.index(stride) if stride in strides else None for stride in (32, 16, 8, 4, 2)
        ]
        skips = [0 if i is None else self.patch_net.channels[i] for i in self.skip_index]
        self.place = UpsamplingStages(
            [n + 1 for n in lengths], [s.first_width, *lengths[2:], 16], lengths[1:], skips, 1
        )
        w = s.orientation_widths
        self.direction = UpsamplingStages(
            [lengths[0] + s.bins, *w[:-1]], [s.first_width, *w[1:]], w[:-1], skips, 2
        )
        self.register_buffer('yaws', evenly_spaced_yaws(s.yaw_bins, s.half_yaw_deg), False)
        slots = self.match.turns % s.bins
        self.register_buffer('slots', torch.eye(s.bins)[slots].T.contiguous(), False)
        # Widths of the belief: heat maps trained on Gaussians of 4 px are about right, directions
        # are right to 10 deg or so where they are right at all.
        self.calibration['log_temperature'] = nn.Parameter(torch.zeros(()))
        self.calibration['log_kappa'] = nn.Parameter(torch.tensor(math.log(30.0)))
        self.calibration['astray'] = nn.Parameter(torch.tensor(-3.0))

    yaws: Tensor
    slots: Tensor

    def forward(  # type: ignore[override]
        self, view: Tensor, patch: Tensor, descriptor_mask: Tensor | None = None
    ) -> Outputs:
        """Heat map, directions and all similarities.

        Args:
            view: (B, C, H, W) normalised.
            patch: (B, C, h, w) normalised.
            descriptor_mask: (B, `descriptor_columns`) weights of the view's columns, or None:
                columns at 0 are not compared at any level.

        Returns:
            heat (B, h, w): logits of the place; direction (B, 2, h, w): unit vectors, cosine and
            sine of the yaw offset; scores_0 to scores_5 (B, n, h_i, w_i): similarities for
            each of `match.turns`, from h / 64 cells to h / 2.
        """
        descriptors = self.descriptors(self.view_net(view)[-1])
        maps = self.patch_net(patch)
        skips = [None if i is None else maps[i] for i in self.skip_index]
        outputs: Outputs = {}
        x = self.cells(maps[-1])
        for level, descriptor in enumerate(descriptors):
            x = F.normalize(x.float(), dim=1)
            scores = self.match(descriptor, x, descriptor_mask)
            outputs[f'scores_{level}'] = scores
            if level == 0:
                # Turns that are not compared have a channel nevertheless, so that weights serve
                # with any prior.
                every = torch.einsum('kn,bnhw->bkhw', self.slots, scores)
                field = self.direction(torch.cat([every, x], dim=1), skips)
            best = scores.amax(dim=1, keepdim=True)
            x = self.place.stage(level, torch.cat([best, x], dim=1), skips)
        outputs['heat'] = x[:, 0]
        outputs['direction'] = F.normalize(field, dim=1)
        return outputs

    def belief(self, outputs: Outputs) -> Belief:
        """The heat map in cells of at most 1/128 of the patch, each with its mean direction.

        The pose is the published one: the highest pixel and the direction there.
        """
        heat, field = outputs['heat'].float(), outputs['direction'].float()
        side = self.settings.patch_side
        factor = max(1, side // _BELIEF_SIDE)
        c = self.calibration
        sharp = heat[:, None] * torch.exp(-c['log_temperature'])
        p = torch.exp(sharp - sharp.amax(dim=(1, 2, 3), keepdim=True))
        mass = F.avg_pool2d(p, factor)
        # Where there is next to no mass, the plain mean: its angle has a gradient.
        mean = F.avg_pool2d((p + _SOME) * field, factor)
        angle = torch.atan2(mean[:, 1], mean[:, 0])
        log_xy = torch.log(mass[:, 0] + _FLOOR)
        volume = volume_from_parts(log_xy, self.yaws, angle, torch.exp(c['log_kappa']))
        # Some directions are simply wrong: a share of each place's mass lies on all yaws alike.
        kept, lost = F.logsigmoid(-c['astray']), F.logsigmoid(c['astray'])
        even = (log_xy + lost - math.log(len(self.yaws)))[:, None]
        high = torch.maximum(volume + kept, even)
        volume = high + torch.log(torch.exp(volume + kept - high) + torch.exp(even - high))
        return Belief(
            volume,
            self.settings.patch_gsd * factor,
            self.yaws,
            self.settings.half_yaw_deg >= 180.0,
            self._pose(heat, field),
        )

    def _pose(self, heat: Tensor, field: Tensor) -> Tensor:
        """(B, 3) of the highest pixel."""
        batch, height, width = heat.shape
        best = heat.flatten(1).argmax(dim=1)
        v, u = best // width, best % width
        vector = field.flatten(2).gather(2, best.view(batch, 1, 1).expand(-1, 2, 1))[..., 0]
        gsd = self.settings.patch_gsd
        x = (u - (width - 1) / 2) * gsd
        y = ((height - 1) / 2 - v) * gsd
        return torch.stack([x, y, torch.atan2(vector[:, 1], vector[:, 0])], dim=1)


class UpsamplingStages(nn.Module):
    """Six doublings of the side, joined by the aerial backbone's maps (a U-Net's decoder)."""

    def __init__(
        self,
        inputs: Sequence[int],
        widths: Sequence[int],
        outputs: Sequence[int],
        skips: Sequence[int],
        last: int,
    ) -> None:
        """Builds the stages.

        Args:
            inputs: Channels that each of the six stages gets.
            widths: Channels after each doubling.
            outputs: Channels of the first five stages' results.
            skips: Channels joined to the first five, 0 for none.
            last: Channels of the last stage's result.
        """
        super().__init__()
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in zip(inputs, widths, strict=True)
        )
        joined = [(w + s, out) for w, s, out in zip(widths, skips, outputs, strict=False)]
        stages = [nn.Sequential(*_conv(a, b), *_conv(b, b)) for a, b in joined]
        stages.append(nn.Sequential(*_conv(widths[-1], 16), nn.Conv2d(16, last, 3, padding=1)))
        self.join = nn.ModuleList(stages)

    def stage(self, level: int, x: Tensor, skips: Sequence[Tensor | None]) -> Tensor:
        """(B, inputs[level], h, w) -> (B, outputs[level], 2 h, 2 w)."""
        x = self.up[level](x)
        skip = skips[level] if level < len(skips) else None
        joined: Tensor = self.join[level](x if skip is None else torch.cat([x, skip], dim=1))
        return joined

    def forward(self, x: Tensor, skips: Sequence[Tensor | None]) -> Tensor:
        """All stages in line: (B, inputs[0], h, w) -> (B, last, 64 h, 64 w)."""
        for level in range(len(self.up)):
            x = self.stage(level, x, skips)
        return x


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)
