# SPDX-License-Identifier: Apache-2.0
"""Matching and upsampling: sizes, the cosine, and what the mask does."""

import torch
from torch.nn import functional as F

from geoloc_core.models.matching_decoder import cosine_map, MatchingDecoder, MatchingStage


def test_cosine_is_torch_s_and_knows_no_length():
    torch.manual_seed(0)
    a, b = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    expected = F.cosine_similarity(a, b, dim=1)[:, None]
    torch.testing.assert_close(cosine_map(a, b), expected)
    torch.testing.assert_close(cosine_map(100 * a, 0.01 * b), expected)
    assert (cosine_map(a, -a) + 1).abs().max() < 1e-5
    assert (cosine_map(torch.zeros_like(a), b) == 0).all()


def test_cosine_has_a_gradient_where_features_vanish():
    a = torch.zeros(1, 3, 2, 2, requires_grad=True)
    cosine_map(a, torch.ones(1, 3, 2, 2)).sum().backward()
    assert torch.isfinite(a.grad).all()


def decoder(guided=True):
    torch.manual_seed(0)
    return MatchingDecoder(8, (6, 5), (7, 4), (9, 8, 6, 4), guided=guided, dropout=0.0)


def inputs(height=2, width=3):
    fused = torch.randn(2, 8, height, width)
    view = [torch.randn(2, 6, 2, 5), torch.randn(2, 5, 4, 10)]
    patch = [torch.randn(2, 7, height, width), torch.randn(2, 4, 2 * height, 2 * width)]
    return fused, view, patch


def test_doubles_with_each_stage():
    mask = torch.zeros(2, 1, 8, 12)
    assert decoder()(*inputs(), mask).shape == (2, 8, 12)
    assert decoder(guided=False)(*inputs(), None).shape == (2, 8, 12)


def test_all_scales_and_the_mask_reach_the_heat_map():
    made = decoder()
    fused, view, patch = inputs()
    parts = [fused, *view, *patch, torch.rand(2, 1, 8, 12)]
    for part in parts:
        part.requires_grad_()
    made(fused, view, patch, parts[-1]).square().sum().backward()
    assert all(part.grad.abs().sum() > 0 for part in parts)


def test_mask_lies_where_the_map_does():
    """A mask of one cell's pixels is that cell, whole; half of them are a half."""
    torch.manual_seed(0)
    stage = MatchingStage(2, 3, 2, 4, guided=True, dropout=0.0)
    seen = []
    stage.convs.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    mask = torch.zeros(1, 1, 12, 8)
    mask[..., 4:8, 0:4] = 1
    mask[..., 8:10, 4:8] = 1
    stage(torch.randn(1, 2, 3, 2), torch.randn(1, 3, 2, 2), torch.randn(1, 2, 3, 2), mask)
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    torch.testing.assert_close(seen[0][0, -1], expected)


def test_ground_features_are_compared_cell_by_cell():
    """The cosine map is one of the map with the panorama's features laid over it."""
    torch.manual_seed(0)
    stage = MatchingStage(3, 3, 2, 4, guided=False, dropout=0.0)
    with torch.no_grad():
        stage.view_adapt.weight.copy_(torch.eye(3)[..., None, None])
        stage.view_adapt.bias.zero_()
    seen = []
    stage.convs.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = torch.randn(1, 3, 4, 5)
    stage(x, x, torch.randn(1, 2, 4, 5), None)
    torch.testing.assert_close(seen[0][:, 3], torch.ones(1, 4, 5))
