# SPDX-License-Identifier: Apache-2.0
"""Learning to match the ground with the map from pairs, or from places.

Reference: Shi et al., G2SWeakly, ECCV 2024, section 3.3. A view must fit its own piece of map
somewhere better than it fits anybody else's: that needs pairs, not places. If places are known
roughly, the best fit should not be better elsewhere than near there; if exactly, the true cell
should fit better than every other cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.template_matching import cell_of, correlate_all
from training.objectives.base import LOSS, Objective, Progress, run_model


@dataclass(frozen=True)
class WeakTripletSettings:
    """Settings of `WeakTriplet`.

    Attributes:
        sharpness: Of the soft margin.
        gps_weight: lambda of the term that uses rough places; published 0 or 1.
        gps_box_m: Half a side of the box around them.
        label_noise_m: Half a side of the box in which places are displaced, to learn from rough
            ones where exact ones are at hand; drawn anew each time.
    """

    sharpness: float = 10.0
    gps_weight: float = 0.0
    gps_box_m: float = 5.0
    label_noise_m: float = 0.0


@dataclass(frozen=True)
class SupervisedTripletSettings:
    """Settings of `SupervisedTriplet`.

    Attributes:
        sharpness: Of the soft margin.
    """

    sharpness: float = 10.0


class _Matching(Objective):
    """What both have in common: a model that gives maps of scores."""

    def __init__(self, model: CrossViewModel, settings: Any) -> None:
        """Takes a model to train.

        Raises:
            ConfigError: It does not match templates.
        """
        if not hasattr(model, 'cell_m') or not hasattr(model.settings, 'levels'):
            raise ConfigError(
                f'the objectives g2sweakly and g2sweakly_supervised need a model that matches '
                f'templates, {model.NAME} does not: choose system g2sweakly'
            )
        super().__init__(model, settings)
        # Learned before, from the map alone (`objectives.rotation`).
        for name in ('rotation', 'rotation_net'):
            part = getattr(model, name, None)
            if isinstance(part, nn.Module):
                part.requires_grad_(False)

    @property
    def levels(self) -> tuple[int, ...]:
        """That are matched."""
        levels: tuple[int, ...] = self.model.settings.levels
        return levels

    def cell_m(self, level: int) -> float:
        """Side of a level's cells, m."""
        return float(self.model.cell_m(level))  # type: ignore[operator]


class WeakTriplet(_Matching):
    """Own pairs against all others of the batch (WeakTripletSettings: lambda 0 or 1)."""

    Settings = WeakTripletSettings

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`.

        Raises:
            ConfigError: A batch of one, which has no others.
        """
        s: WeakTripletSettings = self.settings
        if len(batch['patch']) < 2:
            raise ConfigError(
                'g2sweakly compares the pairs of a batch: batch_size must be 2 or more'
            )
        outputs = run_model(self.model, batch)
        others = ~same_patches(batch['patch'])
        place = batch['truth'][:, :2]
        if s.gps_weight and s.label_noise_m:
            place = place + (2 * torch.rand_like(place) - 1) * s.label_noise_m
        pairs, gps = [], []
        for k in self.levels:
            patch = outputs[f'patch_features_{k}']
            scores = correlate_all(patch, outputs[f'template_{k}'], outputs[f'confidence_{k}'])
            distance = 2 - 2 * scores
            pairs.append(pair_loss(distance.amin(dim=(2, 3)), others, s.sharpness))
            own = distance.diagonal(dim1=0, dim2=1).permute(2, 0, 1)
            gps.append(box_loss(own, place, self.cell_m(k), s.gps_box_m))
        weak, near = torch.stack(pairs).mean(), torch.stack(gps).mean()
        return {LOSS: weak + s.gps_weight * near, 'weak': weak, 'gps': near}


class SupervisedTriplet(_Matching):
    """The true cell of the own map against all its other cells."""

    Settings = SupervisedTripletSettings

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`."""
        outputs = run_model(self.model, batch)
        losses = [
            cell_loss(
                2 - 2 * outputs[f'similarity_{k}'],
                batch['truth'][:, :2],
                self.cell_m(k),
                self.settings.sharpness,
            )
            for k in self.levels
        ]
        return {LOSS: torch.stack(losses).mean()}


def same_patches(patch: Tensor) -> Tensor:
    """(B, B) bool: which patches (B, C, H, W) uint8 of a batch are one and the same picture.

    A view fits such a 'negative' as well as its own patch. Each is the same as itself.
    """
    values = patch.flatten(1).to(torch.int64)
    place = torch.arange(values.shape[1], device=patch.device)
    # Two sums tell pictures apart, and cost less than comparing all with all.
    sums = torch.stack([values.sum(dim=1), (values * place).sum(dim=1)], dim=1)
    return (sums[:, None] == sums[None]).all(dim=2)


def pair_loss(distance: Tensor, others: Tensor, sharpness: float) -> Tensor:
    """Soft-margin triplets of least distances: mean of log(1 + exp(a (d_ii - d_ij))).

    Args:
        distance: (M, M) of map i and view j.
        others: (M, M) bool, which pairs do not belong together.
        sharpness: a.
    """
    own = distance.diagonal()[:, None]
    loss = F.softplus(sharpness * (own - distance)) * others
    return loss.sum() / others.sum().clamp_min(1)


def box_loss(distance: Tensor, place: Tensor, cell_m: float, half_m: float) -> Tensor:
    """|least distance - least distance near the known place|, mean over the batch.

    Args:
        distance: (B, h, w).
        place: (B, 2) m, patch's frame.
        cell_m: Side of a cell.
        half_m: Half a side of the box that counts as near. Samples whose box has no cell of the
            map do not count.
    """
    rows, columns = distance.shape[-2:]
    row, column = cell_of(place, (rows, columns), cell_m)
    half = half_m / cell_m
    v = torch.arange(rows, device=distance.device).view(1, -1, 1) - row.view(-1, 1, 1)
    u = torch.arange(columns, device=distance.device).view(1, 1, -1) - column.view(-1, 1, 1)
    near = (v.abs() <= half) & (u.abs() <= half)
    known = near.flatten(1).any(dim=1)
    # Distances are at most 4.
    inside = torch.where(near, distance, torch.full_like(distance, 4.0)).amin(dim=(1, 2))
    apart = (inside - distance.amin(dim=(1, 2))).abs() * known
    return apart.sum() / known.sum().clamp_min(1)


def cell_loss(distance: Tensor, place: Tensor, cell_m: float, sharpness: float) -> Tensor:
    """Soft-margin triplets of the true cell and all others, mean over cells and batch.

    Args:
        distance: (B, h, w).
        place: (B, 2) m, patch's frame. Samples whose place is off the map do not count.
        cell_m: Side of a cell.
        sharpness: As in `pair_loss`.
    """
    rows, columns = distance.shape[-2:]
    row, column = (value.round().long() for value in cell_of(place, (rows, columns), cell_m))
    known = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    index = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
    flat = distance.flatten(1)
    own = flat.gather(1, index[:, None])
    others = torch.ones_like(flat).scatter(1, index[:, None], 0.0)
    loss = (F.softplus(sharpness * (own - flat)) * others).sum(dim=1) / max(flat.shape[1] - 1, 1)
    return (loss * known).sum() / known.sum().clamp_min(1)
