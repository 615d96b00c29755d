# SPDX-License-Identifier: Apache-2.0
"""What VMLoc is compared with: plain concatenation, and one modality alone (AtLoc).

References: VMLoc (Zhou et al., AAAI 2021) for the concatenation; "AtLoc: Attention Guided Camera
Localization" (Wang et al., AAAI 2020) for the other, which takes colour; 'depth' is the same with
the other sensor.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import Outputs
from geoloc_core.models.pose_layers import PoseHead
from geoloc_core.models.pose_model import (
    depth_channels,
    picture_encoder,
    PoseModel,
    PoseSettings,
)
from geoloc_core.pose_spec import MODALITIES


@dataclass(frozen=True)
class ConcatenationSettings(PoseSettings):
    """Settings of `PoseConcatenation`.

    Attributes:
        features: Numbers of each modality.
    """

    features: int = 512


class PoseConcatenation(PoseModel):
    """Features of both modalities side by side; zeros for one that is missing."""

    NAME: ClassVar[str] = 'pose_concatenation'
    Settings: ClassVar[type] = ConcatenationSettings

    def __init__(self, settings: ConcatenationSettings) -> None:
        """Builds the network."""
        super().__init__(settings)
        self.colour_encoder = picture_encoder(settings)
        self.depth_encoder = picture_encoder(settings)
        self.colour_features = nn.Linear(self.colour_encoder.size, settings.features)
        self.depth_features = nn.Linear(self.depth_encoder.size, settings.features)
        self.head = PoseHead(2 * settings.features, settings.rotation, settings.dropout)

    def forward(self, colour: Tensor, depth: Tensor, present: Tensor) -> Outputs:
        """See `PoseModel`; one pose a sample, and no doubt of its own."""
        there = present > 0
        channels = depth_channels(depth, self.settings.with_masks)
        seen = self.colour_features(self.colour_encoder(colour, there[:, 0]))
        measured = self.depth_features(self.depth_encoder(channels, there[:, 1]))
        known = there.to(seen.dtype)
        both = torch.cat([seen * known[:, :1], measured * known[:, 1:]], dim=1)
        raw = self.head(torch.tanh(both))[:, None]
        return {'raw': raw, 'present': present, 'doubt': raw.new_zeros(raw.shape[0])}


@dataclass(frozen=True)
class AtLocSettings(PoseSettings):
    """Settings of `AtLoc`.

    Attributes:
        modality: 'colour', as published, or 'depth'.
        features: Numbers before the heads.
    """

    modality: str = 'colour'
    features: int = 2048

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: A value out of its range.
        """
        super().__post_init__()
        if self.modality not in MODALITIES:
            raise ConfigError(f'modality is {self.modality!r}, expected one of {MODALITIES}')


class AtLoc(PoseModel):
    """One encoder, one long vector of features, attention among them, two heads."""

    NAME: ClassVar[str] = 'atloc'
    Settings: ClassVar[type] = AtLocSettings

    def __init__(self, settings: AtLocSettings) -> None:
        """Builds the network."""
        super().__init__(settings, (settings.modality,))
        self.encoder = picture_encoder(settings)
        self.features = nn.Linear(self.encoder.size, settings.features)
        self.head = PoseHead(settings.features, settings.rotation, settings.dropout)

    def forward(self, colour: Tensor, depth: Tensor, present: Tensor) -> Outputs:
        """See `PoseModel`; without its modality the answer means nothing (`answers`)."""
        if self.settings.modality == 'colour':
            image, there = colour, present[:, 0] > 0
        else:
            image = depth_channels(depth, self.settings.with_masks)
            there = present[:, 1] > 0
        raw = self.head(F.relu(self.features(self.encoder(image, there))))[:, None]
        return {'raw': raw, 'present': present, 'doubt': raw.new_zeros(raw.shape[0])}
