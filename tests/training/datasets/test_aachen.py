# SPDX-License-Identifier: Apache-2.0
"""Aachen Day-Night: camera centres that are no translations, half pixels, hidden poses."""

import pickle

import cv2
import numpy as np
import pytest

from geoloc_core.errors import CalibrationError, DataError
from geoloc_core.formats.colmap import camera_from_colmap, read_intrinsics, simple_radial_line
from geoloc_core.formats.nvm import camera_lines, iter_points, read_cameras, read_observations
from geoloc_core.geometry import se3
from tests.training.datasets.compass import assert_compass, write_compass
from training.datasets.aachen import Aachen, write_submission
from training.datasets.sample import LabelKind

H, W = 30, 40
NAMES = ('db/1.jpg', 'db/2.jpg', 'db/10.jpg')
# World -> camera: the camera stands at (4, -2, 7), turned by a right angle about world y.
CENTRE = np.array([4.0, -2.0, 7.0])
MODEL = """NVM_V3 \r

3
./db/1.jpg\t850.5 0.70710678 0 0.70710678 0 4 -2 7 -0.06 0 \r
db/2.jpg\t850.5 1 0 0 0 1 2 3 -0.06 0
db/10.jpg 850.5 0 1 0 0 0 0 0 0 0

2
1.5 2.5 -3.5 10 20 30 2 0 17 1.5 -2.5 2 4 0 0
0 0 9 255 0 1 1 1 3 0.5 0.5

0
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / '3D-models').mkdir()
    (tmp_path / '3D-models/aachen_cvpr2018_db.nvm').write_text(MODEL, newline='')
    lines = [f'{name} SIMPLE_RADIAL {W} {H} 35.0 20.0 15.0 -0.05' for name in NAMES]
    (tmp_path / '3D-models/database_intrinsics.txt').write_text('\n'.join(lines))
    (tmp_path / 'queries').mkdir()
    for part, phone in (('day', 'milestone'), ('night', 'nexus5x')):
        name = f'query/{part}/{phone}/IMG_7.jpg'
        text = f'{name} SIMPLE_RADIAL {W} {H} 36.0 20.0 15.0 0.01\r\n'
        (tmp_path / f'queries/{part}_time_queries_with_intrinsics.txt').write_text(text)
        write_picture(tmp_path / 'images/images_upright' / name)
    for name in NAMES:
        write_picture(tmp_path / 'images/images_upright' / name)
    return tmp_path


def write_picture(path, size=(W, H)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, np.uint8))


def test_the_database_has_poses(root, caplog):
    dataset = Aachen(root, 'train')
    assert list(dataset.keys) == ['db/1.jpg', 'db/10.jpg', 'db/2.jpg']
    assert 'lists 3 pictures, as published 4328' in caplog.text
    assert dataset.missing() == () and dataset.protocol is None
    sample = dataset[0]
    assert sample.label is LabelKind.TRUTH and sample.datum is None and sample.cov is None
    T = sample.T_map_camera
    np.testing.assert_allclose(T[:3, 3], CENTRE)
    # +90 degrees about y takes world x into camera -z: the camera looks along world -x.
    np.testing.assert_allclose(T[:3, 2], [-1, 0, 0], atol=1e-7)
    np.testing.assert_allclose(sample.T_map_base[:3, 0], [-1, 0, 0], atol=1e-7)
    assert pickle.loads(pickle.dumps(dataset)).keys == dataset.keys
    assert Aachen.recognises(root) and not Aachen.recognises(root / 'images')


def test_queries_have_none(root):
    for part in ('day', 'night'):
        sample = Aachen(root, part)[0]
        assert sample.T_map_base is None and sample.T_map_camera is None
        assert sample.label is LabelKind.NONE and sample.view.camera.fx == 36.0
    # The archive also unpacks without the folder 'images'.
    (root / 'images/images_upright').rename(root / 'images_upright')
    assert len(list(Aachen(root, 'day'))) == 1


def test_cameras_are_half_a_pixel_apart_and_radial(root):
    camera = Aachen(root, 'train')[0].view.camera
    assert (camera.cx, camera.cy, camera.fx, camera.fy) == (19.5, 14.5, 35.0, 35.0)
    point = np.array([[0.3, 0.2, 1.0]])
    r2 = 0.3**2 + 0.2**2
    uv, _ = camera.project(point)
    np.testing.assert_allclose(uv[0], 35 * point[0, :2] * (1 - 0.05 * r2) + [19.5, 14.5])
    line = simple_radial_line('x.jpg', camera)
    assert line == f'x.jpg SIMPLE_RADIAL {W} {H} 35 20 15 -0.05'
    for model, params, distortion in (
        ('SIMPLE_PINHOLE', [9, 5, 5], ()),
        ('PINHOLE', [9, 9, 5, 5], ()),
        ('RADIAL', [9, 5, 5, 0.1, 0.2], (0.1, 0.2, 0.0, 0.0)),
        ('OPENCV', [9, 9, 5, 5, 0.1, 0.2, 0.3, 0.4], (0.1, 0.2, 0.3, 0.4)),
    ):
        assert camera_from_colmap(model, 10, 10, params).distortion == distortion
    with pytest.raises(CalibrationError, match='FOV'):
        camera_from_colmap('FOV', 10, 10, [1, 2])
    with pytest.raises(CalibrationError, match='one focal length'):
        simple_radial_line('x', camera_from_colmap('PINHOLE', 10, 10, [9, 8, 5, 5]))


def test_points_stream(root):
    first, second = iter_points(root / '3D-models/aachen_cvpr2018_db.nvm')
    np.testing.assert_array_equal(first.xyz, [1.5, 2.5, -3.5])
    np.testing.assert_array_equal(first.rgb, [10, 20, 30])
    np.testing.assert_array_equal(first.cameras, [0, 2])
    np.testing.assert_array_equal(second.cameras, [1])


def test_pictures_have_the_points_that_were_found_in_them(root):
    found = read_observations(root / '3D-models/aachen_cvpr2018_db.nvm')
    assert list(found) == ['./db/1.jpg', 'db/2.jpg', 'db/10.jpg']
    first, second = [[1.5, 2.5, -3.5]], [[0.0, 0.0, 9.0]]
    for name, wanted in zip(found, (first, second, first), strict=True):
        np.testing.assert_array_equal(found[name], np.array(wanted, np.float32))
    assert Aachen(root, 'train')[0].observed is None
    by_key = {s.key: s.observed for s in Aachen(root, 'train', points=True)}
    # The first picture of the model comes with another name than in the list.
    np.testing.assert_array_equal(by_key['db/1.jpg'], first)
    np.testing.assert_array_equal(by_key['db/2.jpg'], second)
    assert Aachen(root, 'night', points=True)[0].observed is None


def test_fewer_points_are_filled_up(root):
    path = root / '3D-models/aachen_cvpr2018_db.nvm'
    # The second point is seen by camera 1, twice, and by camera 0.
    path.write_text(MODEL.replace('1 1 3 0.5 0.5', '3 1 3 0.5 0.5 0 4 1 1 1 5 2 2'))
    by_key = {s.key: s.observed for s in Aachen(root, 'train', points=True)}
    assert {o.shape for o in by_key.values()} == {(2, 3)}
    np.testing.assert_array_equal(by_key['db/1.jpg'], [[1.5, 2.5, -3.5], [0, 0, 9]])
    np.testing.assert_array_equal(by_key['db/2.jpg'], [[0, 0, 9], [np.nan] * 3])


@pytest.mark.parametrize(
    'old, new, message',
    [
        ('2 0 17 1.5 -2.5 2 4', '2 0 17 1.5 -2.5 3 4', r'point 0 .*cameras \[0, 3\]: .*0 to 2'),
        ('2 0 17 1.5', '2 -1 17 1.5', r'cameras \[-1, 2\]'),
        ('0 0 9 255', '0 nan 9 255', 'is no point'),
        ('0 0 9 255', '0 1e300 9 255', 'is no point'),
        ('255 0 1 1 1 3', '255 0 1 inf 1 3', 'is no point'),
        ('255 0 1 1 1 3', '255 0 1 -1 1 3', 'is no point'),
        ('255 0 1 1 1 3', '255 0 1 0.9 1 3', 'is no point'),
        ('0 0 9 255 0 1 1 1 3 0.5 0.5', '0 0 9 255 0 1 1 1 3', '0 of 1 measurements'),
        (MODEL[MODEL.index('\n2\n') :], '\n0\n', '3 cameras and no point'),
        (MODEL[MODEL.index('\n2\n') :], '', 'expected a count'),
    ],
)
def test_models_without_good_points_are_refused_where_points_are_wanted(root, old, new, message):
    path = root / '3D-models/aachen_cvpr2018_db.nvm'
    assert old in MODEL
    path.write_text(MODEL.replace(old, new, 1))
    assert len(Aachen(root, 'train')) == 3
    with pytest.raises(DataError, match=message):
        Aachen(root, 'train', points=True)


def test_validation_is_one_end_of_the_city(root):
    assert len(Aachen(root, 'validation')) == 0
    # Cameras stand at z = 7, 3 and 0, which is the longest way.
    options = {'validation': 0.4, 'guard': 0.0}
    assert list(Aachen(root, 'validation', **options).keys) == ['db/1.jpg']
    assert list(Aachen(root, 'train', **options).keys) == ['db/10.jpg', 'db/2.jpg']
    assert list(Aachen(root, 'train', validation=0.4, guard=0.4).keys) == ['db/10.jpg']
    assert len(Aachen(root, 'day', **options)) == 1
    assert Aachen(root, 'validation', **options)[0].key == 'db/1.jpg'
    with pytest.raises(DataError, match='validation = 1'):
        Aachen(root, 'train', validation=1.0)


def test_models_are_written_as_they_are_read(tmp_path):
    poses = {f'{i}.jpg': se3.from_xyz_rpy(i, -2, 3, 0.3 * i, -0.2, 2.0) for i in range(12)}
    path = tmp_path / 'model.nvm'
    path.write_text('\n'.join(camera_lines(poses, dict.fromkeys(poses, 700.0))) + '\n')
    back = read_cameras(path)
    assert list(back) == list(poses) and not list(iter_points(path))
    for name, T in poses.items():
        np.testing.assert_allclose(back[name], T, atol=1e-9)


def test_submission_is_world_to_camera_with_base_names(tmp_path):
    T = se3.from_xyz_rpy(1.0, 2.0, 3.0, 0.1, 0.2, 0.3)
    path = tmp_path / 'out.txt'
    write_submission(path, {'query/day/milestone/IMG_7.jpg': T})
    name, *numbers = path.read_text().split()
    w, x, y, z, *t = map(float, numbers)
    assert name == 'IMG_7.jpg'
    np.testing.assert_allclose(se3.from_quaternion(t, [x, y, z, w]), se3.inverse(T), atol=1e-8)
    with pytest.raises(DataError, match='claim the name'):
        write_submission(path, {'a/1.jpg': T, 'b/1.jpg': T})


@pytest.mark.parametrize(
    'old, new, message',
    [
        ('NVM_V3', 'NVM_V3_R9T', 'expected NVM_V3'),
        ('\n3\n', '\n4\n', ':8 is no camera'),
        ('db/2.jpg', 'db/10.jpg', 'two cameras claim'),
        ('1 0 0 0 1 2 3', '0.5 0 0 0 1 2 3', 'length 0.500'),
        ('1 0 0 0 1 2 3', '1 0 0 0 1 nan 3', ':5 is no camera'),
        ('1 0 0 0 1 2 3', '1 0 zero 0 1 2 3', ':5 is no camera'),
        ('1 0 0 0 1 2 3', 'nan nan nan nan 1 2 3', ':5 is no camera'),
        ('1 0 0 0 1 2 3 -0.06 0', '1 0 0 0 1', ':5 is no camera .*cut off'),
        ('\n3\n', '\nthree\n', 'expected a count'),
        ('db/2.jpg', 'db/3.jpg', 'name different pictures'),
    ],
)
def test_damaged_models_are_refused(root, old, new, message):
    path = root / '3D-models/aachen_cvpr2018_db.nvm'
    path.write_text(MODEL.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        Aachen(root, 'train')


def test_half_a_model_is_refused(root):
    path = root / '3D-models/aachen_cvpr2018_db.nvm'
    path.write_text(MODEL[: MODEL.index('db/10.jpg')])
    with pytest.raises(DataError, match='ends after 2 of 3 cameras: fetch it again'):
        Aachen(root, 'train')
    path.write_text(MODEL[: MODEL.index('17 1.5')])
    assert len(read_cameras(path)) == 3
    with pytest.raises(DataError, match='measurements'):
        list(iter_points(path))
    path.unlink()
    with pytest.raises(DataError, match='expected an NVM model'):
        Aachen(root, 'train')


@pytest.mark.parametrize(
    'line, message',
    [
        ('a.jpg SIMPLE_RADIAL 40 30 35 20 15', 'takes 4 parameters'),
        ('a.jpg SIMPLE_RADIAL 40 thirty 35 20 15 0', ':1 is'),
        ('a.jpg', ':1 is'),
        ('a.jpg SIMPLE_RADIAL 40 30 0 20 15 0', 'focal'),
        ('a.jpg PINHOLE 4 3 5 5 2 1\na.jpg PINHOLE 4 3 5 5 2 1', 'two lines claim'),
    ],
)
def test_damaged_lists_are_refused(tmp_path, line, message):
    path = tmp_path / 'list.txt'
    path.write_text(line)
    with pytest.raises(DataError, match=message):
        read_intrinsics(path)


def test_pictures_outside_of_the_data_set_are_not_read(root):
    path = root / 'queries/day_time_queries_with_intrinsics.txt'
    path.write_text('../../secret.jpg SIMPLE_RADIAL 40 30 35 20 15 0\n')
    with pytest.raises(DataError, match='outside of the data set'):
        Aachen(root, 'day')


def test_what_is_missing_is_named(root, tmp_path):
    with pytest.raises(DataError, match='no such folder'):
        Aachen(tmp_path / 'no', 'train')
    (root / 'images/images_upright/db/2.jpg').unlink()
    write_picture(root / 'images/images_upright/db/10.jpg', (H, W))
    dataset = Aachen(root, 'train')
    assert '1 of 3 pictures' in dataset.missing()[0] and 'db/2.jpg' in dataset.missing()[0]
    assert len(list(dataset)) == 1
    reasons = [reason for _, reason in dataset.counts.unreadable]
    assert '40 x 30 pixels' in reasons[0] and 'a picture' in reasons[1]
    (root / '3D-models/aachen_v_1_1').mkdir()
    (root / '3D-models/aachen_cvpr2018_db.nvm').unlink()
    with pytest.raises(DataError, match=r'expected version 1\.0'):
        Aachen(root, 'night')
    (root / '3D-models/aachen_v_1_1').rmdir()
    (root / 'queries/night_time_queries_with_intrinsics.txt').unlink()
    with pytest.raises(DataError, match='night_time_queries'):
        Aachen(root, 'night')


def test_what_the_world_writes_is_read_back(tmp_path):
    pytest.importorskip('embreex')
    from geoloc_core.simulation.layouts.aachen import AachenWriter

    places = [se3.from_xyz_rpy(1.3, -0.7, 0.0, 0.02, 0.05, 0.1), (-0.9, 1.6, 1.8)]
    shots = write_compass(AachenWriter(tmp_path), (320, 240), places)
    dataset = Aachen(tmp_path, 'train')
    truth = {f'db/{s.index}.jpg': s for s in shots if s.split == 'train'}
    assert set(dataset.keys) == set(truth)
    for sample in dataset:
        np.testing.assert_allclose(sample.T_map_camera, truth[sample.key].T_map_camera, atol=1e-9)
        assert_compass(sample)
    for part in ('day', 'night'):
        assert len(list(Aachen(tmp_path, part))) == 2
