# SPDX-License-Identifier: Apache-2.0
"""Writes CVUSA (Zhai et al., CVPR 2017): strips of panoramas, each with an aerial picture.

Numbers count from 1. The aerial picture lies around the place itself; `split_locations/all.csv`
says where that is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from geoloc_core.errors import DataError
from geoloc_core.geometry.cameras import PanoramaCropCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.robots.drive import mounted

ZOOM = 19
TILE_PX = 750
CAMERA_HEIGHT_M = 2.0
# The strip lies in a panorama of 1232 x 616 px; so many of its rows are gone above.
FULL_PX = (1232, 616)
STRIP_PX = (1232, 224)
ROWS_CUT = 176

# The publisher's names of our splits.
_FILES = {'train': 'train', 'validation': 'val'}


class CvusaWriter(LayoutWriter):
    """CVUSA: one long list of pairs, with the panoramas' semantic classes."""

    NAME: ClassVar[str] = 'cvusa'
    LAYOUT: ClassVar[str] = (
        'splits/{train,val}-19zl.csv\n'
        'bingmap/19/<number>.jpg\n'
        'streetview/panos/<number>.jpg\n'
        'streetview/annotations/<number>.png\n'
        'split_locations/all.csv'
    )
    NORTH_ALIGNED: ClassVar[bool] = True
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = STRIP_PX
    AERIAL_GSD: ClassVar[float | None] = 0.22
    AERIAL_REACH_M: ClassVar[float] = 88.0
    SPLITS: ClassVar[dict[str, float]] = {'train': 0.8, 'validation': 0.2}

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """A strip of a panorama two metres over the ground."""
        if abs(height * STRIP_PX[0] - width * STRIP_PX[1]) > 0.5 * STRIP_PX[0]:
            raise DataError(
                f'a strip of {width} x {height}: expected the shape of {STRIP_PX[0]} x '
                f'{STRIP_PX[1]}, e.g. 616 x 112'
            )
        camera = PanoramaCropCamera(*STRIP_PX, *FULL_PX, top=ROWS_CUT)
        if (width, height) != STRIP_PX:
            camera = camera.resized(width, height)
        return Rig(camera, mounted(0.0, 0.0, CAMERA_HEIGHT_M, 0.0))

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """All pairs are in one list."""
        return 'CVUSA'

    @classmethod
    def datum(cls, city: int) -> Datum:
        """In the middle of the USA."""
        return Datum(38.5, -97.0 + 0.02 * city, 0.0)

    def files(self, place: Place) -> Sequence[Path]:
        """The aerial picture, the classes and the panorama."""
        name = f'{place.index + 1:07d}'
        return [
            self.root / 'bingmap' / str(ZOOM) / f'{name}.jpg',
            self.root / 'streetview' / 'annotations' / f'{name}.png',
            self.root / 'streetview' / 'panos' / f'{name}.jpg',
        ]

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes the three pictures of a pair."""
        if aerial is None:
            raise DataError('CVUSA needs an aerial picture to cut its tiles from')
        refuse_turned(shot, 'CVUSA')
        self.note(shot)
        lat, lon = latlon(shot.place)
        tile, classes, panorama = self.files(shot.place)
        self.put(tile, files.jpeg(aerial.mercator(lat, lon, ZOOM, TILE_PX)))
        labels = shot.labels if shot.labels is not None else np.zeros(shot.image.shape[:2])
        self.put(classes, files.png(labels.astype(np.uint8)))
        self.put(panorama, files.jpeg(shot.image))

    def finish(self) -> None:
        """Writes the lists, and all locations in order of the numbers."""
        if [place.index for place in self.places] != list(range(len(self.places))):
            raise DataError('CVUSA numbers its pairs without gaps: write shots 0, 1, 2 ...')
        for split in self.SPLITS:
            lines = []
            for place in self.places:
                if place.split == split:
                    tile, classes, panorama = (
                        path.relative_to(self.root).as_posix() for path in self.files(place)
                    )
                    lines.append(f'{tile},{panorama},{classes}')
            self.put_text(self.root / 'splits' / f'{_FILES[split]}-19zl.csv', lines)
        rows = []
        for place in self.places:
            lat, lon = latlon(place)
            rows.append(f'{lat:.10f},{lon:.10f},{lat:.10f},{lon:.10f},0')
        self.put_text(self.root / 'split_locations' / 'all.csv', rows)


def refuse_turned(shot: Shot, name: str) -> None:
    """Refuses shots that are not upright or do not look north.

    Raises:
        DataError: The layout has no label that could say so.
    """
    T = shot.T_map_camera
    # Optical z is forward, -y is up.
    if T[1, 2] < 1 - 1e-6 or T[2, 1] > -1 + 1e-6:
        raise DataError(
            f'shot {shot.index}: {name} panoramas stand upright and look north; this one looks '
            f'along {np.round(T[:3, 2], 4)}'
        )


def latlon(place: Place) -> tuple[float, float]:
    """Latitude and longitude of a place, degrees."""
    lat, lon, _ = place.frame.geodetic_from_enu(place.T_map_base[:3, 3])
    return float(lat), float(lon)
