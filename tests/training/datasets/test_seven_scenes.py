# SPDX-License-Identifier: Apache-2.0
"""7-Scenes: lists with CRLF, both invalid depths, poses of the depth sensor, contiguous parts."""

import pickle

import cv2
import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.formats.kinect import CALIBRATIONS
from geoloc_core.formats.pose_list import write_pose_list
from geoloc_core.geometry import se3
from geoloc_core.geometry.registration import depth_disagreement
from tests.training.datasets.compass import assert_compass, write_compass
from training.datasets.base import UnreadableError
from training.datasets.sample import LabelKind
from training.datasets.seven_scenes import SevenScenes
from training.datasets.seven_scenes_files import read_pose, read_split

H, W = 48, 64


def pose_text(T):
    """As published: tabs, a trailing tab, CRLF, seven digits."""
    return ''.join(''.join(f' {v:.7e}\t' for v in row) + '\r\n' for row in T)


def write_frame(folder, number, T=None, *, grey=100, depth_mm=1500, colour='color.png'):
    folder.mkdir(parents=True, exist_ok=True)
    stem = f'frame-{number:06d}'
    image = np.full((H, W, 3), grey, np.uint8)
    cv2.imwrite(str(folder / f'{stem}.{colour}'), image)
    depth = np.full((H, W), depth_mm, np.uint16)
    depth[:4], depth[4:8] = 0, 65535
    cv2.imwrite(str(folder / f'{stem}.depth.png'), depth)
    T = se3.from_xyz_rpy(0.1 * number, 0.2, 0.3, 0.1, 0.2, 0.3) if T is None else T
    (folder / f'{stem}.pose.txt').write_bytes(pose_text(T).encode())


@pytest.fixture
def scene(tmp_path):
    root = tmp_path / 'hall'
    for sequence in (1, 2):
        for number in range(20):
            write_frame(root / f'seq-{sequence:02d}', number)
    (root / 'TrainSplit.txt').write_bytes(b'sequence2\r\n')
    (root / 'TestSplit.txt').write_bytes(b'sequence1\r\n')
    return root


def test_a_scene_as_published(scene):
    (scene / 'seq-02' / '._frame-000000.color.png').write_bytes(b'macOS')
    train = SevenScenes(scene, 'train', validation=0.0)
    assert list(train.keys) == [f'seq-02/frame-{i:06d}' for i in range(20)]
    assert SevenScenes(scene, 'test').keys[0] == 'seq-01/frame-000000'
    assert train.missing() == () and train.protocol is None
    assert SevenScenes.recognises(scene) and SevenScenes.recognises(scene.parent)
    assert not SevenScenes.recognises(scene / 'TrainSplit.txt')
    sample = train[3]
    assert sample.label is LabelKind.TRUTH and sample.patch is None and sample.datum is None
    assert sample.sequence == 'seq-02' and sample.view.stamp_ns == 100_000_000
    assert pickle.loads(pickle.dumps(train)).keys == train.keys


def test_scenes_beside_each_other_keep_their_names(scene):
    (scene.parent / 'stairs').mkdir()
    for name in ('TrainSplit.txt', 'TestSplit.txt'):
        (scene.parent / 'stairs' / name).write_bytes(b'sequence2\r\n')
    write_frame(scene.parent / 'stairs' / 'seq-02', 7, colour='color.jpg')
    keys = SevenScenes(scene.parent, 'train', validation=0.0).keys
    assert 'hall/seq-02/frame-000000' in keys and keys[-1] == 'stairs/seq-02/frame-000007'


def test_depth_is_metres_and_both_kinds_of_nothing_are_nan(scene):
    depth = SevenScenes(scene, 'train', registered=False)[0].view.depth
    assert depth.dtype == np.float32
    assert np.isnan(depth[:8]).all()
    np.testing.assert_allclose(depth[8:], 1.5)


def test_poses_are_camera_to_world_of_the_depth_sensor(scene):
    T = read_pose(scene / 'seq-02/frame-000003.pose.txt')
    raw = SevenScenes(scene, 'train', registered=False)[3]
    np.testing.assert_allclose(raw.T_map_camera, T, atol=1e-12)
    # base_link is the camera's centre: forward is where the lens looks, up is against y.
    np.testing.assert_allclose(raw.T_map_base[:3, 0], T[:3, 2], atol=1e-12)
    np.testing.assert_allclose(raw.T_map_base[:3, 2], -T[:3, 1], atol=1e-12)
    np.testing.assert_allclose(raw.T_map_base[:3, 3], T[:3, 3], atol=1e-12)
    registered = SevenScenes(scene, 'train')[3]
    moved = se3.inverse(T) @ registered.T_map_camera
    # The colour camera sits 2.56 cm to the depth sensor's right.
    assert np.linalg.norm(moved[:3, 3]) == pytest.approx(0.02564, abs=1e-5)
    assert moved[0, 3] > 0.025
    assert registered.view.camera.fx == pytest.approx(525 * W / 640)
    assert raw.view.camera.fx == pytest.approx(585 * W / 640)


def test_registration_moves_depth_to_the_left(scene):
    depth = np.full((480, 640), np.nan)
    depth = np.zeros((480, 640), np.uint16)
    depth[230:250, 310:330] = 1000
    folder = scene / 'seq-02'
    cv2.imwrite(str(folder / 'frame-000000.depth.png'), depth)
    cv2.imwrite(str(folder / 'frame-000000.color.png'), np.zeros((480, 640, 3), np.uint8))
    for name, calibration in CALIBRATIONS.items():
        sample = SevenScenes(scene, 'train', calibration=name)[0]
        rows, columns = np.nonzero(np.isfinite(sample.view.depth))
        corner = np.array([[-0.5 / 585, -0.5 / 585, 1.0]])
        uv, _ = sample.view.camera.project(se3.transform(calibration.T_colour_depth, corner))
        assert columns.mean() == pytest.approx(uv[0, 0], abs=0.6)
        assert rows.mean() == pytest.approx(uv[0, 1], abs=0.6)
        assert columns.mean() < 312


def test_rotations_are_made_exact_and_non_rotations_refused(scene, tmp_path):
    path = tmp_path / 'pose.txt'
    T = se3.from_xyz_rpy(1, 2, 3, 0.1, 0.2, 0.3)
    T[:3, :3] += np.random.default_rng(0).uniform(-4e-4, 4e-4, (3, 3))
    path.write_text(pose_text(T))
    assert se3.is_rigid(read_pose(path), 1e-12)
    np.testing.assert_allclose(read_pose(path), T, atol=5e-4)
    for bad, text in (
        (T * [[1.05], [1.05], [1.05], [1]], 'no rotation'),
        (T * [[-1], [1], [1], [1]], 'no rotation'),
        (np.full((4, 4), np.nan), 'not finite'),
        (T.T, 'last row'),
    ):
        path.write_text(pose_text(bad))
        with pytest.raises(DataError, match=text):
            read_pose(path)
    for text in ('1 2 3', 'one two', '1 ' * 17):
        path.write_text(text)
        with pytest.raises(UnreadableError, match='sixteen numbers'):
            read_pose(path)


def test_validation_is_the_end_of_each_training_sequence(scene):
    parts = {
        split: [int(key[-6:]) for key in SevenScenes(scene, split, validation=0.3).keys]
        for split in SevenScenes.SPLITS
    }
    assert parts['train'] == list(range(14)) and parts['validation'] == list(range(14, 20))
    assert parts['test'] == list(range(20))


def test_a_folder_of_frames_is_split_by_stretches(tmp_path):
    for number in range(0, 100, 5):
        write_frame(tmp_path / 'seq', number, colour='color.jpg')
    root = tmp_path / 'seq'
    assert SevenScenes.recognises(root) and not SevenScenes.recognises(tmp_path)
    train = SevenScenes(root, 'train', validation=0.0)
    assert [train.keys[0], train.keys[-1]] == ['frame-000000', 'frame-000070']
    assert SevenScenes(root, 'test').keys[0] == 'frame-000075'
    assert train[1].view.stamp_ns == 5 * 10**9 // 30


def test_frames_that_look_aside_can_be_kept_back(tmp_path):
    root = tmp_path / 'seq'
    yaws = {5: 0.9, 6: 0.8, 9: 0.4}
    for number in range(20):
        T = se3.from_xyz_rpy(0.1 * number, 0, 0, 0, 0, 0)
        # The camera turns about its own y, which points down.
        yaw = yaws.get(number, 0.0)
        T[:3, :3] = se3.exp_rotation(np.array([0.0, yaw, 0.0]))
        write_frame(root, number, T)
    options = {'validation': 0.1, 'guard': 0.05, 'aside': 0.15}
    train, validation, test = (SevenScenes(root, name, **options) for name in SevenScenes.SPLITS)
    assert [int(key[-6:]) for key in validation.keys] == [5, 6, 13, 14]
    assert [int(key[-6:]) for key in train.keys] == [0, 1, 2, 3, 4, 7, 8, 10, 11]
    assert test.keys == SevenScenes(root, 'test').keys
    # One whose pose cannot be read is still listed, and refused when it is asked for.
    for text in ('1 0 0', 'nan ' * 16):
        (root / 'frame-000005.pose.txt').write_text(text)
        damaged = SevenScenes(root, 'train', **options)
        assert 5 in [int(key[-6:]) for key in damaged.keys]
        with pytest.raises(DataError, match='frame-000005'):
            damaged.sample(damaged.keys.index('frame-000005'))


def test_reduced_lists_are_told(scene, caplog):
    scene = scene.rename(scene.parent / 'heads')
    (scene / 'TestSplit.txt').unlink()
    (scene / 'test_split.txt').write_text('# sequence1\nsequence2\n')
    dataset = SevenScenes(scene, 'test')
    assert dataset.keys[0] == 'seq-02/frame-000000'
    assert 'leaves out the sequences [1]' in dataset.missing()[0]
    assert 'not comparable' in caplog.text
    assert 'seq-02 holds 20 of 1000 frames' in dataset.missing()[1]


@pytest.mark.parametrize(
    'text, message',
    [
        ('sequence1\r\nsequence 02\r\n\r\n', [1, 2]),
        ('sequence1\nseqence2\n', 'split.txt:2'),
        ('sequence1\nsequence1\n', 'twice'),
        ('# sequence1\n', 'names no sequence'),
    ],
)
def test_split_lists(tmp_path, text, message):
    path = tmp_path / 'split.txt'
    path.write_text(text, newline='')
    if isinstance(message, list):
        assert read_split(path) == message
        return
    with pytest.raises(DataError, match=message):
        read_split(path)


def test_what_is_missing_is_named(scene, tmp_path):
    with pytest.raises(DataError, match='no such folder'):
        SevenScenes(tmp_path / 'nowhere', 'train')
    with pytest.raises(DataError, match='no split'):
        SevenScenes(scene, 'val')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match='unpack those too'):
        SevenScenes(tmp_path / 'empty', 'train')
    (scene / 'seq-02/frame-000004.depth.png').unlink()
    dataset = SevenScenes(scene, 'train', validation=0.0)
    assert len(dataset) == 19 and 'seq-02/frame-000004' not in dataset.keys
    assert 'frame-000004 has no depth' in dataset.missing()[0]
    (scene / 'TrainSplit.txt').write_text('sequence2\nsequence3\n')
    assert 'unpack seq-03.zip' in SevenScenes(scene, 'train').missing()[-1]
    (scene / 'TrainSplit.txt').unlink()
    with pytest.raises(DataError, match=r'no TrainSplit\.txt'):
        SevenScenes(scene, 'train')


def test_damaged_files_are_counted_not_replaced(scene):
    (scene / 'seq-02/frame-000001.color.png').write_bytes(b'not a picture')
    grey = np.zeros((H, W), np.uint8)
    cv2.imwrite(str(scene / 'seq-02/frame-000002.depth.png'), grey)
    small = np.zeros((H - 1, W), np.uint16)
    cv2.imwrite(str(scene / 'seq-02/frame-000003.depth.png'), small)
    (scene / 'seq-02/frame-000004.pose.txt').write_text('1 0 0')
    dataset = SevenScenes(scene, 'train', validation=0.0)
    assert len(list(dataset)) == 16 and dataset.counts.read == 16
    reasons = [reason for _, reason in dataset.counts.unreadable]
    for reason, text in zip(reasons, ('picture', '16-bit', '64 x 48', 'sixteen'), strict=True):
        assert text in reason


def test_two_files_that_claim_one_frame_are_refused(scene):
    write_frame(scene / 'seq-02', 5, colour='color.jpg')
    with pytest.raises(DataError, match='two files claim one frame'):
        SevenScenes(scene, 'train')


@pytest.mark.parametrize(
    'options', [{'validation': 1.5}, {'aside': 1.5}, {'calibration': 'guess'}]
)
def test_impossible_options_are_refused(scene, options):
    with pytest.raises(DataError, match=str(next(iter(options.values())))):
        SevenScenes(scene, 'train', **options)


# ---- the second ground truth ----


def test_poses_of_a_list_take_the_place_of_those_of_the_frames(scene):
    lists = scene.parent / 'pgt'
    lists.mkdir()
    T = se3.from_xyz_rpy(3.0, -1.0, 0.5, 0.4, -0.2, 1.0)
    poses = {f'seq-02/frame-{k:06d}.color.png': T for k in range(18)}
    write_pose_list(lists / 'hall_train.txt', poses)
    train = SevenScenes(scene, 'train', validation=0.0, poses=lists)
    assert len(train) == 18
    assert 'has no pose of 2 of 20 frames of seq-02' in train.missing()[0]
    sample = train[3]
    # Of the colour camera, as they are: nothing is added to them.
    np.testing.assert_allclose(sample.T_map_camera, T, atol=1e-8)
    assert sample.view.camera.fx == pytest.approx(525 * W / 640)
    # A list with focal lengths has them of pictures in full size.
    text = (lists / 'hall_train.txt').read_text().splitlines()
    (lists / 'f.txt').write_text('\n'.join(f'{line} 532.0' for line in text[1:]))
    camera = SevenScenes(scene, 'train', validation=0.0, poses=lists / 'f.txt')[3].view.camera
    assert (camera.fx, camera.fy) == pytest.approx((53.2, 53.2))
    assert (camera.cx, camera.cy) == ((W - 1) / 2, (H - 1) / 2)
    with pytest.raises(DataError, match=r'no list of poses .*hall_test\.txt'):
        SevenScenes(scene, 'test', poses=lists)
    with pytest.raises(DataError, match='leave registered true'):
        SevenScenes(scene, 'train', registered=False, poses=lists)


# ---- the rendered world ----


@pytest.mark.parametrize('registered', [True, False])
def test_what_the_world_writes_is_read_back(tmp_path, registered):
    pytest.importorskip('embreex')
    from geoloc_core.simulation.layouts.seven_scenes import SevenScenesWriter

    places = [
        se3.from_xyz_rpy(1.3, -0.7, 1.5, 0.0, 0.1, 0.1),
        se3.from_xyz_rpy(-0.9, 1.6, 1.6, 0.05, 0.0, 1.8),
    ]
    shots = write_compass(SevenScenesWriter(tmp_path), (320, 240), places)
    samples = [
        sample
        for split in ('train', 'test')
        for sample in SevenScenes(tmp_path, split, validation=0.0, registered=registered)
    ]
    assert len(samples) == len(shots)
    for sample, shot in zip(samples, shots, strict=True):
        if registered:
            np.testing.assert_allclose(sample.T_map_base, shot.T_map_base, atol=1e-6)
            assert_compass(sample)
        else:
            T = shot.T_map_base @ shot.depth_rig.T_base_camera
            np.testing.assert_allclose(sample.T_map_camera, T, atol=1e-6)
            depth = np.where(shot.depth_m < 65.5, shot.depth_m, np.nan)
            np.testing.assert_allclose(sample.view.depth, depth, atol=6e-4)


# ---- the real thing ----


@pytest.fixture(scope='module')
def kitchen(real_data):
    return real_data('seven_scenes_redkitchen', 'seq')


@pytest.mark.parametrize('registered', [True, False])
def test_depth_of_neighbouring_real_frames_agrees(kitchen, registered):
    dataset = SevenScenes(kitchen, 'train', registered=registered, validation=0.0)
    assert len(dataset) == 148 and dataset.missing() == ()
    right, wrong = [], []
    for index in range(0, 149, 12):
        a, b = dataset[index], dataset[index + 1]
        views = a.view.depth, a.view.camera, b.view.depth
        T_b_a = se3.inverse(b.T_map_camera) @ a.T_map_camera
        right.append(np.abs(depth_disagreement(*views, T_b_a)))
        assert right[-1].size > 100_000
        # World-to-camera taken for camera-to-world.
        T_wrong = b.T_map_camera @ se3.inverse(a.T_map_camera)
        wrong.append(np.abs(depth_disagreement(*views, T_wrong)))
    assert np.median(np.concatenate(right)) < 0.008
    # One pair in a quick turn is at 16 mm, all others are well below 15.
    assert np.sum([np.median(pair) > 0.015 for pair in right]) <= 1
    assert np.median(np.concatenate(wrong)) > 0.03


def edge_strength(sample):
    """Colour's gradient where depth jumps, over its mean: high when the two lie on each other."""
    grey = cv2.GaussianBlur(cv2.cvtColor(sample.view.image, cv2.COLOR_RGB2GRAY), (0, 0), 1)
    gradient = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0))[:, 20:-20]
    depth = sample.view.depth[:, 20:-20]
    jump = np.abs(np.diff(depth, axis=1, prepend=depth[:, :1])) > 0.1
    return gradient[jump].mean() / gradient.mean()


def test_registration_brings_real_depth_onto_real_colour(kitchen):
    strength = {}
    for name, options in {
        'none': {'registered': False},
        'liris': {},
        'redkitchen': {'calibration': 'redkitchen'},
    }.items():
        dataset = SevenScenes(kitchen, 'test', **options)
        strength[name] = np.mean([edge_strength(dataset[i]) for i in range(0, 50, 10)])
    assert strength['none'] < strength['liris'] < strength['redkitchen']
    assert strength['redkitchen'] > 1.5 * strength['none']
