# SPDX-License-Identifier: Apache-2.0
"""Writes Oxford RobotCar's layouts: one big aerial picture with UTM labels, and INS with lidar.

The scanner of the RGB-D layout is an `ldmrs` that sees what the camera sees: only the picture's
own depth is known here.
"""

from collections.abc import Sequence
import io
import itertools
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.formats import robotcar, robotcar_aerial
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.robots.drive import mounted

Array = NDArray[np.float64]

# One traversal a part of the data set, as in the published lists.
_TRAVERSALS = {
    'train': '2014-11-28-12-07-13',
    'validation': '2015-08-17-10-42-18',
    'test1': '2015-08-14-14-54-57',
    'test2': '2015-08-12-15-04-18',
    'test3': '2015-02-10-11-58-05',
}
_LISTS = {'train': 'training.txt', 'validation': 'validation.txt'} | {
    name: f'{name}_j.txt' for name in ('test1', 'test2', 'test3')
}
# The LOOP traversals, drive by drive.
_LOOP = (
    ('2014-06-26-09-24-58', 'train'),
    ('2014-06-23-15-41-25', 'test1'),
    ('2014-06-23-15-36-04', 'test2'),
    ('2014-06-26-08-53-56', 'train'),
)
_OXFORD = Datum(51.7566, -1.2600, 110.0)
# One lidar point for so many pixels of a row and of a column.
_STRIDE = 3


class _OxfordWriter(LayoutWriter):
    """What both layouts share: the place, and the centre camera."""

    DRIVES: ClassVar[bool] = True

    @classmethod
    def datum(cls, city: int) -> Datum:
        """In Oxford; later worlds to its west."""
        return Datum(_OXFORD.lat_deg, _OXFORD.lon_deg - 0.02 * city, _OXFORD.alt_m)


class RobotCarWriter(_OxfordWriter):
    """Oxford RobotCar, cross-view: pictures named by their UTM place, and one aerial picture."""

    NAME: ClassVar[str] = 'robotcar'
    LAYOUT: ClassVar[str] = (
        '<traversal>/ground/<easting>_<northing>.png\n'
        'satellite_map_new.png control_points.txt\n'
        'training.txt validation.txt test{1,2,3}_j.txt {train,val,test}_yaw.npy\n'
        'lookup_{training,validation,test}.txt'
    )
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = robotcar.GROUND_CROP[2:]
    AERIAL_GSD: ClassVar[float | None] = robotcar.AERIAL_GSD
    # Half a piece, and its middle's greatest distance from the place.
    AERIAL_REACH_M: ClassVar[float] = 65.0
    SPLITS: ClassVar[dict[str, float]] = {
        'train': 0.6,
        'validation': 0.1,
        'test1': 0.1,
        'test2': 0.1,
        'test3': 0.1,
    }

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """The part of the centre camera that the publisher cuts out, level."""
        left, top, w, h = robotcar.GROUND_CROP
        fx, fy, cx, cy = robotcar.FOCAL
        full = PinholeCamera(w, h, fx=fx, fy=fy, cx=cx - left, cy=cy - top)
        mount = mounted(0.0, 0.0, robotcar.CAMERA_HEIGHT_M, 0.0)
        return Rig(full.resized(width, height), mount)

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """A number; the traversal follows from the part of the data set.

        Raises:
            DataError: A second world: there is one aerial picture.
        """
        if city:
            raise DataError(
                'RobotCar has one aerial picture, which shows one world: render it with one'
            )
        return f'drive-{number}'

    def files(self, place: Place) -> Sequence[Path]:
        """Picture, aerial picture and its control points."""
        return [
            self.root / robotcar.AERIAL_NAME,
            self.root / robotcar.CONTROL_NAME,
            self.root / ground_name(place),
        ]

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes the picture, and the aerial one if it is not there yet."""
        if aerial is None:
            raise DataError('RobotCar needs its aerial picture')
        self.note(shot)
        picture, control, image = self.files(shot.place)
        self.put_once(picture, lambda: files.png(aerial.image))
        self.put_once(control, lambda: control_text(aerial).encode())
        self.put(image, files.png(shot.image))

    def finish(self) -> None:
        """Writes lists, yaws and lookups."""
        parts = {split: [p for p in self.places if p.split == split] for split in _LISTS}
        for split, name in _LISTS.items():
            self.put_text(self.root / name, [list_line(place) for place in parts[split]])
        tests = [place for name in ('test1', 'test2', 'test3') for place in parts[name]]
        for yaw, lookup, places in (
            ('train_yaw', 'lookup_training', parts['train']),
            ('val_yaw', 'lookup_validation', parts['validation']),
            ('test_yaw', 'lookup_test', tests),
        ):
            self.put(self.root / f'{yaw}.npy', _npy(np.array([list_yaw(p) for p in places])))
            lines = [
                f'{_TRAVERSALS[p.split]}/stereo/centre/{p.stamp_ns // 1000:016d}.png '
                f'{ground_name(p)}'
                for p in places
            ]
            self.put_text(self.root / f'{lookup}.txt', lines)


class RobotCarRgbdWriter(_OxfordWriter):
    """Oxford RobotCar for pose regression: the LOOP traversals with INS, odometry and lidar."""

    NAME: ClassVar[str] = 'robotcar-rgbd'
    LAYOUT: ClassVar[str] = (
        '<traversal>/stereo/centre/<stamp>.png stereo.timestamps\n'
        '<traversal>/gps/ins.csv <traversal>/vo/vo.csv\n'
        '<traversal>/ldmrs/<stamp>.bin ldmrs.timestamps\n'
        'models/stereo_narrow_left.txt, ..._distortion_lut.bin\n'
        'extrinsics/{stereo,ins,ldmrs,lms_front}.txt'
    )
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = robotcar.IMAGE_SIZE
    DEPTH: ClassVar[bool] = True
    SPLITS: ClassVar[dict[str, float]] = {'train': 0.5, 'test1': 0.25, 'test2': 0.25}

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """The centre camera, level."""
        camera = robotcar.CameraModel.nominal().camera().resized(width, height)
        return Rig(camera, mounted(0.0, 0.0, robotcar.CAMERA_HEIGHT_M, 0.0))

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """One of the four LOOP traversals, in turn; drives that share one differ in time."""
        return _LOOP[number % len(_LOOP)][0]

    @classmethod
    def split(cls, number: int, numbers: int, fraction: float) -> str:
        """Whole traversals are test sets."""
        return _LOOP[number % len(_LOOP)][1]

    def files(self, place: Place) -> Sequence[Path]:
        """Camera model, extrinsics, scan and picture."""
        folder, name = self.root / place.sequence, f'{place.stamp_ns // 1000}'
        models = self.root / 'models' / robotcar.CAMERA_MODEL
        return [
            models.with_suffix('.txt'),
            models.with_name(f'{models.name}_distortion_lut.bin'),
            *(self.root / 'extrinsics' / f'{sensor}.txt' for sensor in robotcar.EXTRINSICS),
            folder / 'ldmrs' / f'{name}.bin',
            folder / 'stereo' / 'centre' / f'{name}.png',
        ]

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes the picture as the sensor stores it, a scan, and the camera model."""
        if not isinstance(shot.camera, PinholeCamera) or shot.camera.is_distorted:
            raise DataError(f'RobotCar pictures are written undistorted, not of {shot.camera}')
        if shot.depth_m is None:
            raise DataError(f'shot {shot.index} has no depth for its scan')
        self.note(shot)
        camera, depth = shot.camera, shot.depth_m
        text, table, *extrinsics, scan, image = self.files(shot.place)
        self.put_once(text, lambda: _model_text(camera).encode())
        self.put_once(table, lambda: _identity_table(camera.width, camera.height))
        for path in extrinsics:
            numbers = ' '.join(str(value) for value in robotcar.EXTRINSICS[path.stem])
            self.put_once(path, lambda numbers=numbers: f'{numbers}\n'.encode())  # type: ignore[misc]
        self.put(scan, _scan(depth, camera))
        self.put(image, files.png(robotcar.mosaic(shot.image)))

    def finish(self) -> None:
        """Writes timestamps, INS and visual odometry of each traversal."""
        traversals: dict[str, list[Place]] = {}
        for place in self.places:
            traversals.setdefault(place.sequence, []).append(place)
        for name, places in traversals.items():
            places.sort(key=lambda place: place.stamp_ns)
            folder = self.root / name
            stamps = [f'{place.stamp_ns // 1000} 1' for place in places]
            self.put_text(folder / 'stereo.timestamps', stamps)
            self.put_text(folder / 'ldmrs.timestamps', stamps)
            rows = [ins_row(place) for place in places]
            self.put_text(folder / 'gps' / 'ins.csv', [robotcar.INS_COLUMNS, *rows])
            steps = [vo_row(a, b) for a, b in itertools.pairwise(places)]
            self.put_text(folder / 'vo' / 'vo.csv', [robotcar.VO_COLUMNS, *steps])


# ---- cross-view labels ----


def ground_name(place: Place) -> str:
    """'<traversal>/ground/<easting>_<northing>.png'."""
    east, north = _utm(place)
    return f'{_TRAVERSALS[place.split]}/ground/{east!r}_{north!r}.png'


def list_line(place: Place) -> str:
    """A list's line: picture, name of an aerial piece that nobody stores, easting, northing."""
    east, north = _utm(place)
    ground = ground_name(place)
    return f'{ground} {ground.replace("/ground/", "/satellite/")} {east!r} {north!r}'


def list_yaw(place: Place) -> float:
    """Yaw as the lists count it: from true north where the car is."""
    lat, lon, _ = place.frame.geodetic_from_enu(place.T_map_base[:3, 3])
    turn = float(place.frame.convergence(lat, lon))
    return float(angles.robotcar_list_from_yaw(se3.yaw_of(place.T_map_base) - turn))


def control_text(aerial: Orthophoto) -> str:
    """Control points of the aerial picture: its corners and its middle."""
    w, h = aerial.grid.width - 1.0, aerial.grid.height - 1.0
    uv = np.array([[0.0, 0.0], [0.0, h], [w, 0.0], [w, h], [w / 2, h / 2]])
    xyz = np.column_stack([aerial.grid.xy_from_uv(uv), np.zeros(5)])
    utm = robotcar_aerial.utm_from_latlon(*aerial.frame.geodetic_from_enu(xyz)[:2])
    # The file counts columns and rows at pixels' edges.
    rows = np.column_stack([utm, uv + 0.5]).tolist()
    return '# easting northing column row\n' + ''.join(
        ' '.join(repr(value) for value in row) + '\n' for row in rows
    )


def _utm(place: Place) -> tuple[float, float]:
    lat, lon, _ = place.frame.geodetic_from_enu(place.T_map_base[:3, 3])
    east, north = robotcar_aerial.utm_from_latlon(lat, lon)
    return float(east), float(north)


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# ---- INS, odometry, lidar ----


def _T_map_vehicle(place: Place) -> Array:
    """(4, 4) vehicle frame (forward, right, down, in the camera) -> ENU."""
    T_base_vehicle = se3.make(robotcar.FLU_FROM_FRD, [0.0, 0.0, robotcar.CAMERA_HEIGHT_M])
    return place.T_map_base @ T_base_vehicle


def ins_row(place: Place) -> str:
    """A row of gps/ins.csv."""
    T = _T_map_vehicle(place) @ robotcar.motion(robotcar.EXTRINSICS['ins'])
    lat, lon, alt = (float(value) for value in place.frame.geodetic_from_enu(T[:3, 3]))
    east, north = robotcar_aerial.utm_from_latlon(lat, lon)
    roll, pitch, yaw = se3.rpy_from(robotcar.ENU_FROM_NED.T @ T[:3, :3])
    # A compass turns the other way round than the map's convergence.
    yaw = float(angles.wrap(yaw + float(place.frame.convergence(lat, lon))))
    numbers = [lat, lon, alt, float(north), float(east), -alt]
    return ','.join(
        [
            f'{place.stamp_ns // 1000}',
            robotcar.INS_GOOD,
            *(repr(value) for value in numbers),
            '30U,0.0,0.0,0.0',
            *(repr(value) for value in (roll, pitch, yaw)),
        ]
    )


def vo_row(before: Place, after: Place) -> str:
    """A row of vo/vo.csv: the later vehicle frame in the earlier one."""
    T = se3.inverse(_T_map_vehicle(before)) @ _T_map_vehicle(after)
    numbers = [*T[:3, 3].tolist(), *se3.rpy_from(T)]
    stamps = [f'{after.stamp_ns // 1000}', f'{before.stamp_ns // 1000}']
    return ','.join([*stamps, *(repr(value) for value in numbers)])


def _scan(depth_m: NDArray[np.float32], camera: PinholeCamera) -> bytes:
    """The depth picture, thinned out, as points in the lidar's frame."""
    v, u = np.mgrid[_STRIDE // 2 : camera.height : _STRIDE, _STRIDE // 2 : camera.width : _STRIDE]
    z = depth_m[v, u].astype(np.float64).ravel()
    rays = camera.unproject(np.stack([u.ravel(), v.ravel()], axis=-1))
    good = np.isfinite(z)
    points = rays[good] / rays[good, 2:] * z[good, None]
    T_vehicle_camera = se3.make(robotcar.FRD_FROM_OPTICAL, np.zeros(3))
    T_laser_vehicle = se3.inverse(robotcar.motion(robotcar.EXTRINSICS['ldmrs']))
    return se3.transform(T_laser_vehicle @ T_vehicle_camera, points).tobytes()


def _model_text(camera: PinholeCamera) -> str:
    rows = se3.make(robotcar.FRD_FROM_OPTICAL, np.zeros(3)).tolist()
    lines = [[camera.fx, camera.fy, camera.cx, camera.cy], *rows]
    return ''.join(' '.join(repr(float(value)) for value in line) + '\n' for line in lines)


def _identity_table(width: int, height: int) -> bytes:
    """The table of a lens without distortion: all columns, then all rows."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    return np.stack([columns, rows]).tobytes()
