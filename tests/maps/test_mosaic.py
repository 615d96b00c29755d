# SPDX-License-Identifier: Apache-2.0
"""Mosaics of posed views: right place, robust, excludable, readable as a GeoTIFF."""

import dataclasses

import cv2
import numpy as np
import pytest
import rasterio

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.mosaic import MosaicConfig, OrthoMosaic
from geoloc_core.maps.opening import open_map
from tests.sources.painted_ground import BASE_HEIGHT, FRAME, look, painted_ground

# Far from the datum, so that a wrong projection shows.
PLACE = (820.0, -640.0)
POSES = [(PLACE[0] - 12 + 3 * k, PLACE[1] + 0.3 * k, 0.1, 0.01 * (k % 3), -0.01) for k in range(7)]


@pytest.fixture(scope='module')
def ground():
    return painted_ground(size_m=(70.0, 50.0), center=PLACE)


@pytest.fixture(scope='module')
def mosaic(ground):
    built = OrthoMosaic(FRAME, MosaicConfig(base_height_m=BASE_HEIGHT, range_m=15.0))
    for pose in POSES:
        built.add(*look(ground, *pose))
    return built


def inner(mask, margin=4):
    """The mask without its rim."""
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * margin + 1,) * 2)).astype(bool)


def shift_px(patch, ground, frame=FRAME):
    """Distance (px) by which the truth fits the patch best, in steps of a quarter."""
    mask = inner(patch.mask)
    if frame is not FRAME:
        middle = np.array([*patch.grid.center_xy, 0.0])
        center = FRAME.enu_from_geodetic(*frame.geodetic_from_enu(middle))[:2]
    else:
        center = np.array(patch.grid.center_xy)
    gsd, side = patch.grid.gsd, patch.grid.width * patch.grid.gsd
    fits = {}
    for du in np.arange(-1.0, 1.01, 0.25):
        for dv in np.arange(-1.0, 1.01, 0.25):
            moved = ground.patch(FRAME, tuple(center + gsd * np.array([du, dv])), side, gsd)
            difference = moved.image[mask].astype(float) - patch.image[mask]
            fits[(du, dv)] = np.abs(difference).mean()
    return float(np.hypot(*min(fits, key=fits.get)))


def test_paints_the_ground_where_it_is(ground, mosaic):
    patch = mosaic.patch(FRAME, (PLACE[0] + 2.03, PLACE[1] + 1.07), 16.0, 0.13)
    truth = ground.patch(FRAME, patch.grid.center_xy, 16.0, 0.13)
    assert patch.coverage > 0.5
    assert patch.image.shape == truth.image.shape
    assert shift_px(patch, ground) == 0.0
    mask = inner(patch.mask)
    assert np.abs(patch.image[mask].astype(int) - truth.image[mask]).mean() < 2


def test_a_place_outside_is_masked(mosaic):
    patch = mosaic.patch(FRAME, (0.0, 0.0), 10.0, 0.2)
    assert not patch.mask.any() and not patch.image.any()


def test_coarser_patches_are_averaged(ground, mosaic):
    patch = mosaic.patch(FRAME, PLACE, 20.0, 0.4)
    assert patch.image.shape == (50, 50, 3)
    truth = ground.patch(FRAME, PLACE, 20.0, 0.1)
    small = cv2.resize(truth.image, (50, 50), interpolation=cv2.INTER_AREA)
    mask = inner(patch.mask, 1)
    assert np.abs(patch.image[mask].astype(int) - small[mask]).mean() < 12


def test_views_can_be_left_out(mosaic):
    ahead = (POSES[-1][0] + 10.0, PLACE[1] + 2.0)
    assert mosaic.patch(FRAME, ahead, 2.0, 0.1).coverage == 1.0
    fewer = mosaic.excluding([4, 5, 6])
    assert len(fewer) == len(POSES) - 3
    assert fewer.patch(FRAME, ahead, 2.0, 0.1).coverage == 0.0
    assert len(mosaic) == len(POSES)


def test_what_one_view_alone_shows_is_painted_over(ground):
    built = OrthoMosaic(FRAME, MosaicConfig(base_height_m=BASE_HEIGHT, range_m=15.0))
    for k in range(5):
        view, pose = look(ground, *PLACE, 0.0)
        if k == 2:  # something bright stood there
            view = dataclasses.replace(view, image=np.full_like(view.image, 255))
        built.add(view, pose)
    patch = built.patch(FRAME, (PLACE[0] + 8, PLACE[1]), 4.0, 0.1)
    truth = ground.patch(FRAME, patch.grid.center_xy, 4.0, 0.1)
    # A plain mean would be off by a fifth of the difference.
    excess = patch.image.astype(float).mean() - truth.image.astype(float).mean()
    assert excess < 0.1 * (255 - truth.image.mean())


def test_reads_back_from_a_geotiff_at_the_same_place(ground, mosaic, tmp_path):
    path = tmp_path / 'mosaic.tif'
    mosaic.write_geotiff(path)
    with rasterio.open(path) as file:
        assert file.count == 4 and file.tags()['GEOLOC_VIEWS'] == str(len(POSES))
        assert file.width != file.height
    source = open_map(path)
    # Another datum, so that only the georeference can bring both together.
    other = EnuFrame(Datum(FRAME.datum.lat_deg + 0.004, FRAME.datum.lon_deg - 0.006, 95.0))
    lat, lon, alt = FRAME.geodetic_from_enu([*PLACE, 0.0])
    center = tuple(other.enu_from_geodetic(lat, lon, alt)[:2])
    for frame, middle in ((FRAME, PLACE), (other, center)):
        read = source.patch(frame, middle, 20.0, 0.1)
        own = mosaic.patch(frame, middle, 20.0, 0.1)
        both = inner(read.mask & own.mask)
        assert both.mean() > 0.3
        assert np.abs(read.image[both].astype(int) - own.image[both]).mean() < 1.5
        assert shift_px(read, ground, frame) < 0.5
    source.close()


def test_information_names_the_place(mosaic):
    info = mosaic.info
    lat, lon, _ = FRAME.geodetic_from_enu([*PLACE, 0.0])
    west, south, east, north = info.bounds_deg
    assert west < lon < east and south < lat < north
    assert info.size_px[0] != info.size_px[1]


def test_an_empty_mosaic_says_so(tmp_path):
    empty = OrthoMosaic(FRAME)
    with pytest.raises(MapError, match='empty'):
        empty.write_geotiff(tmp_path / 'no.tif')
    with pytest.raises(MapError, match='empty'):
        _ = empty.info
