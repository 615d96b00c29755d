# SPDX-License-Identifier: Apache-2.0
"""Localization matching upsampling (LUM): a fused map grows to a heat map of the patch.

At each of five sizes the map is compared with the ground features of that scale, cell by cell,
and continued together with the outcome, the aerial features of that size and, as guidance, the
semantic mask. The ground features keep the panorama's layout: its left edge is laid on the map's
left edge, its sky on the map's upper edge. That is the published method, which leaves geometry to
be learned.
"""

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.nn import functional as F

_EPS = 1e-6


def cosine_map(a: Tensor, b: Tensor) -> Tensor:
    """(B, 1, H, W) cosine between the vectors of two maps (B, C, H, W) in each cell."""
    a32, b32 = a.float(), b.float()
    dot = (a32 * b32).sum(dim=1, keepdim=True)
    squares = a32.square().sum(dim=1, keepdim=True) * b32.square().sum(dim=1, keepdim=True)
    return (dot / squares.clamp_min(_EPS**2).sqrt()).to(a.dtype)


def double_conv(inputs: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with a ReLU, and dropout after them."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Dropout(dropout))


class MatchingStage(nn.Module):
    """One size of the decoder."""

    def __init__(
        self, width: int, view: int, patch: int, out: int, guided: bool, dropout: float
    ) -> None:
        """Builds a stage.

        Args:
            width: Channels of the map that arrives.
            view: Channels of the ground features.
            patch: Channels of the aerial features.
            out: Channels of the result.
            guided: Whether a mask is part of the input.
            dropout: Of the result.
        """
        super().__init__()
        self.view_adapt = nn.Conv2d(view, width, 1)
        self.patch_skip = nn.Conv2d(patch, patch, 1)
        self.convs = double_conv(width + 1 + patch + guided, out, dropout)

    def forward(self, x: Tensor, view: Tensor, patch: Tensor, mask: Tensor | None) -> Tensor:
        """Compares and continues.

        Args:
            x: (B, width, h, w).
            view: (B, view, rows, columns).
            patch: (B, patch, h, w).
            mask: (B, 1, H, W), H and W multiples of h and w; None without guidance.

        Returns:
            (B, out, h, w).
        """
        ground = F.interpolate(
            self.view_adapt(view), size=x.shape[-2:], mode='bilinear', align_corners=False
        )
        parts = [x, cosine_map(x, ground), self.patch_skip(patch)]
        if mask is not None:
            # The share of a cell that is covered: unlike its nearest pixel, it lies in the middle.
            factor = mask.shape[-1] // x.shape[-1]
            parts.append(F.avg_pool2d(mask, factor))
        out: Tensor = self.convs(torch.cat(parts, dim=1))
        return out


class MatchingDecoder(nn.Module):
    """A fused map at the smallest size -> a heat map of the patch's pixels."""

    def __init__(
        self,
        width: int,
        view: Sequence[int],
        patch: Sequence[int],
        widths: Sequence[int] = (512, 640, 320, 160, 80, 40, 16),
        guided: bool = True,
        dropout: float = 0.3,
    ) -> None:
        """Builds the decoder.

        Args:
            width: Channels of the fused map.
            view: Channels of the ground features, the coarsest scale first.
            patch: Channels of the aerial features, likewise.
            widths: Of the entry, of each stage, and of the last layer at full size.
            guided: Whether a mask guides it.
            dropout: Of each stage.
        """
        super().__init__()
        self.entry = double_conv(width, widths[0])
        self.stages = nn.ModuleList()
        self.ups = nn.ModuleList()
        arriving = widths[0]
        for i, out in enumerate(widths[1:-1]):
            self.stages.append(MatchingStage(arriving, view[i], patch[i], out, guided, dropout))
            arriving = widths[i + 2]
            self.ups.append(nn.ConvTranspose2d(out, arriving, 2, stride=2))
        self.last = nn.Sequential(
            nn.Conv2d(arriving, arriving, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(arriving, 1, 3, padding=1),
        )

    def forward(
        self, fused: Tensor, view: Sequence[Tensor], patch: Sequence[Tensor], mask: Tensor | None
    ) -> Tensor:
        """The heat map.

        Args:
            fused: (B, width, h, w).
            view: Ground features, the coarsest first.
            patch: Aerial features, the coarsest, (B, _, h, w), first; each twice the size of the
                one before.
            mask: (B, 1, H, W) 0..1, or None without guidance.

        Returns:
            (B, H, W) logits, H = h * 2 ** stages.
        """
        x = self.entry(fused)
        for stage, up, ground, aerial in zip(self.stages, self.ups, view, patch, strict=True):
            x = up(stage(x, ground, aerial, mask))
        heat: Tensor = self.last(x)
        return heat[:, 0]
