# SPDX-License-Identifier: Apache-2.0
"""Settings are read strictly, and an error names the key, what was expected and what was meant."""

from pathlib import Path

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import settings_from
from geoloc_core.models.registry import model_class
from tests.training.loop import tiny
from training.loading import ShardedSampler
from training.loop.data import Chosen
from training.loop.reading import build, plain, read_yaml, to_yaml
from training.loop.settings import Config, read_config
from training.objectives.registry import OBJECTIVES

FOLDER = Path(__file__).parents[3] / 'config' / 'train'
# The comparison is many runs in one file, for a command of its own.
RECIPES = [path for path in sorted(FOLDER.glob('**/*.yaml')) if path.stem != 'comparison']


def refused(path, *settings):
    with pytest.raises(ConfigError) as caught:
        read_config(path, settings)
    return str(caught.value)


def test_single_values_are_replaced(config):
    read = read_config(config, ('optimizer.lr=1e-5', 'system.settings.channels=7', 'ema.decay=.9'))
    assert read.optimizer.lr == 1e-5  # YAML itself takes this for text
    assert read.system.settings == {'channels': 7}
    assert read.ema.decay == 0.9
    assert read.data.train.split == 'train'


@pytest.mark.parametrize(
    ('setting', 'said'),
    [
        ('optimiser.lr=1', ['optimiser', "'optimizer'"]),
        ('optimizer.rl=1', ['optimizer.rl', "'lr'"]),
        ('optimizer.lr=fast', ['optimizer.lr', 'a number', "'fast'"]),
        ('optimizer.lr=-1', ['optimizer.lr', 'more than 0', '-1']),
        ('optimizer.lr=.nan', ['optimizer.lr']),
        ('optimizer.name=adamx', ['optimizer.name', "'adamx'", "'adam'"]),
        ('optimizer.betas=[0.9]', ['optimizer.betas', '2 values']),
        ('optimizer.betas=[0.9, 1.5]', ['optimizer.betas']),
        ('batch_size=2.5', ['batch_size', 'a whole number', '2.5']),
        ('batch_size=true', ['batch_size', 'True']),
        ('batch_size=0', ['batch_size', 'more than 0']),
        ('steps=10', ['epochs', 'exactly one']),
        ('epochs=null', ['epochs', 'exactly one']),
        ('data.train=train', ['data.train', 'a mapping']),
        ('data.reduce.view_size=[64, wide]', ['data.reduce.view_size[1]', "'wide'"]),
        ('data.augment=[jitter_view]', ['data.augment[0]']),
        ('data.workers=-1', ['data.workers', '0 or more']),
        ('validate.metric=mean', ['validate.metric', 'position_mean_m']),
        ('precision=bf16', ['precision', 'bf16-mixed']),
        ('schedule.warmup=1', ['schedule.warmup']),
        ('ema=0.9', ['ema', 'a mapping']),
        ('seed=-1', ['seed']),
        ('data.batch_order=size', ['data.batch_order']),
        ('system=tiny', ['system', 'a mapping']),
        ('batch_size.x=1', ['batch_size', 'no keys']),
        ('batch_size', ['KEY=VALUE']),
        ('batch_size=[1', ['batch_size', 'YAML']),
        ('start_from=3', ['start_from']),
    ],
)
def test_what_cannot_be_is_named(config, setting, said):
    error = refused(config, setting)
    assert all(word in error for word in said), error


def test_a_missing_key_and_a_key_given_twice(tmp_path):
    whole = tiny.CONFIG
    path = tiny.write_config(tmp_path, whole.replace('batch_size: 2\n', ''))
    assert 'batch_size: is missing' in refused(path)
    path = tiny.write_config(tmp_path, whole + 'seed: 6\n')
    assert "'seed' is given twice" in refused(path)


def test_what_is_merged_in_may_be_replaced_but_not_given_twice(tmp_path):
    path = tmp_path / 'merged.yaml'
    path.write_text('a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, x: 4}\n')
    assert read_yaml(path) == {'a': {'x': 1, 'y': 2}, 'b': {'x': 1, 'y': 3}, 'c': {'x': 4, 'y': 3}}
    path.write_text('a: &a {x: 1}\nb: {<<: *a, y: 2, y: 3}\n')
    with pytest.raises(ConfigError, match="'y' is given twice"):
        read_yaml(path)


def test_files_that_are_no_settings(tmp_path, config):
    assert "'tiny.yaml'" in refused(tmp_path / 'tinny.yaml')
    for text in ('a: [', '- 1', '3', ''):
        path = tiny.write_config(tmp_path, text)
        assert str(path) in refused(path)


def test_resolved_settings_are_read_back_equal(tmp_path, config):
    read = read_config(
        config, ('data.augment=[{step: jitter_view}]', 'data.reduce.view_size=[64, 32]')
    )
    path = tmp_path / 'again.yaml'
    path.write_text(to_yaml(read))
    assert read_config(path) == read
    assert build(Config, plain(read)) == read


def test_halves_of_an_ordered_batch_show_different_places():
    # Indices of a data set go place by place: 0..9 here are one city, 10..19 another.
    sampler = ShardedSampler(20, 8, seed=3)
    plain, ordered = (list(Chosen(sampler, np.arange(20), ordered)) for ordered in (False, True))
    assert len(ordered) == 2
    for drawn, batch in zip(plain, ordered, strict=True):
        # The same samples, the nearer ones side by side.
        assert sorted(drawn) == batch != drawn
        assert max(batch[:4]) < min(batch[4:])


@pytest.mark.parametrize('path', RECIPES, ids=lambda p: p.stem)
def test_every_recipe_can_be_read(path):
    read = read_config(path)
    settings_from(model_class(read.system.name).Settings, read.system.settings, path.name)
    assert read.objective.name in OBJECTIVES
    assert read_yaml(path)['data']['train']
