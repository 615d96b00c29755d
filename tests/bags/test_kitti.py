# SPDX-License-Identifier: Apache-2.0
import shutil

import numpy as np
import pytest

from geoloc_core.bags import topics
from geoloc_core.bags.reader import read_bag
from geoloc_core.errors import BagError
from geoloc_core.evaluation import metrics
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.messages.conversions import camera_from_info
from geoloc_ros.bags.kitti import convert, KittiDrive, KittiOptions, PITCH, ROLL, turned
from geoloc_ros.bags.run import read_inputs
from geoloc_ros.cli.bag import parse_span

DRIVE = 'kitti_raw_2011_09_26_drive_0013'


@pytest.fixture(scope='module')
def folder(real_data):
    return real_data(DRIVE)


@pytest.fixture(scope='module')
def drive(folder):
    return KittiDrive(folder)


@pytest.fixture(scope='module')
def bag(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp('kitti') / 'bag'
    options = KittiOptions(
        gnss_noise_m=5.0, gnss_cuts=((6.0, 12.0),), gyro_bias_deg_s=1.0, odom_scale=1.02, every=16
    )
    convert(folder, out, options)
    return out


def test_geometry_of_the_car(drive):
    assert drive.T_base_camera[2, 3] == pytest.approx(1.65)
    # Camera 2 sits 1.08 m ahead of the OXTS unit, and 25 cm to its right.
    np.testing.assert_allclose(drive.T_base_camera[:2, 3], [1.08, -0.25], atol=0.01)
    forward, down = drive.T_base_camera[:3, 2], drive.T_base_camera[:3, 1]
    assert forward[0] > 0.999
    assert down[2] < -0.999
    assert drive.T_base_imu[2, 3] == pytest.approx(0.92, abs=0.02)
    assert drive.truth.length_m == pytest.approx(173.0, abs=0.5)
    assert len(drive.images) == 144


def test_truth_drives_forward(drive):
    truth = drive.truth
    course = np.arctan2(*np.diff(truth.xy, axis=0).T[::-1])
    error = metrics.yaw_error(truth.yaws[1:], course)
    assert np.degrees(np.abs(np.median(error))) < 1.0
    np.testing.assert_allclose(truth.xy[0], 0.0, atol=0.02)


def test_roll_and_pitch_level_the_lidar_ground(drive):
    """The ground ahead, in lidar points, is flat only when levelled with the right signs."""
    number = 96
    scan = np.fromfile(
        drive.folder / 'velodyne_points' / 'data' / f'{number:010d}.bin', np.float32
    ).reshape(-1, 4)[:, :3]
    calibration = (drive.folder.parent / 'calib_imu_to_velo.txt').read_text().splitlines()
    R, t = (np.array(line.split()[1:], float) for line in calibration[1:3])
    T_velo_imu = se3.make(R.reshape(3, 3), t)
    points = se3.transform(drive.T_base_imu @ se3.inverse(T_velo_imu), scan.astype(float))
    roll, pitch = drive.oxts[number, [ROLL, PITCH]]

    def slope(sign):
        level = points @ se3.rotation_from_rpy(sign * roll, sign * pitch, 0.0).T
        near = (level[:, 0] > 4) & (level[:, 0] < 20) & (np.abs(level[:, 1:]) < [3.5, 0.6]).all(1)
        x, z = level[near, 0], level[near, 2]
        for _ in range(5):
            line = np.polyfit(x, z, 1)
            keep = np.abs(z - np.polyval(line, x)) < 0.1
            x, z = x[keep], z[keep]
        return abs(np.degrees(line[0]))

    assert slope(1.0) < 0.15
    assert slope(-1.0) > 0.6


def test_bag_holds_what_was_asked_for(bag, drive):
    with read_bag(bag) as reader:
        inputs = read_inputs(reader)
        assert len(inputs.frame_stamps_ns) == 9
        assert reader.topics[topics.COMPRESSED].count == 9
        fixes = np.array([f.stamp_ns for f in inputs.fixes])
        since = (fixes - drive.stamps_ns[0]) * 1e-9
        assert not ((since >= 6) & (since < 12)).any()
        assert metrics.gaps(fixes, fixes[0], fixes[-1])[0] == pytest.approx(
            (drive.stamps_ns[0] + 6e9, drive.stamps_ns[0] + 12e9), abs=2e8
        )
        xyz = EnuFrame(drive.datum).enu_from_geodetic(
            *np.array([(f.lat_deg, f.lon_deg, f.alt_m) for f in inputs.fixes]).T
        )
        true = inputs.truth.at(fixes)[0][:, :3, 3]
        noise = xyz[:, :2] - true[:, :2]
        assert 4.0 < noise.std() < 6.0
        info = next(iter(reader.messages([topics.CAMERA_INFO]))).message
        camera = camera_from_info(info)
        assert (camera.width, camera.height) == (1242, 375)
        np.testing.assert_allclose(
            reader.extrinsic('base_link', 'camera_optical_frame'), drive.T_base_camera, atol=1e-6
        )


def test_odometry_has_the_errors_asked_for_and_no_others(bag, drive, folder, tmp_path):
    with read_bag(bag) as reader:
        bad = read_inputs(reader).odometry
    turned_away = np.unwrap(bad.yaws)[-1] - (np.unwrap(drive.truth.yaws)[-1] - drive.truth.yaws[0])
    seconds = (bad.stamps_ns[-1] - bad.stamps_ns[0]) * 1e-9
    assert np.degrees(turned_away) == pytest.approx(seconds, abs=0.5)
    assert bad.length_m / drive.truth.length_m == pytest.approx(1.02, abs=0.01)
    convert(folder, tmp_path / 'clean', KittiOptions(every=72))
    with read_bag(tmp_path / 'clean') as reader:
        clean = read_inputs(reader).odometry
    moved = se3.inverse(clean.poses[0]) @ clean.poses[-1]
    true = se3.inverse(drive.truth.poses[0]) @ drive.truth.poses[-1]
    assert np.linalg.norm(moved[:2, 3] - true[:2, 3]) < 2.0


def test_noise_is_that_of_the_seed(folder, tmp_path):
    fixes = []
    for i, seed in enumerate((1, 1, 2)):
        options = KittiOptions(gnss_noise_m=5.0, gnss_correlation_s=10.0, seed=seed, every=100)
        convert(folder, tmp_path / str(i), options)
        with read_bag(tmp_path / str(i)) as reader:
            fixes.append([(f.lat_deg, f.lon_deg) for f in read_inputs(reader).fixes])
    assert fixes[0] == fixes[1]
    assert fixes[0] != fixes[2]
    # Alike over 10 s: from one packet to the next the error hardly changes.
    steps = np.diff(np.array(fixes[0]), axis=0) * [111_000, 73_000]
    assert np.abs(steps).max() < 4.0


def test_refusals(folder, drive, tmp_path):
    with pytest.raises(BagError, match='no folder'):
        KittiDrive(tmp_path / 'absent')
    with pytest.raises(BagError, match='no KITTI raw drive'):
        KittiDrive(tmp_path)
    copy = tmp_path / drive.folder.parent.name / drive.folder.name
    shutil.copytree(drive.folder / 'oxts', copy / 'oxts')
    with pytest.raises(BagError, match=r'calib_cam_to_cam\.txt is missing'):
        KittiDrive(tmp_path)
    packet = copy / 'oxts' / 'data' / '0000000003.txt'
    packet.chmod(0o644)
    packet.write_text('1 2 3')
    with pytest.raises(BagError, match=r'0000000003\.txt is not an OXTS packet'):
        KittiDrive(tmp_path)
    for text in ('5', '5:', '7:3', 'a:b'):
        with pytest.raises(BagError, match='START:END'):
            parse_span(text)
    assert parse_span('5:11.5') == (5.0, 11.5)


def test_turning_a_mount_keeps_its_place(drive):
    T = turned(drive.T_base_camera, (0.0, 0.0, 90.0))
    np.testing.assert_allclose(T[:3, 3], drive.T_base_camera[:3, 3])
    np.testing.assert_allclose(T[:3, 2], [0, 1, 0], atol=0.02)  # now looks left
