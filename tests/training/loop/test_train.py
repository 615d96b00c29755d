# SPDX-License-Identifier: Apache-2.0
"""A whole run: what it leaves behind, when it stops, what it saves."""

import csv
import json

import pytest
import torch

from geoloc_core.models.weights import load_tensors, load_weights, read_header, save_weights
from training.loop import trainer
from training.loop.state import load_state
from training.train import main


def metrics(folder):
    with (folder / 'metrics.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def test_the_folder_of_a_run(config, tmp_path, capsys):
    out = tmp_path / 'run'
    assert main([str(config), '--out', str(out), '--set', 'ema.decay=0.5']) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        *('config.yaml', 'environment.json', 'log.txt', 'metrics.csv', 'tensorboard'),
        *('last.ckpt', 'best.safetensors', 'model.safetensors', 'summary.json'),
    }
    rows = metrics(out)
    assert [row['step'] for row in rows] == ['4', '8', '12']
    assert float(rows[0]['train_loss']) > 0 and 'validation_coverage_95' in rows[0]
    summary = json.loads((out / 'summary.json').read_text())
    best = min(rows, key=lambda row: float(row['validation_position_mean_m']))
    assert summary['epoch'] == int(best['epoch']) and summary['samples_seen'] == 24
    assert summary['position_mean_m'] == pytest.approx(float(best['validation_position_mean_m']))
    assert summary['nll_after_calibration'] <= summary['nll_before_calibration']
    environment = json.loads((out / 'environment.json').read_text())
    assert environment['versions']['torch'] == torch.__version__
    assert 'commit' in environment
    shown = capsys.readouterr().out
    assert 'left' in shown and 'calibration on 3' in shown and 'model.safetensors' in shown
    result = load_weights(out / 'model.safetensors', 'tiny')
    for name, value in load_weights(out / 'best.safetensors').named_parameters():
        if 'calibration' not in name:
            assert torch.equal(result.get_parameter(name), value)


def test_no_file_holds_code(config, tmp_path):
    out = tmp_path / 'run'
    assert main([str(config), '--out', str(out), '--set', 'epochs=1']) == 0
    for name in ('last.ckpt', 'best.safetensors', 'model.safetensors'):
        load_tensors(out / name)


@pytest.mark.parametrize(('patience', 'epochs'), [(1, 2), (2, 3)])
def test_a_run_without_progress_stops_early(config, tmp_path, monkeypatch, patience, epochs):
    looks = iter([5.0, 6.0, float('nan'), 7.0])
    monkeypatch.setattr(
        trainer, 'validate', lambda *a, **k: {'position_mean_m': next(looks), 'nll': 0.0}
    )
    out = tmp_path / 'run'
    words = ['--set', 'epochs=9', '--set', f'validate.patience={patience}']
    assert main([str(config), '--out', str(out), *words]) == 0
    assert len(metrics(out)) == epochs
    assert 'stopped early' in (out / 'log.txt').read_text()
    assert read_header(out / 'model.safetensors').facts['epoch'] == 1


def test_the_last_weights_can_be_kept_though_others_were_better(config, tmp_path, monkeypatch):
    looks = iter([5.0, 6.0, 7.0])
    monkeypatch.setattr(
        trainer, 'validate', lambda *a, **k: {'position_mean_m': next(looks), 'nll': 0.0}
    )
    out = tmp_path / 'run'
    words = ['--set', 'epochs=3', '--set', 'validate.keep=last']
    assert main([str(config), '--out', str(out), *words]) == 0
    facts = read_header(out / 'model.safetensors').facts
    assert facts['epoch'] == 3
    result, state = load_weights(out / 'model.safetensors', 'tiny'), load_state(out / 'last.ckpt')
    kept = state['objective'] if state['ema'] is None else state['ema']
    for name, value in result.named_parameters():
        if 'calibration' not in name:
            assert torch.equal(kept[f'model.{name}'], value), name
    # Others were better all the same, which is what patience counts by.
    counters = state['counters']
    assert (counters['best'], counters['best_epoch'], counters['stale']) == (5.0, 1, 2)


def test_steps_instead_of_epochs_and_looks_now_and_then(config, tmp_path):
    out = tmp_path / 'run'
    words = ['--set', 'epochs=null', '--set', 'steps=14', '--set', 'validate.every_epochs=2']
    assert main([str(config), '--out', str(out), *words]) == 0
    rows = metrics(out)
    assert [row['step'] for row in rows] == ['4', '8', '12', '14']
    assert [bool(row['validation_nll']) for row in rows] == [False, True, False, True]


def test_without_validation_the_last_weights_are_the_result(config, tmp_path):
    out = tmp_path / 'run'
    assert main([str(config), '--out', str(out), '--set', 'data.validation=null']) == 0
    assert not (out / 'best.safetensors').exists()
    state = load_tensors(out / 'last.ckpt')[1]
    result = load_weights(out / 'model.safetensors')
    assert torch.equal(state['.objective.model.of_view.weight'], result.of_view.weight)


def test_the_average_is_what_is_saved(config, tmp_path):
    out = tmp_path / 'run'
    words = ['--set', 'ema.decay=0.999', '--set', 'data.validation=null']
    assert main([str(config), '--out', str(out), *words]) == 0
    state = load_tensors(out / 'last.ckpt')[1]
    result = load_weights(out / 'model.safetensors')
    assert torch.equal(state['.ema.model.of_view.weight'], result.of_view.weight)
    assert not torch.equal(state['.objective.model.of_view.weight'], result.of_view.weight)


def test_calibration_is_not_trained(config, tmp_path):
    out = tmp_path / 'run'
    assert main([str(config), '--out', str(out), '--set', 'optimizer.lr=0.1']) == 0
    assert load_weights(out / 'best.safetensors').calibration['log_temperature'].item() == 0.0


def test_weights_that_training_only_harms_stay_the_best(config, tmp_path):
    path = tmp_path / 'begun.safetensors'
    good = tmp_path / 'good'
    words = ['--set', 'optimizer.lr=0.01', '--set', 'epochs=20', '--set', 'clip_norm=null']
    words += ['--set', 'data.options.half_m=0.0', '--set', 'validate.every_epochs=20']
    words += ['--set', 'schedule.name=constant', '--set', 'data.train.limit=2']
    words += ['--set', 'data.validation.limit=1', '--set', 'validate.metric=nll']
    assert main([str(config), '--out', str(good), *words]) == 0
    save_weights(path, load_weights(good / 'model.safetensors'))
    out = tmp_path / 'run'
    words += ['--set', f'start_from={path}', '--set', 'optimizer.lr=30', '--set', 'epochs=2']
    assert main([str(config), '--out', str(out), *words]) == 0
    assert [row['epoch'] for row in metrics(out)] == ['0', '1', '2']
    assert 'before training' in (out / 'log.txt').read_text()
    assert read_header(out / 'model.safetensors').facts['epoch'] == 0


def test_a_batch_is_learned_by_heart(config, tmp_path):
    out = tmp_path / 'run'
    words = ['--overfit', '2', '--set', 'optimizer.lr=0.01', '--set', 'steps=150']
    assert main([str(config), '--out', str(out), *words]) == 0
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['steps_done'] == 150
    # A cell is 4 m wide.
    assert summary['position_mean_m'] < 4.0
    assert load_weights(out / 'model.safetensors').calibration['log_temperature'].item() == 0.0


def test_seeds_say_everything(config, tmp_path):
    states = []
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        words = ['--set', 'system.settings.dropout=0.5', '--set', f'seed={seed}']
        assert main([str(config), '--out', str(tmp_path / name), *words]) == 0
        states.append(load_tensors(tmp_path / name / 'last.ckpt')[1])
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    key = '.objective.model.of_view.weight'
    assert not torch.equal(states[0][key], states[2][key])


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    shown = capsys.readouterr().out
    for word in ('--overfit', '--resume', 'last.ckpt', 'model.safetensors', 'config/train'):
        assert word in shown


def test_half_precision_gives_weights_in_full(config, tmp_path):
    out = tmp_path / 'run'
    words = ['--set', 'precision=bf16-mixed', '--set', 'epochs=1']
    assert main([str(config), '--out', str(out), *words]) == 0
    assert load_weights(out / 'model.safetensors').of_view.weight.dtype is torch.float32
