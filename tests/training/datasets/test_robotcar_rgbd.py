# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
import pickle
import shutil

import cv2
import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.formats import robotcar
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.simulation.layouts.robotcar import RobotCarRgbdWriter
from tests.training.datasets.compass import assert_compass, compass_shots, PLACES
from training.datasets.base import UnreadableError
from training.datasets.robotcar_ins import read_ins, read_vo, Track
from training.datasets.robotcar_lidar import depth_image, gather
from training.datasets.robotcar_rgbd import RobotCarRgbd

TRAIN, TEST = '2014-06-26-09-24-58', '2014-06-23-15-41-25'
SIZE = (256, 192)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """(root, shots) of the compass plain in RobotCar's RGB-D layout."""
    pytest.importorskip('embreex')
    root = tmp_path_factory.mktemp('robotcar-rgbd')
    writer = RobotCarRgbdWriter(root)
    shots = [
        shot
        for name, split in ((TRAIN, 'train'), (TEST, 'test1'))
        for shot in compass_shots(
            writer.rig(*SIZE), writer.datum(0), PLACES, sequence=name, split=split
        )
    ]
    shots = [replace(shot, index=index) for index, shot in enumerate(shots)]
    writer.begin()
    for shot in shots:
        writer.write(shot)
    writer.finish()
    return root, shots


def ins_lines(rows):
    """Text of an ins.csv: (stamp us, lat, lon, alt, roll, pitch, yaw) each."""
    lines = [robotcar.INS_COLUMNS]
    for stamp, lat, lon, alt, roll, pitch, yaw in rows:
        lines.append(
            f'{stamp},INS_SOLUTION_GOOD,{lat},{lon},{alt},5735000.0,620000.0,{-alt},30U,0,0,0,'
            f'{roll},{pitch},{yaw}'
        )
    return '\n'.join(lines) + '\n'


@pytest.fixture
def tree(tmp_path):
    """Three grey raw frames of one traversal by hand; the car drives east at 10 m/s."""
    folder = tmp_path / 'loop' / TEST
    (folder / 'stereo' / 'centre').mkdir(parents=True)
    (folder / 'gps').mkdir()
    stamps = [10_000_000, 10_500_000, 30_000_000]
    for stamp in stamps:
        cv2.imwrite(
            str(folder / 'stereo' / 'centre' / f'{stamp}.png'), np.full((96, 128), 100, np.uint8)
        )
    lon = -1.26 + np.array([0.0, 1.0]) * 10 / (111320 * np.cos(np.radians(51.7566)))
    rows = [(10_000_000 + i * 1_000_000, 51.7566, lon[i], 110.0, 0, 0, np.pi / 2) for i in (0, 1)]
    (folder / 'gps' / 'ins.csv').write_text(ins_lines(rows))
    return tmp_path


# ---- round trip ----


@pytest.mark.parametrize('split', ['loop-trainval', 'loop-test1'])
def test_compass_rose(world, split):
    root, _ = world
    data = RobotCarRgbd(root, split, datum=RobotCarRgbdWriter.datum(0), window_s=0.05)
    assert len(data) == 4
    for sample in data:
        assert_compass(sample, datum=RobotCarRgbdWriter.datum(0))


@pytest.mark.parametrize('depth_poses', ['ins', 'vo'])
def test_poses_and_depth_come_back(world, depth_poses):
    root, shots = world
    data = RobotCarRgbd(root, 'loop-test1', depth_poses=depth_poses, window_s=0.05)
    for sample, shot in zip(data, shots[4:], strict=True):
        assert sample.view.stamp_ns == shot.stamp_ns
        lat, lon, alt = EnuFrame(sample.datum).geodetic_from_enu(sample.T_map_base[:3, 3])
        xyz = shot.frame.enu_from_geodetic(lat, lon, alt)
        np.testing.assert_allclose(xyz, shot.T_map_base[:3, 3], atol=1e-4)
        np.testing.assert_allclose(sample.T_map_base[:3, :3], shot.T_map_base[:3, :3], atol=1e-5)
        np.testing.assert_allclose(sample.view.T_base_camera, shot.T_base_camera, atol=1e-9)
        assert sample.view.camera == shot.camera
        depth = sample.view.depth
        seen = np.isfinite(depth)
        # The writer keeps one pixel of three by three.
        assert 0.6 < seen.mean() * 9 / np.isfinite(shot.depth_m).mean() < 1.05
        np.testing.assert_allclose(depth[seen], shot.depth_m[seen], rtol=1e-5)


def test_scans_of_other_times_are_moved_to_the_pictures(world):
    """Four views turn through all directions: only moved scans agree with the picture's own."""
    root, shots = world
    data = RobotCarRgbd(root, 'loop-test1', window_s=1.0)
    for sample, shot in zip(data, shots[4:], strict=True):
        ground = np.abs(shot_heights(shot)) < 0.02
        both = np.isfinite(sample.view.depth) & ground
        error = np.abs(sample.view.depth[both] - shot.depth_m[both]) / shot.depth_m[both]
        assert both.sum() > 500 and np.percentile(error, 95) < 0.02


def shot_heights(shot):
    rays = shot.camera.rays()
    points = rays / rays[..., 2:] * shot.depth_m[..., None]
    return se3.transform(shot.T_map_camera, points)[..., 2]


def test_bayer_colours_survive(world):
    root, shots = world
    for sample, shot in zip(RobotCarRgbd(root, 'loop-test1'), shots[4:], strict=True):
        error = np.abs(sample.view.image.astype(float) - shot.image)
        # Away from edges demosaicking is exact but for the grain of the ground.
        assert np.median(error) < 8
        assert np.abs(sample.view.image.mean(axis=(0, 1)) - shot.image.mean(axis=(0, 1))).max() < 3


def test_mosaic_has_the_published_pattern():
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:] = (10, 20, 30)
    raw = robotcar.mosaic(rgb)
    np.testing.assert_array_equal(raw[:2, :2], [[20, 30], [10, 20]])
    np.testing.assert_array_equal(robotcar.demosaic(raw)[1:-1, 1:-1], rgb[1:-1, 1:-1])


# ---- poses ----


def test_ins_by_hand_becomes_a_camera_in_enu(tree):
    """A car at 0.5 s of an eastward drive; the camera is 1.71 m ahead of the INS."""
    data = RobotCarRgbd(tree, 'loop-test1', undistort=False)
    assert len(data) == 2 and data.without_pose == 1
    sample = data[1]
    T = sample.T_map_camera
    assert sample.T_map_base[:3, 3] == pytest.approx(
        [5.0 + 1.7132, 0.1181, 1.1948 - 1.5 - 0.03], abs=0.12
    )
    # It looks east, level to the INS's mounting angles, picture upright.
    np.testing.assert_allclose(T[:3, 2], [1, 0, 0], atol=0.05)
    np.testing.assert_allclose(T[:3, 1], [0, 0, -1], atol=0.05)
    assert sample.datum.lat_deg == 51.7566


def test_poses_of_pose_regression(tree):
    data = RobotCarRgbd(tree, 'loop-test1', poses='published', undistort=False)
    sample = data[0]
    np.testing.assert_allclose(sample.T_map_base[:3, 3], [5735000.0, 620000.0, 110.0])
    np.testing.assert_allclose(
        sample.T_map_base[:3, :3], se3.rotation_from_rpy(0, 0, np.pi / 2), atol=1e-12
    )
    assert sample.datum is None and np.array_equal(sample.view.T_base_camera, np.eye(4))


def test_yaw_counts_from_true_north_not_from_the_datums(tmp_path):
    file = tmp_path / 'ins.csv'
    file.write_text(ins_lines([(1, 51.75, -1.26, 100.0, 0.0, 0.0, 0.3)]))
    far = EnuFrame(Datum(51.75, -3.0))
    track = read_ins(file).track(far)
    yaw = se3.yaw_of(track.T[0] @ se3.make(robotcar.FLU_FROM_FRD, np.zeros(3)))
    expected = np.pi / 2 - 0.3 + float(far.convergence(51.75, -1.26))
    assert angles.difference(yaw, expected) == pytest.approx(0.0, abs=1e-12)
    assert abs(float(far.convergence(51.75, -1.26))) > np.radians(1.3)


def test_only_good_rows_count_and_damaged_ones_are_skipped(tmp_path):
    file = tmp_path / 'ins.csv'
    good = ins_lines([(i, 51.75, -1.26, 100.0, 0, 0, 0) for i in (5, 3, 9, 9)])
    bad = (
        '6,INS_BAD,51.75,-1.26,100,5735000,620000,-100,30U,0,0,0,0,0,0\n'
        '7,INS_SOLUTION_GOOD,51.75,-1.26\n'
        '8,INS_SOLUTION_GOOD,51.75,-1.26,1e2,x,620000,-100,30U,0,0,0,0,0,0\n'
        '10,INS_SOLUTION_GOOD,nan,-1.26,1e2,1,620000,-100,30U,0,0,0,0,0,0\n\n'
    )
    file.write_text(good + bad)
    rows = read_ins(file)
    assert rows.stamps_us.tolist() == [3, 5, 9]
    assert (rows.malformed, rows.not_good) == (3, 1)
    file.write_text('\n'.join([robotcar.INS_COLUMNS, bad]))
    with pytest.raises(DataError, match='INS_SOLUTION_GOOD'):
        read_ins(file)
    file.write_text('<html>login</html>')
    with pytest.raises(DataError, match="starts with 'timestamp'"):
        read_ins(file)


def test_interpolation_turns_the_short_way_and_not_across_outages():
    stamp = 1_403_774_724_000_000
    T = [se3.from_planar(0, 0, np.radians(170)), se3.from_planar(2, 0, np.radians(-170))]
    track = Track(np.array([stamp, stamp + 200_000, stamp + 9_000_000]), np.array([*T, T[1]]))
    middle = track.at(np.array([stamp + 50_000]))[0]
    assert np.degrees(se3.yaw_of(middle)) == pytest.approx(175.0)
    assert middle[0, 3] == pytest.approx(0.5)
    asked = stamp + np.array([-1, 0, 100_000, 200_000, 300_000, 9_000_000, 9_000_001])
    assert track.covers(asked).tolist() == [False, True, True, True, False, True, False]


def test_visual_odometry_is_chained(tmp_path):
    file = tmp_path / 'vo.csv'
    quarter = np.pi / 2
    file.write_text(
        f'{robotcar.VO_COLUMNS}\n2,1,1.0,0,0,0,0,{quarter}\nnonsense\n3,2,1.0,0,0,0,0,0\n'
    )
    track = read_vo(file)
    assert track.stamps_us.tolist() == [1, 2, 3]
    np.testing.assert_allclose(track.T[2, :3, 3], [1, 1, 0], atol=1e-12)
    file.write_text(f'{robotcar.VO_COLUMNS}\n')
    with pytest.raises(DataError, match='no step'):
        read_vo(file)


# ---- depth ----


def test_a_push_broom_scanner_sweeps_a_wall(tmp_path):
    """lms_front: a vertical scan plane that the car carries along a wall on its right."""
    T_vehicle_laser = robotcar.motion(robotcar.EXTRINSICS['lms_front'])
    stamps = np.arange(0, 2_000_001, 20_000)
    poses = np.array([se3.make(np.eye(3), [s * 5e-6, 0, 0]) for s in stamps])
    (tmp_path / 'lms_front').mkdir()
    wall_y = 4.0
    for stamp, T in zip(stamps, poses, strict=True):
        angle = np.radians(np.arange(-135, 135, 1.0))
        directions = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1)
        M = T @ T_vehicle_laser
        world = directions @ M[:3, :3].T
        with np.errstate(divide='ignore'):
            ranges = (wall_y - M[1, 3]) / world[:, 1]
        hit = (ranges > 0) & (ranges < 30)
        scan = directions * np.where(hit, ranges, 0.0)[:, None]
        scan[:, 2] = 255.0
        scan.tofile(tmp_path / 'lms_front' / f'{stamp}.bin')
    lines = [f'{stamp} 1' for stamp in stamps] + ['', 'damaged']
    (tmp_path / 'lms_front.timestamps').write_text('\n'.join(lines))
    (tmp_path / 'lms_front' / '400000.bin').unlink()
    track = Track(stamps, poses)
    points = gather(tmp_path, 'lms_front', track, T_vehicle_laser, 200_000, 10.0)
    assert len(points) > 5000
    np.testing.assert_allclose(points[:, 1], wall_y, atol=1e-9)
    camera = robotcar.CameraModel.nominal().camera().resized(320, 240)
    depth = depth_image(points @ robotcar.FRD_FROM_OPTICAL, camera)
    v, u = np.nonzero(np.isfinite(depth))
    # A wall 4 m to the right is met where x = 4 m: right of the centre, nearer further out.
    expected = wall_y * camera.fx / (u - camera.cx)
    assert len(u) > 300 and (u > camera.cx).all()
    error = np.abs(depth[v, u] - expected) / expected
    assert np.median(error) < 0.02
    assert not len(gather(tmp_path, 'lms_front', track, T_vehicle_laser, 50_000_000, 1.0))
    assert not len(gather(tmp_path, 'ldmrs', track, T_vehicle_laser, 200_000, 10.0))


def test_the_nearest_of_several_points_stays():
    camera = robotcar.CameraModel.nominal().camera().resized(64, 48)
    depth = depth_image(np.array([[0, 0, 9.0], [0, 0, 4.0], [0, 0, 6.0], [0, 0, -1.0]]), camera)
    assert np.nanmin(depth) == np.nanmax(depth) == 4.0


# ---- camera model ----


def test_the_table_undistorts(tmp_path):
    """A table that takes every pixel from two columns to the right and one row up."""
    rows, columns = np.mgrid[0:96, 0:128].astype(np.float64)
    table = np.stack([columns + 2, rows - 1])
    table.tofile(tmp_path / f'{robotcar.CAMERA_MODEL}_distortion_lut.bin')
    text = '100 101 60 50\n0 0 1 0\n1 0 0 0\n0 1 0 0\n0 0 0 1\n'
    (tmp_path / f'{robotcar.CAMERA_MODEL}.txt').write_text(text)
    model = robotcar.CameraModel.read(tmp_path, (128, 96))
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model.undistorted(image)[1:, :-2], image[:-1, 2:])
    assert model.camera((128, 96)).fy == 101
    with pytest.raises(DataError, match='12288 pixels, the pictures have 64 x 48'):
        robotcar.CameraModel.read(tmp_path, (64, 48))
    (tmp_path / f'{robotcar.CAMERA_MODEL}.txt').write_text('100 101 60\n')
    with pytest.raises(DataError, match='fx fy cx cy'):
        robotcar.CameraModel.read(tmp_path, (128, 96))


def test_processed_pictures(tree):
    folder = tree / 'loop' / TEST / 'stereo'
    (folder / 'centre').rename(folder / 'centre_processed')
    for file in (folder / 'centre_processed').iterdir():
        cv2.imwrite(str(file), np.full((256, 341, 3), 70, np.uint8))
    sample = RobotCarRgbd(tree, 'loop-test1')[0]
    assert sample.view.camera.width == 341 and sample.view.depth is None
    assert sample.view.camera.fx == pytest.approx(964.828979 * 341 / 1280)


# ---- what is wrong is said ----


def test_absent_parts(tree, world, tmp_path_factory):
    empty = tmp_path_factory.mktemp('empty')
    with pytest.raises(DataError, match='no such folder'):
        RobotCarRgbd(empty / 'absent', 'loop-test1')
    with pytest.raises(DataError, match='none of the traversals 2014-06-23-15-41-25'):
        RobotCarRgbd(empty, 'loop-test1')
    with pytest.raises(DataError, match="no split 'test'"):
        RobotCarRgbd(tree, 'test')
    with pytest.raises(ConfigError, match="lidar is 'sonar'"):
        RobotCarRgbd(tree, 'loop-test1', lidar='sonar')
    assert RobotCarRgbd.recognises(tree) and RobotCarRgbd.recognises(world[0])
    assert not RobotCarRgbd.recognises(empty)
    data = RobotCarRgbd(tree, 'loop-test1')
    text = '\n'.join(data.missing())
    assert 'SDK is missing' in text and 'has no lidar' in text
    with pytest.raises(DataError, match="where its 'models' folder is"):
        data[0]
    missing = RobotCarRgbd(world[0], 'loop-trainval').missing()
    assert len(missing) == 1 and 'traversal 2014-06-26-08-53-56 is missing' in missing[0]


def test_half_a_download_and_stray_files(tree):
    folder = tree / 'loop' / TEST
    (folder / 'stereo.timestamps').write_text('10000000 1\n10250000 1\nx\n10500000 1\n')
    (folder / 'stereo' / 'centre' / '._10000000.png').write_bytes(b'Mac')
    data = RobotCarRgbd(tree, 'loop-test1', undistort=False)
    assert len(data) == 2
    assert any('1 of 3 pictures' in line and '10250000' in line for line in data.missing())


def test_unreadable_and_impossible_files(tree):
    data = RobotCarRgbd(tree, 'loop-test1', undistort=False)
    data.files(0)[0].write_bytes(b'half')
    cv2.imwrite(str(data.files(1)[0]), np.zeros((9, 9, 3), np.uint8))
    assert list(data) == [] and len(data.counts.unreadable) == 2
    with pytest.raises(UnreadableError, match='Bayer'):
        data[1]
    extrinsics = tree / 'extrinsics'
    extrinsics.mkdir()
    (extrinsics / 'ins.txt').write_text('1 2 3')
    (extrinsics / 'stereo.txt').write_text('0 0 0 0 0 0')
    with pytest.raises(DataError, match='expected x y z roll pitch yaw, got 3'):
        RobotCarRgbd(tree, 'loop-test1', undistort=False).T_map_vehicle(0)
    with pytest.raises(DataError, match='km from the datum'):
        RobotCarRgbd(tree, 'loop-test1', datum=Datum(48.0, 2.0))
    shutil.rmtree(tree / 'loop' / TEST / 'gps')
    with pytest.raises(DataError, match=r'ins\.csv cannot be read'):
        RobotCarRgbd(tree, 'loop-test1')


def test_it_travels_to_workers(world):
    root, _ = world
    data = RobotCarRgbd(root, 'loop-test1')
    first = data[0]
    again = pickle.loads(pickle.dumps(data))[0]
    np.testing.assert_array_equal(first.T_map_base, again.T_map_base)
    np.testing.assert_array_equal(first.view.depth, again.view.depth)


def test_validation_is_contiguous(world):
    root, _ = world
    train, held = RobotCarRgbd(root, 'loop-train'), RobotCarRgbd(root, 'loop-validation')
    assert not set(train.keys) & set(held.keys)
