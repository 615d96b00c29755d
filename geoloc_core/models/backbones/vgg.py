# SPDX-License-Identifier: Apache-2.0
"""VGG16 (Simonyan & Zisserman, ICLR 2015, table 1, column D), without its classifier."""

from collections.abc import Sequence
import re

from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones.base import Backbone

# Channels of each block's convolutions; every block but the first begins with a 2x2 max pooling.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
TAPS = ('block1', 'block2', 'block3', 'block4', 'block5')
DEFAULT_TAPS = ('block1', 'block2', 'block3')


class Vgg16(Backbone):
    """3x3 convolutions and ReLU; block i ends at stride 2^(i - 1). No batch normalisation."""

    def __init__(self, taps: Sequence[str] = DEFAULT_TAPS, in_channels: int = 3) -> None:
        """Builds the network with random weights, up to the last tap.

        Args:
            taps: Some of `TAPS`, in that order.
            in_channels: Of the picture.

        Raises:
            ConfigError: An unknown tap, or taps out of order.
        """
        super().__init__()
        order = [TAPS.index(tap) for tap in taps if tap in TAPS]
        if len(order) != len(taps) or not order or sorted(set(order)) != order:
            raise ConfigError(
                f'taps of vgg16 are {list(taps)}: expected some of {", ".join(TAPS)}, in order'
            )
        self.taps = tuple(order)
        blocks: list[nn.Module] = []
        channels = in_channels
        for i in range(order[-1] + 1):
            layers: list[nn.Module] = [] if i == 0 else [nn.MaxPool2d(2)]
            for outputs in BLOCKS[i]:
                layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                channels = outputs
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.ModuleList(blocks)
        self.channels = tuple(BLOCKS[i][-1] for i in order)
        self.strides = tuple(2**i for i in order)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See `Backbone`. Sides must be multiples of the last stride; the rest is cut off."""
        maps, x = [], image
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                maps.append(x)
        return maps


def vgg_names(name: str) -> str:
    """Our name of a tensor in torchvision's naming, `features.<layer>.<kind>`."""
    found = re.fullmatch(r'features\.(\d+)\.(weight|bias)', name)
    if found is None:
        return name
    # Both count convolutions, activations and poolings alike, they in one list, we block by block
    # with the pooling at the block's beginning rather than at the end of the one before.
    layer, begin = int(found[1]), 0
    for i, widths in enumerate(BLOCKS):
        count = 2 * len(widths) + (i > 0)
        if layer < begin + count:
            return f'blocks.{i}.{layer - begin}.{found[2]}'
        begin += count
    return name
