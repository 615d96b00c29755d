# SPDX-License-Identifier: Apache-2.0
"""Cross-attention on anchors: pooling, who looks at whom, and the attention kept."""

import pytest
import torch
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.anchor_fusion import (
    AnchorPool,
    CrossAttentionLayer,
    TransformerFusionBlock,
)


@pytest.mark.parametrize(
    'cells, anchors', [((10, 20), (16, 16)), ((13, 7), (5, 4)), ((4, 4),) * 2]
)
def test_pools_as_torch_does(cells, anchors):
    torch.manual_seed(0)
    x, pool = torch.randn(2, 3, *cells), AnchorPool(cells, anchors)
    torch.testing.assert_close(pool.maximum(x), F.adaptive_max_pool2d(x, anchors))
    expected = 0.5 * F.adaptive_avg_pool2d(x, anchors) + 0.5 * F.adaptive_max_pool2d(x, anchors)
    torch.testing.assert_close(pool(x), expected)


def layer(width=8, heads=2):
    torch.manual_seed(0)
    return CrossAttentionLayer(width, heads, 4, 0.0).eval()


def test_each_view_attends_to_the_other_one():
    made = layer()
    view, patch = torch.randn(1, 6, 8), torch.randn(1, 5, 8)
    a, b, of_view, of_patch = made(view, patch, keep=True)
    assert of_view.shape == (1, 2, 6, 5) and of_patch.shape == (1, 2, 5, 6)
    for weights in (of_view, of_patch):
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    # A changed token of the patch reaches all of the view's tokens, but only itself in the patch.
    other = patch.clone()
    other[:, 2] = torch.randn(8)
    a2, b2, *_ = made(view, other)
    assert ((a2 - a).abs().amax(-1) > 1e-6).all()
    moved = (b2 - b).abs().amax(-1)[0] > 1e-6
    assert moved.tolist() == [False, False, True, False, False]


def test_attention_that_is_kept_is_the_one_that_is_used():
    made = layer()
    view, patch = torch.randn(2, 6, 8), torch.randn(2, 5, 8)
    kept, used = made(view, patch, keep=True), made(view, patch, keep=False)
    torch.testing.assert_close(kept[0], used[0])
    torch.testing.assert_close(kept[1], used[1])
    assert used[2] is None and used[3] is None


def block(**settings):
    torch.manual_seed(0)
    made = TransformerFusionBlock((5, 7), 8, (3, 6), (4, 2), (4, 3), layers=2, heads=2, **settings)
    return made.eval()


def test_the_outcome_lies_on_the_patch_s_grid():
    fused, nothing = block()(torch.randn(2, 5, 3, 6), torch.randn(2, 7, 4, 2))
    assert fused.shape == (2, 8, 4, 2) and nothing == {}
    _, attention = block()(torch.randn(2, 5, 3, 6), torch.randn(2, 7, 4, 2), keep_attention=True)
    assert {k: tuple(v.shape) for k, v in attention.items()} == {
        'attention_view': (2, 2, 2, 12, 12),
        'attention_patch': (2, 2, 2, 12, 12),
    }


def test_every_parameter_learns():
    made = block()
    fused, _ = made(torch.randn(2, 5, 3, 6), torch.randn(2, 7, 4, 2))
    fused.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


def test_published_size():
    made = TransformerFusionBlock((320, 320), 320, (10, 20), (16, 16))
    # By hand: two 1x1, places, two layers (attention, networks, three norms, scalars), joining.
    attention, mlp = 8 * (320 * 320 + 320), 2 * (2 * 4 * 320 * 320 + 5 * 320)
    layers = 2 * (attention + mlp + 3 * 640 + 8)
    join = 640 * 320 + 640
    expected = 2 * (320 * 320 + 320) + 2 * 256 * 320 + 2 * 2 + layers + 2 + join
    assert sum(p.numel() for p in made.parameters()) == expected


def test_refuses_heads_that_do_not_divide():
    with pytest.raises(ConfigError, match='3 heads do not divide a width of 8'):
        CrossAttentionLayer(8, 3, 4, 0.0)
