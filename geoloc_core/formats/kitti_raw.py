# SPDX-License-Identifier: Apache-2.0
"""Files of a KITTI raw drive (Geiger et al., "Vision meets Robotics", IJRR 2013).

OXTS angles are those of REP-103 already: yaw 0 = east and counter-clockwise, positive pitch is
nose down, positive roll is left side up. The `_sync` images are rectified: they follow P_rect_02
without distortion.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

# Of the cameras over the road, m (Fig. 3 of the paper).
CAMERA_HEIGHT_M = 1.65

# Columns of an OXTS packet (dataformat.txt of the data set).
LAT, LON, ALT, ROLL, PITCH, YAW = range(6)
VF, VL, VU = 8, 9, 10
AX, AY, AZ = 11, 12, 13
WX, WY, WZ = 17, 18, 19
WU = 22
POS_ACCURACY = 23
PACKET_SIZE = 30


@dataclass(frozen=True)
class Calibration:
    """What the files beside the drives say of camera 2, the left colour camera.

    Attributes:
        K: (3, 3) of the rectified image.
        size: (width, height) of the rectified image, px; None where the file does not say.
        T_imu_camera: (4, 4) optical frame of camera 2 -> OXTS unit (x forward, y left, z up);
            None where `calib_imu_to_velo.txt` or `calib_velo_to_cam.txt` is not there.
    """

    K: Array
    size: tuple[int, int] | None
    T_imu_camera: Array | None


def read_packet(file: Path) -> list[float]:
    """The 30 numbers of an OXTS packet.

    Raises:
        DataError: The file is missing or holds something else.
    """
    try:
        return parse_packet(file.read_text(encoding='ascii'), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{file} is not an OXTS packet: {error}') from error


def parse_packet(text: str, name: str) -> list[float]:
    """The 30 numbers of an OXTS packet.

    Args:
        text: One line of numbers.
        name: What to call it in an error.

    Raises:
        DataError: Not 30 finite numbers.
    """
    try:
        values = [float(value) for value in text.split()]
    except ValueError as error:
        raise DataError(f'{name} is not an OXTS packet: {error}') from error
    if len(values) != PACKET_SIZE or not np.isfinite(values).all():
        raise DataError(
            f'{name} is not an OXTS packet: expected {PACKET_SIZE} numbers, got {len(values)}'
        )
    return values


def read_timestamps(file: Path) -> NDArray[np.int64]:
    """(N,) stamps of a timestamps.txt, nanoseconds kept.

    Raises:
        DataError: The file is missing or holds something else.
    """
    try:
        lines = file.read_text(encoding='ascii').split('\n')
        stamps = [
            np.datetime64(line.strip().replace(' ', 'T'), 'ns') for line in lines if line.strip()
        ]
    except (OSError, ValueError) as error:
        raise DataError(f'{file} holds no KITTI timestamps: {error}') from error
    return np.array(stamps, dtype='datetime64[ns]').astype(np.int64)


def read_entries(file: Path) -> dict[str, Array]:
    """The numeric entries of a calibration file by name.

    Raises:
        DataError: The file is missing.
    """
    if not file.is_file():
        raise DataError(f'{file} is missing: a KITTI drive needs its calibration files beside it')
    entries = {}
    # A line that is no entry is none in any encoding; one that is wanted is asked for by name.
    for line in file.read_text(encoding='ascii', errors='replace').splitlines():
        key, _, values = line.partition(':')
        try:
            entries[key] = np.array([float(value) for value in values.split()])
        except ValueError:
            continue  # calib_time is a date
    return entries


def read_rigid(file: Path) -> Array:
    """The motion (4, 4) of a calibration file with R and T.

    Raises:
        DataError: The file is missing or holds no R and T.
    """
    entries = read_entries(file)
    try:
        return se3.make(entries['R'].reshape(3, 3), entries['T'].reshape(3))
    except (KeyError, ValueError) as error:
        raise DataError(f'{file} holds no R and T: {error}') from error


def read_calibration(folder: Path) -> Calibration:
    """Calibration of camera 2 from the files of a day.

    Args:
        folder: The day's folder; `calib_cam_to_cam.txt` must lie in it.

    Raises:
        DataError: A file is missing or damaged; the two that tie the camera to the OXTS unit may
            both be absent.
    """
    file = folder / 'calib_cam_to_cam.txt'
    cam = read_entries(file)
    try:
        P = cam['P_rect_02'].reshape(3, 4)
        R_rect = cam['R_rect_00'].reshape(3, 3)
    except (KeyError, ValueError) as error:
        raise DataError(f'{file} holds no P_rect_02 and R_rect_00: {error}') from error
    size = cam.get('S_rect_02')
    imu_to_velo = folder / 'calib_imu_to_velo.txt'
    velo_to_cam = folder / 'calib_velo_to_cam.txt'
    K = P[:, :3].copy()
    T_imu_camera = None
    if imu_to_velo.exists() or velo_to_cam.exists():
        # P = K [I | t]: t carries points from the rectified camera 0 to camera 2.
        T_cam2_rect = se3.make(np.eye(3), np.linalg.solve(K, P[:, 3]))
        T_rect_cam0 = se3.make(R_rect, np.zeros(3))
        T_imu_camera = se3.inverse(
            T_cam2_rect @ T_rect_cam0 @ read_rigid(velo_to_cam) @ read_rigid(imu_to_velo)
        )
    return Calibration(K, None if size is None else (int(size[0]), int(size[1])), T_imu_camera)
