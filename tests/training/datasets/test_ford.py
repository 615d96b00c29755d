# SPDX-License-Identifier: Apache-2.0
import pickle
import shutil

import cv2
import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.formats import ford as files
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.layouts.ford import FordWriter
from tests.training.datasets.compass import assert_compass, PLACES, write_compass
from tests.training.datasets.kitti_tree import smooth_tile, warp_edges
from training.datasets.base import AbsentError, UnreadableError
from training.datasets.ford import Ford, PROTOCOL_GSD, TEST_LOGS, TRAIN_LOGS

TRAIN, TEST = '2017-10-26/V2/Log4', '2017-08-04/V2/Log4'
# A list's numbers, not made by our own code: heading 60 degrees (clockwise from north).
HALF = np.radians(60.0) / 2
LINE = f'1509000000000000.png {np.cos(HALF)} 0 0 {np.sin(HALF)} 42.2943 -83.2101 42.2942 -83.2100'


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """(root, shots) of the compass plain in Ford's layout."""
    pytest.importorskip('embreex')
    root = tmp_path_factory.mktemp('ford')
    return root, write_compass(FordWriter(root), size=(414, 215), places=PLACES[:2])


@pytest.fixture
def tree(tmp_path):
    """One line of a test list by hand, with a tile of blobs."""
    log = tmp_path / TEST
    for name in (files.image_folder(TEST), files.SATELLITE_FOLDER):
        (log / name).mkdir(parents=True)
    cv2.imwrite(
        str(log / files.image_folder(TEST) / '1509000000000000.png'),
        np.full((86, 165, 3), 80, np.uint8),
    )
    tile = log / files.SATELLITE_FOLDER / '42.2942_-83.2100.png'
    cv2.imwrite(str(tile), smooth_tile(3)[..., ::-1])
    (log / files.TEST_LIST_FILE).write_text(f'{LINE} 0.6 -0.3 0.8')
    calibration = tmp_path / files.CALIBRATION_FOLDER
    calibration.mkdir(parents=True)
    (calibration / files.EXTRINSICS_FILE).write_text(
        'transform:\n  translation: {x: 1.6, y: -0.5, z: -0.9}\n'
        '  rotation: {x: 0.5, y: 0.5, z: 0.5, w: 0.5}\n'
    )
    (calibration / files.INTRINSICS_FILE).write_text(
        'K: [945.39, 0.0, 855.5, 0.0, 945.67, 566.37, 0.0, 0.0, 1.0]\n'
    )
    return tmp_path


# ---- one sign convention ----


@pytest.mark.parametrize('split', ['trainval', 'test'])
def test_compass_rose(world, split):
    root, shots = world
    data = Ford(root, split, gsd='true')
    assert len(data) == 2 and list(data.missing()) == []
    for sample in data:
        assert_compass(sample, datum=shots[0].frame.datum)
    protocol = Ford(root, split)[0]
    # The published 0.22 m/px and sphere are 0.4 % off: 8 m away, 4 cm.
    assert_compass(protocol, datum=shots[0].frame.datum, tol_m=0.2)


def test_poses_come_back(world):
    root, shots = world
    by_stamp = {shot.stamp_ns: shot for shot in shots}
    for split in ('trainval', 'test'):
        for sample in Ford(root, split, gsd='true'):
            shot = by_stamp[sample.view.stamp_ns]
            lat, lon, alt = EnuFrame(sample.datum).geodetic_from_enu(sample.T_map_base[:3, 3])
            xyz = shot.frame.enu_from_geodetic(lat, lon, alt)
            np.testing.assert_allclose(xyz[:2], shot.T_map_base[:2, 3], atol=2e-4)
            turn = angles.difference(se3.yaw_of(sample.T_map_base), se3.yaw_of(shot.T_map_base))
            # The two map frames differ by the convergence over some metres.
            assert abs(turn) < 2e-6
            np.testing.assert_allclose(sample.view.T_base_camera, shot.T_base_camera, atol=1e-9)
            assert sample.view.camera == shot.camera
            np.testing.assert_array_equal(sample.view.image, shot.image)


def test_a_heading_clockwise_from_north_in_a_frame_with_z_down(tree):
    sample = Ford(tree, 'test', log=4)[0]
    assert np.degrees(se3.yaw_of(sample.T_map_base)) == pytest.approx(30.0, abs=1e-3)
    x, y = sample.T_map_base[:2, 3]
    # North-west of the tile's middle: 1e-4 degree is 11.1 m of latitude, 8.2 m of longitude.
    assert x == pytest.approx(-8.24, abs=0.05) and y == pytest.approx(11.13, abs=0.05)
    T = sample.view.T_base_camera
    np.testing.assert_allclose(T[:3, 3], [1.6, 0.5, 1.65])
    np.testing.assert_allclose(T[:3, 2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(T[:3, 1], [0, 0, -1], atol=1e-12)
    assert sample.view.stamp_ns == 1509000000000000 * 1000
    assert sample.view.camera.fx == pytest.approx(945.39 * 165 / 1656)


def test_our_prior_is_the_publishers_crop(tree):
    """Written from the published description: heading up, shift, turn, middle cut out."""
    sample = Ford(tree, 'test', patch='tile')[0]
    x, y = sample.T_map_base[:2, 3]
    turn, theta = np.radians(60.0), np.radians(8.0)

    def move(du, dv):
        return np.array([[1, 0, du], [0, 1, dv], [0, 0, 1.0]])

    def rotate(a):
        c, s = np.cos(a), np.sin(a)
        R = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
        return move(640, 640) @ R @ move(-640, -640)

    chain = rotate(turn) @ move(-x / PROTOCOL_GSD, y / PROTOCOL_GSD)
    chain = move(-0.6 * 20 / PROTOCOL_GSD, 0.3 * 20 / PROTOCOL_GSD) @ chain
    chain = move(256 - 640, 256 - 640) @ rotate(theta) @ chain
    theirs = warp_edges(smooth_tile(3), chain[:2], 512)
    body = chain @ [640 + x / PROTOCOL_GSD, 640 - y / PROTOCOL_GSD, 1.0]

    px, py, yaw = se3.planar(sample.prior.T_map_base)
    c, s = np.cos(yaw), np.sin(yaw)
    forward, left = c * (x - px) + s * (y - py), -s * (x - px) + c * (y - py)
    assert (256 - left / PROTOCOL_GSD, 256 - forward / PROTOCOL_GSD) == pytest.approx(body[:2])
    assert se3.yaw_of(sample.T_map_base) - yaw == pytest.approx(theta)

    rows, columns = np.mgrid[0:512, 0:512]
    ahead, left = (255.5 - rows) * PROTOCOL_GSD, (255.5 - columns) * PROTOCOL_GSD
    xy = np.stack([px + c * ahead - s * left, py + s * ahead + c * left], axis=-1)
    uv = sample.patch.grid.uv_from_xy(xy).astype(np.float32)
    ours = cv2.remap(sample.patch.image, uv[..., 0], uv[..., 1], cv2.INTER_LINEAR)
    inside = ours.any(axis=-1) & theirs.any(axis=-1)
    error = np.abs(ours.astype(float) - theirs)[inside]
    assert inside.mean() > 0.9 and error.mean() < 0.5


# ---- splits ----


def test_published_lines_are_taken(tmp_path):
    log = tmp_path / TRAIN_LOGS[3][0]
    log.mkdir(parents=True)
    words = LINE.split()
    lines = [' '.join([f'{i:016d}.png', *words[1:]]) for i in range(1600)]
    (log / files.LIST_FILE).write_text('\n'.join(lines))
    whole = Ford(tmp_path, 'trainval', log=3)
    assert len(whole) == 1500 and whole.keys[-1].endswith(f'{1499:016d}')
    train, validation = Ford(tmp_path, 'train', log=3), Ford(tmp_path, 'validation', log=3)
    assert not set(train.keys) & set(validation.keys) and 90 < len(validation) < 210
    assert len(Ford(tmp_path, 'trainval', log=TRAIN_LOGS[3][0])) == 1600
    assert len(Ford(tmp_path, 'trainval', log=3, ranges=[(5, 9), (20, 21)])) == 5
    assert len(set(TEST_LOGS.values()) | {f for f, _ in TRAIN_LOGS.values()}) == 11
    (log / files.LIST_FILE).write_text('\n'.join(lines[:700]))
    assert 'has 700 lines' in Ford(tmp_path, 'trainval', log=3).short[0]


def test_draws_and_pickle(world):
    root, _ = world
    data = pickle.loads(pickle.dumps(Ford(root, 'trainval', seed=4)))
    assert data.fractions(0, 1) == Ford(root, 'trainval', seed=4).fractions(0, 1)
    assert data.fractions(0, 1) != data.fractions(0, 2)
    test = Ford(root, 'test')
    assert test.fractions(0, 1) == test.fractions(0, 2)
    patch = data[0].patch
    assert patch.image.shape == (512, 512, 3) and patch.mask.all()


# ---- what is wrong is said ----


def test_absent_parts(tree, tmp_path_factory):
    empty = tmp_path_factory.mktemp('empty')
    with pytest.raises(DataError, match='no such folder'):
        Ford(empty / 'absent', 'test')
    with pytest.raises(DataError, match='no list of the test split'):
        Ford(empty, 'test')
    with pytest.raises(DataError, match='comes with the satellite tiles'):
        Ford(tree, 'trainval', log=2)
    with pytest.raises(ConfigError, match='log is 9'):
        Ford(tree, 'test', log=9)
    assert Ford.recognises(tree) and not Ford.recognises(empty)
    shutil.rmtree(tree / files.CALIBRATION_FOLDER)
    data = Ford(tree, 'test')
    assert len(data.missing()) == 2
    with pytest.raises(DataError, match='Calibration-V2 archive'):
        data[0]


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        (LINE, 'u v theta'),
        (f'{LINE} 0.1 0.2 1.4', 'not within -1..1'),
        (f'{LINE} 0.1 0.2 zero', 'u v theta'),
        (f'{LINE} 0.1 inf 0.2', 'u v theta'),
    ],
)
def test_damaged_lines(tree, line, said):
    (tree / TEST / files.TEST_LIST_FILE).write_text(line)
    with pytest.raises(DataError, match=said):
        Ford(tree, 'test')


def test_labels_that_cannot_be_true(tree):
    words = LINE.split()
    file = tree / TEST / files.TEST_LIST_FILE
    far = [*words[:5], '42.3200', *words[6:]]
    file.write_text(' '.join([*far, '0 0 0']))
    with pytest.raises(DataError, match='m north of the middle of its tile'):
        Ford(tree, 'test')[0]
    file.write_text(' '.join([words[0], '0', '0', '0', '0', *words[5:], '0 0 0']))
    with pytest.raises(DataError, match='is no rotation'):
        Ford(tree, 'test')[0]


def test_two_lines_of_one_picture(tree):
    log = tree / TRAIN
    log.mkdir(parents=True)
    (log / files.LIST_FILE).write_text(f'{LINE}\n{LINE}\n')
    with pytest.raises(DataError, match='twice'):
        Ford(tree, 'trainval', log=TRAIN)


def test_unreadable_pictures_are_counted(tree):
    data = Ford(tree, 'test')
    data.files(0)[1].write_bytes(b'\x89PNG half')
    with pytest.raises(UnreadableError, match='whole picture'):
        data[0]
    data.files(0)[0].unlink()
    assert list(data) == [] and len(data.counts.unreadable) == 2


def test_an_empty_list_is_damage_and_none_is_an_absent_split(tree):
    (tree / TEST / files.TEST_LIST_FILE).write_text('')
    with pytest.raises(DataError, match='is empty'):
        Ford(tree, 'test')
    with pytest.raises(AbsentError, match='has no list of the trainval split'):
        Ford(tree, 'trainval')
