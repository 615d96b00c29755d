# SPDX-License-Identifier: Apache-2.0
import csv
import json
import re

import numpy as np
import pytest

from geoloc_core.errors import BundleError
from training.evaluate import main
from training.evaluation.opening import weights_path
from training.evaluation.report import SAMPLE_COLUMNS
from training.evaluation.tables import ABLATIONS, CROSS_VIEW


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def judged(tmp_path, weights, *more):
    out = tmp_path / 'out'
    base = ['--data', str(tmp_path), '--reader', 'eight', '--out', str(out), '--ms-cpu', '12.5']
    return main([str(weights), *base, *more]), out


def test_everything_is_written(tmp_path, run, capsys):
    code, out = judged(tmp_path, run, '--protocol', 'pm45', '--preset', 'easy')
    assert code == 0
    names = {path.name for path in out.iterdir()}
    assert names >= {
        'figures.json', 'figures.csv', 'table.md', 'samples.csv', 'ced.csv', 'ced.png',
        'yaw_ced.png', 'reject.png', 'reliability.png', 'reject_by_covariance.csv', 'index.html',
    }  # fmt: skip
    said = json.loads((out / 'figures.json').read_text())
    assert (said['protocol'], said['preset'], said['seed'], said['dof']) == ('pm45', 'easy', 7, 3)
    assert said['figures']['samples'] == 5 and said['figures']['ms_cpu'] == 12.5
    samples = rows_of(out / 'samples.csv')
    assert tuple(samples[0]) == SAMPLE_COLUMNS and len(samples) == 5
    mean = np.mean([float(row['error_m']) for row in samples])
    assert said['figures']['position_mean_m'] == pytest.approx(mean, rel=1e-3)
    assert all(abs(float(row['truth_yaw_offset_deg'])) <= 45 for row in samples)
    assert len(rows_of(out / 'ced.csv')) == 250
    page = (out / 'index.html').read_text()
    assert not re.search(r'(src|href)="?(http|//)', page) and 'data:image/png' in page
    assert 'the prior itself' in capsys.readouterr().out


def test_draws_are_the_same_again_and_others_with_another_seed(tmp_path, no_pictures, run):
    texts = []
    for draws in ('0', '0', '1'):
        _, out = judged(tmp_path, run, '--protocol', 'pm180', '--draws', draws)
        texts.append((out / 'samples.csv').read_text())
    assert texts[0] == texts[1] != texts[2]


def test_a_row_replaces_its_own_and_no_other(tmp_path, no_pictures, run):
    table = tmp_path / 'cross_view.csv'
    common = ['--append', str(table), '--split-name', 'unseen_city', '--preset', 'hard']
    for seed, name in ((1, 'a'), (2, 'a'), (1, 'b'), (1, 'a')):
        judged(tmp_path, run, *common, '--seed', str(seed), '--name', name)
    rows = rows_of(table)
    assert tuple(rows[0]) == CROSS_VIEW
    assert [(row['system'], row['seed']) for row in rows] == [('a', '1'), ('a', '2'), ('b', '1')]
    assert rows[0]['split'] == 'unseen_city' and rows[0]['protocol'] == 'aligned'
    assert float(rows[0]['params_m']) > 0 and rows[0]['ms_cpu'] == '12.5'
    commands = rows_of(tmp_path / 'evaluations.csv')
    assert len(commands) == 3 and 'python -m training.evaluate' in commands[0]['command']
    assert str(tmp_path) not in commands[0]['command']


def test_ablations_have_a_table_of_their_own(tmp_path, no_pictures, run, capsys):
    table = tmp_path / 'ablations.csv'
    code, _ = judged(
        tmp_path, run, '--append', str(table), '--ablation', 'mixstyle', '--variant', 'off'
    )
    assert code == 0
    assert tuple(rows_of(table)[0]) == ABLATIONS
    code, _ = judged(tmp_path, run, '--append', str(table))
    assert code == 1 and 'another kind' in capsys.readouterr().err


def test_a_network_of_a_smaller_range_is_refused(tmp_path, no_pictures, narrow, capsys):
    assert judged(tmp_path, narrow, '--protocol', 'aligned')[0] == 0
    assert judged(tmp_path, narrow, '--protocol', 'pm45')[0] == 1
    said = capsys.readouterr().err
    assert '+-10 degrees' in said and '+-45' in said and 'aligned' in said


def test_two_degrees_of_freedom_need_a_known_yaw(tmp_path, no_pictures, run, capsys):
    assert judged(tmp_path, run, '--protocol', 'pm180', '--dof', '2')[0] == 1
    assert 'true yaw' in capsys.readouterr().err


def test_several_splits_count_once_each(tmp_path, no_pictures, run):
    _, out = judged(tmp_path, run, '--split', 'train+test')
    assert len({row['key'] for row in rows_of(out / 'samples.csv')}) == 8


def test_limit_is_spread(tmp_path, no_pictures, run):
    _, out = judged(tmp_path, run, '--split', 'train+test', '--limit', '4')
    keys = [row['key'] for row in rows_of(out / 'samples.csv')]
    assert keys == ['train 0', 'train 2', 'test 4', 'test 6']


def test_a_field_of_view_is_another_protocol(tmp_path, no_pictures, run):
    _, out = judged(tmp_path, run, '--fov', '90')
    assert json.loads((out / 'figures.json').read_text())['protocol'] == 'aligned_fov90'


def test_unreadable_samples_are_counted(tmp_path, no_pictures, run, capsys):
    code, out = judged(tmp_path, run, '--split', 'torn')
    assert code == 0 and '1 samples could not be read' in capsys.readouterr().out
    assert json.loads((out / 'figures.json').read_text())['figures']['unreadable'] == 1
    assert 'a.jpg' in (out / 'index.html').read_text()


@pytest.mark.parametrize(
    ('more', 'words'),
    [
        (('--split', 'empty'), 'no samples'),
        (('--split', 'nowhere'), 'no split'),
        (('--protocol', 'kitti_pm10'), 'kitti'),
        (('--set', 'colour=3'), 'do not suit'),
        (('--set', 'colour'), 'NAME=VALUE'),
        (('--fov', '0'), 'degrees'),
        (('--limit', '0'), '--limit'),
        (('--batch', '0'), '--batch'),
        (('--ablation', 'mixstyle'), 'belong together'),
        (('--device', 'nonsense'), '--device'),
    ],
)
def test_bad_use_is_one_line(tmp_path, no_pictures, run, capsys, more, words):
    assert judged(tmp_path, run, *more)[0] == 1
    said = capsys.readouterr().err
    assert words in said and said.startswith('error: ')


def test_a_folder_without_weights(tmp_path, no_pictures, capsys):
    with pytest.raises(BundleError, match='finished run'):
        weights_path(tmp_path)
    assert judged(tmp_path, tmp_path / 'none.safetensors')[0] == 1
    assert 'no such file' in capsys.readouterr().err
