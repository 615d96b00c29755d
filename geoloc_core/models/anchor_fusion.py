# SPDX-License-Identifier: Apache-2.0
"""TransformerFusionBlock: ground and aerial features look at each other across pooled anchors.

Shen et al., "ICAFusion: Iterative cross-attention guided feature fusion for multispectral object
detection", Pattern Recognition 2024, section 3, as the fusion transformer uses it: both maps are
pooled to one small grid of anchors, layers of cross-attention in both directions follow, and what
they found is added to the maps at full size before the two are joined.
"""

import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError

Size = tuple[int, int]


def pooling_windows(size: int, count: int) -> tuple[Tensor, Tensor]:
    """Windows of adaptive pooling along one axis: the i-th covers i/count to (i+1)/count of it.

    Args:
        size: Cells.
        count: Windows wanted; more of them than cells make cells appear in several.

    Returns:
        (count, L) cells of each window, short ones with their last cell repeated; and
        (count, size) weights that average over each.
    """
    begin = [i * size // count for i in range(count)]
    end = [-(-(i + 1) * size // count) for i in range(count)]
    longest = max(e - b for b, e in zip(begin, end, strict=True))
    cells = torch.tensor(
        [[min(b + k, e - 1) for k in range(longest)] for b, e in zip(begin, end, strict=True)]
    )
    weights = torch.zeros(count, size)
    for i, (b, e) in enumerate(zip(begin, end, strict=True)):
        weights[i, b:e] = 1.0 / (e - b)
    return cells, weights


class AnchorPool(nn.Module):
    """Adaptive average and maximum pooling to a grid of anchors, mixed by two learned scalars."""

    row_cells: Tensor
    row_weights: Tensor
    column_cells: Tensor
    column_weights: Tensor

    def __init__(self, cells: Size, anchors: Size) -> None:
        """Lays the windows.

        Args:
            cells: (rows, columns) of the map.
            anchors: (rows, columns) wanted.
        """
        super().__init__()
        self.mix = nn.Parameter(torch.full((2,), 0.5))
        self.same = cells == anchors
        for name, size, count in zip(('row', 'column'), cells, anchors, strict=True):
            index, weights = pooling_windows(size, count)
            self.register_buffer(f'{name}_cells', index, persistent=False)
            self.register_buffer(f'{name}_weights', weights, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, rows, columns)."""
        if self.same:
            return x * self.mix.sum()
        average = self.row_weights.to(x.dtype) @ x @ self.column_weights.to(x.dtype).T
        return self.mix[0] * average + self.mix[1] * self.maximum(x)

    def maximum(self, x: Tensor) -> Tensor:
        """Maximum pooling alone; axis by axis, as ONNX has no adaptive form of it."""
        for axis, cells in ((-2, self.row_cells), (-1, self.column_cells)):
            peak = x.index_select(axis, cells[:, 0])
            for k in range(1, cells.shape[1]):
                peak = torch.maximum(peak, x.index_select(axis, cells[:, k]))
            x = peak
        return x


class CrossAttentionLayer(nn.Module):
    """Each view's tokens ask the other view's; then each view has a small network of its own.

    All residual sums are weighed by learned scalars that begin at one (ICAFusion, eq. 5 to 8).
    The normalisation before the two networks is shared.
    """

    def __init__(self, width: int, heads: int, expand: int, dropout: float) -> None:
        """Builds a layer.

        Args:
            width: Of a token.
            heads: Of the attention.
            expand: Inner width of the networks over `width`.
            dropout: After each layer of the networks.

        Raises:
            ConfigError: The width is no multiple of the heads.
        """
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(f'{heads} heads do not divide a width of {width}')
        self.heads = heads
        self.view_norm, self.patch_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        # Query, key and value of a view in one product.
        self.view_qkv, self.patch_qkv = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.view_out, self.patch_out = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.view_mlp = _mlp(width, expand, dropout)
        self.patch_mlp = _mlp(width, expand, dropout)
        self.residual = nn.Parameter(torch.ones(8))

    def forward(
        self, view: Tensor, patch: Tensor, keep: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Lets the views look at each other.

        Args:
            view: (B, N, width) tokens.
            patch: (B, M, width) tokens.
            keep: Whether the attention is wanted too; slower.

        Returns:
            Both, changed; and (B, heads, N, M) attention of the view's tokens to the patch's and
            (B, heads, M, N) of the patch's to the view's, or None.
        """
        view_q, view_k, view_v = self._split(self.view_qkv(self.view_norm(view)))
        patch_q, patch_k, patch_v = self._split(self.patch_qkv(self.patch_norm(patch)))
        from_patch, of_view = _attend(view_q, patch_k, patch_v, keep)
        from_view, of_patch = _attend(patch_q, view_k, view_v, keep)
        a = self.residual
        view = a[0] * view + a[1] * self.view_out(from_patch)
        patch = a[2] * patch + a[3] * self.patch_out(from_view)
        view = a[4] * view + a[5] * self.view_mlp(self.norm(view))
        patch = a[6] * patch + a[7] * self.patch_mlp(self.norm(patch))
        return view, patch, of_view, of_patch

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, 3 width) -> three of (B, heads, N, width / heads)."""
        batch, count, _ = qkv.shape
        q, k, v = qkv.view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v


def _mlp(width: int, expand: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, expand * width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(expand * width, width),
        nn.Dropout(dropout),
    )


def _attend(q: Tensor, k: Tensor, v: Tensor, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Tokens (B, N, width) that attention gathers, and the attention if it is kept."""
    weights = None
    if keep:
        weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)
        out = weights @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(2), weights


class TransformerFusionBlock(nn.Module):
    """Two feature maps on different grids -> one on the patch's grid."""

    def __init__(
        self,
        channels: Size,
        width: int,
        view_cells: Size,
        patch_cells: Size,
        anchors: Size = (16, 16),
        layers: int = 2,
        heads: int = 8,
        expand: int = 4,
        dropout: float = 0.1,
    ) -> None:
        """Builds the block.

        Args:
            channels: Of the view's and the patch's map.
            width: Of tokens and of the result.
            view_cells: (rows, columns) of the view's map.
            patch_cells: (rows, columns) of the patch's map and of the result.
            anchors: (rows, columns) of tokens that either map is pooled to.
            layers: Of cross-attention.
            heads: Of each.
            expand: Inner width of the layers' networks over `width`.
            dropout: In those networks.
        """
        super().__init__()
        self.view_cells, self.patch_cells, self.anchors = view_cells, patch_cells, anchors
        self.view_adapt = nn.Conv2d(channels[0], width, 1)
        self.patch_adapt = nn.Conv2d(channels[1], width, 1)
        self.view_pool = AnchorPool(view_cells, anchors)
        self.patch_pool = AnchorPool(patch_cells, anchors)
        count = anchors[0] * anchors[1]
        self.view_places = nn.Parameter(torch.zeros(1, count, width))
        self.patch_places = nn.Parameter(torch.zeros(1, count, width))
        self.layers = nn.ModuleList(
            [CrossAttentionLayer(width, heads, expand, dropout) for _ in range(layers)]
        )
        self.keep = nn.Parameter(torch.ones(2))
        self.join = nn.Sequential(
            nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU()
        )

    def forward(
        self, view: Tensor, patch: Tensor, keep_attention: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Joins two maps.

        Args:
            view: (B, channels[0], *view_cells).
            patch: (B, channels[1], *patch_cells).
            keep_attention: Whether the attention is wanted too.

        Returns:
            (B, width, *patch_cells); and, if wanted, 'attention_view' (B, layers, heads, A, A):
            how much each of the view's A anchors looks at each of the patch's, and
            'attention_patch', the other way round. Anchors lie row by row and share each picture
            evenly.
        """
        view, patch = self.view_adapt(view), self.patch_adapt(patch)
        a = self.view_pool(view).flatten(2).transpose(1, 2) + self.view_places
        b = self.patch_pool(patch).flatten(2).transpose(1, 2) + self.patch_places
        of_view, of_patch = [], []
        for layer in self.layers:
            a, b, seen_by_view, seen_by_patch = layer(a, b, keep_attention)
            of_view.append(seen_by_view)
            of_patch.append(seen_by_patch)
        view = _resized(self._as_map(a), self.view_cells) + self.keep[0] * view
        patch = _resized(self._as_map(b), self.patch_cells) + self.keep[1] * patch
        fused = self.join(torch.cat([_resized(view, self.patch_cells), patch], dim=1))
        if not keep_attention:
            return fused, {}
        return fused, {
            'attention_view': torch.stack(of_view, dim=1),
            'attention_patch': torch.stack(of_patch, dim=1),
        }

    def _as_map(self, tokens: Tensor) -> Tensor:
        batch, _, width = tokens.shape
        return tokens.transpose(1, 2).reshape(batch, width, *self.anchors)


def _resized(x: Tensor, cells: Size) -> Tensor:
    if (x.shape[-2], x.shape[-1]) == cells:
        return x
    return F.interpolate(x, size=cells, mode='bilinear', align_corners=False)
