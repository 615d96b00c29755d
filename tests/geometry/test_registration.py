# SPDX-License-Identifier: Apache-2.0
"""Depth carried to another camera: the side it moves to, what hides what, and no sieves."""

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, FisheyeCamera, PinholeCamera
from geoloc_core.geometry.registration import (
    depth_disagreement,
    depth_of_points,
    points_of,
    register_depth,
)

SOURCE = PinholeCamera(96, 64, 80.0, 80.0, 47.0, 32.0)
TARGET = PinholeCamera(112, 72, 70.0, 72.0, 55.0, 35.0, (0.05, -0.02, 0.001, -0.002))


def plane_depth(camera, T_plane_camera):
    """Depth of the plane z = 0 of another frame."""
    rays = camera.rays()
    with np.errstate(all='ignore'):
        rays = rays / rays[..., 2:]
    R, t = T_plane_camera[:3, :3], T_plane_camera[:3, 3]
    with np.errstate(divide='ignore'):
        depth = -t[2] / (rays @ R.T)[..., 2]
    return np.where(depth > 0, depth, np.nan).astype(np.float32)


def test_a_plane_is_the_same_plane_from_the_other_camera():
    # The plane's frame: its z axis against the view, tilted.
    T_plane_source = se3.from_xyz_rpy(0.1, -0.2, 2.0, np.pi - 0.3, 0.2, 0.4)
    T_target_source = se3.from_xyz_rpy(-0.04, 0.02, 0.01, 0.01, -0.02, 0.015)
    got = register_depth(plane_depth(SOURCE, T_plane_source), SOURCE, TARGET, T_target_source)
    truth = plane_depth(TARGET, T_plane_source @ se3.inverse(T_target_source))
    both = np.isfinite(got) & np.isfinite(truth)
    assert both.mean() > 0.55
    # A pixel is 2 m / 70 wide on a tilted plane: rounding to it costs some millimetres.
    assert np.median(np.abs(got[both] - truth[both])) < 0.006
    wrong = register_depth(
        plane_depth(SOURCE, T_plane_source), SOURCE, TARGET, se3.inverse(T_target_source)
    )
    both = np.isfinite(wrong) & np.isfinite(truth)
    assert np.median(np.abs(wrong[both] - truth[both])) > 0.012


def test_a_camera_to_the_right_sees_things_further_left():
    depth = np.full((64, 96), np.nan, np.float32)
    depth[20, 60] = 2.0
    T_target_source = se3.make(np.eye(3), [-0.1, 0.0, 0.5])
    got = register_depth(depth, SOURCE, SOURCE, T_target_source)
    (v,), (u,) = np.nonzero(np.isfinite(got))
    x = (60 - SOURCE.cx) / 80 * 2.0 - 0.1
    assert u == round(80 * x / 2.5 + SOURCE.cx)
    assert v == round(80 * ((20 - SOURCE.cy) / 80 * 2.0) / 2.5 + SOURCE.cy)
    assert got[v, u] == pytest.approx(2.5)


def test_the_nearer_point_hides_the_farther_one_whatever_comes_first():
    ray = SOURCE.unproject([[30.0, 40.0]])[0]
    for ranges in ((1.0, 3.0), (3.0, 1.0)):
        depth = depth_of_points(ray * np.array(ranges)[:, None], SOURCE)
        assert np.isfinite(depth).sum() == 1
        assert depth[40, 30] == pytest.approx(ray[2], rel=1e-6)


def test_finer_pixels_are_filled():
    fine = PinholeCamera(240, 160, 200.0, 200.0, 119.0, 80.0)
    got = register_depth(np.full((64, 96), 3.0, np.float32), SOURCE, fine, np.eye(4))
    assert np.isfinite(got[4:-4, 4:-4]).all()
    np.testing.assert_allclose(got[np.isfinite(got)], 3.0)


def test_what_is_not_measured_stays_unknown():
    depth = np.full((64, 96), 2.0, np.float32)
    depth[:, :40] = np.nan
    depth[:10] = 0.0
    depth[10:20] = -1.0
    got = register_depth(depth, SOURCE, SOURCE, np.eye(4))
    known = np.zeros_like(got, bool)
    known[20:, 40:] = True
    np.testing.assert_array_equal(np.isfinite(got), known)
    assert np.isnan(depth_of_points(np.zeros((0, 3)), SOURCE)).all()
    # Behind the camera, in its plane, and where nothing is finite.
    points = [[0, 0, -1], [1, 1, 0], [np.nan, 0, 1], [np.inf, 0, 1]]
    assert np.isnan(depth_of_points(points, SOURCE)).all()


def test_a_panorama_keeps_distances_and_wraps():
    camera = EquirectangularCamera(128, 64)
    depth = np.full((64, 128), 5.0, np.float32)
    got = register_depth(depth, camera, camera, se3.from_xyz_rpy(0, 0, 0, 0, 0.7, 0))
    assert np.isfinite(got[20:44]).mean() > 0.95
    np.testing.assert_allclose(got[np.isfinite(got)], 5.0, rtol=1e-5)
    # Straight behind: the seam. Half of the square lies on either edge.
    seam = depth_of_points([[0.0, 0.0, -5.0]], camera, 2)
    assert set(np.nonzero(np.isfinite(seam))[1]) == {0, 127}


def test_a_fisheye_never_shows_negative_depth():
    camera = FisheyeCamera(96, 96, 30.0, 30.0, 47.5, 47.5)
    points = np.random.default_rng(0).normal(size=(2000, 3))
    depth = depth_of_points(points, camera)
    assert (depth[np.isfinite(depth)] > 0).all()
    assert len(points_of(np.full((96, 96), 2.0, np.float32), camera, np.eye(4))) <= 96 * 96


def test_disagreement_is_zero_only_for_the_true_motion():
    T_plane_a = se3.from_xyz_rpy(0.0, 0.0, 2.0, np.pi - 0.4, 0.3, 0.0)
    T_b_a = se3.from_xyz_rpy(0.1, -0.05, 0.08, 0.02, 0.03, -0.04)
    a = plane_depth(SOURCE, T_plane_a)
    b = plane_depth(SOURCE, T_plane_a @ se3.inverse(T_b_a))
    assert np.median(np.abs(depth_disagreement(a, SOURCE, b, T_b_a))) < 0.005
    assert np.median(np.abs(depth_disagreement(a, SOURCE, b, se3.inverse(T_b_a)))) > 0.05


def test_depth_of_another_size_is_refused():
    with pytest.raises(InputError, match='96 x 64'):
        register_depth(np.ones((48, 96), np.float32), SOURCE, TARGET, np.eye(4))
