# SPDX-License-Identifier: Apache-2.0
"""DINOv2 and ConvNeXt; left out where the optional package `transformers` is not installed."""

import sys

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import make_backbone
from geoloc_core.models.base import parameter_count


@pytest.fixture
def transformers():
    return pytest.importorskip('transformers')


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ConfigError, match='pip install transformers'):
        make_backbone('dinov2_base')


def test_impossible_taps_are_named():
    with pytest.raises(ConfigError, match='stage1 to stage4'):
        make_backbone('convnext_tiny', taps=('stage5',))
    with pytest.raises(ConfigError, match=r'layer1 to layer12, with or without \+cls'):
        make_backbone('dinov2_small', taps=('layer6', 'layer3'))


def test_dinov2_maps(transformers):
    backbone = make_backbone('dinov2_small', taps=('layer1', 'layer2+cls')).eval()
    assert backbone.channels == (384, 768) and backbone.strides == (14, 14)
    with torch.no_grad():
        a, b = backbone(torch.randn(1, 3, 30, 57))
    assert a.shape == (1, 384, 3, 5) and b.shape == (1, 768, 3, 5)
    # The class token is the same everywhere.
    torch.testing.assert_close(b[:, 384:, 0, 0], b[:, 384:, 2, 4])


def test_dinov2_rows_and_columns_are_not_mixed_up(transformers):
    torch.manual_seed(0)
    backbone = make_backbone('dinov2_small', taps=('layer1',)).eval()
    image = torch.randn(1, 3, 28, 56)
    other = image.clone()
    other[:, :, 14:, 28:42] += 3.0
    with torch.no_grad():
        change = (backbone(other)[0] - backbone(image)[0]).norm(dim=1)[0]
    assert change.argmax().item() == 1 * 4 + 2


def test_default_depths_of_dinov2(transformers):
    with torch.device('meta'):
        backbone = make_backbone('dinov2_base')
    assert backbone.taps == (3, 6, 9, 12) and backbone.channels == (1536,) * 4
    assert parameter_count(backbone) == pytest.approx(86e6, rel=0.02)


def test_convnext_maps_and_seam(transformers):
    torch.manual_seed(0)
    backbone = make_backbone('convnextv2_atto', circular=True).eval()
    assert backbone.channels == (40, 80, 160, 320) and backbone.strides == (4, 8, 16, 32)
    x = torch.randn(1, 3, 32, 96)
    with torch.no_grad():
        before, after = backbone(x), backbone(x.roll(32, dims=3))
    for a, b, stride in zip(before, after, backbone.strides, strict=True):
        assert a.shape[2:] == (32 // stride, 96 // stride)
        torch.testing.assert_close(b, a.roll(32 // stride, dims=3), rtol=1e-4, atol=1e-5)


def test_weights_from_a_folder_of_save_pretrained(transformers, tmp_path):
    config = transformers.ConvNextV2Config(depths=[2, 2, 6, 2], hidden_sizes=[40, 80, 160, 320])
    source = transformers.ConvNextV2Model(config)
    source.save_pretrained(tmp_path)
    for weights in (tmp_path, tmp_path / 'model.safetensors'):
        loaded = make_backbone(
            'convnextv2_atto', weights=str(weights), taps=('stage2',), in_channels=4
        ).eval()
        x = torch.randn(1, 4, 32, 64)
        with torch.no_grad():
            wanted = source.eval()(x[:, :3], output_hidden_states=True).hidden_states[2]
            torch.testing.assert_close(loaded(x)[0], wanted)
    with pytest.raises(ConfigError, match='cannot be had'):
        make_backbone('convnextv2_atto', weights=str(tmp_path / 'absent'))
