# SPDX-License-Identifier: Apache-2.0
"""The engine for development: weights in torch, behind the same socket as a graph."""

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('safetensors')

import torch

from geoloc_core.errors import BundleError, ConfigError
from geoloc_core.models.weights import save_weights
from geoloc_core.runtime.torch_engine import TorchEngine
from geoloc_ros import assembly, parameters
from tests.models.test_geoloc_net import small


@pytest.fixture
def weights(tmp_path):
    model = small(taps=['stage1', 'stage2']).eval()
    save_weights(tmp_path / 'mine.safetensors', model)
    return model, tmp_path / 'mine.safetensors'


def test_it_answers_like_the_network(weights):
    model, path = weights
    names = model.inputs.view.name, model.inputs.patch.name
    open_sides = {name: (-1, -1, -1, -1) for name in names}
    engine = TorchEngine(path, {**open_sides, 'bearings': (-1,)}, 'scores', 'bearings', 1)
    generator = torch.Generator().manual_seed(0)
    arrays = {
        raster.name: torch.randn(
            1, raster.channels, raster.height, raster.width, generator=generator
        )
        for raster in (model.inputs.view, model.inputs.patch)
    }
    yaws = torch.linspace(-0.2, 0.2, 5)
    fed = {name: value.numpy() for name, value in arrays.items()} | {'bearings': yaws.numpy()}
    with torch.no_grad():
        wanted = model.belief(model(*(arrays[name] for name in names), yaws=yaws)).logits
    found = engine.run(fed)['scores']
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
    assert found.shape[1] == 5 and engine.name.startswith('torch')
    with pytest.raises(BundleError, match='expected'):
        engine.run({name: fed[name] for name in names})


def test_the_node_is_told_which_weights():
    params = parameters.validated({'model.path': 'anywhere', 'model.engine': 'torch'})
    with pytest.raises(ConfigError, match=r'model\.torch_weights'):
        assembly.engine_settings(params)
    named = {**params, 'model.torch_weights': 'mine.safetensors'}
    assert assembly.engine_settings(named).torch_weights == 'mine.safetensors'
