# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import pytest

from training.evaluation import tables
from training.evaluation.published import PUBLISHED
from training.evaluation.results_page import _HEAD, _MORE, _yaw_floor
from training.results.__main__ import main

KEY = {'split': 'unseen_city', 'protocol': 'pm45', 'preset': 'hard'}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / 'results'
    made.mkdir()
    shutil.copy(PUBLISHED, made)
    for system, seed, mean, hold in (('a', 1, 2.0, 0.9), ('a', 2, 4.0, 0.9), ('b', 1, 9.0, 0.99)):
        row = {**KEY, 'system': system, 'seed': seed, 'position_mean_m': mean}
        row |= {
            'coverage_95': hold,
            'ms_cpu': 50.0,
            'recall_1m': 1 / mean,
            'command': f'judge {seed}',
        }
        tables.replace_row(made / 'cross_view.csv', tables.CROSS_VIEW, tables.KEY, row)
        tables.replace_row(made / 'evaluations.csv', tables.EVALUATIONS, tables.KEY, row)
        row |= {'ablation': 'masks', 'variant': system}
        tables.replace_row(made / 'ablations.csv', tables.ABLATIONS, tables.ABLATION_KEY, row)
    row = {'run': 'a-1', 'system': 'a', 'samples_seen': 1000, 'machine': 'two cores'}
    tables.replace_row(made / 'runs.csv', tables.RUNS, tables.RUNS_KEY, row)
    return made


def page(folder):
    assert main(['--tables', str(folder)]) == 0
    return (folder.parent / 'RESULTS.md').read_text()


def test_seeds_are_joined_and_the_best_is_bold(folder):
    text = page(folder)
    line = next(x for x in text.splitlines() if x.startswith('| a '))
    assert line.startswith('| a | 2 | **3.00 ± 1.41** |') and '90.0 % ± 0.0' in line
    assert text.index('| a | 2') < text.index('| b | 1 | 9.00')
    # 0.99 is nearer to 0.95 than 0.90 is.
    assert '**99.0 %**' in text


def test_nothing_published_is_among_ours(folder):
    ours, _, theirs = page(folder).partition('## Published figures')
    assert 'HC-Net' not in ours and 'HC-Net' in theirs
    assert 'vigor, cross-area, pm180 (published)' in theirs and '| 99.0 % |' in theirs


def test_everything_is_there(folder):
    text = page(folder)
    for words in ('### masks: a, unseen_city', 'judge 1', 'two cores', 'preset hard'):
        assert words in text


def test_times_of_one_run_replace_all(folder, tmp_path):
    bench = tmp_path / 'systems.json'
    said = {'cpu': 'Core of ours', 'threads': 2}
    bench.write_text(json.dumps({**said, 'small': {'system': 'a', 'eager_ms': 321.0}}))
    assert main(['--tables', str(folder), '--times', str(bench)]) == 0
    rows = tables.read_rows(folder / 'cross_view.csv', tables.CROSS_VIEW)
    assert [row['ms_cpu'] for row in rows] == ['321', '321', '50']
    text = (folder.parent / 'RESULTS.md').read_text()
    assert '| small | a | 321 |' in text
    assert 'all systems in one run, Core of ours, 2 threads (`make' in text


def test_times_of_a_machine_that_was_not_noted(folder):
    (folder / 'times.csv').write_text('name,system,eager_ms\nsmall,a,3\n')
    assert 'all systems in one run (`make' in page(folder)


@pytest.mark.parametrize('text', ['{', '[1]', '{"threads": 2}'])
def test_times_that_are_none(folder, tmp_path, capsys, text):
    bench = tmp_path / 'systems.json'
    bench.write_text(text)
    assert main(['--tables', str(folder), '--times', str(bench)]) == 1
    assert 'systems.json' in capsys.readouterr().err


def test_no_tables_yet(tmp_path):
    assert 'No network has been judged yet' in page(tmp_path / 'none')


def test_columns_are_the_tables():
    assert tuple(_HEAD) == tables.FIGURES
    assert set(_MORE) - {'floor_yaw_mean_deg'} <= set(tables.MORE_FIGURES)


@pytest.mark.parametrize(
    ('protocol', 'floor'), [('pm45', '22.5'), ('pm180_fov90', '90'), ('aligned', '0'), ('x', '')]
)
def test_the_floor_of_the_yaw_is_half_of_what_is_allowed(protocol, floor):
    assert _yaw_floor(protocol) == floor


def test_the_floor_stands_beside_the_figures(folder):
    assert '| 22.50 |' in page(folder)
