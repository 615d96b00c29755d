# SPDX-License-Identifier: Apache-2.0
"""Writes the layout of Aachen Day-Night v1.0 (Sattler et al., CVPR 2018): photographs of a city.

As published, the database's poses are in an NVM model (world-to-camera quaternion, camera centre),
intrinsics are SIMPLE_RADIAL in lists, and the queries' poses are written nowhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import cv2

from geoloc_core.formats.colmap import simple_radial_line
from geoloc_core.formats.nvm import camera_lines
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.robots.drive import mounted

# A camera's field of view and distortion, in units of the width.
_FOCAL, _K = 0.85, -0.04
_FOLDERS = {'train': 'db', 'day': 'query/day/milestone', 'night': 'query/night/nexus5x'}
_LISTS = {
    'train': '3D-models/database_intrinsics.txt',
    'day': 'queries/day_time_queries_with_intrinsics.txt',
    'night': 'queries/night_time_queries_with_intrinsics.txt',
}


class AachenWriter(LayoutWriter):
    """Aachen Day-Night: a database with poses, queries without."""

    NAME: ClassVar[str] = 'aachen'
    LAYOUT: ClassVar[str] = (
        'images/images_upright/{db,query/day/milestone,query/night/nexus5x}/N.jpg\n'
        '3D-models/{aachen_cvpr2018_db.nvm,database_intrinsics.txt}\n'
        'queries/{day,night}_time_queries_with_intrinsics.txt'
    )
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = (1600, 1200)
    SPLITS: ClassVar[dict[str, float]] = {'train': 0.82, 'day': 0.16, 'night': 0.02}

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """A photographer's camera at eye height, with one coefficient of distortion."""
        # The principal point is the picture's middle, as in the published lists.
        camera = PinholeCamera(
            width,
            height,
            _FOCAL * width,
            _FOCAL * width,
            (width - 1) / 2,
            (height - 1) / 2,
            (_K, 0.0, 0.0, 0.0),
        )
        return Rig(camera, mounted(0.0, 0.0, 1.6, 0.0))

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """The one city."""
        return 'aachen'

    def files(self, place: Place) -> Sequence[Path]:
        """The photograph."""
        return (self.root / 'images/images_upright' / self._name(place),)

    @staticmethod
    def _name(place: Place) -> str:
        return f'{_FOLDERS[place.split]}/{place.index}.jpg'

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes the photograph."""
        self.note(shot)
        (path,) = self.files(shot.place)
        self.put(path, files.jpeg(shot.image))

    def finish(self) -> None:
        """Writes the model of the database and the lists of intrinsics."""
        rig = self.rig(*self._size())
        assert isinstance(rig.camera, PinholeCamera)
        names = {
            split: [self._name(p) for p in self.places if p.split == split] for split in _LISTS
        }
        for split, path in _LISTS.items():
            lines = [simple_radial_line(name, rig.camera) for name in names[split]]
            self.put_text(self.root / path, lines)
        poses = {
            self._name(p): p.T_map_base @ rig.T_base_camera
            for p in self.places
            if p.split == 'train'
        }
        focals = dict.fromkeys(poses, rig.camera.fx)
        self.put_text(self.root / '3D-models/aachen_cvpr2018_db.nvm', camera_lines(poses, focals))

    def _size(self) -> tuple[int, int]:
        """(width, height) of the pictures: a run that continues another asks the files."""
        for place in self.places:
            image = cv2.imread(str(self.files(place)[0]), cv2.IMREAD_GRAYSCALE)
            if image is not None:
                return image.shape[1], image.shape[0]
        return self.DEFAULT_SIZE
