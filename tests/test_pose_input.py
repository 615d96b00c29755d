# SPDX-License-Identifier: Apache-2.0
"""What pose networks are fed: one joint crop, a principal point that follows it, metres."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from geoloc_core.errors import BundleError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import FisheyeCamera, PinholeCamera
from geoloc_core.input_spec import RasterSpec
from geoloc_core.pose_input import ideal_camera, ideal_pose, ideal_view, network_arrays
from geoloc_core.pose_spec import DepthSpec, PoseInputSpec, PoseModelSpec, PoseOutputSpec
from geoloc_core.types import GroundView
from tests.training import room
from training.augmentation.geometric import crop_view

SPEC = PoseInputSpec(
    RasterSpec('colour', 48, 36, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), with_mask=True),
    DepthSpec('depth', 2.0, 0.5, 6.0),
    60.0,
    'present',
    ('colour', 'depth'),
    (0.0, 0.0, 0.0),
)
FISHEYE = FisheyeCamera(90, 60, 45.0, 45.0, 41.0, 33.0, (0.05, 0.01, 0.0, 0.0))


def painted(T_map_camera, camera):
    """What the ideal camera of SPEC at a pose would see of the room."""
    return room.see(T_map_camera, camera)


def test_tables_are_kept_for_a_camera():
    view = room.sample_at(room.pose(3)).view
    first = ideal_view(view, SPEC)
    again = ideal_view(replace(view, stamp_ns=1, image=255 - view.image), SPEC)
    assert again.mask is first.mask and not first.mask.flags.writeable
    assert not np.array_equal(again.image, first.image)
    # Another camera has another table, of its own.
    camera = replace(view.camera, fx=1.2 * view.camera.fx)
    other = ideal_view(replace(view, camera=camera), SPEC)
    assert not np.array_equal(other.image, first.image)


@pytest.mark.parametrize('crop', [None, (0, 0, 56, 42), (20, 14, 56, 42), (24, 3, 50, 40)])
def test_a_crop_is_a_turn_of_the_camera_and_the_pose_turns_with_it(crop):
    T = room.pose(3)
    sample = room.sample_at(T)
    if crop is not None:
        sample = crop_view(sample, *crop)
    ideal = ideal_view(sample.view, SPEC)
    image, depth = painted(ideal_pose(T, ideal), ideal_camera(SPEC))
    known = ideal.mask & (cv2.erode(ideal.mask.astype(np.uint8), np.ones((3, 3))) > 0)
    assert known.mean() > 0.3
    off = np.abs(ideal.image.astype(int) - image)[known]
    assert np.median(off) < 6
    both = known & np.isfinite(ideal.depth)
    assert np.abs(ideal.depth - depth)[both].mean() < 0.02
    # Taken for a picture of the camera's own axis, a crop off the middle is simply wrong.
    if crop in ((0, 0, 56, 42), (20, 14, 56, 42)):
        wrong, _ = painted(T, ideal_camera(SPEC))
        assert np.median(np.abs(ideal.image.astype(int) - wrong)[known]) > 9


def test_the_middle_of_the_picture_is_the_middle_of_the_input():
    for camera in (room.CAMERA, FISHEYE, replace(room.CAMERA, cx=20.0, cy=44.0)):
        image = np.zeros((camera.height, camera.width, 3), np.uint8)
        ideal = ideal_view(GroundView(0, image, camera, np.eye(4)), SPEC)
        ray = ideal.R_camera_ideal[:, 2]
        uv, _ = camera.project(ray[None])
        assert np.allclose(uv[0], [(camera.width - 1) / 2, (camera.height - 1) / 2], atol=1e-3)
        assert se3.is_rigid(se3.make(ideal.R_camera_ideal, np.zeros(3)))


def test_nothing_is_made_up():
    sample = room.sample_at(room.pose(1), depth=False)
    ideal = ideal_view(sample.view, SPEC)
    assert ideal.available == (True, False) and np.isnan(ideal.depth).all()
    dark = replace(sample.view, image=np.zeros_like(sample.view.image))
    assert ideal_view(dark, SPEC).available == (False, False)
    far = np.full((60, 80), 6.5, np.float32)
    assert ideal_view(replace(sample.view, depth=far), SPEC).available == (True, False)
    arrays = network_arrays(ideal, SPEC)
    assert arrays['depth'].shape == (1, 2, 36, 48) and not arrays['depth'].any()
    assert arrays['present'].tolist() == [[1.0, 0.0]]


def test_a_wider_input_than_the_picture_says_where_it_ends():
    wide = replace(SPEC, focal_px=20.0)
    ideal = ideal_view(room.sample_at(room.pose(2)).view, wide)
    assert 0.2 < ideal.mask.mean() < 0.9
    assert not ideal.image[~ideal.mask].any() and np.isnan(ideal.depth[~ideal.mask]).all()
    arrays = network_arrays(ideal, wide)
    assert arrays['colour'].shape == (1, 4, 36, 48)
    assert np.array_equal(arrays['colour'][0, 3] > 0, ideal.mask)


def test_depth_is_of_the_ideal_axis():
    # A wall across a camera that sees it from aside is nearer along the turned axis.
    camera = PinholeCamera(80, 60, 70.0, 70.0, 5.0, 29.5)
    view = GroundView(0, np.full((60, 80, 3), 99, np.uint8), camera, np.eye(4),
                      np.full((60, 80), 2.0, np.float32))  # fmt: skip
    ideal = ideal_view(view, SPEC)
    camera_of = ideal_camera(SPEC)
    rays = camera_of.rays() / camera_of.rays()[..., 2:]
    z = (rays * ideal.depth[..., None]) @ ideal.R_camera_ideal.T
    assert np.allclose(z[ideal.mask][:, 2], 2.0, atol=1e-5)


def test_the_specification_of_a_bundle_is_read_as_it_was_written():
    spec = PoseModelSpec(1, 'vmloc', 'Apache-2.0', 'a' * 64, 20, 'kitchen', SPEC,
                         PoseOutputSpec('position', 'rotation', 'cov'))  # fmt: skip
    assert PoseModelSpec.from_json(spec.to_json()) == spec
    for old, new, word in (
        ('"place": "kitchen"', '"room": "kitchen"', 'room'),
        ('"focal_px": 60.0', '"focal_px": -1.0', 'focal_px'),
        ('"uses": [', '"uses": ["lidar", ', 'lidar'),
        ('"format": 1', '"format": 2', 'format is 2'),
    ):
        assert old in spec.to_json()
        with pytest.raises(BundleError, match=word):
            PoseModelSpec.from_json(spec.to_json().replace(old, new))
    with pytest.raises(BundleError, match='JSON'):
        PoseModelSpec.from_json('{')
