# SPDX-License-Identifier: Apache-2.0
"""The fusion transformer: sizes, its belief, turns, the mask, export."""

import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import parameter_count
from geoloc_core.models.belief import peak_pose
from geoloc_core.models.fusion_transformer import scaled_by_peak
from geoloc_core.models.registry import make_model
from tests.models.export_parity import assert_exports

SMALL = {
    'view_width': 128,
    'view_height': 64,
    'patch_width': 64,
    'patch_height': 96,
    'patch_gsd': 0.5,
    'backbone': 'efficientnet_lite0',
    'taps': ['stem', 'stage2', 'stage3', 'stage5'],
    'widths': [24, 24, 16, 12, 8, 6],
    'fusion_width': 16,
    'anchors': [4, 6],
    'layers': 2,
    'heads': 4,
    'yaw_stride': 8,
    'yaw_channels': 8,
    'yaw_bins': 24,
    'mask_guidance': False,
}

# Fewer stages, as the exporter's time goes with their number.
SHALLOW = {
    'taps': ['stem', 'stage2', 'stage3'],
    'widths': [16, 12, 8, 8, 6],
    'mixstyle_after': ['stage3'],
    'yaw_stride': 4,
    'layers': 1,
}


def small(seed=0, **settings):
    torch.manual_seed(seed)
    return make_model('fusion_transformer', {**SMALL, **settings}).eval()


def pictures(model, batch=2, seed=1):
    torch.manual_seed(seed)
    view, patch = model.inputs.view, model.inputs.patch
    return (
        torch.randn(batch, 3, view.height, view.width),
        torch.randn(batch, 3, patch.height, patch.width),
    )


# ---- sizes ----


def test_has_the_published_parameters_but_for_the_classifiers_nobody_runs():
    model = make_model('fusion_transformer')
    head = parameter_count(model.yaw)
    # Head of 1280 channels with its norm, 1000 classes with their biases; in both branches.
    classifiers = 2 * (320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000)
    published = parameter_count(model) - head + classifiers
    assert published / 1e6 == pytest.approx(32.70, rel=1e-3)
    assert parameter_count(model) - head == 29_314_143
    assert head == 34_401


def test_shapes_of_oblong_pictures():
    model = small(keep_attention=True)
    with torch.no_grad():
        outputs = model(*pictures(model))
        belief = model.belief(outputs)
    assert {name: tuple(t.shape) for name, t in outputs.items()} == {
        'heat': (2, 96, 64),
        'yaw_scores': (2, 16, 12, 8),
        'attention_view': (2, 2, 4, 24, 24),
        'attention_patch': (2, 2, 4, 24, 24),
    }
    assert belief.logits.shape == (2, 24, 24, 16)
    assert belief.cell_m == 2.0 and belief.closed and belief.pose.shape == (2, 3)
    torch.testing.assert_close(belief.log_prob().exp().sum(dim=(1, 2, 3)), torch.ones(2))


def test_attention_is_given_only_if_asked_for_and_changes_nothing():
    with torch.no_grad():
        model = small()
        without = model(*pictures(model))
        model.keep_attention = True
        outputs = model(*pictures(model))
    assert set(without) == {'heat', 'yaw_scores'}
    torch.testing.assert_close(outputs['heat'], without['heat'])
    rows = outputs['attention_patch'].sum(dim=-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))


# ---- belief ----


def peaked(model, row, column, yaw_bin):
    """Outputs that say one pixel and one bin of the yaw scores."""
    s = model.settings
    heat = torch.full((1, s.patch_height, s.patch_width), -2.0)
    heat[0, row, column] = 4.0
    rows, columns = s.patch_height // s.yaw_stride, s.patch_width // s.yaw_stride
    scores = torch.zeros(1, model.yaw.bins, rows, columns)
    scores[:, yaw_bin] = 8.0
    return {'heat': heat, 'yaw_scores': scores}


@pytest.mark.parametrize('half_yaw_deg, yaw_bin', [(180.0, 12), (90.0, 2)])
def test_pixels_and_bins_are_metres_and_radians(half_yaw_deg, yaw_bin):
    model = small(half_yaw_deg=half_yaw_deg, yaw_bins=25)
    outputs = peaked(model, 20, 50, yaw_bin)
    with torch.no_grad():
        belief = model.belief(outputs)
    # Right of the middle and above it; bin k of 16 is a turn by k / 16 of a circle.
    yaw = yaw_bin * 2 * math.pi / 16
    yaw = yaw - 2 * math.pi if yaw > math.pi else yaw
    expected = torch.tensor([[(50 - 31.5) * 0.5, (47.5 - 20) * 0.5, yaw]])
    torch.testing.assert_close(belief.pose, expected, atol=0.02, rtol=0)
    # The volume says the same, to within its cells of two metres.
    torch.testing.assert_close(peak_pose(belief)[:, :2], expected[:, :2], atol=1.0, rtol=0)
    torch.testing.assert_close(peak_pose(belief)[:, 2], expected[:, 2], atol=0.02, rtol=0)


def test_every_place_has_a_yaw_of_its_own():
    model = small()
    outputs = peaked(model, 20, 50, 4)
    outputs['yaw_scores'][:, :, 6:] = 0.0
    outputs['yaw_scores'][:, 14, 6:] = 8.0
    with torch.no_grad():
        upper = model.belief(outputs).pose[0, 2]
        outputs['heat'] = outputs['heat'].flip(1)
        lower = model.belief(outputs).pose[0, 2]
    assert float(upper) == pytest.approx(math.pi / 2, abs=0.02)
    assert float(lower) == pytest.approx(-math.pi / 4, abs=0.02)


def test_place_keeps_its_probability_whatever_the_yaw():
    model = small()
    outputs = peaked(model, 20, 50, 4)
    with torch.no_grad():
        belief = model.belief(outputs)
    place = belief.log_prob().exp().sum(dim=1)[0]
    scaled = outputs['heat'] / 4.0 / 0.1
    expected = scaled.flatten().softmax(0).view(24, 4, 16, 4).sum(dim=(1, 3))
    torch.testing.assert_close(place, expected, atol=1e-4, rtol=1e-4)


def test_without_the_head_yaw_is_the_prior_s():
    model = small(yaw_head=False, half_yaw_deg=30.0)
    with torch.no_grad():
        outputs = model(*pictures(model))
        belief = model.belief(outputs)
    assert set(outputs) == {'heat'}
    assert belief.pose[:, 2].abs().max() < 1e-5
    assert parameter_count(small()) - parameter_count(model) == parameter_count(small().yaw)


def test_peak_divides_each_sample_alone_unless_the_batch_is_asked_for():
    heat = torch.tensor([[[2.0, -1.0]], [[8.0, 4.0]]])
    torch.testing.assert_close(scaled_by_peak(heat), torch.tensor([[[1.0, -0.5]], [[1.0, 0.5]]]))
    torch.testing.assert_close(scaled_by_peak(heat, over_batch=True), heat / 8)
    # A map without a positive value keeps its order.
    below = scaled_by_peak(-heat)
    assert below[0, 0, 0] < below[0, 0, 1] and torch.isfinite(below).all()


def test_only_calibration_changes_how_sure_it_is():
    model = small()
    with torch.no_grad():
        outputs = model(*pictures(model))
        sure = model.belief(outputs)
        model.calibration['log_temperature'] += 1.0
        doubting = model.belief(outputs)
    assert doubting.log_prob().max() < sure.log_prob().max()
    torch.testing.assert_close(doubting.pose[:, :2], sure.pose[:, :2])
    assert {name for name, _ in model.calibration.named_parameters()} == {
        'log_temperature',
        'log_kappa',
    }


# ---- turns and shifts ----


def test_rolled_panorama_turns_the_answer_at_every_place():
    """Exactly, with any weights: what the head adds knows no direction by heart."""
    model = small()
    view, patch = pictures(model)
    # 32 of 128 px, twice the stride of the coarser map: four of sixteen bins.
    with torch.no_grad():
        before = model(view, patch)['yaw_scores']
        after = model(view.roll(32, dims=-1), patch)['yaw_scores']
    torch.testing.assert_close(after, before.roll(4, dims=1), atol=1e-4, rtol=1e-4)
    assert (after - before).abs().max() > 0.01


def test_panorama_features_meet_at_the_seam():
    model = small()
    view, _ = pictures(model)
    with torch.no_grad():
        before, after = model.view_net(view), model.view_net(view.roll(16, dims=-1))
    torch.testing.assert_close(after[-1], before[-1].roll(1, dims=-1), atol=1e-5, rtol=1e-4)


def test_shifted_patch_shifts_the_yaw_scores():
    """Away from rims and from the seam, and with features that do not see that far."""
    model = small(**SHALLOW, patch_width=256, patch_height=192, yaw_radii_m=[3.0, 6.0])
    view, patch = pictures(model, batch=1)
    with torch.no_grad():
        before = model(view, patch)['yaw_scores']
        after = model(view, patch.roll((16, -32), dims=(2, 3)))['yaw_scores']
    # Cells of 4 px: the map has moved four down and eight to the left.
    inner = (..., slice(20, 28), slice(24, 34))
    expected = before.roll((4, -8), dims=(2, 3))
    torch.testing.assert_close(after[inner], expected[inner], atol=1e-4, rtol=1e-4)
    assert (after - before)[inner].abs().max() > 0.1


# ---- MixStyle and mask ----


def test_styles_are_mixed_in_both_branches_while_learning_and_only_then():
    model = small(mixstyle_probability=1.0, fusion_dropout=0.0, decoder_dropout=0.0)
    calls = []
    model.mixstyle.register_forward_hook(lambda m, given, out: calls.append(given[0] is not out))
    view, patch = pictures(model)
    model(view, patch)
    assert calls == [False] * 4
    model.train()(view, patch)
    assert calls[4:] == [True] * 4
    names = [name for name, _ in model.named_parameters() if 'mixstyle' in name]
    assert names == []


def test_mask_is_an_input_only_where_it_guides():
    guided, plain = small(mask_guidance=True), small()
    assert guided.EXTRA_INPUTS == ('patch_classes',) and plain.EXTRA_INPUTS == ()
    view, patch = pictures(guided)
    mask = torch.zeros(2, 1, 96, 64)
    with torch.no_grad():
        empty = guided(view, patch, patch_classes=mask)['heat']
        mask[:, :, :40] = 1
        half = guided(view, patch, patch_classes=mask)['heat']
    assert (empty - half).abs().max() > 1e-6
    with pytest.raises(ConfigError, match='guided by a mask: give patch_classes'):
        guided(view, patch)


@pytest.mark.parametrize(
    'wrong, words',
    [
        ({'view_width': 100}, 'view_width is 100, expected a multiple of 16'),
        ({'patch_height': 90}, 'patch_height is 90'),
        ({'widths': [8, 8, 8]}, 'widths is .* expected 6 of them, two more than taps'),
        (
            {'taps': ['stem', 'stage2', 'stage5', 'stage7'], 'mixstyle_after': []},
            'expected 2, 4, 8',
        ),
        ({'mixstyle_after': ['stage7']}, 'mixstyle_after'),
        ({'mixstyle_after': ['stem']}, 'not the stem'),
        ({'yaw_stride': 16}, 'yaw_stride is 16'),
        ({'yaw_radii_m': []}, 'yaw_radii_m'),
        ({'cell_px': 5}, 'cell_px is 5'),
        ({'yaw_bins': 2}, 'yaw_bins is 2'),
        ({'half_yaw_deg': 0.0}, 'half_yaw_deg'),
        ({'backbone': 'vgg16'}, 'an EfficientNet'),
        ({'anchor': [4, 4]}, "no setting 'anchor'"),
    ],
)
def test_refuses_settings_that_do_not_fit(wrong, words):
    with pytest.raises(ConfigError, match=words):
        small(**wrong)


# ---- export ----


def test_exports():
    assert_exports(small(**SHALLOW))


@pytest.mark.slow
def test_exports_with_mask_and_without_yaw():
    model = small(**SHALLOW, mask_guidance=True, yaw_head=False, half_yaw_deg=20.0)
    mask = (torch.arange(96 * 64).view(1, 1, 96, 64) % 3 == 0).float()
    assert_exports(model, extras={'patch_classes': mask})
