# SPDX-License-Identifier: Apache-2.0
"""What a student is not shown of a view: GeoDistill's masks and those of its ablation.

Convention: a mask is 1 where the view stays visible. Places across a view are fractions of its
width from the left border, so that one strip can be laid on a picture, on maps of features and on
descriptors of any number of columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Least and most.
Range = tuple[float, float]


@dataclass(frozen=True)
class Strip:
    """One contiguous part of each view of a batch that stays visible; it may cross the seam.

    Attributes:
        start: (B,) left border, 0..1 of the width.
        share: (B,) width, 0..1.
    """

    start: Tensor
    share: Tensor

    def columns(self, count: int) -> Tensor:
        """(B, count) float32: 1 for each of `count` equal columns whose middle is visible."""
        middles = (torch.arange(count, device=self.start.device) + 0.5) / count
        return ((middles - self.start[:, None]).remainder(1.0) < self.share[:, None]).float()


def draw_uniform(count: int, bounds: Range, device: torch.device) -> Tensor:
    """(count,) numbers by torch's CPU generator: the same on every device."""
    return (bounds[0] + (bounds[1] - bounds[0]) * torch.rand(count)).to(device)


def draw_strip(batch: int, visible: Range, wraps: bool, device: torch.device) -> Strip:
    """A limited field of view for each sample.

    Args:
        batch: B.
        visible: Shares of the width that stay visible, 0..1.
        wraps: Whether a strip may begin anywhere, as on a panorama; else it ends by the right
            border at the latest.
        device: Of the result.
    """
    share = draw_uniform(batch, visible, device)
    start = draw_uniform(batch, (0.0, 1.0), device)
    return Strip(start if wraps else start * (1.0 - share), share)


def draw_cells(
    batch: int, size: tuple[int, int], cell_px: int, hidden: Range, device: torch.device
) -> Tensor:
    """Square cells hidden at random, as masked autoencoders do (He et al., CVPR 2022).

    Args:
        batch: B.
        size: (height, width) of the view, px.
        cell_px: Side of a cell.
        hidden: Shares of the cells that are hidden.
        device: Of the result.

    Returns:
        (B, 1, height, width).
    """
    rows, columns = -(-size[0] // cell_px), -(-size[1] // cell_px)
    count = rows * columns
    hide = (draw_uniform(batch, hidden, torch.device('cpu')) * count).round()
    # The cell's place in a random order.
    order = torch.rand(batch, count).argsort(dim=1).argsort(dim=1)
    mask = (order >= hide[:, None]).float().view(batch, 1, rows, columns)
    mask = mask.repeat_interleave(cell_px, dim=2).repeat_interleave(cell_px, dim=3)
    return mask[..., : size[0], : size[1]].to(device)


def hide_most_active(features: Tensor, size: tuple[int, int], hidden: float) -> Tensor:
    """Hides the cells whose descriptors are longest: what a network looks at most.

    Args:
        features: (B, C, h, w) of the view, covering all of it.
        size: (height, width) of the view, px.
        hidden: Share of the cells.

    Returns:
        (B, 1, height, width).
    """
    rows, columns = features.shape[-2:]
    activity = features.detach().float().square().sum(dim=1).flatten(1)
    count = round(hidden * rows * columns)
    mask = torch.ones_like(activity)
    mask.scatter_(1, activity.topk(count, dim=1).indices, 0.0)
    mask = mask.view(-1, 1, rows, columns)
    return torch.nn.functional.interpolate(mask, size=size, mode='nearest-exact')
