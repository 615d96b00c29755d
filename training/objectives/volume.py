# SPDX-License-Identifier: Apache-2.0
"""Maximum likelihood of the true pose under a volume (OrienterNet, Sarlin et al., CVPR 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from geoloc_core.models.belief import negative_log_likelihood
from training.objectives.base import LOSS, Objective, Progress, run_model


@dataclass(frozen=True)
class VolumeSettings:
    """Settings of `VolumeLikelihood`.

    Attributes:
        doubt: Share of a uniform distribution mixed in, see `negative_log_likelihood`.
    """

    doubt: float = 1e-3


class VolumeLikelihood(Objective):
    """-log p(truth), p read trilinearly in the volume and counted per m^2 rad."""

    Settings = VolumeSettings

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`."""
        belief = self.model.belief(run_model(self.model, batch))
        nll = negative_log_likelihood(belief, batch['truth'], self.settings.doubt)
        return {LOSS: nll.mean()}
