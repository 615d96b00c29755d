# SPDX-License-Identifier: Apache-2.0
"""CVUSA and CVACT: street-view panoramas, each paired with an aerial picture of its place.

Both were made for retrieval: which of many aerial pictures shows where this panorama was taken?
They state no position inside a picture, so a sample's place is the middle of its picture, with
the uncertainty of the positions from which the pairs were made.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
import pyproj

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.geometry import tiles
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    EquirectangularCamera,
    PanoramaCropCamera,
)
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from training.datasets.base import AbsentError
from training.datasets.listfiles import refuse_strays
from training.datasets.pair_base import AbstractPairs, Pair

Array = NDArray[np.float64]

# The publisher's names of our splits.
_FILES = {'train': 'train', 'validation': 'val'}


class Cvusa(AbstractPairs):
    """CVUSA, the subset of Zhai et al., CVPR 2017: 35,532 + 8,884 pairs across the USA.

    Panoramas (1232 x 224) face north: the authors of OriCNN confirm it (their issue 1), and
    SAFA's polar transform relies on it. They are cut to a strip; how much is gone above is
    published nowhere. HC-Net's author completes them to 2:1 with 20 rows less above than below,
    the middle of the strip then lying 20 rows over the horizon: 176 rows are gone above
    (`rows_cut`).

    Aerial pictures (750 x 750) are Bing's of zoom 19 (18 and 20 exist too); a pixel is taken as
    Web Mercator's at that zoom, which agrees with no other published number: papers on synthesis
    use 55 m a side, this gives some 170 m. Where `split_locations/all.csv` of the full data set
    lies beside the lists, it tells the latitude, and where the panorama was taken (its columns,
    as Sample4Geo reads them: latitude and longitude of picture and panorama); elsewhere the place
    on Earth is unknown, the middle of the picture stands for it, and `_NOMINAL_LAT_DEG` for its
    latitude, which makes sizes wrong by up to a sixth.

    `val` is what the field reports on; nothing else is held out by the publisher.
    """

    NAME: ClassVar[str] = 'CVUSA'
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'validation')
    TILE_PX: ClassVar[int] = 750
    ATTRIBUTION: ClassVar[str] = 'Microsoft Bing'
    LAYOUT: ClassVar[str] = (
        'splits/{train,val}-19zl.csv\n'
        'bingmap/19/<number>.jpg\n'
        'streetview/panos/<number>.jpg\n'
        'streetview/annotations/<number>.png  (optional)\n'
        'split_locations/all.csv  (optional)\n'
        '(or all of it in CVPR_subset/)'
    )
    ZOOMS: ClassVar[tuple[int, ...]] = (18, 19, 20)
    PANORAMA: ClassVar[tuple[int, int]] = (1232, 224)
    _NOMINAL_LAT_DEG: ClassVar[float] = 38.5

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        zoom: int = 19,
        classes: bool = False,
        rows_cut: int = 176,
        **options: Any,
    ) -> None:
        """See `AbstractPairs`.

        Args:
            root: Folder that holds `splits`, or `CVPR_subset`.
            split: 'train' or 'validation'.
            zoom: Of the aerial pictures: 18, 19 or 20.
            classes: Also read the panoramas' semantic classes.
            rows_cut: Rows of the full panorama above the strip, of 616.
            options: seed, protocol, std_xy_m, camera_height_m.
        """
        super().__init__(root, split, **options)
        if zoom not in self.ZOOMS:
            raise ConfigError(f'CVUSA has no zoom {zoom}: choose one of {self.ZOOMS}')
        full = self.PANORAMA[0] // 2
        if not 0 <= rows_cut <= full - self.PANORAMA[1]:
            raise ConfigError(f'rows_cut = {rows_cut}: expected 0..{full - self.PANORAMA[1]}')
        self.zoom = zoom
        self.classes = classes
        self.rows_cut = rows_cut

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder holds CVUSA's lists or Bing pictures."""
        return any(
            (base / 'splits' / 'train-19zl.csv').is_file()
            or (base / 'splits' / 'val-19zl.csv').is_file()
            or (base / 'bingmap').is_dir()
            for base in (root, root / 'CVPR_subset')
        )

    @cached_property
    def _base(self) -> Path:
        inner = self.root / 'CVPR_subset'
        return inner if inner.is_dir() and not (self.root / 'splits').is_dir() else self.root

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """See `AbstractPairs.pairs`."""
        path = self._base / 'splits' / f'{_FILES[self.split]}-19zl.csv'
        pairs: dict[str, Pair] = {}
        for number, line in enumerate(_lines(path), 1):
            if not line.strip():
                continue
            fields = [field.strip() for field in line.split(',')]
            if len(fields) < 2 or not all(field.endswith('.jpg') for field in fields[:2]):
                raise DataError(
                    f'{path}, line {number}: {line[:80]!r}; expected bingmap/19/<number>.jpg,'
                    'streetview/panos/<number>.jpg[,streetview/annotations/<number>.png]'
                )
            refuse_strays(path, fields)
            if self.classes and len(fields) < 3:
                raise DataError(f'{path}, line {number}: names no classes; open without them')
            tile = self._base / fields[0]
            if self.zoom != 19:
                tile = tile.parent.parent / str(self.zoom) / tile.name
            name = tile.stem
            if name in pairs:
                raise DataError(f'{path}, line {number}: {name} is listed twice: remove one line')
            classes = self._base / fields[2] if self.classes else None
            pairs[name] = Pair(name, self._base / fields[1], tile, classes)
        if not pairs:
            raise DataError(f'{path}: lists no pairs')
        return tuple(pairs.values())

    @cached_property
    def _locations(self) -> Array | None:
        """(N, 4) latitude, longitude of pictures and of panoramas, by number from 1."""
        path = self._base / 'split_locations' / 'all.csv'
        if not path.is_file():
            return None
        try:
            rows = [line.split(',')[:4] for line in _lines(path) if line.strip()]
            table = np.array(rows, dtype=np.float64).reshape(-1, 4)
        except ValueError as error:
            raise DataError(
                f'{path}: {error}; expected latitude and longitude of picture and panorama a line'
            ) from error
        return table

    def _location(self, index: int) -> Array | None:
        """(4,) of one pair, or None where nothing is known."""
        if self._locations is None:
            return None
        name = self.pairs[index].name
        try:
            number = int(name)
        except ValueError:
            number = 0
        if not 1 <= number <= len(self._locations):
            raise DataError(
                f'{self._base}/split_locations/all.csv has {len(self._locations)} lines, none '
                f'for {name}: it belongs to other lists'
            )
        return self._locations[number - 1]

    def _datum(self, index: int) -> Datum | None:
        location = self._location(index)
        return None if location is None else Datum(float(location[0]), float(location[1]))

    def _xy(self, index: int) -> Array:
        location, datum = self._location(index), self._datum(index)
        if location is None or datum is None:
            return np.zeros(2)
        return EnuFrame(datum).enu_from_geodetic(location[2], location[3], 0.0)[:2]

    def _tile_side_m(self, datum: Datum | None) -> float:
        lat = self._NOMINAL_LAT_DEG if datum is None else datum.lat_deg
        return self.TILE_PX * tiles.gsd(lat, self.zoom)

    def _camera(self, path: Path, width: int, height: int) -> AbstractCamera:
        full_width, strip = self.PANORAMA
        if width == 2 * height:
            return EquirectangularCamera(width, height)
        if abs(height * full_width - width * strip) > 0.5 * full_width:
            raise DataError(
                f"{path}: {width} x {height}; expected CVUSA's strip of {full_width} x {strip}, "
                'or that resized without changing its shape'
            )
        camera = PanoramaCropCamera(
            full_width, strip, full_width, full_width // 2, top=self.rows_cut
        )
        return camera if (width, height) == self.PANORAMA else camera.resized(width, height)


class Cvact(AbstractPairs):
    """CVACT, Liu and Li, CVPR 2019: Canberra; 35,532 + 8,884 pairs, and 92,802 to test on.

    Panoramas (1664 x 832, whole spheres) face north, as SAFA's polar transform relies on. Aerial
    pictures (1200 x 1200) are Google's of zoom 20 at scale 2: 0.061 m a pixel in Canberra, about
    the 0.06 that others use. Positions are UTM of zone 55 south; which column is easting shows in
    the numbers. `train` and `val` lie in `ANU_data_small`, `test` in `ANU_data_test`.

    A few listed pairs of the published archive have no pictures; `missing` counts them.
    """

    NAME: ClassVar[str] = 'CVACT'
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'validation', 'test')
    TILE_PX: ClassVar[int] = 1200
    ATTRIBUTION: ClassVar[str] = 'Google'
    LAYOUT: ClassVar[str] = (
        'ACT_data.mat\n'
        'ANU_data_small/streetview/<id>_grdView.jpg\n'
        'ANU_data_small/satview_polish/<id>_satView_polish.jpg\n'
        'ANU_data_test/{streetview,satview_polish}/...  (test)'
    )
    # Pixels of zoom 20 at scale 2 are those of zoom 21.
    ZOOM: ClassVar[int] = 21
    UTM: ClassVar[str] = 'EPSG:32755'
    _INDICES: ClassVar[dict[str, tuple[str, str]]] = {
        'train': ('trainSet', 'trainInd'),
        'validation': ('valSet', 'valInd'),
        'test': ('valSetAll', 'valInd'),
    }
    _PARTS: ClassVar[tuple[str, str]] = ('ANU_data_small', 'ANU_data_test')

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder holds CVACT's list or one of its parts."""
        return (root / 'ACT_data.mat').is_file() or any(
            (root / part).is_dir() for part in cls._PARTS
        )

    @cached_property
    def _mat(self) -> dict[str, Any]:
        from scipy.io import loadmat

        paths = [
            self.root / 'ACT_data.mat',
            *(self.root / p / 'ACT_data.mat' for p in self._PARTS),
        ]
        path = next((p for p in paths if p.is_file()), None)
        if path is None:
            raise DataError(f'{paths[0]}: absent; it holds all names, positions and splits')
        group, field = self._INDICES[self.split]
        try:
            mat = loadmat(path)
            names = [str(name).strip() for name in np.ravel(mat['panoIds'])]
            indices = np.ravel(mat[group][field][0, 0]).astype(np.int64) - 1
            utm = np.asarray(mat['utm'], dtype=np.float64)
        # A damaged binary file makes its reader fail in any way it likes.
        except Exception as error:
            raise DataError(
                f'{path}: cannot be read ({error}); expected a MATLAB file with panoIds, utm and '
                f'{group}.{field}'
            ) from error
        if utm.shape != (len(names), 2):
            raise DataError(f'{path}: utm {utm.shape} for {len(names)} panoIds; expected (N, 2)')
        if len(indices) == 0:
            raise DataError(f'{path}: {group}.{field} lists no pairs')
        if indices.min() < 0 or indices.max() >= len(names):
            raise DataError(f'{path}: {group}.{field} counts from 1 to {len(names)}, not beyond')
        return {'path': path, 'names': names, 'indices': indices, 'utm': utm}

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """See `AbstractPairs.pairs`."""
        refuse_strays(self._mat['path'], self._mat['names'])
        folder = self.root / self._PARTS[self.split == 'test']
        if not folder.is_dir() and (self.root / 'streetview').is_dir():
            folder = self.root
        pairs: dict[str, Pair] = {}
        for row in self._mat['indices']:
            name = self._mat['names'][row]
            if name in pairs:
                raise DataError(f'{self._mat["path"]}: {name} is in {self.split} twice')
            pairs[name] = Pair(
                name,
                folder / 'streetview' / f'{name}_grdView.jpg',
                folder / 'satview_polish' / f'{name}_satView_polish.jpg',
            )
        return tuple(pairs.values())

    @cached_property
    def _latlon(self) -> Array:
        """(N, 2) degrees of the split's pairs."""
        utm = self._mat['utm'][self._mat['indices']]
        # South of the equator a northing counts from 10,000 km; an easting is below 1,000 km.
        order = np.argsort(np.median(utm, axis=0))
        easting, northing = utm[:, order[0]], utm[:, order[1]]
        good = (easting > 1e5) & (easting < 1e6) & (northing > 1.1e6) & (northing < 1e7)
        if not good.all():
            row = int(np.argmin(good))
            raise DataError(
                f'{self._mat["path"]}: utm {utm[row].tolist()} of {self.keys[row]}; expected an '
                'easting of 100..1000 km and a northing of zone 55 south'
            )
        to_lonlat = pyproj.Transformer.from_crs(self.UTM, 'EPSG:4326', always_xy=True)
        lon, lat = to_lonlat.transform(easting, northing)
        return np.stack([lat, lon], axis=-1)

    def _datum(self, index: int) -> Datum:
        return Datum(*self._latlon[index].tolist())

    def _xy(self, index: int) -> Array:
        return np.zeros(2)

    def _tile_side_m(self, datum: Datum | None) -> float:
        assert datum is not None
        return self.TILE_PX * tiles.gsd(datum.lat_deg, self.ZOOM)

    def _camera(self, path: Path, width: int, height: int) -> AbstractCamera:
        if width != 2 * height:
            raise DataError(
                f'{path}: {width} x {height}; expected a whole panorama, twice as wide as high'
            )
        return EquirectangularCamera(width, height)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding='ascii').splitlines()
    except FileNotFoundError as error:
        raise AbsentError(f'{path}: absent; it lists the pairs') from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: cannot be read as text: {error}') from error
