# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a run is said in one line, and never costs the last good state."""

import errno

import pytest
import torch

from geoloc_core.models import weights
from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import load_tensors, load_weights, save_weights
from tests.training.loop import tiny
from training.loop.state import load_state
from training.train import main


def failed(capsys, config, out, *words):
    """What a run that fails says."""
    assert main([str(config), '--out', str(out), *words]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith('error: ') and 'Traceback' not in error
    return error


def test_a_loss_that_is_no_number_stops_the_run(config, tmp_path, capsys):
    out = tmp_path / 'run'
    words = ['--set', 'objective={name: poison, settings: {at_step: 5}}']
    error = failed(capsys, config, out, *words, '--set', 'save_every_steps=1')
    assert 'step 6' in error and 'last.ckpt' in error
    # The batch is named: the second one of the second pass.
    keys = error.partition('samples of that batch: ')[2].partition('. ')[0].split(', ')
    assert len(keys) == 2 and set(keys) <= {str(i) for i in range(8)}
    state = load_state(out / 'last.ckpt')
    assert state['counters']['step'] == 5
    assert all(bool(torch.isfinite(t).all()) for t in load_tensors(out / 'last.ckpt')[1].values())
    assert 'step 6' in (out / 'log.txt').read_text()


def test_a_gradient_that_is_no_number_is_seen_where_it_arises(
    config, tmp_path, capsys, monkeypatch
):
    """The loss of that step is still fine."""
    forward = tiny.Tiny.forward
    calls = []

    def rooted(self, view, patch, **extra):
        outputs = forward(self, view, patch, **extra)
        calls.append(torch.is_grad_enabled())
        # The slope of a root at 0 is endless; times 0 it is no number.
        extra = (outputs['cells'] * 0).sum().sqrt() if sum(calls) == 2 else 0.0
        return {**outputs, 'cells': outputs['cells'] + extra}

    monkeypatch.setattr(tiny.Tiny, 'forward', rooted)
    error = failed(capsys, config, tmp_path / 'run', '--set', 'clip_norm=null')
    assert 'step 2' in error


def test_a_full_disk_ends_the_run_and_spares_the_last_state(config, tmp_path, capsys, monkeypatch):
    out = tmp_path / 'run'
    save_file, saves = weights.save_file, []

    def full(tensors, path, header):
        saves.append(path)
        if len(saves) > 3:
            raise OSError(errno.ENOSPC, 'No space left on device', path)
        save_file(tensors, path, header)

    with monkeypatch.context() as patched:
        patched.setattr(weights, 'save_file', full)
        error = failed(capsys, config, out)
    assert 'No space left' in error and '--resume' in error
    assert load_state(out / 'last.ckpt')['counters']['step'] == 4
    assert not list(out.glob('*.part'))
    assert main([str(config), '--out', str(out), '--resume']) == 0


def test_an_empty_split(config, tmp_path, capsys):
    error = failed(capsys, config, tmp_path / 'a', '--set', 'data.train.split=nothing')
    assert "data.train: the split 'nothing'" in error and 'no samples' in error
    error = failed(capsys, config, tmp_path / 'b', '--set', 'data.validation.split=nothing')
    assert 'data.validation' in error


def test_a_split_smaller_than_a_batch(config, tmp_path, capsys):
    assert '8 samples' in failed(capsys, config, tmp_path / 'a', '--set', 'batch_size=9')


@pytest.mark.parametrize('workers', [0, 1])
def test_samples_that_cannot_be_read(config, tmp_path, capsys, workers):
    folder = tmp_path / 'data'
    folder.mkdir()
    for path in tiny.SAMPLES.glob('*.npz'):
        (folder / path.name).write_bytes(b'' if path.stem in '67' else path.read_bytes())
    words = ['--data', str(folder), '--set', f'data.workers={workers}']
    out = tmp_path / 'run'
    assert main([str(config), '--out', str(out), *words, '--set', 'batch_size=8']) == 0
    assert '6 samples could not be read' in (out / 'log.txt').read_text()
    words += ['--set', 'batch_size=1']
    error = failed(capsys, config, tmp_path / 'b', *words)
    assert 'no sample of a batch can be read' in error


@pytest.mark.parametrize('workers', [0, 1])
def test_what_goes_wrong_in_a_worker_is_one_line_too(config, tmp_path, capsys, workers):
    words = ['--set', 'data.reduce={patch_size: [64, 32]}', '--set', f'data.workers={workers}']
    error = failed(capsys, config, tmp_path / 'run', *words)
    assert error.startswith('error: a patch of 256 x 256 px cannot become 64 x 32')


def test_no_folder_and_no_such_folder(config, tmp_path, capsys):
    error = failed(capsys, config, tmp_path / 'a', '--set', 'data.root=null')
    assert 'data.root' in error and '--data' in error
    error = failed(capsys, config, tmp_path / 'b', '--data', str(tmp_path / 'none'))
    assert 'no such folder' in error


def test_options_that_a_reader_does_not_have(config, tmp_path, capsys):
    error = failed(capsys, config, tmp_path / 'a', '--set', 'data.options.half=3')
    assert 'half' in error and 'geoloc data list' in error


def test_weights_of_another_system_to_start_from(config, tmp_path, capsys):
    path = tmp_path / 'w.safetensors'
    save_weights(path, make_model('tiny', {'channels': 5}))
    error = failed(capsys, config, tmp_path / 'a', '--set', f'start_from={path}')
    assert 'of_view.weight' in error
    error = failed(capsys, config, tmp_path / 'b', '--set', f'start_from={{head: {path}}}')
    assert 'start_from.head' in error and 'no such part' in error
    words = ['--set', f'start_from={path}', '--set', 'system.settings.channels=5']
    words += ['--set', 'optimizer.lr=1e-12']
    assert main([str(config), '--out', str(tmp_path / 'c'), *words]) == 0
    begun, after = (load_weights(p) for p in (path, tmp_path / 'c' / 'model.safetensors'))
    torch.testing.assert_close(begun.of_view.weight, after.of_view.weight)


def test_a_damaged_state_is_named(config, tmp_path, capsys):
    out = tmp_path / 'run'
    out.mkdir()
    (out / 'last.ckpt').write_bytes(b'x' * 100)
    assert 'last.ckpt is damaged' in failed(capsys, config, out, '--resume')


def test_devices_that_are_not_there(config, tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    error = failed(capsys, config, tmp_path / 'run', '--set', 'devices.accelerator=cuda')
    assert 'devices' in error
