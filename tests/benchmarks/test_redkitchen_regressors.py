# SPDX-License-Identifier: Apache-2.0
"""Trained networks on the queries of the kitchen: their rows, and the section that shows them."""

import json

import cv2
import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.models.weights import save_weights
from tests.benchmarks import redkitchen, results
from tests.benchmarks.redkitchen_regressors import command_of, judged, Queries, shown
from tests.training.pose_networks import small

RUN = """
system: {{name: {system}}}
objective: {{name: pose_regression}}
data: {{reader: 7scenes, train: {{split: train}}, validation: {{split: validation}}, workers: 0}}
batch_size: 4
epochs: 1
optimizer: {{name: adam, lr: 1.0e-3}}
devices: {{accelerator: cpu, threads: 1}}
"""


@pytest.fixture(scope='module')
def frames(tmp_path_factory):
    """A folder of 24 frames without lists: the last six are the test."""
    folder = tmp_path_factory.mktemp('kitchen') / 'seq'
    folder.mkdir()
    patches = np.random.default_rng(0).integers(0, 255, (20, 70, 3)).astype(np.uint8)
    wall = cv2.resize(patches, (420, 120), interpolation=cv2.INTER_CUBIC)
    for i in range(24):
        # Seen while stepping to the side.
        stem = str(folder / f'frame-{i:06d}')
        assert cv2.imwrite(f'{stem}.color.png', wall[:, 8 * i : 8 * i + 160])
        assert cv2.imwrite(f'{stem}.depth.png', np.full((120, 160), 1500, np.uint16))
        np.savetxt(f'{stem}.pose.txt', se3.make(np.eye(3), [0.1 * i, 0.0, 0.0]))
    return folder


def made_run(folder, system, **settings):
    save_weights(folder / 'model.safetensors', small(system, **settings))
    (folder / 'config.yaml').write_text(RUN.format(system=system))
    return folder


@pytest.fixture(scope='module')
def rows(frames, tmp_path_factory):
    root, threads = tmp_path_factory.mktemp('runs'), torch.get_num_threads()
    runs = [
        made_run(root / 'a', 'atloc'),
        made_run(root / 'b', 'atloc', modality='depth'),
        made_run(root / 'c', 'atloc'),
    ]
    found = judged(runs, Queries(frames, limit=3))
    torch.set_num_threads(threads)
    return found


def test_each_run_has_a_row_and_what_takes_no_network_has_one(rows):
    assert list(rows) == ['atloc', 'nearest', 'retrieval', 'atloc_depth', 'atloc_c']
    colour, depth = rows['atloc'], rows['atloc_depth']
    assert (colour['run'], depth['run']) == ('a', 'b')
    # A network of one modality has no answer without it; colour does not mind how depth is.
    assert colour['without_colour']['answered'] == 0.0
    assert colour['without_colour']['translation_median_cm'] is None
    assert depth['without_depth']['answered'] == 0.0
    same = {key: value for key, value in colour.items() if key in colour['depth_stale']}
    assert colour['depth_a_quarter_too_long'] == colour['depth_stale'] == same
    assert 0.0 <= depth['coverage_95'] <= 1.0 and depth['stated_median_cm'] > 0


def test_the_nearest_pose_is_of_all_frames_before_the_queries(rows):
    # The queries 18, 20 and 22 are 10, 30 and 50 cm past frame 17, the last of the validation.
    assert rows['nearest']['translation_median_cm'] == pytest.approx(30.0, abs=0.1)
    assert rows['retrieval']['translation_median_cm'] >= 29.9
    assert 'coverage_95' in rows['nearest'] and rows['nearest']['coverage_95'] is None


def test_the_section_shows_them_as_a_table_and_lists_the_rest(rows):
    text, listed = shown({'features': 'sift', **rows})
    assert listed == {'features': 'sift'}
    lines = text.splitlines()
    assert lines[0].startswith('| who | frames | answered | translation_median_cm |')
    assert len(lines) == 2 + 3 * 10 + 2
    assert len({line.count('|') for line in lines}) == 1
    assert shown({'features': 'sift'}) == ('', {'features': 'sift'})


def test_rows_are_added_to_what_is_there(rows, frames, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, 'ROOT', tmp_path)
    monkeypatch.setattr(results, 'RESULTS', tmp_path / 'RESULTS.md')
    monkeypatch.setattr(redkitchen, 'judged', lambda *_, **__: rows)
    asked = [tmp_path / 'vmloc'], Queries(frames), 'redkitchen'
    assert redkitchen.add_regressors(*asked) == 1
    assert 'run make bench-redkitchen first' in capsys.readouterr().err
    redkitchen.store('redkitchen', {'keyframe_rgbd': {'recall_5cm_5deg': 0.92}})
    assert redkitchen.add_regressors(*asked) == 0
    redkitchen.store('redkitchen', {'keyframe_rgbd': {'recall_5cm_5deg': 0.93}})
    kept = json.loads((tmp_path / 'out' / 'bench' / 'redkitchen.json').read_text())
    assert kept['keyframe_rgbd'] == {'recall_5cm_5deg': 0.93} and set(rows) < set(kept)
    page = (tmp_path / 'RESULTS.md').read_text()
    assert '| keyframe_rgbd.recall_5cm_5deg | 0.93 |' in page and '| nearest | whole |' in page
    assert f'| regressors_by | {command_of(rows)} |' in page and str(tmp_path) not in page


def test_some_of_the_frames_are_shown_and_not_stored(rows, frames, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, 'ROOT', tmp_path)
    monkeypatch.setattr(redkitchen, 'judged', lambda *_, **__: rows)
    some = Queries(frames, limit=3)
    assert redkitchen.add_regressors([tmp_path / 'vmloc'], some, 'redkitchen') == 0
    assert 'nearest.answered' in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_runs_are_named_where_their_recipes_put_them(rows):
    # The third is a second atloc, which no recipe makes: it goes by its folder's name.
    assert command_of(rows) == (
        'python -m tests.benchmarks.redkitchen --regressors out/train/atloc_redkitchen '
        'out/train/atloc_depth_redkitchen out/train/c'
    )
    assert command_of({'vmloc': {'run': 'vmloc_redkitchen_all'}}).endswith(
        ' out/train/vmloc_redkitchen_all'
    )


def test_a_folder_that_is_no_run(frames, tmp_path):
    with pytest.raises(ConfigError, match='expected a run of a pose network'):
        judged([tmp_path], Queries(frames))
