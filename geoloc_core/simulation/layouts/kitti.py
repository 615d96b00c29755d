# SPDX-License-Identifier: Apache-2.0
"""Writes KITTI's raw layout with a satellite tile a frame, as the cross-view field uses it.

References: Geiger et al., "Vision meets Robotics", IJRR 2013; Shi and Li, CVPR 2022, for the
tiles and split lists.
"""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.formats import kitti_raw
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.robots.drive import mounted

Array = NDArray[np.float64]

DATE = '2011_09_26'
# Static maps of zoom 18 at scale 2 have the pixels of zoom 19.
TILE_ZOOM = 19
TILE_PX = 1280
# Camera 2 in the OXTS unit's axes (x forward, y left, z up), m: the car's own, but level.
_CAMERA_IN_IMU = (1.08, -0.26, 0.72)
_IMU_IN_VELO = (-0.81, 0.32, -0.8)
# Camera 2 stands this far to the left of camera 0, to which the calibration files refer.
_BASELINE_M = 0.06
_CALIBRATIONS = ('cam_to_cam', 'imu_to_velo', 'velo_to_cam')
_G = 9.81
_TEST2_SHARE = 0.25


class KittiWriter(LayoutWriter):
    """KITTI cross-view: drives with one pinhole camera, OXTS and a tile around each fix."""

    NAME: ClassVar[str] = 'kitti'
    LAYOUT: ClassVar[str] = (
        'raw_data/<date>/calib_{cam_to_cam,imu_to_velo,velo_to_cam}.txt\n'
        'raw_data/<date>/<date>_drive_<number>_sync/image_02/{data/<frame>.png,timestamps.txt}\n'
        'raw_data/<date>/<date>_drive_<number>_sync/oxts/{data/<frame>.txt,timestamps.txt}\n'
        'satmap/<date>/<date>_drive_<number>_sync/<frame>.png\n'
        'splits/{train,test1,test2}_files.txt'
    )
    DRIVES: ClassVar[bool] = True
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = (1242, 375)
    AERIAL_GSD: ClassVar[float | None] = 0.19
    AERIAL_REACH_M: ClassVar[float] = 128.0
    SPLITS: ClassVar[dict[str, float]] = {'train': 0.8, 'test1': 0.2, 'test2': 0.0}

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """Camera 2 after rectification; base_link lies on the ground under it."""
        camera = PinholeCamera(1242, 375, 721.5377, 721.5377, 609.5593, 172.854)
        return Rig(
            camera.resized(width, height), mounted(0.0, 0.0, kitti_raw.CAMERA_HEIGHT_M, 0.0)
        )

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """A drive of the one day."""
        return f'{DATE}/{DATE}_drive_{100 * city + number + 1:04d}_sync'

    @classmethod
    def split(cls, number: int, numbers: int, fraction: float) -> str:
        """The last drives of a city are test2; frames of the others are dealt out."""
        if numbers > 1 and number >= numbers - max(1, round(_TEST2_SHARE * numbers)):
            return 'test2'
        return super().split(number, numbers, fraction)

    def files(self, place: Place) -> Sequence[Path]:
        """Image, tile and the day's calibration."""
        name = f'{place.number:010d}.png'
        day = self.root / 'raw_data' / place.sequence.split('/')[0]
        return (
            self.root / 'raw_data' / place.sequence / 'image_02' / 'data' / name,
            self.root / 'satmap' / place.sequence / name,
            *(day / f'calib_{name}.txt' for name in _CALIBRATIONS),
        )

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes image and tile, and the calibration if nobody has.

        Only pictures tell of which size they are, so the calibration cannot wait for `finish`.
        """
        if aerial is None:
            raise DataError('KITTI cross-view needs an aerial picture to cut its tiles from')
        if not isinstance(shot.camera, PinholeCamera) or shot.camera.is_distorted:
            raise DataError(f'KITTI pictures are rectified pinhole ones, not {shot.camera}')
        self.note(shot)
        lat, lon, _ = _imu_geodetic(shot.place)
        image, tile, *_ = self.files(shot.place)
        self._put_calibration(image.parents[3], shot.camera)
        self.put(tile, files.png(aerial.mercator(lat, lon, TILE_ZOOM, TILE_PX)))
        self.put(image, files.png(shot.image))

    def finish(self) -> None:
        """Writes packets, timestamps and split lists."""
        drives: dict[str, list[Place]] = {}
        for place in self.places:
            drives.setdefault(place.sequence, []).append(place)
        for name, places in drives.items():
            places.sort(key=lambda place: place.number)
            folder = self.root / 'raw_data' / name
            stamps = [_stamp(place.stamp_ns) for place in places]
            for sensor in ('image_02', 'oxts'):
                self.put_text(folder / sensor / 'timestamps.txt', stamps)
            for place, packet in zip(places, packets(places), strict=True):
                line = ' '.join(f'{value:.14g}' for value in packet)
                self.put_text(folder / 'oxts' / 'data' / f'{place.number:010d}.txt', [line])
        for split in self.SPLITS:
            names = [
                f'{place.sequence}/{place.number:010d}.png'
                for place in self.places
                if place.split == split
            ]
            if split != 'train':
                # Both tests of the publisher begin with the same noise.
                noise = np.random.default_rng(0).uniform(-1, 1, (len(names), 3))
                names = [
                    f'{name} ' + ' '.join(f'{value:.8g}' for value in row)
                    for name, row in zip(names, noise, strict=True)
                ]
            self.put_text(self.root / 'splits' / f'{split}_files.txt', names)

    def _put_calibration(self, day: Path, camera: PinholeCamera) -> None:
        K = camera.K
        P = K @ np.column_stack([np.eye(3), [_BASELINE_M, 0.0, 0.0]])
        size = np.array([camera.width, camera.height], float)
        R_level = mounted(0.0, 0.0, 0.0, 0.0)[:3, :3]
        T_imu_cam2 = se3.make(R_level, _CAMERA_IN_IMU)
        T_velo_imu = se3.make(np.eye(3), _IMU_IN_VELO)
        T_cam0_cam2 = se3.make(np.eye(3), [-_BASELINE_M, 0.0, 0.0])
        T_cam0_velo = T_cam0_cam2 @ se3.inverse(T_velo_imu @ T_imu_cam2)
        calibrations: dict[str, dict[str, Array]] = {
            _CALIBRATIONS[0]: {
                'corner_dist': np.array([0.0995]),
                'S_02': size,
                'K_02': K,
                'D_02': np.zeros(5),
                'R_02': np.eye(3),
                'T_02': np.array([_BASELINE_M, 0.0, 0.0]),
                'S_rect_02': size,
                'R_rect_00': np.eye(3),
                'R_rect_02': np.eye(3),
                'P_rect_02': P,
            },
            _CALIBRATIONS[1]: {'R': T_velo_imu[:3, :3], 'T': T_velo_imu[:3, 3]},
            _CALIBRATIONS[2]: {'R': T_cam0_velo[:3, :3], 'T': T_cam0_velo[:3, 3]},
        }
        for name, entries in calibrations.items():
            lines = ['calib_time: 09-Jan-2012 13:57:47']
            lines += [
                f'{key}: ' + ' '.join(f'{value:.6e}' for value in np.ravel(values))
                for key, values in entries.items()
            ]
            text = '\n'.join(lines) + '\n'
            self.put_once(day / f'calib_{name}.txt', text.encode)


def packets(places: Sequence[Place]) -> Array:
    """OXTS packets (N, 30) of the frames of one drive, in order of time.

    Velocity, acceleration and rates are differences of the poses; level ground is assumed for
    the forward-left-up axes.
    """
    n = len(places)
    out = np.zeros((n, kitti_raw.PACKET_SIZE))
    t = np.array([place.stamp_ns for place in places], float) * 1e-9
    xyz = np.array([place.T_map_base[:3, 3] for place in places])
    yaw = np.unwrap([se3.yaw_of(place.T_map_base) for place in places])
    velocity, rate = _slope(xyz, t), _slope(yaw[:, None], t)[:, 0]
    acceleration = _slope(velocity, t) + np.array([0.0, 0.0, _G])
    for row, place in zip(out, places, strict=True):
        lat, lon, alt = _imu_geodetic(place)
        roll, pitch, yaw_map = se3.rpy_from(place.T_map_base)
        # OXTS counts from the north of the place itself, the map frame from its datum's.
        yaw_here = yaw_map - float(place.frame.convergence(lat, lon))
        row[:6] = lat, lon, alt, roll, pitch, angles.kitti_oxts_from_yaw(yaw_here)
    c, s = np.cos(yaw), np.sin(yaw)

    def forward_left(v: Array) -> Array:
        return np.stack([c * v[:, 0] + s * v[:, 1], c * v[:, 1] - s * v[:, 0], v[:, 2]], -1)

    out[:, 6], out[:, 7] = velocity[:, 1], velocity[:, 0]
    out[:, 8:11] = forward_left(velocity)
    out[:, 11:14] = out[:, 14:17] = forward_left(acceleration)
    out[:, 19] = out[:, 22] = rate
    # Accuracies in m and m/s, then status, satellites and modes of a differential fix.
    out[:, 23:] = [0.02, 0.02, 4, 10, 4, 4, 0]
    return out


def _slope(values: Array, t: Array) -> Array:
    """Derivative (N, C) of values (N, C) by time (N,), zero where there is only one."""
    return np.gradient(values, t, axis=0) if len(t) > 1 else np.zeros_like(values)


def _imu_geodetic(place: Place) -> tuple[float, float, float]:
    """Latitude, longitude and height of the OXTS unit."""
    x, y, z = _CAMERA_IN_IMU
    imu = se3.transform(place.T_map_base, [-x, -y, kitti_raw.CAMERA_HEIGHT_M - z])
    lat, lon, alt = place.frame.geodetic_from_enu(imu)
    return float(lat), float(lon), float(alt)


def _stamp(stamp_ns: int) -> str:
    seconds, rest = divmod(stamp_ns, 10**9)
    return f'{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S}.{rest:09d}'
