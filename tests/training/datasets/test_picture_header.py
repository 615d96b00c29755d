# SPDX-License-Identifier: Apache-2.0
"""Torn and monstrous pictures are told from their bytes, whatever the decoder makes of them."""

import struct

import cv2
import numpy as np
import pytest

from training.datasets.base import read_rgb, UnreadableError
from training.datasets.picture_header import claimed_pixels


def picture(kind, *options):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (12, 20, 3), dtype=np.uint8)
    return bytes(cv2.imencode(kind, cv2.resize(small, (200, 120)), options)[1])


@pytest.mark.parametrize('progressive', [0, 1])
def test_a_jpeg_has_an_end(tmp_path, progressive):
    data = picture('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    assert claimed_pixels(data) == 200 * 120
    # What cameras append is no damage.
    assert claimed_pixels(data + bytes(5000)) == 200 * 120
    # A thumbnail before the picture has an end of its own.
    thumbnail = b'\xff\xd8\xff\xd9'
    exif = b'\xff\xe1' + struct.pack('>H', 2 + len(thumbnail)) + thumbnail
    data = data[:2] + exif + data[2:]
    path = tmp_path / 'a.jpg'
    path.write_bytes(data)
    assert read_rgb(path).shape == (120, 200, 3)
    for part in (0.01, 0.3, 0.6, 0.97):
        cut = data[: int(part * len(data))]
        assert claimed_pixels(cut) == 0
        path.write_bytes(cut)
        with pytest.raises(UnreadableError, match='copy it again'):
            read_rgb(path)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    data = bytearray(picture('.png'))
    assert claimed_pixels(bytes(data)) == 200 * 120
    data[16:24] = struct.pack('>II', 90_000, 90_000)
    path = tmp_path / 'a.png'
    path.write_bytes(bytes(data))
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    with pytest.raises(UnreadableError, match='at most'):
        read_rgb(path)


def test_other_kinds_are_left_to_the_decoder():
    assert claimed_pixels(picture('.tif')) is None and claimed_pixels(b'') is None
