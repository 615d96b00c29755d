# SPDX-License-Identifier: Apache-2.0
"""MBTiles 1.x archives: a SQLite file with tables `metadata` and `tiles` (rows from the south)."""

from collections.abc import Iterable, Iterator
import html
from pathlib import Path
import re
import sqlite3
import threading

from geoloc_core.errors import MapError
from geoloc_core.geometry.tiles import tms_row
from geoloc_core.maps.pyramid import Window
from geoloc_core.maps.tile_picture import picture_size
from geoloc_core.maps.tile_store import AbstractTileStore, Ledger, require_zoom, Tile


class MbtilesStore(AbstractTileStore):
    """Raster tiles in one file. Zooms and extent come from the tiles, not from the metadata."""

    kind = 'mbtiles'

    def __init__(self, path: Path, attribution: str = '') -> None:
        """Opens the archive for reading.

        Args:
            path: The file.
            attribution: Who must be named; '' takes it from the metadata.

        Raises:
            MapError: Missing, not SQLite, damaged, without tiles, or with vector tiles.
        """
        if not path.is_file():
            raise MapError(f'{path} does not exist')
        self.name = str(path)
        self.ledger = Ledger()
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path.resolve().as_uri() + '?mode=ro', uri=True, check_same_thread=False
        )
        try:
            self.metadata = {
                str(k): str(v) for k, v in self._rows('SELECT name, value FROM metadata')
            }
            self.ranges = self._ranges()
            self.tile_px = self._tile_px()
        except BaseException:
            self.close()
            raise
        self.attribution = attribution or _plain(self.metadata.get('attribution', ''))

    def fetch(self, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, bytes | None]]:
        """See base class."""
        for tile in tiles:
            rows = self._rows(
                'SELECT tile_data FROM tiles'
                ' WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?',
                (tile.z, tile.x, tms_row(tile.y, tile.z)),
            )
            data = bytes(rows[0][0]) if rows and rows[0][0] is not None else None
            if data is None:
                self.ledger.note('tile not in the archive', self.place(tile))
            yield tile, data

    def place(self, tile: Tile) -> str:
        """See base class."""
        return f'{self.name} tile {tile.z}/{tile.x}/{tile.y}'

    def tiles(self) -> Iterator[Tile]:
        """See base class."""
        for zoom in sorted(self.ranges):
            rows = self._rows(
                'SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ?', (zoom,)
            )
            for col, row in rows:
                yield Tile(zoom, col, tms_row(row, zoom))

    def count(self) -> int:
        """See base class."""
        return int(self._rows('SELECT count(*) FROM tiles')[0][0])

    def close(self) -> None:
        """See base class."""
        with self._lock:
            self._connection.close()

    def _rows(self, query: str, values: tuple[int, ...] = ()) -> list[tuple]:
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise MapError(
                f'{self.name} is not a sound MBTiles archive: {error}; is it torn (copied in '
                'part) or another kind of file?'
            ) from error

    def _ranges(self) -> dict[int, Window]:
        low, high = self._rows('SELECT min(zoom_level), max(zoom_level) FROM tiles')[0]
        if low is None:
            raise MapError(f'{self.name} has no tiles')
        ranges = {}
        for zoom in range(require_zoom(self.name, low), require_zoom(self.name, high) + 1):
            west, east, south, north = self._rows(
                'SELECT min(tile_column), max(tile_column), min(tile_row), max(tile_row)'
                ' FROM tiles WHERE zoom_level = ?',
                (zoom,),
            )[0]
            if west is not None:
                ranges[zoom] = Window(
                    west, tms_row(north, zoom), east - west + 1, north - south + 1
                )
        return ranges

    def _tile_px(self) -> int:
        data = self._rows('SELECT tile_data FROM tiles ORDER BY zoom_level DESC LIMIT 1')[0][0]
        if self.metadata.get('format') == 'pbf' or bytes(data[:2]) == b'\x1f\x8b':
            raise MapError(f'{self.name} holds vector tiles; expected pictures (png, jpg, webp)')
        try:
            return picture_size(data)[0]
        except MapError as error:
            raise MapError(f'{self.name}: first tile: {error}') from error


def _plain(text: str) -> str:
    """Attributions are often HTML links; people read them in logs and on pictures."""
    return html.unescape(re.sub(r'<[^>]*>', '', text)).strip()
