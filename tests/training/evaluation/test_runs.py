# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from geoloc_core.errors import DataError
from training.evaluation.runs import add_run, portable
from training.evaluation.tables import read_rows, RUNS
from training.results.__main__ import main


@pytest.fixture
def finished(tmp_path):
    folder = tmp_path / 'ccvpe-1'
    folder.mkdir()
    (folder / 'summary.json').write_text(json.dumps({'samples_seen': 4800, 'seconds': 90.0}))
    words = ['/x/train.py', 'config/train/ccvpe.yaml', '--data', '/disk/world/train']
    machine = {'device': 'cpu', 'cpus': 8, 'threads': 2, 'command': words}
    (folder / 'environment.json').write_text(json.dumps(machine))
    (folder / 'config.yaml').write_text('system: {name: ccvpe}\nseed: 3\n')
    return folder


def test_a_run_becomes_a_row_once(tmp_path, finished):
    tables = tmp_path / 'results'
    for _ in range(2):
        assert main(['--tables', str(tables), '--runs', str(finished)]) == 0
    (row,) = read_rows(tables / 'runs.csv', RUNS)
    assert (row['system'], row['seed'], row['samples_seen'], row['minutes']) == (
        'ccvpe', '3', '4800', '1.5',
    )  # fmt: skip
    assert row['machine'] == '2 of 8 CPU threads'
    assert row['command'] == 'python -m training.train config/train/ccvpe.yaml --data world/train'
    assert 'ccvpe-1' in (tmp_path / 'RESULTS.md').read_text()


def test_a_run_that_is_not_finished(tmp_path, finished):
    (finished / 'summary.json').unlink()
    with pytest.raises(DataError, match='no finished run'):
        add_run(tmp_path / 'runs.csv', finished)


def test_commands_name_no_folder_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ['/disk/all/ccvpe_s0/model.safetensors', '--data', '/somewhere/world/unseen']
    words += ['--data', 'train=/somewhere/world/train', '--out', str(tmp_path / 'out')]
    assert portable('judge', words) == (
        'judge ccvpe_s0/model.safetensors --data world/unseen --data train=world/train --out out'
    )
    words = ['runs/a', '--set', 'labels=gps', f'x={tmp_path}/b', '/tmp']
    assert portable('judge', words) == 'judge runs/a --set labels=gps x=b tmp'
