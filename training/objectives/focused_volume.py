# SPDX-License-Identifier: Apache-2.0
"""The likelihood of the true pose with fine yaws where they matter and coarse ones elsewhere.

Scoring a whole circle finely is dear, and a coarse one teaches peaks as wide as its bins. The
integral under the likelihood is therefore taken in two parts: finely around the true yaw, where
the mass should be, and coarsely over the rest of the circle. Both grids lie elsewhere at each
step, so that no yaw is special.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math

import torch
from torch import Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.belief import Belief, evenly_spaced_yaws, interpolated
from geoloc_core.models.geoloc_net import GeolocNet
from training.objectives.base import LOSS, model_inputs, Objective, Progress


@dataclass(frozen=True)
class FocusedVolumeSettings:
    """Settings of `FocusedVolume`.

    Attributes:
        coarse_bins: Around the circle.
        fine_bins: Around the truth.
        fine_half_deg: Half width of the part that is taken finely.
    """

    coarse_bins: int = 18
    fine_bins: int = 9
    fine_half_deg: float = 12.0

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: Says which setting.
        """
        if self.coarse_bins < 3 or self.fine_bins < 3 or not 0 < self.fine_half_deg < 180:
            raise ConfigError(
                f'focused_volume: {self}: expected at least 3 bins of each kind and a '
                'fine_half_deg of 0..180'
            )


class FocusedVolume(Objective):
    """-log p(truth) per m^2 rad; for networks that score any yaw they are asked for."""

    Settings = FocusedVolumeSettings

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`.

        Raises:
            ConfigError: The network cannot be asked for yaws.
        """
        model, s = self.model, self.settings
        if not isinstance(model, GeolocNet):
            raise ConfigError(f'focused_volume trains geoloc, not {model.NAME}: use volume')
        view, patch, _ = model_inputs(model, batch)
        encoded = model.encode(view, patch)
        truth = batch['truth']
        draw = torch.rand(2, len(truth), 1, device=truth.device) - 0.5
        half = math.radians(s.fine_half_deg)
        fine_step = 2 * half / s.fine_bins
        # Middles of bins that fill the part; its middle is off the truth by up to half a bin.
        steps = (
            torch.arange(s.fine_bins, device=truth.device) - (s.fine_bins - 1) / 2
        ) * fine_step
        middle = truth[:, 2:] + draw[0] * fine_step
        fine = middle + steps
        coarse_step = 2 * math.pi / s.coarse_bins
        coarse = evenly_spaced_yaws(s.coarse_bins, 180.0).to(truth.device) + draw[1] * coarse_step
        scores = model.score(encoded, torch.cat([fine, coarse], dim=1))
        weights = torch.cat(
            [
                torch.full_like(fine, fine_step),
                coarse_step * outside_share(coarse - middle, coarse_step, half),
            ],
            dim=1,
        )
        cell = model.cell_m**2
        logs = scores + (weights.clamp_min(1e-30) * cell).log()[..., None, None]
        total = torch.logsumexp(logs.flatten(1), dim=1)
        belief = Belief(scores[:, : s.fine_bins], model.cell_m, fine, closed=False)
        at_truth = interpolated(belief, belief.logits, truth)
        # A truth that lies outside of what is searched teaches nothing.
        inside = interpolated(belief, torch.ones_like(belief.logits), truth) > 0.5
        loss = torch.where(inside, total - at_truth, torch.zeros_like(total))
        return {LOSS: loss.sum() / inside.sum().clamp_min(1)}


def outside_share(offset: Tensor, width: float, half: float) -> Tensor:
    """How much of each bin lies outside of a part of the circle, 0..1.

    Args:
        offset: Middles of bins, counted from the part's middle, rad.
        width: Of a bin, rad.
        half: Half width of the part, rad.
    """
    away = ((offset + math.pi).remainder(2 * math.pi) - math.pi).abs()
    return ((away + width / 2 - half) / width).clamp(0.0, 1.0)
