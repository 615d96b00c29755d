# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np

from training.visualization.canvas import Canvas, hot, row, titled

RED = (255, 0, 0)


def blank(width=120, height=80, gsd=0.5):
    return Canvas(np.zeros((height, width, 3), np.uint8), gsd)


def test_right_is_x_and_up_is_y():
    np.testing.assert_allclose(blank().pixels([10.0, 5.0]), [59.5 + 20, 39.5 - 10])


def test_a_patch_keeps_its_ground_when_it_is_scaled():
    canvas = Canvas.of(np.zeros((40, 60, 3), np.uint8), 1.0, 120)
    assert canvas.image.shape == (80, 120, 3) and canvas.gsd == 0.5


def test_the_arrow_points_where_the_robot_looks():
    canvas = blank()
    canvas.pose(np.zeros(2), math.radians(90), RED)
    rows, columns = np.nonzero(canvas.image[..., 0] > 200)
    assert rows.min() < 32 and columns.min() > 50 and columns.max() < 70


def test_heat_lies_where_its_cells_are():
    # A single hot cell of 2 m, 7 m to the right and 5 m up; and the same with small cells.
    for cell_m, shape in ((2.0, (20, 30)), (0.1, (400, 600))):
        heat = np.zeros(shape, np.float32)
        rows, columns = shape
        u, v = round(7 / cell_m + (columns - 1) / 2), round((rows - 1) / 2 - 5 / cell_m)
        heat[v, u] = 1.0
        canvas = blank()
        canvas.heat(heat, cell_m)
        brightness = canvas.image.astype(float).sum(axis=-1)
        found = np.unravel_index(np.argmax(brightness), brightness.shape)
        expected = canvas.pixels([7.0, 5.0])[::-1]
        assert np.abs(np.array(found) - expected).max() <= 3


def test_nothing_is_drawn_of_what_is_not_finite():
    canvas = blank()
    canvas.pose(np.array([np.nan, 0.0]), 0.0, RED)
    canvas.ellipse(np.zeros(2), np.full((2, 2), np.nan), RED)
    canvas.heat(np.full((4, 6), np.nan, np.float32), 1.0)
    assert not canvas.image.any()


def test_masks_tint_only_what_they_cover():
    canvas = blank()
    classes = np.zeros((8, 12), np.uint8)
    classes[:, 6:] = 1
    canvas.mask(classes)
    assert canvas.image[:, 65:].any(axis=-1).all() and not canvas.image[:, :58].any()


def test_rows_and_titles():
    joined = row([titled(np.zeros((10, 20, 3), np.uint8), 'a'), np.zeros((50, 30, 3), np.uint8)])
    assert joined.shape == (50, 56, 3)
    warm = hot(np.zeros((10, 20, 3), np.uint8), np.eye(2))
    assert warm[0, 0].sum() > warm[0, -1].sum()
