# SPDX-License-Identifier: Apache-2.0
"""Pose networks in the training loop: batches, figures, calibration, a run, learning by heart."""

import csv
from dataclasses import replace
import json
import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.evaluation.consistency import chi2_limit, nees
from geoloc_core.geometry import se3
from geoloc_core.models.pose_model import network_inputs, PoseBelief
from geoloc_core.models.weights import load_weights
from geoloc_core.pose_input import ideal_view, network_arrays
from tests.training import room
from tests.training.pose_networks import small
from training.families.camera_pose import (
    _factor_to_cover,
    CameraPoseFamily,
    factors_to_cover,
    log_density,
    pose_error,
    PoseScores,
    score_poses,
)
from training.families.pose_ways import seen_in_all_ways, WAYS
from training.families.registry import family_of
from training.loading import batches_once, make_loader, Preparation
from training.pose_preparation import CameraPosePreparation
from training.train import main

CPU = torch.device('cpu')
CONFIG = """
system:
  name: vmloc
  settings:
    {{backbone: resnet18, backbone_end: layer2, width: 48, height: 36, focal_px: 46.0,
     latent: 32, samples: 8}}
objective: {{name: vmloc, settings: {{prior_weight: 1.0e-4}}}}
data:
  reader: room
  root: {root}
  train: {{split: train}}
  validation: {{split: validation}}
  workers: 0
  augment:
    - {{step: crop_view, scale: [0.85, 1.0]}}
    - {{step: move_viewpoint, p: 0.5}}
batch_size: 8
epochs: 1
optimizer: {{name: adam, lr: 1.0e-3}}
validate: {{metric: translation_median_m}}
devices: {{accelerator: cpu, threads: 1}}
"""


@pytest.fixture(scope='module', autouse=True)
def _room_is_known():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    room.install()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'room.yaml'
    path.write_text(CONFIG.format(root=tmp_path))
    return path


def batches(tmp_path, model, count=6, *, depth=True):
    dataset = room.Room(tmp_path, 'train', depth=depth)
    preparation = Preparation(prepare=CameraPosePreparation(model.inputs), with_index=True)
    return list(make_loader(dataset, batches_once(range(count), 3), preparation))


def test_a_batch_holds_what_a_robot_would_feed(tmp_path):
    model = small('vmloc')
    batch = batches(tmp_path, model, 3)[0].tensors
    assert batch['index'].tolist() == [0, 1, 2] and batch['available'].all()
    colour, depth, present = network_inputs(model, batch)
    for row in range(3):
        ideal = ideal_view(room.sample_at(room.pose(row)).view, model.inputs)
        arrays = network_arrays(ideal, model.inputs)
        np.testing.assert_allclose(colour[row], arrays['colour'][0], atol=1e-6)
        np.testing.assert_allclose(depth[row], arrays['depth'][0], atol=1e-6)
        np.testing.assert_array_equal(present[row], arrays['present'][0])
    # Metres, not a mask of where there are some.
    assert len(batch['depth'].unique()) > 100


def test_positions_are_counted_from_the_centre_in_double_precision():
    near, far = small('atloc'), small('atloc', center_m=(4e6, -1e6, 2.0))
    sample = room.sample_at(room.pose(2))
    T_far_near = se3.make(np.eye(3), [4e6, -1e6, 2.0])
    there = replace(sample, T_map_base=T_far_near @ sample.T_map_base)
    a, b = CameraPosePreparation(near.inputs)(sample), CameraPosePreparation(far.inputs)(there)
    assert np.abs(b['position'] - a['position']).max() < 1e-6
    assert a['rotation'].shape == (3, 3) and a['position'].dtype == np.float32


def test_a_sample_without_a_label_is_refused():
    sample = replace(room.sample_at(room.pose(0)), T_map_base=None)
    with pytest.raises(DataError, match='no pose'):
        CameraPosePreparation(small('vmloc').inputs)(sample)


def test_the_likelihood_is_that_of_six_numbers():
    cov = torch.diag(torch.tensor([0.01, 0.04, 0.01, 0.0025, 0.01, 0.0025]))[None]
    belief = PoseBelief(torch.zeros(1, 3), torch.eye(3)[None], cov)
    position = torch.tensor([[0.1, 0.0, 0.0]])
    # A yaw of +0.1 about z: the last of the six.
    rotation = torch.tensor([[[math.cos(0.1), -math.sin(0.1), 0.0],
                              [math.sin(0.1), math.cos(0.1), 0.0], [0.0, 0.0, 1.0]]])  # fmt: skip
    wanted = -0.5 * (1.0 + 4.0 + 6 * math.log(2 * math.pi) + math.log(0.01**3 * 0.04 * 0.0025**2))
    assert float(log_density(belief, position, rotation)) == pytest.approx(wanted, rel=1e-4)


def test_no_step_of_a_fit_leaves_the_covariances():
    """A line search tries what is absurd; it must be told how bad that is."""
    model = small('vmloc')
    generator = torch.Generator().manual_seed(0)
    outputs = {
        'raw': torch.randn(3, 2, 9, generator=generator),
        'present': torch.ones(3, 2),
        'doubt': torch.tensor([-9.0, 0.0, 9.0]),
    }
    truth = torch.zeros(3, 3), torch.eye(3).expand(3, 3, 3)
    for value in (-1e4, -30.0, 30.0, 1e4):
        for name, scalar in model.calibration.items():
            kept = scalar.detach().clone()
            with torch.no_grad():
                scalar.fill_(value)
                assert log_density(model.belief(outputs), *truth).isfinite().all(), (name, value)
                scalar.copy_(kept)


def test_what_cannot_be_answered_is_wrong_and_counted(tmp_path):
    model = small('atloc')
    found = batches(tmp_path, model, 6)
    scores = PoseScores.joined(list(score_poses(model, found, CPU, (False, True))))
    assert len(scores.keys) == 6
    figures = scores.figures()
    assert figures['answered'] == 0.0 and figures['recall_5cm_5deg'] == 0.0
    assert math.isinf(figures['translation_median_m']) and math.isinf(figures['nll'])
    assert figures['rotation_median_deg'] == 180.0
    seen = PoseScores.joined(list(score_poses(model, found, CPU))).figures()
    assert seen['answered'] == 1.0 and math.isfinite(seen['nll'])


def test_figures_of_known_errors():
    error = np.zeros((4, 6))
    error[:, 0] = [0.01, 0.04, 0.06, np.nan]
    error[1, 5] = math.radians(4.0)
    cov = np.broadcast_to(np.eye(6) * 1e-2, (4, 6, 6))
    scores = PoseScores(
        tuple('abcd'), error, cov, np.zeros(4), np.zeros((4, 3)), np.zeros((4, 3, 3))
    )
    figures = scores.figures()
    assert figures['recall_2cm_2deg'] == 0.25 and figures['recall_5cm_5deg'] == 0.5
    assert figures['translation_median_m'] == pytest.approx(0.05)
    assert figures['coverage_95'] == 1.0
    twice = PoseScores.joined([scores, scores])
    assert twice.keys == scores.keys and len(twice.error) == 4


@pytest.mark.parametrize('name', ['vmloc', 'atloc'])
def test_calibration_makes_stated_doubt_true(tmp_path, name):
    model = small(name)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    fit = CameraPoseFamily().fit(model, batches(tmp_path, model, 12), CPU, 512)
    assert fit.after < fit.before
    # Every sample in every way that the network can tell from the others: atloc sees colour alone.
    assert fit.samples == 12 * (20 if name == 'vmloc' else 12)
    for n, p in model.named_parameters():
        assert ('calibration' in n) or torch.equal(p, before[n])
    scores = PoseScores.joined(list(score_poses(model, batches(tmp_path, model, 12), CPU)))
    assert 2.0 < float(scores.nees.mean()) < 14.0


def test_calibrated_ellipsoids_hold_each_way_of_seeing(tmp_path):
    model = small('vmloc')
    found = batches(tmp_path, model, 24)
    CameraPoseFamily().fit(model, found, CPU, 512)
    held = {way: [] for way in WAYS}
    for number, batch in enumerate(found):
        for way, tensors in seen_in_all_ways(batch.tensors, number, model.inputs.uses):
            colour, depth, available = network_inputs(model, tensors)
            with torch.no_grad():
                there = available * torch.tensor(way.present)
                belief = model.belief(model(colour, depth, there))
            error = pose_error(belief, tensors['position'], tensors['rotation'])
            held[way].append(nees(error.numpy(), belief.cov.numpy()) <= chi2_limit(0.95, 6))
    for way, rows in held.items():
        assert np.concatenate(rows).mean() >= 0.95, way


def test_the_worst_way_of_seeing_says_how_far_its_modalities_grow():
    generator = torch.Generator().manual_seed(0)
    count = 200
    eye = torch.eye(3).expand(count, 3, 3)
    belief = PoseBelief(torch.zeros(count, 3), eye, 0.01 * torch.eye(6).expand(count, 6, 6))

    def off_by(metres):
        return [(belief, (metres * torch.randn(count, 3, generator=generator), eye))]

    believed = {WAYS[0]: off_by(0.01), WAYS[1]: off_by(0.6), WAYS[2]: off_by(0.3)}
    both, colour, depth = factors_to_cover(believed)
    assert both == factors_to_cover({WAYS[1]: believed[WAYS[1]]})[0]
    assert both > 1.5 * factors_to_cover({WAYS[2]: believed[WAYS[2]]})[0] > 1.5
    assert colour == depth == 1.0
    way = next(way for way in WAYS if way.present == (False, True))
    found = factors_to_cover(believed | {way: off_by(1.2)})
    assert found[:2] == [both, 1.0] and found[2] > 1.5 * both


def test_ellipsoids_grow_until_they_hold_what_they_claim(tmp_path):
    """Of errors with tails the likeliest Gaussian holds too few."""
    generator = torch.Generator().manual_seed(0)
    count = 400
    tails = torch.where(torch.rand(count, 1, generator=generator) < 0.12, 6.0, 1.0)
    position = 0.1 * tails * torch.randn(count, 3, generator=generator)
    eye = torch.eye(3).expand(count, 3, 3)
    belief = PoseBelief(torch.zeros(count, 3), eye, 0.01 * torch.eye(6).expand(count, 6, 6))
    held = chi2_limit(0.95, 6)
    squares = (position.square().sum(1) / 0.01).numpy()
    assert (squares <= held).mean() < 0.93
    factor = _factor_to_cover([(belief, (position, eye))])
    assert 0.95 <= (squares / factor**2 <= held).mean() < 0.956
    # What holds enough already is left alone.
    assert _factor_to_cover([(belief, (0.1 * position, eye))]) == 1.0
    assert _factor_to_cover([(belief, (position * math.inf, eye))]) == 1.0
    for name, answers in (('vmloc', 4), ('atloc', 1)):
        model = small(name)
        outputs = {
            'raw': torch.randn(2, answers, 9, generator=generator),
            'present': torch.ones(2, 2),
            'doubt': torch.tensor([-1.0, -2.0]),
        }
        for floor in (-1.6, -12.0):  # The second is below what a belief has.
            with torch.no_grad():
                model.calibration['log_floor'].fill_(floor)
            before = model.belief(outputs).cov
            model.widen([1.7, 2.0, 3.0])
            torch.testing.assert_close(model.belief(outputs).cov, 1.7**2 * before)
            outputs['present'] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
            alone = model.belief(outputs).cov
            model.widen([1.0, 2.0, 3.0])
            wanted = torch.tensor([4.0, 9.0])[:, None, None] * alone
            torch.testing.assert_close(model.belief(outputs).cov, wanted)
            outputs['present'] = torch.ones(2, 2)


def test_the_folder_of_a_run(config, tmp_path, capsys):
    out = tmp_path / 'run'
    assert main([str(config), '--out', str(out)]) == 0
    summary = json.loads((out / 'summary.json').read_text())
    # Ellipsoids that hold enough may be less likely than those before.
    assert math.isfinite(summary['nll_after_calibration'])
    assert {'rotation_median_deg', 'coverage_95', 'recall_5cm_5deg'} <= set(summary)
    with (out / 'metrics.csv').open(newline='') as file:
        (row,) = csv.DictReader(file)
    assert float(row['train_effective_samples']) >= 1
    assert float(row['validation_translation_median_m']) > 0
    assert 'calibration on 120 validation samples' in capsys.readouterr().out
    model = load_weights(out / 'model.safetensors', 'vmloc')
    assert family_of(model).METRICS[1] == 'translation_median_m'


def test_a_figure_of_another_family_is_refused(config, tmp_path, capsys):
    words = [str(config), '--out', str(tmp_path / 'run'), '--set', 'validate.metric=yaw_mean_deg']
    assert main(words) == 1
    assert 'translation_median_m' in capsys.readouterr().err


def test_frames_of_a_relative_term_share_a_batch(config, tmp_path, capsys):
    words = [str(config), '--out', str(tmp_path / 'run'), '--overfit', '6', '--set', 'steps=2']
    words += ['--set', 'objective.settings.relative=rigid', '--set']
    words += ['objective.settings.spacing=2']
    assert main(words) == 0
    with (tmp_path / 'run' / 'metrics.csv').open(newline='') as file:
        assert 'train_relative' in next(csv.DictReader(file))
    assert main([*words[:2], str(tmp_path / 'other'), *words[3:4], '7', *words[5:]]) == 1
    assert 'groups of 3' in capsys.readouterr().err


@pytest.mark.slow
def test_eight_frames_are_learned_by_heart(config, tmp_path):
    words = ['--overfit', '8', '--set', 'steps=150', '--set', 'system.settings.dropout=0.0']
    words += ['--set', 'system.settings.latent=64']
    words += ['--set', 'objective.settings.first_weights=[-2.0, -3.0]']
    assert main([str(config), '--out', str(tmp_path / 'run'), *words]) == 0
    summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
    # Frames lie half a metre and 30 degrees apart.
    assert summary['translation_median_m'] < 0.1
    assert summary['rotation_median_deg'] < 5.0


def test_no_arrays_but_its_own():
    with pytest.raises(ConfigError, match='others'):
        CameraPoseFamily().preparation(small('atloc'), ('others',))
