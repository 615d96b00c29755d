# SPDX-License-Identifier: Apache-2.0
"""Areas, archives, and the `geoloc map` commands on real imagery."""

import csv
import itertools
import sqlite3

import cv2
import numpy as np
import pytest
import rasterio

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import Datum, distance_m, EnuFrame
from geoloc_core.geometry.tiles import tile_bounds
from geoloc_core.maps import prefetch
from geoloc_core.maps.area import along_track, square_bounds, tiles_in_area
from geoloc_core.maps.mbtiles_writer import MbtilesWriter
from geoloc_core.maps.opening import open_map
from geoloc_core.maps.preview import preview
from geoloc_core.maps.tile_store import Tile
from geoloc_ros.cli.main import main
from tests.maps.rasters import encode, place_around, textured, write_mbtiles, write_tif


@pytest.fixture(scope='module')
def turku(real_data, tmp_path_factory):
    """The real satellite pictures of 2 x 2 sheets, joined to one GeoTIFF in degrees."""
    folder = real_data('wildnav_satmap')
    wanted = ('sat_map_00.jpg', 'sat_map_01.jpg', 'sat_map_02.jpg', 'sat_map_03.jpg')
    sheets = {}
    with (folder / 'map.csv').open() as file:
        for row in itertools.islice(csv.reader(file), 1, None):
            name = row[0].strip('" ').replace('.png', '.jpg')
            if name in wanted:
                sheets[name] = [float(value) for value in row[1:5]]
    north, west = max(s[0] for s in sheets.values()), min(s[1] for s in sheets.values())
    south, east = min(s[2] for s in sheets.values()), max(s[3] for s in sheets.values())
    first = cv2.imread(str(folder / wanted[0]))
    step_lon = (sheets[wanted[0]][3] - sheets[wanted[0]][1]) / first.shape[1]
    step_lat = (sheets[wanted[0]][0] - sheets[wanted[0]][2]) / first.shape[0]
    canvas = np.zeros(
        (round((north - south) / step_lat), round((east - west) / step_lon), 3), 'u1'
    )
    for name, (top, left, _, _) in sheets.items():
        picture = cv2.imread(str(folder / name))
        row, col = round((north - top) / step_lat), round((left - west) / step_lon)
        part = canvas[row : row + picture.shape[0], col : col + picture.shape[1]]
        part[:] = picture[: part.shape[0], : part.shape[1]]
    return write_tif(
        tmp_path_factory.mktemp('turku') / 'turku.tif',
        np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)),
        'EPSG:4326',
        (step_lon, 0, west, 0, -step_lat, north),
        tiled=True,
        compress='jpeg',
        photometric='ycbcr',
    )


def test_a_square_covers_its_circle_at_any_latitude():
    for lat, lon in ((0.0, 0.0), (60.4, 22.46), (-33.0, 179.999), (80.0, -20.0)):
        west, south, east, north = square_bounds(lat, lon, 500.0)
        assert distance_m(lat, lon, lat, west) == pytest.approx(500, rel=0.02)
        assert distance_m(lat, lon, north, lon) == pytest.approx(500, rel=0.02)
        assert (west > east) == (lon == 179.999) and south < lat < north
    for place in ((91.0, 0.0), (88.0, 0.0), (0.0, 200.0)):
        with pytest.raises(MapError, match='LAT,LON'):
            square_bounds(*place, 10.0)
    with pytest.raises(MapError, match='radius'):
        square_bounds(0.0, 0.0, 0.0)


def test_tiles_along_a_track_cover_it_and_little_else():
    lats = np.linspace(49.0, 49.01, 400)
    lons = np.linspace(8.4, 8.41, 400)
    tiles = tiles_in_area(along_track(lats, lons, 80.0), [17, 19], 10_000)
    assert [t.z for t in tiles] == sorted(t.z for t in tiles) and len(set(tiles)) == len(tiles)
    boxes = [tile_bounds(t.x, t.y, t.z) for t in tiles if t.z == 19]
    for lat, lon in zip(lats, lons, strict=True):
        assert any(w <= lon <= e and s <= lat <= n for w, s, e, n in boxes)
    # 1.33 km of strip, 240 m wide with the tiles it touches, of 50 m tiles
    assert 1330 * 160 / 50**2 < len(boxes) < 1330 * 420 / 50**2
    with pytest.raises(MapError, match='more than 10 tiles'):
        tiles_in_area(along_track(lats, lons, 80.0), [19], 10)


def test_an_area_across_the_antimeridian_has_tiles_on_both_sides():
    tiles = tiles_in_area([square_bounds(-17.0, 179.9999, 300.0)], [17], 1000)
    assert {t.x for t in tiles} >= {0, 2**17 - 1} and len(tiles) < 20


def test_real_imagery_survives_the_way_into_an_archive(turku, tmp_path, capsys):
    output = tmp_path / 'turku.mbtiles'
    command = ['map', 'prefetch', str(turku), '-o', str(output), '--attribution', 'the survey']
    assert main([*command, '--dry-run', '--zooms', '17-19']) == 0
    assert not output.exists() and 'tiles, zooms 17 to 19' in capsys.readouterr().out
    assert main([*command, '--zooms', '17-20']) == 0
    raster, archive = open_map(turku), open_map(output)
    assert archive.info.attribution == 'the survey' and archive.pyramid.zooms == (20, 19, 18, 17)
    west, south, east, north = raster.info.bounds_deg
    frame = EnuFrame(Datum((south + north) / 2, (west + east) / 2))
    for center, gsd in (((10.0, -5.0), 0.2), ((-40.0, 30.0), 0.5), ((0.0, 0.0), 1.1)):
        one = raster.patch(frame, center, 100.0, gsd)
        two = archive.patch(frame, center, 100.0, gsd)
        assert one.mask.all() and two.mask.all() and two.attribution == 'the survey'
        shift, response = cv2.phaseCorrelate(
            one.image.mean(axis=2).astype(np.float32), two.image.mean(axis=2).astype(np.float32)
        )
        assert np.abs(shift).max() < 0.1 and response > 0.5
        assert np.abs(one.image.astype(int) - two.image).mean() < 8
    # Its metadata is what other programs expect.
    with sqlite3.connect(output) as connection:
        metadata = dict(connection.execute('SELECT name, value FROM metadata'))
    assert metadata['format'] in ('jpg', 'png') and metadata['maxzoom'] == '20'
    assert {'name', 'type', 'version', 'description', 'bounds', 'minzoom'} <= set(metadata)
    bounds = [float(value) for value in metadata['bounds'].split(',')]
    assert bounds[0] <= west and bounds[3] >= north
    # Nothing is left to do.
    capsys.readouterr()
    assert main([*command, '--zooms', '17-20']) == 0
    assert ': 0 tiles added' in capsys.readouterr().out
    assert main(['map', 'check', str(output)]) == 0
    # GDAL reads it to the same place.
    with rasterio.open(output) as dataset:
        assert dataset.crs.to_epsg() == 3857


def test_a_bag_names_the_area(tmp_path, monkeypatch):
    class Fix:
        def __init__(self, lat, lon, status=0):
            self.latitude, self.longitude = lat, lon
            self.status = type('S', (), {'status': status})()

    class Bag:
        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def truth_datum(self):
            return None

        def candidates(self, kind):
            return ['/fix']

        def messages(self, topics):
            fixes = [Fix(49.0, 8.4), Fix(10.0, 8.4, status=-1), Fix(0.0, 0.0), Fix(49.001, 8.4)]
            return [type('M', (), {'message': fix})() for fix in fixes]

    monkeypatch.setattr('geoloc_core.bags.reader.read_bag', lambda path: Bag())
    data = textured(900, 900)
    path = write_tif(
        tmp_path / 'm.tif',
        data,
        'EPSG:32632',
        place_around(49.0, 8.4, 'EPSG:32632', 0.5, 900, 900),
    )
    output = tmp_path / 'track.mbtiles'
    command = ['map', 'prefetch', str(path), '-o', str(output), '--zooms', '18', '--radius', '40']
    assert main([*command, '--bag', 'some.bag']) == 0
    west, south, east, north = open_map(output).info.bounds_deg
    assert south < 48.9997 and 49.001 < north < 49.004 and east - west < 0.006


def test_an_interrupted_copy_goes_on_where_it_stopped(tmp_path, monkeypatch):
    tiles = {
        (18, 1000 + i, 900 + j): encode(textured(256, 256, seed=9 * i + j).transpose(1, 2, 0))
        for i in range(9)
        for j in range(9)
    }
    source = write_mbtiles(tmp_path / 'in.mbtiles', tiles, attribution='them')
    output = tmp_path / 'out.mbtiles'
    read = prefetch.read_tiles
    calls = []

    def interrupted(map_source, wanted):
        calls.append(len(wanted))
        if len(calls) == 3:  # the first call is the estimate's
            raise KeyboardInterrupt
        return read(map_source, wanted)

    monkeypatch.setattr(prefetch, 'read_tiles', interrupted)
    command = ['map', 'prefetch', str(source), '-o', str(output), '--zooms', '18']
    assert main(command) == 130
    begun = open_map(output)
    assert begun.pyramid.parts() == 32 and begun.info.attribution == 'them'
    begun.close()
    assert main(command) == 0
    assert sum(calls[4:]) == 81 - 32
    whole = open_map(output)
    key, data = next(iter(tiles.items()))
    assert whole.pyramid.parts() == 81
    assert dict(whole.pyramid.store.fetch([Tile(*key)]))[Tile(*key)] == data  # as it was


def test_archives_of_another_source_and_bad_places_are_refused(tmp_path):
    with MbtilesWriter(tmp_path / 'a.mbtiles', 'one', '') as archive:
        archive.put(Tile(3, 1, 1), b'x')
    with pytest.raises(MapError, match='already holds tiles of one'):
        MbtilesWriter(tmp_path / 'a.mbtiles', 'two', '')
    foreign = write_mbtiles(tmp_path / 'b.mbtiles', {(3, 1, 1): b'x'})
    with pytest.raises(MapError, match='another source'):
        MbtilesWriter(foreign, 'two', '')
    with pytest.raises(MapError, match='no folder'):
        MbtilesWriter(tmp_path / 'absent' / 'c.mbtiles', 'one', '')
    (tmp_path / 'text.mbtiles').write_text('hello, I am not a database at all')
    with pytest.raises(MapError, match='cannot be written'):
        MbtilesWriter(tmp_path / 'text.mbtiles', 'one', '')
    with MbtilesWriter(tmp_path / 'empty.mbtiles', 'one', ''):
        pass
    assert not (tmp_path / 'empty.mbtiles').exists()


def test_a_server_that_fails_midway_leaves_what_was_loaded(tmp_path, capsys):
    url = 'http://127.0.0.1:9/{z}/{x}/{y}.png'  # the discard port: refused at once
    output = tmp_path / 'a.mbtiles'
    common = ['--cache-dir', str(tmp_path), '--timeout', '1']
    command = ['map', 'prefetch', url, '-o', str(output), *common]
    assert main([*command, '--center', '49,8.4', '--radius', '100']) == 1
    message = capsys.readouterr().err
    assert 'none of' in message and 'http://127.0.0.1:9/' in message and not output.exists()
    assert main(command) == 1
    assert 'name the area' in capsys.readouterr().err
    assert main(['map', 'check', url, *common, '--center', '49,8.4', '--radius', '50']) == 1
    assert 'does not answer' in capsys.readouterr().out
    assert main(['map', 'check', url, *common]) == 1
    assert main(['map', 'info', url, *common, '--picture', str(tmp_path / 'p.jpg')]) == 1


def test_info_prints_and_draws(tmp_path, capsys):
    data = textured(300, 500)
    path = write_tif(
        tmp_path / 'm.tif',
        data,
        'EPSG:4326',
        (2e-6, 0, 22.46, 0, -1e-6, 60.4),
        overviews=[2, 4],
    )
    assert main(['map', 'info', str(path), '--picture', str(tmp_path / 'whole.png')]) == 0
    out = capsys.readouterr().out
    assert 'EPSG:4326' in out and '22.460000,60.399700,22.461000,60.400000' in out
    assert '2, 4' in out and 'none stated' in out
    whole = cv2.imread(str(tmp_path / 'whole.png'))
    # 55 m x 33 m: square pixels although those of the file are not
    assert whole.shape[1] == 1024 and whole.shape[0] == pytest.approx(1024 * 33.4 / 55.1, abs=6)
    place = ['--center', '60.39985,22.4605', '--radius', '10']
    picture = tmp_path / 'place.jpg'
    assert main(['map', 'info', str(path), '--picture', str(picture), *place]) == 0
    assert cv2.imread(str(picture)).std() > 10
    assert main(['map', 'info', str(path), '--picture', str(tmp_path / 'x.nonsense')]) == 1
    assert main(['map', 'info', str(path), '--picture', str(picture), '--center', '60']) == 1


def test_a_preview_of_tiles_shows_their_area_alone(tmp_path):
    rgb = np.zeros((256, 256, 3), np.uint8)
    rgb[:128, :, 0] = 250
    tiles = {(12, 2000 + i, 1500): encode(rgb) for i in range(2)} | {(3, 3, 2): encode(rgb)}
    picture = preview(open_map(write_mbtiles(tmp_path / 'p.mbtiles', tiles)).pyramid, 64)
    assert picture.shape == (32, 64, 3)
    assert (picture[:15, :, 0] > 240).all() and not picture[17:].any()


def test_check_names_what_is_torn(tmp_path, capsys):
    good = encode(textured(256, 256).transpose(1, 2, 0), 'jpg')
    path = write_mbtiles(tmp_path / 't.mbtiles', {(5, 1, 1): good, (5, 2, 1): good[:900]})
    assert main(['map', 'check', str(path)]) == 1
    out = capsys.readouterr().out
    assert 'tile 5/2/1' in out and '2 tiles read, 1 damaged' in out
    tif = write_tif(
        tmp_path / 'm.tif',
        textured(300, 200),
        'EPSG:32632',
        place_around(49.0, 8.4, 'EPSG:32632', 0.5, 200, 300),
    )
    assert main(['map', 'check', str(tif)]) == 0
    assert 'sound' in capsys.readouterr().out
    assert main(['map', 'check', str(tif), '--center', '49,8']) == 1


@pytest.mark.parametrize(
    'extra',
    [
        ['--bounds', '1,2,3'],
        ['--bounds', '8,50,9,49'],
        ['--center', 'a,b'],
        ['--zooms', '19-18'],
        ['--zooms', '3-30'],
        ['--zooms', 'x'],
        ['--max-tiles', '1'],
        ['--center', '10,10'],
    ],
)
def test_bad_arguments_are_said(tmp_path, extra, capsys):
    path = write_tif(
        tmp_path / 'm.tif',
        textured(300, 200),
        'EPSG:32632',
        place_around(49.0, 8.4, 'EPSG:32632', 0.5, 200, 300),
    )
    assert main(['map', 'prefetch', str(path), '-o', str(tmp_path / 'o.mbtiles'), *extra]) == 1
    assert capsys.readouterr().err.startswith('geoloc: ')
    assert not (tmp_path / 'o.mbtiles').exists()
