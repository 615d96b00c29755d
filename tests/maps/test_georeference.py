# SPDX-License-Identifier: Apache-2.0
"""From ENU metres to raster pixels: the half pixels, and the affine map's exactness."""

import numpy as np
import pyproj
import pytest
from rasterio.transform import Affine

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.maps.georeference import CrsGeoreference, fit_affine, MercatorGeoreference
from geoloc_core.maps.opening import open_map
from tests.maps.rasters import encode, place_around, write_mbtiles, write_tif

# name, crs, lat, lon, pixel in CRS units
PLACES = [
    ('utm', 'EPSG:32632', 49.01, 8.43, 0.2),
    ('utm far from its meridian', 'EPSG:32632', 60.0, 11.9, 0.2),
    ('southern utm', 'EPSG:32750', -8.585, 115.16, 0.35),
    ('degrees', 'EPSG:4326', 60.4, 22.46, 2e-6),
    ('degrees in the south', 'EPSG:4326', -33.9, 151.2, 2e-6),
    ('web mercator', 'EPSG:3857', 60.4, 22.46, 0.3),
    ('us feet', 'EPSG:2263', 40.7, -73.95, 0.5),
    ('national, sheared', 'EPSG:2154', 45.0, 3.0, 0.2),
    ('at 84 north', 'EPSG:3413', 84.0, 30.0, 0.25),
    ('across the antimeridian', 'EPSG:3832', -17.0, 180.0, 0.3),
]


@pytest.mark.parametrize(('name', 'crs', 'lat', 'lon', 'pixel'), PLACES)
def test_a_bright_pixel_ends_where_predicted(tmp_path, name, crs, lat, lon, pixel):
    width, height = 301, 241
    col, row = 180, 77
    data = np.zeros((3, height, width), np.uint8)
    data[:, row - 1 : row + 2, col - 1 : col + 2] = 255  # 3 x 3: survives interpolation
    a, b, c, d, e, f = place_around(lat, lon, crs, pixel, width, height)
    transform = Affine(a, b, c, d, e, f)
    if 'sheared' in name:
        transform = transform @ Affine.rotation(7.0, (150, 120))
    path = write_tif(tmp_path / 'dot.tif', data, crs, tuple(transform)[:6])

    # Predicted by another way: pixel centre -> CRS -> geodetic -> ENU, each exact.
    x, y = transform @ (col + 0.5, row + 0.5)
    to_lonlat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    dot_lon, dot_lat = to_lonlat.transform(x, y)
    frame = EnuFrame(Datum(lat + 0.0003, lon if abs(lon) < 180 else 179.9999, 40.0))
    expected = frame.enu_from_geodetic(dot_lat, dot_lon, 40.0)[:2]

    with_map = open_map(path, block_m=0)
    gsd = with_map.info.gsd * 0.5
    patch = with_map.patch(frame, (expected[0] + 3.2, expected[1] - 2.1), 300 * gsd, gsd)
    weight = patch.image.astype(float).sum(axis=2)
    v, u = np.mgrid[0:300, 0:300]
    found = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
    assert found == pytest.approx(patch.grid.uv_from_xy(expected), abs=0.1)
    assert patch.coverage > 0.5
    with_map.close()


@pytest.mark.parametrize(('name', 'crs', 'lat', 'lon', 'pixel'), PLACES)
def test_one_affine_map_is_exact_for_an_ordinary_patch(name, crs, lat, lon, pixel):
    frame = EnuFrame(Datum(lat, min(lon, 179.999), 0.0))
    side, gsd = 1024, 0.25
    grid = Grid((1500.0, -2500.0), gsd, side, side)

    def lonlat_from_uv(uv):
        xy = grid.xy_from_uv(uv)
        found = frame.geodetic_from_enu(np.c_[xy, np.zeros(len(xy))])
        return found[1], found[0]

    georeference = CrsGeoreference(crs, place_around(lat, lon, crs, pixel, 999, 777), 999, 777)
    fit = fit_affine(lonlat_from_uv, georeference, (0, 0), side, side)
    rng = np.random.default_rng(4)
    uv = rng.uniform(-0.5, side - 0.5, (500, 2))
    lon_uv, lat_uv = lonlat_from_uv(uv)
    exact = georeference.uv_from_lonlat(lon_uv, lat_uv)
    fitted = np.c_[uv, np.ones(len(uv))] @ fit.matrix.T
    size_m = np.array(georeference.pixel_size_m(exact.mean(axis=0)))
    error = np.abs((fitted - exact) * size_m).max() / gsd
    assert error < 0.1
    # The nine places used to judge the fit do not miss the worst one.
    assert np.abs(fitted - exact).max() < 1.05 * fit.residual_px + 1e-3


def test_far_from_the_datum_the_map_lies_where_fixes_say(tmp_path):
    data = np.zeros((3, 200, 220), np.uint8)
    data[:, 99:102, 119:122] = 255
    transform = place_around(49.3, 8.9, 'EPSG:32632', 0.2, 220, 200)
    source = open_map(write_tif(tmp_path / 'dot.tif', data, 'EPSG:32632', transform))
    lon, lat = source.pyramid.georeference.lonlat_from_uv([120.0, 100.0])
    frame = EnuFrame(Datum(49.0, 8.4, 110.0))  # 49 km away
    x, y, z = frame.enu_from_geodetic(lat, lon, 110.0)
    assert z < -180
    patch = source.patch(frame, (float(x), float(y)), 10.1, 0.1)
    v, u = np.nonzero(patch.image[..., 0] > 128)
    assert (u.mean(), v.mean()) == pytest.approx((50, 50), abs=0.6)


def test_a_patch_too_large_for_one_affine_map_is_cut_in_parts(tmp_path):
    # 40 km at 84 degrees north in degrees: strongly curved.
    lat, lon = 84.0, 20.0
    width, height = 600, 640
    transform = (4.0 / width, 0, lon - 2.0, 0, -0.5 / height, lat + 0.25)
    lons = lon - 2.0 + (np.arange(width) + 0.5) * 4.0 / width
    lats = lat + 0.25 - (np.arange(height) + 0.5) * 0.5 / height
    # red is the longitude, green the latitude
    data = np.zeros((3, height, width), np.uint8)
    data[0] = np.rint((lons - lons[0]) / (lons[-1] - lons[0]) * 250)
    data[1] = np.rint((lats - lats[-1]) / (lats[0] - lats[-1]) * 250)[:, None]
    path = write_tif(tmp_path / 'north.tif', data, 'EPSG:4326', transform)
    frame = EnuFrame(Datum(lat, lon, 0.0))
    patch = open_map(path).patch(frame, (0.0, 0.0), 36000.0, 90.0)
    xy = patch.grid.cell_centers().reshape(-1, 2)
    found_lat, found_lon, _ = frame.geodetic_from_enu(np.c_[xy, np.zeros(len(xy))])
    red = (found_lon.reshape(400, 400) - lons[0]) / (lons[-1] - lons[0]) * 250
    green = (found_lat.reshape(400, 400) - lats[-1]) / (lats[0] - lats[-1]) * 250
    assert patch.mask.all()
    assert np.abs(patch.image[..., 0] - red).max() < 1.5
    assert np.abs(patch.image[..., 1] - green).max() < 1.5


def test_mercator_pixels_match_the_reference_system_itself():
    mercator = MercatorGeoreference(19, 256, 70_000_000.0)
    size = 2 * np.pi * 6378137.0 / (256 * 2**19)
    edge = -np.pi * 6378137.0
    direct = CrsGeoreference(
        'EPSG:3857', (size, 0, edge, 0, -size, -edge), 256 * 2**19, 256 * 2**19
    )
    lon, lat = np.array([22.46, 22.461, -70.3]), np.array([60.4, 60.39, -45.0])
    assert mercator.uv_from_lonlat(lon[:2], lat[:2]) == pytest.approx(
        direct.uv_from_lonlat(lon[:2], lat[:2]), abs=1e-3
    )
    back = mercator.lonlat_from_uv(mercator.uv_from_lonlat(lon[2:], lat[2:]))
    assert (back[0] + 180) % 360 - 180 == pytest.approx(lon[2:], abs=1e-10)


def test_tiles_join_across_the_antimeridian(tmp_path):
    # At zoom 17 the last column shows red, the first green.
    z, y = 17, 65535
    red = np.zeros((256, 256, 3), np.uint8)
    red[..., 0] = 200
    tiles = {(z, 2**z - 1, y + k): encode(red) for k in (0, 1)}
    tiles |= {(z, 0, y + k): encode(np.roll(red, 1, axis=2)) for k in (0, 1)}
    source = open_map(write_mbtiles(tmp_path / 'fiji.mbtiles', tiles))
    for lon in (179.9999, -179.9999):
        frame = EnuFrame(Datum(0.0, lon, 0.0))
        border = frame.enu_from_geodetic(0.0, 180.0, 0.0)[:2]
        patch = source.patch(frame, (border[0], 0.0), 100.0, 1.0)
        assert patch.mask.all()
        assert (patch.image[:, :49, 0] == 200).all() and (patch.image[:, :49, 1] == 0).all()
        assert (patch.image[:, 51:, 1] == 200).all() and (patch.image[:, 51:, 0] == 0).all()


def test_a_raster_across_the_antimeridian_covers_both_sides(tmp_path):
    data = np.full((3, 100, 200), 90, np.uint8)
    path = write_tif(
        tmp_path / 'taveuni.tif', data, 'EPSG:4326', (1e-5, 0, 179.999, 0, -1e-5, -16.8)
    )
    source = open_map(path)
    west, _, east, _ = source.info.bounds_deg
    assert (west, east) == pytest.approx((179.999, -179.999))
    frame = EnuFrame(Datum(-16.8005, -179.9999, 0.0))
    for x in (-40.0, 40.0):
        assert source.patch(frame, (x, 0.0), 20.0, 0.5).mask.all()


def test_an_unknown_reference_system_is_refused():
    with pytest.raises(MapError, match='not understood'):
        CrsGeoreference('EPSG:999999', (1, 0, 0, 0, -1, 0), 10, 10)
    with pytest.raises(MapError, match='no inverse'):
        CrsGeoreference('EPSG:32632', (0, 0, 0, 0, -1, 0), 10, 10)
