# SPDX-License-Identifier: Apache-2.0
"""Plans of many runs; the commands that they become are replaced by a record of them."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from geoloc_core.errors import ConfigError
from training import compare
from training.evaluation.tables import ABLATIONS, read_rows, RUNS
from training.plan import merged, read_plan

PLAN = """
common:
  batch_size: 16
  optimizer: {name: adamw, lr: 5.0e-4}
evaluations:
  pm45: {protocol: pm45, split: train+test, split_name: unseen_city, data: unseen, set: [a=1, b=2]}
  aligned: {protocol: aligned}
runs:
  - name: base
    seeds: [0, 7]
    settings: {system: {name: g2sweakly}, optimizer: {lr: 1.0e-3}}
  - name: student
    seeds: [7]
    settings: {system: {name: geodistill}}
    start_from: {localizer: base}
    evaluate: [pm45]
    row: {name: geodistill}
    also: {pm45: [{ablation: teacher, variant: none}]}
  - name: mixed
    settings: {system: {name: fusion_transformer}}
    start_from: base
    evaluate: [aligned]
    row: {ablation: mixstyle, variant: random}
"""


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / 'plan.yaml'
    path.write_text(PLAN)
    return path


@pytest.fixture
def calls(monkeypatch):
    """Words of each command; what training and evaluation leave behind is made up."""
    made, failing = [], set()

    def run(line, *, stdout, env, **_):
        words = [str(word) for word in line[1:]]
        made.append((words, env))
        command = words[1].removeprefix('training.')
        out = Path(words[words.index('--out') + 1])
        out.mkdir(parents=True, exist_ok=True)
        if command == 'evaluate':
            facts = {key: words[words.index(f'--{key}') + 1] for key in ('protocol', 'seed')}
            figures = {'position_mean_m': 1.25, 'nll': None}
            said = {'system': 'ours', 'split': 'x', 'preset': 'hard', **facts, 'figures': figures}
            (out / 'figures.json').write_text(json.dumps(said))
        if out.name in failing:
            stdout.write('first\nerror: no luck\n')
            return SimpleNamespace(returncode=1)
        if command == 'train':
            settings = yaml.safe_load(Path(words[2]).read_text())
            (out / 'model.safetensors').write_bytes(b'')
            (out / 'config.yaml').write_text(yaml.safe_dump(settings))
            summary = {'samples_seen': 320, 'seconds': 30.0}
            (out / 'summary.json').write_text(json.dumps(summary))
            machine = {'device': 'cpu', 'cpus': 4, 'threads': 2, 'command': ['train']}
            (out / 'environment.json').write_text(json.dumps(machine))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(compare.subprocess, 'run', run)
    return SimpleNamespace(made=made, failing=failing)


def compared(plan_file, tmp_path, *more):
    data = ['--data', f'train={tmp_path}/train', '--data', f'unseen={tmp_path}/unseen']
    folders = ['--out', str(tmp_path / 'out'), '--results', str(tmp_path / 'results')]
    return compare.main([str(plan_file), *data, *folders, *more])


def names(calls):
    """Command and folder of each call, in order."""
    folders = [Path(words[words.index('--out') + 1]) for words, _ in calls.made]
    commands = [words[1].removeprefix('training.') for words, _ in calls.made]
    return [f'{command} {folder.name}' for command, folder in zip(commands, folders, strict=True)]


# ---- reading ----


def test_settings_lie_over_common_ones(plan_file):
    plan = read_plan(plan_file)
    assert [run.name for run in plan.runs] == ['base_s0', 'base_s7', 'student_s7', 'mixed_s0']
    base, other, student, mixed = plan.runs
    assert base.settings == {
        'batch_size': 16,
        'optimizer': {'name': 'adamw', 'lr': 1e-3},
        'system': {'name': 'g2sweakly'},
        'seed': 0,
    }
    assert other.settings['seed'] == other.seed == 7
    assert student.settings['optimizer']['lr'] == 5e-4
    assert (base.row, student.row) == ({'name': 'base'}, {'name': 'geodistill'})
    # Of a run with as many seeds, the one with the same.
    assert student.after == ('base_s7',)
    assert student.settings['start_from'] == {'localizer': '{out}/base_s7/model.safetensors'}
    assert mixed.settings['start_from'] == '{out}/base_s0/model.safetensors'


@pytest.mark.parametrize(
    ('below', 'above', 'expected'),
    [
        ({'a': {'b': 1, 'c': 2}}, {'a': {'b': 3}}, {'a': {'b': 3, 'c': 2}}),
        ({'a': {'b': 1}}, {'a': [1]}, {'a': [1]}),
        ({'a': [1, 2]}, {'a': [3]}, {'a': [3]}),
        ({'a': {'b': 1}}, {'a': None}, {'a': None}),
        ({'a': 1}, {}, {'a': 1}),
    ],
)
def test_merging(below, above, expected):
    before = json.dumps(below)
    assert merged(below, above) == expected
    assert json.dumps(below) == before


@pytest.mark.parametrize(
    ('old', 'new', 'words'),
    [
        ('runs:', 'runs: []\nranks:', "'ranks' is no part of a plan"),
        ('evaluate: [pm45]', 'evaluate: [pm45, pm90]', 'run student_s7: no evaluation is called'),
        ('start_from: base', 'start_from: based', 'mixed_s0 begins with based_s0'),
        ('seeds: [7]', 'seeds: [8]', 'student_s8 begins with base_s8, which is no run before'),
        ('name: mixed', 'name: base', 'run base_s0'),
        ('name: mixed', 'title: mixed', 'expected a name'),
        ('row: {name', 'rows: {name', 'expected a name, and of name, seeds'),
        ('seeds: [7]', 'seeds: 7', 'run student: seeds is 7'),
        ('seeds: [7]', 'seeds: [a]', "run student: seeds is \\['a'\\]"),
        ('also: {pm45', 'also: {aligned', "also.aligned is .* expected one of the run's"),
        ('variant: none}', 'variants: none}', 'also.pm45 is'),
        ('{protocol: aligned}', '', "evaluation 'aligned': expected a mapping"),
        ('  - name: base', '  - base\n  - name: base', 'run base: expected a name'),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(plan_file, old, new, words):
    assert old in PLAN
    plan_file.write_text(PLAN.replace(old, new, 1))
    with pytest.raises(ConfigError, match=words):
        read_plan(plan_file)


def test_a_plan_without_runs(plan_file):
    plan_file.write_text('common: {}\n')
    with pytest.raises(ConfigError, match='a plan needs runs'):
        read_plan(plan_file)


def test_a_run_that_is_named_twice(plan_file):
    plan_file.write_text('runs: [{name: a}, {name: a}]\n')
    with pytest.raises(ConfigError, match='run a_s0 is named twice'):
        read_plan(plan_file)


# ---- doing ----


@pytest.mark.parametrize('jobs', [1, 3])
def test_a_run_waits_for_those_that_it_begins_with(plan_file, tmp_path, calls, jobs):
    assert compared(plan_file, tmp_path, '--jobs', str(jobs)) == 0
    done = names(calls)
    assert sorted(done) == sorted(
        ['train base_s0', 'train base_s7', 'train student_s7', 'evaluate pm45',
         'train mixed_s0', 'evaluate aligned']
    )  # fmt: skip
    for first, then in (
        ('train base_s7', 'train student_s7'),
        ('train base_s0', 'train mixed_s0'),
        ('train student_s7', 'evaluate pm45'),
        ('train mixed_s0', 'evaluate aligned'),
    ):
        assert done.index(first) < done.index(then)


def test_training_is_told_its_settings(plan_file, tmp_path, calls):
    assert compared(plan_file, tmp_path, '--only', 'base_s7', 'student') == 0
    words, env = calls.made[1]
    config = tmp_path / 'out' / 'student_s7.yaml'
    assert words == [
        '-m', 'training.train', str(config), '--data', f'{tmp_path}/train',
        '--out', f'{tmp_path}/out/student_s7', '--resume',
    ]  # fmt: skip
    settings = yaml.safe_load(config.read_text())
    assert settings['start_from'] == {'localizer': f'{tmp_path}/out/base_s7/model.safetensors'}
    assert settings['devices']['threads'] == int(env['OMP_NUM_THREADS'])


def test_the_words_of_an_evaluation(plan_file, tmp_path, calls):
    assert compared(plan_file, tmp_path) == 0
    said = {words[words.index('--protocol') + 1]: words for words, _ in calls.made[1:]
            if words[1] == 'training.evaluate'}  # fmt: skip
    out, results = tmp_path / 'out', tmp_path / 'results'
    assert said['pm45'] == [
        '-m', 'training.evaluate', f'{out}/student_s7/model.safetensors',
        '--seed', '7', '--preset', 'hard', '--out', f'{out}/student_s7/evaluations/pm45',
        '--append', f'{results}/cross_view.csv', '--protocol', 'pm45', '--split', 'train+test',
        '--split-name', 'unseen_city', '--data', f'{tmp_path}/unseen', '--set', 'a=1',
        '--set', 'b=2', '--name', 'geodistill',
    ]  # fmt: skip
    # An ablation is no row of the comparison, and what names no data is judged where it learned.
    words = said['aligned']
    assert words[words.index('--append') + 1] == f'{results}/ablations.csv'
    assert words[words.index('--data') + 1] == f'{tmp_path}/train'
    at = words.index('--ablation')
    assert words[at : at + 4] == ['--ablation', 'mixstyle', '--variant', 'random']


def test_evaluation_understands_these_words(plan_file, tmp_path, calls):
    from training.evaluate import parser

    assert compared(plan_file, tmp_path) == 0
    for words, _ in calls.made:
        if words[1] == 'training.evaluate':
            assert parser().parse_args(words[2:]).data.parent == tmp_path


def test_what_is_done_is_not_done_again(plan_file, tmp_path, calls):
    assert compared(plan_file, tmp_path) == 0
    calls.made.clear()
    assert compared(plan_file, tmp_path) == 0
    assert calls.made == []
    # Killed before its last words: training ends once more, and its evaluation stands.
    (tmp_path / 'out' / 'student_s7' / 'summary.json').unlink()
    assert compared(plan_file, tmp_path) == 0
    assert names(calls) == ['train student_s7']


def test_a_failure_is_told_and_the_others_go_on(plan_file, tmp_path, calls, capsys):
    calls.failing.add('pm45')
    assert compared(plan_file, tmp_path) == 1
    assert 'student_s7: evaluate failed' in (said := capsys.readouterr().err)
    assert 'error: no luck' in said
    assert 'evaluate aligned' in names(calls)
    # Its figures were written before it failed, its row was not.
    calls.failing.clear()
    calls.made.clear()
    assert compared(plan_file, tmp_path) == 0
    assert names(calls) == ['evaluate pm45']


def test_each_run_has_a_row(plan_file, tmp_path, calls):
    assert compared(plan_file, tmp_path, '--only', 'base') == 0
    table = tmp_path / 'results' / 'runs.csv'
    rows = read_rows(table, RUNS)
    assert [(r['run'], r['system'], r['seed'], r['minutes']) for r in rows] == [
        ('base_s0', 'g2sweakly', '0', '0.5'), ('base_s7', 'g2sweakly', '7', '0.5'),
    ]  # fmt: skip
    # A command that can be typed; no more of this machine is in it than the last two folders.
    here = tmp_path.name
    data = f'--data train={here}/train --data unseen={here}/unseen'
    command = f'python -m training.compare {here}/plan.yaml {data} --only base_s0'
    assert rows[0]['command'] == command
    table.unlink()
    assert compared(plan_file, tmp_path, '--only', 'base') == 0
    with table.open() as file:
        assert len(list(csv.reader(file))) == 3


def test_a_run_is_done_again_with_those_it_begins_with(plan_file):
    plan = read_plan(plan_file)
    student = plan.runs[2]
    assert plan.again(student, {'train': 'world/train'}) == [
        str(plan_file), '--data', 'train=world/train', '--only', 'base_s7', 'student_s7',
    ]  # fmt: skip


def test_an_evaluation_may_stand_in_an_ablation_besides(plan_file, tmp_path, calls):
    assert compared(plan_file, tmp_path, '--only', 'base', 'student') == 0
    (row,) = read_rows(tmp_path / 'results' / 'ablations.csv', ABLATIONS)
    assert (row['ablation'], row['variant'], row['system']) == ('teacher', 'none', 'ours')
    assert (row['protocol'], row['seed'], row['position_mean_m']) == ('pm45', '7', '1.25')


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('--only', 'bose'), '--only bose: no such run, but base, student, mixed'),
        (('--jobs', '0'), '--jobs 0'),
        (('--data', 'nothing'), '--data nothing: expected NAME=DIR'),
    ],
)
def test_words_that_mean_nothing(plan_file, tmp_path, calls, capsys, words, said):
    assert compared(plan_file, tmp_path, *words) == 1
    assert said in capsys.readouterr().err
    assert calls.made == []


def test_data_that_is_needed(plan_file, tmp_path, calls, capsys):
    assert compare.main([str(plan_file), '--data', f'train={tmp_path}']) == 1
    assert "the plan needs the data 'unseen': --data unseen=DIR" in capsys.readouterr().err


def test_the_list_says_what_is_done(plan_file, tmp_path, calls, capsys):
    assert compared(plan_file, tmp_path, '--only', 'base_s0') == 0
    capsys.readouterr()
    assert compare.main([str(plan_file), '--list', '--out', str(tmp_path / 'out')]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ['done', 'base_s0']
    assert lines[2] == ['-', 'student_s7', 'pm45']


def test_every_run_of_the_committed_plan_can_be_begun(tmp_path):
    """A mistake in the last run of a long night would be found in the morning."""
    from geoloc_core.models.base import settings_from
    from geoloc_core.models.registry import model_class
    from training.evaluate import parser
    from training.evaluation.protocols import protocol
    from training.loop.reading import to_yaml
    from training.loop.settings import read_config
    from training.objectives.registry import OBJECTIVES

    path = Path(__file__).parents[2] / 'config' / 'train' / 'comparison.yaml'
    plan = read_plan(path)
    keys = set()
    for run in plan.runs:
        config = tmp_path / f'{run.name}.yaml'
        config.write_text(to_yaml(run.settings))
        read = read_config(config)
        kind = model_class(read.system.name)
        settings = settings_from(kind.Settings, read.system.settings, run.name)
        assert read.objective.name in OBJECTIVES
        for name in run.evaluations:
            said = {**plan.evaluations[name], **run.row}
            words = [f'--{key.replace("_", "-")}={value}' for key, value in said.items()]
            args = parser().parse_args(['weights', *words])
            # A range that is too small is refused only when training is over.
            assert settings.half_yaw_deg >= protocol(args.protocol).half_yaw_deg, run.name
            # Two runs must not write the same row.
            row = (
                args.ablation,
                args.variant,
                args.name,
                args.split_name,
                args.protocol,
                run.seed,
            )
            assert row not in keys, (run.name, row)
            keys.add(row)
