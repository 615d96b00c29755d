# SPDX-License-Identifier: Apache-2.0
"""Pieces of rasters: which pixel comes from where."""

import math

import numpy as np
import pytest

from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.grid_cut import cut_of

GRID = Grid((10.0, -4.0), 0.5, 40, 30)


def test_what_is_wanted_as_it_is_needs_no_cut():
    assert cut_of(GRID, (10.0, -4.0), 0.0, 0.5, (40, 30)) is None
    assert cut_of(GRID, (10.0, -4.0), 0.1, 0.5, (40, 30)) is not None
    assert cut_of(GRID, (10.0, -3.5), 0.0, 0.5, (40, 30)) is not None


@pytest.mark.parametrize('turn', [0.0, math.pi / 2, -0.7])
@pytest.mark.parametrize('gsd', [0.5, 0.6, 1.0, 1.7])
def test_pixels_come_from_the_same_place_on_the_ground(turn, gsd):
    center, size = (11.0, -3.5), (13, 8)
    cut = cut_of(GRID, center, turn, gsd, size)
    assert cut.factor == {0.5: 1, 0.6: 1, 1.0: 2, 1.7: 3}[gsd] and cut.size == size
    u, v = 9.0, 2.0
    # Right of the middle and above it, along the piece's own axes.
    right, up = (u - 6.0) * gsd, (3.5 - v) * gsd
    x = center[0] + math.cos(turn) * right - math.sin(turn) * up
    y = center[1] + math.sin(turn) * right + math.cos(turn) * up
    shrunken = cut.affine @ [u, v, 1.0]
    # A shrunken pixel's middle is that of the pixels that it was made of.
    raster = (shrunken + 0.5) * cut.factor - 0.5
    np.testing.assert_allclose(GRID.xy_from_uv(raster), [x, y], atol=1e-4)


def test_a_quarter_turn_shows_the_piece_turned():
    image = np.zeros((30, 40, 3), np.uint8)
    image[5, 20:25] = 200  # north of the middle
    mask = np.ones((30, 40), bool)
    mask[:, :12] = False  # the west is not known
    out, known = cut_of(GRID, GRID.center_xy, math.pi / 2, 0.5, (24, 24)).read(image, mask)
    # The piece's right-hand side is north: what lies in the north is on its right.
    columns = np.nonzero(out[..., 0] > 100)[1]
    assert columns.min() > 18 and out.shape == (24, 24, 3)
    # West is up.
    assert not known[:3].any() and known[8:].all() and not out[~known].any()


def test_a_shrunken_pixel_is_known_if_all_of_it_is():
    image, mask = np.full((30, 40, 3), 90, np.uint8), np.ones((30, 40), bool)
    mask[11, 21] = False
    _, known = cut_of(GRID, GRID.center_xy, 0.0, 1.0, (20, 15)).read(image, mask)
    assert np.argwhere(~known).tolist() == [[5, 10]]
