# SPDX-License-Identifier: Apache-2.0
"""TUM RGB-D: association by time, 5000 units a metre, which Kinect, poses between stamps."""

import pickle

import cv2
import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.formats.kinect import TUM_CAMERAS
from geoloc_core.geometry import se3
from tests.training.datasets.compass import assert_compass, write_compass
from training.datasets.base import UnreadableError
from training.datasets.sample import LabelKind
from training.datasets.tum_rgbd import read_list, TumRgbd

H, W = 48, 64
NAME = 'rgbd_dataset_freiburg1_xyz'


def pose_at(seconds):
    """A sensor that moves along x and turns about z."""
    return se3.from_xyz_rpy(seconds, 0.5, 1.2, -1.8, 0.0, 0.2 * seconds)


def write_sequence(root, rgb, depth, truth):
    """Lists as published; times in seconds."""
    for part, times in (('rgb', rgb), ('depth', depth)):
        (root / part).mkdir(parents=True)
        lines = ['# color images', '# timestamp filename']
        for t in times:
            image = np.full((H, W, 3) if part == 'rgb' else (H, W), 6000, np.uint16)
            if part == 'depth':
                image[:5] = 0
            else:
                image = np.full((H, W, 3), 50, np.uint8)
            cv2.imwrite(str(root / part / f'{t:.6f}.png'), image)
            lines.append(f'{t:.6f} {part}/{t:.6f}.png')
        (root / f'{part}.txt').write_text('\r\n'.join(lines) + '\r\n', newline='')
    lines = ['# timestamp tx ty tz qx qy qz qw']
    for t in truth:
        T = pose_at(t)
        numbers = [*T[:3, 3], *se3.quaternion_xyzw(T)]
        lines.append(f'{t:.4f} ' + ' '.join(f'{v:.6f}' for v in numbers))
    (root / 'groundtruth.txt').write_text('\n'.join(lines) + '\n')


@pytest.fixture
def sequence(tmp_path):
    root = tmp_path / NAME
    rgb = [100.0 + k / 30 for k in range(20)]
    write_sequence(root, rgb, [t + 0.012 for t in rgb], np.arange(99.9, 100.9, 0.01))
    return root


def test_a_sequence_as_published(sequence):
    dataset = TumRgbd(sequence, 'all')
    assert len(dataset) == 20 and dataset.missing() == () and dataset.protocol is None
    assert dataset.keys[1] == f'{NAME}/100.033333'
    sample = dataset[1]
    assert sample.view.stamp_ns == 100_033_333_000
    assert sample.label is LabelKind.TRUTH and sample.sequence == NAME
    # Camera to world, interpolated between poses 10 ms apart.
    np.testing.assert_allclose(sample.T_map_camera, pose_at(100.033333), atol=1e-5)
    np.testing.assert_allclose(sample.T_map_base[:3, 0], pose_at(100.033333)[:3, 2], atol=1e-5)
    np.testing.assert_allclose(sample.view.depth[5:], 1.2)
    assert np.isnan(sample.view.depth[:5]).all() and sample.view.depth.dtype == np.float32
    assert sample.view.camera.distortion == TUM_CAMERAS[1].distortion
    assert sample.view.camera.fx == pytest.approx(517.306408 / 10)
    assert TumRgbd.recognises(sequence) and TumRgbd.recognises(sequence.parent)
    assert pickle.loads(pickle.dumps(dataset)).keys == dataset.keys
    np.testing.assert_allclose(
        TumRgbd(sequence, 'all', poses='nearest')[1].T_map_camera, pose_at(100.03), atol=1e-6
    )


def test_parts_are_stretches(sequence):
    parts = [
        [k[-10:] for k in TumRgbd(sequence, split, validation=0.2, test=0.25).keys]
        for split in ('train', 'validation', 'test')
    ]
    assert [len(part) for part in parts] == [12, 3, 5]
    assert [key for part in parts for key in part] == [
        k[-10:] for k in TumRgbd(sequence, 'all').keys
    ]


def test_frames_that_look_aside_can_be_kept_back(sequence):
    options = {'validation': 0.0, 'guard': 0.0, 'aside': 0.2}
    train, validation = (TumRgbd(sequence, name, **options) for name in ('train', 'validation'))
    assert len(validation) == 3 and len(train) == 12
    known = TumRgbd(sequence, 'train', validation=0.0, guard=0.0)
    axes = np.array([sample.T_map_camera[:3, 2] for sample in known])
    off = axes @ axes.mean(axis=0)
    assert validation.keys == [known.keys[i] for i in sorted(np.argsort(off)[:3])]
    assert sorted([*train.keys, *validation.keys]) == sorted(known.keys)


def test_association_is_one_to_one_within_20_ms(tmp_path):
    root = tmp_path / NAME
    # The second and third colour pictures are both near the second depth; the last has none.
    rgb, depth = [100.0, 100.03, 100.038, 100.1], [100.019, 100.036, 100.13]
    write_sequence(root, rgb, depth, np.arange(99.9, 100.3, 0.01))
    dataset = TumRgbd(root, 'all')
    assert [k[-10:] for k in dataset.keys] == ['100.000000', '100.038000']
    assert dataset.files(1)[1].name == '100.036000.png'
    assert '2 of 4 pictures have no depth' in dataset.missing()[0]


def test_gaps_of_the_truth_are_not_bridged(tmp_path):
    root = tmp_path / NAME
    rgb = [100.0, 100.2, 100.5]
    write_sequence(root, rgb, rgb, [99.99, 100.01, 100.1, 100.3])
    dataset = TumRgbd(root, 'all')
    assert len(dataset) == 1 and '2 of 3 pictures lie in gaps' in dataset.missing()[0]
    root = tmp_path / f'{NAME}2'
    write_sequence(root, rgb, rgb, [50.0, 51.0])
    with pytest.raises(DataError, match='none of 3 pictures'):
        TumRgbd(root, 'all')


def test_which_kinect_it_was_must_be_known(sequence):
    plain = sequence.rename(sequence.parent / 'desk')
    with pytest.raises(DataError, match='freiburg1, 2 or 3'):
        TumRgbd(plain, 'all')
    camera = TumRgbd(plain, 'all', intrinsics=[500, 510, 320, 240])[0].view.camera
    assert camera.fy == pytest.approx(51.0) and camera.distortion == ()
    for bad in ([500, 510], [0, 510, 320, 240]):
        with pytest.raises(DataError, match='intrinsics'):
            TumRgbd(plain, 'all', intrinsics=bad)


def test_what_is_missing_or_damaged_is_named(sequence, tmp_path):
    (tmp_path / 'empty').mkdir()
    for folder, text in ((tmp_path / 'no', 'no such folder'), (tmp_path / 'empty', 'no sequence')):
        with pytest.raises(DataError, match=text):
            TumRgbd(folder, 'all')
    with pytest.raises(DataError, match='choose one'):
        TumRgbd(sequence, 'val')
    with pytest.raises(DataError, match='poses'):
        TumRgbd(sequence, 'all', poses='guess')
    (sequence / 'rgb/100.000000.png').write_bytes(b'\x89PNG')
    cv2.imwrite(str(sequence / 'depth/100.045333.png'), np.zeros((H, W), np.uint8))
    (sequence / 'depth/100.078667.png').unlink()
    dataset = TumRgbd(sequence, 'all')
    assert len(list(dataset)) == 17 and len(dataset.counts.unreadable) == 3
    with pytest.raises(UnreadableError, match='16-bit'):
        dataset.sample(1)
    (sequence / 'groundtruth.txt').write_text('1.0 2.0\n')
    with pytest.raises(DataError, match=r'groundtruth\.txt:1'):
        TumRgbd(sequence, 'all')
    (sequence / 'groundtruth.txt').unlink()
    with pytest.raises(DataError, match='no trajectory file'):
        TumRgbd(sequence, 'all')
    (sequence / 'depth.txt').unlink()
    with pytest.raises(DataError, match=r'depth\.txt is absent'):
        TumRgbd(sequence, 'all')


@pytest.mark.parametrize(
    'text, message',
    [
        ('1.0 a.png\n1.0 b.png\n', 'claim the stamp'),
        ('1.0 a.png\n2.0 a.png\n', 'claim the file'),
        ('1.0 a.png\nx b.png\n', ':2 is'),
        ('1.0\n', ':1 is'),
        ('1.0 ../../b.png\n', 'outside of the data set'),
        ('1.0 /etc/b.png\n', 'outside of the data set'),
    ],
)
def test_lists_that_contradict_themselves_are_refused(tmp_path, text, message):
    (tmp_path / 'rgb.txt').write_text(text)
    with pytest.raises(DataError, match=message):
        read_list(tmp_path / 'rgb.txt')


def test_what_the_world_writes_is_read_back(tmp_path):
    pytest.importorskip('embreex')
    from geoloc_core.simulation.layouts.tum import TumWriter

    # At eye height, or the plain's horizon would hide behind the poles' feet.
    places = [
        se3.from_xyz_rpy(1.3, -0.7, 1.5, 0.0, 0.1, 0.1),
        se3.from_xyz_rpy(-0.9, 1.6, 1.6, 0.05, 0.0, 1.8),
    ]
    shots = write_compass(TumWriter(tmp_path), (320, 240), places)
    dataset = TumRgbd(tmp_path, 'all')
    assert len(dataset) == len(shots)
    by_stamp = {shot.stamp_ns: shot for shot in shots}
    for sample in dataset:
        shot = by_stamp[sample.view.stamp_ns]
        np.testing.assert_allclose(sample.T_map_camera, shot.T_map_camera, atol=2e-4)
        depth = np.where(shot.depth_m * 5000 < 65535.5, shot.depth_m, np.nan)  # 16 bits end there
        np.testing.assert_allclose(sample.view.depth, depth, atol=1.1e-4, equal_nan=True)
        assert_compass(sample)
