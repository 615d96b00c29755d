# SPDX-License-Identifier: Apache-2.0
"""Calibration finds the widths that make stated uncertainty true."""

import math

import pytest
import torch
from torch import nn

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.belief import Belief, evenly_spaced_yaws
from geoloc_core.models.weights import load_weights
from tests.training.loop import tiny
from training.calibrate import fit_calibration, main, take_calibration
from training.export_samples import provenance
from training.loading import Batch
from training.train import main as train

STD_M, CELL_M, SIDE = 3.0, 1.0, (33, 41)


class Bell(CrossViewModel):
    """Says the pose is near the middle, 10 m wide; it is told the truth by nothing."""

    NAME = 'bell'

    def __init__(self):
        model = tiny.Tiny(tiny.TinySettings())
        super().__init__(model.settings, model.inputs)
        self.calibration['log_width'] = nn.Parameter(torch.tensor(math.log(10.0)))
        self.calibration['idle'] = nn.Parameter(torch.tensor(0.7))
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.asked = 0

    def forward(self, view, patch, **extra):
        batch = len(view)
        x = torch.arange(SIDE[1]) - (SIDE[1] - 1) / 2
        y = (SIDE[0] - 1) / 2 - torch.arange(SIDE[0])
        squares = (x[None] ** 2 + y[:, None] ** 2).expand(batch, *SIDE) * CELL_M**2
        return {'squares': squares, 'large': torch.zeros(batch, 1000, 1000)}

    def belief(self, outputs):
        self.asked += 'large' in outputs
        width = self.calibration['log_width'].exp()
        logits = -outputs['squares'] / (2 * width**2)
        return Belief(
            logits[:, None].expand(-1, 3, -1, -1), CELL_M, evenly_spaced_yaws(3, 5.0), False
        )


def batches(std_m=STD_M, count=20, size=16):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        truth = torch.randn(size, 3, generator=generator) * std_m
        truth[:, :2].clamp_(-16, 16)
        truth[:, 2] = 0.0
        zeros = torch.zeros(size, 3, 4, 4, dtype=torch.uint8)
        mask = torch.ones(size, 1, 4, 4, dtype=torch.bool)
        tensors = {'view': zeros, 'view_mask': mask, 'patch': zeros, 'patch_mask': mask}
        yield Batch({**tensors, 'truth': truth}, tuple(str(i) for i in range(size)))


def test_the_width_becomes_that_of_the_errors():
    model = Bell()
    fit = fit_calibration(model, batches(), torch.device('cpu'))
    assert model.calibration['log_width'].exp().item() == pytest.approx(STD_M, rel=0.1)
    assert fit.after < fit.before and fit.samples == 320
    # What no datum speaks of stays, and so do the weights.
    assert model.calibration['idle'].item() == pytest.approx(0.7)
    assert model.weight.item() == 2.0 and model.weight.requires_grad
    assert 'log_width 2.303 -> ' in fit.text


def test_only_what_the_belief_reads_is_stored():
    model = Bell()
    fit = fit_calibration(model, batches(), torch.device('cpu'), max_samples=32)
    assert fit.samples == 32
    # The large tensor was there when the network answered, and never again.
    assert model.asked == 2


def test_memory_is_bounded():
    one = 16 * SIDE[0] * SIDE[1] * 4
    fit = fit_calibration(Bell(), batches(), torch.device('cpu'), max_bytes=3 * one)
    assert fit.samples == 48


def test_nothing_to_calibrate_and_nothing_better():
    model = Bell()
    del model.calibration['log_width'], model.calibration['idle']
    model.calibration = nn.ParameterDict()
    model.belief = lambda outputs: Bell.belief(Bell(), outputs)
    assert (
        'nothing to calibrate'
        in fit_calibration(model, batches(count=2), torch.device('cpu')).text
    )
    model = Bell()
    model.calibration['log_width'].data.fill_(float('nan'))
    fit_calibration(model, batches(count=2), torch.device('cpu'))
    assert math.isnan(model.calibration['log_width'].item())


def test_the_command_calibrates_a_run_again(tmp_path, capsys):
    tiny.install()
    config = tiny.write_config(tmp_path)
    run = tmp_path / 'run'
    assert train([str(config), '--out', str(run), '--set', 'epochs=1']) == 0
    best, out = run / 'best.safetensors', tmp_path / 'new.safetensors'
    assert load_weights(best).calibration['log_temperature'].item() == 0.0
    capsys.readouterr()
    assert main([str(best), '--out', str(out)]) == 0
    assert 'validation samples: nll' in capsys.readouterr().out
    fitted = load_weights(out).calibration['log_temperature'].item()
    trained = load_weights(run / 'model.safetensors').calibration['log_temperature'].item()
    assert fitted == pytest.approx(trained, abs=1e-5) and fitted != 0.0
    assert main([str(best), '--set', 'system.name=hc_net']) == 1
    assert "expected 'hc_net'" in capsys.readouterr().err


def test_a_network_without_frames_to_spare_takes_its_twins_calibration(tmp_path, capsys):
    tiny.install()
    config = tiny.write_config(tmp_path)
    run, whole = tmp_path / 'run', tmp_path / 'all'
    assert train([str(config), '--out', str(run), '--set', 'epochs=1']) == 0
    own = ['--set', 'epochs=1', '--set', 'data.validation=null', '--set', 'seed=3']
    assert train([str(config), '--out', str(whole), *own]) == 0
    before = load_weights(whole / 'model.safetensors')
    assert before.calibration['log_temperature'].item() == 0.0
    capsys.readouterr()
    like = ['--like', str(run / 'model.safetensors')]
    assert main([str(whole / 'model.safetensors'), *like]) == 0
    assert 'log_temperature 0.0 -> ' in capsys.readouterr().out
    after, twin = (load_weights(f / 'model.safetensors') for f in (whole, run))
    assert after.calibration['log_temperature'] == twin.calibration['log_temperature'] != 0.0
    for name, tensor in before.state_dict().items():
        if not name.startswith('calibration'):
            assert torch.equal(after.state_dict()[name], tensor), name
    _, calibration = provenance(whole / 'model.safetensors')
    assert calibration == 'taken from its twin run'
    # One of its own takes the place of that.
    assert main([str(whole / 'model.safetensors'), '--config', str(run / 'config.yaml')]) == 0
    assert 'NLL' in provenance(whole / 'model.safetensors')[1]
    bare = ['--like', str(run / 'best.safetensors')]
    assert main([str(whole / 'model.safetensors'), *bare]) == 1
    assert 'never calibrated' in capsys.readouterr().err


def test_another_network_is_no_twin():
    twin = Bell()
    twin.settings = None
    with pytest.raises(ConfigError, match='no twin'):
        take_calibration(Bell(), twin)
