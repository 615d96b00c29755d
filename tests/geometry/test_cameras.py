# SPDX-License-Identifier: Apache-2.0
import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry.cameras import EquirectangularCamera, FisheyeCamera, PinholeCamera

BARREL = (-0.32, 0.11, 0.001, -0.002, -0.015)
RATIONAL = (0.5, 0.1, 0.001, -0.002, 0.01, 0.9, 0.2, 0.01)
FISHEYE = (0.01, -0.003, 0.002, -0.001)

CAMERAS = {
    'pinhole': PinholeCamera(642, 375, 400.0, 410.0, 322.0, 171.0),
    'plumb_bob': PinholeCamera(642, 375, 500.0, 510.0, 322.0, 171.0, BARREL),
    'plumb_bob_wide': PinholeCamera(642, 375, 300.0, 310.0, 312.0, 191.0, BARREL),
    'pincushion': PinholeCamera(642, 375, 400.0, 410.0, 322.0, 171.0, (0.2, 0.05, 0.0, 0.0)),
    'rational': PinholeCamera(
        642, 375, 500.0, 510.0, 322.0, 171.0, RATIONAL, 'rational_polynomial'
    ),
    'fisheye': FisheyeCamera(642, 375, 210.0, 211.0, 322.0, 171.0, FISHEYE),
    'fisheye_plain': FisheyeCamera(642, 375, 180.0, 180.0, 322.0, 171.0),
    'equirectangular': EquirectangularCamera(640, 320),
}
every_camera = pytest.mark.parametrize('camera', CAMERAS.values(), ids=CAMERAS.keys())


def pixels(camera, step=7):
    v, u = np.mgrid[0 : camera.height : step, 0 : camera.width : step]
    return np.stack([u, v], axis=-1).reshape(-1, 2).astype(float)


# ---- identities ----


@every_camera
def test_pixel_to_ray_to_pixel(camera):
    uv = pixels(camera)
    rays = camera.unproject(uv)
    defined = np.isfinite(rays).all(axis=1)
    assert defined.mean() > 0.95
    np.testing.assert_allclose(np.linalg.norm(rays[defined], axis=1), 1.0, atol=1e-12)
    back, valid = camera.project(rays[defined] * 7.3)
    assert valid.all()
    np.testing.assert_allclose(back, uv[defined], atol=1e-6)


@every_camera
def test_ray_to_pixel_to_ray(camera):
    rng = np.random.default_rng(3)
    points = rng.normal((0, 0, 1), 1.0, (4000, 3))
    uv, valid = camera.project(points)
    assert valid.mean() > 0.01
    rays = camera.unproject(uv[valid])
    expected = points[valid] / np.linalg.norm(points[valid], axis=1, keepdims=True)
    np.testing.assert_allclose(rays, expected, atol=1e-6)


@every_camera
def test_float32_path_agrees(camera):
    rng = np.random.default_rng(4)
    points = rng.normal(size=(3000, 3)) * [1, 0.5, 1] + [0, 0, 2]
    uv, valid = camera.project(points)
    u, v, valid32 = camera.project_xyz(*points.T.astype(np.float32))
    assert u.dtype == np.float32 and v.dtype == np.float32
    assert (valid == valid32).mean() > 0.999
    both = valid & valid32
    np.testing.assert_allclose(np.stack([u, v], -1)[both], uv[both], atol=2e-3)


@every_camera
def test_right_is_right_and_down_is_down(camera):
    rays = [[0, 0, 1], [0.1, 0, 1], [0, 0.1, 1]]
    (ahead, right, down), valid = camera.project(np.array(rays, dtype=float))
    assert valid.all()
    assert right[0] > ahead[0] + 5 and abs(right[1] - ahead[1]) < 1
    assert down[1] > ahead[1] + 5 and abs(down[0] - ahead[0]) < 1


@every_camera
def test_resized_keeps_pixel_edges(camera):
    width, height = camera.width // 2, camera.height * 3
    small = camera.resized(width, height)
    assert (small.width, small.height) == (width, height) and type(small) is type(camera)
    uv = pixels(camera)
    scale = np.array([width / camera.width, height / camera.height])
    np.testing.assert_allclose(
        small.unproject((uv + 0.5) * scale - 0.5), camera.unproject(uv), atol=1e-9
    )


@every_camera
def test_cameras_are_values(camera):
    same = camera.resized(camera.width, camera.height)
    camera.project(np.array([[0.0, 0.0, 1.0]]))  # fills caches, which must not count
    assert same == camera and hash(same) == hash(camera)
    assert camera.resized(100, 50) != camera


@every_camera
def test_points_without_a_pixel_are_invalid(camera):
    with np.errstate(all='raise'):
        uv, valid = camera.project(np.array([[0, 0, 0], [np.nan, 0, 1], [0.0, 0, np.nan]]))
    assert not valid.any()
    assert np.isnan(uv).any(axis=1).all()
    empty, none = camera.project(np.zeros((0, 3)))
    assert empty.shape == (0, 2) and none.shape == (0,)


@given(st.floats(-0.4, 0.3), st.floats(-0.2, 0.2), st.floats(-0.005, 0.005), st.floats(-0.1, 0.1))
def test_any_plumb_bob_comes_back_or_says_nothing(k1, k2, p1, k3):
    camera = PinholeCamera(321, 240, 200.0, 205.0, 160.0, 120.0, (k1, k2, p1, -p1, k3))
    uv = pixels(camera, step=16)
    rays = camera.unproject(uv)
    defined = np.isfinite(rays).all(axis=1)
    back, _ = camera.project(rays[defined])
    np.testing.assert_allclose(back, uv[defined], atol=1e-5)
    # The middle of an image is never past the fold.
    assert defined[np.hypot(*(uv - [160, 120]).T) < 20].all()


# ---- against OpenCV ----


@pytest.mark.parametrize('name', ['pinhole', 'plumb_bob', 'plumb_bob_wide', 'rational'])
def test_pinhole_matches_opencv(name):
    camera = CAMERAS[name]
    rng = np.random.default_rng(5)
    points = rng.uniform([-1.5, -1, 2], [1.5, 1, 6], (2000, 3))
    uv, valid = camera.project(points)
    expected, _ = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), camera.K, np.array(camera.distortion or [0.0] * 4)
    )
    defined = np.isfinite(uv).all(axis=1)
    assert defined.mean() > 0.99 and valid.mean() > 0.5
    np.testing.assert_allclose(uv[defined], expected[defined, 0], atol=1e-9)


def test_fisheye_matches_opencv():
    camera = CAMERAS['fisheye']
    points = np.random.default_rng(6).uniform([-3, -3, 0.5], [3, 3, 4], (2000, 3))
    uv, valid = camera.project(points)
    expected, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), camera.K, np.array(camera.distortion)
    )
    assert valid.mean() > 0.5
    np.testing.assert_allclose(uv[valid], expected[valid, 0], atol=1e-9)


def test_undistortion_converges_close_to_the_fold():
    # Here the five fixed-point iterations of cv2.undistortPoints end half a pixel away.
    camera = CAMERAS['plumb_bob_wide']
    uv = np.array([[0.0, 291.0]])
    ray = camera.unproject(uv)
    assert np.hypot(*ray[0, :2]) / ray[0, 2] > 0.9 * np.sqrt(camera._fold)
    np.testing.assert_allclose(camera.project(ray)[0], uv, atol=1e-6)


# ---- the fold ----


def test_points_past_the_fold_are_invalid():
    # r (1 - 0.3 r^2) turns round at r = 1 / sqrt(0.9) = 1.054 and is zero again at 1.826.
    camera = PinholeCamera(1001, 901, 400.0, 400.0, 500.0, 450.0, (-0.3, 0.0, 0.0, 0.0))
    x = np.array([0.5, 1.0, 1.05, 1.06, 1.5, 1.826, 10.0])
    points = np.stack([x, 0 * x, 0 * x + 1], axis=-1)
    uv, valid = camera.project(points)
    np.testing.assert_array_equal(valid, [True, True, True, False, False, False, False])
    assert np.isnan(uv[~valid]).all()
    # The image reaches further than the lens formula: 0.7027 * 400 = 281 px from the middle.
    rays = camera.unproject(np.array([[500.0 + 280, 450], [500 + 282, 450], [1000, 900]]))
    assert np.isfinite(rays[0]).all() and np.isnan(rays[1:]).all()
    np.testing.assert_allclose(camera.project(rays[:1])[0], [[780, 450]], atol=1e-5)


def test_a_pole_of_the_rational_model_is_a_fold():
    # 1 - 0.5 r^2 vanishes at r = 1.414: past it the formula jumps to the other side.
    camera = PinholeCamera(
        900, 600, 200.0, 200.0, 400.0, 300.0, (0, 0, 0, 0, 0, -0.5, 0, 0), 'rational_polynomial'
    )
    points = np.array([[1.0, 0, 1], [1.5, 0, 1], [3.0, 0, 1]])
    uv, valid = camera.project(points)
    assert valid.tolist() == [True, False, False]
    assert uv[0, 0] == pytest.approx(400 + 200 * 2)
    np.testing.assert_allclose(camera.unproject(uv[:1])[0], points[0] / np.sqrt(2), atol=1e-9)


def test_fisheye_ends_where_its_radius_stops_growing():
    # theta - 0.1 theta^3 turns round at theta = sqrt(1 / 0.3) = 1.826 rad.
    camera = FisheyeCamera(900, 800, 200.0, 200.0, 450.0, 400.0, (-0.1, 0, 0, 0))
    assert camera.max_angle == pytest.approx(np.sqrt(1 / 0.3))
    angle = np.array([0.0, 1.0, 1.6, 1.8, 1.85, 3.0])
    points = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)
    uv, valid = camera.project(points)
    np.testing.assert_array_equal(valid, [True] * 4 + [False] * 2)
    np.testing.assert_allclose(camera.unproject(uv[:4]), points[:4], atol=1e-7)
    limit = 200 * (camera.max_angle - 0.1 * camera.max_angle**3)
    assert np.isnan(camera.unproject(np.array([[450 + limit + 1, 400]]))).all()


def test_plain_fisheye_sees_behind_itself():
    camera = FisheyeCamera(1000, 800, 100.0, 100.0, 500.0, 400.0)
    uv, valid = camera.project(np.array([[1.0, 0.0, -1.0], [0.0, 0.0, -1.0]]))
    assert valid.tolist() == [True, False]
    assert uv[0] == pytest.approx([500 + 100 * 0.75 * np.pi, 400])


# ---- known answers ----


def test_pinhole_bounds_are_pixel_edges():
    camera = PinholeCamera(100, 50, 100.0, 100.0, 49.5, 24.5)
    x = np.array([-0.5001, -0.4999, 0.4999, 0.5001])
    _, valid = camera.project(np.stack([x, 0 * x, 0 * x + 1], axis=-1))
    assert valid.tolist() == [False, True, True, False]
    _, behind = camera.project(np.array([[0.0, 0.0, -1.0]]))
    assert not behind.any()


def test_equirectangular_directions():
    camera = EquirectangularCamera(640, 320)
    middle = 319.5
    for direction, u, v in (
        ([0, 0, 1], middle, 159.5),
        ([1, 0, 0], middle + 160, 159.5),  # right of the centre is clockwise
        ([-1, 0, 0], middle - 160, 159.5),
        ([0.5, -np.sqrt(0.5), 0.5], middle + 80, 79.5),  # optical -y is up
        ([0.5, np.sqrt(0.5), 0.5], middle + 80, 239.5),
    ):
        uv, valid = camera.project(np.array([direction], dtype=float))
        assert valid.all()
        np.testing.assert_allclose(uv, [[u, v]], atol=1e-9)
        ray = camera.unproject(np.array([[u, v]]))[0]
        np.testing.assert_allclose(ray, direction / np.linalg.norm(direction), atol=1e-9)


def test_equirectangular_azimuth_formula_and_seam():
    camera = EquirectangularCamera(640, 320)
    u = np.array([-0.5, 0.0, 100.0, 319.5, 639.0])
    rays = camera.unproject(np.stack([u, 0 * u + 159.5], axis=-1))
    azimuth = np.arctan2(-rays[:, 0], rays[:, 2])
    expected = -2 * np.pi * (u + 0.5 - 320) / 640
    np.testing.assert_allclose(np.exp(1j * azimuth), np.exp(1j * expected), atol=1e-12)
    # Columns repeat, and just behind the camera on either side are the outermost columns.
    np.testing.assert_allclose(
        camera.unproject([[5.0, 3.0]]), camera.unproject([[645.0, 3.0]]), atol=1e-12
    )
    uv, valid = camera.project(np.array([[-1e-6, 0, -1.0], [1e-6, 0, -1.0]]))
    assert valid.all()
    np.testing.assert_allclose(uv[:, 0], [-0.5, 639.5], atol=1e-3)
    assert camera.wraps and not CAMERAS['pinhole'].wraps


def test_equirectangular_poles_are_valid():
    camera = EquirectangularCamera(640, 320)
    uv, valid = camera.project(np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]))
    assert valid.all()
    np.testing.assert_allclose(uv[:, 1], [319.5, -0.5], atol=1e-9)
    np.testing.assert_allclose(camera.unproject(uv)[:, 1], [1, -1], atol=1e-12)
    assert np.isnan(camera.unproject([[0.0, 321.0]])).all()


# ---- misuse ----


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda: PinholeCamera(0, 10, 1, 1, 0, 0), 'no pixels'),
        (lambda: EquirectangularCamera(10, 0), 'no pixels'),
        (lambda: PinholeCamera(10, 10, 0, 1, 0, 0), 'positive'),
        (lambda: PinholeCamera(10, 10, float('nan'), 1, 0, 0), 'NaN'),
        (lambda: PinholeCamera(10, 10, 1, 1, 0, 0, (0.1,)), 'coefficients'),
        (lambda: PinholeCamera(10, 10, 1, 1, 0, 0, (), 'fancy'), 'fancy'),
        (
            lambda: PinholeCamera(10, 10, 1, 1, 0, 0, (0.0,) * 11 + (0.1,), 'rational_polynomial'),
            'thin prism',
        ),
        (lambda: FisheyeCamera(10, 10, 1, 1, 0, 0, (0.1, 0.2)), '4 distortion'),
    ],
)
def test_impossible_cameras_are_refused(make, text):
    with pytest.raises(CalibrationError, match=text):
        make()
