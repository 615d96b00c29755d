# SPDX-License-Identifier: Apache-2.0
"""Files of Ford Multi-AV Seasonal (Agarwal et al., IJRR 2020) and of its cross-view labels.

Convention: the body frame is x forward, y right, z down; its poses are body -> NED (x north, y
east, z down), quaternions w x y z. Front-left pictures are rectified: K holds without distortion.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import yaml

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

CALIBRATION_FOLDER = Path('Calibration-V2') / 'V2'
EXTRINSICS_FILE = 'cameraFrontLeft_body.yaml'
INTRINSICS_FILE = 'cameraFrontLeftIntrinsics.yaml'
SATELLITE_FOLDER = 'SatelliteMaps_18'
LIST_FILE = 'grd_sat_quaternion_latlon.txt'
TEST_LIST_FILE = 'grd_sat_quaternion_latlon_test.txt'
IMAGE_SIZE = (1656, 860)
# The publisher of the cross-view labels takes KITTI's, m.
CAMERA_HEIGHT_M = 1.65
# Rows of vectors (forward, left, up) of (forward, right, down), and the other way round.
FLU_FROM_FRD = np.diag([1.0, -1.0, -1.0])
# Rows of vectors (east, north, up) of (north, east, down), and the other way round.
ENU_FROM_NED = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


@dataclass(frozen=True)
class Calibration:
    """Of the front-left camera.

    Attributes:
        K: (3, 3).
        size: (width, height) it holds for, px.
        T_body_camera: (4, 4) optical frame -> body (forward, right, down).
    """

    K: Array
    size: tuple[int, int]
    T_body_camera: Array


def image_folder(log: str) -> str:
    """Folder of the front-left pictures in a log's folder: '<date>-V2-Log<n>-FL'."""
    return log.replace('/', '-') + '-FL'


def read_calibration(folder: Path) -> Calibration:
    """Intrinsics and mount of the front-left camera.

    Args:
        folder: With `cameraFrontLeft_body.yaml` and `cameraFrontLeftIntrinsics.yaml`.

    Raises:
        DataError: A file is missing or holds something else.
    """
    body = _load(folder / EXTRINSICS_FILE)
    inside = _load(folder / INTRINSICS_FILE)
    try:
        t, q = body['transform']['translation'], body['transform']['rotation']
        T = se3.from_quaternion([t[k] for k in 'xyz'], [q[k] for k in 'xyzw'])
        K = np.array(inside['K'], dtype=np.float64).reshape(3, 3)
        size = (
            int(inside.get('width', IMAGE_SIZE[0])),
            int(inside.get('height', IMAGE_SIZE[1])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f'{folder}: expected transform.translation and transform.rotation in '
            f'{EXTRINSICS_FILE} and K in {INTRINSICS_FILE}; {type(error).__name__}: {error}'
        ) from error
    return Calibration(K, size, T)


def calibration_texts(calibration: Calibration) -> dict[str, str]:
    """The two files of a calibration, by name, as the publisher writes them."""
    x, y, z = (float(value) for value in calibration.T_body_camera[:3, 3])
    qx, qy, qz, qw = (float(v) for v in se3.quaternion_xyzw(calibration.T_body_camera))
    body = {
        'header': {'frame_id': 'body'},
        'child_frame_id': 'camera_front_left',
        'transform': {
            'translation': {'x': x, 'y': y, 'z': z},
            'rotation': {'x': qx, 'y': qy, 'z': qz, 'w': qw},
        },
    }
    inside = {
        'width': calibration.size[0],
        'height': calibration.size[1],
        'distortion_model': 'plumb_bob',
        'D': [0.0] * 5,
        'K': [float(value) for value in calibration.K.ravel()],
    }
    return {
        EXTRINSICS_FILE: yaml.safe_dump(body, sort_keys=False),
        INTRINSICS_FILE: yaml.safe_dump(inside, sort_keys=False, default_flow_style=None),
    }


def map_rotation(wxyz: Array) -> Array:
    """R_map_base (3, 3), ENU and (forward, left, up), of a list's quaternion.

    Args:
        wxyz: (4,) body -> NED.

    Raises:
        InputError: It is no rotation.
    """
    R_ned_body = se3.rotation_from_quaternion(np.roll(np.asarray(wxyz, dtype=np.float64), -1))
    return ENU_FROM_NED @ R_ned_body @ FLU_FROM_FRD


def list_quaternion(R_map_base: Array) -> Array:
    """(4,) w x y z, body -> NED, of R_map_base (3, 3)."""
    return np.roll(se3.quaternion_xyzw(ENU_FROM_NED.T @ R_map_base @ FLU_FROM_FRD), 1)


def _load(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f'{file} is not a calibration file of Ford Multi-AV ({error}): it comes with the '
            "data set's Calibration-V2 archive"
        ) from error
