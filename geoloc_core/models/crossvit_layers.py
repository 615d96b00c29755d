# SPDX-License-Identifier: Apache-2.0
"""Layers of CrossViT: self-attention in each branch, then one class token looks at the other.

Reference: "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification"
(arXiv 2103.14899, ICCV 2021), eq. 2-5.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.models.crossvit_settings import BranchSettings

_EPS = 1e-6


class Rotation(NamedTuple):
    """By how much each token's queries and keys are turned.

    Attributes:
        cos: (B, N, P) of each pair of numbers of a head.
        sin: The same.
    """

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(B, heads, N, 2 P), numbers 2 i and 2 i + 1 turned together."""
        first, second = x[..., 0::2], x[..., 1::2]
        cos, sin = self.cos[:, None], self.sin[:, None]
        turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
        return turned.flatten(-2)


class SelfAttention(nn.Module):
    """Every token looks at every token of its branch."""

    def __init__(self, width: int, heads: int) -> None:
        """Takes numbers a token, and heads."""
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """(B, N, width) -> the same."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        if rotation is not None:
            # Values are not turned: what is looked at stays as it is.
            query, key = rotation(query), rotation(key)
        seen = F.scaled_dot_product_attention(query, key, value)
        made: Tensor = self.proj(seen.transpose(1, 2).flatten(-2))
        return made


class ClassAttention(nn.Module):
    """The first token looks at all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        """Takes numbers a token, and heads."""
        super().__init__()
        self.heads = heads
        self.wq = nn.Linear(width, width)
        self.wk = nn.Linear(width, width)
        self.wv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, 1, width)."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.wq(x[:, :1]), self.wk(x), self.wv(x))
        )
        seen = F.scaled_dot_product_attention(query, key, value)
        made: Tensor = self.proj(seen.transpose(1, 2).flatten(-2))
        return made


class Block(nn.Module):
    """Self-attention and a perceptron, each on normalised tokens and added to them."""

    def __init__(self, branch: BranchSettings) -> None:
        """Takes the sizes of its branch."""
        super().__init__()
        hidden = int(branch.width * branch.mlp_ratio)
        self.norm1 = nn.LayerNorm(branch.width, eps=_EPS)
        self.attn = SelfAttention(branch.width, branch.heads)
        self.norm2 = nn.LayerNorm(branch.width, eps=_EPS)
        self.mlp = nn.Sequential(
            nn.Linear(branch.width, hidden), nn.GELU(), nn.Linear(hidden, branch.width)
        )

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """(B, N, width) -> the same."""
        x = x + self.attn(self.norm1(x), rotation)
        made: Tensor = x + self.mlp(self.norm2(x))
        return made


class CrossBlock(nn.Module):
    """A class token among the patches of the other branch (eq. 4-5); without a perceptron."""

    def __init__(self, branch: BranchSettings) -> None:
        """Takes the sizes of the branch that is looked at."""
        super().__init__()
        self.norm1 = nn.LayerNorm(branch.width, eps=_EPS)
        self.attn = ClassAttention(branch.width, branch.heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width), the guest first -> (B, 1, width)."""
        made: Tensor = x[:, :1] + self.attn(self.norm1(x))
        return made


def change_width(old: int, new: int) -> nn.Sequential:
    """A class token on its way into the other branch or back."""
    return nn.Sequential(nn.LayerNorm(old, eps=_EPS), nn.GELU(), nn.Linear(old, new))


class MultiScaleEncoder(nn.Module):
    """Both branches by themselves, then each class token once among the other's patches.

    Attributes:
        own: Blocks of each branch.
        leave: Width of a branch -> the other's, of its class token.
        cross: Where the class token of a branch looks at the other branch.
        back: The way back.
    """

    def __init__(self, branches: Sequence[BranchSettings]) -> None:
        """Takes the sizes of both branches."""
        super().__init__()
        pairs = list(zip(branches, reversed(branches), strict=True))
        self.own = nn.ModuleList(nn.ModuleList(Block(b) for _ in range(b.depth)) for b in branches)
        self.leave = nn.ModuleList(change_width(b.width, other.width) for b, other in pairs)
        self.cross = nn.ModuleList(CrossBlock(other) for _, other in pairs)
        self.back = nn.ModuleList(change_width(other.width, b.width) for b, other in pairs)

    def forward(
        self, tokens: Sequence[Tensor], rotations: Sequence[Rotation | None] = (None, None)
    ) -> list[Tensor]:
        """Tokens of both branches, class token first.

        Args:
            tokens: Two of (B, 1 + patches, width).
            rotations: For the self-attention of each branch.
        """
        alone = []
        for blocks, x, rotation in zip(self.own, tokens, rotations, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, rotation)
            alone.append(x)
        mixed = []
        for i, x in enumerate(alone):
            guest = self.leave[i](x[:, :1])
            # Both see the other as it was before either visit.
            told = self.cross[i](torch.cat([guest, alone[1 - i][:, 1:]], dim=1))
            mixed.append(torch.cat([self.back[i](told), x[:, 1:]], dim=1))
        return mixed
