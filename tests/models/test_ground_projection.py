# SPDX-License-Identifier: Apache-2.0
"""Where cells of the ground are in a picture: signs, seam, half pixels."""

import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.input_spec import CameraSpec, RasterSpec
from geoloc_core.models.ground_projection import GroundProjection

VIEW = RasterSpec('view', 64, 32, (0.0,) * 3, (1.0,) * 3)
PANORAMA = CameraSpec('equirectangular', None, None, 2.0)
PINHOLE = CameraSpec('pinhole', (30.0, 40.0), (33.0, 14.0), 1.65)


def coordinates(rows, columns):
    """(1, 2, rows, columns): each pixel's own column and row as fractions of the picture."""
    u = (torch.arange(columns) + 0.5) / columns
    v = (torch.arange(rows) + 0.5) / rows
    v, u = torch.meshgrid(v, u, indexing='ij')
    return torch.stack([u, v])[None]


def at(ground, values, x, y):
    """Values of the cell nearest to a place."""
    distance = (ground.x - x) ** 2 + (ground.y - y) ** 2
    index = int(distance.argmin())
    return values.flatten(-2)[..., index]


def test_panorama_looks_up_the_patch_and_east_is_to_the_right():
    ground = GroundProjection((9, 13), 1.0, PANORAMA, VIEW)
    read, mask = ground(coordinates(320, 640))
    assert mask.shape == (1, 1, 9, 13)
    assert mask.all()
    assert at(ground, read, 0, 4)[0, 0] == pytest.approx(0.5, abs=1e-3)
    assert at(ground, read, 4, 0)[0, 0] == pytest.approx(0.75, abs=1e-3)
    assert at(ground, read, -4, 0)[0, 0] == pytest.approx(0.25, abs=1e-3)
    # 2 m under the camera and 2 m away: half-way between horizon and nadir.
    assert at(ground, read, 0, 2)[0, 1] == pytest.approx(0.75, abs=1e-3)
    assert at(ground, read, 0, 0)[0, 1] == pytest.approx(1.0, abs=3e-3)


def test_rolled_panorama_and_yaw_cancel():
    ground = GroundProjection((8, 10), 0.9, PANORAMA, VIEW)
    torch.manual_seed(0)
    features = torch.randn(2, 3, 16, 40)
    plain, _ = ground(features)
    # A robot turned counter-clockwise by an eighth of a circle has its content moved right.
    turned, _ = ground(features.roll(5, dims=-1), torch.full((2,), 2 * math.pi * 5 / 40))
    torch.testing.assert_close(turned, plain, atol=2e-4, rtol=1e-4)
    wrong, _ = ground(features.roll(5, dims=-1), torch.full((2,), -2 * math.pi * 5 / 40))
    assert (wrong - plain).abs().max() > 0.5


def test_seam_has_no_wedge():
    ground = GroundProjection((41, 31), 0.5, PANORAMA, VIEW)
    read, _ = ground(torch.ones(1, 1, 16, 32))
    torch.testing.assert_close(read, torch.ones_like(read))
    # A feature that is bright in the last column shines half-way into the first one's half.
    features = torch.zeros(1, 1, 4, 32)
    features[..., -1] = 1.0
    read, _ = ground(features)
    assert at(ground, read, 0, -10)[0, 0] == pytest.approx(0.5, abs=1e-2)


def test_panorama_agrees_with_the_camera_class():
    ground = GroundProjection((6, 7), 1.3, PANORAMA, VIEW)
    u, v, _ = ground.places(torch.zeros(1))
    # Optical axes of a camera that looks along +y of the patch: right x, down, forward y.
    camera = EquirectangularCamera(64, 32)
    want_u, want_v, _ = camera.project_xyz(
        ground.x.numpy(), torch.full((6, 7), 2.0).numpy(), ground.y.numpy()
    )
    # Straight behind, both ends of the picture are right.
    turns = (u[0] * 64 - 0.5 - torch.as_tensor(want_u)) / 64
    torch.testing.assert_close(turns, turns.round(), atol=1e-5, rtol=0)
    torch.testing.assert_close(v[0] * 32 - 0.5, torch.as_tensor(want_v), atol=1e-3, rtol=0)


def test_pinhole_agrees_with_the_camera_class_and_looks_right():
    ground = GroundProjection((11, 15), 1.0, PINHOLE, VIEW)
    u, v, seen = ground.places(torch.zeros(1))
    camera = PinholeCamera(64, 32, 30.0, 40.0, 33.0, 14.0)
    want_u, want_v, _ = camera.project_xyz(
        -ground.y.numpy(), torch.full((11, 15), 1.65).numpy(), ground.x.clamp_min(0.1).numpy()
    )
    front = seen[0]
    assert front.any()
    assert not front[:, :7].any()
    for got, want in ((u[0] * 64 - 0.5, want_u), (v[0] * 32 - 0.5, want_v)):
        torch.testing.assert_close(
            got[front], torch.as_tensor(want)[front].float(), atol=1e-3, rtol=0
        )


def test_pinhole_turned_counter_clockwise_sees_up_the_patch():
    ground = GroundProjection((11, 15), 1.0, PINHOLE, VIEW)
    _, mask = ground(torch.ones(1, 1, 8, 16), torch.tensor([math.pi / 2]))
    assert at(ground, mask, 0, 5)[0, 0] == 1
    assert at(ground, mask, 0, -5)[0, 0] == 0
    assert at(ground, mask, 5, 0)[0, 0] == 0


def test_gradient_is_finite_straight_below():
    ground = GroundProjection((3, 3), 1.0, PANORAMA, VIEW)
    yaw = torch.zeros(1, requires_grad=True)
    read, _ = ground(coordinates(8, 16), yaw)
    read.sum().backward()
    assert torch.isfinite(yaw.grad).all()


def test_size_of_features_does_not_matter():
    ground = GroundProjection((7, 9), 1.0, PANORAMA, VIEW)
    for rows, columns in ((160, 320), (23 * 8, 46 * 8)):
        read, _ = ground(coordinates(rows, columns))
        assert at(ground, read, 3, 3)[0, 0] == pytest.approx(0.625, abs=1e-3)


def test_empty_grid_is_refused():
    with pytest.raises(ConfigError, match='empty'):
        GroundProjection((0, 3), 1.0, PANORAMA, VIEW)
