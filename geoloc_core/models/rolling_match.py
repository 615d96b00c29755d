# SPDX-License-Identifier: Apache-2.0
"""Descriptors of a view that can be turned by rolling them, compared with a map at every cell.

From CCVPE (Xia et al., T-PAMI 2024, sec. 3.2): a descriptor keeps the order of the view's
columns, so that a turned camera gives a rolled descriptor, and a cell of the map can be compared
under every turn without looking at the picture again.
"""

from collections.abc import Sequence
import math

import torch
from torch import nn, Tensor

_EPS = 1e-6


class ViewDescriptors(nn.Module):
    """A view's feature volume -> one descriptor a level, a few numbers for each of its columns."""

    def __init__(self, channels: int, rows: int, per_column: Sequence[int]) -> None:
        """Builds the heads.

        Args:
            channels: Of the volume.
            rows: Its height; they are brought to one by learned weights.
            per_column: Numbers a column, for each level.
        """
        super().__init__()
        self.squeeze = nn.ModuleList(nn.Conv2d(channels, n, 1) for n in per_column)
        self.collapse = nn.ModuleList(nn.Linear(rows, 1) for _ in per_column)

    def forward(self, volume: Tensor) -> list[Tensor]:
        """(B, C, rows, columns) -> for each level (B, columns, n)."""
        return [
            collapse(squeeze(volume).permute(0, 3, 1, 2))[..., 0]
            for squeeze, collapse in zip(self.squeeze, self.collapse, strict=True)
        ]


class RollingMatch(nn.Module):
    """Cosine similarity of a view's descriptor and each cell of a map, for a set of turns.

    A map's descriptor at a cell spans the whole circle of columns, north (or the patch's right, if
    the patch is the one that is turned) where a view that has not turned has its first column. A
    view spans all of it, or the part that its camera sees; then only that part is compared.

    Rather than rolling the map for every turn, the view's short descriptor is rolled, and one
    matrix product compares all turns.

    Convention: turn k means that the robot is turned counter-clockwise by k / bins of a circle
    from where its prior says; its view's content then lies k / bins of a circle further right.
    Turns are listed from 0 up, then the clockwise ones; `turns` says which.

    Attributes:
        turns: (n,) turns compared, -bins / 2 < k <= bins / 2.
    """

    turns: Tensor
    source: Tensor

    def __init__(self, columns: int, view_columns: int, bins: int, half_range_deg: float) -> None:
        """Decides what is compared.

        Args:
            columns: Of a whole circle.
            view_columns: Of the view.
            bins: Turns of a whole circle.
            half_range_deg: Only turns up to this are compared.
        """
        super().__init__()
        self.columns, self.view_columns, self.bins = columns, view_columns, bins
        reach = math.floor(half_range_deg / (360.0 / bins) + 1e-9)
        turns = [k if 2 * k <= bins else k - bins for k in range(bins)]
        self.register_buffer(
            'turns', torch.tensor([k for k in turns if abs(k) <= reach]), persistent=False
        )
        step = columns // bins
        # Column of the view that lies at column j of the circle after turn k.
        source = (torch.arange(columns)[None] + step * self.turns[:, None]) % columns
        self.register_buffer('source', source.flatten(), persistent=False)

    def forward(self, descriptor: Tensor, cells: Tensor, mask: Tensor | None = None) -> Tensor:
        """Similarities (B, n, h, w) in -1..1, float32.

        Args:
            descriptor: (B, view_columns, c) of the view.
            cells: (B, columns * c, h, w), a column's numbers beside each other; of unit length.
            mask: (B, view_columns) how much each column of the view counts, or None for fully.
                Columns that do not count are left out on the map's side, too.
        """
        with torch.autocast(cells.device.type, enabled=False):
            return self._similarities(
                descriptor.float(), cells.float(), None if mask is None else mask.float()
            )

    def _similarities(self, view: Tensor, cells: Tensor, mask: Tensor | None) -> Tensor:
        batch, _, height, width = cells.shape
        cells = cells.flatten(2)
        if mask is not None:
            view = view * mask[..., None]
        view = view / view.flatten(1).norm(dim=1).clamp_min(_EPS)[:, None, None]
        products = torch.bmm(self._turned(view).flatten(2), cells)
        if mask is None and self.view_columns == self.columns:
            # The whole of a cell's descriptor is compared; its length is one, however rolled.
            return products.view(batch, -1, height, width)
        if mask is None:
            mask = view.new_ones(1, self.view_columns)
        seen = self._turned(mask[..., None])[..., 0] ** 2
        of_columns = cells.square().view(batch, self.columns, -1, height * width).sum(dim=2)
        lengths = torch.matmul(seen, of_columns).clamp_min(_EPS**2).sqrt()
        return (products / lengths).view(batch, -1, height, width)

    def _turned(self, view: Tensor) -> Tensor:
        """(B, view_columns, c) -> (B, n, columns, c): laid into the circle for each turn."""
        empty = self.columns - self.view_columns
        if empty:
            blank = view.new_zeros(view.shape[0], empty, view.shape[2])
            view = torch.cat([view, blank], dim=1)
        turned = view.index_select(1, self.source)
        return turned.view(view.shape[0], -1, self.columns, view.shape[2])
