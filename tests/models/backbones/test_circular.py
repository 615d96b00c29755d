# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import make_backbone
from geoloc_core.models.backbones.circular import make_circular, wrap_columns


@pytest.mark.parametrize('name', ['efficientnet_b0', 'efficientnet_lite0', 'vgg16'])
def test_rolling_a_panorama_rolls_its_features_exactly(name):
    taps = ('block2', 'block4') if name == 'vgg16' else ('stage2', 'stage7')
    torch.manual_seed(0)
    backbone = make_backbone(name, circular=True, taps=taps).eval()
    stride = backbone.strides[-1]
    x = torch.randn(1, 3, 64, 4 * stride)
    with torch.no_grad():
        before, after = backbone(x), backbone(x.roll(stride, dims=3))
    for a, b, s in zip(before, after, backbone.strides, strict=True):
        torch.testing.assert_close(b, a.roll(stride // s, dims=3), rtol=1e-5, atol=1e-6)
        assert (b - a.roll(-stride // s, dims=3)).abs().max() > 0.01 * a.abs().max()


def test_ordinary_padding_has_a_seam():
    torch.manual_seed(0)
    backbone = make_backbone('efficientnet_lite0', taps=('stage2',)).eval()
    x = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        a, b = backbone(x)[0], backbone(x.roll(4, dims=3))[0]
    assert (b - a.roll(1, dims=3)).abs().max() > 1e-3


def test_top_and_bottom_do_not_meet():
    torch.manual_seed(0)
    backbone = make_backbone('efficientnet_lite0', circular=True, taps=('stage1',)).eval()
    x = torch.zeros(1, 3, 64, 64)
    x[:, :, -1] = 1.0
    with torch.no_grad():
        difference = (backbone(x)[0] - backbone(torch.zeros_like(x))[0]).abs()
    assert difference[:, :, 0].max() < 1e-6 < difference[:, :, -1].max()


LAYERS = [
    (nn.Conv2d(2, 3, 3, padding=1), 1),
    (nn.Conv2d(2, 3, (3, 5), padding=(1, 2)), 1),
    (nn.Conv2d(2, 4, 7, padding=3, stride=2, groups=2), 2),
    (nn.Conv2d(2, 3, 3, padding=2, dilation=2), 1),
    (nn.Conv2d(2, 3, 5, padding='same'), 1),
    (nn.MaxPool2d(3, stride=2, padding=1), 2),
    (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), 2),
    (nn.Sequential(nn.ZeroPad2d((1, 2, 0, 3)), nn.Conv2d(2, 3, 4)), 1),
]


@pytest.mark.parametrize(('layer', 'stride'), LAYERS, ids=lambda x: str(x)[:40])
def test_any_layer_that_pads_can_wrap(layer, stride):
    size = layer(torch.zeros(1, 2, 8, 12)).shape
    circular = make_circular(layer)
    x = torch.randn(1, 2, 8, 12)
    with torch.no_grad():
        a, b = circular(x), circular(x.roll(2 * stride, dims=3))
    assert a.shape == size
    torch.testing.assert_close(b, a.roll(2, dims=3))


def test_only_the_edges_change():
    """Away from the seam a layer answers as it did before: the odd padding keeps its side."""
    torch.manual_seed(0)
    make = lambda circular: make_backbone(  # noqa: E731
        'efficientnet_lite0', weights='imagenet', circular=circular, taps=('stage1',)
    ).eval()
    x = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        plain, circular = make(False)(x)[0], make(True)(x)[0]
    torch.testing.assert_close(plain[..., 4:-4], circular[..., 4:-4])
    assert (plain[..., -1] - circular[..., -1]).abs().max() > 1e-3


def test_weights_keep_their_names():
    names = list(make_backbone('vgg16', taps=('block2',)).state_dict())
    assert list(make_backbone('vgg16', taps=('block2',), circular=True).state_dict()) == names


def test_layers_that_cannot_wrap_are_named():
    for layer in (nn.ConvTranspose2d(1, 1, 4, stride=2), nn.ReflectionPad2d(1)):
        with pytest.raises(ConfigError, match='cannot wrap'):
            make_circular(nn.Sequential(layer))
    with pytest.raises(ConfigError, match="'reflect'"):
        make_circular(nn.Conv2d(1, 1, 3, padding=1, padding_mode='reflect'))
    with pytest.raises(ConfigError, match='too narrow'):
        wrap_columns(torch.zeros(1, 1, 2, 2), 3, 0)


@pytest.mark.parametrize('sides', [(0, 1), (2, 0), (3, 2)])
@pytest.mark.parametrize('order', [torch.contiguous_format, torch.channels_last])
def test_wrapping_is_what_torch_calls_circular(sides, order):
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=order).requires_grad_()
    other = x.detach().clone().requires_grad_()
    wrapped = wrap_columns(x, *sides)
    expected = nn.functional.pad(other, (*sides, 0, 0), mode='circular')
    torch.testing.assert_close(wrapped, expected)
    weight = torch.randn_like(expected)
    (wrapped * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, other.grad)


def test_wrapping_keeps_the_channels_of_a_pixel_together():
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    wrapped = wrap_columns(x, 1, 1)
    assert wrapped.is_contiguous(memory_format=torch.channels_last)
    wrapped.backward(torch.ones_like(wrapped))
    assert x.grad.is_contiguous(memory_format=torch.channels_last)
