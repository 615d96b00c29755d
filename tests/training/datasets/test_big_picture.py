# SPDX-License-Identifier: Apache-2.0
"""The pixels behind a big picture: right, made once, whole or absent."""

import cv2
import numpy as np
import pytest

from geoloc_core.errors import DataError
from training.datasets.base import UnreadableError
from training.datasets.big_picture import BigPicture


@pytest.fixture
def path(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    file = tmp_path / 'aerial.png'
    cv2.imwrite(str(file), rgb[..., ::-1])
    np.save(tmp_path / 'rgb.npy', rgb)
    return file


def test_a_damaged_cache_is_made_anew(path, tmp_path):
    cache = tmp_path / 'cache'
    rgb = np.load(tmp_path / 'rgb.npy')
    for damage in (None, b'', b'\x93NUMPY, cut', b'something else'):
        if damage is not None:
            (file,) = cache.iterdir()
            file.write_bytes(damage)
        np.testing.assert_array_equal(BigPicture(path, cache).pixels, rgb)


def test_a_full_disk_is_named_and_leaves_nothing(path, tmp_path, monkeypatch):
    def full(file, array):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'save', full)
    with pytest.raises(DataError, match='give cache ='):
        _ = BigPicture(path, tmp_path / 'cache').pixels
    assert not list((tmp_path / 'cache').iterdir())


def test_no_picture_no_pixels(tmp_path):
    with pytest.raises(UnreadableError, match='big aerial picture'):
        _ = BigPicture(tmp_path / 'none.png', tmp_path / 'cache').pixels
