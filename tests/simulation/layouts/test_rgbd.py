# SPDX-License-Identifier: Apache-2.0
"""7-Scenes and TUM: line ends, units, invalid depths, and whose pose it is."""

import cv2
import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.formats.kinect import T_COLOUR_DEPTH
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.simulation.layouts.base import Shot
from geoloc_core.simulation.layouts.seven_scenes import depth_mm, SevenScenesWriter
from geoloc_core.simulation.layouts.tum import depth_units, TumWriter

SIZE = (64, 48)
POSE = se3.from_xyz_rpy(1.25, -0.5, 1.4, 0.1, -0.2, 2.2)


def shots(writer, count=4):
    rig = writer.rig(*SIZE)
    depth = np.full(SIZE[::-1], 2.0, np.float32)
    depth[0, 0], depth[0, 1] = np.nan, 1e4
    return [
        Shot(
            i, writer.sequence(0, i // 2), 3 * 10**9 + i * 10**8,
            np.full((*SIZE[::-1], 3), (200, 100, 50), np.uint8), depth, None, rig.camera,
            rig.T_base_camera, POSE, EnuFrame(Datum(0, 0)), ('train', 'test')[i // 2], i % 2,
            rig.depth,
        )
        for i in range(count)
    ]  # fmt: skip


def write(writer):
    written = shots(writer)
    writer.begin(shot.place for shot in written)
    for shot in written:
        writer.write(shot)
    writer.finish()
    return sorted(
        path.relative_to(writer.root).as_posix()
        for path in writer.root.rglob('*')
        if path.is_file()
    )


def test_seven_scenes(tmp_path):
    tree = write(SevenScenesWriter(tmp_path))
    parts = ('color.png', 'depth.png', 'pose.txt')
    expected = [
        f'room0/seq-0{s}/frame-00000{f}.{p}' for s in (1, 2) for f in (0, 1) for p in parts
    ]
    assert tree == sorted([*expected, 'room0/TestSplit.txt', 'room0/TrainSplit.txt'])
    assert (tmp_path / 'room0/TrainSplit.txt').read_bytes() == b'sequence1\r\n'
    text = (tmp_path / 'room0/seq-01/frame-000000.pose.txt').read_bytes()
    assert text.count(b'\t\r\n') == 4
    # Camera-to-world of the depth sensor, not of the colour camera.
    T = np.array(text.split(), float).reshape(4, 4)
    T_world_colour = POSE @ SevenScenesWriter.rig(*SIZE).T_base_camera
    np.testing.assert_allclose(T, T_world_colour @ T_COLOUR_DEPTH, atol=1e-6)
    assert np.linalg.norm(T[:3, 3] - T_world_colour[:3, 3]) == pytest.approx(0.0256, abs=1e-4)
    depth = cv2.imread(str(tmp_path / 'room0/seq-01/frame-000000.depth.png'), -1)
    assert depth.dtype == np.uint16 and (depth[0, 0], depth[0, 1], depth[5, 5]) == (0, 65535, 2000)
    colour = cv2.imread(str(tmp_path / 'room0/seq-01/frame-000000.color.png'))
    assert tuple(colour[3, 3]) == (50, 100, 200)


def test_tum(tmp_path):
    write(TumWriter(tmp_path))
    folder = tmp_path / 'rgbd_dataset_freiburg3_room0_01'
    assert (folder / 'rgb/3.000000.png').exists() and (folder / 'depth/3.104000.png').exists()
    lines = (folder / 'depth.txt').read_text().splitlines()
    assert [line[0] for line in lines[:3]] == ['#'] * 3
    assert lines[3] == '3.004000 depth/3.004000.png'
    pose = [
        float(word) for word in (folder / 'groundtruth.txt').read_text().split('\n')[3].split()
    ]
    T = se3.from_quaternion(pose[1:4], pose[4:8])
    np.testing.assert_allclose(T, POSE @ TumWriter.rig(*SIZE).T_base_camera, atol=2e-4)
    depth = cv2.imread(str(folder / 'depth/3.004000.png'), -1)
    assert (depth[0, 0], depth[0, 1], depth[5, 5]) == (0, 0, 10000)


def test_depth_that_belongs_to_another_camera_is_refused(tmp_path):
    with pytest.raises(DataError, match='own sensor'):
        SevenScenesWriter(tmp_path).write(shots(TumWriter(tmp_path))[0])
    with pytest.raises(DataError, match='registered'):
        TumWriter(tmp_path).write(shots(SevenScenesWriter(tmp_path))[0])


def test_units():
    depth = np.array([[np.nan, 1.2346, 70.0]], np.float32)
    assert depth_mm(depth).tolist() == [[0, 1235, 65535]]
    assert depth_units(depth).tolist() == [[0, 6173, 0]]
