# SPDX-License-Identifier: Apache-2.0
"""geoloc world: what it makes, and what it says when it cannot."""

import importlib.util
import json

import cv2
import pytest

from geoloc_ros.cli.main import build_parser, main


def run(capsys, *argv):
    status = main(['world', *map(str, argv)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize('command', ['preview', 'render'])
def test_help_teaches_with_examples(command, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(['world', command, '--help'])
    text = capsys.readouterr().out
    assert f'geoloc world {command} --' in text and 'examples:' in text


@pytest.mark.parametrize(
    ('argv', 'text'),
    [
        (['--layout', 'vigour'], 'unknown layout'),
        (['--layout', 'tum', '--size', 'large'], 'HEIGHTxWIDTH'),
        (['--layout', 'vigor', '--size', '256x256'], 'twice as wide'),
        (['--layout', 'tum', '--workers', '0'], '--workers 0'),
        (['--layout', 'tum', '--count', '0'], 'need one at least'),
        (['--layout', 'tum', '--conditions', 'horrid'], 'horrid'),
        (['--layout', 'tum', '--seed', '-1'], 'seed -1'),
        (['--layout', 'tum', '--size', '90000x90000'], 'at most'),
    ],
)
def test_errors_say_what_is_wrong(argv, text, tmp_path, capsys):
    pytest.importorskip('embreex')
    status, _, err = run(capsys, 'render', '--out', tmp_path / 'new', *argv)
    assert status == 1 and text in err and 'Traceback' not in err
    assert not (tmp_path / 'new').exists()


def test_without_the_renderer_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'embreex' else real(name)
    )
    for command in (['render', '--layout', 'tum', '--out', tmp_path / 'a'], ['preview']):
        status, _, err = run(capsys, *command)
        assert status == 1 and "pip install '.[sim]'" in err and 'embreex' in err


def test_renders_and_takes_up_again(tmp_path, capsys):
    pytest.importorskip('embreex')
    argv = ['render', '--layout', 'tum', '--out', tmp_path / 'rooms', '--size', '24x32']
    status, out, _ = run(capsys, *argv, '--count', 4, '--cities', 1)
    assert status == 0 and '4 pictures' in out and 'geoloc data check' in out
    assert json.loads((tmp_path / 'rooms' / 'world.json').read_text())['complete']
    status, again, _ = run(capsys, *argv, '--count', 4, '--cities', 1)
    assert status == 0 and again == out
    status, _, err = run(capsys, *argv, '--count', 5, '--cities', 1)
    assert status == 1 and 'count was 4, now 5' in err


@pytest.mark.slow
def test_contact_sheet(tmp_path, capsys):
    pytest.importorskip('embreex')
    pytest.importorskip('matplotlib')
    path = tmp_path / 'sheets' / 'sheet.png'
    status, out, _ = run(capsys, 'preview', '--seed', 3, '--conditions', 'easy', '--out', path)
    assert status == 0 and str(path) in out
    sheet = cv2.imread(str(path))
    assert sheet.shape[1] == 1600 and sheet.shape[0] > 2000 and sheet.std() > 40


def test_a_sheet_needs_a_picture_s_name(tmp_path, capsys):
    pytest.importorskip('embreex')
    status, _, err = run(capsys, 'preview', '--out', tmp_path / 'sheet.txt')
    assert status == 1 and '.png' in err


def test_a_sheet_needs_a_seed_that_is_one(tmp_path, capsys):
    pytest.importorskip('embreex')
    status, _, err = run(capsys, 'preview', '--seed', '-3', '--out', tmp_path / 'sheet.png')
    assert status == 1 and '--seed -3' in err and not list(tmp_path.iterdir())
