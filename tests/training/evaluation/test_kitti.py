# SPDX-License-Identifier: Apache-2.0
"""A network for pinholes trained and judged on a tree laid out as KITTI's."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml

from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import save_weights
from tests.models.test_orienternet_aerial import PINHOLE, TINY
from tests.training.datasets.kitti_tree import DRIVE, make_tree, write_list
from training import evaluate, train

# Of the prior: along the heading, across it, and in yaw, in units of the protocol's bounds.
NOISE = ((0.35, -0.9, 0.5), (-0.8, 0.25, -0.95))
SHIFT_M = 20.0


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    root = make_tree(tmp_path_factory.mktemp('kitti'), (0.7, -2.4))
    names = [f'{DRIVE}/{frame:010d}.png' for frame in range(len(NOISE))]
    noisy = [f'{name} {x} {y} {t}' for name, (x, y, t) in zip(names, NOISE, strict=True)]
    write_list(root / 'train_files.txt', names)
    for file in ('test1_files.txt', 'test2_files.txt'):
        write_list(root / file, noisy)
    return root


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'pinhole.safetensors'
    save_weights(path, make_model('orienternet_aerial', {**TINY, **PINHOLE}))
    return path


@pytest.mark.parametrize(
    ('name', 'area', 'bound_deg'), [('kitti_pm10', 'same', 10.0), ('kitti_free', 'cross', 180.0)]
)
def test_protocols_draw_what_the_lists_say(
    tmp_path, no_pictures, tree, weights, name, area, bound_deg
):
    out = tmp_path / 'out'
    arguments = [weights, '--data', tree, '--reader', 'kitti', '--protocol', name, '--area', area]
    assert evaluate.main([*map(str, arguments), '--out', str(out), '--ms-cpu', '1']) == 0
    said = json.loads((out / 'figures.json').read_text())
    assert (said['protocol'], said['dof'], said['figures']['samples']) == (name, 3, 2)
    with (out / 'samples.csv').open() as file:
        rows = list(csv.DictReader(file))
    for row, (forward, left, turn) in zip(rows, NOISE, strict=True):
        value = {key: float(text) for key, text in row.items() if key != 'key'}
        # The truth as seen from the prior, whose heading is the patch's right-hand side.
        angle = np.radians(turn * bound_deg)
        c, s = np.cos(angle), np.sin(angle)
        place = np.array([[c, -s], [s, c]]) @ [forward * SHIFT_M, left * SHIFT_M]
        assert value['truth_yaw_offset_deg'] == pytest.approx(turn * bound_deg, abs=0.1)
        assert [value['truth_x'], value['truth_y']] == pytest.approx(place, abs=0.01)
        assert value['prior_error_m'] == pytest.approx(np.hypot(*place), abs=0.01)
        error = np.hypot(value['x'] - value['truth_x'], value['y'] - value['truth_y'])
        assert value['error_m'] == pytest.approx(error, abs=0.02)
        assert abs(value['yaw_offset_deg']) <= 180 and np.isfinite(value['nll'])


def test_a_network_learns_from_it(tmp_path, tree):
    config = {
        'system': {'name': 'orienternet_aerial', 'settings': {**TINY, **PINHOLE}},
        'objective': {'name': 'volume'},
        'optimizer': {'name': 'adamw', 'lr': 1e-3},
        'data': {
            'reader': 'kitti',
            'root': str(tree),
            'train': {'split': 'trainval'},
            'validation': {'split': 'test1'},
            'workers': 0,
        },
        'batch_size': 2,
        'epochs': 1,
    }
    (tmp_path / 'config.yaml').write_text(yaml.safe_dump(config))
    out = tmp_path / 'run'
    assert train.main([str(tmp_path / 'config.yaml'), '--out', str(out)]) == 0
    assert json.loads((out / 'summary.json').read_text())['samples_seen'] == 2
    assert np.isfinite(json.loads((out / 'summary.json').read_text())['position_mean_m'])
