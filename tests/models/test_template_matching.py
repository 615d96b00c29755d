# SPDX-License-Identifier: Apache-2.0
"""Normalised cross-correlation against its formula, and where its cells lie."""

import pytest
import torch

from geoloc_core.models import template_matching as matching


def naive(patch, template, confidence):
    """<F, C^2 G> / (|C F| |C G|), placement by placement."""
    h, w = template.shape[-2:]
    rows, columns = patch.shape[-2] - h + 1, patch.shape[-1] - w + 1
    out = torch.empty(rows, columns)
    for r in range(rows):
        for c in range(columns):
            window = confidence * patch[:, r : r + h, c : c + w]
            mine = confidence * template
            out[r, c] = (window * mine).sum() / (window.norm() * mine.norm())
    return out


def made(seed=0, batch=2):
    g = torch.Generator().manual_seed(seed)
    patch = torch.randn(batch, 3, 12, 15, generator=g)
    template = torch.randn(batch, 3, 4, 7, generator=g)
    confidence = torch.rand(batch, 1, 4, 7, generator=g)
    return patch, template, confidence


@pytest.mark.parametrize('way', ['fft', 'direct', 'dft'])
def test_formula(monkeypatch, way):
    monkeypatch.setattr(matching, '_exporting', lambda: way != 'fft')
    monkeypatch.setattr(matching, 'cheaper', lambda template, size: way)
    patch, template, confidence = made()
    got = matching.correlate(patch, template, confidence)
    assert got.shape == (2, 9, 9)
    for i in range(2):
        torch.testing.assert_close(
            got[i], naive(patch[i], template[i], confidence[i]), atol=1e-5, rtol=1e-5
        )


def test_all_pairs_hold_the_own_ones_on_the_diagonal():
    patch, template, confidence = made(1, 3)
    everything = matching.correlate_all(patch, template[:2], confidence[:2])
    assert everything.shape == (3, 2, 9, 9)
    own = matching.correlate(patch[:2], template[:2], confidence[:2])
    torch.testing.assert_close(everything[0, 0], own[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(everything[1, 1], own[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        everything[2, 0], naive(patch[2], template[0], confidence[0]), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(('size', 'cut'), [((20, 23), (6, 8)), ((21, 24), (7, 9))])
def test_a_piece_of_the_map_is_found_at_its_middle(size, cut):
    torch.manual_seed(0)
    patch = torch.randn(1, 4, *size)
    row, column = 9, 2
    template = patch[..., row : row + cut[0], column : column + cut[1]]
    scores = matching.correlate(patch, template, torch.ones(1, 1, *cut))
    assert scores.max() == pytest.approx(1.0, abs=1e-5)
    # Its middle, counted from the map's, y up.
    x = (column + (cut[1] - 1) / 2) - (size[1] - 1) / 2
    y = (size[0] - 1) / 2 - (row + (cut[0] - 1) / 2)
    best = matching.best_xy(scores, 0.5)
    torch.testing.assert_close(best, torch.tensor([[x * 0.5, y * 0.5]]))
    r, c = matching.cell_of(best[0], tuple(scores.shape[-2:]), 0.5)
    assert (float(r), float(c)) == (row, column)


def test_what_is_unknown_does_not_count():
    patch, template, confidence = made(2)
    confidence[..., :3] = 0.0
    spoilt = template.clone()
    spoilt[..., :3] = 100.0
    torch.testing.assert_close(
        matching.correlate(patch, spoilt, confidence),
        matching.correlate(patch, template, confidence),
        atol=1e-5,
        rtol=1e-4,
    )


def test_scores_ignore_scale_and_survive_half_precision():
    patch, template, confidence = made(3)
    want = matching.correlate(patch, template, confidence)
    scaled = matching.correlate(
        matching.unit_rms(patch * 1e-4), matching.unit_rms(template * 1e3), confidence
    )
    torch.testing.assert_close(scaled, want, atol=1e-4, rtol=1e-3)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = matching.correlate(patch, template, confidence)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want)


def test_nothing_known_gives_no_nan():
    patch, template, confidence = made(4)
    patch = patch.requires_grad_()
    scores = matching.correlate(patch, template, confidence * 0.0)
    scores.sum().backward()
    assert torch.equal(scores, torch.zeros_like(scores))
    assert torch.isfinite(patch.grad).all()


def test_parabola_finds_the_peak_between_cells():
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(12.0), indexing='ij')
    scores = 1.0 - 0.01 * ((rows - 3.3) ** 2 + (columns - 7.75) ** 2)
    best = matching.best_xy(scores[None], 2.0, refine=True)
    torch.testing.assert_close(best, torch.tensor([[(7.75 - 5.5) * 2, (4 - 3.3) * 2]]))
    coarse = matching.best_xy(scores[None], 2.0)
    torch.testing.assert_close(coarse, torch.tensor([[5.0, 2.0]]))
    corner = torch.zeros(1, 4, 5)
    corner[0, 0, 4] = 1.0
    torch.testing.assert_close(
        matching.best_xy(corner, 1.0, refine=True), torch.tensor([[2.0, 1.5]])
    )


@pytest.mark.parametrize('size', [(155, 150), (156, 155), (99, 300), (40, 41)])
def test_pooling_keeps_mass_and_middle(size):
    torch.manual_seed(1)
    logits = torch.randn(2, *size, dtype=torch.float64)
    pooled, factor = matching.pooled_log_probability(logits, 100)
    assert max(pooled.shape[-2:]) <= 102

    def mean(values, cell):
        p = values.flatten(1).softmax(1).view_as(values)
        x = (torch.arange(values.shape[-1]) - (values.shape[-1] - 1) / 2).double() * cell
        y = (torch.arange(values.shape[-2]) - (values.shape[-2] - 1) / 2).double() * cell
        return torch.stack([p.sum(1) @ x, p.sum(2) @ y])

    torch.testing.assert_close(mean(pooled, factor), mean(logits, 1), atol=0.03, rtol=0)
    if factor > 1:
        assert pooled.exp().sum(dim=(1, 2)).tolist() == pytest.approx([1, 1], abs=1e-4)
