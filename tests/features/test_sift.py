# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from geoloc_core.errors import ConfigError, InputError
from geoloc_core.features.registry import open_features
from geoloc_core.features.sift import root, SiftConfig, SiftFeatures

WIDTH, HEIGHT = 150, 100


def spots(*centres):
    """A dark picture with a soft bright spot at each (u, v)."""
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = sum(np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 4.0**2)) for x, y in centres)
    return np.repeat((30 + 200 * light).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def noise(seed=0):
    grey = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return cv2.GaussianBlur(grey, (0, 0), 1.5)


def test_a_spot_is_found_where_it_is_to_a_tenth_of_a_pixel():
    found = SiftFeatures().detect(spots((60, 40), (110.5, 71.25)))
    for x, y in ((60, 40), (110.5, 71.25)):
        off = np.abs(found.xy - (x, y)).max(axis=1)
        assert off.min() < 0.1, found.xy


def test_descriptors_are_of_unit_length_and_not_negative():
    found = SiftFeatures().detect(noise())
    assert found.descriptors.shape == (len(found), 128) and found.descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1.0, atol=1e-5)
    assert found.descriptors.min() >= 0
    assert found.xy.dtype == found.score.dtype == np.float32


def test_the_strongest_are_kept_best_first_and_every_time_the_same():
    everything = SiftFeatures().detect(noise())
    few = SiftFeatures(max_features=12).detect(noise())
    assert len(everything) > 40 and len(few) == 12
    assert (np.diff(few.score) <= 0).all()
    np.testing.assert_array_equal(few.xy, everything.xy[:12])
    np.testing.assert_array_equal(few.descriptors, everything.descriptors[:12])


def test_a_turned_picture_has_the_same_descriptors():
    """Quarter turns move pixels without mixing them: (u, v) -> (v, W - 1 - u)."""
    picture = spots((60, 40), (100, 60), (75, 55))
    picture[20:50, 50:58] = 255
    a = SiftFeatures().detect(picture)
    b = SiftFeatures().detect(np.ascontiguousarray(np.rot90(picture)))
    best = (a.descriptors @ b.descriptors.T).argmax(axis=1)
    moved = np.stack([a.xy[:, 1], WIDTH - 1 - a.xy[:, 0]], axis=1)
    assert np.median(np.abs(b.xy[best] - moved)) < 0.5


def test_a_blank_picture_has_none():
    found = SiftFeatures().detect(np.full((HEIGHT, WIDTH, 3), 80, np.uint8))
    assert len(found) == 0 and found.descriptors.shape == (0, 128)


def test_root_sift_by_hand():
    raw = np.array([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(root(raw), [[0.5, np.sqrt(0.75), 0], [0, 0, 0]], atol=1e-7)


@pytest.mark.parametrize(
    'picture',
    [
        np.zeros((10, 12), np.uint8),
        np.zeros((10, 12, 3), np.float32),
        np.zeros((10, 12, 4), np.uint8),
    ],
)
def test_what_is_no_colour_picture_is_refused(picture):
    with pytest.raises(InputError, match='uint8, RGB'):
        SiftFeatures().detect(picture)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match='max_features is 0'):
        SiftFeatures(max_features=0)
    with pytest.raises(ConfigError, match='sigma_px'):
        SiftConfig(sigma_px=float('nan'))
    with pytest.raises(ConfigError, match='choose one of sift, xfeat'):
        open_features('surf')


def test_it_opens_by_its_name():
    assert open_features('sift', 7).detect(noise()).xy.shape == (7, 2)
