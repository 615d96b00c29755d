# SPDX-License-Identifier: Apache-2.0
"""Each setting of the day changes what it is about, and no geometry."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera
from geoloc_core.simulation.render.appearance import Appearance, Light
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.renderer import render
from geoloc_core.simulation.robots.drive import mounted

CAMERA = EquirectangularCamera(256, 128)
POSE = se3.from_xyz_rpy(-2.0, 0.5, 0.0, 0.0, 0.0, 0.3) @ mounted(0.0, 0.0, 1.7, 0.0)


@pytest.fixture(scope='module')
def shoot(town):
    def run(**changes):
        return render(town.with_appearance(Appearance(**changes)), CAMERA, POSE, samples=1)

    return run


@pytest.fixture(scope='module')
def clear(shoot):
    return shoot()


def mean(picture, label, region=None):
    """Mean colour (3,) of a class."""
    return picture.image[picture.labels == label].astype(float).mean(axis=0)


def test_days_share_geometry(shoot, clear):
    for changes in ({'snow': 0.7}, {'wet': 1.0}, {'night': 1.0}, {'light': Light(overcast=1.0)}):
        other = shoot(**changes)
        assert np.array_equal(other.triangle, clear.triangle)
        assert np.array_equal(other.labels, clear.labels)
        assert abs(other.image.astype(float) - clear.image).mean() > 4


def test_season_colours_only_what_grows(shoot, clear):
    autumn = shoot(vegetation_rgb=(1.6, 0.9, 0.5))
    for label in (Label.GRASS, Label.TREE):
        change = mean(autumn, label) / mean(clear, label)
        assert change[0] > 1.3 and change[2] < 0.8
    for label in (Label.ROAD, Label.BUILDING, Label.VEHICLE):
        same = autumn.image[autumn.labels == label] == clear.image[clear.labels == label]
        assert same.mean() > 0.98


def test_bare_crowns_let_the_sky_through(town, shoot, clear):
    bare = shoot(leaf=0.0)
    few, many = (bare.labels == Label.TREE).sum(), (clear.labels == Label.TREE).sum()
    assert 0.02 * many < few < 0.7 * many
    seen_through = (clear.labels == Label.TREE) & (bare.labels == Label.SKY)
    assert seen_through.any() and np.isnan(bare.depth_m[seen_through]).all()
    # The shade of a bare crown is thin.
    origin = np.array([-6.0, -9.0, 0.0]) - 4 * town.light.direction / town.light.direction[2]
    ray = np.array([[0.0, 0.0, -1.0]])
    place = np.array([origin[0], origin[1], 1.0])
    dark = town.cast(place, ray, 0.05, 0.0).rgb.mean()
    thin = town.with_appearance(Appearance(leaf=0.0)).cast(place, ray, 0.05, 0.0).rgb.mean()
    assert thin > 1.4 * dark


def test_snow_whitens_what_lies_level(shoot, clear):
    some, deep = shoot(snow=0.5), shoot(snow=1.0)
    grass = [mean(p, Label.GRASS).mean() for p in (clear, some, deep)]
    assert grass[0] < grass[1] < grass[2]
    assert np.ptp(mean(deep, Label.GRASS)) < 25
    # Roads are cleared first; walls hold none.
    assert mean(some, Label.ROAD).mean() < mean(some, Label.GRASS).mean()
    same = deep.image[deep.labels == Label.BUILDING] == clear.image[clear.labels == Label.BUILDING]
    assert same.mean() > 0.95


def test_rain_darkens_and_shines(shoot, clear):
    wet = shoot(wet=1.0)
    assert mean(wet, Label.ROAD).mean() < 0.85 * mean(clear, Label.ROAD).mean()
    # Seen flat, standing water mirrors the sky: brighter against the dry road than seen steeply.
    road = clear.labels == Label.ROAD
    ratio = wet.image.astype(float).sum(axis=-1) / clear.image.astype(float).sum(axis=-1)
    far, near = road & (clear.range_m > 12), road & (clear.range_m < 4)
    assert ratio[far].mean() > 1.1 * ratio[near].mean()


def test_overcast_sky_casts_no_shadow(town):
    grey = town.with_appearance(Light(overcast=1.0))
    shadow = np.array([13.0, 10.0, 0.0]) - 9 * town.light.direction / town.light.direction[2]
    places = np.array([[shadow[0], shadow[1], 1.0], [0.0, 20.0, 1.0]])
    down = np.tile([0.0, 0.0, -1.0], (2, 1))
    sunny = town.cast(places, down, 0.5, 0.0)
    cloudy = grey.cast(places, down, 0.5, 0.0)
    assert sunny.lit.tolist() == [0, 1]
    assert sunny.rgb[0].mean() < 0.6 * sunny.rgb[1].mean()
    assert 0.75 < cloudy.rgb[0].mean() / cloudy.rgb[1].mean() < 1.3


def test_night_is_dark_but_for_lamps_and_windows(shoot, clear):
    night = shoot(night=1.0)
    lamp = shoot(night=1.0, lamps=((3.0, 3.0, 6.0),))
    assert mean(night, Label.SKY).mean() < 40 < 120 < mean(clear, Label.SKY).mean()
    assert mean(night, Label.ROAD).mean() < 0.15 * mean(clear, Label.ROAD).mean()
    walls = night.image[night.labels == Label.BUILDING].astype(int)
    lit = walls[walls.sum(axis=1) > 300]
    assert 5 < len(lit) < 0.5 * len(walls)
    assert (lit[:, 0] > lit[:, 2]).mean() > 0.9
    # The lamp lights the road below it, and less further away.
    gain = lamp.image.astype(float).sum(axis=-1) - night.image.astype(float).sum(axis=-1)
    road = lamp.labels == Label.ROAD
    assert gain[road & (lamp.range_m < 6)].mean() > 3 * gain[road & (lamp.range_m > 16)].mean()


def test_haze_and_tint_are_the_lights(shoot, clear):
    foggy = shoot(light=replace(Light(), haze_m=15.0))
    far = (clear.range_m > 15) & (clear.labels == Label.BUILDING)
    sky = clear.image[56:60][clear.labels[56:60] == Label.SKY].mean(axis=0)
    before, after = (abs(p.image[far] - sky).mean() for p in (clear, foggy))
    assert after < 0.5 * before
    red = shoot(light=Light(tint=(1.3, 1.0, 0.7)))
    change = mean(red, Label.GRASS) / mean(clear, Label.GRASS)
    np.testing.assert_allclose(change, [1.3, 1.0, 0.7], atol=0.06)


def test_sun_stands_where_it_is_said(town):
    for azimuth in (1.6, 5.2):
        light = Light(azimuth=azimuth, elevation=0.3, clouds=0.0)
        picture = render(town.with_appearance(light), CAMERA, POSE, samples=1)
        bright = picture.image.astype(int).sum(axis=-1) * (picture.labels == Label.SKY)
        v, u = np.unravel_index(bright.argmax(), bright.shape)
        ray = CAMERA.unproject(np.array([[u, v]], float))[0]
        assert POSE[:3, :3] @ ray @ light.direction > 0.99
