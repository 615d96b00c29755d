# SPDX-License-Identifier: Apache-2.0
"""What a picture sees: points on the walls, rays of patches, ranges that lead to the walls."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum
from tests.training.rooms import HALF, look, Rooms, see
from training.datasets.observations import (
    coarse_depth,
    OBSERVED_GRID,
    observed_points,
    padded_points,
    patch_geometry,
    points_seen,
    world_of,
)


def on_a_wall(points):
    return np.min(np.abs(np.abs(points) - HALF), axis=-1) < 0.06


def test_coarse_depth_is_the_median_of_what_is_known():
    depth = np.array([[1, 2, 9], [np.nan, 3, 9], [np.nan, np.nan, 7], [np.nan, np.nan, 7]])
    found = coarse_depth(depth.astype(np.float32), 1, 2)
    np.testing.assert_allclose(found, [[3.0], [7.0]])
    # 3 columns in 2 cells, 4 rows in 4: the first cell is one column wide.
    np.testing.assert_allclose(coarse_depth(depth, 2, 4)[:2], [[1.0, 5.5], [np.nan, 6.0]])
    with pytest.raises(DataError, match='cannot be cut'):
        coarse_depth(depth, 4, 4)


def test_points_lie_on_the_walls_that_are_looked_at():
    sample = Rooms('.', 'train').sample(3)
    T = sample.T_map_camera
    points = observed_points(sample.view, T)
    assert points.shape == (OBSERVED_GRID[0] * OBSERVED_GRID[1], 3)
    assert on_a_wall(points).all()
    # Turned by a quarter to the left it looks along +y.
    assert np.median(points[:, 1]) > 2.0
    assert len(observed_points(replace(sample.view, depth=None), T)) == 0


def test_points_of_a_reconstruction_come_before_those_of_depth():
    sample = Rooms('.', 'train').sample(3)
    depth = points_seen(sample)
    np.testing.assert_array_equal(depth, observed_points(sample.view, sample.T_map_camera))
    found = np.array([[1.0, 2.0, 3.0], [np.nan] * 3], np.float32)
    np.testing.assert_array_equal(points_seen(replace(sample, observed=found)), found)
    assert len(points_seen(replace(sample, observed=found, T_map_base=None))) == 0
    # The same shape for few points as for depth; more than depth has are all kept.
    assert padded_points(found).shape == padded_points(depth).shape == depth.shape
    np.testing.assert_array_equal(padded_points(found)[:2], found)
    assert np.isnan(padded_points(found)[2:]).all()
    assert len(padded_points(np.zeros((5000, 3), np.float32))) == 5000


def test_rays_and_ranges_lead_to_the_walls():
    sample = Rooms('.', 'train').sample(1)
    geometry = patch_geometry(sample.view, sample.T_map_camera, 4)
    np.testing.assert_allclose(np.linalg.norm(geometry.rays, axis=1), 1.0, atol=1e-6)
    points = sample.T_map_camera[:3, 3] + geometry.rays * geometry.ranges[:, None]
    assert on_a_wall(points).all()
    # Row by row from the top left: the first patch looks up and to the left.
    T = sample.T_map_camera
    in_camera = geometry.rays @ T[:3, :3]
    assert in_camera[0, 0] < 0 and in_camera[0, 1] < 0
    assert in_camera[3, 0] > 0 and in_camera[3, 1] < 0
    assert in_camera[12, 0] < 0 and in_camera[12, 1] > 0


def test_camera_takes_the_map_into_the_camera():
    """Wrong-sign test: the translation is not the centre."""
    sample = Rooms('.', 'train').sample(5)
    numbers = patch_geometry(sample.view, sample.T_map_camera, 2).camera
    w, x, y, z = numbers[3:]
    T = se3.from_quaternion(numbers[:3], [x, y, z, w])
    np.testing.assert_allclose(T, se3.inverse(sample.T_map_camera), atol=1e-6)


def test_patches_without_depth_have_rays_and_no_ranges():
    sample = Rooms('.', 'train').sample(0)
    depth = sample.view.depth.copy()
    depth[:18] = np.nan
    geometry = patch_geometry(replace(sample.view, depth=depth), sample.T_map_camera, 2)
    assert np.isnan(geometry.ranges[:2]).all() and np.isfinite(geometry.ranges[2:]).all()
    geometry = patch_geometry(replace(sample.view, depth=None), sample.T_map_camera, 2)
    assert np.isnan(geometry.ranges).all() and np.isfinite(geometry.rays).all()


def test_frames_are_those_of_scenes():
    sample = Rooms('.', 'train').sample(0)
    assert world_of(sample) == 'room0'
    assert world_of(replace(sample, sequence='seq-03')) == ''
    assert world_of(replace(sample, sequence='freiburg1_xyz')) == 'freiburg1_xyz'
    drives = [replace(sample, sequence=day, datum=Datum(51.7, -1.2, 60.0)) for day in 'ab']
    assert world_of(drives[0]) == world_of(drives[1])


def test_the_rooms_are_what_they_seem():
    """The fixture: the middle of a picture looking along +x shows the wall at +x."""
    _, depth = see(look(0.0))
    assert depth[17, 23] == pytest.approx(HALF[0])
    image, _ = see(look(0.0))
    other, _ = see(look(0.0), room=1)
    assert (image != other).any()
