# SPDX-License-Identifier: Apache-2.0
"""Where base_link is when a network has found the camera."""

from dataclasses import replace
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.input_spec import BevSpec, CameraSpec, InputSpec, RasterSpec
from geoloc_core.lever_arm import lever_arm, moved
from geoloc_core.sources.matcher import Attitude
from geoloc_core.sources.model_matcher import ModelMatcher
from geoloc_core.spec import OutputSpec
from geoloc_core.types import AerialPatch, GroundView, PosePrior

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
R_BASE_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
# The camera is 1.2 m ahead of base_link, 0.4 m to its left.
MOUNT = se3.make(R_BASE_OPTICAL, [1.2, 0.4, 1.5])
OUT = OutputSpec('logits', 'log_likelihood', 9, 90.0, '', 31, 21, gsd=0.5, temperature=1.0)
PINHOLE = CameraSpec('pinhole', (40.0, 40.0), (31.5, 15.5), 1.5)
PANORAMA = CameraSpec('equirectangular', None, None, 1.5)


def inputs(camera, turned):
    return InputSpec(
        camera_kinds=(camera.kind,),
        view_kind='camera',
        view=RasterSpec('view', 64, 32, MEAN, STD),
        bev=None,
        polar=None,
        camera=camera,
        patch=RasterSpec('patch', 60, 40, MEAN, STD),
        patch_gsd=0.5,
        turned=turned,
    )


class Finding:
    """An engine that finds one place in the patch, (column, row), and one yaw bin."""

    def __init__(self, u, v, k):
        self.scores = np.full((1, OUT.yaw_bins, OUT.height, OUT.width), -9.0, np.float32)
        self.scores[0, k, v, u] = 0.0

    def run(self, arrays):
        return {'logits': self.scores}

    def news(self):
        return ()


def found(spec, engine, mount, prior, lean=(0.0, 0.0)):
    """(x, y, yaw) of base_link where the matcher's likelihood is greatest."""
    bundle = SimpleNamespace(
        spec=SimpleNamespace(inputs=spec, output=OUT),
        open_engine=lambda threads, settings: engine,
        require_fit=lambda camera: None,
        folder=Path('bundle'),
    )
    matcher = ModelMatcher(bundle, min_ground_m2=0.0)
    camera = (
        PinholeCamera(64, 32, fx=40.0, fy=40.0, cx=31.5, cy=15.5)
        if spec.camera_kinds == ('pinhole',)
        else EquirectangularCamera(64, 32)
    )
    view = GroundView(0, np.zeros((32, 64, 3), np.uint8), camera, mount)
    T = se3.from_xyz_rpy(*prior[:2], 0.0, *lean, prior[2])
    given = PosePrior(0, T, np.eye(6))
    asked = matcher.patch_request(view, given)
    side = math.ceil(asked.size_m / asked.gsd)
    grid = Grid(asked.center_xy, asked.gsd, side, side)
    patch = AerialPatch(np.zeros((side, side, 3), np.uint8), np.ones((side, side), bool), grid)
    match = matcher.log_likelihood(view, Attitude.of(given), patch, given)
    k, v, u = np.unravel_index(match.log_likelihood.argmax(), match.log_likelihood.shape)
    return np.array([*match.grid.xy_from_uv((u, v)), match.yaws[k]]), asked


@pytest.mark.parametrize(('camera', 'turned'), [(PINHOLE, 'patch'), (PANORAMA, 'view')])
def test_a_network_that_finds_the_camera_where_it_is_expected_finds_base_link_there(
    camera, turned
):
    spec, north = inputs(camera, turned), (10.0, 20.0, math.pi / 2)
    pose, asked = found(spec, Finding(15, 10, 4), MOUNT, north)
    # The patch is cut around the camera: ahead is north, left is west.
    np.testing.assert_allclose(asked.center_xy, [9.6, 21.2], atol=1e-9)
    np.testing.assert_allclose(pose, north, atol=1e-6)


@pytest.mark.parametrize(('camera', 'turned'), [(PINHOLE, 'patch'), (PANORAMA, 'view')])
def test_the_arm_turns_with_the_yaw_that_was_found(camera, turned):
    spec, east = inputs(camera, turned), (10.0, 20.0, 0.0)
    # 2 m right of the patch's middle, and a quarter turn to the left of the prior.
    pose, _ = found(spec, Finding(19, 10, 8), MOUNT, east)
    camera_xy = np.array([10.0 + 1.2 + 2.0, 20.0 + 0.4])
    # The camera looks north: it is 1.2 m north and 0.4 m west of base_link.
    turned_arm = np.array([-0.4, 1.2])
    wanted = camera_xy - turned_arm
    assert np.abs(pose[:2] - wanted).max() <= OUT.gsd / 2 + 1e-6
    # As far off as that it would be with the wrong sign, or unturned.
    assert np.abs(camera_xy + turned_arm - wanted).max() > 2 * OUT.gsd
    assert np.abs(camera_xy - [1.2, 0.4] - wanted).max() > 2 * OUT.gsd
    assert pose[2] == pytest.approx(math.pi / 2)


def test_what_is_found_at_the_edge_is_not_lost():
    pose, _ = found(inputs(PANORAMA, 'view'), Finding(30, 0, 0), MOUNT, (0.0, 0.0, 0.0))
    # The camera 7.5 m east and 5 m north of where it was expected, looking south.
    wanted = np.array([1.2 + 7.5, 0.4 + 5.0]) - [0.4, -1.2]
    assert np.abs(pose[:2] - wanted).max() <= OUT.gsd / 2 + 1e-6


def test_a_leaning_mast_carries_the_camera_with_it():
    spec, mast = inputs(PANORAMA, 'view'), se3.make(R_BASE_OPTICAL, [0.0, 0.0, 2.0])
    level, _ = found(spec, Finding(15, 10, 4), mast, (3.0, 4.0, 0.0))
    np.testing.assert_allclose(level, [3.0, 4.0, 0.0], atol=1e-9)
    # Nose down: the camera goes forward.
    arm = lever_arm(spec, mast, 0.0, 0.1)
    np.testing.assert_allclose(arm, [2.0 * math.sin(0.1), 0.0], atol=1e-9)
    # Right side down: it goes to the right.
    assert lever_arm(spec, mast, 0.1, 0.0)[1] == pytest.approx(-2.0 * math.sin(0.1))
    _, asked = found(spec, Finding(15, 10, 4), mast, (3.0, 4.0, 0.0), lean=(0.0, 0.1))
    np.testing.assert_allclose(asked.center_xy, [3.0 + 2.0 * math.sin(0.1), 4.0], atol=1e-9)


def test_views_on_the_ground_lie_around_base_link():
    on_ground = replace(
        inputs(PANORAMA, 'view'), view_kind='bev', camera=None, bev=BevSpec(0.5, (0.0, 0.0))
    )
    np.testing.assert_array_equal(lever_arm(on_ground, MOUNT, 0.1, 0.2), [0.0, 0.0])


def test_there_and_back():
    pose, arm = np.array([3.0, -2.0, 2.5]), np.array([1.2, 0.4])
    np.testing.assert_allclose(moved(moved(pose, arm), -arm), pose, atol=1e-12)
    np.testing.assert_allclose(moved([0.0, 0.0, math.pi / 2], arm), [-0.4, 1.2, math.pi / 2])
