# SPDX-License-Identifier: Apache-2.0
"""Writes MBTiles archives, in pieces: an interrupted archive can be opened and continued."""

from collections.abc import Iterable
from pathlib import Path
import sqlite3
from types import TracebackType

from geoloc_core.errors import MapError
from geoloc_core.geometry.tiles import tile_bounds, tms_row
from geoloc_core.maps.tile_store import Tile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS metadata (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS tiles (
    zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB,
    PRIMARY KEY (zoom_level, tile_column, tile_row));
"""
_COMMIT_EVERY = 64


class MbtilesWriter:
    """An archive being filled."""

    def __init__(self, path: Path, source: str, attribution: str) -> None:
        """Makes the archive, or continues one made from the same source.

        Args:
            path: The file.
            source: Name of the map the tiles come from.
            attribution: Who must be named; travels with the archive.

        Raises:
            MapError: The file cannot be written, or holds tiles of another source.
        """
        self.path = path
        self._uncommitted = 0
        if not path.resolve().parent.is_dir():
            raise MapError(f'there is no folder {path.resolve().parent} to write {path.name} to')
        try:
            self._connection = sqlite3.connect(path)
        except sqlite3.Error as error:
            raise MapError(f'{path} cannot be written: {error}') from error
        try:
            self._connection.executescript(_SCHEMA)
            known = self._metadata('geoloc_source')
            if (known and known != source) or (known is None and self.count()):
                raise MapError(
                    f'{path} already holds tiles of {known or "another source"}; name a new file'
                )
            self._set('geoloc_source', source)
            if attribution:
                self._set('attribution', attribution)
            self._connection.commit()
        except sqlite3.Error as error:
            self._connection.close()
            raise MapError(f'{path} cannot be written as an MBTiles archive: {error}') from error
        except MapError:
            self._connection.close()
            raise

    def lacking(self, tiles: Iterable[Tile]) -> list[Tile]:
        """Those that are not in the archive yet."""
        rows = self._connection.execute('SELECT zoom_level, tile_column, tile_row FROM tiles')
        present = {Tile(z, x, tms_row(row, z)) for z, x, row in rows}
        return [tile for tile in tiles if tile not in present]

    def put(self, tile: Tile, data: bytes) -> None:
        """Adds an encoded tile.

        Raises:
            MapError: The disk is full or the file cannot be written.
        """
        try:
            self._connection.execute(
                'INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?)',
                (tile.z, tile.x, tms_row(tile.y, tile.z), data),
            )
            self._uncommitted += 1
            if self._uncommitted >= _COMMIT_EVERY:
                self.commit()
        except sqlite3.Error as error:
            raise MapError(f'{self.path} cannot be written: {error}') from error

    def commit(self) -> None:
        """Makes everything so far safe."""
        self._connection.commit()
        self._uncommitted = 0

    def count(self) -> int:
        """Tiles in the archive."""
        return int(self._connection.execute('SELECT count(*) FROM tiles').fetchone()[0])

    def finish(self) -> None:
        """Describes the tiles in the metadata, as MBTiles 1.3 asks for, and commits."""
        rows = self._connection.execute(
            'SELECT zoom_level, min(tile_column), max(tile_column), min(tile_row), max(tile_row)'
            ' FROM tiles GROUP BY zoom_level ORDER BY zoom_level'
        ).fetchall()
        if rows:
            zoom, west_x, east_x, south_row, north_row = rows[-1]
            west, _, _, north = tile_bounds(west_x, tms_row(north_row, zoom), zoom)
            _, south, east, _ = tile_bounds(east_x, tms_row(south_row, zoom), zoom)
            self._set('bounds', f'{west:.7f},{south:.7f},{east:.7f},{north:.7f}')
            middle = f'{(west + east) / 2:.7f},{(south + north) / 2:.7f},{zoom}'
            self._set('center', middle)
            self._set('minzoom', str(rows[0][0]))
            self._set('maxzoom', str(zoom))
            first = self._connection.execute('SELECT tile_data FROM tiles LIMIT 1').fetchone()[0]
            self._set('format', _format(first))
        self._set('name', self.path.stem)
        self._set('type', 'baselayer')
        self._set('version', '1')
        self._set('description', 'made by geoloc map prefetch')
        self.commit()

    def __enter__(self) -> 'MbtilesWriter':
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the archive; what was put stays, also after an interruption."""
        self.finish()
        empty = self.count() == 0
        self._connection.close()
        if empty:
            self.path.unlink(missing_ok=True)

    def _metadata(self, name: str) -> str | None:
        row = self._connection.execute(
            'SELECT value FROM metadata WHERE name = ?', (name,)
        ).fetchone()
        return str(row[0]) if row else None

    def _set(self, name: str, value: str) -> None:
        self._connection.execute('INSERT OR REPLACE INTO metadata VALUES (?, ?)', (name, value))


def _format(data: bytes) -> str:
    if data.startswith(b'\x89PNG'):
        return 'png'
    return 'webp' if data[8:12] == b'WEBP' else 'jpg'
