# SPDX-License-Identifier: Apache-2.0
"""Overlays match where poses are true, and only there."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import FisheyeCamera, PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.messages.conversions import camera_mount
from geoloc_core.types import GroundView
from training.datasets.hand_held import base_from_camera, T_BASE_CAMERA
from training.datasets.overlays import class_colours, neighbour_from_here, view_on_ground
from training.datasets.pictures import draw_sample
from training.datasets.sample import Sample

CAMERA = PinholeCamera(80, 60, 70.0, 72.0, 41.0, 28.0)


def painted(xy):
    """Colours of an endless ground: red grows eastward, green northward."""
    return np.stack(
        [128 + 6 * xy[..., 0], 128 + 6 * xy[..., 1], np.full(xy.shape[:-1], 40.0)], axis=-1
    )


def ground_sample(T_map_base) -> Sample:
    """A level camera on a mast looks down at the painted ground."""
    T_base_camera = camera_mount((0.4, -0.3, 2.0), (0.0, np.radians(25.0), 0.0))
    T = T_map_base @ T_base_camera
    rays = CAMERA.rays() @ T[:3, :3].T
    xy = T[:2, 3] - rays[..., :2] * (T[2, 3] / rays[..., 2:])
    image = np.clip(painted(xy), 0, 255) * (rays[..., 2:] < 0)
    view = GroundView(0, np.rint(image).astype(np.uint8), CAMERA, T_base_camera)
    return Sample('k', 's', view, T_map_base)


def test_view_lies_where_the_label_says():
    sample = ground_sample(se3.from_planar(3.0, -2.0, 2.1))
    grid = Grid((2.0, 0.0), 0.25, 60, 50)
    image, seen = view_on_ground(sample, grid)
    assert image.shape == (50, 60, 3) and 100 < seen.sum() < 2000
    expected = painted(grid.cell_centers())
    inner = seen & (np.hypot(*np.moveaxis(grid.cell_centers() - (3.0, -2.0), -1, 0)) < 6)
    assert inner.sum() > 50
    np.testing.assert_allclose(image[inner][:, :2], expected[inner][:, :2], atol=3)
    # With a label that is turned the colours are elsewhere.
    wrong = replace(sample, T_map_base=se3.from_planar(3.0, -2.0, 2.6))
    image, seen = view_on_ground(wrong, grid)
    off = np.abs(image[seen].astype(float) - expected[seen])[:, :2]
    assert off.max() > 10


def wall_sample(key, x, y, yaw) -> Sample:
    """A hand-held camera before a wall, 4 m east of the origin, coloured by place."""
    T = se3.from_planar(x, y, yaw) @ se3.from_xyz_rpy(0.0, 0.0, 1.2, 0.1, 0.0, 0.0) @ T_BASE_CAMERA
    rays = CAMERA.rays()
    turned = rays @ T[:3, :3].T
    scale = (4.0 - T[0, 3]) / turned[..., 0]
    points = T[:3, 3] + turned * scale[..., None]
    image = np.stack(
        [128 + 25 * points[..., 1], 128 + 25 * (points[..., 2] - 1), points[..., 0] * 0 + 50], -1
    )
    depth = (rays[..., 2] * scale).astype(np.float32)
    depth[:5] = np.nan
    view = GroundView(0, image.clip(0, 255).astype(np.uint8), CAMERA, T_BASE_CAMERA, depth)
    return Sample(key, 's', view, base_from_camera(T))


def test_a_neighbour_repeats_the_view():
    here, there = wall_sample('a', 0.0, 0.0, 0.1), wall_sample('b', 0.5, -0.4, -0.05)
    image = neighbour_from_here(here, there)
    assert not image[:5].any(), 'no depth, no colour'
    seen = image.any(axis=-1)
    assert seen.mean() > 0.5
    off = np.abs(image[seen].astype(int) - here.view.image[seen])
    assert np.percentile(off, 98) <= 2
    wrong = replace(there, T_map_base=there.T_map_base @ se3.from_planar(0.0, 0.0, 0.1))
    image = neighbour_from_here(here, wrong)
    seen = image.any(axis=-1)
    blind = replace(here, view=replace(here.view, depth=np.full((60, 80), np.nan, np.float32)))
    assert not neighbour_from_here(blind, there).any()
    assert np.median(np.abs(image[seen].astype(int) - here.view.image[seen])[:, 0]) > 5


def test_panels_stand_side_by_side(tiny):
    one = wall_sample('a', 0.0, 0.0, 0.0)
    side = round(80 * 320 / 60)
    assert draw_sample(one).shape == (342, 2 * side, 3)
    assert draw_sample(one, wall_sample('b', 0.1, 0.0, 0.0)).shape == (342, 3 * side, 3)
    classed = replace(
        tiny[0],
        patch_classes=np.full((20, 30), 3, np.uint8),
        view_classes=np.full((16, 24), 3, np.uint8),
    )
    assert draw_sample(classed).shape == (342, 4 * 480 + 320, 3)


@pytest.mark.parametrize('number', [0, 1, 7, 254])
def test_class_numbers_keep_their_colours(number):
    table = class_colours(np.arange(256, dtype=np.uint8)[None])[0]
    assert (class_colours(np.full((2, 3), number, np.uint8)) == table[number]).all()
    assert np.abs(table[number].astype(int) - table[number + 1]).max() > 30


def test_a_fisheye_that_sees_behind_itself_is_overlaid_too():
    camera = FisheyeCamera(64, 64, 16.0, 16.0, 31.5, 31.5, (0.0,) * 4)
    assert np.nanmin(camera.rays()[..., 2]) < 0
    image = np.full((64, 64, 3), 90, np.uint8)
    depth = np.full((64, 64), 2.0, np.float32)
    sample = Sample('a', 's', GroundView(0, image, camera, T_BASE_CAMERA, depth), np.eye(4))
    shown = neighbour_from_here(sample, sample)
    forward = camera.rays()[..., 2] > 0.1
    assert (shown[forward] == 90).mean() > 0.9
