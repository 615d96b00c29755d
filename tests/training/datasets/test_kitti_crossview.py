# SPDX-License-Identifier: Apache-2.0
import gzip
import pickle

import cv2
import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.formats.kitti_raw import LAT, LON, VF, VL, YAW
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from tests.training.datasets.kitti_tree import (
    DRIVE,
    make_tree,
    publisher_crop_matrix,
    publisher_truth_px,
    smooth_tile,
    warp_edges,
    write_list,
)
from training.datasets.base import UnreadableError
from training.datasets.kitti_crossview import KittiCrossView, PROTOCOL_GSD

YAWS = (0.7, -2.4, 3.0)
NOISE = ((0.35, -0.9, 0.5), (-0.8, 0.25, -0.95), (0.0, 0.6, 0.1))


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    root = make_tree(tmp_path_factory.mktemp('kitti'), YAWS)
    names = [f'{DRIVE}/{frame:010d}.png' for frame in range(len(YAWS))]
    write_list(root / 'train_files.txt', names, newline_at_end=False)
    noisy = [f'{name} {x} {y} {t}' for name, (x, y, t) in zip(names, NOISE, strict=True)]
    write_list(root / 'test1_files.txt', noisy)
    write_list(root / 'test2_files.txt', noisy, newline_at_end=False)
    return root


@pytest.fixture(scope='module')
def packets(real_data):
    """Drive -> frame -> packet, of the real OXTS archives."""
    found = {}
    for file in sorted(real_data('kitti_oxts_all_drives').glob('*.oxts.txt.gz')):
        name = file.name.split('.')[0]
        with gzip.open(file, 'rt') as lines:
            words = [line.split() for line in lines]
        values = np.array([row[2:] for row in words], dtype=np.float64)
        found[f'{name[:10]}/{name}'] = dict(
            zip([int(row[0]) for row in words], values, strict=True)
        )
    return found


# ---- the publisher's own numbers ----


def test_all_30970_lines_of_the_real_lists_have_their_packet(real_data, packets, tmp_path):
    lists = real_data('crossview_labels', 'kitti')
    counts = {}
    for split in ('trainval', 'test1', 'test2'):
        data = KittiCrossView(tmp_path, split, lists=lists, packets=packets)
        found = np.array([data.packet(index) for index in range(len(data))])
        counts[split] = len(found)
        assert len(set(data.keys)) == len(data)
        # Karlsruhe, and nothing else.
        assert (np.abs(found[:, LAT] - 49.0) < 0.1).all()
        assert (np.abs(found[:, LON] - 8.42) < 0.15).all()
        if split != 'trainval':
            noise = np.array([data.fractions(index) for index in range(len(data))])
            assert np.abs(noise).max() <= 1 and np.abs(noise).max(axis=0).min() > 0.99
            assert np.abs(noise.mean(axis=0)).max() < 0.03
    assert counts == {'trainval': 19655, 'test1': 3773, 'test2': 7542}


def test_real_yaw_is_the_direction_of_motion(packets):
    """OXTS yaw, taken as ours, against the course between neighbouring real positions."""
    drive = '2011_10_03/2011_10_03_drive_0042_sync'
    frames = np.array([packets[drive][frame] for frame in sorted(packets[drive])])
    frame = EnuFrame(Datum(frames[0, LAT], frames[0, LON], 110.0))
    xy = frame.enu_from_geodetic(frames[:, LAT], frames[:, LON], 110.0)[:, :2]
    steps = np.diff(xy[::5], axis=0)
    fast = np.hypot(*steps.T) > 3
    course = np.arctan2(steps[:, 1], steps[:, 0])
    side_slip = np.arctan2(frames[2::5, VL], frames[2::5, VF])[: len(course)]
    yaw = angles.yaw_from_kitti_oxts(frames[2::5, YAW])[: len(course)] + side_slip
    assert np.degrees(np.abs(angles.difference(course, yaw))[fast]).max() < 3.0


def test_validation_is_held_out_of_the_publishers_training_list(real_data, packets, tmp_path):
    lists = real_data('crossview_labels', 'kitti')

    def drives(split, held_out):
        data = KittiCrossView(tmp_path, split, lists=lists, packets=packets, held_out=held_out)
        return data, {key.rsplit('/', 1)[0] for key in data.keys}

    train, train_drives = drives('train', 'drives')
    validation, held = drives('validation', 'drives')
    assert not train_drives & held and len(train) + len(validation) == 19655
    assert 0.08 < len(validation) / 19655 < 0.2
    train, _ = drives('train', 'blocks')
    validation, _ = drives('validation', 'blocks')
    assert not set(train.keys) & set(validation.keys)
    assert 0.05 < len(validation) / 19655 < 0.12
    assert validation.fractions(3, epoch=0) == validation.fractions(3, epoch=7)
    assert train.fractions(3, epoch=0) != train.fractions(3, epoch=7)


# ---- one sign convention ----


@pytest.mark.parametrize('rotation_deg', [10.0, 180.0])
@pytest.mark.parametrize('index', range(3))
def test_our_prior_is_the_publishers_crop(tree, index, rotation_deg):
    """From our sample alone comes their crop, and their truth in it."""
    data = KittiCrossView(tree, 'test1', mount='nominal', rotation_deg=rotation_deg, patch='tile')
    sample = data[index]
    forward, left, turn = se2_between(sample.prior.T_map_base, sample.T_map_base)
    u, v = 256 + forward / PROTOCOL_GSD, 256 - left / PROTOCOL_GSD
    assert (u, v) == pytest.approx(publisher_truth_px(NOISE[index], 20.0, rotation_deg), abs=1e-6)
    theta = np.radians(NOISE[index][2] * rotation_deg)
    assert angles.difference(turn, theta) == pytest.approx(0.0, abs=1e-9)

    # And pixel by pixel: the patch seen from the prior, its heading to the right.
    matrix = publisher_crop_matrix(YAWS[index], NOISE[index], 20.0, rotation_deg)
    theirs = warp_edges(smooth_tile(index), matrix, 512)
    rows, columns = np.mgrid[0:512, 0:512]
    local = np.stack([columns - 255.5, 255.5 - rows], axis=-1) * PROTOCOL_GSD
    x, y, yaw = se3.planar(sample.prior.T_map_base)
    R = se3.rotation_from_rpy(0, 0, yaw)[:2, :2]
    uv = sample.patch.grid.uv_from_xy(local @ R.T + [x, y]).astype(np.float32)
    ours = cv2.remap(sample.patch.image, uv[..., 0], uv[..., 1], cv2.INTER_LINEAR)
    inside = ours.any(axis=-1) & theirs.any(axis=-1)
    assert inside.mean() > 0.9
    error = np.abs(ours.astype(float) - theirs)[inside]
    assert error.mean() < 0.5 and np.percentile(error, 99) < 3


def se2_between(T_map_prior, T_map_base):
    (x0, y0, a0), (x1, y1, a1) = se3.planar(T_map_prior), se3.planar(T_map_base)
    c, s = np.cos(a0), np.sin(a0)
    dx, dy = x1 - x0, y1 - y0
    return c * dx + s * dy, -s * dx + c * dy, a1 - a0


def test_the_crop_shows_the_tile_where_its_grid_says(tree):
    whole = KittiCrossView(tree, 'test1', patch='tile')[1].patch
    sample = KittiCrossView(tree, 'test1', patch_px=300)[1]
    patch = sample.patch
    assert patch.image.shape == (300, 300, 3) and patch.mask.all()
    assert np.abs(np.subtract(patch.grid.center_xy, sample.prior.T_map_base[:2, 3])).max() <= (
        PROTOCOL_GSD / 2 + 1e-9
    )
    u, v = whole.grid.uv_from_xy(patch.grid.xy_from_uv([0, 0]))
    assert u == pytest.approx(round(u), abs=1e-6) and v == pytest.approx(round(v), abs=1e-6)
    u, v = round(float(u)), round(float(v))
    np.testing.assert_array_equal(patch.image, whole.image[v : v + 300, u : u + 300])


def test_ground_size_of_protocol_and_of_the_place(tree):
    assert pytest.approx(0.19583, abs=5e-6) == PROTOCOL_GSD
    true = KittiCrossView(tree, 'test1', gsd='true')[0].patch.grid.gsd
    assert true == pytest.approx(PROTOCOL_GSD, rel=1e-3) and true != PROTOCOL_GSD


# ---- samples ----


def test_training_draws_depend_on_seed_epoch_and_index_alone(tree):
    data = KittiCrossView(tree, 'trainval', seed=5)
    again = pickle.loads(pickle.dumps(KittiCrossView(tree, 'trainval', seed=5)))
    a, b = data.sample(1, epoch=2), again.sample(1, epoch=2)
    np.testing.assert_array_equal(a.prior.T_map_base, b.prior.T_map_base)
    assert not np.array_equal(data.sample(1, epoch=3).prior.T_map_base, a.prior.T_map_base)
    for epoch in range(2, 5):
        sample = data.sample(0, epoch)
        forward, left, turn = se2_between(sample.T_map_base, sample.prior.T_map_base)
        assert max(abs(forward), abs(left)) <= 20 and abs(turn) <= np.radians(10) + 1e-9


def test_camera_follows_the_stored_size(tree):
    camera = KittiCrossView(tree, 'test1')[0].view.camera
    assert (camera.width, camera.height) == (124, 37)
    assert camera.fx == pytest.approx(721.5377 * 124 / 1242)
    assert camera.cy == pytest.approx((172.854 + 0.5) * 37 / 375 - 0.5)


def test_a_real_drive_reads(real_data, tmp_path):
    """Real pictures, packets and calibration; only the satellite tile is made up."""
    day = real_data('kitti_raw_2011_09_26_drive_0013', '2011_09_26')
    (tmp_path / 'raw_data').mkdir()
    (tmp_path / 'raw_data' / '2011_09_26').symlink_to(day)
    folder = tmp_path / 'satmap' / DRIVE
    folder.mkdir(parents=True)
    for frame in (16, 48):
        cv2.imwrite(str(folder / f'{frame:010d}.png'), smooth_tile(frame))
    write_list(
        tmp_path / 'test1_files.txt',
        [f'{DRIVE}/{frame:010d}.png 0.1 -0.2 0.3' for frame in (16, 48)],
    )
    calibrated = KittiCrossView(tmp_path, 'test1')
    nominal = KittiCrossView(tmp_path, 'test1', mount='nominal')
    assert calibrated.missing() == () or list(calibrated.missing()) == []
    assert KittiCrossView.recognises(tmp_path)
    for index in range(2):
        a, b = calibrated[index], nominal[index]
        assert a.view.image.shape == (375, 1242, 3) and a.view.camera.width == 1242
        assert a.view.stamp_ns > 1_300_000_000 * 10**9
        # The publisher's round lever is the real one within 3 cm; the camera looks ahead, level.
        assert np.linalg.norm((a.T_map_base - b.T_map_base)[:2, 3]) < 0.03
        assert a.view.T_base_camera[2, 3] == b.view.T_base_camera[2, 3] == 1.65
        np.testing.assert_allclose(
            a.view.T_base_camera[:3, :3], b.view.T_base_camera[:3, :3], atol=0.03
        )
        packet = calibrated.packet(index)
        assert se3.yaw_of(a.T_map_base) == pytest.approx(packet[YAW])
        assert (a.datum.lat_deg, a.datum.lon_deg) == (packet[LAT], packet[LON])
    assert calibrated.counts.read == 2


# ---- what is wrong is said ----


def test_without_its_lists_nothing_can_be_read(tree, tmp_path):
    with pytest.raises(DataError, match='no such folder'):
        KittiCrossView(tmp_path / 'absent', 'test1')
    with pytest.raises(DataError, match=r'no test1_files\.txt.*HighlyAccurate'):
        KittiCrossView(tmp_path, 'test1')
    with pytest.raises(DataError, match="no split 'test3'"):
        KittiCrossView(tree, 'test3')
    with pytest.raises(ConfigError, match="mount is 'magic'"):
        KittiCrossView(tree, 'test1', mount='magic')
    assert not KittiCrossView.recognises(tmp_path)


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        (f'{DRIVE}/0000000000.png 0.1 0.2', 'three noise fractions'),
        (f'{DRIVE}/0000000000.png 0.1 nan 0.2', 'not within -1..1'),
        (f'{DRIVE}/0000000000.png 0.1 1.2 0.2', 'not within -1..1'),
        (f'{DRIVE}/0000000000.jpg 0.1 0.1 0.2', 'expected <date>/'),
        ('2011_09_26/2011_09_28_drive_0013_sync/0000000000.png 0 0 0', 'expected <date>/'),
        ('', 'is empty'),
    ],
)
def test_damaged_lists_are_refused_with_their_line(tree, tmp_path, line, said):
    write_list(tmp_path / 'test1_files.txt', [line])
    with pytest.raises(DataError, match=said):
        KittiCrossView(tree, 'test1', lists=tmp_path)


def test_a_frame_listed_twice(tree, tmp_path):
    name = f'{DRIVE}/0000000000.png'
    write_list(tmp_path / 'train_files.txt', [name, name])
    with pytest.raises(DataError, match='twice'):
        KittiCrossView(tree, 'trainval', lists=tmp_path)
    write_list(tmp_path / 'test1_files.txt', [f'{name} 0 0 0', f'{name} 0.5 0 0'])
    data = KittiCrossView(tree, 'test1', lists=tmp_path)
    assert data.keys[1] == f'{data.keys[0]}#2'


def test_crlf_and_gzip_lists(tree, tmp_path):
    text = f'{DRIVE}/0000000000.png 0.5 0 0\r\n\r\n{DRIVE}/0000000001.png 0 0 0.25'
    (tmp_path / 'test1_files.txt.gz').write_bytes(gzip.compress(text.encode()))
    data = KittiCrossView(tree, 'test1', lists=tmp_path)
    # The last digit survives although no newline follows.
    assert len(data) == 2 and data.fractions(1) == (0.0, 0.0, -0.25)


def test_missing_and_damaged_files_are_counted_not_invented(tmp_path):
    root = make_tree(tmp_path, YAWS)
    names = [f'{DRIVE}/{frame:010d}.png 0 0 0' for frame in range(3)]
    write_list(root / 'test1_files.txt', names)
    data = KittiCrossView(root, 'test1')
    (root / 'satmap' / DRIVE / '0000000000.png').write_bytes(b'half a download')
    (root / 'raw_data' / DRIVE / 'oxts' / 'data' / '0000000001.txt').write_text('49.0 8.4')
    (root / 'raw_data' / DRIVE / 'image_02' / 'data' / '0000000002.png').unlink()
    assert list(data) == []
    assert [path.parts[-3:][0] for path, _ in data.counts.unreadable]
    assert len(data.counts.unreadable) == 3 and data.counts.read == 0
    with pytest.raises(UnreadableError, match='expected 30 numbers, got 2'):
        data[1]
    assert all(file.parent.exists() for file in data.files(0))


def test_what_is_missing_is_named(tmp_path):
    root = make_tree(tmp_path, YAWS[:1])
    write_list(root / 'test1_files.txt', [f'{DRIVE}/0000000000.png 0 0 0'])
    other = '2011_10_03/2011_10_03_drive_0042_sync'
    write_list(root / 'test2_files.txt', [f'{other}/0000000000.png 0 0 0'])
    assert any('nominal' in line for line in KittiCrossView(root, 'test1').missing())
    text = '\n'.join(KittiCrossView(root, 'test2').missing())
    assert 'satellite tiles of 2011_10_03' in text and 'calibration of 2011_10_03' in text


def test_a_camera_outside_its_tile_is_refused(tmp_path):
    root = make_tree(tmp_path, YAWS[:1], tile=np.full((6, 6, 3), 90, np.uint8))
    write_list(root / 'test1_files.txt', [f'{DRIVE}/0000000000.png 0 0 0'])
    with pytest.raises(DataError, match='outside its tile of 6 x 6'):
        KittiCrossView(root, 'test1')[0]
