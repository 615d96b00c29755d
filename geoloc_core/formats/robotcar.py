# SPDX-License-Identifier: Apache-2.0
"""Files of Oxford RobotCar (Maddern et al., IJRR 2017) and of its cross-view labels.

Convention: the vehicle frame lies in the centre camera of the stereo head, x forward, y right, z
down; sensors' extrinsics are x y z roll pitch yaw of the sensor in it (Rz Ry Rx), the camera's
those of the vehicle in the camera. INS angles turn (forward, right, down) into (north, east, down)
with true north. Stamps are microseconds.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera

Array = NDArray[np.float64]

# x y z roll pitch yaw as published with the SDK; used where no extrinsics folder is given.
EXTRINSICS: dict[str, tuple[float, ...]] = {
    'stereo': (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    'ins': (-1.7132, 0.1181, 1.1948, -0.0125, 0.0400, 0.0050),
    'lms_front': (1.7589, 0.2268, 1.0411, -0.0437, -1.4572, 0.0356),
    'ldmrs': (1.5349, 0.0090, 1.3777, 0.0205, 0.0767, -0.0299),
}
# The centre camera, 'stereo_narrow_left': fx, fy, cx, cy at this size.
IMAGE_SIZE = (1280, 960)
FOCAL = (964.828979, 964.828979, 643.788025, 484.407990)
CAMERA_MODEL = 'stereo_narrow_left'
# Of the stereo head over the road. The data set does not say; front lidar and photographs agree
# with about this.
CAMERA_HEIGHT_M = 1.5
# Optical axes (right, down, forward) in (forward, right, down).
FRD_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
# (forward, left, up) of (forward, right, down) and back; (east, north, up) of (north, east, down).
FLU_FROM_FRD = np.diag([1.0, -1.0, -1.0])
ENU_FROM_NED = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])

INS_COLUMNS = (
    'timestamp,ins_status,latitude,longitude,altitude,northing,easting,down,utm_zone,'
    'velocity_north,velocity_east,velocity_down,roll,pitch,yaw'
)
INS_GOOD = 'INS_SOLUTION_GOOD'
VO_COLUMNS = 'source_timestamp,destination_timestamp,x,y,z,roll,pitch,yaw'

# ---- cross-view labels (Xia et al., "Visual Cross-View Metric Localization", ECCV 2022) ----

UTM_EPSG = 32630
AERIAL_GSD = 0.09240351462361521
AERIAL_NAME = 'satellite_map_new.png'
CONTROL_NAME = 'control_points.txt'
# Pictures of the cross-view set are this part of the centre camera's: columns from, rows from,
# width, height.
GROUND_CROP = (40, 0, 1200, 800)
# (easting, northing, column, row) of the published aerial picture, as its users tie it to UTM.
CONTROL_POINTS = np.array(
    [
        [619400.0, 5736195.0, 900.0, 900.0],
        [619400.0, 5734600.0, 492.0, 18168.0],
        [620795.0, 5736195.0, 15966.0, 1260.0],
        [620795.0, 5734600.0, 15553.0, 18528.0],
        [620100.0, 5735400.0, 8255.0, 9688.0],
    ]
)


def motion(xyzrpy: tuple[float, ...] | Array) -> Array:
    """(4, 4) of x y z roll pitch yaw, as all of this data set's six numbers are meant."""
    return se3.from_xyz_rpy(*(float(value) for value in xyzrpy))


def read_extrinsics(folder: Path | None, sensor: str) -> Array:
    """T_vehicle_sensor (4, 4); for 'stereo' T_camera_vehicle, as the SDK uses it.

    Args:
        folder: The SDK's `extrinsics`, or None for the published numbers.
        sensor: Name of a file without its ending.

    Raises:
        DataError: The file is missing or does not hold six numbers.
    """
    if folder is None:
        return motion(EXTRINSICS[sensor])
    file = folder / f'{sensor}.txt'
    try:
        values = [float(word) for word in file.read_text(encoding='ascii').split()]
    except (OSError, ValueError) as error:
        raise DataError(f'{file} holds no extrinsics: {error}') from error
    if len(values) != 6 or not np.isfinite(values).all():
        raise DataError(f'{file}: expected x y z roll pitch yaw, got {len(values)} numbers')
    return motion(np.array(values))


@dataclass(frozen=True)
class CameraModel:
    """A camera of the SDK's `models` folder.

    Attributes:
        focal: fx, fy, cx, cy of the undistorted picture.
        T_camera_optical: (4, 4) optical frame -> camera frame (forward, right, down).
        lut: (H, W, 2) float32 column and row in the picture as taken, of each pixel of the
            undistorted one; None for a picture that is undistorted already.
    """

    focal: tuple[float, float, float, float]
    T_camera_optical: Array
    lut: NDArray[np.float32] | None = None

    @classmethod
    def nominal(cls) -> 'CameraModel':
        """The centre camera with its published numbers, without its distortion."""
        return cls(FOCAL, se3.make(FRD_FROM_OPTICAL, np.zeros(3)))

    @classmethod
    def read(cls, folder: Path, size: tuple[int, int] = IMAGE_SIZE) -> 'CameraModel':
        """The centre camera.

        Args:
            folder: The SDK's `models`.
            size: (width, height) of the pictures as taken.

        Raises:
            DataError: A file is missing, damaged, or of another size.
        """
        file = folder / f'{CAMERA_MODEL}.txt'
        table = folder / f'{CAMERA_MODEL}_distortion_lut.bin'
        try:
            rows = [[float(w) for w in line.split()] for line in file.read_text().splitlines()]
            rows = [row for row in rows if row]
            focal, G = tuple(rows[0][:4]), np.array(rows[1:5])
            numbers = np.fromfile(table, np.float64)
        except (OSError, ValueError, IndexError) as error:
            raise DataError(
                f'{folder} lacks {file.name} or {table.name} of the RobotCar SDK ({error}): say '
                "where its 'models' folder is"
            ) from error
        if len(focal) != 4 or G.shape != (4, 4) or not np.isfinite(G).all():
            raise DataError(f'{file}: expected fx fy cx cy and a 4 x 4 matrix')
        width, height = size
        if numbers.size != 2 * width * height:
            raise DataError(
                f'{table} is for {numbers.size // 2} pixels, the pictures have {width} x {height}'
            )
        lut = numbers.reshape(2, height, width).transpose(1, 2, 0).astype(np.float32)
        return cls((focal[0], focal[1], focal[2], focal[3]), G, lut)

    def camera(self, size: tuple[int, int] = IMAGE_SIZE) -> PinholeCamera:
        """Projection of the whole undistorted picture."""
        fx, fy, cx, cy = self.focal
        return PinholeCamera(*size, fx=fx, fy=fy, cx=cx, cy=cy)

    def undistorted(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture as a pinhole camera would have taken it; itself without a table.

        Raises:
            DataError: The table is for another size.
        """
        if self.lut is None:
            return image
        if image.shape[:2] != self.lut.shape[:2]:
            raise DataError(
                f'the undistortion table is for {self.lut.shape[1]} x {self.lut.shape[0]} px, '
                f'the picture has {image.shape[1]} x {image.shape[0]}'
            )
        return cv2.remap(
            image,
            self.lut[..., 0],
            self.lut[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        ).astype(np.uint8, copy=False)


def demosaic(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of a picture of the stereo head, whose pixels alternate G B / R G."""
    # OpenCV names the pattern by the second row's second and third pixel.
    return cv2.cvtColor(raw, cv2.COLOR_BayerGR2RGB).astype(np.uint8, copy=False)


def mosaic(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What such a sensor stores (H, W) of a picture RGB (H, W, 3)."""
    raw = rgb[..., 1].copy()
    raw[0::2, 1::2] = rgb[0::2, 1::2, 2]
    raw[1::2, 0::2] = rgb[1::2, 0::2, 0]
    return raw


def map_from_utm(control: Array) -> Array:
    """(2, 3) that takes (easting, northing, 1) relative to the points' mean to (column, row).

    Args:
        control: (N, 4) easting, northing, column, row; three or more, not on one line.

    Raises:
        DataError: Fewer, or on one line.
    """
    middle = control[:, :2].mean(axis=0)
    X = np.column_stack([control[:, :2] - middle, np.ones(len(control))])
    if len(control) < 3 or np.linalg.matrix_rank(X, tol=1.0) < 3:
        raise DataError(
            f'{len(control)} control points do not tie a picture to the ground: expected three '
            'or more that do not lie on one line'
        )
    return np.linalg.lstsq(X, control[:, 2:], rcond=None)[0].T


def read_control_points(file: Path) -> Array:
    """(N, 4) easting, northing (m, UTM zone 30 N), column, row of a text file, a point a line.

    Raises:
        DataError: Missing, or not four numbers a line.
    """
    try:
        lines = [line.split('#')[0].split() for line in file.read_text().splitlines()]
        points = np.array([[float(word) for word in words] for words in lines if words])
    except (OSError, ValueError) as error:
        raise DataError(f'{file} holds no control points: {error}') from error
    if points.ndim != 2 or points.shape[1] != 4 or not np.isfinite(points).all():
        raise DataError(f'{file}: expected easting, northing, column and row in each line')
    return points
