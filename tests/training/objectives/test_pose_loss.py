# SPDX-License-Identifier: Apache-2.0
"""The pose loss, its weights, modalities withheld, frames that share a batch."""

import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.models.rotations import log_quaternion
from tests.training.pose_networks import B, batch_of, small
from training.objectives.base import LOSS, Progress
from training.objectives.pose_loss import (
    draw_present,
    FrameTuples,
    pairs_in,
    PoseLoss,
    PoseLossSettings,
    RelativeLoss,
)
from training.objectives.registry import make_objective


def test_known_losses_of_both_representations():
    position, turn = torch.tensor([[1.0, 2.0, 3.0]]), 0.2
    R = torch.tensor(se3.exp_rotation([0.0, 0.0, turn]), dtype=torch.float32)[None]
    off = torch.tensor([[1.3, 2.0, 2.4]])
    columns = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]])
    loss = PoseLoss('sixd')(torch.cat([off, columns], 1), 1.0, position, R)
    assert float(loss) == pytest.approx(0.3 + math.sin(turn / 2) * math.exp(3.0) - 3.0, rel=1e-4)
    # Log-quaternions: half the angle, a mean of three.
    loss = PoseLoss('log_quaternion')(torch.cat([off, torch.zeros(1, 3)], 1), 1.0, position, R)
    assert float(loss) == pytest.approx(0.3 + turn / 6 * math.exp(3.0) - 3.0, rel=1e-4)
    # Units of 10 m: the same answer in tenths.
    tenth = torch.cat([off / 10, columns], 1)
    assert float(PoseLoss('sixd')(tenth, 10.0, position, R)) == pytest.approx(
        0.3 + math.sin(turn / 2) * math.exp(3.0) - 3.0, rel=1e-4
    )


def test_weights_settle_at_the_logarithm_of_the_mean_distance():
    loss = PoseLoss('sixd')
    optimizer = torch.optim.Adam(loss.parameters(), 0.05)
    off, turn = torch.rand(200) * 0.4, torch.rand(200) * 0.1
    for _ in range(400):
        optimizer.zero_grad()
        loss.weigh(off, turn).mean().backward()
        optimizer.step()
    wanted = torch.stack([off.mean().log(), turn.mean().log()])
    assert torch.allclose(loss.weights, wanted, atol=0.02)


@pytest.mark.parametrize(
    ('name', 'objective'),
    [
        ('pose_concatenation', 'pose_regression'),
        ('atloc', 'pose_regression'),
        ('vmloc', 'vmloc'),
    ],
)
def test_the_right_pose_costs_less(name, objective):
    made = make_objective(objective, small(name, dropout=0.0), {'drop_colour': 0.0}).eval()
    batch = batch_of()
    terms = made(batch, Progress())
    assert math.isfinite(float(terms[LOSS])) and {'s_t', 's_q', 'pose'} <= set(terms)
    columns = torch.cat([batch['rotation'][..., 0], batch['rotation'][..., 1]], 1)
    right = torch.cat([batch['position'], columns], 1)
    cost = made.pose_loss(right, 1.0, batch['position'], batch['rotation'])
    assert float(cost.max()) < float(terms['pose']) and float(cost.max()) < -2.99


def test_modalities_are_withheld_sample_by_sample_and_never_both():
    model = small('vmloc')
    settings = PoseLossSettings(drop_colour=0.3, drop_depth=0.2)
    torch.manual_seed(0)
    available = torch.ones(20_000, 2, dtype=torch.bool)
    present = draw_present(model, available, settings)
    assert present.any(dim=1).all()
    shares = (~present).float().mean(0)
    assert torch.allclose(shares, torch.tensor([0.3, 0.2]), atol=0.01)
    # The only one there is stays.
    available[:, 1] = False
    assert torch.equal(draw_present(model, available, settings), available)
    # What the network does not use may go; what it does use may not.
    colour = draw_present(small('atloc'), torch.ones(1000, 2, dtype=torch.bool), settings)
    assert colour[:, 0].all()


def motion(seed):
    vector = np.random.default_rng(seed).normal(size=6) * 0.5
    return se3.exp(vector)


def test_relative_motion_does_not_see_where_the_whole_is():
    truth = [motion(i) for i in range(3)]
    moved = [motion(9) @ T for T in truth]
    R = torch.tensor(np.stack(truth)[:, :3, :3], dtype=torch.float32)
    position = torch.tensor(np.stack(truth)[:, :3, 3], dtype=torch.float32)
    said = torch.tensor(np.stack(moved), dtype=torch.float32)
    raw = torch.cat([said[:, :3, 3], said[:, :3, 0], said[:, :3, 1]], 1)
    pairs = torch.tensor([[0, 1], [1, 2]])
    least = -3.0
    loss = RelativeLoss('rigid', 'sixd')
    assert float(loss(raw, 1.0, (position, R), pairs)) == pytest.approx(least, abs=1e-3)
    raw[2, 0] += 0.3
    assert float(loss(raw, 1.0, (position, R), pairs)) > least + 0.03
    assert float(loss(raw, 1.0, (position, R), pairs[:0])) == 0.0
    # The published difference is one of six numbers, and is not blind to a turn of the whole.
    published = RelativeLoss('difference', 'log_quaternion')
    raw = torch.cat([said[:, :3, 3], log_quaternion(said[:, :3, :3])], 1)
    own = torch.cat([position, log_quaternion(R)], 1)
    assert float(published(own, 1.0, (position, R), pairs)) == pytest.approx(least, abs=1e-4)
    assert float(published(raw, 1.0, (position, R), pairs)) > least + 0.1
    with pytest.raises(ConfigError, match='rigid'):
        RelativeLoss('difference', 'sixd')


def test_tuples_stay_within_a_sequence():
    keys = [f'a/{i}' for i in range(7)] + [f'b/{i}' for i in range(5)]
    rule = FrameTuples(keys, 3, 2)
    rng = np.random.default_rng(0)
    assert rule.size == 3
    assert rule.of(0, rng) == [2, 4] and rule.of(2, rng) == [4, 6]
    assert rule.of(3, rng) == [1, 0] and rule.of(11, rng) == [9, 7]
    for place in range(len(keys)):
        assert {keys[p][0] for p in rule.of(place, rng)} == {keys[place][0]}
    with pytest.raises(ConfigError, match='longest sequence has 7'):
        FrameTuples(keys, 3, 9)


def test_pairs_are_found_by_index_whatever_is_missing():
    assert pairs_in(torch.tensor([4, 9, 6, 8, 2]), 2).tolist() == [[0, 2], [2, 3], [4, 0]]


def test_the_relative_term_joins_both_objectives():
    class Keys:
        keys = tuple(f'a/{i}' for i in range(B))

        def __len__(self):
            return B

    for name, objective in (('atloc', 'pose_regression'), ('vmloc', 'vmloc')):
        more = {'relative': 'rigid', 'spacing': 1, 'frames': 2}
        made = make_objective(objective, small(name), more).train()
        assert made.companions(Keys(), np.arange(B)).size == 2
        terms = made(batch_of(), Progress())
        assert float(terms['relative'].detach()) != 0.0
        terms[LOSS].backward()
        assert made.relative_loss._loss.weights.grad is not None


@pytest.mark.parametrize(
    ('settings', 'word'),
    [
        ({'drop_colour': 0.7, 'drop_depth': 0.5}, 'drop_colour'),
        ({'relative': 'maybe'}, 'rigid'),
        ({'frames': 1}, 'frames'),
    ],
)
def test_impossible_settings_are_refused(settings, word):
    with pytest.raises(ConfigError, match=word):
        make_objective('pose_regression', small('atloc'), settings)
