# SPDX-License-Identifier: Apache-2.0
"""Pieces of an aerial picture lie where they say, to a fraction of a pixel."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import tiles
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.layouts.orthophoto import Orthophoto

FRAME = EnuFrame(Datum(47.6, -122.33, 0.0))
GRID = Grid((5.0, -3.0), 0.1, 900, 800)
# A bright spot, Gaussian so that its place can be measured; cv2 samples in 32nds of a pixel.
SPOT_XY = np.array([12.34, -7.81])


@pytest.fixture(scope='module')
def photo():
    xy = GRID.cell_centers()
    bright = 200 * np.exp(-((xy - SPOT_XY) ** 2).sum(axis=-1) / (2 * 0.5**2))
    return Orthophoto(np.repeat(bright[..., None], 3, -1).astype(np.uint8), GRID, FRAME)


def centroid(image):
    weight = image[..., 0].astype(float)
    weight[weight < 20] = 0
    v, u = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


def test_crop_lies_where_its_grid_says(photo):
    for center, gsd in [((10.03, -9.27), 0.1), ((12.0, -5.5), 0.137), ((11.0, -8.0), 0.08)]:
        grid = Grid(center, gsd, 201, 160)
        off = centroid(photo.crop(grid)) - grid.uv_from_xy(SPOT_XY)
        assert np.abs(off).max() < 0.05


def test_mercator_tile_has_its_place_in_the_middle_corner(photo):
    lat, lon, _ = FRAME.geodetic_from_enu([10.2, -6.4, 0.0])
    tile = photo.mercator(float(lat), float(lon), 20, 200)
    spot = FRAME.geodetic_from_enu([*SPOT_XY, 0.0])
    x, y = tiles.pixel_from_lonlat(spot[1], spot[0], 20)
    x0, y0 = tiles.pixel_from_lonlat(lon, lat, 20)
    # Pixels of the world count from edges, those of a picture from centres.
    expected = np.array([x - x0, y - y0]) + 100 - 0.5
    assert np.abs(centroid(tile) - expected).max() < 0.05


def test_mask_is_that_of_the_piece(photo):
    marked = np.where(photo.image[..., 0] >= 128, 255, 0).astype(np.uint8)
    lat, lon, _ = FRAME.geodetic_from_enu([10.2, -6.4, 0.0])
    marked_photo = Orthophoto(photo.image, GRID, FRAME, mask=marked)
    mask = marked_photo.mercator_mask(float(lat), float(lon), 20, 200)
    assert set(np.unique(mask)) == {0, 255}
    tile = photo.mercator(float(lat), float(lon), 20, 200)[..., 0].astype(int)
    # The bell's flank falls by some ten levels a pixel; a half-pixel slip would show.
    assert (mask[tile > 135] == 255).all() and (mask[tile < 121] == 0).all()
    with pytest.raises(ConfigError, match='has no mask: render it with labels'):
        photo.mercator_mask(float(lat), float(lon), 20, 200)


def test_whole_pixels_are_copied(photo):
    grid = Grid((5.0 + 20 * 0.1, -3.0 - 10 * 0.1), 0.1, 300, 200)
    np.testing.assert_array_equal(photo.crop(grid), photo.image[310:510, 320:620])


def test_refuses_what_it_does_not_show(photo):
    with pytest.raises(ConfigError, match='does not cover'):
        photo.crop(Grid((45.0, -3.0), 0.1, 201, 160))
    with pytest.raises(ConfigError, match='flicker'):
        photo.crop(Grid((5.0, -3.0), 0.3, 100, 100))
