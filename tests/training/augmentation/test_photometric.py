# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from tests.training.augmentation.compass_sample import compass_sample
from tests.training.datasets.compass import assert_compass
from training.augmentation import (
    DropDepth,
    EraseBlocks,
    JitterPatch,
    JitterView,
    LimitFieldOfView,
    ScaleDepth,
)
from training.augmentation.photometric import HIDDEN_CLASS

LUMA = np.array([0.299, 0.587, 0.114])
NOTHING = {name: 0.0 for name in ('brightness', 'contrast', 'saturation', 'gamma', 'tint')}


def rng(seed=0):
    return np.random.default_rng(seed)


def test_jitter_of_nothing_changes_nothing():
    sample = compass_sample()
    view = JitterView(**NOTHING).apply(sample, rng())
    np.testing.assert_array_equal(view.view.image, sample.view.image)
    patch = JitterPatch(**NOTHING).apply(sample, rng())
    np.testing.assert_array_equal(patch.patch.image, sample.patch.image)


def test_view_and_patch_are_jittered_on_their_own():
    sample = compass_sample()
    view = JitterView().apply(sample, rng(1))
    assert view.patch is sample.patch and view.T_map_base is sample.T_map_base
    assert not np.array_equal(view.view.image, sample.view.image)
    assert_compass(view, min_visible=3)
    patch = JitterPatch().apply(sample, rng(1))
    assert patch.view is sample.view
    assert not np.array_equal(patch.patch.image, sample.patch.image)
    assert not np.array_equal(patch.other_patches[0].image, sample.other_patches[0].image)
    assert_compass(patch, min_visible=3)
    without = replace(sample, patch=None, other_patches=())
    assert JitterPatch().apply(without, rng()) is without


def test_jitter_has_the_strength_it_says():
    sample = compass_sample()
    mean = sample.view.image.mean()
    for seed in range(5):
        bright = JitterView(**{**NOTHING, 'brightness': 0.3}).apply(sample, rng(seed))
        assert 0.68 < bright.view.image.mean() / mean < 1.32
        grey = JitterView(**{**NOTHING, 'saturation': 0.9}).apply(sample, rng(seed))
        # The luma stays, but for values that are cut off.
        assert abs((grey.view.image - 1.0 * sample.view.image).mean((0, 1)) @ LUMA) < 3
        noisy = JitterView(**NOTHING, noise=20.0).apply(sample, rng(seed)).view.image
        assert np.std(noisy.astype(float) - sample.view.image) < 21
    assert np.std(noisy.astype(float) - sample.view.image) > 0.5


def test_black_outside_the_map_stays_black():
    sample = compass_sample()
    mask = sample.patch.mask.copy()
    mask[:40] = False
    image = sample.patch.image * mask[..., None]
    sample = replace(sample, patch=replace(sample.patch, image=image, mask=mask))
    jittered = JitterPatch(noise=30.0).apply(sample, rng())
    assert not jittered.patch.image[:40].any()


@pytest.mark.parametrize('name', ['panorama', 'strip'])
def test_limited_field_of_view_is_one_piece_of_the_circle(name):
    sample = compass_sample(name)
    width = sample.view.camera.width
    starts = set()
    for seed in range(12):
        limited = LimitFieldOfView((90.0, 200.0)).apply(sample, rng(seed))
        seen = (limited.view_classes != HIDDEN_CLASS).all(axis=0)
        assert width / 4 - 1 <= seen.sum() <= width * 200 / 360 + 1
        # One rise and one fall on the circle.
        rises = np.flatnonzero(seen & ~np.roll(seen, 1))
        assert len(rises) == 1
        starts.add(int(rises[0]))
        np.testing.assert_array_equal(limited.view.image[:, seen], sample.view.image[:, seen])
        assert not limited.view.image[:, ~seen].any()
        assert np.isnan(limited.view.depth[:, ~seen]).all()
        assert limited.view.image.shape == sample.view.image.shape
    # It also lies across the seam.
    assert len(starts) > 8 and max(starts) > width * 0.6


def test_field_of_view_of_the_whole_circle_and_of_other_cameras():
    sample = compass_sample()
    whole = LimitFieldOfView((360.0, 360.0)).apply(sample, rng())
    np.testing.assert_array_equal(whole.view.image, sample.view.image)
    pinhole = compass_sample('pinhole')
    assert LimitFieldOfView().apply(pinhole, rng()) is pinhole


def test_erased_blocks_hide_picture_depth_and_classes_alike():
    sample = compass_sample('pinhole')
    for seed in range(5):
        erased = EraseBlocks(count=(1, 2), side=(0.1, 0.3)).apply(sample, rng(seed))
        hidden = erased.view_classes == HIDDEN_CLASS
        assert 0.005 < hidden.mean() < 0.19
        np.testing.assert_array_equal(erased.view.image[~hidden], sample.view.image[~hidden])
        assert np.isnan(erased.view.depth[hidden]).all()
        np.testing.assert_array_equal(erased.view.depth[~hidden], sample.view.depth[~hidden])
        # Noise, no colour that a network could learn.
        assert 110 < erased.view.image[hidden].mean() < 145
    none = EraseBlocks(count=(0, 0)).apply(sample, rng())
    np.testing.assert_array_equal(none.view.image, sample.view.image)


def test_a_share_of_what_is_erased_is_black():
    sample = compass_sample('pinhole')
    always = EraseBlocks(count=(1, 1), side=(0.5, 0.5), black=1.0).apply(sample, rng(1))
    hidden = always.view_classes == HIDDEN_CLASS
    assert hidden.mean() == pytest.approx(0.25, abs=0.02)
    assert not always.view.image[hidden].any()
    half = EraseBlocks(count=(1, 1), side=(0.5, 0.5), black=0.5)
    drawn = [half.apply(sample, rng(seed)) for seed in range(40)]
    black = [not s.view.image[s.view_classes == HIDDEN_CLASS].any() for s in drawn]
    assert 10 < sum(black) < 30


def test_depth_is_scaled_by_one_factor_and_nothing_else():
    sample = compass_sample('pinhole')
    known = np.isfinite(sample.view.depth)
    factors = []
    for seed in range(40):
        scaled = ScaleDepth(factor=(0.5, 2.0)).apply(sample, rng(seed))
        ratio = scaled.view.depth[known] / sample.view.depth[known]
        assert np.ptp(ratio) < 1e-5 and np.isnan(scaled.view.depth[~known]).all()
        assert scaled.view.image is sample.view.image
        factors.append(ratio[0])
    assert 0.5 <= min(factors) < 0.7 and 1.5 < max(factors) <= 2.0
    # As often too short as too long.
    assert abs(np.mean(np.log(factors))) < 0.25
    without = replace(sample, view=replace(sample.view, depth=None))
    assert ScaleDepth().apply(without, rng()) is without


def test_depth_is_dropped_and_nothing_else():
    sample = compass_sample('pinhole')
    dropped = DropDepth(pixels=(0.2, 0.2), blocks=(0, 0)).apply(sample, rng())
    known = np.isfinite(sample.view.depth)
    gone = known & np.isnan(dropped.view.depth)
    assert gone.sum() / known.sum() == pytest.approx(0.2, abs=0.02)
    kept = known & ~gone
    np.testing.assert_array_equal(dropped.view.depth[kept], sample.view.depth[kept])
    assert dropped.view.image is sample.view.image
    blocks = DropDepth(pixels=(0, 0), blocks=(2, 2), side=(0.4, 0.4)).apply(sample, rng(4))
    assert (known & np.isnan(blocks.view.depth)).sum() / known.sum() > 0.1
    without = replace(sample, view=replace(sample.view, depth=None))
    assert DropDepth().apply(without, rng()) is without


@pytest.mark.parametrize(
    ('kind', 'options', 'words'),
    [
        (LimitFieldOfView, {'visible_deg': (240, 180)}, 'visible_deg.*0..360'),
        (EraseBlocks, {'count': (3, 1)}, 'count'),
        (EraseBlocks, {'side': (0.0, 0.2)}, 'side'),
        (EraseBlocks, {'black': 1.5}, 'black'),
        (ScaleDepth, {'factor': (0.0, 1.0)}, 'factor'),
        (ScaleDepth, {'factor': (1.2, 0.8)}, 'factor'),
        (DropDepth, {'pixels': (0.0, 1.2)}, 'pixels'),
        (DropDepth, {'blocks': (-1, 2)}, 'blocks'),
        (JitterView, {'gamma': 1.0}, r'JitterView\.gamma'),
        (JitterPatch, {'noise': -1.0}, 'noise'),
        (JitterView, {'p': 1.5}, 'a probability'),
    ],
)
def test_settings_out_of_range(kind, options, words):
    with pytest.raises(ConfigError, match=words):
        kind(**options)
