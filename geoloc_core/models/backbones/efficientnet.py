# SPDX-License-Identifier: Apache-2.0
"""EfficientNet (Tan & Le, ICML 2019, tables 1 and sec. 4) and its Lite variants.

Lite networks have no squeeze-and-excitation, ReLU6 instead of swish, and keep the stem, the head
and the depth of the first and last stage whatever the scale: what small processors run well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones.base import Backbone
from geoloc_core.models.backbones.circular import SameConv2d


@dataclass(frozen=True)
class StageShape:
    """One row of the published table.

    Attributes:
        repeats: Blocks at depth 1.
        kernel: Of the depthwise convolutions.
        stride: Of the first block.
        expand: Inner channels over input channels.
        channels: Output channels at width 1.
    """

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    StageShape(1, 3, 1, 1, 16),
    StageShape(2, 3, 2, 6, 24),
    StageShape(2, 5, 2, 6, 40),
    StageShape(3, 3, 2, 6, 80),
    StageShape(3, 5, 1, 6, 112),
    StageShape(4, 5, 2, 6, 192),
    StageShape(1, 3, 1, 6, 320),
)
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
# name -> (width, depth), from the papers' compound scaling.
SCALES = {
    'efficientnet_b0': (1.0, 1.0),
    'efficientnet_b1': (1.0, 1.1),
    'efficientnet_b2': (1.1, 1.2),
    'efficientnet_b3': (1.2, 1.4),
    'efficientnet_b4': (1.4, 1.8),
    'efficientnet_lite0': (1.0, 1.0),
    'efficientnet_lite1': (1.0, 1.1),
    'efficientnet_lite2': (1.1, 1.2),
    'efficientnet_lite3': (1.2, 1.4),
    'efficientnet_lite4': (1.4, 1.8),
}
TAPS = ('stem', *(f'stage{i + 1}' for i in range(len(STAGES))), 'head')
# The last stage at each stride from 2 to 32.
DEFAULT_TAPS = ('stage1', 'stage2', 'stage3', 'stage5', 'stage7')
_EPS = 1e-3
# Published as 0.01; ours settles within tens of steps, so that short runs validate as they train.
_MOMENTUM = 0.1


class SqueezeExcite(nn.Module):
    """Channels weighed by a small network that sees their means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        """Takes the channels of the map and of the bottleneck."""
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = nn.SiLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(self.act(self.reduce(mean))))


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and, if wanted, an activation."""

    def __init__(self, conv: SameConv2d, act: nn.Module | None) -> None:
        """Puts them in line."""
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels, eps=_EPS, momentum=_MOMENTUM)
        if act is not None:
            self.act = act


class Block(nn.Module):
    """Inverted residual: expand, filter each channel, weigh them, project (MBConv)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expand: int, lite: bool
    ) -> None:
        """Builds a block.

        Args:
            inputs: Channels.
            outputs: Channels.
            kernel: Of the depthwise convolution.
            stride: The same.
            expand: Inner channels over inputs.
            lite: Without squeeze-and-excitation, ReLU6 for swish.
        """
        super().__init__()
        inner = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.expand = (
            nn.Identity()
            if expand == 1
            else ConvNorm(SameConv2d(inputs, inner, 1, bias=False), _activation(lite))
        )
        self.depthwise = ConvNorm(
            SameConv2d(inner, inner, kernel, stride=stride, groups=inner, bias=False),
            _activation(lite),
        )
        # A quarter of the block's input, not of its inner channels.
        self.excite = nn.Identity() if lite else SqueezeExcite(inner, max(1, inputs // 4))
        self.project = ConvNorm(SameConv2d(inner, outputs, 1, bias=False), None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class EfficientNet(Backbone):
    """The convolutional part, tapped where wanted; nothing past the last tap is built."""

    def __init__(
        self, name: str, taps: Sequence[str] = DEFAULT_TAPS, in_channels: int = 3
    ) -> None:
        """Builds the network with random weights.

        Args:
            name: One of `SCALES`.
            taps: Some of `TAPS`, in that order: 'stem' is at stride 2, 'stage1' to 'stage7' end
                at 2, 4, 8, 16, 16, 32 and 32, 'head' (1280 channels at width 1) at 32.
            in_channels: Of the picture.

        Raises:
            ConfigError: Unknown name or tap, or taps out of order.
        """
        super().__init__()
        if name not in SCALES:
            raise ConfigError(f'no EfficientNet is called {name!r}: one of {", ".join(SCALES)}')
        order = [TAPS.index(tap) for tap in taps if tap in TAPS]
        if len(order) != len(taps) or not order or sorted(set(order)) != order:
            raise ConfigError(
                f'taps of {name} are {list(taps)}: expected some of {", ".join(TAPS)}, in order'
            )
        self.taps = tuple(taps)
        lite = 'lite' in name
        width, _ = SCALES[name]
        channels = STEM_CHANNELS if lite else rounded_channels(STEM_CHANNELS, width)
        self.stem = ConvNorm(
            SameConv2d(in_channels, channels, 3, stride=2, bias=False), _activation(lite)
        )
        known, stride = {'stem': (channels, 2)}, 2
        stages: list[nn.Module] = []
        for i, shape in enumerate(STAGES[: min(order[-1], len(STAGES))]):
            outputs = rounded_channels(shape.channels, width)
            blocks = []
            for j in range(block_counts(name)[i]):
                step = shape.stride if j == 0 else 1
                blocks.append(Block(channels, outputs, shape.kernel, step, shape.expand, lite))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
            stride *= shape.stride
            known[f'stage{i + 1}'] = (channels, stride)
        self.stages = nn.ModuleList(stages)
        self.head: nn.Module | None = None
        if taps[-1] == 'head':
            outputs = HEAD_CHANNELS if lite else rounded_channels(HEAD_CHANNELS, width)
            self.head = ConvNorm(SameConv2d(channels, outputs, 1, bias=False), _activation(lite))
            known['head'] = (outputs, stride)
        self.channels = tuple(known[tap][0] for tap in taps)
        self.strides = tuple(known[tap][1] for tap in taps)
        self._initialise()

    def forward(self, image: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        x = self.stem(image)
        maps = [x] if 'stem' in self.taps else []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if f'stage{i + 1}' in self.taps:
                maps.append(x)
        return maps if self.head is None else [*maps, self.head(x)]

    def _initialise(self) -> None:
        """Normal weights of variance 2 / fan-out, as published."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def block_counts(name: str) -> tuple[int, ...]:
    """Blocks of each stage of one of `SCALES`."""
    fixed = (0, len(STAGES) - 1) if 'lite' in name else ()
    depth = SCALES[name][1]
    return tuple(
        s.repeats if i in fixed else math.ceil(depth * s.repeats) for i, s in enumerate(STAGES)
    )


def rounded_channels(channels: int, width: float) -> int:
    """Channels scaled by `width`, to a multiple of 8, at most a tenth fewer than asked."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _activation(lite: bool) -> nn.Module:
    return nn.ReLU6() if lite else nn.SiLU()
