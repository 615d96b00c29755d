# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.formats import kitti_raw

CAM = 'calib_time: 09-Jan-2012\nP_rect_02: {}\nR_rect_00: 1 0 0 0 1 0 0 0 1\n'
P = '700 0 600 35 0 700 170 0 0 0 1 0'


def test_packets():
    text = ' '.join(str(i / 4) for i in range(30))
    assert kitti_raw.parse_packet(text, 'x')[kitti_raw.YAW] == 1.25
    for damaged in (text.rsplit(' ', 1)[0], text.replace('7.25', 'nan'), text + ' end'):
        with pytest.raises(DataError, match='frame 7 is not an OXTS packet'):
            kitti_raw.parse_packet(damaged, 'frame 7')


def test_stamps_keep_their_nanoseconds(tmp_path):
    file = tmp_path / 'timestamps.txt'
    file.write_text('2011-09-26 13:02:44.335092332\n2011-09-26 13:02:44.435100758')
    stamps = kitti_raw.read_timestamps(file)
    assert stamps[0] == 1317042164335092332 and stamps[1] - stamps[0] == 100008426
    file.write_text('yesterday')
    with pytest.raises(DataError, match='no KITTI timestamps'):
        kitti_raw.read_timestamps(file)


def test_mount_is_none_where_its_files_are_not_there(tmp_path):
    (tmp_path / 'calib_cam_to_cam.txt').write_text(CAM.format(P))
    # A line that is nothing, in no encoding that is known, is passed over.
    with (tmp_path / 'calib_cam_to_cam.txt').open('ab') as file:
        file.write(b'\nf\xfcr Karlsruhe\n')
    calib = kitti_raw.read_calibration(tmp_path)
    assert calib.T_imu_camera is None and calib.size is None
    assert calib.K[0, 0] == 700
    # One of the two alone is a damaged copy, not a missing mount.
    (tmp_path / 'calib_imu_to_velo.txt').write_text('R: 1 0 0 0 1 0 0 0 1\nT: 1 2 3\n')
    with pytest.raises(DataError, match=r'calib_velo_to_cam\.txt is missing'):
        kitti_raw.read_calibration(tmp_path)
    # Velodyne axes forward, left, up to the camera's right, down, forward.
    (tmp_path / 'calib_velo_to_cam.txt').write_text('R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n')
    T = kitti_raw.read_calibration(tmp_path).T_imu_camera
    np.testing.assert_allclose(T[:3, 2], [1, 0, 0], atol=1e-12)
    # P_rect_02's 35 px are 5 cm that camera 2 stands to the left of camera 0.
    np.testing.assert_allclose(T[:3, 3], [-1, -2 + 0.05, -3], atol=1e-12)
    (tmp_path / 'calib_cam_to_cam.txt').write_text('P_rect_02: 1 2 3\n')
    with pytest.raises(DataError, match='P_rect_02 and R_rect_00'):
        kitti_raw.read_calibration(tmp_path)
