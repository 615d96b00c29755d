# SPDX-License-Identifier: Apache-2.0
"""What the fusion transformer learns by: InfoNCE on the heat map, and the yaw it lacked."""

from collections.abc import Mapping
from dataclasses import dataclass
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.correlation_pyramid import full_precision, tents
from geoloc_core.models.fusion_transformer import (
    CLASSES,
    FusionTransformer,
    scaled_by_peak,
)
from training.objectives.base import LOSS, Objective, Progress, run_model

# Weights of places smaller than this count as none.
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True)
class FusionTransformerObjectiveSettings:
    """Settings of `FusionTransformerObjective`; published defaults, with the yaw added.

    Attributes:
        temperature: Of the heat map's softmax.
        sigma_px: Width of the bell around the true place, px of the patch.
        peak_of_batch: Divide logits by the largest one of the batch, as the released code does,
            rather than by each sample's own.
        yaw_weight: Of the yaw term; 0 leaves the published method.
        semi_positives: Probability that a sample is compared with another patch that shows its
            place; published: 0 ("positives"), or 0.5 with semi-positives.
    """

    temperature: float = 0.1
    sigma_px: float = 4.0
    peak_of_batch: bool = False
    yaw_weight: float = 1.0
    semi_positives: float = 0.0


class FusionTransformerObjective(Objective):
    """InfoNCE of the place + yaw_weight * cross-entropy of the yaw at the true place."""

    Settings = FusionTransformerObjectiveSettings
    model: FusionTransformer

    def __init__(
        self, model: CrossViewModel, settings: FusionTransformerObjectiveSettings
    ) -> None:
        """Takes a fusion transformer to train.

        Raises:
            ConfigError: Another model, a setting out of range, or a yaw to learn without a head.
        """
        if not isinstance(model, FusionTransformer):
            raise ConfigError(
                f'objective fusion_transformer trains fusion_transformer, not {model.NAME}: it '
                'needs the heat map before its softmax'
            )
        if settings.temperature <= 0 or settings.sigma_px <= 0:
            raise ConfigError(
                f'objective fusion_transformer: temperature {settings.temperature} and sigma_px '
                f'{settings.sigma_px}, expected positive numbers'
            )
        if not 0 <= settings.semi_positives <= 1:
            raise ConfigError(
                f'objective fusion_transformer: semi_positives {settings.semi_positives}, '
                'expected 0..1'
            )
        if settings.yaw_weight and model.yaw is None:
            raise ConfigError(
                f'objective fusion_transformer: yaw_weight {settings.yaw_weight}, but the model '
                'has no yaw head: set yaw_weight: 0, or yaw_head: true'
            )
        super().__init__(model, settings)
        # Asked for only where they are used: not every data set has them.
        self.EXTRAS = ('others',) if settings.semi_positives else ()  # type: ignore[misc]

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`; parts: place, and yaw if there is a head.

        Raises:
            DataError: A yaw offset past the range of the model's belief.
        """
        s: FusionTransformerObjectiveSettings = self.settings
        if s.semi_positives:
            batch = with_semi_positives(self.model, batch, s.semi_positives)
        outputs = run_model(self.model, batch)
        truth = batch['truth'].float()
        with full_precision(truth):
            heat = scaled_by_peak(outputs['heat'].float(), s.peak_of_batch)
            place = info_nce(heat / s.temperature, place_weights(self.model, truth, s.sigma_px))
            losses = {LOSS: place, 'place': place.detach()}
            if self.model.yaw is not None:
                # With weight 0 too, so that wrappers for many GPUs see all parameters used.
                yaw = yaw_entropy(self.model, outputs['yaw_scores'].float(), truth)
                losses[LOSS] = place + s.yaw_weight * yaw
                losses['yaw'] = yaw.detach()
        return losses


def place_weights(model: FusionTransformer, truth: Tensor, sigma_px: float) -> Tensor:
    """How much each pixel counts as the true place.

    Args:
        model: Says where pixels are.
        truth: (B, 3) m, m, rad; between pixels, not rounded to one.
        sigma_px: Width of the bell.

    Returns:
        (B, H, W), 1 at the place and 0 far from it; all 0 if the place is outside the patch.
    """
    s = model.settings
    u = truth[:, :1] / s.patch_gsd + (s.patch_width - 1) / 2
    v = (s.patch_height - 1) / 2 - truth[:, 1:2] / s.patch_gsd
    across = torch.arange(s.patch_width, device=truth.device) - u
    down = torch.arange(s.patch_height, device=truth.device) - v
    squares = down.square()[:, :, None] + across.square()[:, None]
    weights = (-squares / (2 * sigma_px**2)).exp()
    inside = (u > -0.5) & (u < s.patch_width - 0.5)
    inside = inside & (v > -0.5) & (v < s.patch_height - 0.5)
    return torch.where(inside[..., None] & (weights > _LEAST_WEIGHT), weights, 0.0)


def info_nce(logits: Tensor, weights: Tensor) -> Tensor:
    """-sum_i w_i log softmax(logits)_i / sum_i w_i, averaged over the samples.

    Every pixel is a candidate, those near the true place are the positives (CCVPE, Xia et al.,
    T-PAMI 2024, its weighted InfoNCE; all of a patch's other pixels are the negatives).

    Args:
        logits: (B, H, W), divided by the temperature.
        weights: (B, H, W), 0 or more; samples without any are left out.

    Returns:
        A scalar; 0, with gradient 0, if no sample has weights.
    """
    log_p = F.log_softmax(logits.flatten(1), dim=1)
    weights = weights.flatten(1)
    total = weights.sum(dim=1)
    each = -(weights * log_p).sum(dim=1) / total.clamp_min(_LEAST_WEIGHT)
    counted = (total > 0).to(each.dtype)
    return (each * counted).sum() / counted.sum().clamp_min(1.0)


def yaw_entropy(model: FusionTransformer, scores: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of the yaw, given the true place.

    Args:
        model: With a yaw head; says where cells and bins are.
        scores: (B, N, h, w) of the head.
        truth: (B, 3) m, m, rad. The place may lie between cells and the yaw between bins: both
            are read linearly. A place outside the patch counts as on its rim.

    Returns:
        A scalar, the mean of -log p(yaw | place).

    Raises:
        DataError: A yaw offset past the range of the model's bins.
    """
    s = model.settings
    worst = float(truth[:, 2].abs().max())
    # A hair of slack for float32.
    if worst > math.radians(s.half_yaw_deg) + 1e-3:
        raise DataError(
            f'a sample is turned by {math.degrees(worst):.1f} degrees from its prior, the model '
            f'is made for +-{s.half_yaw_deg:g}: widen its half_yaw_deg, or draw priors within it'
        )
    cell = s.yaw_stride * s.patch_gsd
    rows, columns = scores.shape[2:]
    u = (truth[:, 0] / cell + (columns - 1) / 2).clamp(0, columns - 1)
    v = ((rows - 1) / 2 - truth[:, 1] / cell).clamp(0, rows - 1)
    there = torch.einsum('bnyx,by,bx->bn', scores, tents(v, rows), tents(u, columns))
    log_p = F.log_softmax(there @ model.yaw_reading.to(there).T, dim=1)
    return -(yaw_targets(model, truth[:, 2]) * log_p).sum(dim=1).mean()


def yaw_targets(model: FusionTransformer, yaw: Tensor) -> Tensor:
    """(B, K) shares of the two bins next to each yaw (B,), rad; they sum to one."""
    bins = model.yaw_bins.to(yaw)
    step, count = bins[1] - bins[0], len(bins)
    at = (yaw - bins[0]) / step
    closed = model.settings.half_yaw_deg >= 180.0
    at = at.remainder(count) if closed else at.clamp(0, count - 1)
    # remainder() of a hair less than zero is `count` itself in floating point.
    gap = (at[:, None] - torch.arange(count, device=yaw.device)).abs()
    if closed:
        gap = torch.minimum(gap, count - gap)
    return F.relu(1.0 - gap)


def with_semi_positives(
    model: FusionTransformer, batch: Mapping[str, Tensor], probability: float
) -> dict[str, Tensor]:
    """A batch in which some samples are compared with another patch that shows their place.

    Args:
        model: Says how large a patch is.
        batch: With 'others' (B, N, 3, h, w), 'others_truth' (B, N, 3) and 'others_valid' (B, N).
        probability: Of taking another patch, one of the valid ones at random; where there is none,
            or the place lies outside it, the sample keeps its own.

    Returns:
        The batch with patch, patch_mask, truth and, if any, patch_classes exchanged. Of other
        patches no classes are known: there the mask is empty.
    """
    s = model.settings
    others, truths = batch['others'], batch['others_truth']
    count = len(others)
    index = torch.arange(count, device=others.device)
    valid = batch['others_valid']
    draw = torch.rand(valid.shape).to(valid.device)
    pick = draw.masked_fill(~valid, -1.0).argmax(dim=1)
    taken = (torch.rand(count) < probability).to(others.device) & valid.any(dim=1)
    truth = truths[index, pick]
    half = truth.new_tensor([s.patch_width, s.patch_height]) * (s.patch_gsd / 2)
    taken = taken & (truth[:, :2].abs() < half).all(dim=1)
    wide = taken[:, None, None, None]
    changed = dict(batch)
    changed['truth'] = torch.where(taken[:, None], truth, batch['truth'])
    changed['patch'] = torch.where(wide, others[index, pick], batch['patch'])
    changed['patch_mask'] = batch['patch_mask'] | wide
    if CLASSES in batch:
        changed[CLASSES] = torch.where(wide, torch.zeros_like(batch[CLASSES]), batch[CLASSES])
    return changed
