# SPDX-License-Identifier: Apache-2.0
"""Sizes are those of the decoder; a torn file has no end, whatever its thumbnail had."""

import cv2
import numpy as np
import pytest

from geoloc_core.formats.jpeg import jpeg_has_end, jpeg_size


@pytest.fixture(scope='module', params=[False, True], ids=['baseline', 'progressive'])
def whole(request):
    image = np.random.default_rng(0).integers(0, 255, (34, 50, 3), dtype=np.uint8)
    how = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(request.param)]
    return cv2.imencode('.jpg', image, how)[1].tobytes()


def test_width_comes_first(whole):
    assert jpeg_size(whole) == (50, 34) and jpeg_has_end(whole)


def test_fill_bytes_thumbnails_and_what_comes_behind(whole):
    thumbnail = b'\xff\xe1' + (2 + len(whole)).to_bytes(2, 'big') + whole
    assert jpeg_size(whole[:2] + b'\xff\xff' + thumbnail + whole[2:] + b'more') == (50, 34)
    torn = whole[:2] + thumbnail + whole[2:-40]
    assert jpeg_size(torn) == (50, 34) and not jpeg_has_end(torn)


def test_cut_anywhere_it_has_no_end(whole):
    for length in range(len(whole) - 1):
        assert not jpeg_has_end(whole[:length])
        assert jpeg_size(whole[:length]) in (None, (50, 34))
