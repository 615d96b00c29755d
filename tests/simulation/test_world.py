# SPDX-License-Identifier: Apache-2.0
"""The aerial picture lies where it says, and a seed is the whole world."""

import hashlib

import numpy as np
import rasterio
from rasterio.warp import transform as warp

from geoloc_core.geometry import geodesy
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.render.renderer import render_aerial
from geoloc_core.simulation.world import aerial_image, make_world, write_geotiff
from tests.simulation.conftest import MARKER_XY


def magenta_middle(image):
    """(u, v) of the marker in a picture."""
    r, g, b = np.moveaxis(image.astype(int), -1, 0)
    v, u = np.nonzero((r > 2 * g) & (b > 2 * g))
    assert len(u) > 5
    return u.mean(), v.mean()


def test_marker_lies_at_its_place_on_earth(marked_world, tmp_path):
    grid = Grid((3.0, 5.0), 0.2, 260, 200)
    image = render_aerial(marked_world.aerial_scene(), grid)
    assert image.shape == (200, 260, 3)
    u, v = magenta_middle(image)
    np.testing.assert_allclose(grid.xy_from_uv([u, v]), MARKER_XY, atol=0.1)
    write_geotiff(tmp_path / 'map.tif', image, grid, marked_world.datum)
    frame = geodesy.EnuFrame(marked_world.datum)
    lat, lon, _ = frame.geodetic_from_enu(np.array([*MARKER_XY, 0.0]))
    with rasterio.open(tmp_path / 'map.tif') as raster:
        assert (raster.width, raster.height) == (260, 200)
        x, y = warp('EPSG:4326', raster.crs, [float(lon)], [float(lat)])
        row, column = raster.index(x[0], y[0])
    assert abs(column - u) <= 1 and abs(row - v) <= 1


def test_geotiff_is_not_turned_against_the_map_frame(marked_world, tmp_path):
    """At a zone's edge UTM would be turned by 2 degrees; here east is east."""
    datum = geodesy.Datum(48.1, 11.98, 520.0)
    grid = Grid((0.0, 0.0), 1.0, 40, 30)
    write_geotiff(tmp_path / 'm.tif', np.zeros((30, 40, 3), np.uint8), grid, datum)
    places = np.array([(300.0, 0.0, 0.0), (0.0, 300.0, 0.0)])
    lat, lon, _ = geodesy.EnuFrame(datum).geodetic_from_enu(places)
    with rasterio.open(tmp_path / 'm.tif') as raster:
        x, y = warp('EPSG:4326', raster.crs, list(lon), list(lat))
    np.testing.assert_allclose(np.stack([x, y], -1), places[:, :2], atol=0.03)


def test_same_seed_same_world(small_world):
    again = make_world(5, half_extent=80.0, blocks=2, ground_gsd=0.1)

    def digest(world):
        image, _ = aerial_image(world, 0.5)
        return hashlib.sha256(image.tobytes()).hexdigest()

    assert digest(small_world) == digest(again)


def test_aerial_picture_is_another_day(small_world):
    """Other light and other cars, but the same houses: alike, yet not the same pixels."""
    flown, grid = aerial_image(small_world, 0.5)
    driven = render_aerial(small_world.scene(), grid)
    parked, _ = aerial_image(small_world, 0.5, moved_cars=False)
    assert abs(flown.astype(float) - driven).mean() > 4.0
    assert np.corrcoef(flown.ravel(), driven.ravel())[0, 1] > 0.3
    assert not np.array_equal(flown, parked)
