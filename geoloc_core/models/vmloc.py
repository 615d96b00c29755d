# SPDX-License-Identifier: Apache-2.0
"""VMLoc: colour and depth are two experts about a latent, and the latent says where the camera is.

Reference: Zhou et al., "VMLoc: Variational Fusion For Learning-Based Multimodal Camera
Localization", AAAI 2021 (arXiv 2003.07289). As published: an encoder a modality, each with a mean
and a variance of 1024 numbers; their product with a standard normal prior; K samples of it through
tanh, attention and two heads. Unlike the released code, which its paper does not ask for: the
variance is used as one, an expert without input is left out rather than fed with zeros, and the
answer to a picture is always the same, from fixed draws that come with the weights.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import Outputs
from geoloc_core.models.pose_layers import (
    LatentExpert,
    PoseHead,
    product_of_experts,
)
from geoloc_core.models.pose_model import (
    depth_channels,
    PATTERNS,
    picture_encoder,
    PoseModel,
    PoseSettings,
)

_SEED = 20210202


@dataclass(frozen=True)
class VmLocSettings(PoseSettings):
    """Settings of `VmLoc`.

    Attributes:
        latent: Numbers of the latent.
        samples: Draws of it, K, that an answer is made of in use; training draws its own.
    """

    latent: int = 1024
    samples: int = 32

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: A value out of its range.
        """
        super().__post_init__()
        if self.latent < 1 or self.samples < 2 or self.samples % 2:
            raise ConfigError(
                f'latent is {self.latent}, samples {self.samples}: expected 1 or more, and an '
                'even number of samples (they come in opposite pairs)'
            )


class VmLoc(PoseModel):
    """Two experts, their product, and a head that reads samples of it."""

    NAME: ClassVar[str] = 'vmloc'
    Settings: ClassVar[type] = VmLocSettings

    def __init__(self, settings: VmLocSettings) -> None:
        """Builds the network."""
        super().__init__(settings)
        self.colour_encoder = picture_encoder(settings)
        self.depth_encoder = picture_encoder(settings)
        self.colour_expert = LatentExpert(self.colour_encoder.size, settings.latent)
        self.depth_expert = LatentExpert(self.depth_encoder.size, settings.latent)
        self.head = PoseHead(settings.latent, settings.rotation, settings.dropout)
        generator = torch.Generator().manual_seed(_SEED)
        half = torch.randn(
            settings.samples // 2, settings.latent, generator=generator, device='cpu'
        )
        # Opposite pairs: their mean is the posterior's, to first order without any noise.
        self.register_buffer('draws', torch.cat([half, -half]))
        self.draws: Tensor
        self.calibration['log_spread'] = nn.Parameter(torch.zeros(2, len(PATTERNS)))
        self.calibration['growth'] = nn.Parameter(torch.zeros(2, 2))

    def posterior(self, colour: Tensor, depth: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, latent) of the product of the experts that are there.

        Args:
            colour: As `forward`.
            depth: As `forward`.
            present: As `forward`.
        """
        there = present > 0
        seen = self.colour_expert(self.colour_encoder(colour, there[:, 0]))
        channels = depth_channels(depth, self.settings.with_masks)
        measured = self.depth_expert(self.depth_encoder(channels, there[:, 1]))
        # In full: the inverse of a small variance is beyond half precision.
        means, variances = (
            [seen[0].float(), measured[0].float()],
            [seen[1].float(), measured[1].float()],
        )
        return product_of_experts(means, variances, there)

    def read(self, latent: Tensor) -> Tensor:
        """What the heads say (..., 3 + r) of latents (..., latent)."""
        said: Tensor = self.head(torch.tanh(latent))
        return said

    def forward(self, colour: Tensor, depth: Tensor, present: Tensor) -> Outputs:
        """See `PoseModel`; `doubt` is the posterior's mean log variance, 0 for the prior's own."""
        mean, variance = self.posterior(colour, depth, present)
        latents = mean[:, None] + variance.sqrt()[:, None] * self.draws
        doubt = variance.log().mean(dim=1)
        return {'raw': self.read(latents), 'present': present, 'doubt': doubt}
