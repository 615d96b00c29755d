# SPDX-License-Identifier: Apache-2.0
"""What CCVPE learns by (Xia, Booij, Kooij, T-PAMI 2024, sec. 3.4): place, turn, every level."""

from collections.abc import Mapping
from dataclasses import dataclass
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.ccvpe import Ccvpe
from training.objectives.base import LOSS, Objective, Progress, run_model


@dataclass(frozen=True)
class CcvpeObjectiveSettings:
    """Settings of `CcvpeObjective`; the defaults are published.

    Attributes:
        sigma_px: Of the Gaussian around the truth, in pixels of the heat map.
        temperature: Of the similarities in the contrastive term.
        positive_above: Labels up to this are no positives.
        place_weight: Of the heat map's cross entropy.
        contrast_weight: Of the mean contrastive term over the levels.
        direction_weight: Of the squared error of the direction.
    """

    sigma_px: float = 4.0
    temperature: float = 0.1
    positive_above: float = 1e-2
    place_weight: float = 1.0
    contrast_weight: float = 1e4
    direction_weight: float = 10.0


class CcvpeObjective(Objective):
    """Cross entropy of the heat map + InfoNCE of each level + squared error of the direction."""

    Settings = CcvpeObjectiveSettings

    def __init__(self, model: CrossViewModel, settings: CcvpeObjectiveSettings) -> None:
        """Takes a model to train.

        Raises:
            ConfigError: It is no CCVPE: the loss is about this method's own tensors.
        """
        if not isinstance(model, Ccvpe):
            raise ConfigError(
                f"objective 'ccvpe' trains the system 'ccvpe', not {model.NAME!r}: "
                "'volume' trains any system"
            )
        super().__init__(model, settings)

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`; parts are place, contrast and direction, before their weights."""
        s, model = self.settings, self.model
        assert isinstance(model, Ccvpe)
        outputs = run_model(model, batch)
        truth = batch['truth'].float()
        heat = outputs['heat'].float()
        near = gaussian(truth, heat.shape[-2:], model.settings.patch_gsd, s.sigma_px)
        place = place_loss(heat, near)
        direction = direction_loss(outputs['direction'].float(), near, truth[:, 2])
        turns = turn_labels(truth[:, 2], model.match.turns, model.settings.bins)
        levels = []
        while (scores := outputs.get(f'scores_{len(levels)}')) is not None:
            pooled = F.adaptive_max_pool2d(near[:, None], scores.shape[-2:])
            labels = turns[:, :, None, None] * pooled
            levels.append(contrastive_loss(scores, labels, s.temperature, s.positive_above))
        contrast = torch.stack(levels).mean()
        total = (
            s.place_weight * place + s.contrast_weight * contrast + s.direction_weight * direction
        )
        return {LOSS: total, 'place': place, 'contrast': contrast, 'direction': direction}


def gaussian(truth: Tensor, size: tuple[int, int], gsd: float, sigma_px: float) -> Tensor:
    """(B, H, W) exp(-d^2 / 2 sigma^2) around the true places: 1 at its top, wherever that falls.

    Args:
        truth: (B, >= 2) x right, y up from the patch's middle, m.
        size: (H, W).
        gsd: m/px.
        sigma_px: px.
    """
    height, width = size
    u = truth[:, 0] / gsd + (width - 1) / 2
    v = (height - 1) / 2 - truth[:, 1] / gsd
    columns = torch.arange(width, device=truth.device, dtype=truth.dtype)
    rows = torch.arange(height, device=truth.device, dtype=truth.dtype)
    across = torch.exp(-((columns - u[:, None]) ** 2) / (2 * sigma_px**2))
    down = torch.exp(-((rows - v[:, None]) ** 2) / (2 * sigma_px**2))
    return down[:, :, None] * across[:, None, :]


def _shares(near: Tensor) -> Tensor:
    """(B, H, W) that sums to one for each sample, or to zero where the truth is off the patch."""
    total = near.flatten(1).sum(dim=1)[:, None, None]
    return near / total.clamp_min(1e-6)


def place_loss(heat: Tensor, near: Tensor) -> Tensor:
    """Cross entropy between softmax of (B, H, W) logits and a Gaussian that sums to one."""
    log_p = F.log_softmax(heat.flatten(1), dim=1)
    return -(_shares(near).flatten(1) * log_p).sum(dim=1).mean()


def direction_loss(field: Tensor, near: Tensor, yaw: Tensor) -> Tensor:
    """Squared error of (B, 2, H, W) unit vectors, weighed by the Gaussian.

    Args:
        field: Cosine and sine of the yaw offset.
        near: (B, H, W), any scale.
        yaw: (B,) true offset, rad.
    """
    wanted = torch.stack([yaw.cos(), yaw.sin()], dim=1)[:, :, None, None]
    squared = (field - wanted).square().sum(dim=1)
    return (_shares(near) * squared).sum(dim=(1, 2)).mean()


def turn_labels(yaw: Tensor, turns: Tensor, bins: int) -> Tensor:
    """(B, n) how much each turn is the true one: shared linearly by its two neighbours.

    Args:
        yaw: (B,) true offset, rad.
        turns: (n,) `RollingMatch.turns`.
        bins: Turns of a circle.
    """
    away = yaw[:, None] / (2 * math.pi / bins) - turns
    away = (away + bins / 2).remainder(bins) - bins / 2
    return (1.0 - away.abs()).clamp_min(0.0)


def contrastive_loss(
    scores: Tensor, labels: Tensor, temperature: float, positive_above: float
) -> Tensor:
    """InfoNCE over all places and turns of a sample, positives weighed by their labels.

    A sample without positives (its truth is off the patch, or turned further than is compared)
    has no part in it.

    Args:
        scores: (B, n, h, w) similarities.
        labels: The same, 0..1.
        temperature: Scores are divided by it.
        positive_above: Labels up to this count as 0.
    """
    log_p = F.log_softmax(scores.float().flatten(1) / temperature, dim=1)
    weights = torch.where(labels > positive_above, labels, torch.zeros_like(labels)).flatten(1)
    return -(weights * log_p).sum() / weights.sum().clamp_min(1e-6)
