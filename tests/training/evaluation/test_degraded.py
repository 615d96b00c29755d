# SPDX-License-Identifier: Apache-2.0
"""Frames on a bad day, and the command that judges networks on them."""

import json

import numpy as np
import pytest
import torch

from geoloc_core.features.base import LocalFeatures
from geoloc_core.geometry import se3
from geoloc_core.models.weights import save_weights
from tests.training import room
from tests.training.pose_networks import small
from training.evaluate_poses import main
from training.evaluation.degraded import (
    blocked,
    CONDITIONS,
    covered,
    dark,
    noisy,
    scaled_depth,
    sparse_depth,
    stale_depth,
    STALE_FRAMES,
)
from training.evaluation.pose_references import Posed, posed_frames, references


@pytest.fixture
def dataset(tmp_path):
    room.install()
    return room.Room(tmp_path, 'train')


def unknown(depth):
    return float(np.isnan(depth).mean())


def test_each_fault_is_what_it_says_and_nothing_else(dataset):
    sample = dataset.sample(5)
    image, depth = sample.view.image, sample.view.depth
    whole = unknown(depth)
    for damage in (covered, blocked, stale_depth, scaled_depth, sparse_depth, noisy, dark):
        view = damage(sample, 5, dataset).view
        again = damage(sample, 5, dataset).view
        assert np.array_equal(view.image, again.image)
        assert view.image.dtype == np.uint8 and view.depth.dtype == np.float32
        assert view.image.shape == image.shape and view.depth.shape == depth.shape
        touched = damage in (covered, blocked, noisy, dark)
        assert np.array_equal(view.image, image) != touched
    half = covered(sample, 5, dataset).view
    assert not half.image[:, :40].any() and np.array_equal(half.image[:, 40:], image[:, 40:])
    assert np.isnan(half.depth[:, :40]).all()
    assert not covered(sample, 4, dataset).view.image[:, 40:].any()
    assert unknown(blocked(sample, 5, dataset).view.depth) == pytest.approx(0.5, abs=0.06)
    assert unknown(sparse_depth(sample, 5, dataset).view.depth) == pytest.approx(
        1 - 0.25 * (1 - whole), abs=0.03
    )
    np.testing.assert_allclose(scaled_depth(sample, 5, dataset).view.depth, depth * 1.25)
    other = dataset.sample(5 - STALE_FRAMES).view.depth
    np.testing.assert_array_equal(stale_depth(sample, 5, dataset).view.depth, other)
    first = stale_depth(dataset.sample(0), 0, dataset).view.depth
    np.testing.assert_array_equal(first, dataset.sample(STALE_FRAMES).view.depth)
    # What is damaged is a copy.
    assert np.array_equal(sample.view.image, dataset.sample(5).view.image)


def test_without_depth_nothing_is_made_of_it(tmp_path):
    without = room.Room(tmp_path, 'train', depth=False)
    sample = without.sample(5)
    for damage in (covered, blocked, stale_depth, scaled_depth, sparse_depth):
        assert damage(sample, 5, without).view.depth is None


def test_what_takes_no_network():
    rng = np.random.default_rng(0)
    poses = np.stack([room.pose(i) for i in range(6)])
    words = rng.normal(size=(6, 200, 16)).astype(np.float32) + 3 * rng.normal(size=(6, 1, 16))
    words = (words / np.linalg.norm(words, axis=-1, keepdims=True)).astype(np.float32)
    local = tuple(LocalFeatures(np.zeros((200, 2)), w, np.zeros(200)) for w in words)
    order = [4, 1, 3]
    asked = Posed(poses[order], tuple(local[i].take(np.arange(0, 200, 2)) for i in order))
    found = references(Posed(poses, local), asked)
    assert np.abs(found['nearest known pose (oracle)']).max() < 1e-12
    assert np.abs(found['nearest picture (VLAD)']).max() < 1e-12
    assert np.abs(found['constant pose']).max() > 0.1
    assert 'nearest picture (VLAD)' not in references(Posed(poses), asked)
    # A turn counts as well as a distance: 40 degrees are a metre.
    turned = np.stack([poses[0], poses[0] @ se3.from_xyz_rpy(0.9, 0, 0, 0, 0, 0)])
    turned[0, :3, :3] = turned[0, :3, :3] @ se3.exp_rotation([0, np.radians(80.0), 0])
    error = references(Posed(turned), Posed(poses[:1]))['nearest known pose (oracle)']
    assert np.linalg.norm(error[0, :3]) == pytest.approx(0.9)


def test_the_command_judges_every_condition(tmp_path, capsys, monkeypatch):
    room.install()
    rows_of_oracle = []
    monkeypatch.setattr(
        'training.evaluation.pose_references.posed_frames',
        lambda dataset, indices, *args, **kw: (
            rows_of_oracle.append(len(indices)) or posed_frames(dataset, indices, *args, **kw)
        ),
    )
    threads = torch.get_num_threads()
    run = tmp_path / 'run'
    save_weights(run / 'model.safetensors', small('atloc'))
    (run / 'config.yaml').write_text(
        f"""
system: {{name: atloc}}
objective: {{name: pose_regression}}
data:
  reader: room
  root: {tmp_path}
  train: {{split: train, novel_views: {{count: 5}}}}
  workers: 0
batch_size: 4
epochs: 1
optimizer: {{name: adam, lr: 1.0e-3}}
devices: {{accelerator: cpu, threads: 1}}
"""
    )
    file = tmp_path / 'out' / 'figures.json'
    words = [str(run), '--split', 'validation', '--limit', '3', '--json', str(file)]
    assert main(words) == 0
    torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    (found,) = json.loads(file.read_text()).values()
    names = [c.name for c in CONDITIONS]
    names += ['constant pose', 'nearest known pose (oracle)']
    assert list(found) == names and all(name[:28] in shown for name in names)
    # Colour alone: without it there is no answer, and that is counted.
    assert found['without colour']['answered'] == 0.0
    assert found['without colour']['translation_median_m'] is None
    assert found['without depth'] == found['whole']
    # The frames judged are among those learned from, so the oracle is right; the views made of
    # them are not known poses.
    assert found[names[-1]]['translation_median_m'] < 1e-6 and rows_of_oracle == [24, 3]
    assert 0.1 < found['constant pose']['translation_median_m'] < 2.0
    assert main([str(tmp_path / 'nowhere')]) == 1
    assert 'no such file' in capsys.readouterr().err
