# SPDX-License-Identifier: Apache-2.0
"""Learning poses directly: the objective of concatenation, AtLoc and MapNet.

References: MapNet (Brahmbhatt et al., CVPR 2018), AtLoc (Wang et al., AAAI 2020).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoloc_core.models.pose_model import network_inputs, PoseModel
from training.datasets.base import AbstractDataset
from training.loop.companions import Companions
from training.objectives.base import LOSS, Objective, Progress
from training.objectives.pose_loss import (
    draw_present,
    frame_tuples,
    pairs_in,
    PoseLoss,
    PoseLossSettings,
    RelativeLoss,
)


@dataclass(frozen=True)
class PoseRegressionSettings(PoseLossSettings):
    """Settings of `PoseRegression`."""


class PoseObjective(Objective):
    """What both objectives of pose networks do: withhold modalities, pair frames.

    Attributes:
        pose_loss: Of single frames.
        relative_loss: Of pairs, or None.
    """

    model: PoseModel

    def __init__(self, model: PoseModel, settings: PoseLossSettings) -> None:
        """Takes a pose network; the losses' weights are learned with it."""
        super().__init__(model, settings)
        rotation = model.settings.rotation
        self.pose_loss = PoseLoss(rotation, settings.first_weights)
        self.relative_loss: RelativeLoss | None = None
        if settings.relative != 'none':
            self.relative_loss = RelativeLoss(settings.relative, rotation)
        # Index in the data set -> place in the selection, for finding pairs.
        self._places: Tensor | None = None

    def companions(self, dataset: AbstractDataset, indices: np.ndarray) -> Companions | None:
        """See `Objective`."""
        places = torch.full((len(dataset),), -(10**9), dtype=torch.int64)
        places[torch.from_numpy(np.asarray(indices, np.int64))] = torch.arange(len(indices))
        self._places = places
        return frame_tuples(self.settings, dataset, indices)

    def inputs(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Colour, depth and what is present of them this time."""
        colour, depth, _ = network_inputs(self.model, dict(batch))
        present = draw_present(self.model, batch['available'], self.settings)
        return colour, depth, present.to(colour.dtype)

    def relative(self, raw: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The relative term, weighed, of what heads say (B, 3 + r); nothing where none is wanted.

        Two samples of different sequences are never `spacing` places apart in one batch but by
        accident of the order, which the true poses then make right all the same: the term
        compares relative poses with true ones, whichever frames they are of.
        """
        if self.relative_loss is None or self._places is None:
            return {}
        places = self._places.to(raw.device)[batch['index']]
        pairs = pairs_in(places, self.settings.spacing)
        truth = batch['position'], batch['rotation']
        loss = self.relative_loss(raw, self.model.settings.scale_m, truth, pairs)
        return {'relative': self.settings.relative_weight * loss}

    def weights(self) -> dict[str, Tensor]:
        """The learned weights, to be shown."""
        s_t, s_q = self.pose_loss.weights.detach()
        return {'s_t': s_t, 's_q': s_q}


class PoseRegression(PoseObjective):
    """The mean pose loss of what the heads say."""

    Settings = PoseRegressionSettings

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`."""
        raw = self.model(*self.inputs(batch))['raw']
        truth = batch['position'][:, None], batch['rotation'][:, None]
        pose = self.pose_loss(raw, self.model.settings.scale_m, *truth).mean()
        parts = {'pose': pose, **self.relative(raw.mean(dim=1), batch)}
        return {LOSS: sum(parts.values(), pose.new_zeros(())), **parts, **self.weights()}
