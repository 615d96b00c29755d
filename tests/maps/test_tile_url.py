# SPDX-License-Identifier: Apache-2.0
"""A tile server on this machine: politeness, the cache, and what happens when it fails."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import socket
import threading
import time

import pytest

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps import tile_url
from geoloc_core.maps.http_cache import CacheEntry, HttpCache
from geoloc_core.maps.opening import open_map
from geoloc_core.maps.tile_store import Tile
from geoloc_core.maps.tile_url import hide_secrets, UrlOptions, UrlStore
from tests.maps.rasters import encode, textured

PICTURE = encode(textured(256, 256).transpose(1, 2, 0))
FRAME = EnuFrame(Datum(49.0, 8.4))


class Server:
    """Answers every tile by `answer(handler)`, and remembers what it was asked."""

    def __init__(self):
        self.requests = []
        self.busy = 0
        self.most_busy = 0
        self.answer = lambda handler: (200, {'ETag': '"v1"'}, PICTURE)
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with lock:
                    outer.requests.append((self.path, dict(self.headers)))
                    outer.busy += 1
                    outer.most_busy = max(outer.most_busy, outer.busy)
                code, headers, body = outer.answer(self)
                with lock:
                    outer.busy -= 1
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f'http://127.0.0.1:{self.http.server_port}/{{z}}/{{x}}/{{y}}.png'

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def store(url, folder, **options):
    options.setdefault('per_second', 1000.0)
    return UrlStore(url, UrlOptions(cache_dir=folder, **options))


def get(tiles, *keys):
    return dict(tiles.fetch([Tile(*key) for key in keys]))


def test_patches_come_from_the_server_and_then_from_the_cache(server, tmp_path):
    source = open_map(server.url, cache_dir=tmp_path, max_zoom=18, attribution='© them', block_m=0)
    assert server.requests == []  # opening asks nothing
    patch = source.patch(FRAME, (0.0, 0.0), 60.0, 0.5)
    assert patch.mask.all() and patch.attribution == '© them' and source.problems() == ()
    asked = len(server.requests)
    assert 1 <= asked <= 9
    path, headers = server.requests[0]
    assert path.startswith('/18/') and headers['User-Agent'].startswith('geoloc/')
    source.close()
    again = open_map(server.url, cache_dir=tmp_path, max_zoom=18, block_m=0)
    again.patch(FRAME, (0.0, 0.0), 60.0, 0.5)
    assert len(server.requests) == asked
    again.close()
    assert again.info.attribution == ''


def test_an_old_tile_is_confirmed_not_loaded_again(server, tmp_path):
    first = store(server.url, tmp_path, cache_days=0.0)
    assert get(first, (3, 1, 2))[Tile(3, 1, 2)] == PICTURE
    server.answer = lambda handler: (304, {}, b'')
    assert get(first, (3, 1, 2))[Tile(3, 1, 2)] == PICTURE
    assert server.requests[1][1]['If-None-Match'] == '"v1"'
    # A robot out of reach keeps what it has, however old.
    server.answer = lambda handler: (500, {}, b'')
    assert get(first, (3, 1, 2))[Tile(3, 1, 2)] == PICTURE
    assert any('500' in text for text in first.ledger.texts())
    first.close()


def test_last_modified_is_used_too(server, tmp_path):
    date = 'Mon, 02 Nov 2020 10:00:00 GMT'
    server.answer = lambda handler: (200, {'Last-Modified': date}, PICTURE)
    tiles = store(server.url, tmp_path, cache_days=0.0)
    get(tiles, (3, 1, 2))
    get(tiles, (3, 1, 2))
    assert server.requests[1][1]['If-Modified-Since'] == date
    tiles.close()


def test_a_404_is_masked_counted_with_its_url_and_not_asked_again(server, tmp_path):
    server.answer = lambda handler: (404, {}, b'nothing here')
    source = open_map(server.url, cache_dir=tmp_path, max_zoom=18, block_m=0)
    patch = source.patch(FRAME, (0.0, 0.0), 30.0, 0.5)
    assert not patch.mask.any()
    asked = len(server.requests)
    assert '404' in source.problems()[0] and server.url.split('{')[0] in source.problems()[0]
    source.patch(FRAME, (0.5, 0.0), 30.0, 0.5)
    assert len(server.requests) == asked
    source.close()


def test_a_page_instead_of_a_picture_is_not_kept(server, tmp_path):
    server.answer = lambda handler: (200, {}, b'<html>please log in</html>')
    tiles = store(server.url, tmp_path)
    assert get(tiles, (3, 1, 2)) == {Tile(3, 1, 2): None}
    assert 'not a PNG' in tiles.ledger.texts()[0]
    server.answer = lambda handler: (200, {}, PICTURE)
    assert get(tiles, (3, 1, 2))[Tile(3, 1, 2)] == PICTURE
    server.answer = lambda handler: (200, {}, bytes(tile_url._MAX_TILE_BYTES + 10))
    assert get(tiles, (3, 1, 3)) == {Tile(3, 1, 3): None}
    tiles.close()


def test_a_server_that_is_down_costs_little_and_is_said(tmp_path):
    with socket.socket() as probe:  # a port nobody listens on
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    tiles = store(f'http://127.0.0.1:{port}/{{z}}/{{x}}/{{y}}.png', tmp_path)
    found = get(tiles, *[(10, x, y) for x in range(10) for y in range(10)])
    assert len(found) == 100 and set(found.values()) == {None}
    assert 'does not answer' in tiles.unavailable()
    assert (
        'does not answer' in tiles.ledger.texts()[0] and f':{port}/10/' in tiles.ledger.texts()[0]
    )
    tiles.close()


def test_a_silent_server_is_given_up_in_bounded_time_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tile_url, '_PAUSE_S', 0.3)
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen(8)
        port = silent.getsockname()[1]
        tiles = store(
            f'http://127.0.0.1:{port}/{{z}}/{{x}}/{{y}}.png', tmp_path, timeout_s=0.2, parallel=2
        )
        start = time.monotonic()
        found = get(tiles, *[(10, x, 0) for x in range(50)])
        assert set(found.values()) == {None}
        assert time.monotonic() - start < 50 * 0.2 / 4  # far from a timeout for every tile
        assert tiles.unavailable()
    # After the pause one request asks again.
    back = Server()
    monkeypatch.setattr(tiles, '_template', tile_url.TileTemplate(back.url))
    monkeypatch.setattr(tiles, '_resume_s', 0.0)
    assert PICTURE in get(tiles, (10, 1, 0)).values()
    assert not tiles.unavailable()
    assert get(tiles, (10, 2, 0))[Tile(10, 2, 0)] == PICTURE
    tiles.close()
    back.close()


def test_a_server_that_asks_for_a_pause_gets_it(server, tmp_path):
    server.answer = lambda handler: (429, {'Retry-After': '60'}, b'')
    tiles = store(server.url, tmp_path, parallel=1)
    found = get(tiles, *[(10, x, 0) for x in range(20)])
    assert set(found.values()) == {None} and len(server.requests) == 1
    assert 'asked for a pause (429)' in tiles.unavailable()
    tiles.close()


def test_requests_are_limited_in_number_and_rate(server, tmp_path):
    tiles = store(server.url, tmp_path, parallel=2, per_second=100.0)
    start = time.monotonic()
    get(tiles, *[(10, x, 0) for x in range(16)])
    assert time.monotonic() - start >= 15 / 100.0
    assert server.most_busy <= 2 and len(server.requests) == 16
    tiles.close()


def test_the_cache_keeps_its_limit_and_drops_what_was_not_used(tmp_path, monkeypatch):
    clock = [1e9]
    monkeypatch.setattr('geoloc_core.maps.http_cache.time.time', lambda: clock[0])
    cache = HttpCache(tmp_path, limit_mb=1.0)
    for number in range(8):
        clock[0] += 7200
        cache.put(f'u{number}', CacheEntry(bytes(120_000), '', '', clock[0]))
        cache.get('u0')  # in use all the time
    clock[0] += 7200
    for number in range(8, 12):
        clock[0] += 7200
        cache.put(f'u{number}', CacheEntry(bytes(120_000), '', '', clock[0]))
        assert cache.size_bytes() <= 2**20
    assert cache.get('u0') is not None and cache.get('u11') is not None
    assert cache.get('u1') is None
    assert (tmp_path / 'tiles.sqlite').stat().st_size < 1.2 * 2**20
    cache.close()
    reopened = HttpCache(tmp_path, limit_mb=1.0)
    assert reopened.get('u11').data == bytes(120_000)
    reopened.close()


def test_a_damaged_cache_is_made_anew_and_an_impossible_one_is_said(tmp_path):
    (tmp_path / 'tiles.sqlite').write_bytes(b'garbage' * 1000)
    cache = HttpCache(tmp_path, 1.0)
    assert cache.get('anything') is None
    cache.close()
    (tmp_path / 'file').write_text('')
    with pytest.raises(MapError, match='cannot be used'):
        HttpCache(tmp_path / 'file' / 'sub', 1.0)


def test_secrets_stay_out_of_logs_and_of_the_disk(server, tmp_path):
    url = server.url + '?style=a&access_token=abc123&size=2'
    assert 'abc123' not in hide_secrets(url) and 'style=a' in hide_secrets(url)
    tiles = store(url, tmp_path)
    get(tiles, (3, 1, 2))
    assert 'abc123' in server.requests[0][0]
    assert 'abc123' not in tiles.name + tiles.place(Tile(3, 1, 2))
    tiles.close()
    assert b'abc123' not in (tmp_path / 'tiles.sqlite').read_bytes()


def test_zooms_are_checked_and_a_server_has_no_end(tmp_path):
    url = 'http://127.0.0.1:9/{z}/{x}/{y}@2x.png'
    with pytest.raises(MapError, match='exceeds'):
        store(url, tmp_path, min_zoom=5, max_zoom=3)
    tiles = store(url, tmp_path, min_zoom=3, max_zoom=5)
    assert tiles.tile_px == 512 and sorted(tiles.ranges) == [3, 4, 5]
    for ask in (tiles.tiles, tiles.count):
        with pytest.raises(MapError, match='a server does not say'):
            ask()
    tiles.close()
