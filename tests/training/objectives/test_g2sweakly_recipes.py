# SPDX-License-Identifier: Apache-2.0
"""The recipes of G2SWeakly say what the code can do."""

from pathlib import Path

import pytest

from geoloc_core.models.registry import make_model
from training.loop.reading import build, read_yaml
from training.loop.settings import Config
from training.objectives.registry import make_objective

RECIPES = sorted((Path(__file__).parents[3] / 'config' / 'train').glob('g2sweakly*.yaml'))


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_recipe(path):
    config = build(Config, read_yaml(path))
    assert (config.system.name, config.batch_size) == ('g2sweakly', 8)
    if 'dino' in path.stem:
        pytest.importorskip('transformers')
    settings = dict(config.system.settings)
    if settings.get('weights') == 'hub':
        settings['weights'] = None
    model = make_model(config.system.name, settings)
    objective = make_objective(config.objective.name, model, config.objective.settings)
    assert any(p.requires_grad for p in objective.parameters())
    assert (model.rotation is not None) == ('kitti' in path.stem)


def test_there_are_recipes_of_both_stages_and_supervisions():
    assert {path.stem for path in RECIPES} == {
        'g2sweakly',
        'g2sweakly_dino',
        'g2sweakly_kitti',
        'g2sweakly_kitti_rotation',
        'g2sweakly_supervised',
    }
