# SPDX-License-Identifier: Apache-2.0
"""Losses of descriptor networks: known values, known directions, partners, a teacher."""

from dataclasses import replace
import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.crossvit_settings import BranchSettings
from geoloc_core.models.descriptor import SamePlace
from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import save_weights
from tests.training.rooms import Rooms
from training.description import describe, Described, place_figures, run_descriptor, SPATIAL
from training.families.registry import family_of
from training.loading import batches_once, make_loader, Preparation
from training.objectives.base import LOSS, Progress
from training.objectives.pairs import PlaceCompanions, root, squared_distances
from training.objectives.registry import make_objective
from training.objectives.relaxed_contrastive import kernel, relaxed_contrastive
from training.objectives.spatial_contrastive import contrastive_losses, contrastive_terms, pairs_of

TINY = {
    'small': BranchSettings(24, 6, 24, 2, 1),
    'large': BranchSettings(16, 8, 32, 2, 1),
    'encoders': 1,
    'descriptor': 'compact',
    'size': 16,
    'same_place': SamePlace(cell=0.5, shared=4),
}


def network(name='crossvit_student', seed=0, **settings):
    torch.manual_seed(seed)
    return make_model(name, {**TINY, **settings})


def batches(model, extras=(), indices=range(24), split='train', size=24):
    preparation = Preparation(prepare=family_of(model).preparation(model, extras), with_index=True)
    return make_loader(Rooms('.', split), batches_once(indices, size), preparation)


def tensors(model, extras=(), **options):
    return next(iter(batches(model, extras, **options))).tensors


# ---- formulas ----


def test_terms_of_known_pairs():
    squares = torch.tensor([0.0, 0.09, 1.0])
    near, far = contrastive_terms(squares, torch.tensor([0.0, 0.25, 0.0]), 0.5)
    torch.testing.assert_close(near, torch.tensor([0.0, 0.5 * 0.25 * 0.09, 0.0]))
    wanted = torch.tensor([0.5 * 0.25, 0.5 * 0.75 * 0.2**2, 0.0])
    torch.testing.assert_close(far, wanted)


def test_overlapping_pairs_come_nearer_and_others_go_apart():
    """Wrong-sign test, by the gradient."""
    for overlap, sign in ((1.0, 1.0), (0.0, -1.0)):
        vectors = torch.tensor([[0.0, 0.0], [0.3, 0.0]], requires_grad=True)
        squares = squared_distances(vectors)
        w = torch.full((2, 2), overlap)
        losses = contrastive_losses(squares, w, pairs_of(2, 'batch', w.device), 0.5)
        losses[LOSS].backward()
        assert math.copysign(1.0, vectors.grad[1, 0]) == sign
        assert losses['positive' if overlap else 'negative'] == pytest.approx(0.3)


def test_equal_descriptors_have_finite_gradients():
    vectors = torch.ones(3, 2, requires_grad=True)
    squares = squared_distances(vectors)
    assert (squares == 0).all()
    (root(squares).sum() + relaxed_contrastive(squares, squares + 0.5, 1.0, True)).backward()
    assert vectors.grad.isfinite().all()


def test_pairs_count_once():
    assert pairs_of(4, 'batch', 'cpu').sum() == 6
    assert pairs_of(5, 'partners', 'cpu').nonzero().tolist() == [[0, 1], [2, 3]]


def test_kernel_of_the_teacher():
    torch.testing.assert_close(kernel(torch.tensor([0.0, 2.0]), 2.0)[1], torch.tensor(1 / math.e))


def test_relaxed_contrastive_by_hand():
    squares = torch.tensor([[0.0, 0.25], [0.25, 0.0]])
    weights = torch.tensor([[1.0, 0.2], [0.2, 1.0]])
    # d = 0.5: 2 (0.2 0.25 + 0.8 0.5^2) / 2.
    found = relaxed_contrastive(squares, weights, 1.0, relative=False)
    assert found == pytest.approx(0.2 * 0.25 + 0.8 * 0.25)
    # Relative: the mean of a row is 0.25, so d = 2 is past delta.
    found = relaxed_contrastive(squares, weights, 1.0, relative=True)
    assert found == pytest.approx(0.2 * 4.0)
    # Whatever their scale.
    again = relaxed_contrastive(squares * 9.0, weights, 1.0, relative=True)
    assert again == pytest.approx(float(found))


# ---- on pictures ----


def test_partners_are_of_the_place_or_of_another():
    objective = make_objective('spatial_contrastive', network())
    indices = np.arange(0, 24)
    companions = objective.companions(Rooms('.', 'train'), indices)
    assert isinstance(companions, PlaceCompanions) and companions.size == 2
    # The three views in one direction, and nobody else.
    assert companions.overlaps.positives(4).tolist() == [3, 5]
    drawn = [companions.of(4, np.random.default_rng([1, k]))[0] for k in range(200)]
    near = [place in (3, 5) for place in drawn]
    assert 70 < sum(near) < 130 and 4 not in drawn and max(drawn) > 12
    again = [companions.of(4, np.random.default_rng([1, k]))[0] for k in range(200)]
    assert again == drawn


def test_a_part_of_the_data_set_keeps_its_numbers():
    """`batch['index']` is of the data set, overlaps are of the selection."""
    objective = make_objective('spatial_contrastive', network(), {'normalised': False})
    objective.companions(Rooms('.', 'train'), np.array([3, 5, 7, 20]))
    overlap, decided = objective.between_rows(torch.tensor([20, 5, 3]))
    assert decided.all() and (overlap.diagonal() == 1).all()
    assert overlap[1, 2] > 0.01 and overlap[0, 1] == 0 == overlap[0, 2]


def test_data_without_depth_or_overlap_is_refused():
    objective = make_objective('spatial_contrastive', network())
    with pytest.raises(DataError, match='no two of 2 pictures'):
        objective.companions(Rooms('.', 'train'), np.array([0, 3]))

    class Flat(Rooms):
        def sample(self, index, epoch=0):
            sample = super().sample(index, epoch)
            return replace(sample, view=replace(sample.view, depth=None))

    with pytest.raises(DataError, match='RGB-D'):
        objective.companions(Flat('.', 'train'), np.arange(4))
    points = make_objective('spatial_contrastive', network(same_place=SamePlace(cell=0.0)))
    with pytest.raises(DataError, match=r'share 8 points .cell: 0 is not for depth'):
        points.companions(Rooms('.', 'train'), np.arange(4))


def learn(objective, batch, steps, lr=3e-3):
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr)
    for step in range(steps):
        losses = objective(batch, Progress(step, steps))
        optimizer.zero_grad()
        losses[LOSS].backward()
        optimizer.step()
    return {name: value.item() for name, value in losses.items()}


def recall(model, split='train'):
    parts = list(describe(model, batches(model, split=split)))
    return place_figures(Described.joined(parts))


@pytest.mark.parametrize('name', ['crossvit_student', 'crossvit_teacher'])
def test_a_handful_of_pictures_is_learned(name):
    model = network(name)
    objective = make_objective('spatial_contrastive', model, {'pairs': 'batch'})
    objective.companions(Rooms('.', 'train'), np.arange(24))
    batch = tensors(model)
    before = {k: v.item() for k, v in objective(batch, Progress()).items()}
    after = learn(objective, batch, 60)
    assert after[LOSS] < 0.3 * before[LOSS]
    assert after['positive'] < 0.5 * after['negative']
    figures = recall(model)
    assert figures['recall_at_1'] > 0.9 and figures['answerable'] == 24.0


def test_a_student_takes_on_its_teachers_distances(tmp_path):
    teacher = network('crossvit_teacher', seed=1)
    objective = make_objective('spatial_contrastive', teacher, {'pairs': 'batch'})
    objective.companions(Rooms('.', 'train'), np.arange(24))
    learn(objective, tensors(teacher), 60)
    save_weights(tmp_path / 'teacher.safetensors', teacher)
    student = network(seed=2)
    settings = {'teacher': str(tmp_path / 'teacher.safetensors'), 'contrastive': 0.5}
    distilled = make_objective('relaxed_contrastive', student, settings)
    distilled.companions(Rooms('.', 'train'), np.arange(24))
    batch = tensors(student, distilled.EXTRAS)
    assert set(SPATIAL) <= set(batch)
    frozen = {n: p.clone() for n, p in distilled.teacher.named_parameters()}
    before = {k: v.item() for k, v in distilled(batch, Progress()).items()}
    after = learn(distilled, batch, 60)
    assert after['transfer'] < before['transfer']
    for name, value in distilled.teacher.named_parameters():
        assert torch.equal(frozen[name], value)
    with torch.no_grad():
        theirs = squared_distances(run_descriptor(teacher, batch)).flatten().numpy()
        own = squared_distances(run_descriptor(student, batch)).flatten().numpy()
    assert np.corrcoef(theirs, own)[0, 1] > 0.8
    assert distilled.deployed is student


def test_teachers_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ConfigError, match='is not given'):
        make_objective('relaxed_contrastive', network())
    path = tmp_path / 'other.safetensors'
    save_weights(path, network('crossvit_teacher', large=BranchSettings(24, 8, 32, 2, 1)))
    with pytest.raises(ConfigError, match='same branches'):
        make_objective('relaxed_contrastive', network(), {'teacher': str(path)})
    with pytest.raises(ConfigError, match='descriptors'):
        make_objective('spatial_contrastive', make_model('geoloc'))
    with pytest.raises(ConfigError, match='margin'):
        make_objective('spatial_contrastive', network(), {'margin': 3.0})
    with pytest.raises(ConfigError, match='pairs'):
        make_objective('spatial_contrastive', network(), {'pairs': 'all'})


# ---- figures ----


def test_figures_of_known_descriptors():
    """Descriptors that say the direction are right; a split is looked for in another one."""
    model = network()
    parts = Described.joined(list(describe(model, batches(model, size=5))))
    assert parts.keys[13] == 'room1/seq-01/01' and parts.worlds[13] == 'room1'
    direction = np.eye(8, dtype=np.float32)[np.arange(24) // 3]
    good = place_figures(replace(parts, vectors=direction))
    assert good['recall_at_1'] == good['capped_precision_at_5'] == 1.0
    bad = place_figures(replace(parts, vectors=np.roll(direction, 1, axis=0)))
    assert bad['recall_at_1'] < 1.0
    other = Described.joined(list(describe(model, batches(model, split='validation'))))
    # Names of both splits are alike, so that nobody is found as itself.
    across = place_figures(replace(other, vectors=direction), replace(parts, vectors=direction))
    assert across['recall_at_1'] == 1.0 and across['database'] == 24.0


def test_the_family_measures_by_recall():
    model = network()
    family = family_of(model)
    parts = family.measure(model, batches(model, size=7), torch.device('cpu'))
    figures = family.figures(parts)
    assert set(figures) == {'recall_at_1', 'recall_at_5', 'recall_at_20'}
    assert figures['recall_at_20'] >= figures['recall_at_1']
    with pytest.raises(DataError, match='no picture was described'):
        family.figures([])
    with pytest.raises(ConfigError, match='others'):
        family.preparation(model, ('others',))
