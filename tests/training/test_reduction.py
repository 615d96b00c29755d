# SPDX-License-Identifier: Apache-2.0
"""A resized sample shows the same world at the same places."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch
from tests.training.datasets.compass import assert_compass, PLACES, write_compass
from training.datasets.vigor import Vigor
from training.reduction import Reduction, resize_patch


def test_a_spot_stays_at_its_metres():
    grid = Grid((3.0, -2.0), 0.2, 60, 40)
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:14, 41:45] = 250
    patch = AerialPatch(image, np.ones((40, 60), bool), grid)
    before = grid.xy_from_uv([42.5, 11.5])
    for width, height in ((30, 20), (90, 60), (15, 10)):
        small = resize_patch(patch, width, height)
        assert small.grid.size_m == pytest.approx(grid.size_m)
        v, u = np.mgrid[0:height, 0:width]
        weight = small.image[..., 0].astype(float)
        middle = ((u * weight).sum() / weight.sum(), (v * weight).sum() / weight.sum())
        np.testing.assert_allclose(small.grid.xy_from_uv(middle), before, atol=0.02)


def test_unknown_ground_stays_unknown():
    mask = np.ones((40, 60), bool)
    mask[:, :31] = False
    patch = AerialPatch(np.zeros((40, 60, 3), np.uint8), mask, Grid((0, 0), 0.2, 60, 40))
    small = resize_patch(patch, 30, 20)
    assert not small.mask[:, :16].any() and small.mask[:, 16:].all()


def test_square_pixels_are_kept():
    patch = AerialPatch(
        np.zeros((40, 60, 3), np.uint8), np.ones((40, 60), bool), Grid((0, 0), 0.2, 60, 40)
    )
    with pytest.raises(ConfigError, match='square pixels'):
        resize_patch(patch, 32, 32)


def test_compass_holds_after_reduction(tmp_path):
    from geoloc_core.simulation.layouts.vigor import VigorWriter

    write_compass(VigorWriter(tmp_path), size=(512, 256), places=PLACES[:2])
    reduce = Reduction((400, 200), (320, 320), keep_others=True)
    data = Vigor(tmp_path, 'test', cities=['NewYork'], semi_positives=True)
    for sample in data:
        small = reduce(sample)
        assert small.view.image.shape == (200, 400, 3)
        assert small.patch.image.shape == (320, 320, 3) and len(small.other_patches) == 3
        assert_compass(small, datum=VigorWriter.datum(0), min_visible=2)
    bare = replace(reduce, keep_others=False)
    assert bare(sample).other_patches == () and bare.name != reduce.name
