# SPDX-License-Identifier: Apache-2.0
"""Losses of G2SWeakly against their formulas, and what they need."""

import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.registry import make_model
from training.objectives.base import Progress
from training.objectives.registry import make_objective
from training.objectives.weak_triplet import box_loss, cell_loss, pair_loss, same_patches

TINY = {
    'view_width': 64,
    'view_height': 32,
    'patch_width': 64,
    'patch_height': 48,
    'patch_gsd': 0.5,
    'widths': [8, 6, 4, 4],
    'levels': [0, 1],
}


def batch_of(count=3, truth=(0.0, 0.0, 0.0)):
    g = torch.Generator().manual_seed(0)

    def picture(height, width):
        shape = (count, 3, height, width)
        return torch.randint(0, 256, shape, generator=g, dtype=torch.uint8)

    return {
        'view': picture(32, 64),
        'view_mask': torch.ones(count, 1, 32, 64, dtype=torch.bool),
        'patch': picture(48, 64),
        'patch_mask': torch.ones(count, 1, 48, 64, dtype=torch.bool),
        'truth': torch.tensor([truth] * count),
    }


def test_pairs():
    distance = torch.tensor([[0.5, 1.0, 0.4], [0.9, 0.2, 0.8], [0.7, 0.6, 0.3]])
    others = ~torch.eye(3, dtype=torch.bool)
    want = [
        math.log(1 + math.exp(10 * (float(distance[i, i]) - float(distance[i, j]))))
        for i in range(3)
        for j in range(3)
        if i != j
    ]
    assert pair_loss(distance, others, 10.0) == pytest.approx(sum(want) / 6)
    # A second view of the same patch is no negative.
    others[0, 2] = False
    assert pair_loss(distance, others, 10.0) == pytest.approx((sum(want) - want[1]) / 5)


def test_box_around_a_rough_place():
    distance = torch.ones(1, 9, 11)
    distance[0, 1, 9] = 0.2
    distance[0, 6, 5] = 0.5
    # Cells of 2 m: row 1, column 9 lies 8 m right and 6 m up of the middle.
    assert box_loss(distance, torch.tensor([[8.0, 6.0]]), 2.0, 5.0) == pytest.approx(0.0)
    assert box_loss(distance, torch.tensor([[1.0, -4.0]]), 2.0, 5.0) == pytest.approx(0.3)
    assert box_loss(distance, torch.tensor([[-8.0, 6.0]]), 2.0, 3.0) == pytest.approx(0.8)
    # Upside down, the best cell would be near this one.
    assert box_loss(distance, torch.tensor([[8.0, -6.0]]), 2.0, 3.0) == pytest.approx(0.8)
    assert box_loss(distance, torch.tensor([[90.0, 6.0]]), 2.0, 5.0) == 0.0


def test_true_cell_against_the_others():
    torch.manual_seed(0)
    distance = torch.rand(2, 5, 7)
    place = torch.tensor([[1.1, -0.4], [40.0, 0.0]])
    # Cells of 0.5 m: column 3 + 2, row 2 + 1; the other sample is off the map.
    own = float(distance[0, 3, 5])
    rest = [
        math.log(1 + math.exp(10 * (own - float(distance[0, r, c]))))
        for r in range(5)
        for c in range(7)
        if (r, c) != (3, 5)
    ]
    got = cell_loss(distance, place, 0.5, 10.0)
    assert got == pytest.approx(sum(rest) / len(rest), rel=1e-5)
    assert cell_loss(distance[1:], place[1:], 0.5, 10.0) == 0.0


def test_same_pictures_are_no_negatives():
    patch = batch_of(3)['patch']
    patch[2] = patch[0]
    same = same_patches(patch)
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_weight_of_the_rough_places():
    model = make_model('g2sweakly', TINY)
    batch = batch_of(truth=(3.0, -2.0, 0.0))
    without = make_objective('g2sweakly', model)(batch, Progress())
    assert without['loss'].item() == without['weak'].item()
    assert float(without['gps']) >= 0
    settings = {'gps_weight': 1.0, 'gps_box_m': 1.0, 'label_noise_m': 2.0}
    torch.manual_seed(0)
    given = make_objective('g2sweakly', model, settings)(batch, Progress())
    assert float(given['loss']) == pytest.approx(float(given['weak'] + given['gps']))
    given['loss'].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_weak_loss_does_not_look_at_places():
    model = make_model('g2sweakly', TINY).eval()
    objective = make_objective('g2sweakly', model)
    near = objective(batch_of(), Progress())['loss']
    far = objective(batch_of(truth=(6.0, 5.0, 1.0)), Progress())['loss']
    assert float(near) == float(far)


def test_refusals():
    model = make_model('g2sweakly', TINY)
    with pytest.raises(ConfigError, match='batch_size'):
        make_objective('g2sweakly', model)(batch_of(1), Progress())
    with pytest.raises(ConfigError, match='templates'):
        make_objective('g2sweakly', make_model('hc_net'))
