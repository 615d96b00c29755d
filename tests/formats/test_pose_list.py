# SPDX-License-Identifier: Apache-2.0
"""Lists of poses: world to camera in the file, camera to world in memory."""

import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.formats.pose_list import read_pose_list, write_pose_list
from geoloc_core.geometry import se3

HALF = np.sqrt(0.5)


def test_where_the_camera_is_and_where_it_looks(tmp_path):
    # A quarter turn about y takes the world's x to the camera's -z: the camera looks along -x.
    path = tmp_path / 'poses.txt'
    path.write_text(
        f'seq-03/frame-000000.color.png {HALF} 0 {HALF} 0 1.0 2.0 3.0 526.22\n'
        'seq-03/frame-000001.color.png 1 0 0 0 1.0 2.0 3.0\n',
        newline='\r\n',
    )
    listed = read_pose_list(path)
    assert list(listed) == [f'seq-03/frame-00000{k}.color.png' for k in (0, 1)]
    turned, plain = listed.values()
    np.testing.assert_allclose(turned.T_world_camera[:3, 2], [-1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(turned.T_world_camera[:3, 3], [3, -2, -1], atol=1e-12)
    # Not the translation of the file, which is where the world's origin is seen.
    np.testing.assert_allclose(plain.T_world_camera[:3, 3], [-1, -2, -3], atol=1e-12)
    assert turned.focal_px == 526.22 and plain.focal_px is None


def test_what_is_written_is_read_back(tmp_path):
    poses = {
        'a.png': se3.from_xyz_rpy(1.0, -2.0, 0.5, 0.1, -0.7, 3.1),
        'seq-01/b.png': se3.from_xyz_rpy(-1e-3, 7.0, 2.0, -3.0, 0.2, -1.5),
    }
    write_pose_list(tmp_path / 'poses.txt', poses)
    listed = read_pose_list(tmp_path / 'poses.txt')
    assert list(listed) == list(poses)
    for name, T in poses.items():
        np.testing.assert_allclose(listed[name].T_world_camera, T, atol=1e-8)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', 'lists no pose'),
        ('a.png 1 0 0 0 1 2\n', 'poses.txt:1 is'),
        ('# head\na.png 1 0 0 0 1 2 x\n', 'poses.txt:2 is'),
        ('a.png 0 0 0 0 1 2 3\n', 'qw qx qy qz'),
        ('a.png 1 0 0 0 nan 2 3\n', 'qw qx qy qz'),
        ('a.png 1 0 0 0 1 2 3\na.png 1 0 0 0 1 2 3\n', 'a second time'),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, text, said):
    (tmp_path / 'poses.txt').write_text(text)
    with pytest.raises(DataError, match=said):
        read_pose_list(tmp_path / 'poses.txt')
    with pytest.raises(DataError, match='no list of poses'):
        read_pose_list(tmp_path / 'absent.txt')
