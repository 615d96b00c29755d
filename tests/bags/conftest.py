# SPDX-License-Identifier: Apache-2.0
"""A tiny drive as a bag: 3 s, 2 Hz camera of 48 x 32, known transforms, truth."""

import cv2
import numpy as np
import pytest

from geoloc_core.bags import messages, topics
from geoloc_core.bags.writer import BagWriter
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND + 7
DATUM = Datum(49.0, 8.4, 110.0)
WIDTH, HEIGHT = 48, 32
LEVER = np.array([0.3, -0.2, 1.5])
# Optical frame looking ahead and 30 degrees down, 1 m above the ground.
T_BASE_CAMERA = se3.from_xyz_rpy(0.5, 0.1, 1.0, 0.0, np.radians(30), 0.0) @ se3.make(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3)
)


def pose_at(seconds: float) -> np.ndarray:
    """Heading north-west at 4 m/s."""
    yaw = np.radians(135)
    return se3.from_planar(4 * seconds * np.cos(yaw), 4 * seconds * np.sin(yaw), yaw)


def picture(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    return rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def write_drive(path, storage='mcap', compressed=False, truth=True, cut=()):
    frame = EnuFrame(DATUM)
    k = [[40.0, 0, 23.5], [0, 40.0, 15.5], [0, 0, 1]]
    with BagWriter(path, storage) as bag:
        bag.write(
            topics.TF_STATIC,
            messages.static_transforms_msg(
                START,
                [
                    ('base_link', 'mast', se3.from_xyz_rpy(0, 0, 1.0, 0, 0, 0)),
                    ('mast', 'gnss_link', se3.make(np.eye(3), LEVER - [0, 0, 1.0])),
                    ('base_link', 'camera_optical_frame', T_BASE_CAMERA),
                    ('base_link', 'imu_link', np.eye(4)),
                ],
            ),
            START,
        )
        if truth:
            where = (DATUM.lat_deg, DATUM.lon_deg, DATUM.alt_m)
            bag.write(topics.TRUTH_DATUM, messages.fix_msg(START, *where, np.eye(3)))
        for i in range(31):
            stamp = START + i * SECOND // 10
            T = pose_at(i / 10)
            bag.write(topics.ODOMETRY, messages.odometry_msg(stamp, se3.inverse(pose_at(0)) @ T))
            bag.write(topics.IMU, messages.imu_msg(stamp, [0, 0, 0], [0, 0, 9.8], T[:3, :3]))
            if truth:
                bag.write(topics.TRUTH, messages.odometry_msg(stamp, T, frame_id='map'))
            if i % 2 == 0 and not any(a <= i / 10 < b for a, b in cut):
                place = frame.geodetic_from_enu(se3.transform(T, LEVER))
                bag.write(topics.FIX, messages.fix_msg(stamp, *place, np.eye(3) * 0.04))
            if i % 5 == 0:
                bag.write(topics.CAMERA_INFO, messages.camera_info_msg(stamp, WIDTH, HEIGHT, k))
                if compressed:
                    data = cv2.imencode('.png', picture(i)[..., ::-1])[1].tobytes()
                    bag.write(topics.COMPRESSED, messages.compressed_msg(stamp, data, 'png'))
                else:
                    bag.write(topics.IMAGE, messages.image_msg(stamp, picture(i)))
    return path


@pytest.fixture(scope='session')
def drive_bag(tmp_path_factory):
    return write_drive(tmp_path_factory.mktemp('bags') / 'drive')
