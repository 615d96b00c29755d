# SPDX-License-Identifier: Apache-2.0
"""Where cells lie in a picture, and what is read there."""

import cv2
import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.geometry.lookup import camera_lookup, Lookup, NOWHERE

PICTURE = np.array([[0, 64, 128], [32, 96, 160]], np.uint8)
WIDE = PinholeCamera(60, 40, 30.0, 30.0, 29.5, 19.5)


def fixed(u, v):
    return cv2.convertMaps(np.float32([u]), np.float32([v]), cv2.CV_16SC2)


@pytest.mark.parametrize('kind', ['fixed', 'float'])
def test_coordinates_are_where_it_reads(kind):
    u, v = [0.0, 1.25, 2.0, 0.53, NOWHERE], [0.0, 0.0, 1.0, 0.5, NOWHERE]
    maps = fixed(u, v) if kind == 'fixed' else (np.float32([u]), np.float32([v]))
    lookup = Lookup(maps, np.array([[True] * 4 + [False]]))
    found_u, found_v = lookup.coordinates()
    # Whole 32nds of a pixel.
    np.testing.assert_array_equal(found_u, np.float32([[0.0, 1.25, 2.0, 17 / 32, NOWHERE]]))
    np.testing.assert_array_equal(found_v, np.float32([v]))
    assert found_u.dtype == found_v.dtype == np.float32
    np.testing.assert_array_equal(lookup.read(PICTURE), [[0, 80, 160, 50, 0]])
    assert lookup.read(PICTURE[..., None]).shape == (1, 5, 1)


def test_joined_and_wrapping_edges_are_read_across():
    joined = Lookup(fixed([3.5, 0.5], [0.0, 0.0]), np.array([[True, True]]), joined=1)
    wrapped = Lookup(fixed([2.5, -0.5], [0.0, 0.0]), np.array([[True, True]]), wraps=True)
    for lookup in (joined, wrapped):
        np.testing.assert_array_equal(lookup.read(PICTURE), [[64, 64]])
    # What has no content must not be read from the other side.
    hidden = Lookup(fixed([2.5, -10.0], [0.0, 0.0]), np.array([[True, False]]), wraps=True)
    np.testing.assert_array_equal(hidden.read(PICTURE), [[64, 0]])


def test_samples_of_a_cell_are_averaged_and_pictures_shrunk_first():
    u, v = np.meshgrid(np.float32([0, 1]), np.float32([0, 1]))
    mean = Lookup((u, v), np.array([[True]]), samples=2)
    np.testing.assert_array_equal(mean.read(PICTURE), [[48]])
    big = np.kron(PICTURE, np.ones((2, 3), np.uint8))
    shrunk = Lookup((u, v), np.ones((2, 2), bool), shrunk=(3, 2))
    np.testing.assert_array_equal(shrunk.read(big), PICTURE[:, :2])


def test_a_camera_that_looks_to_the_right_reads_from_the_right():
    narrow = PinholeCamera(21, 11, 60.0, 60.0, 10.0, 5.0)
    # About optical +y, which is down: a positive turn looks to the right.
    right = camera_lookup(WIDE, narrow, se3.exp_rotation([0.0, 0.3, 0.0]))
    u, v = right.coordinates()
    assert right.mask.all() and right.shrunk is None and not right.joined
    assert u[5, 10] == pytest.approx(29.5 + 30 * np.tan(0.3), abs=0.02)
    assert v[5, 10] == pytest.approx(19.5, abs=0.02)


def test_what_is_outside_points_nowhere():
    behind = camera_lookup(WIDE, WIDE, se3.exp_rotation([0.0, np.pi, 0.0]))
    assert not behind.mask.any() and (behind.coordinates()[0] == NOWHERE).all()


def test_a_fine_panorama_is_shrunk_and_joined():
    fine, coarse = EquirectangularCamera(400, 200), EquirectangularCamera(100, 50)
    lookup = camera_lookup(fine, coarse, np.eye(3))
    assert lookup.shrunk == (100, 50) and lookup.joined == 1
    u, _ = lookup.coordinates()
    np.testing.assert_allclose(u[25], np.arange(100) + 1, atol=0.02)
