# SPDX-License-Identifier: Apache-2.0
"""Writes CVACT's layout (Liu and Li, CVPR 2019): panoramas, each with an aerial picture.

The aerial picture lies around the place itself; `ACT_data.mat` says where that is, in UTM.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyproj

from geoloc_core.errors import DataError
from geoloc_core.geometry.cameras import EquirectangularCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.cvusa import latlon, refuse_turned
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.robots.drive import mounted

# Pixels of zoom 20 at scale 2 are those of zoom 21.
ZOOM = 21
TILE_PX = 1200
CAMERA_HEIGHT_M = 2.0
UTM = 'EPSG:32755'
# MATLAB files begin with 116 characters of text; the time of writing would be among them.
_HEADER = b'MATLAB 5.0 MAT-file'.ljust(116)


class CvactWriter(LayoutWriter):
    """CVACT: pairs in Canberra."""

    NAME: ClassVar[str] = 'cvact'
    LAYOUT: ClassVar[str] = (
        'ACT_data.mat\n'
        'ANU_data_small/{streetview/<id>_grdView,satview_polish/<id>_satView_polish}.jpg\n'
        'ANU_data_test/{...}'
    )
    NORTH_ALIGNED: ClassVar[bool] = True
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = (1664, 832)
    AERIAL_GSD: ClassVar[float | None] = 0.06
    AERIAL_REACH_M: ClassVar[float] = 37.0
    SPLITS: ClassVar[dict[str, float]] = {'train': 0.6, 'validation': 0.2, 'test': 0.2}

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """A panorama two metres over the ground."""
        if width != 2 * height:
            raise DataError(f'a panorama of {width} x {height}: expected twice as wide as high')
        camera = EquirectangularCamera(width, height)
        return Rig(camera, mounted(0.0, 0.0, CAMERA_HEIGHT_M, 0.0))

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """All pairs are in one list."""
        return 'CVACT'

    @classmethod
    def datum(cls, city: int) -> Datum:
        """In Canberra."""
        return Datum(-35.28, 149.05 + 0.02 * city, 0.0)

    def files(self, place: Place) -> Sequence[Path]:
        """The aerial picture and the panorama."""
        folder = self.root / ('ANU_data_test' if place.split == 'test' else 'ANU_data_small')
        name = _id(place)
        return [
            folder / 'satview_polish' / f'{name}_satView_polish.jpg',
            folder / 'streetview' / f'{name}_grdView.jpg',
        ]

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes the two pictures of a pair."""
        if aerial is None:
            raise DataError('CVACT needs an aerial picture to cut its tiles from')
        refuse_turned(shot, 'CVACT')
        self.note(shot)
        lat, lon = latlon(shot.place)
        tile, panorama = self.files(shot.place)
        self.put(tile, files.jpeg(aerial.mercator(lat, lon, ZOOM, TILE_PX)))
        self.put(panorama, files.jpeg(shot.image))

    def finish(self) -> None:
        """Writes names, positions and splits."""
        from scipy.io import savemat

        to_utm = pyproj.Transformer.from_crs('EPSG:4326', UTM, always_xy=True)
        places = self.places
        utm = [to_utm.transform(*latlon(place)[::-1]) for place in places]

        def indices(split: str) -> np.ndarray:
            rows = [i for i, place in enumerate(places, 1) if place.split == split]
            return np.array(rows, dtype=np.int32)[:, None]

        buffer = BytesIO()
        savemat(
            buffer,
            {
                'panoIds': np.array([_id(place) for place in places]),
                'utm': np.array(utm, dtype=np.float64).reshape(-1, 2),
                'trainSet': {'trainInd': indices('train')},
                'valSet': {'valInd': indices('validation')},
                'valSetAll': {'valInd': indices('test')},
            },
        )
        data = buffer.getvalue()
        self.put(self.root / 'ACT_data.mat', _HEADER + data[len(_HEADER) :])


def _id(place: Place) -> str:
    """22 characters, as the publisher's."""
    digest = sha256(f'{place.sequence} {place.index}'.encode()).digest()
    return urlsafe_b64encode(digest)[:22].decode()
