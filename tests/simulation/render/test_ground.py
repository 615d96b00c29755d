# SPDX-License-Identifier: Apache-2.0
"""The painted ground: right places, averages far away, clear messages for wrong rasters."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.labels import Label, LABEL_RGB


def test_texels_lie_where_a_grid_says():
    """A bright texel in column 3, row 2 of 8: x = -4 + 3.5, y = 4 - 2.5."""
    canvas = np.zeros((8, 8, 3), np.uint8)
    canvas[2, 3] = 200
    classes = np.full((8, 8), Label.ROAD, np.uint8)
    classes[2, 3] = Label.WATER
    ground = Ground(canvas, 4.0, 0, classes)
    x, y = np.array([-0.5, 0.0, -0.75, 0.5]), np.full(4, 1.5)
    got = ground.colour_at(x, y, 0.01)
    np.testing.assert_allclose(got[:, 0], [200, 100, 150, 0], atol=1)
    assert ground.label_at([-0.5, -0.98, -0.02, 0.1], [1.5, 1.98, 1.02, 1.5]).tolist() == [
        Label.WATER, Label.WATER, Label.WATER, Label.ROAD,
    ]  # fmt: skip
    assert ground.label_at([4.1, 0.0], [0.0, -4.1]).tolist() == [Label.GRASS] * 2


@pytest.mark.parametrize('side', [128, 100])
def test_wide_samples_are_averages_at_the_same_place(side):
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[:, side // 2 :] = 240
    ground = Ground(canvas, 16.0, 0)
    for width in (0.2, 0.5, 1.0, 2.0):
        middle, left, right = ground.colour_at([0.0, -5.0, 5.0], [1.0] * 3, width)[:, 1]
        assert abs(middle - 120) < 4 and left < 1 and right > 239


def test_checkerboard_turns_grey_instead_of_flickering():
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    ground = Ground(np.repeat(board[..., None], 3, axis=-1), 128.0, 0)
    x, y = np.random.default_rng(0).uniform(-120, 120, (2, 500))
    assert ground.colour_at(x, y, 8.0).std() < 2
    assert ground.colour_at(x, y, 0.5).std() > 30


def test_wrong_rasters_are_named():
    canvas = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ConfigError, match=r'\(8, 6, 3\)'):
        Ground(canvas[:, :6], 4.0, 0)
    with pytest.raises(ConfigError, match=r'classes.*\(4, 4\)'):
        Ground(canvas, 4.0, 0, np.zeros((4, 4), np.uint8))


def test_every_label_has_its_own_colour():
    assert LABEL_RGB.shape == (len(Label), 3) and len(np.unique(LABEL_RGB, axis=0)) == len(Label)
