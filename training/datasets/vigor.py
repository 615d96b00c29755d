# SPDX-License-Identifier: Apache-2.0
"""VIGOR (Zhu et al., CVPR 2021): street-view panoramas of four cities, each in an aerial tile."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.geometry import angles, se3, tiles
from geoloc_core.geometry.cameras import EquirectangularCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch, GroundView, PosePrior
from training.datasets import vigor_labels
from training.datasets.base import AbstractDataset, read_rgb
from training.datasets.completeness import absent_files
from training.datasets.panorama import NORTH, turned, upright_mount
from training.datasets.protocol import fractions, Protocol
from training.datasets.sample import Sample
from training.datasets.vigor_labels import CITIES, CityLabels, GSD_640, LABEL_SETS, TILE_PX, ZOOM
from training.datasets.vigor_masks import (
    absent_masks,
    MASK_FOLDER,
    mask_path,
    read_mask,
    require_masks,
)
from training.datasets.vigor_orientations import by_name, by_order
from training.datasets.vigor_splits import DIVISIONS, in_validation, read_city, refuse_leak

Array = NDArray[np.float64]

_HALF_YAW = {'aligned': 0.0, '+-45': np.pi / 4, '+-180': np.pi}
PROTOCOLS = tuple(f'{area} {yaw}' for area in ('same-area', 'cross-area') for yaw in _HALF_YAW)
# Positives lie in the central quarter of their tile, give or take a few pixels.
_HALF_QUARTER_PX = TILE_PX / 4


class Vigor(AbstractDataset):
    """VIGOR: four cities, same-area and cross-area, any spelling of its label files.

    Convention: the map frame of a sample is ENU at the middle of its (positive) tile. Panoramas
    are north-aligned: the centre column looks north, so an unturned one has yaw pi/2. The camera
    stands upright; its height over the ground is not published, and 2.0 m is what the field
    assumes.

    A tile is a piece of Web Mercator, taken here as square pixels of one size. Over the 36 m from
    its middle to its edge the change of that size and the turn of the meridians displace a point
    by less than a millimetre. What is larger: the sphere of Web Mercator against the ellipsoid,
    up to 0.3 % of a distance (a decimetre at the edge), and the cities' published GSDs against
    Mercator's at the same latitude, 0.1 %.

    `label` of a sample is TRUTH, because the field scores against it; in fact it goes back to the
    GPS tags of the panoramas, and `label_error_m` says how far it is from them.

    Validation takes a fifth of the publisher's training panoramas, chosen by a hash of the name:
    the same ones for any order, spelling or selection of cities. Test panoramas are never in it.
    """

    NAME: ClassVar[str] = 'VIGOR'
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'validation', 'test')
    LAYOUT: ClassVar[str] = (
        '{NewYork,Seattle,SanFrancisco,Chicago}/panorama/<id>,<lat>,<lon>,.jpg\n'
        '{...}/satellite/satellite_<lat>_<lon>.png\n'
        '{...}/point_prompt_mask/satellite_<lat>_<lon>_mask.tif  (optional)\n'
        'splits__corrected/<city>/same_area_balanced_{train,test}__corrected.txt\n'
        'splits__corrected/<city>/pano_label_balanced__corrected.txt\n'
        '(or splits_new/, or splits/, with or without __corrected in the names)'
    )

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        protocol: str = 'same-area aligned',
        cities: Sequence[str] | None = None,
        labels: str = 'corrected',
        gsd: str = 'city',
        semi_positives: bool = False,
        masks: bool = False,
        orientations: Path | str | None = None,
        camera_height_m: float = 2.0,
    ) -> None:
        """Checks the options; label files are read when first needed.

        Args:
            root: Folder with the cities and the split folders.
            split: 'train', 'validation' or 'test'.
            seed: Of the draws of orientation.
            protocol: One of `PROTOCOLS`: area, and how well the heading is known.
            cities: A selection of the protocol's cities; None for all of which there is any
                trace on disk (`missing` and the protocol's name tell of the others).
            labels: 'corrected', 'original' (the first release), or 'gps' (from the names).
            gsd: 'city' for the published m/px of each city, 'mercator' for Web Mercator's at the
                tile's latitude.
            semi_positives: Also read the other tiles that show the place.
            masks: Also read the tiles' semantic masks. Where a file of them is absent, the mask is
                all 0, as in the method's published code; how many are is logged once.
            orientations: Fixed orientations of a test with unknown heading: CCVPE's .npy (by
                order), or SliceMatch's text file or a folder of them (by name).
            camera_height_m: Of the panorama's centre over the ground.

        Raises:
            DataError: No such folder or split, or masks of which none are there.
            ConfigError: An option is not one of those named.
        """
        super().__init__(root, split, seed=seed)
        for value, name, allowed in (
            (protocol, 'protocol', PROTOCOLS),
            (labels, 'labels', LABEL_SETS),
            (gsd, 'gsd', ('city', 'mercator')),
        ):
            if value not in allowed:
                raise ConfigError(f'VIGOR has no {name} {value!r}: choose one of {allowed}')
        self.area, self.orientation = protocol.rsplit(' ', 1)
        whole, self.stem = DIVISIONS[self.area, 'test' if split == 'test' else 'train']
        here = tuple(city for city in whole if self._has_trace_of(city)) or whole
        self.left_out = tuple(city for city in whole if cities is None and city not in here)
        chosen = here if cities is None else tuple(cities)
        if not chosen or not set(chosen) <= set(whole):
            raise ConfigError(
                f'VIGOR {self.area} {split} has the cities {whole}: {chosen} is no selection of '
                'them'
            )
        if orientations is not None and (split != 'test' or self.orientation == 'aligned'):
            raise ConfigError(
                f'fixed orientations belong to a test with unknown heading, not to {protocol!r} '
                f'{split}: leave them out'
            )
        self.cities = tuple(city for city in whole if city in chosen)
        self.labels = labels
        self.gsd = gsd
        self.semi_positives = semi_positives
        self.masks = masks
        if masks:
            require_masks(self._city_roots())
        self.orientations = None if orientations is None else Path(orientations)
        self.T_base_camera = upright_mount(camera_height_m)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder holds a city with panoramas or tiles, or VIGOR's split folders."""
        return any(
            (root / city / part).is_dir() for city in CITIES for part in ('panorama', 'satellite')
        ) or any(
            (root / folder / city).is_dir()
            for folder in vigor_labels.SPLIT_FOLDERS
            for city in CITIES
        )

    def _city_roots(self) -> list[Path]:
        return [self.root / city for city in self.cities]

    def _has_trace_of(self, city: str) -> bool:
        """Whether anything of a city lies on disk: then all of it must."""
        folders = ('', *vigor_labels.SPLIT_FOLDERS)
        return any((self.root / folder / city).is_dir() for folder in folders)

    # ---- labels ----

    def _read(self, city: str) -> CityLabels:
        return read_city(self.root, city, self.stem, self.labels)

    @cached_property
    def _files(self) -> tuple[CityLabels, ...]:
        """The whole label file of each city."""
        return tuple(self._read(city) for city in self.cities)

    @cached_property
    def _parts(self) -> tuple[CityLabels, ...]:
        """What belongs to this split, of each city, in the files' order."""
        if self.split == 'test':
            return self._files
        for labels in self._files:
            refuse_leak(self.root, self.area, labels, self.labels)
        return tuple(
            labels.take(
                np.flatnonzero(in_validation(labels.panoramas) == (self.split == 'validation'))
            )
            for labels in self._files
        )

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([len(part) for part in self._parts])

    def _place(self, index: int) -> tuple[CityLabels, int]:
        """The city's labels and the row in them of a sample."""
        part = int(np.searchsorted(self._ends, index, side='right'))
        return self._parts[part], index - int(self._ends[part] - len(self._parts[part]))

    @cached_property
    def keys(self) -> Sequence[str]:
        """`<city>_<panorama id>` of all samples.

        Raises:
            DataError: A label file is absent, damaged, of the wrong version, or names a panorama
                twice.
        """
        if not any(len(labels) for labels in self._files):
            paths = ', '.join(str(labels.path) for labels in self._files)
            raise DataError(f'{paths}: no labels; expected a panorama and four tiles a line')
        keys = tuple(
            f'{part.city}_{name.split(",", 1)[0]}'
            for part in self._parts
            for name in part.panoramas
        )
        twice = next((key for key, count in Counter(keys).items() if count > 1), None)
        if twice is not None:
            raise DataError(f'{self.root}: two panoramas are called {twice}; ids must be unique')
        # Looked up, and told of, before the reader travels to any worker.
        _ = self._absent_masks
        return keys

    @cached_property
    def protocol(self) -> Protocol:
        """The rules, with the bounds of the city with the largest tiles."""
        half_m = _HALF_QUARTER_PX * max(GSD_640[city] for city in self.cities)
        whole = DIVISIONS[self.area, 'test' if self.split == 'test' else 'train'][0]
        # A figure of some of the cities must not pass for one of all.
        part = '' if self.cities == whole else f' ({", ".join(self.cities)} only)'
        return Protocol(
            f'{self.area} {self.orientation}{part}',
            half_m,
            half_m,
            _HALF_YAW[self.orientation],
            split=self.split,
        )

    @cached_property
    def _fixed_turns(self) -> Array | None:
        """(N,) rad CCW from north, of a published test; None to draw."""
        if self.orientations is None:
            return None
        if self.orientations.suffix != '.npy':
            names = [name for part in self._parts for name in part.panoramas]
            return by_name(self.orientations, names)
        whole = DIVISIONS[self.area, 'test'][0]
        sizes = [
            len(self._parts[self.cities.index(city)] if city in self.cities else self._read(city))
            for city in whole
        ]
        chosen = np.repeat([city in self.cities for city in whole], sizes)
        return by_order(self.orientations, sum(sizes))[chosen]

    def label_error_m(self, index: int) -> float:
        """Distance (m) between the label and the panorama's GPS tag."""
        labels, row = self._place(index)
        off = labels.delta_px[row, 0] - labels.gps_delta_px[row, 0]
        return float(np.hypot(*off) * self._gsd_640(labels, row))

    # ---- samples ----

    def _gsd_640(self, labels: CityLabels, row: int) -> float:
        if self.gsd == 'city':
            return GSD_640[labels.city]
        return tiles.gsd(float(labels.tile_latlon[row, 0, 0]), ZOOM)

    def _tiles_shown(self, labels: CityLabels, row: int) -> list[int]:
        """Which of the four tiles to read: the positive, then others that contain the place."""
        inside = np.abs(self._delta(labels, row)).max(axis=-1) < TILE_PX / 2
        return [0, *(k for k in (1, 2, 3) if self.semi_positives and inside[k])]

    def _delta(self, labels: CityLabels, row: int) -> Array:
        return (labels.gps_delta_px if self.labels == 'gps' else labels.delta_px)[row]

    def _mask_path(self, labels: CityLabels, row: int) -> Path:
        return mask_path(self.root / labels.city, labels.tiles[row][0])

    @cached_property
    def _absent_masks(self) -> frozenset[Path]:
        """Masks of this split that were not there when it was first looked at."""
        if not self.masks:
            return frozenset()
        wanted = [self._mask_path(part, row) for part in self._parts for row in range(len(part))]
        return absent_masks(self._city_roots(), wanted)

    def files(self, index: int) -> tuple[Path, ...]:
        """The panorama, the tiles, and the mask where asked for and not known to be absent."""
        labels, row = self._place(index)
        folder = self.root / labels.city
        paths = [folder / 'panorama' / labels.panoramas[row]]
        paths += [
            folder / 'satellite' / labels.tiles[row][k] for k in self._tiles_shown(labels, row)
        ]
        if self.masks and (mask := self._mask_path(labels, row)) not in self._absent_masks:
            paths.append(mask)
        return tuple(paths)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Reads one sample; see `AbstractDataset.sample`."""
        labels, row = self._place(index)
        paths = self.files(index)
        shown = self._tiles_shown(labels, row)
        image = read_rgb(paths[0])
        height, width = image.shape[:2]
        if width != 2 * height:
            raise DataError(
                f'{paths[0]}: {width} x {height}; expected a whole panorama, twice as wide as high'
            )
        image, yaw = turned(image, self._turn(index, epoch))
        gsd = self._gsd_640(labels, row)
        delta = self._delta(labels, row)
        xy = angles.xy_from_vigor_delta(delta, gsd)
        if np.abs(delta[0]).max() > TILE_PX / 2:
            raise DataError(
                f'{labels.path}, line {labels.lines[row]}: by the GPS tags {labels.panoramas[row]}'
                f' lies outside its tile {labels.tiles[row][0]}'
            )
        # Each tile is laid so that its own label is true of it.
        patches = [
            _patch(path, xy[0] - xy[k], gsd)
            for path, k in zip(paths[1 : 1 + len(shown)], shown, strict=True)
        ]
        T_map_base = se3.from_planar(xy[0, 0], xy[0, 1], yaw)
        return Sample(
            key=self.keys[index],
            sequence=labels.city,
            view=GroundView(0, image, EquirectangularCamera(width, height), self.T_base_camera),
            T_map_base=T_map_base,
            patch=patches[0],
            prior=self._prior(labels, T_map_base, yaw),
            datum=Datum(*labels.tile_latlon[row, 0].tolist()),
            other_patches=tuple(patches[1:]),
            patch_classes=self._mask(labels, row, patches[0]),
        )

    def _mask(self, labels: CityLabels, row: int, patch: AerialPatch) -> NDArray[np.uint8] | None:
        if not self.masks:
            return None
        path = self._mask_path(labels, row)
        return read_mask(None if path in self._absent_masks else path, patch.image.shape[:2])

    def _turn(self, index: int, epoch: int) -> float:
        """How far to turn the panorama from north, rad CCW."""
        if self._fixed_turns is not None:
            return float(self._fixed_turns[index])
        epoch = epoch if self.split == 'train' else 0
        return fractions(self.seed, index, epoch, 1)[0] * _HALF_YAW[self.orientation]

    def _prior(self, labels: CityLabels, T_map_base: Array, yaw: float) -> PosePrior:
        """The middle of the tile, facing north: where and how far off says the protocol."""
        half_m = _HALF_QUARTER_PX * GSD_640[labels.city]
        protocol = replace(self.protocol, half_x_m=half_m, half_y_m=half_m)
        back = 0.0
        if protocol.half_yaw:
            back = float(angles.difference(NORTH, yaw)) / protocol.half_yaw
        x, y = -T_map_base[:2, 3] / half_m
        return protocol.prior(0, T_map_base, (x, y, back))

    # ---- completeness ----

    def missing(self) -> Sequence[str]:
        """Label files, panoramas and tiles of this split that are not there."""
        found = [
            f'{city}: nothing of it lies in {self.root}; the protocol has it: put its folder and '
            f'its labels there, or do without it (cities=[{",".join(self.cities)}])'
            for city in self.left_out
        ]
        for city in self.cities:
            try:
                labels = self._parts[self.cities.index(city)]
            except DataError:
                # One city's labels may be there although another's are not.
                try:
                    labels = self._read(city)
                except DataError as error:
                    found.append(str(error))
                    continue
            if not len(labels) and not len(self._read(city)):
                found.append(f'{city}: {labels.path} is empty: fetch the list again')
            found += absent_files(
                self.root / city / 'panorama', labels.panoramas, 'panoramas', city
            )
            positives = [names[0] for names in labels.tiles]
            found += absent_files(self.root / city / 'satellite', positives, 'tiles', city)
            if self.masks:
                names = [self._mask_path(labels, row).name for row in range(len(labels))]
                found += absent_files(self.root / city / MASK_FOLDER, names, 'masks', city)
        return found


def _patch(path: Path, center_xy: Array, gsd_640: float) -> AerialPatch:
    image = read_rgb(path)
    height, width = image.shape[:2]
    if width != height:
        raise DataError(f'{path}: {width} x {height}; expected a square tile')
    grid = Grid(
        (float(center_xy[0]), float(center_xy[1])), gsd_640 * TILE_PX / width, width, height
    )
    return AerialPatch(image, np.ones((height, width), dtype=bool), grid, 'Google')
