# SPDX-License-Identifier: Apache-2.0
"""Further patches in a batch: as many of each sample, and which of them are real."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.grid import Grid
from geoloc_core.input_spec import CameraSpec, InputSpec, PolarSpec, RasterSpec
from geoloc_core.types import AerialPatch
from tests.models.fixtures import samples, with_prior
from training.loading import collate
from training.loop.data import preparation_of, Wanted
from training.loop.settings import Data, Split
from training.preparation import CrossViewPreparation, OTHERS

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
INPUTS = InputSpec(
    camera_kinds=('equirectangular',),
    view_kind='camera',
    view=RasterSpec('view', 64, 32, MEAN, STD),
    patch=RasterSpec('patch', 40, 56, MEAN, STD),
    patch_gsd=1.0,
    bev=None,
    polar=None,
    camera=CameraSpec('equirectangular', None, None, 2.0),
    turned='view',
)


def with_others(count):
    """A sample with patches whose middles lie 20, 40 ... m east of its own."""
    sample = samples(1)[0]
    patch, others = sample.patch, []
    for k in range(count):
        x, y = patch.grid.center_xy
        grid = Grid((x + 20.0 * (k + 1), y), patch.grid.gsd, patch.grid.width, patch.grid.height)
        others.append(AerialPatch(patch.image, patch.mask, grid))
    return replace(sample, key=f'with {count}', other_patches=tuple(others))


def test_fewer_patches_are_filled_up_and_said_to_be_void():
    prepare = CrossViewPreparation(INPUTS, other_patches=True)
    items = [with_others(count) for count in (3, 1, 0)]
    batch = collate([(item.key, prepare(item)) for item in items]).tensors
    assert batch['others'].shape == (3, OTHERS, 3, 56, 40)
    assert batch['others_truth'].shape == (3, OTHERS, 3)
    valid = batch['others_valid'].numpy()
    np.testing.assert_array_equal(valid, [[True] * 3, [True, False, False], [False] * 3])
    # Nothing is invented where there is nothing.
    assert not batch['others'].numpy()[~valid].any()
    assert not batch['others_truth'].numpy()[~valid].any()
    assert batch['others'].numpy()[valid].any(axis=(1, 2, 3)).all()
    # A patch that lies further east shows the place further west.
    x = batch['others_truth'][0, :, 0].numpy()
    np.testing.assert_allclose(np.diff(x), -20.0, atol=1e-4)
    with pytest.raises(DataError, match='with 4 has 4 further patches'):
        prepare(with_others(4))


def test_a_reader_that_gives_no_further_patches_is_named():
    wanted = Wanted(type('Model', (), {'inputs': INPUTS, 'EXTRA_INPUTS': ()})(), ('others',))
    data = Data(reader='vigor', train=Split('train'))
    with pytest.raises(ConfigError, match='set semi_positives: true'):
        preparation_of(data, data.train, wanted, augmented=True, seed=0)
    asked = replace(data, options={'semi_positives': True})
    made = preparation_of(asked, asked.train, wanted, augmented=True, seed=0)
    assert made.prepare.other_patches and made.reduce.keep_others


def test_a_camera_that_the_network_is_not_made_for_is_named():
    sample = samples(1)[0]
    only = replace(INPUTS, camera_kinds=('pinhole',))
    with pytest.raises(DataError, match='kind equirectangular, the network is made for'):
        CrossViewPreparation(only)(sample)


@pytest.mark.parametrize('gone', ['patch', 'prior', 'T_map_base'])
def test_what_a_sample_must_have(gone):
    with pytest.raises(DataError, match='cross-view training needs all three'):
        CrossViewPreparation(INPUTS)(replace(samples(1)[0], **{gone: None}))


def test_truth_is_counted_from_the_prior():
    sample = samples(1)[0]
    moved = with_prior(sample, east_m=3.0, north_m=-2.0, yaw=0.5)
    one, other = (CrossViewPreparation(INPUTS)(s) for s in (sample, moved))
    np.testing.assert_allclose(other['truth'] - one['truth'], [-3.0, 2.0, -0.5], atol=1e-4)
    # Patches follow the prior, by whole pixels of 1 m here.
    np.testing.assert_array_equal(other['patch'][:, :-3, :-4], one['patch'][:, 2:-1, 3:-1])


def test_a_network_that_is_fed_pictures_learns_where_the_camera_is():
    sample = samples(1)[0]
    # base_link 1.5 m behind and 0.5 m right of the camera, which stays where it is.
    arm = se3.from_planar(1.5, 0.5, 0.0)
    away = se3.inverse(arm)
    mounted = replace(
        sample,
        view=replace(sample.view, T_base_camera=arm @ sample.view.T_base_camera),
        T_map_base=sample.T_map_base @ away,
        prior=replace(sample.prior, T_map_base=sample.prior.T_map_base @ away),
    )
    one, other = (CrossViewPreparation(INPUTS)(s) for s in (sample, mounted))
    np.testing.assert_allclose(other['truth'], one['truth'], atol=1e-5)
    np.testing.assert_allclose(other['frame'], one['frame'], atol=1e-9)
    # A view on the ground is laid around base_link.
    on_ground = replace(INPUTS, view_kind='polar', polar=PolarSpec(1.0, 9.0, (0.0,)), camera=None)
    pose = se3.planar(mounted.T_map_base)
    made = CrossViewPreparation(on_ground)(mounted)
    prior = se3.planar(mounted.prior.T_map_base)
    np.testing.assert_allclose(made['truth'][:2], np.subtract(pose, prior)[:2], atol=1e-5)
