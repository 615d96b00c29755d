# SPDX-License-Identifier: Apache-2.0
"""Learning rotation from the map alone, for pinhole cameras.

Reference: Shi et al., G2SWeakly, ECCV 2024, section 3.1 (stage 0 on KITTI). The patch is moved and
turned by a drawn pose and cut to what a camera there would see; the estimator must find the pose.
Neither views nor labels are used. What it learned is then used on real views.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import CrossViewModel, normalise
from geoloc_core.models.ground_projection import GroundProjection
from geoloc_core.models.neural_optimizer import warp
from training.objectives.base import LOSS, Objective, Progress


@dataclass(frozen=True)
class RotationSettings:
    """Settings of `SelfSupervisedRotation`.

    Attributes:
        shift_weight: Of the error of the place, in units of the search range.
        yaw_weight: Of the error of yaw likewise.
    """

    shift_weight: float = 100.0
    yaw_weight: float = 100.0


class SelfSupervisedRotation(Objective):
    """L1 between drawn and found poses, in units of their ranges, mean over the levels."""

    Settings = RotationSettings

    def __init__(self, model: CrossViewModel, settings: Any) -> None:
        """Takes a model to train; only its rotation estimator learns.

        Raises:
            ConfigError: It has none.
        """
        if getattr(model, 'rotation', None) is None:
            raise ConfigError(
                f'objective rotation trains the rotation estimator of a g2sweakly for pinhole '
                f'views, this {model.NAME} has none: set rotation: true in its settings'
            )
        super().__init__(model, settings)
        for name, parameter in model.named_parameters():
            if not name.startswith(('rotation.', 'rotation_net.', 'calibration.')):
                parameter.requires_grad_(False)

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`."""
        model: Any = self.model
        patch = normalise(batch['patch'], batch['patch_mask'], model.inputs.patch)
        ranges = model.rotation.ranges
        truth = (2 * torch.rand(len(patch), 3, device=patch.device) - 1) * ranges
        poses = poses_from_map(model, patch, truth)
        error = ((poses - truth[:, None]) / ranges).abs().mean(dim=(0, 1))
        place, yaw = error[:2].sum(), error[2]
        s: RotationSettings = self.settings
        loss = s.shift_weight * place + s.yaw_weight * yaw
        return {LOSS: loss, 'place': place, 'yaw': yaw}


def poses_from_map(model: Any, patch: Tensor, truth: Tensor) -> Tensor:
    """What the estimator finds when the map itself, seen from a known pose, is the view.

    Args:
        model: A G2SWeakly with a rotation estimator.
        patch: (B, 3, h, w) normalised.
        truth: (B, 3) x, y (m), yaw (rad), patch's frame.

    Returns:
        (B, levels, 3) likewise.
    """
    side_m = model.settings.side_m
    seen = model.rotation_net(warp(patch, truth, side_m)[0])[0]
    straight = torch.zeros(1, device=patch.device)

    def look(level: int) -> tuple[Tensor, Tensor]:
        ground: GroundProjection = model.surroundings[str(level)]
        frustum = ground.places(straight)[2][:, None].to(patch)
        inside = warp(seen[level][:, :1], truth, side_m)[1]
        return seen[level], frustum * inside

    poses: Tensor = model.rotation(model.rotation_net(patch)[0], look)
    return poses
