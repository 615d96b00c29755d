# SPDX-License-Identifier: Apache-2.0
"""Rotate and correlate: signs, middles, masks, and three ways to one answer."""

import math

import pytest
import torch
from torch import nn

from geoloc_core.errors import ConfigError
from geoloc_core.models.rotation_correlation import correlate_rotations, rotated
from geoloc_core.runtime.onnx_engine import OnnxEngine
from training.onnx_graph import quietly


def painted(turn, size=(41, 51), middle=(0.0, 0.0), reach=9.0):
    """Two channels of smooth blobs around a middle (right, up), turned CCW by an angle."""
    v, u = torch.meshgrid(
        torch.arange(size[0], dtype=torch.float32),
        torch.arange(size[1], dtype=torch.float32),
        indexing='ij',
    )
    right, up = u - (size[1] - 1) / 2 - middle[0], (size[0] - 1) / 2 - v - middle[1]
    c, s = math.cos(turn), math.sin(turn)
    channels = []
    for blobs in (((6.0, 0.0), (0.0, 3.0)), ((-3.0, 5.0), (2.0, -6.0))):
        image = torch.zeros(size)
        for x, y in blobs:
            at = (c * x - s * y, s * x + c * y)
            image = image + torch.exp(-((right - at[0]) ** 2 + (up - at[1]) ** 2) / 4.0)
        channels.append(image)
    return torch.stack(channels)[None]


YAWS = torch.deg2rad(torch.tensor([-60.0, -30.0, 0.0, 30.0, 60.0]))


@pytest.mark.parametrize('normalisation', ['none', 'weight', 'cosine'])
@pytest.mark.parametrize('template_size', [(19, 23), (18, 24)])
def test_turned_and_shifted_template_answers_at_its_pose(normalisation, template_size):
    template = painted(0.0, template_size)
    # 4 cells to the right, 7 up, 30 degrees counter-clockwise.
    patch = painted(math.radians(30.0), middle=(4.0, 7.0))
    scores = correlate_rotations(
        template, torch.ones(1, 1, *template_size), patch, YAWS, normalisation=normalisation
    )
    assert scores.shape == (1, 5, 41, 51)
    best = scores[0].flatten().argmax().item()
    bin_, row, column = best // (41 * 51), best // 51 % 41, best % 51
    assert (bin_, row, column) == (3, 20 - 7, 25 + 4)
    if normalisation == 'cosine':
        assert scores.max() > 0.98 and scores.abs().max() <= 1.0 + 1e-4


def test_rotation_is_counter_clockwise_about_the_middle():
    template = torch.zeros(1, 1, 5, 7)
    template[0, 0, 2, 5] = 1.0  # two cells to the right of the middle
    turned, weight = rotated(template, torch.ones(1, 1, 5, 7), torch.tensor([math.pi / 2]), side=9)
    assert turned[0, 0, 0].flatten().argmax().item() == 2 * 9 + 4  # two cells up
    assert turned[0, 0, 0, 2, 4].item() == pytest.approx(1.0, abs=1e-5)
    assert weight.sum().item() == pytest.approx(35.0, abs=1e-3)


@pytest.mark.parametrize('normalisation', ['none', 'weight', 'cosine'])
@pytest.mark.parametrize('size', [None, (12, 7)])
def test_three_ways_agree(normalisation, size):
    generator = torch.Generator().manual_seed(0)
    template = torch.randn(2, 3, 6, 9, generator=generator)
    mask = torch.rand(2, 1, 6, 9, generator=generator)
    patch = torch.randn(2, 3, 22, 17, generator=generator)
    known = (torch.rand(2, 1, 22, 17, generator=generator) > 0.3).float()
    yaws = torch.randn(2, 4, generator=generator)

    def scores(method):
        return correlate_rotations(
            template, mask, patch, yaws, patch_mask=known, normalisation=normalisation,
            size=size, method=method,
        )  # fmt: skip

    direct = scores('direct')
    assert direct.shape == (2, 4, *(size or (22, 17)))
    for method in ('fft', 'dft', 'auto'):
        torch.testing.assert_close(scores(method), direct, atol=2e-4, rtol=1e-4)


def test_cropped_answer_is_the_middle_of_the_whole():
    template, patch = torch.randn(1, 2, 7, 5), torch.randn(1, 2, 20, 16)
    whole = correlate_rotations(template, torch.ones(1, 1, 7, 5), patch, YAWS)
    part = correlate_rotations(template, torch.ones(1, 1, 7, 5), patch, YAWS, size=(6, 4))
    torch.testing.assert_close(part, whole[..., 7:13, 6:10], atol=1e-4, rtol=1e-4)


def test_mean_similarity_does_not_fall_at_the_border_of_the_map():
    template, patch = torch.ones(1, 1, 5, 5), torch.ones(1, 1, 9, 11)
    mask = torch.ones(1, 1, 5, 5)
    scores = correlate_rotations(template, mask, patch, YAWS, normalisation='weight')
    torch.testing.assert_close(scores, torch.ones_like(scores), atol=1e-4, rtol=1e-4)
    unknown = torch.ones(1, 1, 9, 11)
    unknown[..., :5] = 0.0
    # What is unknown neither helps nor hurts; far inside it there is no score at all.
    scores = correlate_rotations(
        template, mask, patch, YAWS, patch_mask=unknown, normalisation='weight'
    )
    torch.testing.assert_close(scores[..., 5:], torch.ones_like(scores[..., 5:]))
    assert scores[..., 0].abs().max() == 0.0


def test_each_sample_of_a_batch_meets_its_own_patch():
    template, patch = torch.randn(3, 2, 5, 7), torch.randn(3, 2, 11, 13)
    mask = torch.rand(3, 1, 5, 7)
    together = correlate_rotations(template, mask, patch, YAWS)
    for i in range(3):
        alone = correlate_rotations(template[i : i + 1], mask[i : i + 1], patch[i : i + 1], YAWS)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('normalisation', ['none', 'weight', 'cosine'])
def test_gradients_are_right(normalisation):
    template = torch.randn(1, 2, 3, 4, requires_grad=True)
    mask = (torch.rand(1, 1, 3, 4) + 0.5).requires_grad_()
    patch = torch.randn(1, 2, 6, 5, requires_grad=True)
    goal = torch.randn(1, 5, 6, 5)
    gradients = {}
    for method in ('fft', 'direct'):
        scores = correlate_rotations(
            template, mask, patch, YAWS, normalisation=normalisation, method=method
        )
        gradients[method] = torch.autograd.grad((scores * goal).sum(), (template, mask, patch))
    for a, b in zip(*gradients.values(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)
        assert a.abs().max() > 0


def test_empty_template_gives_zeros_and_finite_gradients():
    template = torch.randn(1, 2, 5, 5, requires_grad=True)
    scores = correlate_rotations(
        template, torch.zeros(1, 1, 5, 5), torch.randn(1, 2, 9, 9), YAWS, normalisation='cosine'
    )
    assert scores.abs().max() == 0.0
    scores.sum().backward()
    assert torch.isfinite(template.grad).all()


def test_float32_even_under_autocast():
    template, patch = torch.randn(1, 2, 5, 5), torch.randn(1, 2, 9, 9)
    wanted = correlate_rotations(template, torch.ones(1, 1, 5, 5), patch, YAWS)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = correlate_rotations(template, torch.ones(1, 1, 5, 5), patch, YAWS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'size': (8, 9)}, 'both even or both odd'),
        ({'canvas': 6}, 'make it odd'),
        ({'normalisation': 'l2'}, "normalisation 'l2' is unknown"),
        ({'method': 'slow'}, "method 'slow' is unknown"),
    ],
)
def test_misuse_is_named(options, words):
    with pytest.raises(ConfigError, match=words):
        correlate_rotations(
            torch.ones(1, 1, 5, 5), torch.ones(1, 1, 5, 5), torch.ones(1, 1, 9, 9), YAWS, **options
        )


class BothWays(nn.Module):
    """For export."""

    def forward(self, template, mask, patch):
        def scores(method):
            return correlate_rotations(
                template, mask, patch, YAWS, normalisation='cosine', canvas=11, method=method
            )

        return scores('direct'), scores('dft'), scores('auto')


def test_exports_without_operators_that_runtimes_lack():
    inputs = (torch.randn(1, 2, 7, 9), torch.rand(1, 1, 7, 9), torch.randn(1, 2, 21, 25))
    names = ['template', 'mask', 'patch'], ['direct', 'dft', 'auto']
    with quietly():
        graph = torch.onnx.export(
            BothWays().eval(), inputs, dynamo=True, verbose=False, external_data=False,
            input_names=names[0], output_names=names[1],
        ).model_proto  # fmt: skip
    assert not {'DFT', 'ScatterElements', 'NonZero'} & {node.op_type for node in graph.graph.node}
    engine = OnnxEngine(graph.SerializeToString(), threads=1)
    found = engine.run(dict(zip(names[0], (t.numpy() for t in inputs), strict=True)))
    wanted = correlate_rotations(*inputs, YAWS, normalisation='cosine', canvas=11, method='fft')
    for scores in found.values():
        torch.testing.assert_close(torch.from_numpy(scores), wanted, atol=1e-4, rtol=1e-4)
