# SPDX-License-Identifier: Apache-2.0
"""Descriptors as near as their pictures' places overlap: the spatial contrastive loss.

Reference: "Multi-modal CrossViT using 3D spatial information for visual localization" (Multimedia
Tools and Applications 2024). With distance d of a pair, overlap w and margin m, each pair costs
1/2 w d^2 + 1/2 (1 - w) max(0, m - d)^2. The mean over pairs is minimised, where the paper has the
sum: the learning rate then does not depend on the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.descriptor import DescriptorModel
from training.datasets.overlaps import Overlaps
from training.description import run_descriptor
from training.objectives.base import LOSS, Progress
from training.objectives.pairs import PairObjective, root, squared_distances

PAIRS = ('partners', 'batch')


@dataclass(frozen=True)
class SpatialContrastiveSettings:
    """The defaults are the published ones.

    Attributes:
        margin: Distance (0..2, of unit vectors) from which other places are far enough.
        pairs: 'partners' (published: each anchor with its one partner) or 'batch' (every two
            pictures of a batch of which it is known how they stand).
        normalised: Whether overlaps of all pairs of a place are stretched to 0..1, as the paper
            says and its code does not.
    """

    margin: float = 0.5
    pairs: str = 'partners'
    normalised: bool = True

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ConfigError: One that cannot be.
        """
        if self.pairs not in PAIRS:
            raise ConfigError(f'pairs is {self.pairs!r}, expected one of {PAIRS}')
        if not 0.0 < self.margin <= 2.0:
            raise ConfigError(
                f'margin is {self.margin}: expected above 0 and 2 at most, since descriptors have '
                'length one'
            )


def contrastive_terms(squares: Tensor, overlap: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """What pairs cost for being far and for being near; the loss of a pair is the sum.

    Args:
        squares: Squared distances of pairs, of any shape.
        overlap: w in 0..1 of the same pairs.
        margin: m.
    """
    apart = (margin - root(squares)).clamp_min(0.0)
    return 0.5 * overlap * squares, 0.5 * (1.0 - overlap) * apart.square()


class SpatialContrastive(PairObjective):
    """The spatial contrastive loss, of teacher or student."""

    Settings = SpatialContrastiveSettings

    def __init__(self, model: DescriptorModel, settings: SpatialContrastiveSettings) -> None:
        """Takes a descriptor network."""
        super().__init__(model, settings)

    def weighted(self, overlaps: Overlaps) -> Overlaps:
        """See `PairObjective`."""
        return overlaps.normalised() if self.settings.normalised else overlaps

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`; `positive` and `negative` are mean distances, for people."""
        vectors = run_descriptor(self.model, batch)
        squares = squared_distances(vectors)
        overlap, decided = self.between_rows(batch['index'])
        used = decided & pairs_of(len(vectors), self.settings.pairs, decided.device)
        return contrastive_losses(squares, overlap, used, self.settings.margin)


def pairs_of(rows: int, kind: str, device: torch.device) -> Tensor:
    """(B, B) True for the pairs that count, each once.

    A row that could not be read is missing, and those after it meet other partners than were
    drawn for them; how these overlap is known as well.
    """
    i, j = torch.arange(rows, device=device)[:, None], torch.arange(rows, device=device)[None]
    if kind == 'batch':
        return i < j
    return (i % 2 == 0) & (j == i + 1)


def contrastive_losses(
    squares: Tensor, overlap: Tensor, used: Tensor, margin: float
) -> dict[str, Tensor]:
    """The mean over the pairs in use; 0 where there are none.

    Args:
        squares: (B, B) squared distances.
        overlap: (B, B) w.
        used: (B, B) bool.
        margin: m.
    """
    near, far = contrastive_terms(squares, overlap, margin)
    distances = root(squares.detach())
    count = used.sum().clamp_min(1)
    positive, negative = used & (overlap > 0), used & (overlap == 0)
    return {
        LOSS: torch.where(used, near + far, 0.0).sum() / count,
        'attract': torch.where(used, near, 0.0).sum() / count,
        'repel': torch.where(used, far, 0.0).sum() / count,
        'positive': torch.where(positive, distances, 0.0).sum() / positive.sum().clamp_min(1),
        'negative': torch.where(negative, distances, 0.0).sum() / negative.sum().clamp_min(1),
    }
