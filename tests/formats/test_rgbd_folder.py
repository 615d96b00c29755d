# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.formats.kinect import T_COLOUR_DEPTH, TUM_CAMERAS
from geoloc_core.formats.rgbd_folder import open_rgbd_folder, read_counts
from geoloc_core.geometry import se3
from tests.formats.rgbd_frames import H, pose_at, W, write_seven_scenes, write_tum


def test_seven_scenes_poses_become_those_of_the_colour_camera(tmp_path):
    folder = open_rgbd_folder(write_seven_scenes(tmp_path / 'seq-01', range(3, 7)))
    assert folder.layout == '7-Scenes' and not folder.is_registered and not folder.z_up
    assert [p.number for p in folder.colour] == [3, 4, 5, 6] == [p.number for p in folder.depth]
    assert folder.colour[0].stamp_ns == 100_000_000
    assert (folder.colour_camera.width, folder.colour_camera.height) == (W, H)
    # The colour camera sits 2.6 cm to the right of the sensor: from colour to depth and on.
    expected = pose_at(3) @ se3.inverse(T_COLOUR_DEPTH)
    np.testing.assert_allclose(folder.poses.poses[0], expected, atol=1e-6)
    step = np.linalg.norm(folder.poses.poses[0, :3, 3] - pose_at(3)[:3, 3])
    assert step == pytest.approx(0.0256, abs=1e-3)


def test_counts_say_nothing_as_zero_only(tmp_path):
    folder = open_rgbd_folder(write_seven_scenes(tmp_path / 'seq'))
    counts = read_counts(folder.depth[0].path)
    assert counts.dtype == np.uint16 and counts.shape == (H, W)
    assert not counts[:2].any() and counts[25, 30] == 1000 and counts[40, 5] == 3000


def test_tum_is_registered_and_keeps_its_times(tmp_path):
    folder = open_rgbd_folder(write_tum(tmp_path / 'rgbd_dataset_freiburg2_desk'))
    assert folder.layout == 'TUM' and folder.is_registered and folder.z_up
    assert folder.colour_camera == TUM_CAMERAS[2].resized(W, H)
    assert folder.depth[1].stamp_ns - folder.colour[1].stamp_ns == 4_000_000
    assert folder.unit_m == pytest.approx(0.0002)
    np.testing.assert_allclose(folder.poses.poses[2], pose_at(2), atol=1e-6)


def test_what_is_absent_is_absent(tmp_path):
    bare = write_seven_scenes(tmp_path / 'bare', depth=False, poses=False, suffix='jpg')
    folder = open_rgbd_folder(bare)
    assert len(folder.colour) == 4 and folder.depth == () and len(folder.poses) == 0


def test_lost_tracking_costs_the_pose_alone(tmp_path):
    root = write_seven_scenes(tmp_path / 'seq')
    (root / 'frame-000001.pose.txt').write_text('nan ' * 16)
    (root / 'frame-000002.pose.txt').write_text('2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1')
    folder = open_rgbd_folder(root)
    assert len(folder.colour) == 4 and len(folder.poses) == 2
    assert 'finite' in folder.problems[0] and 'no rotation' in folder.problems[1]


def test_frames_of_ones_own(tmp_path):
    numbers = (50.0, 51.0, 31.0, 23.0)
    folder = open_rgbd_folder(
        write_seven_scenes(tmp_path / 'mine'), calibration='registered', intrinsics=numbers
    )
    assert folder.is_registered
    assert (folder.colour_camera.fx, folder.colour_camera.cy) == (50.0, 23.0)
    np.testing.assert_allclose(folder.poses.poses[1], pose_at(1), atol=1e-6)


@pytest.mark.parametrize(
    ('make', 'options', 'text'),
    [
        (lambda p: p / 'absent', {}, 'no folder'),
        (lambda p: p, {}, 'holds no RGB-D frames'),
        (lambda p: write_seven_scenes(p / 'seq-01').parent, {}, 'sequences seq-01'),
        (lambda p: write_seven_scenes(p / 's'), {'calibration': 'x'}, 'liris, redkitchen, reg'),
        (lambda p: write_seven_scenes(p / 's'), {'intrinsics': [1, 2]}, 'fx fy cx cy'),
        (lambda p: write_seven_scenes(p / 's'), {'rate_hz': 0.0}, 'positive'),
        (lambda p: write_tum(p / 'nameless'), {}, 'which Kinect'),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, make, options, text):
    with pytest.raises(DataError, match=text):
        open_rgbd_folder(make(tmp_path), **options)


@pytest.mark.parametrize(
    ('line', 'text'),
    [('1.0', 'seconds file'), ('1.0 ../../out.png', 'outside'), ('1300000000.0 a.png', 'twice')],
)
def test_damaged_lists_are_named(tmp_path, line, text):
    root = write_tum(tmp_path / 'freiburg1')
    with (root / 'rgb.txt').open('a') as file:
        file.write(line + '\n')
    with pytest.raises(DataError, match=text):
        open_rgbd_folder(root)
