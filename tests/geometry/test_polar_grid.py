# SPDX-License-Identifier: Apache-2.0
"""Rings and directions: which way they run, and how large they are."""

import math

import numpy as np
import pytest

from geoloc_core.geometry.polar_grid import PolarGrid

GRID = PolarGrid(2.0, 32.0, width=8, height=4)


def test_columns_run_clockwise_and_rows_towards_the_robot():
    direction = GRID.directions()
    np.testing.assert_allclose(direction[3:5], [math.pi / 8, -math.pi / 8])
    np.testing.assert_allclose(np.diff(direction), -math.pi / 4)
    np.testing.assert_allclose(GRID.distances(), 2.0 * 2.0 ** np.array([3.5, 2.5, 1.5, 0.5]))
    x, y = GRID.points()
    assert x.shape == y.shape == (4, 8)
    # Right of the middle is the robot's right-hand side.
    assert x[0, 4] > 0 > y[0, 4] and y[0, 2] > 0


def test_cells_are_where_their_points_are():
    column, row = GRID.cells(*GRID.points())
    np.testing.assert_allclose(column, np.broadcast_to(np.arange(8), (4, 8)), atol=1e-9)
    np.testing.assert_allclose(row, np.broadcast_to(np.arange(4)[:, None], (4, 8)), atol=1e-9)
    column, row = GRID.cells(np.array([16.0, 0.0]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(column, [3.5, 1.5])
    np.testing.assert_allclose(row, [0.5, 4.5])


def test_samples_of_a_cell_lie_around_its_middle():
    fine = GRID.directions(per_cell=3).reshape(8, 3)
    np.testing.assert_allclose(fine[:, 1], GRID.directions())
    rings = GRID.distances(per_cell=3).reshape(4, 3)
    np.testing.assert_allclose(rings[:, 1], GRID.distances())
    assert (np.diff(rings.ravel()) < 0).all()


def test_areas_fill_the_ring():
    areas = GRID.areas()
    assert areas.shape == (4, 1) and (np.diff(areas[:, 0]) < 0).all()
    assert areas.sum() * 8 == pytest.approx(math.pi * (32.0**2 - 2.0**2))


@pytest.mark.parametrize(
    'bad', [(0.0, 5.0, 4, 3), (5.0, 5.0, 4, 3), (1.0, math.inf, 4, 3), (1.0, 5.0, 0, 3)]
)
def test_a_grid_has_cells(bad):
    with pytest.raises(ValueError, match=r'expected 0 < near < far|needs cells'):
        PolarGrid(*bad)
