# SPDX-License-Identifier: Apache-2.0
"""What objectives on pairs of pictures share: which pictures meet, and how they overlap."""

from abc import abstractmethod
from collections.abc import Sequence
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.descriptor import DescriptorModel, SamePlace
from training.datasets.base import AbstractDataset, UnreadableError
from training.datasets.observations import points_seen, world_of
from training.datasets.overlaps import Overlaps, overlaps_of
from training.loop.companions import Companions
from training.objectives.base import Objective

log = logging.getLogger(__name__)


class PlaceCompanions(Companions):
    """One partner each: a picture of the same place or of another one, with equal chances.

    Attributes:
        size: Of a group: anchor and partner.
        overlaps: Of the pictures that are learned from.
    """

    size = 2

    def __init__(self, overlaps: Overlaps) -> None:
        """Takes the overlaps."""
        self.overlaps = overlaps

    def of(self, place: int, rng: np.random.Generator) -> Sequence[int]:
        """The partner; of the other kind where there is none of one, and the anchor at worst."""
        positives = self.overlaps.positives(place)
        negative = self.overlaps.negative(place, rng)
        if len(positives) and (negative is None or rng.random() < 0.5):
            return (int(rng.choice(positives)),)
        return (place if negative is None else negative,)


def overlaps_in(dataset: AbstractDataset, indices: np.ndarray, rule: SamePlace) -> Overlaps:
    """Overlaps of samples of a data set; opens each of them once.

    Args:
        dataset: With poses, and depth or points of a reconstruction.
        indices: (N,) of its samples.
        rule: What counts as the same place.

    Raises:
        DataError: It is not known of any sample what it sees, or none overlaps with another.
    """
    points, worlds = [], []
    for index in indices:
        try:
            sample = dataset.sample(int(index), 0)
        except UnreadableError as error:
            log.warning('%s: it takes no part in overlaps', error)
            points.append(np.zeros((0, 3), np.float32))
            worlds.append('')
            continue
        seen = points_seen(sample)
        # Rows that only fill up are most of a city's.
        points.append(seen[np.isfinite(seen).all(axis=1)])
        worlds.append(world_of(sample))
    if not any(len(p) for p in points):
        raise DataError(
            f'{dataset.NAME} {dataset.root}: no sample has both a pose and depth, or points of a '
            'reconstruction, so it is not known which show the same place: take an RGB-D data '
            'set, or set data.options.points: true (of the reader aachen)'
        )
    overlaps = overlaps_of(points, worlds, rule)
    pairs = overlaps.iou.nnz - len(overlaps)
    if pairs == 0:
        what = f'cells of {rule.cell:g}' if rule.cell else 'points (cell: 0 is not for depth)'
        raise DataError(
            f'{dataset.NAME} {dataset.root}: no two of {len(overlaps)} pictures share '
            f'{rule.shared} {what}: set system.settings.same_place, or take more pictures'
        )
    log.info('%d pictures, %.1f others of its place each', len(overlaps), pairs / len(overlaps))
    return overlaps


class PairObjective(Objective):
    """An objective that learns from how pictures of a batch overlap.

    Attributes:
        indices: (N,) of the data set's samples that are learned from, ascending.
        overlaps: Of these.
    """

    def __init__(self, model: DescriptorModel, settings: Any) -> None:
        """Takes the network to train.

        Raises:
            ConfigError: It is no descriptor.
        """
        if not isinstance(model, DescriptorModel):
            raise ConfigError(
                f'this objective trains descriptors, {model.NAME} is none: take crossvit_student '
                'or crossvit_teacher'
            )
        super().__init__(model, settings)
        self.indices = np.zeros(0, np.int64)
        self.overlaps: Overlaps | None = None

    def companions(self, dataset: AbstractDataset, indices: np.ndarray) -> Companions:
        """Looks at all samples once; see `Objective.companions`."""
        overlaps = overlaps_in(dataset, indices, self.model.same_place)
        self.indices = np.asarray(indices, np.int64)
        self.overlaps = self.weighted(overlaps)
        return PlaceCompanions(overlaps)

    @abstractmethod
    def weighted(self, overlaps: Overlaps) -> Overlaps:
        """The overlaps as the loss takes them."""

    def between_rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """How the pictures of a batch stand to each other.

        Args:
            index: (B,) of the data set.

        Returns:
            iou (B, B) float32 and decided (B, B) bool, see `Overlaps.between`.
        """
        assert self.overlaps is not None, 'companions comes before the first batch'
        places = np.searchsorted(self.indices, index.cpu().numpy())
        iou, decided = self.overlaps.between(places, places)
        return (
            torch.from_numpy(iou).to(index.device, torch.float32),
            torch.from_numpy(decided).to(index.device),
        )


def squared_distances(vectors: Tensor) -> Tensor:
    """(B, B) of unit vectors (B, D); exactly 0 on the diagonal.

    Differences rather than products: near distances keep their digits.
    """
    return (vectors[:, None] - vectors[None]).square().sum(dim=-1)


def root(squares: Tensor) -> Tensor:
    """Square roots whose gradient stays finite at 0, where it is 0."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)
