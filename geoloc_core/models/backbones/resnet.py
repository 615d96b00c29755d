# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 and -34 (He et al., "Deep Residual Learning", CVPR 2016, table 1), no classifier.

Tensors are named as in torchvision, whose ImageNet weights therefore fit as they are.
"""

from collections.abc import Sequence

from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones.base import Backbone

# Blocks of each layer; a layer but the first begins with stride 2.
DEPTHS = {'resnet18': (2, 2, 2, 2), 'resnet34': (3, 4, 6, 3)}
WIDTHS = (64, 128, 256, 512)
TAPS = ('layer1', 'layer2', 'layer3', 'layer4')


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 one where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Takes channels and the stride of the first convolution."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet(Backbone):
    """A stem of stride 4, then four layers at strides 4, 8, 16 and 32."""

    def __init__(self, name: str, taps: Sequence[str] = TAPS, in_channels: int = 3) -> None:
        """Builds the network with random weights, up to the last tap.

        Args:
            name: One of `DEPTHS`.
            taps: Some of `TAPS`, in that order.
            in_channels: Of the picture.

        Raises:
            ConfigError: An unknown tap, or taps out of order.
        """
        super().__init__()
        order = [TAPS.index(tap) for tap in taps if tap in TAPS]
        if len(order) != len(taps) or not order or sorted(set(order)) != order:
            raise ConfigError(
                f'taps of {name} are {list(taps)}: expected some of {", ".join(TAPS)}, in order'
            )
        self.taps = tuple(order)
        self.channels = tuple(WIDTHS[i] for i in order)
        self.strides = tuple(4 * 2**i for i in order)
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = WIDTHS[0]
        for i in range(order[-1] + 1):
            blocks: list[nn.Module] = []
            for j in range(DEPTHS[name][i]):
                blocks.append(BasicBlock(inputs, WIDTHS[i], 2 if i > 0 and j == 0 else 1))
                inputs = WIDTHS[i]
            setattr(self, TAPS[i], nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, image: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        maps, x = [], self.maxpool(F.relu(self.bn1(self.conv1(image))))
        for i in range(self.taps[-1] + 1):
            x = getattr(self, TAPS[i])(x)
            if i in self.taps:
                maps.append(x)
        return maps
