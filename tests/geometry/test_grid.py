# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from geoloc_core.geometry.grid import Grid

GRID = Grid((10.0, -4.0), 0.5, 7, 4)  # 3.5 m east-west, 2 m north-south


def test_the_middle_is_the_centre():
    np.testing.assert_allclose(GRID.xy_from_uv([3.0, 1.5]), [10.0, -4.0])
    assert GRID.size_m == (3.5, 2.0)


def test_right_is_east_and_down_is_south():
    np.testing.assert_allclose(GRID.xy_from_uv([4.0, 1.5]), [10.5, -4.0])
    np.testing.assert_allclose(GRID.xy_from_uv([3.0, 2.5]), [10.0, -4.5])


def test_cell_centers_are_laid_out_as_rows_and_columns():
    xy = GRID.cell_centers()
    assert xy.shape == (4, 7, 2)
    np.testing.assert_allclose(xy[0, 0], [10 - 1.5, -4 + 0.75])
    np.testing.assert_allclose(xy[3, 6], [10 + 1.5, -4 - 0.75])


@given(
    st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    st.floats(0.01, 10),
    st.integers(1, 500),
    st.integers(1, 500),
)
def test_there_and_back(center, gsd, width, height):
    grid = Grid(center, gsd, width, height)
    uv = np.array([[-3.25, 0.0], [width / 2, height - 1.0]])
    np.testing.assert_allclose(grid.uv_from_xy(grid.xy_from_uv(uv)), uv, atol=1e-6)


def test_contains_counts_to_the_outer_edges():
    inside = [[10 - 1.7499, -4], [10, -4 + 0.9999]]
    outside = [[10 - 1.7501, -4], [10 + 1.7501, -4], [10, -4 + 1.0001], [10, -4 - 1.0001]]
    assert GRID.contains(inside).all()
    assert not GRID.contains(outside).any()
    assert not GRID.contains([np.nan, 0])


def test_moved_to():
    moved = GRID.moved_to((0.0, 1.0))
    assert moved == Grid((0.0, 1.0), 0.5, 7, 4)
    np.testing.assert_allclose(moved.cell_centers() - GRID.cell_centers(), [[[-10, 5]] * 7] * 4)


@pytest.mark.parametrize(
    'fields',
    [
        ((0, 0), 0.0, 1, 1),
        ((0, 0), np.nan, 1, 1),
        ((0, 0), 1.0, 0, 1),
        ((0, 0), 1.0, 1, -1),
        ((np.inf, 0), 1.0, 1, 1),
    ],
)
def test_a_grid_without_cells_is_refused(fields):
    with pytest.raises(ValueError, match='got'):
        Grid(*fields)
