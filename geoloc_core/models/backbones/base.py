# SPDX-License-Identifier: Apache-2.0
"""What every backbone is to the systems built on it: one picture in, a list of maps out."""

from abc import ABC, abstractmethod

from torch import nn, Tensor


class Backbone(nn.Module, ABC):
    """Features of a picture at the scales that were asked for.

    Convention: map i has `channels[i]` channels and lies on a grid whose cells are `strides[i]`
    pixels wide and high: cell (c, r) covers the pixels from (c, r) * stride on, so that its middle
    is pixel (c + 0.5) * stride - 0.5. Sides that are no multiple of the stride are rounded up.

    Attributes:
        channels: Of each map.
        strides: Of each map, px.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps in the order of the taps, each (B, channels[i], H / strides[i], W / strides[i]).

        Args:
            image: (B, C, H, W), normalised as `input_statistics` says for this backbone.
        """
