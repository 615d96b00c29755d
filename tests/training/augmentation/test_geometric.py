# SPDX-License-Identifier: Apache-2.0
import copy
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.registration import points_of
from geoloc_core.simulation.compass import POLES
from tests.training.augmentation.compass_sample import (
    CAMERAS,
    compass_sample,
    GSD,
    view_classes,
)
from tests.training.datasets.compass import assert_compass, HEIGHTS
from training.augmentation import CropView, Pipeline, RollPanorama, ShiftPatch, TurnMap
from training.augmentation.geometric import crop_view, resize_view, turn_map
from training.augmentation.photometric import HIDDEN_CLASS

ALL_CAMERAS = pytest.mark.parametrize('name', CAMERAS)
CIRCLES = pytest.mark.parametrize('name', ['panorama', 'strip'])


def rng(seed=0):
    return np.random.default_rng(seed)


def check_view_classes(sample):
    """Pixels look into the quarters that their classes say, but for those on a border."""
    expected = view_classes(sample.view.camera, sample.T_map_camera)
    known = sample.view_classes != HIDDEN_CLASS
    assert (sample.view_classes == expected)[known].mean() > 0.97


def check_depth(sample):
    """Points of the ground, by their depth, lie on the ground."""
    view = sample.view
    rays = view.camera.rays()
    usable = np.isfinite(view.depth) & np.isfinite(rays).all(axis=-1)
    # The project's own rule of what depth means, whatever camera the view has become.
    xyz = points_of(np.where(usable, view.depth, np.nan), view.camera, np.eye(4))
    z = se3.transform(sample.T_map_camera, xyz)[:, 2]
    assert usable.sum() > 500
    # Ground, or the poles and their discs; never beneath, never in the sky.
    assert np.quantile(z, 0.02) > -0.15 and z.max() < 3.2
    assert np.abs(np.median(z)) < 0.05


def turned_poles(R):
    """Where the poles are in a map that was turned by R (2, 2)."""
    return {
        name: np.stack(
            [*(np.ones_like(HEIGHTS) * value for value in R @ np.array(xy)), HEIGHTS], axis=-1
        )
        for name, (xy, _) in POLES.items()
    }


# ---- roll ----


@CIRCLES
def test_a_piece_of_a_panorama_keeps_its_depth(name):
    sample = compass_sample(name)
    height, width = sample.view.image.shape[:2]
    # To the side of the forward direction and behind it, where z is small or negative.
    for left in (10, 250):
        cut = crop_view(sample, left, height // 2, width // 4, height - height // 2)
        check_depth(cut)
        check_depth(resize_view(cut, width // 8 * 3, height))


@CIRCLES
@pytest.mark.parametrize('lever', [False, True])
def test_roll_keeps_the_compass(name, lever):
    sample = compass_sample(name, lever)
    assert_compass(sample, min_visible=3)
    for seed in range(4):
        rolled = RollPanorama().apply(sample, rng(seed))
        assert not np.array_equal(rolled.view.image, sample.view.image)
        assert_compass(rolled, min_visible=3)
        check_view_classes(rolled)
        check_depth(rolled)
        np.testing.assert_array_equal(rolled.view.T_base_camera, sample.view.T_base_camera)
        assert se3.is_rigid(rolled.T_map_base)


def test_content_moving_right_turns_the_viewer_left():
    sample = compass_sample()
    before = se3.yaw_of(sample.T_map_base)
    for seed in range(6):
        rolled = RollPanorama(half_turn_deg=60).apply(sample, rng(seed))
        turn = float(angles.difference(se3.yaw_of(rolled.T_map_base), before))
        columns = turn / (2 * np.pi) * 384
        assert columns == pytest.approx(round(columns), abs=1e-6) and abs(columns) <= 64
        np.testing.assert_array_equal(
            rolled.view.image, np.roll(sample.view.image, round(columns), axis=1)
        )
        # Straight over base_link nothing but the yaw changes.
        np.testing.assert_allclose(rolled.T_map_base[:3, 3], sample.T_map_base[:3, 3])


def test_roll_leaves_the_camera_where_it_is_and_the_prior_as_wrong_as_it_was():
    sample = compass_sample('panorama', lever=True)
    rolled = RollPanorama().apply(sample, rng(1))
    np.testing.assert_allclose(rolled.T_map_camera[:3, 3], sample.T_map_camera[:3, 3], atol=1e-12)

    def error(s):
        return se3.inverse(s.T_map_base) @ s.prior.T_map_base

    a, b = se3.planar(error(sample)), se3.planar(error(rolled))
    assert a[2] == pytest.approx(b[2], abs=0.02)
    plain = RollPanorama().apply(compass_sample(), rng(1))
    yaw_off = se3.yaw_of(plain.prior.T_map_base) - se3.yaw_of(plain.T_map_base)
    assert float(angles.wrap(yaw_off)) == pytest.approx(0.2)


def test_roll_leaves_other_cameras_and_unlabelled_samples_alone():
    sample = compass_sample('pinhole')
    assert RollPanorama().apply(sample, rng()) is sample
    kept_back = replace(compass_sample(), T_map_base=None, prior=None)
    rolled = RollPanorama().apply(kept_back, rng())
    assert rolled.T_map_base is None and rolled.prior is None


# ---- the patch ----


@pytest.mark.parametrize('size', [None, 160, 300])
def test_shifted_patch_keeps_the_compass(size):
    sample = compass_sample()
    for seed in range(4):
        shifted = ShiftPatch(half_m=6.0, size_px=size).apply(sample, rng(seed))
        assert_compass(shifted, min_visible=3)
        grid, old = shifted.patch.grid, sample.patch.grid
        assert grid.width == (size or 240) and grid.height == (size or 208)
        assert shifted.other_patches is sample.other_patches
        np.testing.assert_array_equal(shifted.T_map_base, sample.T_map_base)
        move = np.subtract(grid.center_xy, old.center_xy)
        assert 0 < np.abs(move).max() <= 6.0 + GSD
        # The mask tells what was there, to the pixel, and nothing else is shown.
        inside = old.contains(grid.cell_centers())
        np.testing.assert_array_equal(shifted.patch.mask, inside)
        assert not shifted.patch.image[~inside].any()
        xy = grid.cell_centers()
        expected = (2 * (xy[..., 0] > 0) + (xy[..., 1] > 0)).astype(np.uint8)
        near = np.abs(xy).min(axis=-1) > GSD
        np.testing.assert_array_equal(
            shifted.patch_classes[inside & near], expected[inside & near]
        )


def test_shift_of_known_size():
    sample = compass_sample()

    class Half:
        def uniform(self, low, high, size):
            return np.array([0.5, -0.25])

    shifted = ShiftPatch(half_m=1.0).apply(sample, Half())
    # Half a metre east, a quarter south: 4 columns, 2 rows further down.
    np.testing.assert_array_equal(shifted.patch.image[:-2, :-4], sample.patch.image[2:, 4:])
    np.testing.assert_allclose(shifted.patch.grid.center_xy, [1.0, -1.25])


def test_shift_past_the_whole_patch_shows_nothing():
    shifted = ShiftPatch(half_m=500.0).apply(compass_sample(), rng(3))
    assert not shifted.patch.mask.any() and not shifted.patch.image.any()


def test_prior_may_follow_the_patch_and_says_how_unsure_it_then_is():
    sample = compass_sample()
    stays = ShiftPatch(half_m=3.0).apply(sample, rng(2))
    assert stays.prior is sample.prior
    follows = ShiftPatch(half_m=3.0, prior_follows=True).apply(sample, rng(2))
    move = np.subtract(follows.patch.grid.center_xy, sample.patch.grid.center_xy)
    np.testing.assert_allclose(
        follows.prior.T_map_base[:2, 3] - sample.prior.T_map_base[:2, 3], move
    )
    np.testing.assert_allclose(
        follows.prior.cov - sample.prior.cov, np.diag([3, 3, 0, 0, 0, 0]), atol=1e-12
    )


# ---- the map ----


@pytest.mark.parametrize('quarters', [1, 2, 3])
def test_turned_map_keeps_the_compass(quarters):
    sample = compass_sample()
    turned = turn_map(sample, quarters)
    c, s = round(np.cos(quarters * np.pi / 2)), round(np.sin(quarters * np.pi / 2))
    R = np.array([[c, -s], [s, c]])
    assert turned.datum is None
    assert_compass(turned, poles=turned_poles(R), min_visible=3)
    with pytest.raises(AssertionError):
        assert_compass(turned, poles=turned_poles(np.eye(2)), min_visible=3)
    assert turned.view is sample.view
    assert float(
        angles.difference(se3.yaw_of(turned.T_map_base), se3.yaw_of(sample.T_map_base))
    ) == pytest.approx(float(angles.wrap(quarters * np.pi / 2)))
    # Prior and covariance are the same, seen from the turned map.
    np.testing.assert_allclose(
        se3.inverse(turned.T_map_base) @ turned.prior.T_map_base,
        se3.inverse(sample.T_map_base) @ sample.prior.T_map_base,
        atol=1e-12,
    )
    np.testing.assert_allclose(turned.cov[:2, :2], R @ sample.cov[:2, :2] @ R.T)
    xy = turned.patch.grid.cell_centers() @ R
    expected = (2 * (xy[..., 0] > 0) + (xy[..., 1] > 0)).astype(np.uint8)
    near = np.abs(xy).min(axis=-1) > GSD
    np.testing.assert_array_equal(turned.patch_classes[near], expected[near])


def test_four_quarters_are_a_circle_and_draws_use_all_of_them():
    sample = compass_sample()
    back = sample
    for _ in range(4):
        back = turn_map(back, 1)
    np.testing.assert_array_equal(back.patch.image, sample.patch.image)
    np.testing.assert_allclose(back.T_map_base, sample.T_map_base, atol=1e-12)
    assert back.patch.grid == sample.patch.grid
    yaws = {
        round(se3.yaw_of(TurnMap().apply(sample, rng(seed)).T_map_base), 6) for seed in range(20)
    }
    assert len(yaws) == 4


# ---- the picture ----


@ALL_CAMERAS
@pytest.mark.parametrize('size', [None, (150, 90), (500, 420)])
def test_cropped_and_resized_views_keep_the_compass(name, size):
    sample = compass_sample(name)
    for seed in range(3):
        cropped = CropView(scale=(0.6, 0.9), size=size).apply(sample, rng(seed))
        camera = cropped.view.camera
        shape = (camera.height, camera.width)
        assert cropped.view.image.shape == (*shape, 3)
        assert cropped.view.depth.shape == cropped.view_classes.shape == shape
        assert size is None or (camera.width, camera.height) == size
        assert_compass(cropped, min_visible=0 if name in ('pinhole', 'strip') else 1)
        check_view_classes(cropped)
        # Nearest, never mixed: every depth and every class was in the picture before.
        was = sample.view.depth[np.isfinite(sample.view.depth)]
        now = cropped.view.depth[np.isfinite(cropped.view.depth)]
        assert np.isin(now, was).all()
        assert set(np.unique(cropped.view_classes)) <= set(np.unique(sample.view_classes))


@ALL_CAMERAS
def test_crop_of_known_place(name):
    sample = compass_sample(name)
    cropped = crop_view(sample, 37, 11, 100, 50)
    np.testing.assert_array_equal(cropped.view.image, sample.view.image[11:61, 37:137])
    uv = np.array([[0.0, 0.0], [60.5, 22.25], [99.0, 49.0]])
    np.testing.assert_allclose(
        cropped.view.camera.unproject(uv),
        sample.view.camera.unproject(uv + np.array([37, 11])),
        atol=1e-9,
    )
    again = crop_view(cropped, 5, 6, 20, 10)
    np.testing.assert_allclose(
        again.view.camera.unproject(uv[:1]), sample.view.camera.unproject([[42, 17]]), atol=1e-9
    )


@ALL_CAMERAS
def test_resize_by_whole_numbers_takes_the_right_pixels(name):
    sample = compass_sample(name)
    camera = sample.view.camera
    double = resize_view(sample, 2 * camera.width, 2 * camera.height)
    np.testing.assert_array_equal(double.view.depth[1::2, ::2], sample.view.depth)
    np.testing.assert_array_equal(double.view_classes[::2, 1::2], sample.view_classes)
    assert resize_view(sample, camera.width, camera.height) is sample
    # Pixel edges stay: u' = (u + 0.5) 2 - 0.5.
    uv = np.array([[10.0, 20.0], [90.0, 60.0]])
    np.testing.assert_allclose(
        double.view.camera.unproject((uv + 0.5) * 2 - 0.5), camera.unproject(uv), atol=1e-9
    )


# ---- all of them ----


@ALL_CAMERAS
def test_chains_keep_the_compass_and_leave_the_sample_alone(name):
    sample = compass_sample(name)
    before = copy.deepcopy(sample)
    chain = Pipeline(
        (RollPanorama(), ShiftPatch(half_m=3.0), CropView(scale=(0.9, 1.0), size=(300, 160))), 5
    )
    for index in range(4):
        changed = chain(sample, index)
        assert_compass(changed, min_visible=0)
        assert np.linalg.det(changed.T_map_camera[:3, :3]) == pytest.approx(1.0)
    for field in ('T_map_base', 'cov', 'patch_classes', 'view_classes'):
        np.testing.assert_array_equal(getattr(sample, field), getattr(before, field))
    np.testing.assert_array_equal(sample.view.image, before.view.image)
    np.testing.assert_array_equal(sample.view.depth, before.view.depth)
    np.testing.assert_array_equal(sample.patch.image, before.patch.image)
    np.testing.assert_array_equal(sample.prior.cov, before.prior.cov)
