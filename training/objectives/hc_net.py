# SPDX-License-Identifier: Apache-2.0
"""What HC-Net learns by: pose after every iteration, and correlation at the true place.

Wang et al., NeurIPS 2023. Labels are GPS positions brought to pixels by Web Mercator
("label correction"), which is the data reader's affair (VIGOR: `labels: gps`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.correlation_pyramid import full_precision, tents
from geoloc_core.models.hc_net import HcNet
from training.objectives.base import LOSS, Objective, Progress, run_model

# Distances count in pixels of a patch of this side, whatever the patch's own.
_REFERENCE_PX = 512.0


@dataclass(frozen=True)
class HcNetObjectiveSettings:
    """Settings of `HcNetObjective`; published defaults.

    Attributes:
        pose_weight: Of the pose after each iteration.
        match_weight: Of the correlation's cross-entropy.
        yaw_weight: px^2 a degree of yaw counts for.
        decay: An iteration counts this much of the next one.
        temperature: Of the correlation's softmax.
    """

    pose_weight: float = 0.1
    match_weight: float = 1.0
    yaw_weight: float = 10.0
    decay: float = 0.85
    temperature: float = 4.0


class HcNetObjective(Objective):
    """pose_weight * sum_i decay^(I-1-i) (|p_i - p|^2 + yaw_weight |yaw_i - yaw|) + cross-entropy.

    Yaw differences are wrapped, so that the loss holds for any range of yaw.
    """

    Settings = HcNetObjectiveSettings
    model: HcNet

    def __init__(self, model: CrossViewModel, settings: HcNetObjectiveSettings) -> None:
        """Takes an HC-Net to train.

        Raises:
            ConfigError: Another model.
        """
        if not isinstance(model, HcNet):
            raise ConfigError(
                f'objective hc_net trains hc_net, not {model.NAME}: it needs the poses of its '
                'iterations'
            )
        super().__init__(model, settings)

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`; parts: position (px^2 of the last iteration), yaw (deg), match."""
        s: HcNetObjectiveSettings = self.settings
        outputs = run_model(self.model, batch)
        truth = batch['truth'].float()
        with full_precision(truth):
            squares, turns = pose_errors(
                self.model, outputs['positions'].float(), outputs['yaws'].float(), truth
            )
            count = squares.shape[1]
            powers = torch.arange(count - 1, -1, -1, device=truth.device, dtype=truth.dtype)
            weights = s.decay**powers
            pose = (weights * (squares + s.yaw_weight * turns).mean(dim=0)).sum()
            match = match_entropy(self.model, outputs['match'].float(), truth, s.temperature)
            loss = s.pose_weight * pose + s.match_weight * match
        return {
            LOSS: loss,
            'position': squares[:, -1].mean().detach(),
            'yaw': turns[:, -1].mean().detach(),
            'match': match.detach(),
        }


def pose_errors(
    model: HcNet, positions: Tensor, yaws: Tensor, truth: Tensor
) -> tuple[Tensor, Tensor]:
    """Errors of poses.

    Args:
        model: Says how large a pixel is.
        positions: (B, I, 2) m.
        yaws: (B, I) rad.
        truth: (B, 3) m, m, rad.

    Returns:
        (B, I) squared distances in px of a 512 px patch, and (B, I) yaw errors in 0..180 degrees.
    """
    s = model.settings
    px = _REFERENCE_PX / max(s.patch_width, s.patch_height) / s.patch_gsd
    squares = ((positions - truth[:, None, :2]) * px).square().sum(dim=-1)
    turns = (yaws - truth[:, None, 2] + math.pi).remainder(2 * math.pi) - math.pi
    return squares, torch.rad2deg(turns.abs())


def match_entropy(model: HcNet, match: Tensor, truth: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the correlation's softmax with the true place, which lies between cells.

    Args:
        model: Says where the true place lies in `match`.
        match: (B, h, w) correlations.
        truth: (B, 3) m, m, rad.
        temperature: Correlations are divided by it.

    Returns:
        A scalar: the mean of -log p read bilinearly; a truth outside the map counts as on its rim.
    """
    rows, columns = match.shape[1:]
    at = model.match_cells(truth[:, :2], truth[:, 2])
    across = tents(at[:, 0].clamp(0.0, columns - 1.0), columns)
    down = tents(at[:, 1].clamp(0.0, rows - 1.0), rows)
    log_p = F.log_softmax(match.flatten(1) / temperature, dim=1).view_as(match)
    return -torch.einsum('by,byx,bx->b', down, log_p, across).mean()
