# SPDX-License-Identifier: Apache-2.0
"""Tiles from a server that the user named, politely, with a disk cache.

No provider is built in. Read the terms of the one you name: many forbid keeping tiles or loading
whole areas.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed, ThreadPoolExecutor
from dataclasses import dataclass, field
import http.client
import os
from pathlib import Path
import re
import threading
import time
import urllib.error
import urllib.request

from geoloc_core import __version__
from geoloc_core.errors import MapError
from geoloc_core.maps.http_cache import CacheEntry, HttpCache
from geoloc_core.maps.pyramid import Window
from geoloc_core.maps.tile_folder import TileTemplate
from geoloc_core.maps.tile_picture import picture_size
from geoloc_core.maps.tile_store import AbstractTileStore, Ledger, require_zoom, Tile

_MAX_TILE_BYTES = 4 * 2**20
_DAY_S = 86400.0
# "There is no tile here" is believed for a day.
_ABSENT_S = _DAY_S
_ABSENT_CODES = (204, 404, 410)
_BUSY_CODES = (429, 503)
# After so many failures in a row the server is left alone for a while: a robot out of reach of
# the network must not wait for a timeout at every frame.
_FAILURES_TO_PAUSE = 2
_PAUSE_S = 30.0
_SECRET = re.compile(r'([?&](?:[^=&]*(?:key|token|secret|signature|sig))=)[^&]*', re.IGNORECASE)


def default_cache_dir() -> Path:
    """Where downloaded tiles are kept unless told otherwise."""
    root = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(root) / 'geoloc'


@dataclass(frozen=True)
class UrlOptions:
    """How to treat a tile server.

    Attributes:
        cache_dir: Folder of the disk cache.
        cache_size_mb: Most that the cache keeps, MiB.
        cache_days: Age after which a tile is asked for again (and kept if the server says it
            has not changed, or does not answer).
        min_zoom: Coarsest zoom the server has.
        max_zoom: Finest zoom the server has.
        tile_px: Side of its tiles, px; 0: 512 if the URL says @2x, else 256.
        timeout_s: Longest wait for one answer.
        parallel: Requests at the same time.
        per_second: Most requests started in a second.
        user_agent: How to introduce ourselves.
    """

    cache_dir: Path = field(default_factory=default_cache_dir)
    cache_size_mb: float = 1024.0
    cache_days: float = 30.0
    min_zoom: int = 0
    max_zoom: int = 19
    tile_px: int = 0
    timeout_s: float = 5.0
    parallel: int = 2
    per_second: float = 20.0
    user_agent: str = f'geoloc/{__version__} (robot localization)'


class UrlStore(AbstractTileStore):
    """Tiles by HTTP. Opening does not touch the network: a robot may start with the cache only."""

    kind = 'tile url'

    def __init__(self, template: str, options: UrlOptions | None = None, attribution: str = ''):
        """Takes the URL template and how to treat the server.

        Raises:
            MapError: The template is unusable, or the cache cannot be opened.
        """
        self.name = hide_secrets(template)
        self.attribution = attribution
        self.ledger = Ledger()
        self._template = TileTemplate(template)
        self._options = options = options or UrlOptions()
        self.tile_px = options.tile_px or (512 if '@2x' in template else 256)
        low, high = (require_zoom(self.name, z) for z in (options.min_zoom, options.max_zoom))
        if low > high:
            raise MapError(f'{self.name}: min_zoom {low} exceeds max_zoom {high}')
        self.ranges = {z: Window(0, 0, 2**z, 2**z) for z in range(low, high + 1)}
        self._cache = HttpCache(Path(options.cache_dir), options.cache_size_mb)
        self._workers = ThreadPoolExecutor(options.parallel, thread_name_prefix='geoloc-tiles')
        self._lock = threading.Lock()
        self._next_start_s = 0.0
        self._failures = 0
        self._resume_s = 0.0
        self._pause_reason = ''

    def fetch(self, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, bytes | None]]:
        """See base class."""
        waiting = {}
        for tile in tiles:
            known = self._cache.get(self._template.fill(tile))
            if known is not None and self._is_fresh(known):
                yield tile, self._noted(tile, known.data)
            else:
                waiting[self._workers.submit(self._load, tile, known)] = tile
        for future in as_completed(waiting):
            yield waiting[future], future.result()

    def place(self, tile: Tile) -> str:
        """See base class."""
        return hide_secrets(self._template.fill(tile))

    def tiles(self) -> Iterator[Tile]:
        """See base class."""
        raise MapError(f'{self.name}: a server does not say which tiles it has; name an area')

    def count(self) -> int:
        """See base class."""
        raise MapError(f'{self.name}: a server does not say how many tiles it has; name an area')

    def unavailable(self) -> str:
        """See base class."""
        with self._lock:
            return self._pause_reason if time.monotonic() < self._resume_s else ''

    def close(self) -> None:
        """See base class."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._cache.close()

    def _is_fresh(self, entry: CacheEntry) -> bool:
        limit_s = _ABSENT_S if entry.data is None else self._options.cache_days * _DAY_S
        return time.time() - entry.fetched_s < limit_s

    def _noted(self, tile: Tile, data: bytes | None) -> bytes | None:
        if data is None:
            self.ledger.note('the server has no such tile (404)', self.place(tile))
        return data

    def _load(self, tile: Tile, known: CacheEntry | None) -> bytes | None:
        """Asks the server; falls back to what is known, however old."""
        old = known.data if known is not None else None
        if not self._may_ask():
            self.ledger.note(self._pause_reason, self.place(tile))
            return old
        url = self._template.fill(tile)
        try:
            entry = self._request(url, known)
        except urllib.error.HTTPError as error:
            self._heard(error)
            if error.code in _ABSENT_CODES:
                self._cache.put(url, CacheEntry(None, '', '', time.time()))
                return self._noted(tile, None)
            self.ledger.note(f'the server answered {error.code} {error.reason}', self.place(tile))
            return old
        except (OSError, http.client.HTTPException, MapError) as error:
            # Refused, timed out, no such host; or an answer that is not a picture.
            reason = getattr(error, 'reason', None) or error
            if isinstance(error, MapError):
                self._heard(None)
            else:
                self._missed(f'the server does not answer ({reason})')
            self.ledger.note(f'cannot be loaded: {reason}', self.place(tile))
            return old
        self._heard(None)
        self._cache.put(url, entry)
        return self._noted(tile, entry.data)

    def _request(self, url: str, known: CacheEntry | None) -> CacheEntry:
        headers = {'User-Agent': self._options.user_agent, 'Accept': 'image/*'}
        if known is not None and known.data is not None:
            if known.etag:
                headers['If-None-Match'] = known.etag
            if known.modified:
                headers['If-Modified-Since'] = known.modified
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self._options.timeout_s) as answer:
                if answer.status in _ABSENT_CODES:
                    return CacheEntry(None, '', '', time.time())
                data = answer.read(_MAX_TILE_BYTES + 1)
                etag = answer.headers.get('ETag', '')
                modified = answer.headers.get('Last-Modified', '')
        except urllib.error.HTTPError as error:
            if error.code == 304 and known is not None:
                return CacheEntry(known.data, known.etag, known.modified, time.time())
            raise
        if len(data) > _MAX_TILE_BYTES:
            raise MapError(f'the answer has more than {_MAX_TILE_BYTES} bytes')
        picture_size(data)  # a page that says "please log in" is not a tile
        return CacheEntry(data, etag, modified, time.time())

    def _may_ask(self) -> bool:
        """Waits for the next allowed start; False while the server is left alone."""
        with self._lock:
            now = time.monotonic()
            if now < self._resume_s:
                return False
            if self._failures >= _FAILURES_TO_PAUSE:
                # One request finds out whether it is back; the others go without meanwhile.
                self._resume_s = now + self._options.timeout_s + 1.0
            start = max(now, self._next_start_s)
            self._next_start_s = start + 1.0 / self._options.per_second
        time.sleep(start - now)
        return True

    def _heard(self, error: urllib.error.HTTPError | None) -> None:
        with self._lock:
            self._failures = 0
            self._resume_s = 0.0
            if error is not None and error.code in _BUSY_CODES:
                wait = error.headers.get('Retry-After', '') or ''
                seconds = float(wait) if wait.isdigit() else _PAUSE_S
                self._resume_s = time.monotonic() + seconds
                self._pause_reason = f'the server asked for a pause ({error.code})'

    def _missed(self, reason: str) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= _FAILURES_TO_PAUSE:
                self._resume_s = time.monotonic() + _PAUSE_S
                self._pause_reason = f'{reason}; asked again every {_PAUSE_S:.0f} s'


def hide_secrets(url: str) -> str:
    """The URL with the values of its access keys replaced: it is shown in logs and reports."""
    return _SECRET.sub(r'\1***', url)
