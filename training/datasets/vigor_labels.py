# SPDX-License-Identifier: Apache-2.0
"""VIGOR's label files: where they lie, what their lines say, and which of two versions they are.

A line holds 13 tokens: the panorama's name, then four times (tile's name, d_row, d_col). The first
tile is the positive, the others are semi-positives. The camera stands at row 320 + d_row, column
320 - d_col of a 640 x 640 tile (`angles.xy_from_vigor_delta`); both names end with the latitude
and longitude of what they show.

Two sets of labels exist. The first release counted 0.114 m per pixel in every city, which makes
its offsets up to 13 % too short; SliceMatch published corrected ones. They travel under the same
file names, so the content decides: offsets are compared with those of the GPS tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import tiles
from training.datasets.base import AbsentError
from training.datasets.listfiles import refuse_strays

Array = NDArray[np.float64]

# The order in which published loaders, and with them order-dependent files, go through the cities.
CITIES = ('NewYork', 'Seattle', 'SanFrancisco', 'Chicago')
# m/px of the 640 px tiles, as every method since SliceMatch uses them.
GSD_640 = {
    'NewYork': 0.113248,
    'Seattle': 0.100817,
    'SanFrancisco': 0.118141,
    'Chicago': 0.111262,
}
TILE_PX = 640
ZOOM = 20
# What the first release took for the GSD of all cities.
ORIGINAL_GSD = 0.114
SPLIT_FOLDERS = ('splits__corrected', 'splits_new', 'splits')
CORRECTED_SUFFIX = '__corrected'
LABEL_SETS = ('corrected', 'original', 'gps')
# Fewer labels cannot tell the two sets apart: their rounding is a pixel.
_MIN_FOR_SCALE = 300


@dataclass(frozen=True)
class CityLabels:
    """The labels of one file, in its order.

    Attributes:
        path: The file.
        city: One of `CITIES`.
        panoramas: (N,) file names.
        lines: (N,) line numbers, from 1.
        tiles: (N, 4) file names, the positive first.
        delta_px: (N, 4, 2) (d_row, d_col) as published, px of a 640 px tile.
        latlon: (N, 2) degrees, of the panorama's name.
        tile_latlon: (N, 4, 2) degrees, of the tiles' names.
    """

    path: Path
    city: str
    panoramas: tuple[str, ...]
    lines: NDArray[np.int64]
    tiles: tuple[tuple[str, ...], ...]
    delta_px: Array
    latlon: Array
    tile_latlon: Array

    def __len__(self) -> int:
        """Number of panoramas."""
        return len(self.panoramas)

    @cached_property
    def gps_delta_px(self) -> Array:
        """(N, 4, 2) (d_row, d_col) of the GPS tags by Web Mercator, at zoom 20.

        HC-Net's label correction: x = 2^z 256 (0.5 + lon / 360) and so on, differences of pixels.
        In float64 throughout: world pixels are about 1e8.
        """
        lat, lon = self.latlon[:, None, 0], self.latlon[:, None, 1]
        x, y = tiles.pixel_from_lonlat(lon, lat, ZOOM)
        tile_x, tile_y = tiles.pixel_from_lonlat(
            self.tile_latlon[..., 1], self.tile_latlon[..., 0], ZOOM
        )
        return np.stack([y - tile_y, tile_x - x], axis=-1)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> 'CityLabels':
        """The labels of some rows."""
        rows = np.asarray(rows, dtype=np.int64)
        return CityLabels(
            self.path,
            self.city,
            tuple(self.panoramas[row] for row in rows),
            self.lines[rows],
            tuple(self.tiles[row] for row in rows),
            self.delta_px[rows],
            self.latlon[rows],
            self.tile_latlon[rows],
        )


# ---- finding the file ----


def candidates(root: Path, city: str, stem: str, label_set: str) -> list[list[Path]]:
    """Where a label file may lie: groups of equal rank, best first.

    Args:
        root: Of the data set.
        city: One of `CITIES`.
        stem: 'same_area_balanced_train' and the like, without suffix.
        label_set: One of `LABEL_SETS`.
    """
    plain = [root / folder / city / f'{stem}.txt' for folder in SPLIT_FOLDERS]
    suffixed = [root / folder / city / f'{stem}{CORRECTED_SUFFIX}.txt' for folder in SPLIT_FOLDERS]
    if label_set == 'original':
        return [[plain[2]], plain[:2]]
    if label_set == 'corrected':
        # FG2 keeps corrected labels even in `splits`, under the first release's names.
        return [suffixed, plain[:2], [plain[2]]]
    # The GPS tags are in the names, alike in every version.
    return [[path] for path in (*suffixed, *plain)]


def find_file(root: Path, city: str, stem: str, label_set: str) -> Path:
    """The one label file of a city.

    Raises:
        AbsentError: There is none.
        DataError: There are two of equal rank whose content differs.
    """
    groups = candidates(root, city, stem, label_set)
    for group in groups:
        found = [path for path in group if path.is_file()]
        if not found:
            continue
        first = found[0].read_bytes() if len(found) > 1 else b''
        for other in found[1:]:
            if other.read_bytes() != first:
                raise DataError(
                    f'two files claim to be the {label_set} labels of {city}, and differ: '
                    f'{found[0]} and {other}; keep one'
                )
        return found[0]
    looked = '\n  '.join(str(path) for group in groups for path in group)
    raise AbsentError(f'no {label_set} labels of {city} for {stem}; looked for\n  {looked}')


# ---- reading it ----


def read_labels(path: Path, city: str) -> CityLabels:
    """Reads a label file.

    Args:
        path: The file; an empty one gives no labels.
        city: Whose labels they are.

    Raises:
        DataError: The file cannot be read, a line is not 13 tokens of the expected kind, or one
            panorama is named twice.
    """
    try:
        lines = path.read_text(encoding='ascii').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: cannot be read as text: {error}') from error
    numbers = np.array([i for i, line in enumerate(lines, 1) if line.strip()], dtype=np.int64)
    rows = [lines[number - 1].split() for number in numbers]
    if not rows:
        none = np.zeros((0, 4, 2))
        return CityLabels(path, city, (), numbers, (), none, none[:, 0], none)
    wrong = next((i for i, row in enumerate(rows) if len(row) != 13), None)
    if wrong is not None:
        raise DataError(
            f'{path}, line {numbers[wrong]}: {len(rows[wrong])} tokens; expected 13: panorama, '
            'then four times (tile, d_row, d_col). Is the file whole?'
        )
    columns = list(zip(*rows, strict=True))
    tile_columns = [columns[i] for i in (1, 4, 7, 10)]
    for names in (columns[0], *tile_columns):
        refuse_strays(path, names)
    try:
        delta = np.array([columns[i] for i in (2, 3, 5, 6, 8, 9, 11, 12)], dtype=np.float64)
        latlon = _panorama_latlon(columns[0])
        tile_latlon = np.stack([_tile_latlon(names) for names in tile_columns], axis=1)
        _refuse_nonsense(delta, latlon, tile_latlon)
    except (ValueError, IndexError):
        raise _bad_line(path, numbers, rows) from None
    labels = CityLabels(
        path,
        city,
        columns[0],
        numbers,
        tuple(zip(*tile_columns, strict=True)),
        delta.T.reshape(-1, 4, 2),
        latlon,
        tile_latlon,
    )
    _refuse_duplicates(labels)
    _refuse_outside(labels)
    return labels


def read_names(path: Path) -> set[str]:
    """Only the panoramas' names of a label file, unchecked."""
    text = path.read_text(encoding='ascii', errors='replace')
    return {line.split(' ', 1)[0] for line in text.splitlines() if line.strip()}


def _panorama_latlon(names: Sequence[str]) -> Array:
    """(N, 2) degrees of names `<id>,<lat>,<lon>,.jpg`."""
    parts = [name.split(',') for name in names]
    if any(len(part) != 4 for part in parts):
        raise ValueError
    return np.array([[part[1] for part in parts], [part[2] for part in parts]], np.float64).T


def _tile_latlon(names: Sequence[str]) -> Array:
    """(N, 2) degrees of names `satellite_<lat>_<lon>.png`."""
    parts = [name.rpartition('.')[0].split('_') for name in names]
    if any(len(part) != 3 for part in parts):
        raise ValueError
    return np.array([[part[1] for part in parts], [part[2] for part in parts]], np.float64).T


def _refuse_nonsense(delta: Array, *latlons: Array) -> None:
    if not np.isfinite(delta).all():
        raise ValueError
    for latlon in latlons:
        if not ((np.abs(latlon[..., 0]) < 85) & (np.abs(latlon[..., 1]) <= 180)).all():
            raise ValueError


def _bad_line(path: Path, numbers: NDArray[np.int64], rows: list[list[str]]) -> DataError:
    for number, row in zip(numbers, rows, strict=True):
        try:
            delta = np.array([row[i] for i in (2, 3, 5, 6, 8, 9, 11, 12)], dtype=np.float64)
            latlon = _panorama_latlon(row[:1])
            _refuse_nonsense(delta, latlon, *(_tile_latlon([row[i]]) for i in (1, 4, 7, 10)))
        except (ValueError, IndexError):
            return DataError(
                f'{path}, line {number}: cannot be read: {" ".join(row)[:120]} ...; expected '
                '<id>,<lat>,<lon>,.jpg then four times satellite_<lat>_<lon>.png d_row d_col'
            )
    return DataError(f'{path}: cannot be read')


def _refuse_duplicates(labels: CityLabels) -> None:
    seen: dict[str, int] = {}
    for name, number in zip(labels.panoramas, labels.lines, strict=True):
        if name in seen:
            raise DataError(
                f'{labels.path}, line {number}: panorama {name} is already on line {seen[name]}; '
                'each must be labelled once: remove one of the two'
            )
        seen[name] = int(number)


def _refuse_outside(labels: CityLabels) -> None:
    """A positive lies in its tile; a semi-positive need not."""
    outside = np.flatnonzero(np.abs(labels.delta_px[:, 0]).max(axis=-1) > TILE_PX / 2)
    if outside.size:
        row = outside[0]
        d_row, d_col = labels.delta_px[row, 0]
        raise DataError(
            f'{labels.path}, line {labels.lines[row]}: the label of {labels.panoramas[row]} lies '
            f'outside its tile: (d_row, d_col) = ({d_row:g}, {d_col:g}); expected at most '
            f'{TILE_PX // 2} px from the centre of {labels.tiles[row][0]}'
        )


# ---- which version it is ----


def measured_scale(labels: CityLabels) -> float | None:
    """Published offsets over those of the GPS tags, in px: near 1 for corrected labels.

    Least squares through the origin over all positives. None for too few labels to tell.
    """
    if len(labels) < _MIN_FOR_SCALE:
        return None
    gps, published = labels.gps_delta_px[:, 0], labels.delta_px[:, 0]
    return float((gps * published).sum() / (gps * gps).sum())


def refuse_wrong_version(labels: CityLabels, label_set: str) -> None:
    """Refuses a file whose offsets are those of the other label set.

    Raises:
        DataError: Original labels where corrected ones are asked for, or the other way round, or
            offsets that follow the GPS tags with neither scale.
    """
    scale = measured_scale(labels)
    if scale is None or label_set == 'gps':
        return
    mercator = tiles.gsd(float(labels.latlon[:, 0].mean()), ZOOM)
    expected = {
        'corrected': mercator / GSD_640[labels.city],
        'original': mercator / ORIGINAL_GSD,
    }
    nearest = min(expected, key=lambda name: abs(expected[name] - scale))
    if abs(expected[nearest] - scale) > 0.03:
        raise DataError(
            f'{labels.path}: the offsets are {scale:.3f} times those of the GPS tags; expected '
            f'{expected["corrected"]:.3f} (corrected) or {expected["original"]:.3f} (original): '
            'are rows and columns swapped, or is it the file of another city?'
        )
    if nearest != label_set:
        raise DataError(
            f'{labels.path}: holds the {nearest} labels (offsets {scale:.3f} times those of the '
            f"GPS tags), not the {label_set} ones: read it with labels='{nearest}', or put the "
            f'{label_set} file in its place'
        )
