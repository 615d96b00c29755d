# SPDX-License-Identifier: Apache-2.0
"""Patches: the same place from every kind of source, without aliasing, whatever is in memory."""

import threading

import numpy as np
import pytest

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.blocks import BlockCache
from geoloc_core.maps.geotiff import GeoTiffPyramid
from geoloc_core.maps.opening import open_map
from geoloc_core.maps.pyramid import _step, Scale, Window
from geoloc_core.maps.raster_source import RasterMapSource
from tests.maps.rasters import encode, place_around, textured, write_mbtiles, write_tif

LAT, LON = 49.01, 8.43
FRAME = EnuFrame(Datum(LAT, LON, 110.0))
Z = 19
# World pixel of the first of 4 x 3 tiles around the place.
TILE_X, TILE_Y = 274_418, 179_986


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """One picture of 4 x 3 tiles at zoom 19, as every kind of map."""
    folder = tmp_path_factory.mktemp('world')
    picture = textured(768, 1024, seed=2, cell=12)
    rgb = picture.transpose(1, 2, 0)
    tiles = {
        (Z, TILE_X + i, TILE_Y + j): rgb[j * 256 : j * 256 + 256, i * 256 : i * 256 + 256]
        for i in range(4)
        for j in range(3)
    }
    encoded = {key: encode(tile) for key, tile in tiles.items()}
    for (z, x, y), data in encoded.items():
        for name, row in (('xyz', y), ('tms', 2**z - 1 - y)):
            path = folder / name / str(z) / str(x) / f'{row}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (folder / 'tms' / 'tilemapresource.xml').write_text('<TileMap/>')
    write_mbtiles(folder / 'png.mbtiles', encoded)
    for kind in ('webp', 'jpg'):
        write_mbtiles(
            folder / f'{kind}.mbtiles', {key: encode(tile, kind) for key, tile in tiles.items()}
        )
    # 512 px tiles at the zoom below: aligned pairs only, so an even corner is needed.
    assert TILE_X % 2 == 0 and TILE_Y % 2 == 0
    large = np.zeros((1024, 1024, 3), np.uint8)
    large[:768] = rgb
    write_mbtiles(
        folder / 'large.mbtiles',
        {
            (Z - 1, TILE_X // 2 + i, TILE_Y // 2 + j): encode(
                large[j * 512 : j * 512 + 512, i * 512 : i * 512 + 512]
            )
            for i in range(2)
            for j in range(2)
        },
    )
    size = 2 * np.pi * 6378137.0 / (256 * 2**Z)
    edge = np.pi * 6378137.0
    write_tif(
        folder / 'mercator.tif',
        picture,
        'EPSG:3857',
        (size, 0, TILE_X * 256 * size - edge, 0, -size, edge - TILE_Y * 256 * size),
    )
    return folder


@pytest.fixture(scope='module')
def reference(world):
    source = open_map(world / 'mercator.tif', block_m=0)
    west, south, east, north = source.info.bounds_deg
    center = FRAME.enu_from_geodetic((south + north) / 2, (west + east) / 2, 110.0)
    return source, (float(center[0]) + 4.3, float(center[1]) - 7.7)


@pytest.mark.parametrize(
    ('spec', 'difference'),
    [
        ('png.mbtiles', 0),
        ('webp.mbtiles', 0),
        ('jpg.mbtiles', 12),
        ('large.mbtiles', 0),
        ('xyz', 0),
        ('tms', 0),
        ('xyz/{z}/{x}/{y}.png', 0),
        ('tms/{level}/{x}/{-y}.png', 0),
    ],
)
def test_every_source_gives_the_same_patch(world, reference, spec, difference):
    truth_source, center = reference
    # Fine enough that pixels are not averaged, which each source does from its own corner.
    truth = truth_source.patch(FRAME, center, 40.0, 0.2)
    source = open_map(f'{world}/{spec}')
    patch = source.patch(FRAME, center, 40.0, 0.2)
    assert patch.image.shape == (200, 200, 3) and patch.image.dtype == np.uint8
    assert patch.mask.all() and patch.mask.dtype == bool
    assert patch.grid == truth.grid
    departure = np.abs(patch.image.astype(int) - truth.image).max()
    assert departure <= difference + 1
    assert truth.image.std() > 30
    source.close()


def test_a_file_url_is_a_folder(world, reference):
    source = open_map(f'file://{world}/xyz/{{z}}/{{x}}/{{y}}.png')
    assert source.patch(FRAME, reference[1], 30.0, 0.5).mask.all()


def test_values_do_not_depend_on_which_block_was_in_memory(world):
    source = open_map(world / 'png.mbtiles', block_m=120.0)
    alone = open_map(world / 'png.mbtiles', block_m=0.0)
    west, south, east, north = source.info.bounds_deg
    center = FRAME.enu_from_geodetic((south + north) / 2, (west + east) / 2, 110.0)
    for gsd in (0.2, 0.28, 0.37, 0.71):
        for step in range(0, 40, 4):
            place = (float(center[0]) - 30.0 + step, float(center[1]) + step / 2)
            patch = source.patch(FRAME, place, 24.0, gsd)
            source.wait()
            fresh = open_map(world / 'png.mbtiles', block_m=0.0)
            assert np.array_equal(patch.image, fresh.patch(FRAME, place, 24.0, gsd).image)
            assert np.array_equal(patch.image, alone.patch(FRAME, place, 24.0, gsd).image)
            fresh.close()
    source.close()
    alone.close()


@pytest.mark.parametrize('overviews', [None, [2, 4, 8]])
@pytest.mark.parametrize('ratio', [1.6, 2.0, 2.7, 5.3, 12.0])
def test_coarse_patches_do_not_alias(tmp_path, overviews, ratio):
    # A checkerboard of single pixels is grey to any coarser eye.
    height, width = 600, 640
    board = np.indices((height, width)).sum(axis=0) % 2 * 255
    path = write_tif(
        tmp_path / 'board.tif',
        board.astype(np.uint8),
        'EPSG:32632',
        place_around(LAT, LON, 'EPSG:32632', 0.25, width, height),
        overviews=overviews,
        tiled=True,
        blockxsize=256,
        blockysize=256,
    )
    patch = open_map(path).patch(FRAME, (3.1, -2.2), 96.0, 0.25 * ratio)
    assert patch.mask.all()
    # 1.6 px is between two steps: a third of the contrast may be left, not all of it.
    assert patch.image.std() < (45 if ratio < 2 else 20)
    assert patch.image.mean() == pytest.approx(127.5, abs=3)


def test_a_coarse_patch_stays_in_place(tmp_path):
    data = textured(800, 900, seed=5, cell=60)
    transform = place_around(LAT, LON, 'EPSG:32632', 0.25, 900, 800)
    plain = write_tif(tmp_path / 'plain.tif', data, 'EPSG:32632', transform)
    with_overviews = write_tif(
        tmp_path / 'over.tif', data, 'EPSG:32632', transform, overviews=[2, 4], tiled=True
    )
    fine = open_map(plain).patch(FRAME, (5.0, -3.0), 120.0, 0.25).image.astype(float)
    expected = fine.reshape(80, 6, 80, 6, 3).mean(axis=(1, 3))
    for path in (plain, with_overviews):
        coarse = open_map(path).patch(FRAME, (5.0, -3.0), 120.0, 1.5).image
        error = np.abs(coarse - expected)
        assert error.max() < 8 and error.mean() < 1.5  # one pixel off would be 25


def test_outside_the_map_nothing_is_true_and_nothing_is_raised(world):
    source = open_map(world / 'png.mbtiles')
    for frame, place in ((FRAME, (9e5, 0.0)), (EnuFrame(Datum(-80.0, -170.0)), (0.0, 0.0))):
        patch = source.patch(frame, place, 50.0, 0.5)
        assert not patch.mask.any() and not patch.image.any() and patch.coverage == 0.0


def test_at_the_edge_only_the_covered_part_is_true(tmp_path):
    data = np.full((3, 100, 140), 200, np.uint8)
    path = write_tif(
        tmp_path / 'edge.tif',
        data,
        'EPSG:32632',
        place_around(LAT, LON, 'EPSG:32632', 0.5, 140, 100),
    )
    patch = open_map(path).patch(FRAME, (35.0, 0.0), 40.0, 0.5)
    assert patch.mask[:, :35].all() and not patch.mask[:, 45:].any()
    assert (patch.image[patch.mask] == 200).all() and not patch.image[~patch.mask].any()


def test_impossible_patches_are_misuse(world):
    source = open_map(world / 'png.mbtiles')
    for size_m, gsd in ((50.0, 0.0), (50.0, -1.0), (0.01, 0.5), (1e6, 0.1), (np.nan, 0.5)):
        with pytest.raises(MapError, match='patch of'):
            source.patch(FRAME, (0.0, 0.0), size_m, gsd)


def test_memory_stays_within_its_limit_and_patches_larger_than_a_block_are_whole(tmp_path):
    data = textured(1200, 1300, seed=7)
    path = write_tif(
        tmp_path / 'm.tif',
        data,
        'EPSG:32632',
        place_around(LAT, LON, 'EPSG:32632', 0.2, 1300, 1200),
    )
    small = RasterMapSource(GeoTiffPyramid(path), memory_mb=4.0)  # 512 x 512 cells a block
    large = open_map(path)
    truth = large.patch(FRAME, (0.0, 0.0), 200.0, 0.2)
    patch = small.patch(FRAME, (0.0, 0.0), 200.0, 0.2)
    assert truth.mask.all() and np.array_equal(patch.mask, truth.mask)
    assert np.abs(patch.image.astype(int) - truth.image).max() <= 12  # cut in parts: own affines
    for x in range(0, 60, 5):
        small.patch(FRAME, (float(x), 0.0), 40.0, 0.2)
        small.wait()
    blocks = small._cache._blocks
    assert sum(b.rgb.nbytes + b.rgb.size // 3 for b in blocks) <= 4.5 * 2**20


def test_the_next_block_is_read_while_the_old_one_serves(tmp_path):
    data = textured(1500, 1600, seed=9)
    path = write_tif(
        tmp_path / 'd.tif',
        data,
        'EPSG:32632',
        place_around(LAT, LON, 'EPSG:32632', 0.2, 1600, 1500),
        tiled=True,
    )
    pyramid = GeoTiffPyramid(path)
    readers = []
    read = pyramid.read_cells

    def counted(scale, window, *args):
        readers.append(threading.current_thread() is threading.main_thread())
        return read(scale, window, *args)

    pyramid.read_cells = counted
    source = RasterMapSource(pyramid, block_m=100.0)
    source.patch(FRAME, (-100.0, 0.0), 30.0, 0.2)
    source.wait()
    assert readers == [True, False]  # the request waits for little; the block comes behind it
    for x in range(-100, 100, 2):
        source.patch(FRAME, (float(x), 0.0), 30.0, 0.2)
        source.wait()
    assert readers.count(True) == 1  # never waited again
    assert 4 <= readers.count(False) <= 14
    source.close()
    source.close()


def test_a_block_is_found_again_only_at_its_own_scale():
    class Blank:
        levels = (type('L', (), {'extent': Window(0, 0, 4000, 3000)})(),)

        def read_cells(self, scale, window, cancelled=None):
            columns, rows = scale.cells(window)
            return np.zeros((rows, columns, 3), np.uint8), None

    cache = BlockCache(Blank(), 0.0, 64.0)
    needed = Window(100, 200, 50, 40)
    one = cache.get(Scale(0, 1.0, 1.0), needed, 0.2)
    assert cache.get(Scale(0, 1.0, 1.0), needed, 0.2) is one
    assert cache.get(Scale(0, 2.0, 1.0), needed, 0.2) is not one
    assert cache.get(Scale(0, 1.0, 1.0), needed, 0.2) is one
    assert one.window.covers(needed) and one.window.width == 64


def test_scale_steps():
    expected = {0.5: 1, 1: 1, 1.2: 1, 1.25: 1.25, 1.6: 1.5, 1.99: 1.75, 2: 2, 3.1: 3, 7.9: 7}
    for ratio, step in expected.items():
        assert _step(ratio) == step or (ratio == 1.99 and _step(ratio) == 2)
        aligned = Scale(0, _step(ratio), 1.0).aligned(Window(-13, 7, 100, 50))
        assert aligned.covers(Window(-13, 7, 100, 50))
        assert aligned.width / _step(ratio) == int(aligned.width / _step(ratio))
