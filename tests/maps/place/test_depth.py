# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.maps.place.depth import points_at, shrink

CAMERA = PinholeCamera(90, 60, 70.0, 72.0, 43.0, 31.0)


def slanted(camera=CAMERA, normal=(0.5, 0.3, 1.0), offset=3.0):
    """Depth of the plane normal . X = offset, and whether X is on it."""
    rays = camera.rays()
    z = offset / (rays @ np.array(normal)) * rays[..., 2]
    return z.astype(np.float32)


def test_points_of_a_slanted_wall_lie_on_it_at_any_fraction_of_a_pixel():
    xy = np.random.default_rng(0).uniform([4, 4], [85, 55], (40, 2))
    T = se3.from_xyz_rpy(1.0, -2.0, 0.5, 0.1, -0.2, 0.9)
    points = points_at(xy, slanted(), CAMERA, T)
    local = se3.transform(se3.inverse(T), points)
    np.testing.assert_allclose(local @ [0.5, 0.3, 1.0], 3.0, atol=2e-4)
    uv, _ = CAMERA.project(local)
    np.testing.assert_allclose(uv, xy, atol=1e-3)


def test_noise_is_averaged():
    rng = np.random.default_rng(1)
    noisy = (slanted() + 0.01 * rng.normal(size=(60, 90))).astype(np.float32)
    xy = rng.uniform([5, 5], [84, 54], (300, 2))
    error = points_at(xy, noisy, CAMERA, np.eye(4)) @ np.array([0.5, 0.3, 1.0]) - 3.0
    assert np.std(error) < 0.006


def test_on_an_outline_there_is_no_point_and_beside_it_there_is():
    depth = np.full((60, 90), 4.0, np.float32)
    depth[:, :40] = 1.5
    points = points_at([[40, 30], [39.4, 30], [36, 30], [44, 30]], depth, CAMERA, np.eye(4))
    assert np.isnan(points[:2]).all()
    np.testing.assert_allclose(points[2:, 2], [1.5, 4.0], atol=1e-5)


def test_holes_and_rims():
    depth = np.full((60, 90), 2.0, np.float32)
    depth[20:30, 20:30] = np.nan
    depth[40, 40] = np.nan
    points = points_at([[25, 25], [40, 40], [0, 0], [89, 59]], depth, CAMERA, np.eye(4))
    assert np.isnan(points[0]).all()
    np.testing.assert_allclose(points[1:, 2], 2.0, atol=1e-5)


def test_nothing_measured_gives_nothing():
    empty = np.full((60, 90), np.nan, np.float32)
    assert np.isnan(points_at([[10.0, 10.0]], empty, CAMERA, np.eye(4))).all()
    assert points_at(np.zeros((0, 2)), empty, CAMERA, np.eye(4)).shape == (0, 3)
    assert not shrink(empty).any()


def test_depth_of_a_panorama_is_along_the_ray():
    camera = EquirectangularCamera(120, 60)
    depth = np.full((60, 120), 2.5, np.float32)
    points = points_at([[20.0, 12.0], [100.0, 40.0]], depth, camera, np.eye(4))
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 2.5, atol=1e-5)


def test_small_depth_lies_where_the_small_camera_looks():
    camera = PinholeCamera(640, 480, 525.0, 520.0, 318.0, 243.0)
    depth = slanted(camera)
    small = shrink(depth)
    assert small.shape == (120, 160) and small.dtype == np.uint16
    np.testing.assert_allclose(small * 1e-3, slanted(camera.resized(160, 120)), atol=3e-3)


@pytest.mark.parametrize('shape', [(60, 90), (100, 160), (333, 517)])
def test_sizes_that_do_not_divide(shape):
    small = shrink(np.full(shape, 1.234, np.float32))
    assert (small == 1234).all() and small.shape[1] == min(shape[1], 160)


def test_outlines_and_what_is_mostly_holes_are_left_out():
    depth = np.full((480, 640), 2.0, np.float32)
    depth[:, 322:] = 3.0
    depth[:3, :] = np.nan
    depth[100, 200] = 0.0
    depth[200, 100] = 70.0
    small = shrink(depth)
    assert (small[1:, :80][np.r_[0:48, 50:119]] == 2000).all()
    assert not small[:, 80].any() and (small[1:, 81] == 3000).all()
    assert not small[0].any()
    assert small[25, 50] == 2000
