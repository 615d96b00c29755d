# SPDX-License-Identifier: Apache-2.0
"""Writes VIGOR's layout (Zhu et al., CVPR 2021): north-aligned panoramas and overlapping tiles.

Tiles are pieces of Web Mercator, 640 px at zoom 20, whose middles are half a tile apart, so that
each panorama lies in the central quarter of one (its positive) and in three others
(semi-positives). Both releases of the labels are written: `splits__corrected`, and `splits` with
the first release's mistake of one ground sampling distance for all cities.

Every tile has a semantic mask, as `point_prompt_mask` of the fusion transformer's authors: the
roads that the tile shows. Theirs was found in the pictures; this one is exact, but lies on the
picture too, registration error, leaning tops and all, and ends where a crown or a car hides a
road.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3, tiles
from geoloc_core.geometry.cameras import EquirectangularCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.render.labels import Label as Surface
from geoloc_core.simulation.robots.drive import mounted

Array = NDArray[np.float64]

ZOOM = 20
TILE_PX = 640
STEP_PX = TILE_PX // 2
CAMERA_HEIGHT_M = 2.0
MASK_FOLDER = 'point_prompt_mask'
# m/px of the tiles as published methods use them, and the one number of the first release.
GSD_640 = {
    'NewYork': 0.113248,
    'Seattle': 0.100817,
    'SanFrancisco': 0.118141,
    'Chicago': 0.111262,
}
ORIGINAL_GSD = 0.114
_LON_DEG = {
    'NewYork': -73.985,
    'Seattle': -122.335,
    'SanFrancisco': -122.430,
    'Chicago': -87.655,
}
CITIES = tuple(GSD_640)
# Worlds of one city lie this far apart: 1.5 km or more, so that they do not overlap.
_DISTRICT_LON_DEG = 0.02
NORTH = np.pi / 2


@dataclass(frozen=True)
class Label:
    """One line of a label file.

    Attributes:
        panorama: File name.
        tiles: File names of the positive and the three semi-positives.
        centers: (4, 2) their latitudes and longitudes, degrees.
        delta_px: (4, 2) (d_row, d_col): the camera lies at row 320 + d_row, column 320 - d_col.
    """

    panorama: str
    tiles: tuple[str, ...]
    centers: Array
    delta_px: Array


class VigorWriter(LayoutWriter):
    """VIGOR: four cities of panoramas and satellite tiles."""

    NAME: ClassVar[str] = 'vigor'
    LAYOUT: ClassVar[str] = (
        '{NewYork,Seattle,SanFrancisco,Chicago}/panorama/<id>,<lat>,<lon>,.jpg\n'
        '{...}/satellite/satellite_<lat>_<lon>.png\n'
        '{...}/point_prompt_mask/satellite_<lat>_<lon>_mask.tif\n'
        'splits/<city>/{satellite_list,pano_label_balanced,same_area_balanced_{train,test}}.txt\n'
        'splits__corrected/<city>/...__corrected.txt'
    )
    NORTH_ALIGNED: ClassVar[bool] = True
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = (2048, 1024)
    # Finer than any tile: one ray a pixel, and tiles average about two of them.
    AERIAL_GSD: ClassVar[float | None] = 0.08
    # The far edge of a semi-positive, with the largest pixels of the four cities.
    AERIAL_REACH_M: ClassVar[float] = 77.0
    AERIAL_CLASSES: ClassVar[tuple[Surface, ...]] = (Surface.ROAD, Surface.MARKING)
    # The second has masks.
    REVISION: ClassVar[int] = 2

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """A panorama two metres over the ground."""
        if width != 2 * height:
            raise DataError(f'a panorama of {width} x {height}: expected twice as wide as high')
        camera = EquirectangularCamera(width, height)
        return Rig(camera, mounted(0.0, 0.0, CAMERA_HEIGHT_M, 0.0))

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """One of the four cities."""
        return CITIES[city % len(CITIES)]

    @classmethod
    def datum(cls, city: int) -> Datum:
        """In a city of that name, at the latitude where Web Mercator has its published GSD."""
        name = cls.sequence(city, 0)
        lat = np.degrees(np.arccos(GSD_640[name] / tiles.gsd(0.0, ZOOM)))
        lon = _LON_DEG[name] + _DISTRICT_LON_DEG * (city // len(CITIES))
        return Datum(round(float(lat), 6), lon, 0.0)

    @classmethod
    def aligned(cls, place: Place) -> Place:
        """Facing north, on a whole pixel of its tiles: labels count in those."""
        px, lattice = _world_px(place), _lattice_px(place)
        px = lattice + np.rint(px - lattice)
        lon, lat = tiles.lonlat_from_pixel(px[0], px[1], ZOOM)
        xyz = place.frame.enu_from_geodetic(lat, lon, place.frame.datum.alt_m)
        T = se3.from_planar(float(xyz[0]), float(xyz[1]), NORTH)
        return replace(place, T_map_base=T)

    def files(self, place: Place) -> Sequence[Path]:
        """The panorama and its four tiles with their masks."""
        label, folder = label_of(place), self.root / place.sequence
        return [
            *(folder / 'satellite' / name for name in label.tiles),
            *(folder / MASK_FOLDER / mask_name(name) for name in label.tiles),
            folder / 'panorama' / label.panorama,
        ]

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes the panorama, and those of its tiles and masks that are not there yet."""
        if aerial is None:
            raise DataError('VIGOR needs an aerial picture to cut its tiles from')
        T = shot.T_map_camera
        # Optical z is forward, -y is up.
        if T[1, 2] < 1 - 1e-6 or T[2, 1] > -1 + 1e-6:
            raise DataError(
                f'shot {shot.index}: VIGOR panoramas stand upright and look north; this one '
                f'looks along {np.round(T[:3, 2], 4)}'
            )
        self.note(shot)
        label, folder = label_of(shot.place), self.root / shot.sequence
        for name, (lat, lon) in zip(label.tiles, label.centers, strict=True):

            def tile(lat: float = lat, lon: float = lon) -> bytes:
                return files.png(aerial.mercator(lat, lon, ZOOM, TILE_PX))

            def mask(lat: float = lat, lon: float = lon) -> bytes:
                return files.tiff(aerial.mercator_mask(lat, lon, ZOOM, TILE_PX))

            self.put_once(folder / 'satellite' / name, tile)
            self.put_once(folder / MASK_FOLDER / mask_name(name), mask)
        self.put(folder / 'panorama' / label.panorama, files.jpeg(shot.image))

    def finish(self) -> None:
        """Writes both releases of the split files, of all four cities."""
        for city in CITIES:
            labels = [(label_of(p), p.split) for p in self.places if p.sequence == city]
            if not labels:
                continue
            satellites = sorted({name for label, _ in labels for name in label.tiles})
            # The first release divided metres by one GSD for all cities.
            scale = GSD_640[city] / ORIGINAL_GSD
            for folder, suffix, factor in (
                ('splits', '', scale),
                ('splits__corrected', '__corrected', 1.0),
            ):
                to = self.root / folder / city
                self.put_text(to / 'satellite_list.txt', satellites)
                parts = {
                    'pano_label_balanced': ('train', 'test'),
                    'same_area_balanced_train': ('train',),
                    'same_area_balanced_test': ('test',),
                }
                for stem, splits in parts.items():
                    lines = [line_of(label, factor) for label, split in labels if split in splits]
                    self.put_text(to / f'{stem}{suffix}.txt', lines)


def label_of(place: Place) -> Label:
    """The label of a place."""
    px, lattice = _world_px(place), _lattice_px(place)
    cell = np.rint((px - lattice) / STEP_PX)
    off = px - lattice - cell * STEP_PX
    # The other three are those around the quarter of the positive in which the camera stands.
    step = np.where(off < 0, -1.0, 1.0)
    cells = cell + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) * step
    middles = lattice + cells * STEP_PX
    lon, lat = tiles.lonlat_from_pixel(middles[:, 0], middles[:, 1], ZOOM)
    d = px - middles
    own_lat, own_lon = _latlon(place)
    return Label(
        f'{_panorama_id(place)},{own_lat:.6f},{own_lon:.6f},.jpg',
        tuple(f'satellite_{a:.10f}_{b:.10f}.png' for a, b in zip(lat, lon, strict=True)),
        np.stack([lat, lon], axis=-1),
        np.stack([d[:, 1], -d[:, 0]], axis=-1),
    )


def mask_name(tile: str) -> str:
    """The mask of a tile, both by their file names."""
    return f'{tile.removesuffix(".png")}_mask.tif'


def line_of(label: Label, factor: float = 1.0) -> str:
    """The label as a line of 13 tokens; offsets times `factor`, in whole pixels."""
    tokens = [label.panorama]
    for name, delta in zip(label.tiles, label.delta_px, strict=True):
        # Adding zero turns -0.0 into 0.0.
        d_row, d_col = np.rint(delta * factor) + 0.0
        tokens += [name, f'{d_row:.1f}', f'{d_col:.1f}']
    return ' '.join(tokens)


def _panorama_id(place: Place) -> str:
    """22 characters, as the publisher's."""
    digest = sha256(f'{place.sequence} {place.index}'.encode()).digest()
    return urlsafe_b64encode(digest)[:22].decode()


def _latlon(place: Place) -> tuple[float, float]:
    lat, lon, _ = place.frame.geodetic_from_enu(place.T_map_base[:3, 3])
    return float(lat), float(lon)


def _world_px(place: Place) -> Array:
    """(2,) the place in pixels of the Mercator world, x east, y south."""
    lat, lon = _latlon(place)
    return np.stack(tiles.pixel_from_lonlat(lon, lat, ZOOM))


def _lattice_px(place: Place) -> Array:
    """(2,) the middle of the tile at the datum; the others lie whole steps away."""
    datum = place.frame.datum
    return np.rint(np.stack(tiles.pixel_from_lonlat(datum.lon_deg, datum.lat_deg, ZOOM)))
