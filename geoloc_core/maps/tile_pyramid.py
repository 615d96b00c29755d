# SPDX-License-Identifier: Apache-2.0
"""Tiles of any store, put together to a pyramid: one zoom is one level."""

from collections.abc import Iterable, Iterator
import itertools

import numpy as np

from geoloc_core.errors import MapError
from geoloc_core.maps.georeference import MercatorGeoreference
from geoloc_core.maps.pyramid import AbstractPyramid, Level, Mask, Rgb, Window
from geoloc_core.maps.source import MapInfo
from geoloc_core.maps.tile_picture import decode_tile
from geoloc_core.maps.tile_store import AbstractTileStore, Tile

_BATCH = 32  # tiles asked for together while checking


class TilePyramid(AbstractPyramid):
    """A web-mercator mosaic. A tile that is missing or torn is masked and counted, not fatal.

    A zoom is used wherever it has any tiles: archives whose finest zoom covers only spots of the
    coarser ones show holes between the spots when asked for that finest zoom's resolution.
    """

    def __init__(self, store: AbstractTileStore) -> None:
        """Takes ownership of the store.

        Raises:
            MapError: The store has no tiles.
        """
        if not store.ranges:
            raise MapError(f'{store.name} has no tiles')
        self.store = store
        self._zooms = sorted(store.ranges, reverse=True)
        finest = self._zooms[0]
        self.levels = tuple(
            Level(2.0 ** (finest - zoom), 2.0 ** (finest - zoom), self._extent(zoom))
            for zoom in self._zooms
        )
        tiles, side = store.ranges[finest], store.tile_px
        area = Window(tiles.col * side, tiles.row * side, tiles.width * side, tiles.height * side)
        self.area = area
        middle = (area.col + area.width / 2 - 0.5, area.row + area.height / 2 - 0.5)
        self.georeference = MercatorGeoreference(finest, side, middle[0])
        self._info = MapInfo(
            name=store.name,
            kind=store.kind,
            crs=self.georeference.crs,
            bounds_deg=self._bounds_deg(area),
            gsd=float(np.mean(self.georeference.pixel_size_m(middle))),
            size_px=(area.width, area.height),
            attribution=store.attribution,
        )

    @property
    def info(self) -> MapInfo:
        """See base class."""
        return self._info

    @property
    def zooms(self) -> tuple[int, ...]:
        """Zooms there are, finest first, as `levels`."""
        return tuple(self._zooms)

    def read_pixels(self, level: int, window: Window) -> tuple[Rgb, Mask]:
        """See base class."""
        zoom, side = self._zooms[level], self.store.tile_px
        rgb = np.zeros((window.height, window.width, 3), np.uint8)
        mask = np.zeros((window.height, window.width), np.uint8)
        # Columns repeat every 2^zoom: the same tile may be needed at two places.
        places: dict[Tile, list[Window]] = {}
        for row in range(window.row // side, -(-window.bottom // side)):
            for col in range(window.col // side, -(-window.right // side)):
                tile = Tile(zoom, col % 2**zoom, row)
                places.setdefault(tile, []).append(Window(col * side, row * side, side, side))
        for tile, data in self.store.fetch(list(places)):
            if data is None:
                continue
            try:
                tile_rgb, tile_mask = decode_tile(data, side)
            except MapError as error:
                self.store.ledger.note(str(error), self.store.place(tile))
                continue
            for place in places[tile]:
                shared = place.intersection(window)
                if shared is None:
                    continue
                target = _slices(shared, window)
                source = _slices(shared, place)
                rgb[target] = tile_rgb[source]
                mask[target] = tile_mask[source]
        return rgb, mask

    def problems(self) -> tuple[str, ...]:
        """See base class."""
        return self.store.ledger.texts()

    def parts(self) -> int:
        """See base class."""
        return self.store.count()

    def check(self) -> Iterator[str]:
        """See base class."""
        return self.check_tiles(self.store.tiles())

    def check_tiles(self, tiles: Iterable[Tile]) -> Iterator[str]:
        """As `check`, for these tiles."""
        remaining = iter(tiles)
        while batch := list(itertools.islice(remaining, _BATCH)):
            for tile, data in self.store.fetch(batch):
                yield self._fault(tile, data)

    def close(self) -> None:
        """See base class."""
        self.store.close()

    def _fault(self, tile: Tile, data: bytes | None) -> str:
        if data is None:
            return f'{self.store.place(tile)}: missing'
        try:
            decode_tile(data, self.store.tile_px)
        except MapError as error:
            return f'{self.store.place(tile)}: {error}'
        return ''

    def _extent(self, zoom: int) -> Window:
        tiles, side, count = self.store.ranges[zoom], self.store.tile_px, 2**zoom
        if tiles.width >= count:  # all around the world: may be crossed at the antimeridian
            tiles = Window(-count, tiles.row, 3 * count, tiles.height)
        return Window(tiles.col * side, tiles.row * side, tiles.width * side, tiles.height * side)

    def _bounds_deg(self, area: Window) -> tuple[float, float, float, float]:
        lon, lat = self.georeference.lonlat_from_uv(
            [[area.col - 0.5, area.row - 0.5], [area.right - 0.5, area.bottom - 0.5]]
        )
        return float(lon[0]), float(lat[1]), float(lon[1]), float(lat[0])


def _slices(shared: Window, inside: Window) -> tuple[slice, slice]:
    top, left = shared.row - inside.row, shared.col - inside.col
    return slice(top, top + shared.height), slice(left, left + shared.width)
