# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.nn import functional as F

from geoloc_core.models.correlation_pyramid import CorrelationPyramid, tents


def pyramid(levels=2):
    torch.manual_seed(0)
    return CorrelationPyramid.of(torch.randn(2, 5, 3, 4), torch.randn(2, 5, 8, 6), levels)


def test_all_cells_are_correlated_with_all():
    torch.manual_seed(0)
    first, second = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 8, 6)
    volumes = CorrelationPyramid.of(first, second, 2).volumes
    assert [v.shape for v in volumes] == [(2, 12, 8, 6), (2, 12, 4, 3)]
    expected = torch.einsum('bcij,bckl->bijkl', first, second).clamp(min=0).flatten(1, 2)
    torch.testing.assert_close(volumes[0], expected)


def test_windows_are_what_bilinear_sampling_reads():
    p, radius = pyramid(), 2
    places = torch.rand(2, 12, 2) * torch.tensor([8.0, 10.0]) - 1
    found = p.around(places, radius)
    assert found.shape == (2, 12, 2 * 25)
    steps = torch.arange(-radius, radius + 1.0)
    dv, du = torch.meshgrid(steps, steps, indexing='ij')
    for level, volume in enumerate(p.volumes):
        h, w = volume.shape[2:]
        at = (places + 0.5) / 2**level - 0.5
        grid = at.flatten(0, 1)[:, None, None] + torch.stack([du, dv], dim=-1)
        grid = (2 * grid + 1) / torch.tensor([w, h]) - 1
        expected = F.grid_sample(
            volume.flatten(0, 1)[:, None], grid, padding_mode='zeros', align_corners=False
        )
        torch.testing.assert_close(
            found.view(2, 12, 2, 25)[:, :, level].flatten(), expected.flatten()
        )


def test_levels_agree_on_where_a_place_is():
    """A ramp is read alike on every level: pooling must not shift it by half a cell."""
    ramp = torch.arange(16.0).expand(1, 1, 12, 16)
    levels = CorrelationPyramid((ramp, F.avg_pool2d(ramp, 2), F.avg_pool2d(ramp, 4)))
    found = levels.around(torch.tensor([[[6.3, 5.0]]]), 0)
    torch.testing.assert_close(found, torch.full((1, 1, 3), 6.3))


def test_far_outside_there_is_nothing_and_no_gradient_breaks():
    places = torch.full((2, 12, 2), 1e6, requires_grad=True)
    found = pyramid().around(places, 1)
    assert found.abs().max() == 0
    found.sum().backward()
    assert places.grad.isfinite().all()


def test_tents_read_between_cells():
    torch.testing.assert_close(
        tents(torch.tensor([1.25, -0.5, 9.0]), 3),
        torch.tensor([[0.0, 0.75, 0.25], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    )


@pytest.mark.parametrize('kind', [torch.bfloat16])
def test_mixed_precision_does_not_reach_correlations(kind):
    torch.manual_seed(0)
    first, second = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 8, 6)
    places = torch.rand(2, 12, 2) * 5
    plain = CorrelationPyramid.of(first, second, 2).around(places, 1)
    with torch.autocast('cpu', dtype=kind):
        mixed = CorrelationPyramid.of(first, second, 2).around(places, 1)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain)
