# SPDX-License-Identifier: Apache-2.0
"""Writes Ford Multi-AV's layout with the satellite tiles and lists of the cross-view field.

Tiles are 1280 px of zoom 18 at scale 2; their middles lie on a lattice of 0.0001 degree, so that
the vehicle stands some metres off. Everything lies near Dearborn, because the published ground
size of 0.22 m/px holds at that latitude.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.formats import ford
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.robots.drive import mounted

Array = NDArray[np.float64]

ZOOM, SCALE, TILE_PX = 18, 2, 1280
# Of the front-left camera at 1656 x 860 px, from the data set's calibration.
_K = np.array([[945.391406, 0.0, 855.502825], [0.0, 945.668274, 566.372868], [0.0, 0.0, 1.0]])
# Its mount in the rendered vehicle: forward, left, m.
_MOUNT = (1.2, 0.4)
# Logs whose published training lines start with the first, so that short lists are read too.
_LOGS = (4, 3, 5, 2)
_TRAIN_DATES = {2: '2017-10-26', 3: '2017-08-04', 4: '2017-10-26', 5: '2017-08-04'}
_TEST_DATES = {2: '2017-08-04', 3: '2017-08-04', 4: '2017-08-04', 5: '2017-10-26'}


class FordWriter(LayoutWriter):
    """Ford Multi-AV: front-left pictures of drives, and satellite tiles."""

    NAME: ClassVar[str] = 'ford'
    LAYOUT: ClassVar[str] = (
        '<date>/V2/Log<n>/<date>-V2-Log<n>-FL/<stamp>.png\n'
        '<date>/V2/Log<n>/SatelliteMaps_18/<lat>_<lon>.png\n'
        '<date>/V2/Log<n>/grd_sat_quaternion_latlon.txt, ..._test.txt\n'
        'Calibration-V2/V2/cameraFrontLeft_body.yaml, cameraFrontLeftIntrinsics.yaml'
    )
    DRIVES: ClassVar[bool] = True
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = ford.IMAGE_SIZE
    AERIAL_GSD: ClassVar[float | None] = 0.2
    AERIAL_REACH_M: ClassVar[float] = 150.0

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """The front-left camera, level."""
        full = PinholeCamera(*ford.IMAGE_SIZE, fx=_K[0, 0], fy=_K[1, 1], cx=_K[0, 2], cy=_K[1, 2])
        mount = mounted(*_MOUNT, ford.CAMERA_HEIGHT_M, 0.0)
        return Rig(full.resized(width, height), mount)

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """'Log<n>'; the part of the data set decides on its day."""
        return f'Log{_LOGS[(city + number) % len(_LOGS)]}'

    @classmethod
    def datum(cls, city: int) -> Datum:
        """In Dearborn, Michigan."""
        return Datum(42.294244, -83.21 + 0.02 * city, 150.0)

    def files(self, place: Place) -> Sequence[Path]:
        """Tile and picture."""
        folder = self.root / log_of(place)
        lat, lon = tile_middle(place)
        return [
            folder / ford.SATELLITE_FOLDER / f'{lat}_{lon}.png',
            folder / ford.image_folder(log_of(place)) / f'{_name(place)}.png',
        ]

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes the picture, its tile and the calibration if they are not there yet."""
        if aerial is None:
            raise DataError('Ford needs an aerial picture to cut its tiles from')
        self.note(shot)
        tile, image = self.files(shot.place)
        lat, lon = (float(word) for word in tile_middle(shot.place))
        # Zoom 18 at scale 2 has the pixels of zoom 19.
        self.put_once(tile, lambda: files.png(aerial.mercator(lat, lon, ZOOM + 1, TILE_PX)))
        for name, text in ford.calibration_texts(_calibration(shot)).items():
            path = self.root / ford.CALIBRATION_FOLDER / name
            self.put_once(path, lambda text=text: text.encode())  # type: ignore[misc]
        self.put(image, files.png(shot.image))

    def finish(self) -> None:
        """Writes the lists of all logs; those for testing with their noise."""
        rows: dict[Path, list[str]] = {}
        for place in self.places:
            test = place.split == 'test'
            name = ford.TEST_LIST_FILE if test else ford.LIST_FILE
            line = label_line(place)
            if test:
                noise = np.random.default_rng(place.index).uniform(-1, 1, 3)
                line += ''.join(f' {value!r}' for value in noise.tolist())
            rows.setdefault(self.root / log_of(place) / name, []).append(line)
        for path, lines in rows.items():
            self.put_text(path, lines)


def log_of(place: Place) -> str:
    """Folder of a place's log, '<date>/V2/Log<n>'."""
    number = int(place.sequence.removeprefix('Log'))
    date = (_TEST_DATES if place.split == 'test' else _TRAIN_DATES)[number]
    return f'{date}/V2/{place.sequence}'


def tile_middle(place: Place) -> tuple[str, str]:
    """Latitude and longitude of a place's tile as its name holds them."""
    lat, lon = _latlon(place)
    return f'{lat:.4f}', f'{lon:.4f}'


def label_line(place: Place) -> str:
    """A list's line: picture, quaternion w x y z, body, tile."""
    lat, lon = _latlon(place)
    # The label's yaw counts from the true north of its own place.
    turn = float(place.frame.convergence(lat, lon))
    R = se3.rotation_from_rpy(0.0, 0.0, -turn) @ place.T_map_base[:3, :3]
    numbers = [*ford.list_quaternion(R).tolist(), lat, lon]
    words = [f'{_name(place)}.png', *(repr(value) for value in numbers), *tile_middle(place)]
    return ' '.join(words)


def _name(place: Place) -> str:
    """Microseconds, 16 digits."""
    return f'{place.stamp_ns // 1000:016d}'


def _latlon(place: Place) -> tuple[float, float]:
    lat, lon, _ = place.frame.geodetic_from_enu(place.T_map_base[:3, 3])
    return float(lat), float(lon)


def _calibration(shot: Shot) -> ford.Calibration:
    camera = shot.camera
    if not isinstance(camera, PinholeCamera) or camera.is_distorted:
        raise DataError(f'Ford pictures are rectified pinhole views, not {camera}')
    T = shot.T_base_camera
    mount = se3.make(ford.FLU_FROM_FRD.T @ T[:3, :3], ford.FLU_FROM_FRD.T @ T[:3, 3])
    return ford.Calibration(camera.K, (camera.width, camera.height), mount)
