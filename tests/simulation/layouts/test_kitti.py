# SPDX-License-Identifier: Apache-2.0
"""KITTI's files as its own formats say."""

import numpy as np
import pytest

from geoloc_core.formats import kitti_raw
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.layouts.base import Place
from geoloc_core.simulation.layouts.kitti import KittiWriter, packets

FRAME = EnuFrame(KittiWriter.datum(0))


def drive(yaw=0.7, speed=8.0, count=6, split='train', number=0):
    """A straight drive at constant speed, 2 frames a second."""
    along = np.array([np.cos(yaw), np.sin(yaw)])
    return [
        Place(
            100 * number + i, KittiWriter.sequence(0, number), split, 10**9 + i * 500_000_000,
            se3.from_planar(*(along * speed * 0.5 * i + [30.0, -12.0]), yaw), FRAME, i,
        )
        for i in range(count)
    ]  # fmt: skip


def test_packets_say_where_how_fast_and_whereto():
    places = drive()
    rows = packets(places)
    assert rows.shape == (6, kitti_raw.PACKET_SIZE)
    # Yaw 0 = east, counter-clockwise; 30 m east of the datum true north is turned by microradians.
    np.testing.assert_allclose(rows[:, kitti_raw.YAW], 0.7, atol=1e-5)
    np.testing.assert_allclose(rows[:, kitti_raw.VF], 8.0, atol=1e-6)
    np.testing.assert_allclose(rows[:, kitti_raw.VL], 0.0, atol=1e-6)
    ve, vn = 8 * np.cos(0.7), 8 * np.sin(0.7)
    np.testing.assert_allclose(rows[:, [6, 7]], np.tile([vn, ve], (6, 1)), atol=1e-6)
    np.testing.assert_allclose(rows[:, kitti_raw.AZ], 9.81, atol=1e-6)
    # The unit sits 1.08 m behind the camera and 0.26 m to its left.
    imu = FRAME.enu_from_geodetic(*rows[0, :3])
    lever = se3.inverse(places[0].T_map_base) @ [*imu, 1.0]
    np.testing.assert_allclose(lever[:3], [-1.08, 0.26, 0.93], atol=1e-6)


def test_lists_and_noise(tmp_path):
    writer = KittiWriter(tmp_path)
    writer.begin(
        [*drive(number=0), *drive(number=1, split='test1'), *drive(number=2, split='test2')]
    )
    writer.finish()
    lists = {
        split: (tmp_path / 'splits' / f'{split}_files.txt').read_text().splitlines()
        for split in ('train', 'test1', 'test2')
    }
    assert lists['train'][0] == '2011_09_26/2011_09_26_drive_0001_sync/0000000000.png'
    noise = [[line.split()[1:] for line in lists[split]] for split in ('test1', 'test2')]
    assert noise[0] == noise[1]
    assert all(abs(float(word)) <= 1 for row in noise[0] for word in row)
    folder = tmp_path / 'raw_data' / '2011_09_26' / '2011_09_26_drive_0002_sync' / 'oxts'
    assert len(list((folder / 'data').iterdir())) == 6
    stamps = kitti_raw.read_timestamps(folder / 'timestamps.txt')
    np.testing.assert_array_equal(stamps, [p.stamp_ns for p in drive(number=1)])


def test_last_drives_are_for_test2():
    parts = [KittiWriter.split(number, 4, 0.5) for number in range(4)]
    assert parts == ['train', 'train', 'train', 'test2']
    assert KittiWriter.split(0, 1, 0.95) == 'test1'
    assert KittiWriter.split(0, 1, 0.1) == 'train'


@pytest.mark.parametrize('yaw', [0.0, 2.5, -2.0])
def test_one_frame_has_no_speed(yaw):
    row = packets(drive(yaw, count=1))[0]
    assert row[kitti_raw.VF] == 0 and np.isfinite(row).all()
