# SPDX-License-Identifier: Apache-2.0
"""Tile archives and folders: what is refused, and what becomes of missing and torn tiles."""

import os
import sqlite3
import struct
import zlib

import numpy as np
import pytest

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.tiles import tile_bounds
from geoloc_core.maps.opening import open_map
from geoloc_core.maps.tile_folder import FolderStore, TileTemplate
from geoloc_core.maps.tile_picture import decode_tile, picture_size
from geoloc_core.maps.tile_store import Tile
from tests.maps.rasters import encode, textured, write_mbtiles

Z, X, Y = 18, 137_209, 89_993
RGB = textured(256, 256).transpose(1, 2, 0)


def frame_at(x, y, z=Z):
    """ENU at the north-west corner of a tile."""
    west, _, _, north = tile_bounds(x, y, z)
    return EnuFrame(Datum(north, west))


def test_real_mbtiles_show_the_world(real_data):
    for kind in ('jpg', 'png'):
        path = real_data('geo_rasters', 'mbtiles') / f'geography-class-{kind}.mbtiles'
        source = open_map(path)
        assert source.info.bounds_deg == pytest.approx((-180, -85.0511, 180, 85.0511), abs=1e-3)
        assert source.pyramid.zooms == (1, 0) and source.info.size_px == (512, 512)
        assert [fault for fault in source.pyramid.check() if fault] == []
        assert source.pyramid.parts() == 5
        # The Sahara is land (drawn in colours), the Gulf of Guinea is sea (bluish).
        land = source.patch(EnuFrame(Datum(22.0, 12.0)), (0.0, 0.0), 4e5, 2e4).image.mean((0, 1))
        sea = source.patch(EnuFrame(Datum(-10.0, -15.0)), (0.0, 0.0), 4e5, 2e4).image.mean((0, 1))
        assert sea[2] > sea[0] + 15 and land[0] > land[2] + 15


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda p: p.write_bytes(b'no database'), 'not a sound MBTiles'),
        (lambda p: p.write_bytes(b''), 'not a sound MBTiles'),
        (lambda p: sqlite3.connect(p).execute('CREATE TABLE a (b)'), 'not a sound MBTiles'),
        (lambda p: write_mbtiles(p, {}), 'has no tiles'),
        (lambda p: write_mbtiles(p, {(3, 1, 1): b'\x1f\x8b vector'}, format='pbf'), 'vector'),
        (lambda p: write_mbtiles(p, {(3, 1, 1): b'<html>'}), 'not a PNG'),
        (lambda p: write_mbtiles(p, {(40, 1, 1): encode(RGB)}), 'zoom 40'),
    ],
)
def test_archives_that_are_none_are_refused(tmp_path, make, words):
    path = tmp_path / 'x.mbtiles'
    make(path)
    with pytest.raises(MapError, match=words):
        open_map(path)


def test_a_torn_archive_is_refused_or_found_by_check(tmp_path):
    tiles = {(Z, X + i, Y + j): encode(RGB) for i in range(6) for j in range(6)}
    path = write_mbtiles(tmp_path / 'whole.mbtiles', tiles)
    data = path.read_bytes()
    torn = tmp_path / 'torn.mbtiles'
    torn.write_bytes(data[: len(data) // 2])
    with pytest.raises(MapError, match='not a sound MBTiles'):
        list(open_map(torn).pyramid.check())


def test_missing_and_torn_tiles_are_masked_and_counted_with_their_place(tmp_path):
    good = encode(RGB, 'jpg')
    tiles = {(Z, X, Y): good, (Z, X + 2, Y): good, (Z, X + 1, Y + 1): good[: len(good) // 2]}
    source = open_map(write_mbtiles(tmp_path / 'holes.mbtiles', tiles))
    side = 3 * 256
    frame = frame_at(X, Y)
    gsd = source.info.gsd
    patch = source.patch(frame, (side / 2 * gsd, -256 * gsd), side * gsd, gsd)
    # rows 0..127 of the patch lie north of the map
    assert patch.mask[140:370, 20:240].all() and patch.mask[140:370, 540:740].all()
    assert not patch.mask[140:370, 270:500].any() and not patch.mask[400:640].any()
    problems = source.problems()
    assert any('torn' in text and f'tile {Z}/{X + 1}/{Y + 1}' in text for text in problems)
    assert any('not in the archive' in text for text in problems)
    faults = [fault for fault in source.pyramid.check() if fault]
    assert len(faults) == 1 and f'{Z}/{X + 1}/{Y + 1}' in faults[0]


def test_a_folder_names_the_missing_file(tmp_path):
    for x, y in ((X, Y), (X + 2, Y + 1)):
        (tmp_path / f'{Z}/{x}').mkdir(parents=True, exist_ok=True)
        (tmp_path / f'{Z}/{x}/{y}.png').write_bytes(encode(RGB))
    (tmp_path / 'notes.txt').write_text('not a tile')
    (tmp_path / f'{Z}/{X}/thumbs.db').write_text('not a tile')
    source = open_map(tmp_path, block_m=0)
    assert source.pyramid.parts() == 2 and source.info.size_px == (3 * 256, 2 * 256)
    source.patch(frame_at(X + 1, Y), (50.0, -50.0), 20.0, 0.6)
    assert source.problems() == (f'1 x no such file, last {tmp_path}/{Z}/{X + 1}/{Y}.png',)
    source.close()


def test_folders_without_tiles_are_refused(tmp_path):
    with pytest.raises(MapError, match='has no tiles'):
        open_map(tmp_path)
    (tmp_path / '18' / '5').mkdir(parents=True)
    with pytest.raises(MapError, match='has no tiles'):
        open_map(tmp_path)
    with pytest.raises(MapError, match='no tiles named like'):
        open_map(f'{tmp_path}/{{z}}/{{x}}/{{y}}.png')
    with pytest.raises(MapError, match='there is no folder'):
        open_map(f'{tmp_path}/absent/{{z}}/{{x}}/{{y}}.png')
    (tmp_path / '18' / '5' / '6.png').write_bytes(b'')
    with pytest.raises(MapError, match=r'6\.png'):
        open_map(tmp_path)


@pytest.mark.parametrize(
    ('template', 'words'),
    [
        ('/maps/{z}/{x}.png', 'must name'),
        ('/maps/{z}/{x}/{y}/{-y}.png', 'must name'),
        ('https://{s}.tiles/{z}/{x}/{y}.png', 'unknown placeholder {s}'),
        ('/maps/{q}.png', 'unknown placeholder {q}'),
    ],
)
def test_templates_are_checked(tmp_path, template, words):
    with pytest.raises(MapError, match=words):
        open_map(template, cache_dir=tmp_path)


def test_templates_fill_and_parse(tmp_path, monkeypatch):
    tile = Tile(3, 5, 1)
    for text, path in {
        '/a/{z}/{x}/{y}.png': '/a/3/5/1.png',
        '/a/{level}_{x}_{-y}.jpg': '/a/3_5_6.jpg',
        'm.{z}/{x}/z{z}_{x}_{y}.png': 'm.3/5/z3_5_1.png',
    }.items():
        template = TileTemplate(text)
        assert template.fill(tile) == path
        assert template.parse(path) == tile
        assert template.parse(path.replace('3', '3x')) is None
    assert TileTemplate('m/{z}/{x}/z{z}_{y}').parse('m/3/5/z4_1') is None
    # Relative paths, with and without a dot.
    (tmp_path / '3' / '5').mkdir(parents=True)
    (tmp_path / '3' / '5' / '1.png').write_bytes(encode(RGB))
    monkeypatch.chdir(tmp_path)
    for text in (
        '{z}/{x}/{y}.png',
        './{z}/{x}/{y}.png',
        f'../{tmp_path.name}/{{z}}/{{x}}/{{y}}.png',
    ):
        assert list(FolderStore(text).tiles()) == [tile]


def test_rows_may_count_from_the_south(tmp_path):
    (tmp_path / '3' / '5').mkdir(parents=True)
    (tmp_path / '3' / '5' / '6.png').write_bytes(encode(RGB))
    assert open_map(tmp_path).pyramid.store.ranges[3].row == 6
    (tmp_path / 'metadata.json').write_text('{"scheme": "tms"}')
    assert open_map(tmp_path).pyramid.store.ranges[3].row == 1


def test_transparent_grey_and_resized_tiles():
    alpha = np.full((256, 256), 255, np.uint8)
    alpha[:100] = 0
    rgb, mask = decode_tile(encode(RGB, 'png', alpha), 256)
    assert not mask[:100].any() and (mask[100:] == 255).all()
    assert np.array_equal(rgb[100:], RGB[100:])
    small, mask = decode_tile(encode(RGB), 128)
    assert small.shape == (128, 128, 3) and mask.shape == (128, 128)
    assert np.abs(small - RGB.reshape(128, 2, 128, 2, 3).mean((1, 3))).max() < 1.5


def test_headers_are_read_and_bombs_refused():
    picture = textured(70, 110).transpose(1, 2, 0)
    for kind in ('png', 'jpg', 'webp'):
        assert picture_size(encode(picture, kind)) == (110, 70)
        with pytest.raises(MapError, match='torn'):
            picture_size(encode(picture, kind)[:-80])
    with_alpha = encode(picture, 'webp', np.full((70, 110), 9, np.uint8))
    assert picture_size(with_alpha) == (110, 70)
    header = struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
        for kind, body in (
            (b'IHDR', header),
            (b'IDAT', zlib.compress(bytes(1000))),
            (b'IEND', b''),
        )
    )
    with pytest.raises(MapError, match='60000 x 60000'):
        decode_tile(bomb, 256)
    for junk in (b'', b'GIF89a', b'\xff\xd8\xff\xe0\xff\xd9', b'\xff\xd8\xff\xd9', os.urandom(50)):
        with pytest.raises(MapError):
            decode_tile(junk, 256)


def test_metadata_attribution_is_plain_text(tmp_path):
    path = write_mbtiles(
        tmp_path / 'a.mbtiles',
        {(3, 1, 1): encode(RGB)},
        attribution='<a href="https://x.example">&copy; Survey</a>',
    )
    assert open_map(path).info.attribution == '© Survey'
