# SPDX-License-Identifier: Apache-2.0
"""A run that was cut off goes on as if it had not been."""

import csv
import signal
import subprocess
import sys
import time

import pytest
import torch

from geoloc_core.models.weights import load_tensors
from training.loop.state import load_state
from training.loop.trainer import Trainer
from training.train import main

# Everything that has a state: draws of dropout, an average, a schedule, a momentum.
HARD = [
    *('--set', 'system.settings.dropout=0.3'),
    *('--set', 'ema.decay=0.9'),
    *('--set', 'save_every_steps=1'),
    *('--set', 'data.augment=[{step: jitter_view}, {step: draw_prior, half_x_m: 5, half_y_m: 3}]'),
]


class Cut(BaseException):
    """The end of a process, as far as the loop can tell."""


def equal_states(a, b):
    one, other = load_tensors(a)[1], load_tensors(b)[1]
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
    facts = [load_state(path) for path in (a, b)]
    for fact in facts:
        fact['counters'].pop('seconds')
    assert facts[0]['counters'] == facts[1]['counters']


def rows(folder):
    with (folder / 'metrics.csv').open(newline='') as file:
        found = list(csv.DictReader(file))
    for row in found:
        del row['samples_per_s'], row['waited_for_data_percent']
    return found


def points(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / 'tensorboard'))
    board.Reload()
    return [(e.step, e.value) for e in board.Scalars('validation/position_mean_m')]


@pytest.mark.parametrize('cut_after', [2, 6, 8])
def test_a_cut_run_goes_on_bit_for_bit(config, tmp_path, monkeypatch, cut_after):
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    assert main([str(config), '--out', str(whole), *HARD]) == 0
    measure = Trainer._measure

    def measure_and_die(self, losses, norm, keys):
        measure(self, losses, norm, keys)
        if self.counters.step == cut_after:
            raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, '_measure', measure_and_die)
        with pytest.raises(Cut):
            main([str(config), '--out', str(cut), *HARD])
    assert load_state(cut / 'last.ckpt')['counters']['step'] == cut_after - 1
    assert main([str(config), '--out', str(cut), '--resume', *HARD]) == 0
    equal_states(whole / 'last.ckpt', cut / 'last.ckpt')
    for name in ('best.safetensors', 'model.safetensors'):
        one, other = (load_tensors(folder / name)[1] for folder in (whole, cut))
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert rows(whole) == rows(cut)


def test_rows_after_the_last_state_are_written_once(config, tmp_path, monkeypatch):
    """Killed after a row was written, before the state was."""
    out = tmp_path / 'run'
    end = Trainer._end_epoch

    def end_and_die(self, *args):
        end(self, *args)
        if self.counters.epoch == 2:
            raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, '_end_epoch', end_and_die)
        with pytest.raises(Cut):
            main([str(config), '--out', str(out)])
    assert [row['epoch'] for row in rows(out)] == ['1', '2']
    # TensorBoard reads files in the order of the seconds in their names.
    time.sleep(1.1)
    assert main([str(config), '--out', str(out), '--resume']) == 0
    assert [row['epoch'] for row in rows(out)] == ['1', '2', '3']
    assert [step for step, _ in points(out)] == [4, 8, 12]


def test_an_asked_stop_saves_and_says_how_to_go_on(config, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'run'
    # A shell's background job may have been told to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    measure = Trainer._measure

    def measure_and_ask(self, *args):
        measure(self, *args)
        if self.counters.step == 6:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, '_measure', measure_and_ask)
        assert main([str(config), '--out', str(out)]) == 130
    assert '--resume' in capsys.readouterr().out
    assert load_state(out / 'last.ckpt')['counters']['step'] == 6
    assert main([str(config), '--out', str(out), '--resume']) == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_is_not_overwritten_and_not_continued_as_another(config, tmp_path, capsys):
    out = tmp_path / 'run'
    assert main([str(config), '--out', str(out), '--set', 'epochs=1']) == 0
    capsys.readouterr()
    assert main([str(config), '--out', str(out)]) == 1
    assert '--resume' in capsys.readouterr().err
    other = ['--resume', '--set', 'epochs=1', '--set', 'optimizer.lr=0.5']
    assert main([str(config), '--out', str(out), *other]) == 1
    assert 'optimizer.lr' in capsys.readouterr().err


def test_resolved_settings_train_the_same(config, tmp_path):
    one, other = tmp_path / 'one', tmp_path / 'other'
    assert main([str(config), '--out', str(one), *HARD]) == 0
    assert main([str(one / 'config.yaml'), '--out', str(other)]) == 0
    equal_states(one / 'last.ckpt', other / 'last.ckpt')


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed(config, tmp_path):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    more = [*HARD, '--set', 'epochs=30', '--set', 'data.workers=1']
    assert main([str(config), '--out', str(whole), *more]) == 0
    words = [sys.executable, '-m', 'tests.training.loop.tiny', str(config), *more]
    process = subprocess.Popen([*words, '--out', str(killed)])
    try:
        for _ in range(2400):
            time.sleep(0.05)
            state = killed / 'last.ckpt'
            if state.exists() and load_state(state)['counters']['step'] >= 7:
                break
    finally:
        process.kill()
        process.wait()
    step = load_state(killed / 'last.ckpt')['counters']['step']
    assert 7 <= step < 120
    assert main([str(config), '--out', str(killed), '--resume', *more]) == 0
    equal_states(whole / 'last.ckpt', killed / 'last.ckpt')
    assert rows(whole) == rows(killed)
