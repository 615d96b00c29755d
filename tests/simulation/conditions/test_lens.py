# SPDX-License-Identifier: Apache-2.0
"""The lens: each effect does what it says to light, and nothing to a day without effects."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.simulation.conditions.draws import GroundDay
from geoloc_core.simulation.conditions.lens import expose, to_linear, to_srgb

H, W = 96, 192
PANO = EquirectangularCamera(W, H)
DAY = GroundDay(seed=3, index=1)


@pytest.fixture(scope='module')
def picture():
    """A sky over a ground of checks, with fine texture."""
    rng = np.random.default_rng(0)
    image = np.full((H, W, 3), (120, 160, 210), np.uint8)
    v, u = np.mgrid[0:H, 0:W]
    ground = np.where(((u // 6) + (v // 5)) % 2, 150, 60)[..., None] + rng.integers(
        -20, 20, (H, W, 3)
    )
    image[H // 3 :] = ground[H // 3 :]
    return image


def sharpness(image):
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    return np.abs(np.fft.fft2(grey))[H // 4 : -H // 4, W // 4 : -W // 4].mean()


def difference(a, b):
    return np.abs(a.astype(float) - b).mean()


EFFECTS = {
    'exposure_ev': -1.0, 'motion_blur_px': 5.0, 'defocus_px': 2.0, 'rain_mm_h': 20.0,
    'lens_drops': 15, 'dirt': 0.05, 'iso': 1600.0, 'jpeg_quality': 30,
}  # fmt: skip


def test_no_effect_is_no_change(picture):
    out = expose(picture, DAY, 7, None, PANO)
    assert np.array_equal(out, picture) and out is not picture


def test_srgb_there_and_back_is_exact():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(to_srgb(to_linear(levels)), levels)
    # Known values of IEC 61966-2-1.
    grey = to_linear(np.full((1, 1, 3), 188, np.uint8))
    np.testing.assert_allclose(grey, 0.5028, atol=1e-3)


@pytest.mark.parametrize('name', EFFECTS)
def test_each_effect_changes_the_picture_repeatably(picture, name):
    before = picture.copy()
    depth = np.full((H, W), 5.0, np.float32)
    depth[: H // 3] = np.nan
    kept = depth.copy()
    day = replace(DAY, **{name: EFFECTS[name]})
    out = expose(picture, day, 7, depth, PANO)
    assert out.shape == picture.shape and out.dtype == np.uint8
    assert difference(out, picture) > 0.2
    assert np.array_equal(out, expose(picture, day, 7, depth, PANO))
    # What came in stays: picture and depth.
    assert np.array_equal(picture, before)
    np.testing.assert_array_equal(depth, kept)


@pytest.mark.parametrize(('name', 'moves'), [('rain_mm_h', True), ('iso', True), ('dirt', False)])
def test_frames_of_one_day_share_dirt_but_not_noise(picture, name, moves):
    day = replace(DAY, **{name: EFFECTS[name]})
    one, two = expose(picture, day, 1, None, PANO), expose(picture, day, 2, None, PANO)
    assert np.array_equal(one, two) != moves
    another = replace(day, index=2)
    assert not np.array_equal(one, expose(picture, another, 1, None, PANO))


@pytest.mark.parametrize('ev', [-2.0, -1.0, 1.0])
def test_exposure_is_exact_in_light(ev):
    levels = np.arange(40, 130, dtype=np.uint8).reshape(9, 10, 1).repeat(3, axis=2)
    out = expose(levels, replace(DAY, exposure_ev=ev))
    np.testing.assert_array_equal(out, to_srgb(to_linear(levels) * np.float32(2.0**ev)))
    ratio = to_linear(out) / to_linear(levels)
    np.testing.assert_allclose(ratio, 2.0**ev, rtol=0.1)


@pytest.mark.parametrize('name', ['motion_blur_px', 'defocus_px'])
def test_blur_takes_fine_detail_and_keeps_the_light(picture, name):
    out = expose(picture, replace(DAY, **{name: 4.0}), 0, None, PANO)
    assert sharpness(out) < 0.5 * sharpness(picture)
    assert to_linear(out).mean() == pytest.approx(to_linear(picture).mean(), rel=0.01)
    less = expose(picture, replace(DAY, **{name: 1.0}), 0, None, PANO)
    assert sharpness(out) < sharpness(less) < sharpness(picture)


def test_motion_blur_goes_its_way():
    image = np.zeros((41, 61, 3), np.uint8)
    image[20, 30] = 255
    day = replace(DAY, motion_blur_px=12.0, motion_blur_direction=0.0)
    rows, columns = np.nonzero(expose(image, day)[..., 0] > 10)
    assert set(rows) == {20} and 11 <= columns.max() - columns.min() <= 14
    assert columns.mean() == pytest.approx(30, abs=0.6)
    # Direction grows from u to v: a quarter of pi is to the right and down.
    day = replace(day, motion_blur_direction=np.pi / 4)
    rows, columns = np.nonzero(expose(image, day)[..., 0] > 10)
    assert np.corrcoef(rows, columns)[0, 1] > 0.9


@pytest.mark.parametrize(
    'effect', [{'motion_blur_px': 9.0}, {'defocus_px': 3.0}, {'dirt': 0.2}, {'lens_drops': 60}]
)
def test_panorama_has_no_seam(picture, effect):
    """Rolling before or after the effects gives the same where effects do not depend on u."""
    day = replace(DAY, **effect)
    if 'dirt' in effect or 'lens_drops' in effect:
        # Over an even picture whatever jumps at the seam is the lens.
        flat = np.full((H, W, 3), 128, np.uint8)
        out = expose(flat, day, 0, None, PANO).astype(float)
        steps = np.abs(np.diff(np.concatenate([out, out[:, :1]], axis=1), axis=1)).max(axis=(0, 2))
        assert steps[-1] <= np.percentile(steps[:-1], 99) + 3
        return
    rolled = expose(np.roll(picture, W // 3, axis=1), day, 0, None, PANO)
    out = expose(picture, day, 0, None, PANO)
    assert np.array_equal(rolled, np.roll(out, W // 3, axis=1))
    pinhole = PinholeCamera(W, H, 100.0, 100.0, W / 2, H / 2)
    assert not np.array_equal(expose(picture, day, 0, None, pinhole), out)


def test_rain_falls_in_front_of_what_is_far_only():
    image = np.full((H, W, 3), 60, np.uint8)
    image[: H // 3] = 220
    day = replace(DAY, rain_mm_h=40.0)
    open_field = expose(image, day, 0, np.full((H, W), 50.0, np.float32), PANO)
    behind_glass = expose(image, day, 0, np.full((H, W), 0.4, np.float32), PANO)
    assert difference(open_field, image) > 0.5
    assert np.array_equal(behind_glass, image)
    sky = expose(image, day, 0, np.full((H, W), np.nan, np.float32), PANO)
    assert np.array_equal(sky, open_field)
    # Streaks brighten what is darker than the sky.
    assert (open_field[H // 2 :].astype(int) - 60).min() >= 0
    harder = expose(image, replace(DAY, rain_mm_h=80.0), 0, None, PANO)
    assert difference(harder, image) > difference(open_field, image)


def test_noise_has_the_size_of_its_iso():
    """Shot noise: the variance of light is light over the electrons of full scale."""
    flat = np.full((200, 300, 3), 188, np.uint8)
    for iso in (400.0, 6400.0):
        light = to_linear(expose(flat, replace(DAY, iso=iso)))
        electrons = 20000 * 100 / iso
        expected = np.sqrt(0.5028 / electrons + (3 / electrons) ** 2)
        assert light.std() == pytest.approx(expected, rel=0.05)
        assert light.mean() == pytest.approx(0.5028, rel=0.01)


def test_vignette_darkens_corners_by_its_ev_and_no_panorama():
    flat = np.full((H, W, 3), 200, np.uint8)
    day = replace(DAY, vignetting_ev=1.0)
    light = to_linear(expose(flat, day)) / to_linear(flat)
    assert light[0, 0, 0] == pytest.approx(0.5, abs=0.02)
    assert light[H // 2, W // 2, 0] == pytest.approx(1.0, abs=0.01)
    assert np.array_equal(expose(flat, day, 0, None, PANO), flat)


def test_dirt_covers_its_share():
    flat = np.full((240, 480, 3), 200, np.uint8)
    for share in (0.02, 0.1):
        out = expose(flat, replace(DAY, dirt=share), 0, None, PANO)
        covered = (np.abs(out.astype(int) - 200).max(axis=2) > 20).mean()
        assert 0.5 * share < covered < 1.6 * share


def test_days_hold_nothing_the_lens_does_not_know():
    """A new field of a day must be looked at here: does the lens use it?"""
    beside = {
        'seed', 'index', 'appearance', 'motion_blur_direction', 'cars_per_km', 'people_per_km',
        'tilt_rpy', 'vignetting_ev', 'night_ev',
    }  # fmt: skip
    assert {f.name for f in fields(GroundDay)} == beside | set(EFFECTS)
