# SPDX-License-Identifier: Apache-2.0
"""Bags as training data: GNSS labels, patches around priors, what is missing is named."""

import pickle
from shutil import copy

import numpy as np
import pytest

from geoloc_core.bags import messages, topics
from geoloc_core.bags.reader import read_bag
from geoloc_core.bags.writer import BagWriter
from geoloc_core.errors import DataError
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.compass import COMPASS_DATUM
from geoloc_core.simulation.layouts.base import Rig
from geoloc_core.simulation.robots.drive import mounted
from geoloc_core.simulation.world import write_geotiff
from tests.training.datasets.compass import assert_compass, compass_orthophoto, compass_shots
from training.datasets.bags import Bags
from training.datasets.base import UnreadableError
from training.datasets.sample import LabelKind

pytest.importorskip('rosbags')
pytest.importorskip('embreex')

CAMERA = PinholeCamera(320, 200, 170.0, 165.0, 157.0, 104.0, (-0.05, 0.01, 0.0, 0.0, 0.0))
RIG = Rig(CAMERA, mounted(0.5, 0.2, 1.6, 4.0))
ARM = np.array([-0.6, 0.3, 1.9])
START_NS = 1_700_000_000 * 10**9
SECONDS, SPEED = 10.0, 1.4
STD = 0.05


def pose(t):
    """A straight drive between the poles."""
    yaw = 0.35
    way = SPEED * (t - SECONDS / 2)
    return se3.from_planar(way * np.cos(yaw) + 0.5, way * np.sin(yaw) - 1.0, yaw)


def stamp(t):
    return START_NS + round(t * 1e9)


@pytest.fixture(scope='module')
def shots():
    times = [2.03 + 0.8 * k for k in range(8)]
    made = compass_shots(RIG, places=[pose(t) for t in times])
    return list(zip(times, made, strict=True))


@pytest.fixture(scope='module')
def map_path(tmp_path_factory):
    photo = compass_orthophoto(gsd=0.15, reach_m=50.0)
    path = tmp_path_factory.mktemp('map') / 'map.tif'
    write_geotiff(path, photo.image, photo.grid, COMPASS_DATUM)
    return path


def write_bag(
    path, shots, *, odometry=True, tf=True, image=True, info=True, fix=True, depth=None,
    damaged=(), status=0, clock_ns=0, datum=COMPASS_DATUM, storage='mcap',
):  # fmt: skip
    frame = EnuFrame(datum)
    items = []
    for k, (t, shot) in enumerate(shots):
        if info:
            K = CAMERA.K
            items.append(
                (t, topics.CAMERA_INFO,
                 messages.camera_info_msg(stamp(t), 320, 200, K, CAMERA.distortion))
            )  # fmt: skip
        if image:
            message = messages.image_msg(stamp(t) + clock_ns, shot.image)
            if k in damaged:
                message = messages.image_msg(stamp(t), shot.image[:100])
            items.append((t, topics.IMAGE, message))
        if depth is not None:
            values, frame_id = depth(shot)
            message = messages.image_msg(stamp(t) + 7_000_000, values, '16UC1', frame_id)
            items.append((t, topics.DEPTH, message))
            wide = messages.camera_info_msg(stamp(t), 320, 200, CAMERA.K)
            items.append((t, '/camera/depth/camera_info', wide))
    for t in np.arange(0.0, SECONDS, 0.2) if fix else ():
        x, y, z = se3.transform(pose(t), ARM)
        lat, lon, alt = frame.geodetic_from_enu([x, y, z])
        message = messages.fix_msg(stamp(t), lat, lon, alt, np.eye(3) * STD**2, status)
        items.append((t, topics.FIX, message))
    T_odom_map = se3.from_planar(7.0, 3.0, -1.2)
    for t in np.arange(0.0, SECONDS, 0.1) if odometry else ():
        items.append((t, topics.ODOMETRY, messages.odometry_msg(stamp(t), T_odom_map @ pose(t))))
    with BagWriter(path, storage) as bag:
        if tf:
            mounts = [
                (topics.BASE_FRAME, topics.CAMERA_FRAME, RIG.T_base_camera),
                (topics.BASE_FRAME, topics.GNSS_FRAME, se3.make(np.eye(3), ARM)),
                (topics.CAMERA_FRAME, 'depth_frame', se3.make(np.eye(3), [0.05, 0.0, 0.0])),
            ]
            bag.write(topics.TF_STATIC, messages.static_transforms_msg(START_NS, mounts), START_NS)
        for t, topic, message in sorted(items, key=lambda item: item[0]):
            bag.write(topic, message, stamp(t))
    return path


@pytest.fixture(scope='module')
def bag(tmp_path_factory, shots, map_path):
    return write_bag(tmp_path_factory.mktemp('bag') / 'drive', shots)


def open_bag(path, map_path, split='all', **options):
    options = {'patch_m': 30.0, 'search_m': 5.0, 'gsd': 0.1} | options
    return Bags(path, split, map=map_path, **options)


def test_compass_and_labels(bag, map_path, shots):
    dataset = open_bag(bag, map_path)
    assert len(dataset) == 8 and not dataset.left_out and dataset.missing() == ()
    for (t, shot), sample in zip(shots, dataset, strict=True):
        assert sample.key == f'drive/{stamp(t)}' and sample.view.stamp_ns == stamp(t)
        assert sample.label is LabelKind.GNSS and sample.sequence == 'drive'
        assert_compass(sample, tol_m=0.3)
        # Seen from the compass's own datum the pose is that of the drive.
        lat, lon, _ = EnuFrame(sample.datum).geodetic_from_enu(sample.T_map_base[:3, 3])
        xyz = EnuFrame(COMPASS_DATUM).enu_from_geodetic(lat, lon, COMPASS_DATUM.alt_m)
        np.testing.assert_allclose(xyz[:2], shot.T_map_base[:2, 3], atol=0.02)
        assert se3.yaw_of(sample.T_map_base) == pytest.approx(0.35, abs=0.02)
        assert sample.datum.alt_m == pytest.approx(COMPASS_DATUM.alt_m, abs=0.01)
        assert np.sqrt(sample.cov[0, 0]) == pytest.approx(STD, abs=0.03)


def test_the_patch_lies_around_the_prior(bag, map_path):
    dataset = open_bag(bag, map_path, seed=3, half_yaw_deg=20.0)
    sample, again, other = dataset[2], dataset.sample(2), dataset.sample(2, epoch=1)
    prior = sample.prior.T_map_base
    assert sample.patch.grid.center_xy == pytest.approx(prior[:2, 3])
    assert sample.patch.image.shape == (300, 300, 3) and sample.patch.coverage > 0.95
    offset = prior[:2, 3] - sample.T_map_base[:2, 3]
    assert np.abs(offset).max() <= 5.0 and np.abs(offset).max() > 0.01
    turn = se3.yaw_of(prior) - se3.yaw_of(sample.T_map_base)
    assert abs(turn) <= np.radians(20)
    np.testing.assert_array_equal(again.prior.T_map_base, prior)
    assert not np.array_equal(other.prior.T_map_base, prior)
    # The label's own error comes on top of the draw.
    assert sample.prior.cov[0, 0] > 25 / 3 + STD**2
    test = open_bag(bag, map_path, 'test', seed=3)
    np.testing.assert_array_equal(
        test.sample(0, 5).prior.T_map_base, test.sample(0, 0).prior.T_map_base
    )


def test_an_unknown_yaw_is_said_to_be_unknown(tmp_path, shots, map_path):
    path = write_bag(tmp_path / 'drive', shots, odometry=False)
    dataset = open_bag(path, map_path, assume_forward=False, half_yaw_deg=10.0)
    sample = dataset[3]
    assert sample.cov[5, 5] == pytest.approx(np.pi**2 / 3)
    assert sample.prior.cov[5, 5] == pytest.approx(np.pi**2 / 3, rel=1e-3)
    # With the course over ground it is known again.
    assert open_bag(path, map_path)[3].cov[5, 5] < 0.05


def test_parts_are_stretches_and_thinned(bag, map_path):
    parts = [
        open_bag(bag, map_path, split, validation=0.34).keys
        for split in ('train', 'validation', 'test')
    ]
    assert [len(part) for part in parts] == [4, 2, 2]
    assert [key for part in parts for key in part] == list(open_bag(bag, map_path).keys)
    thinned = open_bag(bag, map_path, min_step_m=2.0)
    assert len(thinned) == 4 and thinned.left_out == {'nearer than min_step_m': 4}


def test_folders_files_and_other_storages(tmp_path, shots, map_path):
    write_bag(tmp_path / 'b', shots, storage='sqlite3')
    write_bag(tmp_path / 'a', shots[:4])
    (tmp_path / 'map.tif').write_bytes(map_path.read_bytes())
    dataset = Bags(tmp_path, 'all')
    assert [len([k for k in dataset.keys if k.startswith(x)]) for x in 'ab'] == [4, 8]
    assert dataset[0].sequence == 'a' and dataset[11].sequence == 'b'
    (lone,) = (tmp_path / 'a').glob('*.mcap')
    assert len(open_bag(lone, map_path)) == 4
    for path in (tmp_path, tmp_path / 'a', lone):
        assert Bags.recognises(path)
    assert not Bags.recognises(tmp_path / 'map.tif') and not Bags.recognises(tmp_path / 'no')


def test_other_processes_open_the_bag_anew(bag, map_path):
    dataset = open_bag(bag, map_path)
    first = dataset[1]
    other = pickle.loads(pickle.dumps(dataset))[1]
    np.testing.assert_array_equal(first.view.image, other.view.image)
    np.testing.assert_array_equal(first.patch.image, other.patch.image)


def test_depth_is_laid_on_the_picture(tmp_path, shots, map_path):
    def of_the_camera(shot):
        mm = np.nan_to_num(np.minimum(shot.depth_m, 60.0) * 1000).astype(np.uint16)
        return mm, topics.CAMERA_FRAME

    path = write_bag(tmp_path / 'same', shots[:3], depth=of_the_camera)
    for (_, shot), sample in zip(shots, open_bag(path, map_path), strict=False):
        near = shot.depth_m < 50
        np.testing.assert_allclose(sample.view.depth[near], shot.depth_m[near], atol=1e-3)
        assert_compass(sample, tol_m=0.3)
    assert open_bag(path, map_path, depth=False)[0].view.depth is None

    def of_a_sensor(shot):
        return np.full((200, 320), 4000, np.uint16), 'depth_frame'

    sample = open_bag(write_bag(tmp_path / 'own', shots[:3], depth=of_a_sensor), map_path)[0]
    known = np.isfinite(sample.view.depth)
    np.testing.assert_allclose(sample.view.depth[known], 4.0, atol=1e-3)
    # The sensor sits 5 cm to the camera's right: its left edge does not reach the picture's.
    assert known[100, 160] and not known[100, 0]


def test_mounts_that_the_bag_does_not_tell_must_be_given(tmp_path, shots, map_path):
    path = write_bag(tmp_path / 'drive', shots, tf=False)
    with pytest.raises(DataError, match='give camera_xyz and camera_rpy'):
        open_bag(path, map_path)[0]
    dataset = open_bag(
        path, map_path, camera_xyz=[0.5, 0.2, 1.6], camera_rpy=[0, np.radians(4.0), 0],
        antenna_xyz=ARM.tolist(),
    )  # fmt: skip
    sample = dataset[3]
    np.testing.assert_allclose(sample.view.T_base_camera, RIG.T_base_camera, atol=1e-12)
    assert_compass(sample, tol_m=0.3)
    # Without its lever arm the position is known less well.
    loose = open_bag(path, map_path, camera_xyz=[0.5, 0.2, 1.6])[3]
    assert loose.cov[0, 0] > 0.9


def test_base_link_is_put_on_the_ground(bag, map_path):
    low, high = open_bag(bag, map_path)[2], open_bag(bag, map_path, base_height_m=0.3)[2]
    raised = high.T_map_camera - low.T_map_camera
    np.testing.assert_allclose(raised[:3, 3], [0, 0, 0.3], atol=1e-6)
    assert high.T_map_base[2, 3] == 0.0 and high.datum.alt_m < low.datum.alt_m - 0.29


def test_damaged_pictures_are_counted(tmp_path, shots, map_path):
    dataset = open_bag(write_bag(tmp_path / 'drive', shots, damaged=(1, 4)), map_path)
    assert len(list(dataset)) == 6 and len(dataset.counts.unreadable) == 2
    with pytest.raises(UnreadableError, match=r'image is 320 x 100, camera_info is for 320 x 200'):
        dataset[1]


def test_what_is_missing_is_named(tmp_path, shots, map_path):
    for name, options, text in (
        ('image', {'image': False}, 'has no image'),
        ('info', {'info': False}, 'has no camera_info'),
        ('fix', {'fix': False}, 'has no fix'),
        ('never', {'status': -1}, 'the receiver never had one'),
        ('clock', {'clock_ns': 10**12}, 'stamp with one clock'),
    ):
        path = write_bag(tmp_path / name, shots[:2], **options)
        with pytest.raises(DataError, match=text):
            open_bag(path, map_path)
    path = write_bag(tmp_path / 'elsewhere', shots[:2], datum=type(COMPASS_DATUM)(48.0, 9.0, 0.0))
    with pytest.raises(DataError, match='is it the map of this drive'):
        open_bag(path, map_path)
    with pytest.raises(DataError, match='give map ='):
        Bags(path, 'all')
    with pytest.raises(DataError, match='does not exist'):
        open_bag(path, tmp_path / 'no.tif')
    with pytest.raises(DataError, match='no such folder'):
        open_bag(tmp_path / 'nothing', map_path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match='holds no bag'):
        open_bag(tmp_path / 'empty', map_path)
    (tmp_path / 'torn.bag').write_bytes(b'#ROSBAG V2.0\n' + bytes(100))
    with pytest.raises(DataError, match='cannot be read as a bag'):
        open_bag(tmp_path / 'torn.bag', map_path)


def test_two_bags_of_one_name_are_refused(tmp_path, shots, map_path):
    folder = write_bag(tmp_path / 'drive', shots[:2])
    copy(next(folder.glob('*.mcap')), tmp_path / 'drive.mcap')
    with pytest.raises(DataError, match='claim the name drive'):
        open_bag(tmp_path, map_path)


def test_a_validation_prior_is_drawn_once(bag, map_path):
    kept = open_bag(bag, map_path, split='validation', validation=0.5)
    priors = [kept.sample(0, epoch).prior.T_map_base for epoch in (0, 3)]
    np.testing.assert_array_equal(*priors)


@pytest.mark.parametrize(
    'options, text',
    [
        ({'topics': {'image': '/none'}}, 'has no topic /none'),
        ({'topics': {'picture': '/x'}}, 'KIND'),
        ({'search_m': 20.0}, 'twice search_m'),
        ({'half_yaw_deg': 0.0}, 'half_yaw_deg'),
        ({'test': 2.0}, 'test = 2.0'),
        ({'split': 'val'}, 'choose one'),
    ],
)
def test_impossible_options_are_refused(bag, map_path, options, text):
    with pytest.raises(DataError, match=text):
        open_bag(bag, map_path, **options)


def test_a_real_bag_without_a_camera_says_so(real_data):
    with pytest.raises(DataError, match=r'rl_test1\.bag has no image .*it has: /fix \['):
        open_bag(real_data('rosbags_real', 'rl_test1.bag'), None)


# ---- whole drives ----


def errors_of(dataset, bag_path):
    """(position errors (N, 2), their deviations (N, 2), yaw errors (N,) and deviations)."""
    with read_bag(bag_path) as reader:
        truth, frame = reader.truth(), EnuFrame(reader.truth_datum())
    rows = []
    for sample in dataset:
        poses, known = truth.at([sample.view.stamp_ns])
        if not known[0]:
            continue
        lat, lon, alt = EnuFrame(sample.datum).geodetic_from_enu(sample.T_map_base[:3, 3])
        off = frame.enu_from_geodetic(lat, lon, alt)[:2] - poses[0][:2, 3]
        yaw = angles.difference(se3.yaw_of(sample.T_map_base), se3.yaw_of(poses[0]))
        rows.append([*off, *np.sqrt(sample.cov.diagonal()[:2]), yaw, np.sqrt(sample.cov[5, 5])])
    table = np.array(rows)
    return table[:, :2], table[:, 2:4], table[:, 4], table[:, 5]


@pytest.mark.slow
def test_a_rendered_drive_over_its_map(tmp_path):
    from geoloc_core.simulation.robots.drive import make_drive
    from geoloc_core.simulation.world import make_world
    from geoloc_ros.demo_drive import write_drive

    world = make_world(5, half_extent=80.0, blocks=2, ground_gsd=0.2)
    drive = make_drive(world, seed=2, duration=30.0, rate_hz=1.0, outage=(12.0, 16.0))
    path, _ = write_drive(tmp_path, drive, map_gsd=0.3)
    height = float(drive.trajectory.xyz[0, 2])
    dataset = Bags(tmp_path, 'all', base_height_m=height, patch_m=50.0)
    # The outage is left out, and nothing is made up for it.
    assert dataset.left_out['without a fix before and after'] >= 3
    assert 20 <= len(dataset) <= 27
    xy, std, yaw, std_yaw = errors_of(dataset, path)
    known = std_yaw < 0.5
    assert known.mean() > 0.7
    assert np.abs(yaw[known] / std_yaw[known]).max() < 4.0
    assert np.sqrt(np.mean((xy / std) ** 2)) < 2.5
    sample = dataset[5]
    assert sample.patch.coverage > 0.5
    T = drive.trajectory.at((sample.view.stamp_ns - drive.start_ns) * 1e-9)
    height_of_camera = (T @ drive.rig.T_base_camera)[2, 3]
    assert sample.T_map_camera[2, 3] == pytest.approx(height_of_camera, abs=0.05)


@pytest.mark.slow
def test_a_real_drive_over_a_map_made_of_it(real_data, tmp_path, capsys):
    from geoloc_ros.bags.kitti import convert, KittiOptions
    from geoloc_ros.cli.main import main

    options = KittiOptions(gnss_noise_m=3.0, every=12, seed=2)
    convert(real_data('kitti_raw_2011_09_26_drive_0013'), tmp_path / 'drive', options)
    map_path = tmp_path / 'map.tif'
    made = ['--out', str(map_path), '--gsd', '0.2', '--range', '20']
    assert main(['map', 'from-drive', str(tmp_path / 'drive'), *made]) == 0
    dataset = Bags(tmp_path, 'all', search_m=10.0, patch_m=50.0)
    assert len(dataset) >= 9
    xy, std, yaw, std_yaw = errors_of(dataset, tmp_path / 'drive')
    # As noisy as the receiver was made, and said so; the yaw is far better than that.
    assert 1.0 < np.sqrt(np.mean(xy**2)) < 6.0
    np.testing.assert_allclose(std, 3.0, atol=0.1)
    assert np.degrees(np.abs(yaw)).max() < 2.0
    assert np.abs(yaw / std_yaw).max() < 3.0
    assert min(sample.patch.coverage for sample in dataset) > 0.1
