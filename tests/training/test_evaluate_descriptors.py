# SPDX-License-Identifier: Apache-2.0
"""The table of descriptors: whole names, and figures under their headings."""

from types import SimpleNamespace

import pytest

from geoloc_core.errors import ConfigError
from training import evaluate_descriptors
from training.evaluate_descriptors import CLASSICAL, heading, line, main

FIGURES = {'size': 256.0, 'parameters_m': 6.8, 'multiply_adds_g': 1.56, 'recall_at_1': 0.5}
COUNTS = {'queries': 24.0, 'answerable': 20.0, 'database': 30.0}


def test_figures_stand_under_their_headings():
    width = 12
    top, row = heading(width), line('a', FIGURES, width)
    assert len(top) == len(row) == 2 + width + 8 * 8
    for name, value in (('numbers', '256'), ('G m-a', '1.560'), ('r@1', '0.500'), ('r@5', '-')):
        end = top.index(name) + len(name)
        assert row[:end].endswith(f' {value}')


@pytest.mark.parametrize('classical', [True, False])
def test_the_longest_name_is_not_cut(monkeypatch, capsys, tmp_path, classical):
    """Of runs in folders deeper than any width chosen beforehand."""
    runs = [tmp_path / 'x', tmp_path / ('deep' * 12) / 'crossvit_student_depth_rotary']
    for run in runs:
        run.mkdir(parents=True)
        (run / 'model.safetensors').touch()
    monkeypatch.setattr('training.loop.settings.read_config', lambda *_: SimpleNamespace())
    monkeypatch.setattr(
        evaluate_descriptors, '_judged', lambda *_: ({**FIGURES, **COUNTS}, 'its rule')
    )
    monkeypatch.setattr(evaluate_descriptors, '_classical', lambda *_: FIGURES)
    assert main([*map(str, runs), *(['--classical'] if classical else [])]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    names = [*map(str, runs), *([CLASSICAL] if classical else [])]
    assert [
        each[: 2 + len(name)].strip() for each, name in zip(lines[1:], names, strict=True)
    ] == (names)
    assert len({len(each) for each in lines}) == 1


def test_errors_are_said_in_one_line(monkeypatch, capsys):
    def fails(_):
        raise ConfigError('no such run')

    monkeypatch.setattr(evaluate_descriptors, '_all_judged', fails)
    assert main(['x']) == 1
    assert capsys.readouterr().err == 'error: no such run\n'
