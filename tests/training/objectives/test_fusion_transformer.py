# SPDX-License-Identifier: Apache-2.0
"""What the fusion transformer learns by: known answers, signs, and that it does learn."""

import copy
import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.registry import make_model
from tests.models.fixtures import batch_of, samples, with_prior
from training.objectives.base import Progress, run_model
from training.objectives.fusion_transformer import (
    info_nce,
    place_weights,
    with_semi_positives,
    yaw_entropy,
    yaw_targets,
)
from training.objectives.registry import make_objective

SMALL = {
    'view_width': 128,
    'view_height': 64,
    'patch_width': 64,
    'patch_height': 96,
    'patch_gsd': 0.75,
    'backbone': 'efficientnet_lite0',
    'taps': ['stem', 'stage2', 'stage3'],
    'widths': [16, 16, 12, 8, 6],
    'mixstyle_after': ['stage3'],
    'fusion_width': 16,
    'anchors': [4, 4],
    'layers': 1,
    'heads': 2,
    'yaw_stride': 4,
    'yaw_channels': 8,
    'yaw_radii_m': [3.0, 8.0],
    'yaw_bins': 24,
    'mask_guidance': False,
}


def small(seed=0, **settings):
    torch.manual_seed(seed)
    return make_model('fusion_transformer', {**SMALL, **settings})


def objective(model=None, **settings):
    return make_objective('fusion_transformer', model or small(), settings)


@pytest.fixture(scope='module')
def batch():
    """Two places, their priors off by some metres and any turn."""
    items = [
        with_prior(sample, east, north, yaw)
        for sample, east, north, yaw in zip(
            samples(2), (6.0, -9.0), (-4.0, 7.0), (2.5, -1.2), strict=True
        )
    ]
    return batch_of(small(), items)


# ---- the place ----


def test_info_nce_of_known_maps():
    flat = torch.zeros(1, 3, 5)
    at = torch.zeros(1, 3, 5)
    at[0, 1, 4] = 2.0
    assert float(info_nce(flat, at)) == pytest.approx(math.log(15))
    one_up = flat.clone()
    one_up[0, 1, 4] = 1.0
    assert float(info_nce(one_up, at)) == pytest.approx(math.log(14 + math.e) - 1)
    # Two positives: the mean of theirs, as they are weighed.
    at[0, 0, 0] = 1.0
    expected = math.log(14 + math.e) - 2 / 3
    assert float(info_nce(one_up, at)) == pytest.approx(expected, rel=1e-6)


def test_a_place_outside_the_patch_teaches_nothing():
    model = small()
    inside, outside = [3.0, -5.0, 0.0], [25.0, 0.0, 0.0]
    weights = place_weights(model, torch.tensor([inside, outside]), 2.0)
    assert weights[0].max() > 0.9 and weights[1].max() == 0
    torch.manual_seed(0)
    logits = torch.randn(2, 96, 64, requires_grad=True)
    loss = info_nce(logits, weights)
    torch.testing.assert_close(loss, info_nce(logits[:1], weights[:1]))
    loss.backward()
    assert (logits.grad[1] == 0).all()
    nothing = info_nce(logits, torch.zeros_like(weights))
    assert nothing.item() == 0.0


def test_weights_lie_where_the_place_is():
    """x to the right, y up, between pixels; sides differ."""
    weights = place_weights(small(), torch.tensor([[0.75 * 10.25, 0.75 * 20.5, 1.0]]), 3.0)[0]
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(64.0), indexing='ij')
    total = weights.sum()
    assert float((weights * columns).sum() / total) == pytest.approx(31.5 + 10.25, abs=1e-3)
    assert float((weights * rows).sum() / total) == pytest.approx(47.5 - 20.5, abs=1e-3)
    spread = ((weights * (columns - 41.75).square()).sum() / total).sqrt()
    assert float(spread) == pytest.approx(3.0, rel=1e-3)


def test_a_sample_s_loss_does_not_depend_on_its_neighbours(batch):
    made = objective(yaw_weight=0.0).eval()
    with torch.no_grad():
        # As after some training: peaks that differ.
        made.model.decoder.last[-1].weight.mul_(100)
    first = {name: t[:1] for name, t in batch.items()}
    second = {name: t[1:] for name, t in batch.items()}
    with torch.no_grad():
        both, one, two = (made(b, Progress())['place'] for b in (batch, first, second))
        assert float(both) == pytest.approx(float(one + two) / 2, rel=1e-5)
        # The released code's way couples them.
        made = objective(made.model, yaw_weight=0.0, peak_of_batch=True).eval()
        assert float(made(batch, Progress())['place']) != pytest.approx(float(both), rel=1e-6)


# ---- the yaw ----


def test_yaw_targets_on_a_circle_and_on_a_range():
    circle, part = small(yaw_bins=8), small(half_yaw_deg=40.0, yaw_bins=9)
    step = math.pi / 4
    near_seam = torch.tensor([math.pi - step / 4, -math.pi + step / 2, step])
    targets = yaw_targets(circle, near_seam)
    expected = torch.zeros(3, 8)
    expected[0, 7], expected[0, 0] = 0.25, 0.75
    expected[1, 0] = expected[1, 1] = 0.5
    expected[2, 5] = 1.0
    torch.testing.assert_close(targets, expected, atol=1e-6, rtol=0)
    ends = yaw_targets(part, torch.deg2rad(torch.tensor([-40.0, 40.001, 15.0])))
    torch.testing.assert_close(ends.sum(dim=1), torch.ones(3))
    assert ends[0, 0] == 1 and ends[1, 8] == 1 and ends[2].argmax() in (5, 6)


def test_yaw_is_read_at_the_true_place_with_the_right_sign():
    model = small()
    bins, s = model.yaw.bins, model.settings
    scores = torch.zeros(1, bins, 24, 16)
    # Above and right of the middle, and only there, a turn by a quarter to the left.
    scores[0, bins // 4, :12, 8:] = 9.0
    cell = s.yaw_stride * s.patch_gsd
    place = [4 * cell, 6 * cell]

    def loss(x, y, yaw):
        return float(yaw_entropy(model, scores, torch.tensor([[x, y, yaw]])))

    right = loss(*place, math.pi / 2)
    assert right < 0.6
    assert loss(*place, -math.pi / 2) > 4
    for x, y in ((-place[0], place[1]), (place[0], -place[1])):
        assert loss(x, y, math.pi / 2) == pytest.approx(math.log(24), rel=1e-5)


def test_a_yaw_past_the_range_is_an_error(batch):
    made = objective(small(half_yaw_deg=90.0))
    with pytest.raises(DataError, match=r'turned by 143.2 degrees .* made for \+-90'):
        made(batch, Progress())


# ---- both ----


def test_weight_zero_is_the_published_loss(batch):
    with_head, without = small(), small(yaw_head=False)
    without.load_state_dict(with_head.state_dict(), strict=False)

    def gradients(model, weight):
        torch.manual_seed(5)
        model.zero_grad()
        losses = objective(model, yaw_weight=weight)(batch, Progress())
        losses['loss'].backward()
        return losses, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    losses, found = gradients(with_head, 0.0)
    expected_losses, expected = gradients(without, 0.0)
    assert float(losses['loss']) == float(losses['place']) == float(expected_losses['place'])
    assert set(expected_losses) == {'loss', 'place'}
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    assert all(found[n].abs().max() == 0 for n in found if n.startswith('yaw.'))
    weighted, more = gradients(with_head, 2.0)
    total = weighted['place'] + 2 * weighted['yaw']
    torch.testing.assert_close(weighted['loss'], total)
    assert more['yaw.fold.weight'].abs().max() > 0


def test_calibration_is_left_alone(batch):
    made = objective()
    made(batch, Progress())['loss'].backward()
    assert all(p.grad is None for p in made.model.calibration.values())
    learned = [p for n, p in made.model.named_parameters() if 'calibration' not in n]
    assert all(p.grad is not None for p in learned)


def test_semi_positives_replace_patch_and_truth_together():
    model = small()
    half = 96 * 0.75 / 2
    batch = {
        'patch': torch.zeros(4, 3, 96, 64, dtype=torch.uint8),
        'patch_mask': torch.zeros(4, 1, 96, 64, dtype=torch.bool),
        'patch_classes': torch.ones(4, 1, 96, 64, dtype=torch.uint8),
        'truth': torch.zeros(4, 3),
        'others': torch.arange(1, 9, dtype=torch.uint8)
        .view(4, 2, 1, 1, 1)
        .expand(4, 2, 3, 96, 64),
        'others_truth': torch.arange(1.0, 9.0).view(4, 2, 1).expand(4, 2, 3).clone(),
        'others_valid': torch.ones(4, 2, dtype=torch.bool),
    }
    batch['others_truth'][3, :, 1] = half + 1.0
    torch.manual_seed(0)
    changed = with_semi_positives(model, batch, 1.0)
    number = changed['patch'][:, 0, 0, 0].float()
    assert (number[:3] > 0).all()
    # What was picked shows in both; where the place lies outside, the sample keeps its own.
    torch.testing.assert_close(changed['truth'][:3, 0], number[:3])
    assert number[3] == 0 and (changed['truth'][3] == 0).all()
    assert changed['patch_mask'][:3].all() and not changed['patch_mask'][3].any()
    assert changed['patch_classes'].flatten(1).amax(1).tolist() == [0, 0, 0, 1]
    assert (with_semi_positives(model, batch, 0.0)['patch'] == 0).all()
    assert (batch['truth'] == 0).all()
    # What only fills the batch up is never picked; without any other, a sample keeps its own.
    batch['others_valid'] = torch.tensor(
        [[True, False], [False, True], [False, False], [True, True]]
    )
    for _ in range(8):
        number = with_semi_positives(model, batch, 1.0)['patch'][:, 0, 0, 0]
        assert number.tolist() == [1, 4, 0, 0]
    assert objective(semi_positives=0.5).EXTRAS == ('others',) and objective().EXTRAS == ()


@pytest.mark.parametrize(
    'model, settings, words',
    [
        ({'yaw_head': False}, {}, 'has no yaw head: set yaw_weight: 0'),
        ({}, {'temperature': 0.0}, 'temperature 0.0'),
        ({}, {'semi_positives': 2.0}, 'expected 0..1'),
        ({}, {'sigma': 1.0}, "no setting 'sigma'"),
    ],
)
def test_refuses(model, settings, words):
    with pytest.raises(ConfigError, match=words):
        objective(small(**model), **settings)


def test_refuses_another_model():
    with pytest.raises(ConfigError, match='trains fusion_transformer, not hc_net'):
        other = make_model('hc_net', {'backbone': 'efficientnet_lite0', 'tap': 'stage3'})
        make_objective('fusion_transformer', other, {})


# ---- it learns ----

LEARNING = {
    **SMALL,
    'patch_height': 64,
    'weights': 'imagenet',
    'taps': ['stem', 'stage2', 'stage3', 'stage5'],
    'widths': [48, 48, 32, 24, 16, 12],
    'fusion_width': 48,
    'yaw_channels': 16,
    'yaw_radii_m': [4.0, 8.0, 14.0, 20.0],
    'yaw_bins': 72,
    'mixstyle_probability': 0.0,
    'decoder_dropout': 0.0,
    'fusion_dropout': 0.0,
    'cell_px': 1,
}


def trained(made, batches, lr=1e-3):
    optimizer = torch.optim.AdamW(made.parameters(), lr=lr)
    for batch in batches:
        optimizer.zero_grad()
        made(batch, Progress())['loss'].backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
    return made.model.eval()


def answers(model, batch):
    with torch.no_grad():
        pose = model.belief(run_model(model, batch)).pose
    error = pose - batch['truth']
    turn = (error[:, 2] + math.pi).remainder(2 * math.pi) - math.pi
    return pose, error[:, :2].norm(dim=1), turn.abs()


@pytest.mark.slow
def test_overfits_a_batch_and_turns_with_the_panorama():
    model = small(**LEARNING)
    items = [
        with_prior(sample, east, north, yaw)
        for sample, east, north, yaw in zip(
            samples(3), (6.0, -9.0, 2.0), (-4.0, 7.0, 11.0), (2.5, -1.2, 0.3), strict=True
        )
    ]
    batch = batch_of(model, items)
    trained(objective(model, sigma_px=1.5), [batch] * 70)
    _, position, yaw = answers(model, batch)
    assert (position < 0.75).all() and (yaw < math.radians(5)).all()
    # A panorama rolled by a quarter to the right: the robot has turned left, where it stands.
    rolled = copy.copy(batch)
    rolled['view'] = batch['view'].roll(32, dims=-1)
    there = yaw_there(model, run_model(model, batch), batch['truth'])
    after = yaw_there(model, run_model(model, rolled), batch['truth'])
    turn = (after - there - math.pi / 2 + math.pi).remainder(2 * math.pi) - math.pi
    assert (turn.abs() < math.radians(5)).all()


def yaw_there(model, outputs, truth):
    """Best yaw of the volume at given places."""
    belief = model.belief(outputs)
    s = model.settings
    column = (truth[:, 0] / s.patch_gsd + (s.patch_width - 1) / 2).round().long()
    row = ((s.patch_height - 1) / 2 - truth[:, 1] / s.patch_gsd).round().long()
    best = belief.logits[torch.arange(len(truth)), :, row, column].argmax(dim=1)
    return belief.yaws[best]


@pytest.mark.slow
def test_a_shifted_patch_shifts_the_answer():
    """Two places under ever new priors; then priors that were never seen."""
    model = small(**LEARNING)
    rng = np.random.default_rng(0)
    places = samples(2)

    def draw(half_m=14.0):
        return batch_of(
            model,
            [
                with_prior(p, *rng.uniform(-half_m, half_m, 2), rng.uniform(-0.4, 0.4))
                for p in places
                for _ in range(2)
            ],
        )

    trained(objective(model, sigma_px=1.5), (draw() for _ in range(110)))
    unseen = [draw(12.0) for _ in range(6)]
    found = [answers(model, b) for b in unseen]
    pose, position, yaw = (torch.cat(x) for x in zip(*found, strict=True))
    truth = torch.cat([b['truth'] for b in unseen])
    assert position.median() < 2.0, position
    assert yaw.median() < math.radians(6), yaw
    for axis in (0, 1):
        moved = torch.corrcoef(torch.stack([pose[:, axis], truth[:, axis]]))[0, 1]
        assert moved > 0.8
