# SPDX-License-Identifier: Apache-2.0
"""What was downloaded, kept on disk: least recently used goes first when the limit is reached.

One SQLite file, so that the node and the command line can share it and a power cut cannot tear
it. Entries are found by a hash of the URL: access keys in URLs are not written to disk.
"""

from dataclasses import dataclass
import hashlib
import logging
from pathlib import Path
import sqlite3
import threading
import time

from geoloc_core.errors import MapError

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, data BLOB, etag TEXT, modified TEXT,
    fetched_s REAL NOT NULL, used_s REAL NOT NULL, size INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS entries_used ON entries (used_s);
"""
# Bookkeeping about use need not be exact, and a write for every read would wear out a disk.
_USE_RESOLUTION_S = 3600.0
_EVICT_TO = 0.9  # of the limit, so that not every new entry evicts one
_OVERHEAD_BYTES = 200  # per entry, for keys and pages


@dataclass(frozen=True)
class CacheEntry:
    """One answer of a server.

    Attributes:
        data: The body, or None if the server said there is nothing there.
        etag: Its ETag, or ''.
        modified: Its Last-Modified, or ''.
        fetched_s: When it was received or confirmed, seconds since 1970.
    """

    data: bytes | None
    etag: str
    modified: str
    fetched_s: float


class HttpCache:
    """Answers by URL, within a size limit. Safe to use from several threads and processes."""

    def __init__(self, folder: Path, limit_mb: float) -> None:
        """Opens or makes the cache.

        Args:
            folder: Where its file `tiles.sqlite` lies; made if absent.
            limit_mb: Most that is kept, MiB.

        Raises:
            MapError: The folder cannot be written.
        """
        self._path = folder / 'tiles.sqlite'
        self._limit = int(limit_mb * 2**20)
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = self._open()
        except (OSError, sqlite3.Error) as error:
            raise MapError(f'the tile cache {self._path} cannot be used: {error}') from error
        self._size = self._total()

    def get(self, url: str) -> CacheEntry | None:
        """What is known about a URL, however old."""
        key, now = _key(url), time.time()
        with self._lock:
            row = self._connection.execute(
                'SELECT data, etag, modified, fetched_s, used_s FROM entries WHERE key = ?', (key,)
            ).fetchone()
            if row is None:
                return None
            if now - row[4] > _USE_RESOLUTION_S:
                self._connection.execute('UPDATE entries SET used_s = ? WHERE key = ?', (now, key))
            return CacheEntry(*row[:4])

    def put(self, url: str, entry: CacheEntry) -> None:
        """Keeps an answer, and drops the least recently used ones over the limit."""
        size = len(entry.data or b'') + _OVERHEAD_BYTES
        with self._lock:
            self._connection.execute(
                'INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)',
                (
                    _key(url),
                    entry.data,
                    entry.etag,
                    entry.modified,
                    entry.fetched_s,
                    time.time(),
                    size,
                ),
            )
            self._size += size
            if self._size > self._limit:
                self._evict()

    def size_bytes(self) -> int:
        """What all entries take."""
        with self._lock:
            return self._total()

    def close(self) -> None:
        """Closes the file. Safe to call twice."""
        with self._lock:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # Everything in it can be downloaded again.
            _log.warning('tile cache %s is damaged (%s): starting a new one', self._path, error)
            self._path.unlink()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, check_same_thread=False, timeout=10.0, isolation_level=None
        )
        connection.execute('PRAGMA auto_vacuum = FULL')
        connection.execute('PRAGMA synchronous = NORMAL')
        connection.executescript(_SCHEMA)
        return connection

    def _total(self) -> int:
        total = self._connection.execute('SELECT coalesce(sum(size), 0) FROM entries').fetchone()
        return int(total[0])

    def _evict(self) -> None:
        # Counted anew: another process may have added or dropped entries.
        self._size = self._total()
        excess = self._size - int(self._limit * _EVICT_TO)
        if self._size <= self._limit:
            return
        keys = []
        for key, size in self._connection.execute(
            'SELECT key, size FROM entries ORDER BY used_s, rowid'
        ):
            keys.append((key,))
            excess -= size
            self._size -= size
            if excess <= 0:
                break
        self._connection.executemany('DELETE FROM entries WHERE key = ?', keys)


def _key(url: str) -> bytes:
    return hashlib.sha256(url.encode()).digest()
