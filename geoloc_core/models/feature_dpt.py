# SPDX-License-Identifier: Apache-2.0
"""Features of a picture from a frozen vision transformer by a dense prediction head.

References: Ranftl et al., "Vision transformers for dense prediction" (DPT), ICCV 2021, section 3;
used on DINOv2 (Oquab et al., 2023) by GeoDistill (Tong et al., ICCV 2025). Published: four depths
of ViT-B/14, patch tokens beside the class token (1536 channels), 38.9 M parameters a head.
"""

from collections.abc import Sequence

from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import Backbone
from geoloc_core.models.backbones.circular import make_circular
from geoloc_core.models.feature_unet import Levels
from geoloc_core.models.template_matching import unit_rms


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions beside a short cut."""

    def __init__(self, channels: int) -> None:
        """Takes the channels, in and out."""
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        changed: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + changed


class Fusion(nn.Module):
    """Adds one depth's map to what came from below it, and refines the sum."""

    def __init__(self, channels: int, deepest: bool) -> None:
        """Takes the channels; the deepest one has nothing below it."""
        super().__init__()
        self.side = None if deepest else ResidualUnit(channels)
        self.unit = ResidualUnit(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, below: Tensor | None) -> Tensor:
        """(B, C, H, W) maps of one size."""
        if below is not None and self.side is not None:
            x = below + self.side(x)
        fused: Tensor = self.out(self.unit(x))
        return fused


class DptHead(nn.Module):
    """Maps of four depths -> levels 0, 1, 2 at 2, 4 and 8 times their size."""

    def __init__(
        self, inputs: Sequence[int], width: int, levels: Sequence[int], widths: Sequence[int]
    ) -> None:
        """Builds the head.

        Args:
            inputs: Channels of each depth, the shallowest first.
            width: Channels inside; published: 512.
            levels: Some of 0..2.
            widths: Channels of the levels.
        """
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in inputs)
        last = len(inputs) - 1
        self.fuse = nn.ModuleList(Fusion(width, i == last) for i in range(len(inputs)))
        self.out = nn.ModuleDict(
            {str(k): nn.Conv2d(width, widths[k], 3, padding=1) for k in levels}
        )

    def forward(self, maps: Sequence[Tensor]) -> Levels:
        """Level -> (B, C, rows, columns)."""
        below: Tensor | None = None
        for x, project, fuse in reversed(list(zip(maps, self.project, self.fuse, strict=True))):
            x = F.interpolate(project(x), scale_factor=2.0, mode='bilinear', align_corners=False)
            below = fuse(x, below)
        assert below is not None
        out: Levels = {}
        for name, layer in self.out.items():
            level, x = int(name), below
            if level:
                scale = float(2**level)
                x = F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)
            out[level] = layer(x)
        return out


class DptFeatures(nn.Module):
    """A frozen encoder, shared by view and patch, with a head of their own.

    Pictures are resized to whole tokens where published code pads them by zeros: the maps then
    cover exactly the picture, so that their cells have one size, which is known, and a panorama's
    seam stays closed. (The released code took the padded 518 px for 512.)

    Attributes:
        channels: Level -> channels.
    """

    def __init__(
        self,
        encoder: Backbone,
        levels: Sequence[int],
        widths: Sequence[int],
        *,
        width: int = 512,
        circular: bool = False,
    ) -> None:
        """Builds the head; the encoder is not trained, nor part of this module's own weights.

        Args:
            encoder: Gives maps of one stride from several depths.
            levels: Some of 0..2.
            widths: Channels of the levels 0..2.
            width: Channels inside the head.
            circular: Whether the head's columns wrap.

        Raises:
            ConfigError: Depths of different strides, or a level that is too fine.
        """
        super().__init__()
        strides = set(encoder.strides)
        if len(strides) != 1 or not set(levels) <= {0, 1, 2}:
            raise ConfigError(
                f'a DPT head needs maps of one stride and levels of 0, 1, 2: got the strides '
                f'{sorted(strides)} and the levels {sorted(levels)}'
            )
        self.levels = tuple(sorted(levels))
        self.stride = strides.pop()
        # In a list, so that two heads on one encoder do not own it twice.
        self._encoder = [encoder]
        self.head = DptHead(encoder.channels, width, self.levels, widths)
        self.channels = {k: widths[k] for k in self.levels}
        if circular:
            make_circular(self.head)

    def _tokens(self, height: int, width: int) -> tuple[int, int]:
        return max(1, round(height / self.stride)), max(1, round(width / self.stride))

    def map_sizes(self, height: int, width: int) -> dict[int, tuple[int, int]]:
        """Level -> (rows, columns) of the maps of a picture."""
        rows, columns = self._tokens(height, width)
        return {k: (rows * 2 ** (k + 1), columns * 2 ** (k + 1)) for k in self.levels}

    def forward(self, image: Tensor) -> tuple[Levels, Levels]:
        """Features of unit root mean square, and no confidences; see `UNetFeatures.forward`."""
        rows, columns = self._tokens(image.shape[-2], image.shape[-1])
        size = (rows * self.stride, columns * self.stride)
        if size != tuple(image.shape[-2:]):
            image = F.interpolate(image, size=size, mode='bilinear', align_corners=False)
        maps = self.head(self._encoder[0](image))
        return {k: unit_rms(x) for k, x in maps.items()}, {}
