# SPDX-License-Identifier: Apache-2.0
"""Features of a picture at several scales by a U-Net on a backbone (G2SWeakly, section 3.1).

Published on the first three blocks of VGG16; any backbone of `backbones.registry` may be put in
their place. Level l lies at stride 2^(3 - l): 8, 4, 2, 1.
"""

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import make_backbone
from geoloc_core.models.backbones.circular import make_circular
from geoloc_core.models.backbones.efficientnet import DEFAULT_TAPS as EFFICIENTNET_TAPS
from geoloc_core.models.backbones.vgg import TAPS as VGG_TAPS
from geoloc_core.models.template_matching import unit_rms

Levels = dict[int, Tensor]
_LEVELS = {8: 0, 4: 1, 2: 2, 1: 3}
_STRIDES = {tap: 2**i for i, tap in enumerate(VGG_TAPS)}
_STRIDES |= {tap: 2 ** (i + 1) for i, tap in enumerate(EFFICIENTNET_TAPS)}


def stride_of(level: int) -> int:
    """Side of a level's cells, px of the picture."""
    return 2 ** (3 - level)


class UpStage(nn.Module):
    """Twice the size, joined with the encoder's map of that size, two convolutions."""

    def __init__(self, below: int, skip: int, channels: int) -> None:
        """Takes the channels of the map below, of the encoder's map, and of the result."""
        super().__init__()
        middle = 2 * channels
        self.first = nn.Conv2d(below + skip, middle, 3, padding=1, bias=False)
        self.second = nn.Conv2d(middle, channels, 3, padding=1, bias=False)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """(B, below, H, W), (B, skip, 2 H, 2 W) -> (B, channels, 2 H, 2 W), any sign."""
        up = F.interpolate(below, scale_factor=2.0, mode='nearest')
        joined = torch.cat([F.relu(up), skip], dim=1)
        second: Tensor = self.second(F.relu(self.first(joined)))
        return second


class UNetFeatures(nn.Module):
    """Maps at the wanted levels and, for views, how much to trust their cells.

    What no wanted level needs is not built.

    Attributes:
        channels: Level -> channels.
    """

    def __init__(
        self,
        backbone: str,
        levels: Sequence[int],
        widths: Sequence[int],
        *,
        weights: str | None = None,
        deepest: int = 8,
        circular: bool = False,
        confidence: bool = False,
    ) -> None:
        """Builds the network.

        Args:
            backbone: See `make_backbone`.
            levels: Some of 0..3.
            widths: Channels of the levels 0..3; level 0 has the encoder's own if it ends there.
            weights: Of the backbone.
            deepest: Stride at which the encoder ends.
            circular: Whether columns wrap.
            confidence: Whether to give confidences.

        Raises:
            ConfigError: An unknown level, or an encoder that has no map at `deepest`.
        """
        super().__init__()
        self.levels = tuple(sorted(levels))
        self._deepest = deepest
        taps: tuple[str, ...] = VGG_TAPS if backbone.startswith('vgg') else EFFICIENTNET_TAPS
        # VGG's blocks end before the pooling that makes the next stride.
        self._pooled = backbone.startswith('vgg')
        most = deepest // 2 if self._pooled else deepest
        taps = tuple(tap for tap in taps if _STRIDES[tap] <= most)
        if not taps or _STRIDES[taps[-1]] != most or deepest < stride_of(self.levels[0]):
            raise ConfigError(
                f'an encoder {backbone} that ends at stride {deepest} gives no level '
                f'{self.levels[0]}, which has stride {stride_of(self.levels[0])}'
            )
        finest = stride_of(self.levels[-1])
        kept = [tap for tap in taps if _STRIDES[tap] >= finest]
        self.encoder = make_backbone(backbone, weights=weights, taps=kept or [taps[-1]])
        found = dict(zip(self.encoder.strides, self.encoder.channels, strict=True))
        below, stride = self.encoder.channels[-1], deepest
        self.channels: dict[int, int] = {}
        self.stages = nn.ModuleDict()
        self.trust = nn.ModuleDict()
        while stride >= finest:
            level = _LEVELS.get(stride)
            if stride < deepest:
                # Above level 0 there are no published widths: as many channels as level 0.
                width = widths[0] if level is None else widths[level]
                self.stages[str(stride)] = UpStage(below, found.get(stride, 3), width)
                below = width
            if level is not None and level in self.levels:
                self.channels[level] = below
                if confidence:
                    self.trust[str(level)] = nn.Conv2d(below, 1, 3, padding=1)
            stride //= 2
        if circular:
            make_circular(self)

    def map_sizes(self, height: int, width: int) -> dict[int, tuple[int, int]]:
        """Level -> (rows, columns) of the maps of a picture.

        Raises:
            ConfigError: The sides are no multiples of the deepest stride.
        """
        if height % self._deepest or width % self._deepest:
            raise ConfigError(
                f'a picture of {height} x {width} px does not divide by the stride '
                f'{self._deepest} of the encoder: change its size'
            )
        return {k: (height // stride_of(k), width // stride_of(k)) for k in self.levels}

    def forward(self, image: Tensor) -> tuple[Levels, Levels]:
        """Features and confidences.

        Args:
            image: (B, 3, H, W), normalised.

        Returns:
            Level -> (B, C, H / stride, W / stride) float32 of unit root mean square; and level ->
            (B, 1, ...) float32 between 0.27 and 0.5, empty without confidence.
        """
        maps = dict(zip(self.encoder.strides, self.encoder(image), strict=True))
        x = maps[max(maps)]
        if self._pooled:
            x = F.max_pool2d(x, 2)
        features: Levels = {}
        confidences: Levels = {}
        stride = self._deepest
        while True:
            if str(stride) in self.stages:
                skip = maps.get(stride)
                if skip is None:
                    # A backbone whose stem halves at once has no map this fine: the picture.
                    skip = F.avg_pool2d(image, stride) if stride > 1 else image
                x = self.stages[str(stride)](x, skip)
            level = _LEVELS.get(stride)
            if level is not None and level in self.levels:
                features[level] = unit_rms(x)
                if str(level) in self.trust:
                    score = self.trust[str(level)](x).float()
                    confidences[level] = torch.sigmoid(-torch.sigmoid(score))
            if stride <= stride_of(self.levels[-1]):
                return features, confidences
            stride //= 2
