# SPDX-License-Identifier: Apache-2.0
import pickle

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from tests.training.augmentation.compass_sample import compass_sample
from training import augmentation
from training.augmentation import Pipeline, pipeline_from, RollPanorama, ShiftPatch, STEPS

SETTINGS = [
    {'step': 'roll_panorama', 'half_turn_deg': 45, 'p': 0.5},
    {'step': 'shift_patch', 'half_m': 4.0, 'size_px': 200},
    {'step': 'turn_map', 'p': 0.5},
    {'step': 'limit_field_of_view', 'visible_deg': [180, 240]},
    {'step': 'jitter_view', 'brightness': 0.3},
    {'step': 'jitter_patch'},
    {'step': 'erase_blocks', 'count': [1, 2]},
    {'step': 'drop_depth'},
    {'step': 'scale_depth', 'factor': [0.9, 1.1]},
    {'step': 'crop_view', 'scale': [0.8, 1.0], 'size': [200, 100]},
    {'step': 'through_lens', 'fov_deg': [70, 90]},
    {'step': 'move_viewpoint'},
    {'step': 'move_prior', 'half_m': 2.0},
    {'step': 'draw_prior', 'half_x_m': 5.0, 'half_yaw_deg': 10},
]


def test_settings_name_every_step_and_make_a_chain():
    chain = pipeline_from(SETTINGS, seed=3)
    assert {setting['step'] for setting in SETTINGS} == set(STEPS)
    assert [type(step) for step in chain.steps] == [STEPS[s['step']] for s in SETTINGS]
    assert chain.steps[0] == RollPanorama(p=0.5, half_turn_deg=45)
    assert chain.steps[3].visible_deg == (180, 240)
    assert pipeline_from([], 1)(compass_sample(), 0) is compass_sample()


def test_draws_depend_on_seed_epoch_and_index_alone():
    chain, sample = pipeline_from(SETTINGS, seed=3), compass_sample()
    first = chain(sample, 7, 2)
    chain(sample, 8, 2)
    again = pickle.loads(pickle.dumps(chain))(sample, 7, 2)
    np.testing.assert_array_equal(first.view.image, again.view.image)
    np.testing.assert_array_equal(first.patch.image, again.patch.image)
    np.testing.assert_array_equal(first.T_map_base, again.T_map_base)
    for other in (
        chain(sample, 6, 2),
        chain(sample, 7, 1),
        pipeline_from(SETTINGS, 4)(sample, 7, 2),
    ):
        assert not np.array_equal(first.patch.image, other.patch.image)


def test_a_step_draws_the_same_whatever_comes_before_it():
    sample = compass_sample()
    alone = Pipeline((RollPanorama(p=0.0), ShiftPatch()), 1)(sample, 5)
    after = Pipeline((RollPanorama(p=1.0), ShiftPatch()), 1)(sample, 5)
    assert alone.patch.grid == after.patch.grid
    assert se3.yaw_of(alone.T_map_base) != se3.yaw_of(after.T_map_base)


def test_probability_is_one():
    sample = compass_sample()
    chain = Pipeline((ShiftPatch(p=0.3),), 0)
    changed = sum(chain(sample, index).patch is not sample.patch for index in range(200))
    assert 40 < changed < 80


def test_no_step_mirrors_the_world():
    """A mirrored view or map shows a world that does not exist; so does a pair of them.

    If only one of the two is mirrored, right is left in it and every yaw changes sign: no pose
    makes the pair true. If both are, a pose exists, but streets are driven on the other side and
    letters run backwards, which no robot will ever see. So nothing of the kind is offered.
    """
    names = [*STEPS, *dir(augmentation)]
    assert not [name for name in names if 'flip' in name.lower() or 'mirror' in name.lower()]
    for name in ('flip', 'horizontal_flip', 'mirror_view'):
        with pytest.raises(ConfigError, match='mirrored world does not exist'):
            pipeline_from([{'step': name}])
    # What a mirrored map would do: no turn of the original gives the same picture.
    image = compass_sample().patch.image[:200, :200]
    for quarters in range(4):
        assert not np.array_equal(np.rot90(image, quarters), image[:, ::-1])


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'step': 'turn_map'}, 'must be a list'),
        ('turn_map', 'must be a list'),
        (['turn_map'], "must say which it is, 'step: <name>'"),
        ([{'p': 0.5}], 'must say which it is'),
        ([{'step': 'zoom'}], "no augmentation is called 'zoom': choose one of roll_panorama"),
        ([{'step': 'turn_map', 'angle': 3}], "turn_map has no setting 'angle': choose from p"),
        ([{'step': 'shift_patch', 'half_m': -1}], 'ShiftPatch.half_m = -1: expected metres'),
        ([{'step': 'shift_patch', 'half_m': 'far'}], 'wrong kind'),
        ([{'step': 'crop_view', 'scale': 0.5}], 'wrong kind'),
        ([{'step': 'crop_view', 'scale': [0.5, 1.5]}], 'CropView.scale'),
        ([{'step': 'crop_view', 'size': [0, 5]}], 'CropView.size'),
        ([{'step': 'roll_panorama', 'half_turn_deg': 400}], '0..180'),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ConfigError) as error:
        pipeline_from(settings)
    assert words in str(error.value)
