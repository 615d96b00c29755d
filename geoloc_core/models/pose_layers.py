# SPDX-License-Identifier: Apache-2.0
"""Pieces that pose regressors share: a picture's features, channels that gate each other, heads.

References: AtLoc (Wang et al., AAAI 2020) for the attention, VMLoc (Zhou et al., AAAI 2021) for
the experts and their product.
"""

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.models.backbones.registry import make_backbone
from geoloc_core.models.rotations import SIZES

# Least variance of an expert: keeps its inverse finite.
_MIN_VARIANCE = 1e-6


class PictureEncoder(nn.Module):
    """A backbone and the mean over its last map: one vector of a picture.

    Attributes:
        size: Numbers of the vector.
    """

    def __init__(
        self, backbone: str, weights: str | None, in_channels: int, end: str | None = None
    ) -> None:
        """Builds the backbone; see `make_backbone`.

        Args:
            backbone: Its name.
            weights: To begin with.
            in_channels: Of the picture.
            end: The tap whose map is the last one; None for the whole backbone.
        """
        super().__init__()
        taps = None if end is None else (end,)
        self.backbone = make_backbone(
            backbone, weights=weights, in_channels=in_channels, taps=taps
        )
        self.size = self.backbone.channels[-1]

    def forward(self, image: Tensor, present: Tensor) -> Tensor:
        """(B, size) features; zeros where there is no picture.

        In training the rows without a picture are not even looked at, so that the statistics of
        BatchNorm are those of pictures. In use statistics are fixed, and all rows run as one.

        Args:
            image: (B, C, H, W) normalised.
            present: (B,) bool.
        """
        if not self.training:
            features: Tensor = self.backbone(image)[-1].mean((2, 3))
            return features * present[:, None].to(features.dtype)
        rows = present.nonzero()[:, 0]
        if not len(rows):
            return image.new_zeros(len(image), self.size)
        seen = self.backbone(image[rows])[-1].mean((2, 3))
        return seen.new_zeros(len(image), self.size).index_copy(0, rows, seen)


class ChannelAttention(nn.Module):
    """x + W A(x) g(x): each channel group weighs all others (AtLoc, eq. 2-5; non-local, 2018).

    A is the softmax, row by row, of the outer product of two projections: there is nothing spatial
    in it, since x is one vector.
    """

    def __init__(self, size: int, reduction: int = 8) -> None:
        """Takes the length of x and how much shorter the projections are."""
        super().__init__()
        inner = max(size // reduction, 1)
        self.value = nn.Linear(size, inner)
        self.row = nn.Linear(size, inner)
        self.column = nn.Linear(size, inner)
        self.out = nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> the same."""
        weights = torch.softmax(self.row(x)[..., :, None] * self.column(x)[..., None, :], dim=-1)
        gated = (weights @ self.value(x)[..., :, None]).squeeze(-1)
        result: Tensor = x + self.out(gated)
        return result


class PoseHead(nn.Module):
    """Attention, dropout, and two linear maps: position and rotation."""

    def __init__(self, size: int, rotation: str, dropout: float) -> None:
        """Takes the length of a feature vector, the representation and the share dropped."""
        super().__init__()
        self.attention = ChannelAttention(size)
        self.dropout = nn.Dropout(dropout)
        self.position = nn.Linear(size, 3)
        self.rotation = nn.Linear(size, SIZES[rotation])
        if rotation == 'sixd':
            # Begins near no rotation rather than near the one point that has none at all.
            nn.init.xavier_uniform_(self.rotation.weight, gain=0.1)
            with torch.no_grad():
                self.rotation.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, feature: Tensor) -> Tensor:
        """(..., size) -> (..., 3 + numbers of the rotation)."""
        x = self.dropout(self.attention(feature))
        return torch.cat([self.position(x), self.rotation(x)], dim=-1)


class LatentExpert(nn.Module):
    """What one modality believes of the latent: a mean and a variance of each number."""

    def __init__(self, inputs: int, size: int) -> None:
        """Takes the lengths of features and latent."""
        super().__init__()
        self.mean = nn.Linear(inputs, size)
        self.spread = nn.Linear(inputs, size)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and VARIANCE, (B, size) each."""
        return self.mean(feature), F.softplus(self.spread(feature)) + _MIN_VARIANCE


def product_of_experts(
    means: list[Tensor], variances: list[Tensor], present: Tensor
) -> tuple[Tensor, Tensor]:
    """The product of Gaussians and the standard normal prior (VMLoc, eq. 4; Wu & Goodman, 2018).

    Args:
        means: Of M experts, (B, D) each.
        variances: Theirs.
        present: (B, M) bool; an expert that is not is left out of the sums.

    Returns:
        Mean and variance (B, D) of the product; the variance is 1 at most.
    """
    precision = torch.ones_like(means[0])
    weighted = torch.zeros_like(means[0])
    for i, (mean, variance) in enumerate(zip(means, variances, strict=True)):
        share = present[:, i : i + 1].to(mean.dtype) / variance
        precision = precision + share
        weighted = weighted + share * mean
    return weighted / precision, 1.0 / precision
