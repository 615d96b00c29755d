# SPDX-License-Identifier: Apache-2.0
"""Recipes begin with weights that are there, and say how the published backbone comes back."""

from dataclasses import asdict

import pytest

from geoloc_core.models.base import settings_from
from geoloc_core.models.registry import model_class, MODELS
from tests.training.recipes import CONFIGS, published_backbone
from training.loop.build import random_backbones
from training.loop.reading import plain, read_yaml
from training.loop.settings import read_config

# Of the cross-view systems; networks of a mapped place are published with weights a user brings.
RECIPES = [
    path
    for path in sorted(CONFIGS.glob('*.yaml'))
    if read_yaml(path).get('system', {}).get('name') in MODELS
]
OURS = ('orienternet_aerial', 'geoloc', 'g2sweakly_dino')
WITH_PUBLISHED = [path for path in RECIPES if path.stem not in OURS]


def whole(path, words=()):
    """A recipe with every setting of its system, and those settings."""
    config = read_config(path, tuple(words))
    kind = model_class(config.system.name).Settings
    settings = settings_from(kind, config.system.settings, config.system.name)
    config.system.settings.clear()
    config.system.settings.update(plain(asdict(settings)))
    return config, settings


def backbones(settings, part=''):
    """Part of the network -> (backbone, weights, deepest)."""
    found = {}
    if hasattr(settings, 'backbone'):
        found[part] = settings.backbone, settings.weights, getattr(settings, 'deepest', None)
    for name in ('localizer', 'orientation'):
        if getattr(settings, name, None) is not None:
            found |= backbones(getattr(settings, name), name)
    return found


def test_there_are_recipes_of_all():
    assert len(WITH_PUBLISHED) == 14


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_no_backbone_begins_with_random_numbers(path):
    config, settings = whole(path)
    assert random_backbones(config) == []
    for name, weights, _ in backbones(settings).values():
        assert (name, weights) in (('efficientnet_lite0', 'imagenet'), ('dinov2_base', 'hub'))


@pytest.mark.parametrize('path', WITH_PUBLISHED, ids=lambda path: path.stem)
def test_the_published_backbone_comes_back(path):
    _, settings = whole(path, published_backbone(path))
    published = backbones(type(settings)())
    found = backbones(settings)
    assert found
    for part, (name, weights, deepest) in found.items():
        assert (name, deepest) == (published[part][0], published[part][2])
        assert weights == 'FILE'


def test_a_backbone_without_weights_is_told():
    (path,) = (p for p in RECIPES if p.stem == 'geodistill_orientation')
    words = ['system.settings.localizer.weights=null', 'system.settings.orientation.weights=null']
    config, _ = whole(path, words)
    # The localizer begins with weights of its own.
    (said,) = random_backbones(config)
    assert said == (
        'backbone efficientnet_lite0 begins with random numbers: '
        'set system.settings.orientation.weights'
    )
    (path,) = (p for p in RECIPES if p.stem == 'g2sweakly')
    config, _ = whole(path, ['system.settings.backbone=vgg16', 'system.settings.weights=null'])
    (said,) = random_backbones(config)
    assert said == 'backbone vgg16 begins with random numbers: set system.settings.weights'
    config, _ = whole(path, ['system.settings.weights=null', 'start_from=base.safetensors'])
    assert random_backbones(config) == []
