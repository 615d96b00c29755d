# SPDX-License-Identifier: Apache-2.0
"""Masks hide what they say, across the seam, and the right directions on the ground."""

import math

import pytest
import torch

from geoloc_core.input_spec import CameraSpec, RasterSpec
from geoloc_core.models.ground_projection import GroundProjection
from training.objectives.view_masks import draw_cells, draw_strip, hide_most_active, Strip

CPU = torch.device('cpu')


def strip(start, share):
    return Strip(torch.tensor([start]), torch.tensor([share]))


def test_a_strip_shows_exactly_its_columns():
    assert strip(0.25, 0.5).columns(8)[0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


def test_a_strip_goes_on_across_the_seam():
    assert strip(0.75, 0.5).columns(8)[0].tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    # The same strip on coarser columns: 20 of a descriptor, 18 degrees each.
    assert strip(0.9, 0.25).columns(20)[0].nonzero()[:, 0].tolist() == [0, 1, 2, 18, 19]


def test_drawn_strips_have_the_shares_asked_for():
    torch.manual_seed(1)
    drawn = draw_strip(400, (0.5, 2 / 3), True, CPU)
    shares = drawn.columns(720).mean(dim=1)
    assert shares.min() >= 0.5 - 1 / 720
    assert shares.max() <= 2 / 3 + 1 / 720
    assert (drawn.start + drawn.share > 1).float().mean() > 0.3
    # Every direction is hidden as often as any other.
    assert drawn.columns(12).mean(dim=0).std() < 0.05


def test_strips_of_a_picture_with_edges_do_not_wrap():
    torch.manual_seed(1)
    drawn = draw_strip(200, (0.75, 0.83), False, CPU)
    assert (drawn.start + drawn.share <= 1 + 1e-6).all()
    edges = drawn.columns(64).diff(dim=1).abs().sum(dim=1)
    assert edges.max() <= 2


@pytest.mark.parametrize(
    ('middle', 'direction'), [(0.5, (0, 1)), (0.75, (1, 0)), (0.0, (0, -1)), (0.25, (-1, 0))]
)
def test_a_strip_is_a_wedge_of_the_ground(middle, direction):
    """The middle column looks north (up the patch), columns to its right clockwise."""
    view = RasterSpec('view', 128, 64, (0.0,) * 3, (1.0,) * 3)
    ground = GroundProjection((33, 41), 0.5, CameraSpec('equirectangular', None, None, 2.0), view)
    mask = strip((middle - 0.125) % 1.0, 0.25).columns(128)[:, None, None].expand(-1, 1, 64, -1)
    seen, _ = ground(mask)
    x, y = torch.meshgrid(torch.arange(41) - 20.0, 16.0 - torch.arange(33), indexing='xy')
    angle = torch.atan2(y, x) - math.atan2(direction[1], direction[0])
    off = torch.atan2(angle.sin(), angle.cos()).abs()
    far = torch.hypot(x, y) > 4
    assert (seen[0, 0][far & (off < math.radians(40))] > 0.99).all()
    assert (seen[0, 0][far & (off > math.radians(50))] < 0.01).all()


def test_cells_hidden_at_random():
    torch.manual_seed(3)
    mask = draw_cells(5, (40, 72), 8, (0.4, 0.4), CPU)
    assert mask.shape == (5, 1, 40, 72)
    cells = mask.view(5, 5, 8, 9, 8)
    assert torch.equal(cells.amin(dim=(2, 4)), cells.amax(dim=(2, 4)))
    assert (1 - mask.mean(dim=(1, 2, 3))).tolist() == pytest.approx([18 / 45] * 5)
    assert not torch.equal(mask[0], mask[1])


def test_the_most_active_cells_are_hidden():
    features = torch.full((1, 3, 4, 6), 0.1)
    features[0, 1, 2, 5] = -5.0
    features[0, 0, 0, 1] = 2.0
    mask = hide_most_active(features, (8, 18), hidden=2 / 24)
    hidden = (mask[0, 0] == 0).nonzero().tolist()
    assert hidden == [[v, u] for v in (0, 1) for u in (3, 4, 5)] + [
        [v, u] for v in (4, 5) for u in (15, 16, 17)
    ]
