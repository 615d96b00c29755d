# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.maps.place.folder_sequence import FolderSequence
from tests.formats.rgbd_frames import H, picture, pose_at, W, write_seven_scenes, write_tum


def test_registered_frames_come_as_they_are(tmp_path):
    folder = write_seven_scenes(tmp_path / 'mine', range(3))
    sequence = FolderSequence(
        [folder], calibration='registered', intrinsics=[60.0, 61.0, 31.0, 24.5]
    )
    assert len(sequence) == 3 and not sequence.z_up and sequence.problems() == []
    frame = list(sequence.views())[1]
    assert frame.name == 'frame-000001'
    np.testing.assert_array_equal(frame.view.image, picture(1)[..., ::-1])
    np.testing.assert_allclose(frame.T_place_camera, pose_at(1), atol=1e-6)
    depth = frame.view.depth
    assert depth.shape == (H, W) and np.isnan(depth[:2]).all()
    assert depth[25, 30] == pytest.approx(1.0) and depth[40, 5] == pytest.approx(3.001)
    assert frame.view.camera.fx == 60.0


def test_depth_of_the_kinect_is_carried_into_the_colour_camera(tmp_path):
    folder = write_seven_scenes(tmp_path / 'seq-01', range(2))
    frame = next(FolderSequence([folder], calibration='redkitchen').views())
    # The colour camera is 2.56 cm to the right of the depth sensor, turned by nothing.
    offset = np.linalg.inv(pose_at(0)) @ frame.T_place_camera
    np.testing.assert_allclose(offset[:3, 3], [0.0256, 0, 0], atol=1e-6)
    assert np.nanmedian(frame.view.depth) == pytest.approx(3.0, abs=1e-3)


def test_tum_is_paired_by_time_and_its_world_has_a_top(tmp_path):
    folder = write_tum(tmp_path / 'rgbd_dataset_freiburg3_desk')
    sequence = FolderSequence([folder])
    frames = list(sequence.views())
    assert sequence.z_up and len(frames) == len(sequence) == 4
    np.testing.assert_allclose(frames[2].T_place_camera, pose_at(2), atol=1e-5)
    assert np.nanmedian(frames[2].view.depth) == pytest.approx(3.002, abs=1e-3)


def test_only_the_frames_asked_for_are_decoded(tmp_path):
    folder = write_seven_scenes(tmp_path / 'mine', range(6))
    (folder / 'frame-000002.depth.png').write_bytes(b'torn')
    sequence = FolderSequence([folder], calibration='registered', first=1, last=4)
    assert [f.name[-1] for f in sequence.views()] == ['1', '3', '4']
    assert len(sequence.problems()) == 1 and 'frame-000002.depth.png' in sequence.problems()[0]
    assert [f.name for f in sequence.views({'frame-000003'})] == ['frame-000003']
    skipping = FolderSequence([folder], calibration='registered', every=3)
    assert [f.name[-1] for f in skipping.views()] == ['0', '3']


def test_frames_of_another_size_are_left_out_and_named(tmp_path):
    folder = write_seven_scenes(tmp_path / 'mine', range(4))
    cv2.imwrite(str(folder / 'frame-000001.color.png'), picture(1)[:, ::2])
    cv2.imwrite(str(folder / 'frame-000002.depth.png'), np.full((H // 2, W), 900, np.uint16))
    sequence = FolderSequence([folder], calibration='registered')
    assert [f.name[-1] for f in sequence.views()] == ['0', '3']
    colour, depth = sequence.problems()
    assert 'frame-000001.color.png is not a picture of 64 x 48' in colour
    assert 'frame-000002.depth.png is not of 64 x 48' in depth


def test_several_folders_are_one_sequence(tmp_path):
    folders = [write_seven_scenes(tmp_path / f'seq-0{k}', range(2)) for k in (1, 2)]
    sequence = FolderSequence(folders, calibration='registered')
    assert sequence.name == 'seq-01, seq-02'
    assert [f.name for f in sequence.views()] == [
        f'seq-0{k}/frame-00000{n}' for k in (1, 2) for n in (0, 1)
    ]


def test_frames_without_depth_or_pose_are_counted(tmp_path):
    folder = write_seven_scenes(tmp_path / 'mine', range(4))
    (folder / 'frame-000001.depth.png').unlink()
    (folder / 'frame-000002.pose.txt').unlink()
    sequence = FolderSequence([folder], calibration='registered')
    assert [f.name[-1] for f in sequence.views()] == ['0', '3']
    assert sequence.problems() == [
        'mine: 1 of 4 pictures have no depth', 'mine: 1 of 3 pictures have no pose',
    ]  # fmt: skip


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(DataError, match='no folder'):
        FolderSequence([tmp_path / 'absent'])
    blind = write_seven_scenes(tmp_path / 'blind', depth=False)
    with pytest.raises(DataError, match=r'not one frame.*4 of 4 pictures have no depth'):
        FolderSequence([blind])
    good = write_seven_scenes(tmp_path / 'good')
    with pytest.raises(DataError, match='not one frame from 90 to 95'):
        FolderSequence([good], first=90, last=95)
    twin = write_seven_scenes(tmp_path / 'other' / 'good')
    with pytest.raises(DataError, match='two folders of one name'):
        FolderSequence([good, twin])
