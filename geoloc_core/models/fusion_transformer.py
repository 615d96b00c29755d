# SPDX-License-Identifier: Apache-2.0
"""The fusion transformer: cross-attention between panorama and aerial patch, then a heat map.

"CVM-VIGOR" of a master's thesis of the National Taipei University of Technology (repository
NTUT-Thesis). Two EfficientNets, the panorama's with columns that wrap, give maps at five strides;
the deepest two are joined by `TransformerFusionBlock`; `MatchingDecoder` grows the outcome to a
heat map of the patch's pixels, guided by a semantic mask; `MixStyle` exchanges styles on the way.

The published network answers with a place and no yaw. Here `RayYawHead` adds one: it compares the
panorama's columns with the aerial features along the rays around every cell, so a place of the
heat map has a yaw of its own, and a panorama that is rolled turns the answer by as much. It
shares the backbones and changes nothing else: with `yaw_head: false`, or with weight 0 for its
loss, the published method is left. The head adds 34 401 parameters.

Differences from the released code:
- Its published count of 32.70 M includes the ImageNet classifiers of both backbones (head of
  1280 channels and 1000 classes, 1.693 M each), which are never run. They are not built here,
  which leaves 29.31 M; with them it would be the published count.
- Maps are tapped where a stride ends, not at its first block; sizes and channels are the same.
- The mask is averaged over cells rather than read at each cell's nearest pixel, which lies off
  its middle.
- What divides the logits before the softmax is each sample's own peak, not the batch's
  (`training.objectives.fusion_transformer` has both).
- Where our notes on the method leave a layer of the decoder open (its entry, the steps between
  sizes), it is the one with which the published count comes out to the last of its digits.
"""

from typing import cast

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.anchor_fusion import TransformerFusionBlock
from geoloc_core.models.backbones import Backbone, make_backbone
from geoloc_core.models.backbones.efficientnet import TAPS
from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import Belief, evenly_spaced_yaws, peak_pose, volume_from_parts
from geoloc_core.models.fusion_transformer_settings import FusionTransformerSettings
from geoloc_core.models.matching_decoder import MatchingDecoder
from geoloc_core.models.mixstyle import MixStyle
from geoloc_core.models.ray_yaw import circular_cubic, RayYawHead

# Logits are divided by their peak, but never by less than this.
_LEAST_PEAK = 0.05
CLASSES = 'patch_classes'


def scaled_by_peak(heat: Tensor, over_batch: bool = False) -> Tensor:
    """Logits divided by their largest one, which is a constant to the gradient.

    Args:
        heat: (B, H, W).
        over_batch: Divide all by the largest of the batch, as the released code does; the
            answer to a sample then depends on its neighbours.
    """
    peak = heat.detach().amax(dim=(1, 2), keepdim=True)
    if over_batch:
        peak = peak.amax(dim=0, keepdim=True)
    return heat / peak.clamp_min(_LEAST_PEAK)


class FusionTransformer(CrossViewModel):
    """The fusion transformer, with a yaw.

    `forward` gives `heat` (B, H, W), logits of the place on the patch's pixels; `yaw_scores`
    (B, N, h, w) if there is a yaw head, see `RayYawHead`; and while `keep_attention` is True
    `attention_view` and `attention_patch`, see `TransformerFusionBlock`.

    The belief is the heat map's softmax as it was trained (divided by its peak and a temperature,
    which is fitted on validation data) with, at each place, the softmax of the yaw scores. Without
    the head yaw is a von Mises around the prior's. Its pose is the highest pixel, as published.

    Attributes:
        keep_attention: May be switched at any time, e.g. for pictures of a trained network.
    """

    NAME = 'fusion_transformer'
    Settings = FusionTransformerSettings
    yaw_bins: Tensor
    yaw_reading: Tensor

    def __init__(self, settings: FusionTransformerSettings) -> None:
        """Builds the network.

        Raises:
            ConfigError: Settings that do not fit together.
        """
        super().__init__(settings, settings.inputs)
        s = settings
        # Part of the interface only where it is used: robots seldom have such a mask.
        self.EXTRA_INPUTS = (CLASSES,) if s.mask_guidance else ()  # type: ignore[misc]
        self.keep_attention = s.keep_attention
        self.mixstyle = MixStyle(
            s.mixstyle_probability, s.mixstyle_alpha, s.mixstyle_partners, s.mixstyle_detach
        )
        self.view_net = self._branch(circular=True)
        self.patch_net = self._branch(circular=False)
        channels, strides = self.view_net.channels, self.view_net.strides
        if strides != tuple(2 ** (i + 1) for i in range(len(s.taps))):
            raise ConfigError(
                f'fusion_transformer: taps {s.taps} have strides {strides}, expected 2, 4, 8 ...'
            )
        view, patch = (s.view_height, s.view_width), (s.patch_height, s.patch_width)
        self.fusion = TransformerFusionBlock(
            (channels[-1], channels[-1]),
            s.fusion_width,
            (view[0] // strides[-1], view[1] // strides[-1]),
            (patch[0] // strides[-1], patch[1] // strides[-1]),
            s.anchors,
            s.layers,
            s.heads,
            dropout=s.fusion_dropout,
        )
        coarsest_first = channels[::-1]
        self.decoder = MatchingDecoder(
            s.fusion_width,
            coarsest_first,
            coarsest_first,
            s.widths,
            s.mask_guidance,
            s.decoder_dropout,
        )
        self.yaw: RayYawHead | None = None
        yaws = evenly_spaced_yaws(s.yaw_bins, s.half_yaw_deg)
        self.register_buffer('yaw_bins', yaws, persistent=False)
        if s.yaw_head:
            self._level = strides.index(s.yaw_stride)
            pair = (channels[self._level], channels[self._level + 1])
            self.yaw = RayYawHead(
                pair,
                pair,
                (view[0] // s.yaw_stride, view[1] // s.yaw_stride),
                (patch[0] // s.yaw_stride, patch[1] // s.yaw_stride),
                s.yaw_stride * s.patch_gsd,
                s.yaw_radii_m,
                s.yaw_channels,
            )
            reading = circular_cubic(yaws, self.yaw.bins)
            self.register_buffer('yaw_reading', reading, persistent=False)
        self.calibration['log_temperature'] = nn.Parameter(torch.tensor(0.1).log())
        # Of the yaw scores, which are logits already, or of the von Mises around the prior's yaw.
        start = 1.0 if s.yaw_head else 100.0
        self.calibration['log_kappa'] = nn.Parameter(torch.tensor(start).log())

    def _branch(self, circular: bool) -> Backbone:
        """A backbone with MixStyle at the end of the stages that the settings name."""
        s: FusionTransformerSettings = self.settings
        net = make_backbone(s.backbone, weights=s.weights, circular=circular, taps=s.taps)
        stages = cast(nn.ModuleList, net.stages)
        for tap in s.mixstyle_after:
            if tap == 'stem':
                raise ConfigError('fusion_transformer: mixstyle_after takes stages, not the stem')
            cast(nn.Sequential, stages[TAPS.index(tap) - 1]).append(self.mixstyle)
        return net

    def forward(self, view: Tensor, patch: Tensor, **extra: Tensor) -> Outputs:
        """See the class.

        Args:
            view: (B, 3, H, W) normalised panorama, its middle column looking north.
            patch: (B, 3, h, w) normalised, north-up.
            extra: With mask guidance `patch_classes` (B, 1, h, w), 1 where the class is, else 0.

        Raises:
            ConfigError: The mask is missing.
        """
        s: FusionTransformerSettings = self.settings
        mask = extra.get(CLASSES) if s.mask_guidance else None
        if s.mask_guidance and mask is None:
            raise ConfigError(
                f'fusion_transformer is guided by a mask: give {CLASSES} (B, 1, h, w), zeros '
                'where none is known, or set mask_guidance: false and train without'
            )
        ground, aerial = self.view_net(view), self.patch_net(patch)
        fused, attention = self.fusion(ground[-1], aerial[-1], self.keep_attention)
        heat = self.decoder(fused, ground[::-1], aerial[::-1], mask)
        outputs = {'heat': heat.float(), **attention}
        if self.yaw is not None:
            pair = slice(self._level, self._level + 2)
            outputs['yaw_scores'] = self.yaw(ground[pair], aerial[pair])
        return outputs

    def belief(self, outputs: Outputs) -> Belief:
        """See `CrossViewModel`."""
        s: FusionTransformerSettings = self.settings
        heat = outputs['heat']
        height, width = s.patch_height // s.cell_px, s.patch_width // s.cell_px
        scaled = scaled_by_peak(heat) / self.calibration['log_temperature'].exp()
        blocks = scaled.view(-1, height, s.cell_px, width, s.cell_px).transpose(2, 3).flatten(3)
        log_xy = blocks.logsumexp(dim=3)
        kappa = self.calibration['log_kappa'].exp()
        if self.yaw is None:
            straight = torch.zeros_like(log_xy[:, :1, :1])
            logits = volume_from_parts(log_xy, self.yaw_bins, straight, kappa)
        else:
            at_bins = torch.einsum('kn,bnyx->bkyx', self.yaw_reading, outputs['yaw_scores'])
            at_cells = F.interpolate(
                at_bins, size=(height, width), mode='bilinear', align_corners=False
            )
            logits = log_xy[:, None] + F.log_softmax(kappa * at_cells, dim=1)
        belief = Belief(logits, s.cell_px * s.patch_gsd, self.yaw_bins, s.half_yaw_deg >= 180.0)
        if torch.compiler.is_exporting():
            return belief
        return Belief(
            logits, belief.cell_m, self.yaw_bins, belief.closed, self._highest(heat, belief)
        )

    def _highest(self, heat: Tensor, belief: Belief) -> Tensor:
        """(B, 3) pose of the highest pixel, with the best yaw of its cell."""
        s: FusionTransformerSettings = self.settings
        height, width = heat.shape[-2:]
        best = heat.flatten(1).argmax(dim=1)
        row, column = best // width, best % width
        index = torch.arange(heat.shape[0], device=heat.device)
        there = belief.logits[index, :, row // s.cell_px, column // s.cell_px]
        yaw = peak_pose(
            Belief(there[:, :, None, None], belief.cell_m, belief.yaws, belief.closed)
        )[:, 2]
        x = (column - (width - 1) / 2) * s.patch_gsd
        y = ((height - 1) / 2 - row) * s.patch_gsd
        return torch.stack([x, y, yaw.to(x.dtype)], dim=1)
