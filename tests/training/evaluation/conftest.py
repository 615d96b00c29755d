# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from geoloc_core.models.weights import save_weights
from tests.training.evaluation import tiny


@pytest.fixture(scope='session', autouse=True)
def _tiny_is_known():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny.install()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path):
    """A run's folder: a network for any yaw."""
    torch.manual_seed(0)
    folder = tmp_path / 'run'
    save_weights(folder / 'model.safetensors', tiny.Tiny())
    (folder / 'config.yaml').write_text('seed: 7\nbatch_size: 4\n')
    return folder


@pytest.fixture
def narrow(tmp_path):
    """Weights of a network for yaws within 10 degrees of the prior."""
    torch.manual_seed(1)
    path = tmp_path / 'narrow.safetensors'
    save_weights(path, tiny.Tiny(tiny.TinySettings(half_yaw_deg=10.0, yaw_bins=3)))
    return path


@pytest.fixture
def no_pictures(monkeypatch):
    """Curves are drawn in one test; in the others they only take time."""
    monkeypatch.setattr('training.evaluation.report.write_curves', lambda *_: [])
