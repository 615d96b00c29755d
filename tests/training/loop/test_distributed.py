# SPDX-License-Identifier: Apache-2.0
"""Two processes that share a batch learn what one process learns from all of it."""

import os
import subprocess
import sys

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import load_tensors
from tests.training.loop import tiny
from training.loop.data import training_batches, Wanted
from training.loop.journal import read_rows
from training.loop.settings import Data, Split

# No Adam: where a gradient is zero but for rounding, Adam makes whole steps of the rounding.
MORE = [
    *('--set', 'batch_size=4'),
    *('--set', 'ema.decay=0.9'),
    *('--set', 'optimizer={name: sgd, lr: 0.05}'),
]


def run(config, out, *words):
    command = [sys.executable, '-m', 'tests.training.loop.tiny', str(config), '--out', str(out)]
    # Nothing of a launcher that runs these tests may reach the processes.
    names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'NODE_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    clean = {k: v for k, v in os.environ.items() if k not in names}
    return subprocess.run(
        [*command, *MORE, *words], env=clean, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_two_processes_learn_like_one_of_the_double_batch(config, tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    assert run(config, one).returncode == 0
    done = run(config, two, '--set', 'devices.count=2')
    assert done.returncode == 0, done.stderr
    for name in ('best.safetensors', 'model.safetensors', 'last.ckpt'):
        a, b = (load_tensors(folder / name)[1] for folder in (one, two))
        assert a.keys() == b.keys()
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=1e-3, atol=1e-6, msg=f'{name} {key}')
    first, second = (read_rows(folder / 'metrics.csv') for folder in (one, two))
    assert len(first) == len(second) == 3
    for row, other in zip(first, second, strict=True):
        for key in ('validation_position_mean_m', 'validation_nll', 'lr'):
            assert float(row[key]) == pytest.approx(float(other[key]), rel=1e-4)
    # A state of two processes goes on with one, and the other way round.
    text = (two / 'log.txt').read_text()
    assert text.count('weights: ') == 1
    assert run(config, two, '--resume').returncode == 0


def test_a_batch_that_two_cannot_share_is_refused():
    data = Data('stored', Split('train'), root=str(tiny.SAMPLES))
    with pytest.raises(ConfigError, match='batch_size: 3'):
        training_batches(
            data, Wanted(make_model('tiny')), 3, 0, root=None, rank=1, world=2, pin=False
        )
