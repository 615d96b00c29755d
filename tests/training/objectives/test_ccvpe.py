# SPDX-License-Identifier: Apache-2.0
"""CCVPE's losses against known answers, and which way they pull."""

from dataclasses import replace
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import settings_from
from geoloc_core.models.ccvpe import Ccvpe
from geoloc_core.models.ccvpe_settings import CcvpeSettings, KITTI
from tests.training.recipes import published_backbone
from training.loop.settings import read_config
from training.objectives.base import Progress
from training.objectives.ccvpe import (
    CcvpeObjective,
    CcvpeObjectiveSettings,
    contrastive_loss,
    direction_loss,
    gaussian,
    place_loss,
    turn_labels,
)

SMALL = CcvpeSettings(
    backbone='efficientnet_lite0',
    view_size=(128, 64),
    patch_side=64,
    patch_gsd=1.0,
    bins=4,
    view_bins=4,
    descriptor_channels=(4, 4, 2, 2, 1, 1),
    first_width=16,
    orientation_widths=(16, 16, 8, 8, 8, 8),
    yaw_bins=12,
)


def test_gaussian_lies_where_the_truth_is():
    """2 m right and 1.5 m up of the middle of 10 x 8 pixels of 0.5 m."""
    near = gaussian(torch.tensor([[2.25, 1.25, 0.0]]), (8, 10), 0.5, 1.0)
    assert near.shape == (1, 8, 10)
    assert near[0].argmax().item() == 1 * 10 + 9
    assert near[0, 1, 9].item() == pytest.approx(1.0)
    assert near[0, 1, 8].item() == pytest.approx(math.exp(-0.5))
    assert near[0, 3, 9].item() == pytest.approx(math.exp(-2.0))
    between = gaussian(torch.zeros(1, 3), (8, 10), 0.5, 1.0)
    assert between[0, 3, 4].item() == between[0, 4, 5].item() == pytest.approx(math.exp(-0.25))


def test_place_loss_is_least_at_the_truth():
    near = gaussian(torch.tensor([[3.0, -2.0, 0.0]]), (16, 20), 1.0, 2.0)
    share = near / near.sum()
    entropy = -(share * share.clamp_min(1e-30).log()).sum()
    at_truth = near.clamp_min(1e-30).log()
    assert place_loss(at_truth, near).item() == pytest.approx(entropy.item(), rel=1e-4)
    for other in (at_truth.flip(1), at_truth.flip(2), torch.zeros_like(near)):
        assert place_loss(other, near) > entropy + 0.5
    assert place_loss(torch.zeros_like(near), near).item() == pytest.approx(math.log(320), 1e-4)


def test_direction_loss_is_the_squared_chord():
    near = gaussian(torch.zeros(1, 3), (8, 8), 1.0, 1.5)
    yaw = torch.tensor([0.7])

    def field(angle):
        return torch.tensor([math.cos(angle), math.sin(angle)]).view(1, 2, 1, 1).expand(1, 2, 8, 8)

    assert direction_loss(field(0.7), near, yaw).item() == pytest.approx(0.0, abs=1e-6)
    assert direction_loss(field(0.7 + math.pi), near, yaw).item() == pytest.approx(4.0, rel=1e-5)
    assert direction_loss(field(-0.7), near, yaw).item() == pytest.approx(
        2 - 2 * math.cos(1.4), rel=1e-4
    )
    away = field(0.7).clone()
    away[:, :, 0, 0] = 0.0
    corner = (near[0, 0, 0] / near.sum()).item()
    assert direction_loss(away, near, yaw).item() == pytest.approx(corner, rel=1e-3)


def test_turn_labels_are_shared_by_two_neighbours():
    turns = torch.tensor([0, 1, 2, -1])
    quarter = math.pi / 2
    yaw = torch.tensor([0.0, 0.25 * quarter, -0.25 * quarter, 1.5 * quarter, math.pi, -math.pi])
    labels = turn_labels(yaw, turns, 4)
    torch.testing.assert_close(
        labels,
        torch.tensor(
            [
                [1.0, 0.0, 0.0, 0.0],
                [0.75, 0.25, 0.0, 0.0],
                [0.75, 0.0, 0.0, 0.25],
                [0.0, 0.5, 0.5, 0.0],
                [0.0, 0.0, 1.0, 0.0],
                [0.0, 0.0, 1.0, 0.0],
            ]
        ),
        atol=1e-5,
        rtol=0,
    )


def test_contrastive_loss_by_hand():
    scores = torch.tensor([0.5, -0.2, 0.1, 0.3]).view(1, 2, 1, 2)
    labels = torch.tensor([1.0, 0.5, 0.005, 0.0]).view(1, 2, 1, 2)
    log_p = F.log_softmax(scores.flatten() / 0.1, dim=0)
    wanted = -(log_p[0] + 0.5 * log_p[1]) / 1.5
    assert contrastive_loss(scores, labels, 0.1, 1e-2).item() == pytest.approx(wanted.item())
    # Raising a positive helps, raising anything else harms.
    scores = scores.clone().requires_grad_()
    contrastive_loss(scores, labels, 0.1, 1e-2).backward()
    assert scores.grad.flatten()[1] < 0 < scores.grad.flatten()[3]


def objective_and_batch(batch=2, **settings):
    torch.manual_seed(0)
    model = Ccvpe(replace(SMALL, **settings))
    return CcvpeObjective(model, CcvpeObjectiveSettings()), {
        'view': torch.randint(0, 255, (batch, 3, 64, 128), dtype=torch.uint8),
        'view_mask': torch.ones(batch, 1, 64, 128, dtype=torch.bool),
        'patch': torch.randint(0, 255, (batch, 3, 64, 64), dtype=torch.uint8),
        'patch_mask': torch.ones(batch, 1, 64, 64, dtype=torch.bool),
        'truth': torch.tensor([[4.0, -6.0, 0.4], [-3.0, 2.0, -2.0]])[:batch],
    }


def test_loss_is_the_weighted_sum_and_calibration_is_left_alone():
    objective, batch = objective_and_batch()
    losses = objective(batch, Progress())
    wanted = losses['place'] + 1e4 * losses['contrast'] + 10 * losses['direction']
    assert losses['loss'].item() == pytest.approx(wanted.item())
    losses['loss'].backward()
    for name, parameter in objective.model.named_parameters():
        assert (parameter.grad is None) == name.startswith('calibration.'), name


def test_turns_in_scores_and_labels_are_the_same():
    """Similarities made perfect for the truth cost less than those for the opposite turns."""
    objective, batch = objective_and_batch()
    model = objective.model
    batch['truth'] = torch.tensor([[4.0, -6.0, math.pi / 2], [-3.0, 2.0, -math.pi / 2]])

    class Perfect(nn.Module):
        def __init__(self, sign):
            super().__init__()
            self.turns, self.sign = model.match.turns, sign

        def forward(self, descriptor, cells, mask=None):
            side = cells.shape[-1]
            near = gaussian(batch['truth'], (side, side), 64 / side, 1.0)
            sign = torch.tensor([1, -1])[:, None] * self.sign
            return 2 * near[:, None] * (self.turns == sign)[:, :, None, None]

    losses = []
    for sign in (1, -1):
        model.match = Perfect(sign)
        losses.append(objective(batch, Progress())['contrast'].item())
    assert losses[1] > losses[0] + 3.0


def test_truths_out_of_reach_cost_nothing_and_break_nothing():
    objective, batch = objective_and_batch(half_yaw_deg=2.0)
    batch['truth'] = torch.tensor([[500.0, 0.0, 0.0], [0.0, 0.0, 2.5]])
    losses = objective(batch, Progress())
    losses['loss'].backward()
    assert losses['loss'].isfinite() and losses['contrast'].item() == 0.0
    for parameter in objective.model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_trains_nothing_but_ccvpe():
    class Other(nn.Module):
        NAME = 'hc_net'

    with pytest.raises(ConfigError, match="'hc_net'"):
        CcvpeObjective(Other(), CcvpeObjectiveSettings())


@pytest.mark.parametrize(
    ('recipe', 'published'), [('ccvpe', CcvpeSettings()), ('ccvpe_kitti', KITTI)]
)
def test_recipes_hold_the_published_settings(recipe, published):
    path = Path(__file__).parents[3] / 'config' / 'train' / f'{recipe}.yaml'
    config = read_config(path, tuple(published_backbone(path)))
    made = settings_from(CcvpeSettings, config.system.settings, 'system ccvpe')
    prior = {key: getattr(made, key) for key in ('half_yaw_deg', 'yaw_bins', 'weights')}
    assert replace(published, **prior) == made
    loss = settings_from(CcvpeObjectiveSettings, config.objective.settings, 'objective ccvpe')
    assert loss == CcvpeObjectiveSettings()
    assert (config.batch_size, config.optimizer.lr) == (8, 1e-4)
