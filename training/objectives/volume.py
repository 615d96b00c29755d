# SPDX-License-Identifier: Apache-2.0
"""Maximum likelihood of the true pose under a volume (OrienterNet, Sarlin et al., CVPR 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
import math

from torch import Tensor

from geoloc_core.models.belief import Belief, interpolated
from training.objectives.base import LOSS, Objective, Progress, run_model


@dataclass(frozen=True)
class VolumeSettings:
    """Settings of `VolumeLikelihood`: none."""


class VolumeLikelihood(Objective):
    """-log p(truth), log p read trilinearly in the volume and counted per m^2 rad."""

    Settings = VolumeSettings

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`."""
        belief = self.model.belief(run_model(self.model, batch))
        return {LOSS: volume_loss(belief, batch['truth']).mean()}


def volume_loss(belief: Belief, truth: Tensor) -> Tensor:
    """What a network learns the likelihood by, (B,) nats.

    Unlike `negative_log_likelihood` it interpolates the logarithm and mixes no doubt in: a sample
    that is wholly wrong, as all are at first, would otherwise have no gradient.

    Args:
        belief: A batch of beliefs.
        truth: (B, 3) poses in the patch's frame; one outside the volume costs nothing.
    """
    density = interpolated(belief, belief.log_prob(), truth)
    return math.log(belief.cell_m**2 * belief.yaw_step) - density
