# SPDX-License-Identifier: Apache-2.0
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pyproj
import pytest

from geoloc_core.errors import InputError
from geoloc_core.geometry import tiles
from geoloc_core.geometry.geodesy import Datum, EnuFrame

longitudes = st.floats(-180, 180)
latitudes = st.floats(-85, 85)
zooms = st.integers(0, 22)


@pytest.fixture(scope='module')
def mercantile():
    return pytest.importorskip('mercantile')


# ---- conformance ----


@given(lon=longitudes, lat=latitudes, z=zooms)
def test_tile_matches_mercantile(mercantile, lon, lat, z):
    assert tiles.tile_from_lonlat(lon, lat, z) == mercantile.tile(lon, lat, z)[:2]


@given(z=zooms, fx=st.floats(0, 0.9999999), fy=st.floats(0, 0.9999999))
def test_bounds_match_mercantile(mercantile, z, fx, fy):
    x, y = int(fx * 2**z), int(fy * 2**z)
    np.testing.assert_allclose(
        tiles.tile_bounds(x, y, z), tuple(mercantile.bounds(x, y, z)), rtol=0, atol=1e-9
    )
    # A tile's own north-west corner, and its middle, fall into the tile.
    west, south, east, north = tiles.tile_bounds(x, y, z)
    assert tiles.tile_from_lonlat(west, north, z) == (x, y)
    assert tiles.tile_from_lonlat((west + east) / 2, (south + north) / 2, z) == (x, y)


@pytest.mark.parametrize(
    'box',
    [
        (8.3, 48.9, 8.6, 49.1),
        (-0.01, -0.01, 0.01, 0.01),
        (179.9, 0.1, -179.9, 0.2),
        (-40.0, 83.9, -39.0, 84.1),
        (-180.0, -85.0, 180.0, 85.0),
    ],
)
@pytest.mark.parametrize('z', [0, 3, 7])
def test_tiles_in_bounds_match_mercantile(mercantile, box, z):
    found = list(tiles.tiles_in_bounds(*box, z))
    assert len(found) == len(set(found))
    expected = {(t.x, t.y) for t in mercantile.tiles(*box, [z])}
    # mercantile leaves out a row or column that the box only touches with its edge.
    assert expected <= set(found)
    for x, y in set(found) - expected:
        west, _, _, north = tiles.tile_bounds(x, y, z)
        assert math.isclose(north, box[1], abs_tol=1e-9) or math.isclose(
            west, box[2], abs_tol=1e-9
        )


@given(lon=longitudes, lat=latitudes, z=st.floats(0, 22))
def test_pixels_match_proj(lon, lat, z):
    to_mercator = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
    east, north = to_mercator.transform(lon, lat)
    metre = 256 * 2**z / tiles.EARTH_CIRCUMFERENCE_M
    half = 128 * 2**z
    x, y = tiles.pixel_from_lonlat(lon, lat, z)
    # 1e-8 m on the ground, in pixels, plus float64 rounding.
    assert x == pytest.approx(half + east * metre, abs=1e-7 * metre + 1e-6)
    assert y == pytest.approx(half - north * metre, abs=1e-7 * metre + 1e-6)


@given(longitudes, st.floats(-85.05, 85.05), st.floats(0, 22))
def test_pixel_there_and_back(lon, lat, z):
    back = tiles.lonlat_from_pixel(*tiles.pixel_from_lonlat(lon, lat, z), z)
    np.testing.assert_allclose(back, (lon, lat), rtol=0, atol=1e-9)


def test_pixel_formula_of_hcnet():
    # crossview: y = 256 s (0.5 - ln((1 + sin) / (1 - sin)) / 4 pi), zoom 20.
    lat, lon, s = 40.7128, -74.006, 2.0**20
    sin = math.sin(math.radians(lat))
    x, y = tiles.pixel_from_lonlat(lon, lat, 20)
    assert x == pytest.approx(256 * s * (0.5 + lon / 360), abs=1e-6)
    assert y == pytest.approx(
        256 * s * (0.5 - math.log((1 + sin) / (1 - sin)) / (4 * math.pi)), abs=1e-6
    )


# ---- known answers ----


def test_corners_of_the_world():
    assert tiles.tile_bounds(0, 0, 0) == pytest.approx(
        (-180, -85.0511287798066, 180, 85.0511287798066)
    )
    assert tiles.pixel_from_lonlat(0.0, 0.0, 0) == pytest.approx((128, 128))
    assert tiles.tile_from_lonlat(-180.0, 85.06, 3) == (0, 0)
    assert tiles.tile_from_lonlat(180.0, -90.0, 3) == (7, 7)
    assert tiles.pixel_from_lonlat(0.0, 90.0, 0)[1] == -math.inf


def test_rows_grow_south_and_columns_east():
    x, y = tiles.pixel_from_lonlat([8.4, 8.5, 8.4], [49.0, 49.0, 49.1], 15)
    assert x[1] > x[0] and y[1] == y[0] and y[2] < y[0] and x[2] == x[0]


def test_longitudes_wrap_past_the_antimeridian():
    assert tiles.tile_from_lonlat(180.5, 10.0, 8) == tiles.tile_from_lonlat(-179.5, 10.0, 8)
    assert tiles.tile_from_lonlat(-181.0, 10.0, 8) == tiles.tile_from_lonlat(179.0, 10.0, 8)
    assert tiles.wrap_column(-1, 3) == 7 and tiles.wrap_column(8, 3) == 0
    np.testing.assert_allclose(
        tiles.wrap_lon([180.0, -180.0, 190.0, -190.0]), [180, -180, -170, 170]
    )
    found = list(tiles.tiles_in_bounds(179.0, 0.1, -179.0, 0.2, 8))
    assert found == [(255, 127), (0, 127)]
    assert list(tiles.tiles_in_bounds(179.0, 0.1, 181.0, 0.2, 8)) == found


def test_equator_and_greenwich_are_tile_edges():
    assert tiles.tile_from_lonlat(1e-9, -1e-9, 10) == (512, 512)
    assert tiles.tile_from_lonlat(-1e-9, 1e-9, 10) == (511, 511)


def test_84_north():
    x, y = tiles.tile_from_lonlat(-40.0, 84.0, 18)
    west, south, east, north = tiles.tile_bounds(x, y, 18)
    assert west <= -40.0 < east and south < 84.0 <= north
    assert 0 <= y < 2**18


def test_tms_row():
    assert tiles.tms_row(0, 3) == 7 and tiles.tms_row(7, 3) == 0
    assert tiles.tms_row(tiles.tms_row(5, 10), 10) == 5


@pytest.mark.parametrize('lat', [0.0, 49.0, -33.0, 84.0])
@pytest.mark.parametrize('tile', [256, 512])
def test_gsd_is_a_pixel_on_the_ground(lat, tile):
    assert tiles.gsd(lat, 0) == pytest.approx(156543.03392 * math.cos(math.radians(lat)))
    gsd = tiles.gsd(lat, 18, tile)
    # One pixel east and north, measured on the ellipsoid.
    x, y = tiles.pixel_from_lonlat(8.4, lat, 18, tile)
    lon, up = tiles.lonlat_from_pixel(x + 1, y - 1, 18, tile)
    step = EnuFrame(Datum(lat, 8.4)).enu_from_geodetic(up, lon, 0.0)
    np.testing.assert_allclose(step[:2], gsd, rtol=7e-3)


@given(st.floats(-84, 84), zooms)
def test_zoom_for_gsd_is_fine_enough_and_no_finer(lat, z):
    assert tiles.zoom_for_gsd(lat, tiles.gsd(lat, z)) == z
    assert tiles.zoom_for_gsd(lat, 0.99 * tiles.gsd(lat, z)) == z + 1
    assert tiles.zoom_for_gsd(lat, 1e9) == 0


@pytest.mark.parametrize(
    ('lon', 'lat', 'z'), [(math.nan, 0, 1), (0, math.inf, 1), (0, 91, 1), (0, 0, -1)]
)
def test_no_tile(lon, lat, z):
    with pytest.raises(InputError, match='no tile'):
        tiles.tile_from_lonlat(lon, lat, z)


def test_upside_down_bounds_are_refused():
    with pytest.raises(InputError, match='south'):
        list(tiles.tiles_in_bounds(0, 2, 1, 1, 3))
