# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye views against the cameras of geoloc_core, and the signs of turning."""

import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.models.spherical import (
    focal_from_field_of_view,
    FrontViewTransform,
    ground_homography,
    plane_coordinates,
    plane_focal,
    sample_panorama,
    SphericalTransform,
)

VIEW = (64, 24)


def panorama(width=64, height=24):
    """A smooth picture that knows its azimuth and elevation: east, north, up of each ray."""
    rays = EquirectangularCamera(width, height).rays()
    east_north_up = np.stack([rays[..., 0], rays[..., 2], -rays[..., 1]])
    return torch.from_numpy(east_north_up.astype(np.float32))[None]


@pytest.mark.parametrize('bev', [(20, 12), (13, 17)])
def test_each_pixel_sees_what_the_panorama_s_camera_sees_there(bev):
    uv = plane_coordinates(VIEW, bev, 150.0).numpy()
    focal = plane_focal(bev, 150.0)
    for j, i in ((0, 0), (bev[0] - 1, 2), (4, bev[1] - 1), (3, 5)):
        right, forward = j - (bev[0] - 1) / 2, (bev[1] - 1) / 2 - i
        # Optical axes: x right, y down, z forward.
        ray = np.array([[right, focal, forward]])
        expected, valid = EquirectangularCamera(*VIEW).project(ray)
        assert valid.all()
        np.testing.assert_allclose(uv[i, j], expected[0], atol=1e-4)


def test_picture_has_the_right_side_up_and_right():
    # An odd side has a pixel under the camera; east lies right of it, north above.
    bev = SphericalTransform((256, 128), (9, 9), 120.0)(panorama(256, 128))[0]
    assert bev[0, 4, 8] > 0.8 and bev[0, 4, 0] < -0.8
    assert bev[1, 0, 4] > 0.8 and bev[1, 8, 4] < -0.8
    assert bev[2].max() < -0.4 and bev[2, 4, 4] < -0.999


def test_published_field_of_view_reaches_eleven_camera_heights():
    cells = SphericalTransform(VIEW, (512, 512)).cells_per_height
    assert 256 / cells == pytest.approx(11.43, abs=0.005)


def test_content_moved_right_turns_clockwise():
    view = torch.rand(1, 3, 24, 64)
    transform = SphericalTransform(VIEW, (16, 16))
    turned = transform(view.roll(16, dims=3))
    torch.testing.assert_close(turned, transform(view).rot90(-1, (2, 3)), atol=1e-4, rtol=0)
    assert (turned - transform(view).rot90(1, (2, 3))).abs().max() > 0.1


def test_seam_is_closed():
    bev = SphericalTransform(VIEW, (17, 17))(panorama())[0]
    focal = plane_focal((17, 17), 170.0)
    # South of the camera lies the seam: the ray's own direction stands there, nothing else.
    for i in (10, 13, 16):
        length = math.hypot(focal, i - 8)
        np.testing.assert_allclose(bev[:2, i, 8], [0.0, -(i - 8) / length], atol=0.01)


def test_rotation_turns_the_virtual_camera_and_has_gradients():
    view = torch.rand(1, 3, 24, 64)
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = sample_panorama(view, plane_coordinates(VIEW, (16, 16), 160.0, turn))
    # The axes of the picture turn counter-clockwise, so its content turns clockwise.
    still = sample_panorama(view, plane_coordinates(VIEW, (16, 16), 160.0))
    torch.testing.assert_close(turned, still.rot90(-1, (2, 3)), atol=1e-4, rtol=0)
    R = torch.eye(3, requires_grad=True)
    uv = plane_coordinates(VIEW, (15, 15), 160.0, R)
    sample_panorama(view, uv).square().sum().backward()
    assert R.grad.isfinite().all() and R.grad.abs().max() > 0


def test_gradient_reaches_the_panorama():
    view = torch.rand(1, 3, 24, 64, requires_grad=True)
    SphericalTransform(VIEW, (16, 12))(view).sum().backward()
    # Every bird's-eye pixel hands its whole weight on; the sky gets none.
    torch.testing.assert_close(view.grad.sum(), torch.tensor(3.0 * 16 * 12))
    assert view.grad[:, :, :11].abs().max() == 0


@pytest.mark.parametrize('fov', [0.0, 180.0, -5.0])
def test_impossible_field_of_view_is_refused(fov):
    with pytest.raises(ConfigError, match='between 0'):
        SphericalTransform(VIEW, (8, 8), fov)


# ---- front views ----


FOCAL, CENTER, HEIGHT = (60.0, 50.0), (47.0, 20.0), 1.65


def front(pitch=0.0, gsd=0.5, bev=(40, 24)):
    foot = (-0.5, (bev[1] - 1) / 2)
    return ground_homography(gsd, foot, FOCAL, CENTER, HEIGHT, pitch)


def test_ground_is_seen_where_a_pinhole_sees_it():
    camera = PinholeCamera(96, 48, *FOCAL, *CENTER)
    H = front().numpy()
    for u, v in ((10, 3), (30, 20), (39, 11)):
        forward, left = (u + 0.5) * 0.5, (11.5 - v) * 0.5
        expected, _ = camera.project(np.array([[-left, HEIGHT, forward]]))
        found = H @ [u, v, 1.0]
        np.testing.assert_allclose(found[:2] / found[2], expected[0], atol=1e-9)
        assert found[2] == pytest.approx(forward)


def test_nose_down_moves_the_ground_up_in_the_picture():
    level, down = (front(pitch).numpy() @ [20.0, 12.0, 1.0] for pitch in (0.0, 0.05))
    assert down[1] / down[2] < level[1] / level[2] - 1.0


def test_what_is_on_the_left_comes_up_and_what_is_far_comes_right():
    columns = torch.linspace(-1, 1, 96).expand(48, 96)
    rows = torch.linspace(-1, 1, 48)[:, None].expand(48, 96)
    bev = FrontViewTransform((96, 48), (40, 24), front())(torch.stack([columns, rows])[None])
    assert bev.shape == (1, 2, 24, 40)
    assert bev[0, 0, 4, 30] < -0.1 < 0.1 < bev[0, 0, 20, 30]
    assert bev[0, 1, 12, 10] > bev[0, 1, 12, 38]


def test_ground_beside_the_picture_is_zero():
    seen = FrontViewTransform((96, 48), (40, 24), front())(torch.ones(1, 1, 48, 96))
    torch.testing.assert_close(seen, seen.round())
    assert 0 < seen.mean() < 1
    # Under the camera and beside it, nothing; ahead, the ground.
    assert seen[0, 0, :, 0].sum() == 0 and seen[0, 0, 0, 5] == 0
    assert seen[0, 0, 8:16, 20:].min() > 0.999


def test_camera_that_looks_away_is_refused():
    with pytest.raises(ConfigError, match='sees nothing'):
        FrontViewTransform((96, 48), (40, 24), front(pitch=-1.4))


def test_field_of_view_gives_the_focal_length():
    assert focal_from_field_of_view(100, 45.0) == pytest.approx(50.0)
