# SPDX-License-Identifier: Apache-2.0
"""CrossViT descriptors: published sizes and costs, what each branch sees, settings."""

from pathlib import Path

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import parameter_count
from geoloc_core.models.cost import multiply_adds
from geoloc_core.models.crossvit import bicubic
from geoloc_core.models.crossvit_settings import BranchSettings, CrossVitSettings, SpatialSettings
from geoloc_core.models.registry import make_model
from tests.models.crossvit_networks import seen, TINY, tiny_student


@pytest.mark.parametrize(('old', 'new'), [(240, 224), (24, 16), (10, 15)])
def test_bicubic_weights_resample_as_torch_does(old, new):
    """And a picture of one colour keeps it, edges included."""
    weights = bicubic(old, new)
    assert weights.shape == (new, old)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(new))
    picture = torch.randn(2, 3, old, old, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        picture, (new, new), mode='bicubic', align_corners=False
    )
    torch.testing.assert_close(weights @ picture @ weights.T, expected, atol=2e-6, rtol=1e-5)


def test_sizes_and_cost_are_the_published_ones():
    """Published: 6.9 M parameters, 1.6 G multiply-adds."""
    model = make_model('crossvit_student')
    assert parameter_count(model) == 7_014_800
    assert parameter_count(model) / 1e6 == pytest.approx(6.9, abs=0.15)
    cost = multiply_adds(model, torch.zeros(1, 3, 240, 240))
    assert cost / 1e9 == pytest.approx(1.6, abs=0.05)
    # Both sides of the picture are resampled by products, which the published code does not count.
    assert cost - 3 * 224 * 240 * (240 + 224) == 1_562_734_080
    # The compact descriptor takes the place of 290 000 parameters of classes.
    compact = make_model('crossvit_student', {'descriptor': 'compact'})
    assert compact.size == 256
    assert parameter_count(model) - parameter_count(compact) == 97_000 + 193_000 - 289 * 256


def test_the_page_has_these_sizes():
    page = (Path(__file__).parents[2] / 'docs' / 'places.md').read_text(encoding='utf-8')
    rotary = {'spatial': SpatialSettings(encoding='rotary')}
    for name, settings, words in (
        ('crossvit_student', {}, '| 7.01 M, 1.56 G;'),
        ('crossvit_student', {'descriptor': 'compact'}, 'compact descriptor 6.80 M |'),
        ('crossvit_teacher', {}, '| 6.87 M;'),
        ('crossvit_teacher', rotary, 'rotary 6.88 M |'),
    ):
        count = f'{parameter_count(make_model(name, settings)) / 1e6:.2f} M'
        assert count in words and words in page


def test_cost_counts_attention():
    attention = tiny_student().trunk.encoders[0].own[1][0].attn
    tokens, width = 5, 24
    wanted = tokens * width * 4 * width + 2 * tokens * tokens * width
    assert multiply_adds(attention, torch.zeros(1, tokens, width)) == wanted


@pytest.mark.parametrize('descriptor', ['classes', 'compact'])
def test_descriptors_have_length_one_and_depend_on_the_picture(descriptor):
    model = tiny_student(descriptor=descriptor)
    view, _ = seen()
    with torch.no_grad():
        found = model(view)
    assert found.shape == (3, 7)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert (found[0] - found[1]).norm() > 1e-4
    assert make_model('crossvit_student', {**TINY, 'size': None}).size == 1000


def test_descriptor_of_classes_is_the_mean_of_both_heads():
    model = tiny_student()
    view, _ = seen()
    with torch.no_grad():
        tokens = model.trunk([view, view])
        mean = (model.head.layers[0](tokens[0]) + model.head.layers[1](tokens[1])) / 2
        torch.testing.assert_close(model(view), mean / mean.norm(dim=1, keepdim=True))


def test_each_branch_hears_of_the_other_only_through_class_tokens():
    """With the visits silenced, the large branch does not notice the picture of the small one."""
    model = tiny_student()
    view, _ = seen()
    other = view.roll(1, dims=0)

    def large(small_view):
        with torch.no_grad():
            return model.trunk([small_view, view])[1]

    assert (large(view) - large(other)).abs().max() > 1e-5
    with torch.no_grad():
        for encoder in model.trunk.encoders:
            # Its class token returns as what the layer's bias says, whatever it has seen.
            encoder.back[1][2].weight.zero_()
    torch.testing.assert_close(large(view), large(other))


def test_a_patch_is_where_the_picture_has_it():
    """Turning the picture upside down is not turning the descriptor's sign of rows."""
    model = tiny_student()
    made = model.trunk.patches[0](torch.arange(24.0).view(1, 1, 1, 24).expand(1, 3, 24, 24))
    patches = made[0, 1:].reshape(4, 4, -1)
    # Columns differ, rows do not: patches are row by row.
    torch.testing.assert_close(patches[0], patches[3])
    assert (patches[:, 0] - patches[:, 3]).abs().max() > 0.1


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match='descriptor'):
        CrossVitSettings(descriptor='long')
    with pytest.raises(ConfigError, match='whole patches'):
        BranchSettings(25, 6, 12, 2, 1)
    with pytest.raises(ConfigError, match='heads'):
        BranchSettings(24, 6, 10, 4, 1)
    with pytest.raises(ConfigError, match=r'spatial\.points'):
        SpatialSettings(points='guess')
    with pytest.raises(ConfigError, match='wavelengths'):
        SpatialSettings(wavelengths=(2.0, 1.0))
