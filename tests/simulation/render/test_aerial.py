# SPDX-License-Identifier: Apache-2.0
"""From above: what stands high may lean, the ground stays; labels come with the picture."""

import numpy as np
import pytest

from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.renderer import render_aerial

GRID = Grid((1.0, -2.0), 0.2, 240, 200)


def middle(mask):
    """Map place of the middle of a mask."""
    v, u = np.nonzero(mask)
    return GRID.xy_from_uv([u.mean(), v.mean()])


def test_lean_shifts_by_height_and_leaves_the_ground(town):
    lean = (0.2, -0.12)
    _, flat = render_aerial(town, GRID, with_labels=True)
    _, leaning = render_aerial(town, GRID, with_labels=True, lean=lean)
    half = np.arange(240)[None] * 0.2 + np.zeros((200, 1)) > 24
    for side, top in ((half, 9.0), (~half, 14.0)):
        shift = middle((leaning == Label.ROOF) & side) - middle((flat == Label.ROOF) & side)
        np.testing.assert_allclose(shift, np.array(lean) * top, atol=0.11)
    both = (flat == Label.MARKING) & (leaning == Label.MARKING)
    assert both.sum() > 0.9 * (flat == Label.MARKING).sum()
    # Walls appear on the side that leans away from.
    assert (flat == Label.BUILDING).sum() == 0 < (leaning == Label.BUILDING).sum()


def test_labels_lie_where_things_stand(town):
    _, labels = render_aerial(town, GRID, with_labels=True)

    def at(x, y):
        u, v = np.rint(GRID.uv_from_xy([x, y])).astype(int)
        return Label(labels[v, u])

    assert at(13, 10) == Label.ROOF and at(8, -2) == Label.VEHICLE
    assert at(-6, -9) == Label.TREE and at(0, 8) == Label.GRASS
    assert at(0, 3) == Label.ROAD and at(0, 0) == Label.MARKING


@pytest.mark.parametrize('supersample', [1, 2, 3])
def test_bytes_do_not_depend_on_threads(town, supersample):
    one, two = (render_aerial(town, GRID, supersample, workers=k, lean=(0.1, 0.0)) for k in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_very_wide_pictures_are_cut_into_parts(town):
    wide = Grid((0.0, 0.0), 0.01, 9000, 2)
    image, labels = render_aerial(town, wide, 2, with_labels=True)
    assert image.shape == (2, 9000, 3) and set(np.unique(labels)) <= set(Label)
