# SPDX-License-Identifier: Apache-2.0
"""One fine map from a backbone's many: a feature pyramid (Lin et al., CVPR 2017)."""

from collections.abc import Sequence

from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.models.backbones import Backbone, make_backbone
from geoloc_core.models.backbones.circular import make_circular


class FeaturePyramid(nn.Module):
    """Merges maps from coarse to fine; gives the finest.

    Coarse maps are enlarged by repetition, so that a cylinder's columns stay equal.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        """Makes the layers.

        Args:
            channels: Of the maps, the finest first.
            width: Channels of the answer.
        """
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, width, h, w) of the finest map's size.

        Args:
            maps: (B, channels[i], h_i, w_i), the finest first.
        """
        merged: Tensor = self.lateral[-1](maps[-1])
        for layer, fine in zip(reversed(self.lateral[:-1]), reversed(maps[:-1]), strict=True):
            own: Tensor = layer(fine)
            merged = own + F.interpolate(merged, size=own.shape[-2:], mode='nearest')
        smoothed: Tensor = self.smooth(merged)
        return smoothed


class PyramidEncoder(nn.Module):
    """A backbone with its pyramid.

    Attributes:
        stride: px of the picture for a cell of the answer.
    """

    def __init__(
        self, name: str, weights: str | None, taps: Sequence[str], width: int, circular: bool
    ) -> None:
        """Makes both; see `make_backbone` for the names, `FeaturePyramid` for the width.

        Raises:
            ConfigError: As `make_backbone`.
        """
        super().__init__()
        self.backbone: Backbone = make_backbone(
            name, weights=weights, taps=taps, circular=circular
        )
        self.pyramid = FeaturePyramid(self.backbone.channels, width)
        if circular:
            make_circular(self.pyramid)
        self.stride = self.backbone.strides[0]

    def forward(self, image: Tensor) -> Tensor:
        """(B, width, H / stride, W / stride) of (B, 3, H, W) pictures."""
        merged: Tensor = self.pyramid(self.backbone(image))
        return merged
