# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry.cameras import EquirectangularCamera, PanoramaCropCamera

FULL = EquirectangularCamera(64, 32)


def test_a_crop_sees_what_the_panorama_sees_there():
    crop = PanoramaCropCamera(20, 10, 64, 32, left=30, top=7)
    rays = FULL.unproject([[30 + 4.0, 7 + 3.0], [49.4, 16.9]])
    np.testing.assert_allclose(crop.unproject([[4.0, 3.0], [19.4, 9.9]]), rays, atol=1e-12)
    uv, valid = crop.project(rays * 5.0)
    np.testing.assert_allclose(uv, [[4.0, 3.0], [19.4, 9.9]], atol=1e-9)
    assert valid.tolist() == [True, False]
    assert not crop.wraps


def test_a_strip_of_the_whole_circle_wraps():
    strip = PanoramaCropCamera(64, 10, 64, 32, top=12)
    assert strip.wraps
    # The seam looks back; both sides of it are neighbours.
    uv, valid = strip.project([[-1e-4, 0.0, -1.0], [1e-4, 0.0, -1.0]])
    assert valid.all()
    np.testing.assert_allclose(uv[:, 0], [-0.5, 63.5], atol=0.01)
    np.testing.assert_allclose(uv[:, 1], 3.5)


def test_a_crop_across_the_seam_is_one_piece():
    crop = PanoramaCropCamera(16, 32, 64, 32, left=56)
    uv, valid = crop.project(crop.unproject([[0.0, 9.0], [7.9, 9.0], [15.0, 20.0]]))
    np.testing.assert_allclose(uv, [[0.0, 9.0], [7.9, 9.0], [15.0, 20.0]], atol=1e-9)
    assert valid.all()
    # Its middle looks back.
    np.testing.assert_allclose(crop.unproject([[7.5, 15.5]]), [[0, 0, -1]], atol=1e-12)


def test_whole_panorama_and_resizing():
    whole = PanoramaCropCamera(64, 32, 64, 32)
    uv = np.array([[3.2, 5.1], [40.0, 30.0], [62.9, 0.0]])
    np.testing.assert_allclose(whole.unproject(uv), FULL.unproject(uv), atol=1e-12)
    crop = PanoramaCropCamera(20, 10, 64, 32, left=30, top=7)
    half = crop.resized(40, 30)
    scaled = (uv + 0.5) * [2, 3] - 0.5
    np.testing.assert_allclose(half.unproject(scaled), crop.unproject(uv), atol=1e-12)
    assert half.resized(20, 10) == crop


@pytest.mark.parametrize(
    'numbers',
    [(65, 32, 64, 32), (20, 20, 64, 32, 0, 13), (20, 20, 64, np.nan), (2, 2, 9, 9, 0, -1)],
)
def test_impossible_crops(numbers):
    with pytest.raises(CalibrationError):
        PanoramaCropCamera(*numbers)
