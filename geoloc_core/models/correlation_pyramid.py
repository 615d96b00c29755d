# SPDX-License-Identifier: Apache-2.0
"""All-pairs correlation of two feature maps, and looking around a place in it.

RAFT (Teed and Deng, ECCV 2020, section 3.2), as HC-Net uses it: with the ReLU of plain dot
products, without a division by sqrt(channels).

A window's samples lie one cell apart, so bilinear reading separates into two small matrices of
tent weights, one along rows and one along columns: no gathering, zeros outside for free, and two
batched matrix products that every runtime has.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def full_precision(like: Tensor) -> AbstractContextManager:
    """Switches mixed precision off for what follows, if it is on for that tensor's device."""
    if torch.is_autocast_enabled(like.device.type):
        return torch.autocast(like.device.type, enabled=False)
    return nullcontext()


def tents(positions: Tensor, size: int) -> Tensor:
    """Weights of bilinear reading along one axis.

    Args:
        positions: (...) in cells, integers are centres.
        size: Cells of the axis.

    Returns:
        (..., size); they sum to one inside, and fall to nothing over the cell past either end.
    """
    cells = torch.arange(size, device=positions.device, dtype=positions.dtype)
    return F.relu(1.0 - (positions[..., None] - cells).abs())


@dataclass(frozen=True)
class CorrelationPyramid:
    """Correlations of each cell of one map with all cells of another, at several scales.

    Attributes:
        volumes: Each (B, N, h_l, w_l) float32, N cells of the first map row by row; level l has
            cells of 2^l cells of level 0.
    """

    volumes: tuple[Tensor, ...]

    @classmethod
    def of(cls, first: Tensor, second: Tensor, levels: int) -> 'CorrelationPyramid':
        """Correlates (B, C, h, w) with (B, C, h', w')."""
        with full_precision(first):
            a, b = first.float().flatten(2), second.float().flatten(2)
            volume = F.relu(torch.bmm(a.transpose(1, 2), b))
            volume = volume.view(*volume.shape[:2], *second.shape[2:])
            volumes = [volume]
            for _ in range(levels - 1):
                volume = F.avg_pool2d(volume, 2)
                volumes.append(volume)
        return cls(tuple(volumes))

    def around(self, places: Tensor, radius: int) -> Tensor:
        """Correlations in windows around places.

        Args:
            places: (B, N, 2) (u, v) float32 in cells of level 0: where each cell is looked for.
            radius: Of the windows, in cells of each level.

        Returns:
            (B, N, levels * (2 radius + 1)^2), each window row by row; 0 outside the map.
        """
        steps = torch.arange(-radius, radius + 1, device=places.device, dtype=places.dtype)
        windows = []
        with full_precision(places):
            for level, volume in enumerate(self.volumes):
                # Pooling moves centres: cell 0 of level 1 lies between cells 0 and 1 of level 0.
                at = (places + 0.5) / 2**level - 0.5
                across = tents(at[..., 0:1] + steps, volume.shape[3])
                down = tents(at[..., 1:2] + steps, volume.shape[2])
                windows.append((down @ volume @ across.transpose(-1, -2)).flatten(2))
        return torch.cat(windows, dim=-1)
