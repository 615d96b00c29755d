# SPDX-License-Identifier: Apache-2.0
"""Yaw along rays: made-up maps whose answer is known, signs above all."""

import math

import pytest
import torch

from geoloc_core.models.ray_yaw import circular_cubic, ColumnFeatures, ray_offsets, RayYawHead

RADII = (2.0, 4.0, 7.0, 9.0)
CHANNELS, COLUMNS, CELL_M = 6, 24, 1.5


def head(patch_cells):
    """A head that compares features as they come: row m of the 'panorama' is distance m."""
    torch.manual_seed(0)
    made = RayYawHead(
        (CHANNELS, 4),
        (CHANNELS, 4),
        (len(RADII), COLUMNS),
        patch_cells,
        CELL_M,
        RADII,
        CHANNELS,
    )
    with torch.no_grad():
        for part in (made.view, made.patch):
            part.fine.weight.copy_(torch.eye(CHANNELS)[..., None, None])
            part.fine.bias.zero_()
            part.coarse.weight.zero_()
        made.fold.weight.zero_()
        made.fold.bias.zero_()
        for c in range(CHANNELS):
            for m in range(len(RADII)):
                made.fold.weight[c * len(RADII) + m, c, m, 0] = 1
    return made


def smooth_map(height, width):
    torch.manual_seed(1)
    coarse = torch.randn(1, CHANNELS, height // 2, width // 2)
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode='bilinear')


def seen_from(aerial, row, column, yaw):
    """Columns of a robot at a cell, turned `yaw` counter-clockwise from its prior."""
    height, width = aerial.shape[-2:]
    columns = torch.zeros(1, CHANNELS, len(RADII), COLUMNS)
    for n in range(COLUMNS):
        # Clockwise from north of what column n shows.
        bearing = 2 * math.pi * (n + 0.5) / COLUMNS - math.pi - yaw
        for m, radius in enumerate(RADII):
            x = column + radius / CELL_M * math.sin(bearing)
            y = row - radius / CELL_M * math.cos(bearing)
            at = torch.tensor([[[[(x + 0.5) * 2 / width - 1, (y + 0.5) * 2 / height - 1]]]])
            read = torch.nn.functional.grid_sample(aerial, at, align_corners=False)
            columns[..., m, n] = read[..., 0, 0]
    return columns


def scores_of(made, columns, aerial):
    """The head's answer, its coarser maps empty."""
    rows, cells = columns.shape[-2:], aerial.shape[-2:]
    view = [columns, torch.zeros(1, 4, rows[0] // 2, rows[1] // 2)]
    patch = [aerial, torch.zeros(1, 4, cells[0] // 2, cells[1] // 2)]
    with torch.no_grad():
        return made(view, patch)


@pytest.mark.parametrize('turn', [0, 3, -5, 12])
@pytest.mark.parametrize('row, column', [(7, 13), (9, 8)])
def test_finds_place_and_turn(row, column, turn):
    height, width = 16, 22
    aerial = smooth_map(height, width)
    columns = seen_from(aerial, row, column, 2 * math.pi * turn / COLUMNS)
    scores = scores_of(head((height, width)), columns, aerial)[0]
    best = int(scores.argmax())
    assert best // (height * width) == turn % COLUMNS
    assert best % (height * width) == row * width + column
    # Ten times the cosine, which is one.
    assert float(scores.max()) == pytest.approx(10.0, rel=1e-3)


def test_rolled_panorama_rolls_the_scores():
    aerial = smooth_map(16, 22)
    made = head((16, 22))
    torch.manual_seed(2)
    columns = torch.randn(1, CHANNELS, len(RADII), COLUMNS)
    scores = scores_of(made, columns, aerial)
    # Content that moves right is a robot that has turned counter-clockwise.
    turned = scores_of(made, columns.roll(5, dims=-1), aerial)
    torch.testing.assert_close(turned, scores.roll(5, dims=1))


def test_shifted_map_shifts_the_scores():
    aerial = smooth_map(24, 30)
    made = head((24, 30))
    torch.manual_seed(2)
    columns = torch.randn(1, CHANNELS, len(RADII), COLUMNS)
    scores = scores_of(made, columns, aerial)
    moved = scores_of(made, columns, aerial.roll((2, -3), dims=(2, 3)))
    # Away from the rims: rays reach six cells.
    torch.testing.assert_close(
        moved[:, :, 9:15, 7:20], scores.roll((2, -3), dims=(2, 3))[:, :, 9:15, 7:20]
    )


def test_rays_lie_clockwise_from_the_south():
    offsets = ray_offsets(4, [2.0])[:, 0]
    half = math.sqrt(2)
    expected = torch.tensor([[-half, -half], [-half, half], [half, half], [half, -half]])
    torch.testing.assert_close(offsets, expected)


def test_coarse_columns_meet_at_the_seam():
    torch.manual_seed(0)
    made = ColumnFeatures(2, 3, 4, wraps=True)
    fine, coarse = torch.randn(1, 2, 4, 8), torch.randn(1, 3, 2, 4)
    with torch.no_grad():
        turned = made(fine.roll(2, dims=-1), coarse.roll(1, dims=-1))
        torch.testing.assert_close(turned, made(fine, coarse).roll(2, dims=-1))


@pytest.mark.parametrize('bins', [3, 8, 40])
def test_circular_cubic_is_exact_at_the_bins_and_smooth_between(bins):
    steps = 2 * math.pi * torch.arange(-bins, bins) / bins
    torch.testing.assert_close(circular_cubic(steps, bins), torch.eye(bins).repeat(2, 1))
    between = torch.linspace(-math.pi, math.pi, 50)
    weights = circular_cubic(between, bins)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(50))
    if bins == 40:
        wave = (2 * math.pi * torch.arange(bins) / bins - 0.3).cos()
        assert (weights @ wave - (between - 0.3).cos()).abs().max() < 1e-3
