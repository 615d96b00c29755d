# SPDX-License-Identifier: Apache-2.0
"""Descriptors that roll: which turn is which, and what is left out where nothing is seen."""

import pytest
import torch
from torch.nn import functional as F

from geoloc_core.models.rolling_match import RollingMatch, ViewDescriptors

COLUMNS, BINS, NUMBERS = 12, 6, 3
STEP = COLUMNS // BINS


def cells(height=2, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(2, COLUMNS * NUMBERS, height, width, generator=generator)
    return F.normalize(raw, dim=1)


def seen_from(ground, row, column, turn):
    """The descriptor of a robot at a cell, turned counter-clockwise by `turn` bins."""
    here = ground[:, :, row, column].view(-1, COLUMNS, NUMBERS)
    # What lay at a column now lies further right.
    return here.roll(turn * STEP, dims=1)


@pytest.mark.parametrize('turn', [-2, -1, 0, 1, 2, 3])
@pytest.mark.parametrize('span', [COLUMNS, 4])
def test_finds_place_and_turn(turn, span):
    ground = cells()
    view = seen_from(ground, 1, 3, turn)[:, :span] * 7.0
    match = RollingMatch(COLUMNS, span, BINS, 180.0)
    scores = match(view, ground)
    assert scores.shape == (2, BINS, 2, 5)
    best = scores.flatten(1).argmax(dim=1)
    assert scores.flatten(1).amax(dim=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    for k, row, column in zip(*torch.unravel_index(best, scores.shape[1:]), strict=True):
        assert (match.turns[k], row, column) == (turn, 1, 3)


@pytest.mark.parametrize('span', [COLUMNS, 4])
def test_is_the_cosine_with_a_rolled_map(span):
    """The same numbers as rolling the whole map for each turn, one after the other."""
    ground, view = cells(), torch.randn(2, span, NUMBERS)
    match = RollingMatch(COLUMNS, span, BINS, 180.0)
    scores = match(view, ground)
    of_columns = ground.view(2, COLUMNS, NUMBERS, 2, 5)
    for k, turn in enumerate(match.turns.tolist()):
        window = of_columns.roll(turn * STEP, dims=1)[:, :span].flatten(1, 2)
        wanted = F.cosine_similarity(view.flatten(1)[:, :, None, None], window, dim=1)
        torch.testing.assert_close(scores[:, k], wanted, rtol=1e-4, atol=1e-5)


def test_masked_columns_are_as_good_as_absent():
    ground = cells()
    view = torch.randn(2, COLUMNS, NUMBERS)
    mask = torch.zeros(2, COLUMNS)
    mask[:, :4] = 1.0
    whole = RollingMatch(COLUMNS, COLUMNS, BINS, 180.0)(view, ground, mask)
    part = RollingMatch(COLUMNS, 4, BINS, 180.0)(view[:, :4], ground)
    torch.testing.assert_close(whole, part)
    garbage = torch.where(mask[..., None] > 0, view, 1e3 * torch.ones_like(view))
    again = RollingMatch(COLUMNS, COLUMNS, BINS, 180.0)(garbage, ground, mask)
    torch.testing.assert_close(again, whole)


@pytest.mark.parametrize(
    ('half_deg', 'turns'),
    [
        (180.0, [0, 1, 2, 3, -2, -1]),
        (60.0, [0, 1, -1]),
        (119.0, [0, 1, -1]),
        (2.0, [0]),
    ],
)
def test_a_prior_restricts_the_turns(half_deg, turns):
    match = RollingMatch(COLUMNS, COLUMNS, BINS, half_deg)
    assert match.turns.tolist() == turns
    every = RollingMatch(COLUMNS, COLUMNS, BINS, 180.0)
    view, ground = torch.randn(2, COLUMNS, NUMBERS), cells()
    kept = [every.turns.tolist().index(turn) for turn in turns]
    torch.testing.assert_close(match(view, ground), every(view, ground)[:, kept])


def test_stays_in_float32_under_autocast():
    match = RollingMatch(COLUMNS, COLUMNS, BINS, 180.0)
    view, ground = torch.randn(2, COLUMNS, NUMBERS), cells()
    wanted = match(view, ground)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(match(view, ground), wanted)


def test_an_empty_view_gives_no_nan():
    match = RollingMatch(COLUMNS, COLUMNS, BINS, 180.0)
    view = torch.zeros(2, COLUMNS, NUMBERS, requires_grad=True)
    scores = match(view, cells(), torch.zeros(2, COLUMNS))
    scores.sum().backward()
    assert scores.abs().max() == 0.0 and view.grad.isfinite().all()


def test_heads_keep_the_order_of_columns():
    torch.manual_seed(0)
    heads = ViewDescriptors(8, 3, (4, 1))
    volume = torch.randn(1, 8, 3, 5)
    first, second = heads(volume)
    assert first.shape == (1, 5, 4) and second.shape == (1, 5, 1)
    torch.testing.assert_close(heads(volume.roll(2, dims=3))[0], first.roll(2, dims=1))
