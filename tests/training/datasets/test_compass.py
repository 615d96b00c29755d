# SPDX-License-Identifier: Apache-2.0
"""The compass-rose test itself: right samples pass, each kind of mistake is told."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, FisheyeCamera, PinholeCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.compass import COMPASS_DATUM
from geoloc_core.simulation.layouts.base import Rig
from geoloc_core.simulation.robots.drive import mounted
from geoloc_core.types import AerialPatch, GroundView
from tests.training.datasets.compass import (
    assert_compass,
    compass_orthophoto,
    compass_shots,
    view_depth,
)
from training.datasets.sample import Sample

CAMERAS = {
    'panorama': EquirectangularCamera(512, 256),
    'pinhole': PinholeCamera(320, 200, 170.0, 165.0, 157.0, 104.0, (-0.05, 0.01, 0.0, 0.0, 0.0)),
    'fisheye': FisheyeCamera(360, 300, 110.0, 112.0, 181.0, 148.0, (-0.01, 0.003, 0.0, 0.0)),
}


@pytest.fixture(scope='module')
def aerial():
    pytest.importorskip('embreex')
    return compass_orthophoto(gsd=0.2, reach_m=30.0)


def samples(kind, aerial):
    rig = Rig(CAMERAS[kind], mounted(0.5, 0.2, 1.6, 4.0))
    grid = Grid((3.1, -2.3), 0.2, 180, 150)
    patch = AerialPatch(aerial.crop(grid), np.ones((150, 180), bool), grid)
    return [
        Sample(
            key=str(shot.index), sequence='', T_map_base=shot.T_map_base, patch=patch,
            view=GroundView(0, shot.image, shot.camera, shot.T_base_camera, view_depth(shot)),
            datum=COMPASS_DATUM,
        )
        for shot in compass_shots(rig)
    ]  # fmt: skip


@pytest.mark.parametrize('kind', CAMERAS)
def test_true_samples_pass(kind, aerial):
    for sample in samples(kind, aerial):
        assert_compass(sample)


def test_another_datum_is_allowed_for(aerial):
    sample = samples('panorama', aerial)[0]
    datum = Datum(COMPASS_DATUM.lat_deg - 2e-4, COMPASS_DATUM.lon_deg + 3e-4, 0.0)
    lat, lon, _ = EnuFrame(COMPASS_DATUM).geodetic_from_enu(sample.T_map_base[:3, 3])
    T = sample.T_map_base.copy()
    T[:2, 3] = EnuFrame(datum).enu_from_geodetic(lat, lon, 0.0)[:2]
    shift = T[:2, 3] - sample.T_map_base[:2, 3]
    grid = sample.patch.grid
    moved = grid.moved_to(tuple(np.array(grid.center_xy) + shift))
    there = replace(sample, datum=datum, T_map_base=T, patch=replace(sample.patch, grid=moved))
    assert_compass(there)
    with pytest.raises(AssertionError):
        assert_compass(replace(there, datum=COMPASS_DATUM))


def turned(sample, angle):
    x, y, yaw = se3.planar(sample.T_map_base)
    return replace(sample, T_map_base=se3.from_planar(x, y, yaw + angle))


@pytest.mark.parametrize('degrees', [180.0, 90.0, -90.0, 4.0])
def test_a_wrong_yaw_is_told(degrees, aerial):
    sample = samples('panorama', aerial)[1]
    with pytest.raises(AssertionError, match='pole'):
        assert_compass(turned(sample, np.radians(degrees)))


def test_a_mirrored_picture_is_told(aerial):
    sample = samples('panorama', aerial)[1]
    view = replace(sample.view, image=sample.view.image[:, ::-1], depth=None)
    with pytest.raises(AssertionError, match='should be at pixel'):
        assert_compass(replace(sample, view=view))


def test_bgr_is_told(aerial):
    sample = samples('pinhole', aerial)[1]
    view = replace(sample.view, image=sample.view.image[..., ::-1])
    with pytest.raises(AssertionError, match='north'):
        assert_compass(replace(sample, view=view))


def test_a_shifted_patch_is_told(aerial):
    sample = samples('panorama', aerial)[0]
    grid = sample.patch.grid
    for step in [(0.3, 0.0), (0.0, -0.3)]:
        moved = grid.moved_to(tuple(np.array(grid.center_xy) + step))
        with pytest.raises(AssertionError, match='disc lies'):
            assert_compass(replace(sample, patch=replace(sample.patch, grid=moved)))


def test_a_patch_with_swapped_axes_is_told(aerial):
    sample = samples('panorama', aerial)[0]
    patch = replace(sample.patch, image=sample.patch.image[::-1])
    with pytest.raises(AssertionError, match='of the patch'):
        assert_compass(replace(sample, patch=patch))


def test_range_instead_of_depth_is_told(aerial):
    sample = samples('pinhole', aerial)[1]
    view = replace(sample.view, depth=sample.view.depth * 1000)
    with pytest.raises(AssertionError, match='registered'):
        assert_compass(replace(sample, view=view))


def test_too_few_poles_are_told(aerial):
    with pytest.raises(AssertionError, match='expected 4'):
        assert_compass(samples('pinhole', aerial)[0], min_visible=4)
