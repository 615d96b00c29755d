# SPDX-License-Identifier: Apache-2.0
"""A student that sees part of a view learns from a teacher that sees all of it."""

import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.registry import make_model
from tests.models.fixtures import batch_of, samples
from training.objectives.base import LOSS, Progress, run_model
from training.objectives.distillation import (
    Distillation,
    DistillationSettings,
    peak_bell,
    score_maps,
)
from training.objectives.registry import make_objective

LOCALIZER = {
    'view_width': 64,
    'view_height': 32,
    'patch_width': 96,
    'patch_height': 80,
    'patch_gsd': 0.7,
    'backbone': 'efficientnet_lite0',
    'deepest': 16,
    'levels': (0, 1),
    'widths': (16, 12, 8, 4),
}
CCVPE = {
    'view_size': (160, 64),
    'patch_side': 128,
    'patch_gsd': 0.5,
    'backbone': 'efficientnet_lite0',
    'bins': 5,
    'view_bins': 5,
    'descriptor_channels': (8, 8, 4, 4, 2, 2),
    'first_width': 16,
    'orientation_widths': (16, 16, 8, 8, 8, 8),
}
ESTIMATOR = {'backbone': 'efficientnet_lite0', 'classes': 20, 'hidden': (8, 8), 'margin': 2}


def network(system):
    torch.manual_seed(0)
    if system == 'geodistill':
        return make_model(system, {'localizer': LOCALIZER, 'orientation': ESTIMATOR})
    return make_model(system, CCVPE if system == 'ccvpe' else LOCALIZER)


def objective(system, **settings):
    return make_objective('distillation', network(system), settings)


@pytest.fixture(scope='module')
def batches():
    return {}


def batch_for(batches, model, count=2):
    if model.NAME not in batches:
        batches[model.NAME] = batch_of(model, samples(count))
    return batches[model.NAME]


def learning(student):
    return {n: p for n, p in student.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('system', ['g2sweakly', 'geodistill', 'ccvpe'])
def test_student_learns_and_teacher_follows(system, batches):
    made = objective(system).train()
    assert made.deployed is made.teacher
    assert not made.teacher.training
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.1)
    before = {n: v.clone() for n, v in made.teacher.state_dict().items()}
    losses = made(batch_for(batches, made.model), Progress())
    assert losses[LOSS].shape == ()
    assert torch.isfinite(losses[LOSS])
    losses[LOSS].backward()
    silent = [n for n, p in learning(made).items() if p.grad is None]
    assert all('calibration' in n for n in silent)
    assert not any(p.grad is not None for p in made.teacher.parameters())
    optimizer.step()
    made.after_step(Progress(1, 2))
    assert all(torch.equal(v, before[n]) for n, v in made.teacher.state_dict().items())
    made.after_epoch(Progress(1, 2, 1))
    now = made.model.state_dict()
    for name, value in made.teacher.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * now[name])
    weights = 'view_net.encoder.stem.norm.running_mean'
    if system == 'geodistill':
        assert not any('orientation' in n for n in learning(made))
        weights = f'localizer.{weights}'
    elif system == 'ccvpe':
        weights = 'view_net.stem.norm.running_mean'
    assert not torch.equal(made.teacher.state_dict()[weights], before[weights])


def test_frozen_parts_stay_frozen():
    model = network('g2sweakly')
    model.view_net.encoder.requires_grad_(False)
    made = make_objective('distillation', model)
    assert not any('view_net.encoder' in name for name in learning(made))
    assert any('patch_net.encoder' in name for name in learning(made))
    assert any('view_net.stages' in name for name in learning(made))


def test_a_pinhole_with_the_rotation_estimator(batches):
    """Its strip does not wrap, and the student is matched under the teacher's yaw."""
    torch.manual_seed(0)
    pinhole = {
        'camera': 'pinhole',
        'focal_px': (32.0, 32.0),
        'center_px': (31.5, 12.0),
        'rotation': True,
        'rotation_levels': (0,),
        'circular': False,
        'half_yaw_deg': 10.0,
    }
    settings = {'orientation': None, 'localizer': {**LOCALIZER, **pinhole}}
    model = make_model('geodistill', settings)
    with torch.no_grad():
        # Fresh, it answers 0.
        for parameter in model.localizer.rotation.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    made = make_objective('distillation', model, {'visible': (0.75, 0.83), 'wraps': False})
    assert not any('rotation' in name for name in learning(made))
    batch = {
        'view': torch.randint(0, 255, (2, 3, 32, 64), dtype=torch.uint8),
        'view_mask': torch.ones(2, 1, 32, 64, dtype=torch.bool),
        'patch': torch.randint(0, 255, (2, 3, 80, 96), dtype=torch.uint8),
        'patch_mask': torch.ones(2, 1, 80, 96, dtype=torch.bool),
    }
    yaws = []
    forward = made.model.localizer.forward
    made.model.localizer.forward = lambda *a, **k: yaws.append(k['yaw']) or forward(*a, **k)
    made(batch, Progress())[LOSS].backward()
    with torch.no_grad():
        expected = run_model(made.teacher, batch)['yaw']
    torch.testing.assert_close(yaws[0], expected)
    assert expected.abs().max() > 0


@pytest.mark.parametrize('system', ['g2sweakly', 'ccvpe'])
def test_no_gradient_where_both_see_the_same(system, batches):
    made = objective(system, mask='none').eval()
    batch = batch_for(batches, made.model)
    made(batch, Progress())[LOSS].backward()
    steepest = max(
        float(p.grad.abs().max()) for p in learning(made).values() if p.grad is not None
    )
    made.zero_grad()
    hidden = objective(system).eval()
    hidden(batch, Progress())[LOSS].backward()
    other = max(float(p.grad.abs().max()) for p in learning(hidden).values() if p.grad is not None)
    assert steepest < 1e-3 * other


def test_gradient_vanishes_only_at_equal_temperatures():
    model = network('g2sweakly')
    torch.manual_seed(0)
    scores = (torch.rand(2, 5, 7) * 2 - 1).requires_grad_()
    alike = Distillation(model, DistillationSettings())
    alike._cross_entropy(scores.detach(), scores).backward()
    assert scores.grad.abs().max() < 1e-5
    scores.grad = None
    sharper = Distillation(model, DistillationSettings(teacher_temperature=0.03))
    sharper._cross_entropy(scores.detach(), scores).backward()
    assert scores.grad.abs().max() > 1e-2


def test_cross_entropy_by_hand():
    made = Distillation(
        make_model('g2sweakly', LOCALIZER),
        DistillationSettings(teacher_temperature=0.5, student_temperature=0.25),
    )
    target, scores = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.5, 0.0]]])
    p = math.exp(2) / (1 + math.exp(2))
    log_q = [2 - math.log(1 + math.exp(2)), -math.log(1 + math.exp(2))]
    expected = -((1 - p) * log_q[0] + p * log_q[1])
    assert made._cross_entropy(target, scores).item() == pytest.approx(expected, rel=1e-5)


def test_a_bell_at_the_highest_cell():
    scores = torch.zeros(1, 7, 9)
    scores[0, 2, 6] = 1.0
    bell = peak_bell(scores, 1.0)[0]
    assert bell.sum().item() == pytest.approx(1.0)
    assert divmod(int(bell.argmax()), 9) == (2, 6)
    assert bell[3, 6] == bell[2, 5]
    assert (bell[2, 6] / bell[2, 7]).item() == pytest.approx(math.exp(0.5), rel=1e-4)


def test_all_levels_count():
    model = network('g2sweakly')
    outputs = model(torch.randn(1, 3, 32, 64), torch.randn(1, 3, 80, 96))
    assert [m.shape[-2:] for m in score_maps(outputs)] == [
        outputs['similarity_0'].shape[-2:],
        outputs['similarity_1'].shape[-2:],
    ]


def test_what_is_hidden_from_the_student_does_not_reach_it(batches):
    """The hidden columns of picture, features and confidence: any content there is the same."""
    made = objective('g2sweakly', visible=(0.5, 0.5)).eval()
    batch = dict(batch_for(batches, made.model))
    torch.manual_seed(5)
    first = made._areas(torch.zeros(2, 3, 32, 64))
    assert first.mean() == pytest.approx(0.5, abs=0.02)
    noisy = dict(batch)
    hidden = (first == 0).expand_as(batch['view'])
    noisy['view'] = torch.where(hidden, 255 - batch['view'], batch['view'])
    # The same teacher's view for both, so that the student's part is compared alone.
    made.teacher.forward = _same_maps(made.teacher, batch)
    losses = []
    for given in (batch, noisy):
        torch.manual_seed(5)
        losses.append(made(given, Progress())[LOSS].item())
    assert losses[0] == losses[1]
    torch.manual_seed(6)
    assert made(batch, Progress())[LOSS].item() != losses[0]


def _same_maps(teacher, batch):
    with torch.no_grad():
        outputs = run_model(teacher, batch)
    return lambda view, patch: outputs


@pytest.mark.parametrize(
    ('system', 'settings'),
    [
        ('g2sweakly', {'mask': 'cells', 'cell_px': 8}),
        ('g2sweakly', {'mask': 'most_active'}),
        ('g2sweakly', {'target': 'peak', 'wraps': False}),
        ('ccvpe', {'mask': 'cells', 'direction_weight': 10.0, 'teacher_temperature': 1.0}),
    ],
)
def test_other_masks_and_targets(system, settings, batches):
    made = objective(system, **settings, follow='step', decay=0.5).train()
    losses = made(batch_for(batches, made.model), Progress())
    losses[LOSS].backward()
    assert torch.isfinite(losses[LOSS])
    with torch.no_grad():
        for p in learning(made).values():
            p += 1.0
    before = next(iter(made.teacher.parameters())).clone()
    made.after_step(Progress(1, 2))
    torch.testing.assert_close(next(iter(made.teacher.parameters())), before + 0.5)


@pytest.mark.parametrize(
    ('settings', 'word'),
    [
        ({'mask': 'half'}, 'mask'),
        ({'visible': (0.7, 0.5)}, 'visible'),
        ({'teacher_temperature': 0.0}, 'teacher_temperature'),
        ({'follow': 'never'}, 'follow'),
        ({'decay': 1.5}, 'decay'),
        ({'most_active': 1.0}, 'most_active'),
    ],
)
def test_settings_that_cannot_be(settings, word):
    with pytest.raises(ConfigError, match=f'distillation: {word}'):
        DistillationSettings(**settings)


def test_models_that_cannot_be_distilled():
    with pytest.raises(ConfigError, match='most_active'):
        objective('ccvpe', mask='most_active')
    other = torch.nn.Identity()
    other.NAME = 'other'
    with pytest.raises(ConfigError, match='other cannot be distilled'):
        make_objective('distillation', other)
