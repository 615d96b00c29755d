# SPDX-License-Identifier: Apache-2.0
"""GeoTIFF, COG and whatever else GDAL reads from a local file, in any reference system.

Only windows are ever read, so a raster may be larger than memory. Coarse patches come from the
file's own overviews; make those with averaging (`gdaladdo -r average`), as GDAL's default
(nearest) aliases, and nothing done later can mend that.
"""

from collections.abc import Iterator
import math
from pathlib import Path
import threading
from typing import Any
import warnings

import numpy as np
import pyproj
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.windows import Window as RasterioWindow

from geoloc_core.errors import MapError
from geoloc_core.maps.georeference import CrsGeoreference
from geoloc_core.maps.plausibility import require_plausible
from geoloc_core.maps.pyramid import AbstractPyramid, Level, Mask, Rgb, Window
from geoloc_core.maps.radiometry import BandPlan, stretch
from geoloc_core.maps.source import MapInfo

# GDAL decodes whole blocks: a file that is one giant block would fill the memory.
_MAX_BLOCK_BYTES = 512 * 2**20
_MAX_OFFSETS_CHECKED = 100_000


class GeoTiffPyramid(AbstractPyramid):
    """A raster file and its overviews."""

    georeference: CrsGeoreference

    def __init__(self, path: Path, crs: str | None = None, attribution: str = '') -> None:
        """Opens the file and checks that its georeference can be believed.

        Args:
            path: The file.
            crs: Reference system to use instead of the file's own.
            attribution: Who must be named; '' takes it from the file's tags.

        Raises:
            MapError: Missing, torn, without or with an unbelievable georeference.
        """
        self._path = path
        self._lock = threading.Lock()
        self._datasets = [_open(path)]
        dataset = self._datasets[0]
        try:
            _require_local(path, dataset)
            _require_whole(path, dataset)
            _require_small_blocks(path, dataset)
            self.georeference = _georeference(path, dataset, crs)
            for number in range(len(dataset.overviews(1))):
                self._datasets.append(_open(path, overview_level=number))
            self._datasets.sort(key=lambda d: -d.width)
            self._plan = _plan(dataset)
            self._has_mask_band = any(
                MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
                for flags in dataset.mask_flag_enums
            )
            self._plan = self._stretched(self._plan)
        except BaseException:
            self.close()
            raise
        width, height = dataset.width, dataset.height
        self.area = Window(0, 0, width, height)
        self.levels = tuple(
            Level(width / d.width, height / d.height, Window(0, 0, d.width, d.height))
            for d in self._datasets
        )
        tags = dataset.tags()
        self._info = MapInfo(
            name=str(path),
            kind='geotiff' if dataset.driver in ('GTiff', 'COG') else dataset.driver.lower(),
            crs=self.georeference.crs,
            bounds_deg=self.georeference.bounds_deg(width, height),
            gsd=float(
                np.mean(self.georeference.pixel_size_m([(width - 1) / 2, (height - 1) / 2]))
            ),
            size_px=(width, height),
            attribution=attribution or tags.get('ATTRIBUTION', tags.get('TIFFTAG_COPYRIGHT', '')),
        )

    @property
    def info(self) -> MapInfo:
        """See base class."""
        return self._info

    def read_pixels(self, level: int, window: Window) -> tuple[Rgb, Mask]:
        """See base class."""
        dataset = self._datasets[level]
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        try:
            with self._lock:
                data = dataset.read(self._plan.bands, window=area)
                extra = dataset.dataset_mask(window=area) if self._has_mask_band else None
        except (RasterioError, ValueError) as error:
            raise MapError(
                f'{self._path} is damaged: columns {window.col} to {window.right}, rows '
                f'{window.row} to {window.bottom} of level {level} cannot be read: '
                f'{_cause(error)}'
            ) from error
        rgb, mask = self._plan.decode(data)
        return rgb, mask if extra is None else np.minimum(mask, extra)

    def problems(self) -> tuple[str, ...]:
        """See base class."""
        warning = self.georeference.warning
        return (warning,) if warning else ()

    def parts(self) -> int:
        """See base class."""
        return sum(
            math.ceil(d.height / d.block_shapes[0][0]) * math.ceil(d.width / d.block_shapes[0][1])
            for d in self._datasets
        )

    def check(self) -> Iterator[str]:
        """See base class."""
        for level, dataset in enumerate(self._datasets):
            for _, block in dataset.block_windows(1):
                window = Window(block.col_off, block.row_off, block.width, block.height)
                try:
                    self.read_pixels(level, window)
                    yield ''
                except MapError as error:
                    yield str(error)

    def close(self) -> None:
        """See base class."""
        with self._lock:
            for dataset in self._datasets:
                dataset.close()

    def _stretched(self, plan: BandPlan) -> BandPlan:
        dataset = self._datasets[0]
        if plan.palette is not None or all(dataset.dtypes[b - 1] == 'uint8' for b in plan.colors):
            return plan
        # Windows spread over the raster: the same values on every run, and a bounded time.
        side = 128
        samples = []
        for row in np.linspace(0, max(0, dataset.height - side), 8).astype(int):
            for col in np.linspace(0, max(0, dataset.width - side), 8).astype(int):
                area = RasterioWindow(
                    int(col), int(row), min(side, dataset.width), min(side, dataset.height)
                )
                try:
                    data = dataset.read(plan.bands, window=area)
                except RasterioError as error:
                    raise MapError(f'{self._path} is damaged: {_cause(error)}') from error
                _, mask = plan.decode(data)
                samples.append(data[: len(plan.colors), mask > 0].ravel())
        low, high = stretch(np.concatenate(samples))
        return BandPlan(plan.colors, plan.alpha, None, plan.nodata, low, high)


def _open(path: Path, **options: Any) -> Any:
    if not path.is_file():
        raise MapError(f'{path} does not exist')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NotGeoreferencedWarning)
            return rasterio.open(path, sharing=False, **options)
    except RasterioIOError as error:
        raise MapError(
            f'{path} cannot be opened as a raster; is it torn (copied in part) or not a GeoTIFF? '
            f'{_cause(error)}'
        ) from error


def _cause(error: BaseException) -> str:
    """GDAL's own words, which rasterio keeps one exception deeper."""
    return str(error.__cause__ or error)


def _require_local(path: Path, dataset: Any) -> None:
    """A VRT may name files on a server; the network is used only where the user named a URL."""
    remote = [
        name
        for name in dataset.files
        if '://' in name or name.startswith(('/vsicurl', '/vsis3', '/vsigs', '/vsiaz', '/vsioss'))
    ]
    if remote:
        raise MapError(f'{path} refers to {remote[0]}: download it first')


def _require_whole(path: Path, dataset: Any) -> None:
    """Refuses a file that ends before its last block does (an interrupted copy)."""
    if dataset.driver not in ('GTiff', 'COG'):
        return
    size = path.stat().st_size
    bands = range(1, dataset.count + 1) if dataset.interleaving.name == 'band' else (1,)
    rows, cols = dataset.block_shapes[0]
    down, across = math.ceil(dataset.height / rows), math.ceil(dataset.width / cols)
    stride = 1 + down * across * len(bands) // _MAX_OFFSETS_CHECKED
    for band in bands:
        for number in range(0, down * across, stride):
            key = f'{number % across}_{number // across}'
            offset = dataset.get_tag_item(f'BLOCK_OFFSET_{key}', 'TIFF', bidx=band)
            length = dataset.get_tag_item(f'BLOCK_SIZE_{key}', 'TIFF', bidx=band)
            if offset and length and int(offset) + int(length) > size:
                raise MapError(
                    f'{path} is torn: it ends at byte {size}, but block {key} of band {band} '
                    f'ends at byte {int(offset) + int(length)}; copy or download it again'
                )


def _require_small_blocks(path: Path, dataset: Any) -> None:
    rows, cols = dataset.block_shapes[0]
    bands = dataset.count if dataset.interleaving and dataset.interleaving.name == 'pixel' else 1
    needed = rows * cols * bands * np.dtype(dataset.dtypes[0]).itemsize
    if needed > _MAX_BLOCK_BYTES:
        raise MapError(
            f'{path} is stored in blocks of {cols} x {rows} pixels, {needed / 2**20:.0f} MiB '
            'each; write it tiled: gdal_translate -co TILED=YES'
        )


def _georeference(path: Path, dataset: Any, crs: str | None) -> CrsGeoreference:
    width, height = dataset.width, dataset.height
    if dataset.transform.is_identity:
        if dataset.gcps[0] or dataset.rpcs is not None:
            raise MapError(
                f'{path} is georeferenced by control points or RPCs only; make it an orthophoto '
                'first (gdalwarp)'
            )
        raise MapError(
            f'{path} has no georeference: expected a geotransform (or a world file beside it)'
        )
    if crs is None:
        if dataset.crs is None:
            raise MapError(
                f'{path} has a geotransform but names no coordinate reference system; give one '
                '(parameter map.crs, option --crs: EPSG:...)'
            )
        try:
            stated: str | pyproj.CRS = pyproj.CRS.from_wkt(dataset.crs.to_wkt())
        except pyproj.exceptions.CRSError as error:
            raise MapError(f'{path} has a reference system nobody knows: {error}') from error
    else:
        stated = crs
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    georeference = CrsGeoreference(stated, (a, b, c, d, e, f), width, height)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    corners = corners @ np.array([[a, d], [b, e]]) + np.array([c, f])
    require_plausible(str(path), georeference, corners, width, height)
    return georeference


def _plan(dataset: Any) -> BandPlan:
    kinds = list(dataset.colorinterp)
    alpha = kinds.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in kinds else None
    if kinds[0] == ColorInterp.palette:
        table = dataset.colormap(1)
        palette = np.zeros((max(table) + 1, 4), np.uint8)
        for value, rgba in table.items():
            palette[value] = rgba
        return BandPlan((1,), None, palette, dataset.nodata)
    named = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(kind in kinds for kind in named):
        colors = tuple(kinds.index(kind) + 1 for kind in named)
    else:
        others = [number for number in range(1, dataset.count + 1) if number != alpha]
        colors = tuple(others[:3]) if len(others) >= 3 else (others[0],)
    return BandPlan(colors, alpha, None, dataset.nodata)
