# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import input_statistics, make_backbone
from geoloc_core.models.backbones.circular import same_padding
from geoloc_core.models.base import parameter_count


@pytest.mark.parametrize(
    ('name', 'count'),
    [('efficientnet_b0', 4_007_548), ('efficientnet_lite0', 3_371_008), ('vgg16', 14_714_688)],
)
def test_has_as_many_parameters_as_published(name, count):
    taps = ('block5',) if name == 'vgg16' else ('head',)
    assert parameter_count(make_backbone(name, taps=taps)) == count


@pytest.mark.parametrize('name', ['efficientnet_b0', 'efficientnet_lite0'])
def test_taps_have_the_channels_and_strides_they_declare(name):
    taps = ('stem', 'stage1', 'stage2', 'stage3', 'stage5', 'stage7', 'head')
    backbone = make_backbone(name, taps=taps).eval()
    assert backbone.channels == (32, 16, 24, 40, 112, 320, 1280)
    assert backbone.strides == (2, 2, 4, 8, 16, 32, 32)
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 64, 96))
    for x, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert x.shape == (1, channels, 64 // stride, 96 // stride)


def test_nothing_past_the_last_tap_is_built():
    short = make_backbone('efficientnet_b0', taps=('stage2',))
    assert not any('stages.2' in name for name in short.state_dict())
    whole = make_backbone('efficientnet_b0', taps=('stage2', 'stage7'))
    short.load_state_dict({n: whole.state_dict()[n] for n in short.state_dict()})
    x = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(short.eval()(x)[0], whole.eval()(x)[0])


def test_odd_rest_of_same_padding_goes_to_the_end():
    assert same_padding(64, 3, 2) == (0, 1)
    assert same_padding(64, 5, 2) == (1, 2)
    assert same_padding(65, 3, 2) == (1, 1)
    assert same_padding(64, 5, 1) == (2, 2)
    assert same_padding(64, 1, 2) == (0, 0)


def test_sides_that_are_no_multiple_of_the_stride_are_rounded_up():
    backbone = make_backbone('efficientnet_lite0', taps=('stage1', 'stage3')).eval()
    with torch.no_grad():
        assert [x.shape[2:] for x in backbone(torch.zeros(1, 3, 33, 50))] == [(17, 25), (5, 7)]


def test_lite0_answers_as_its_reference_port():
    backbone = make_backbone('efficientnet_lite0', weights='imagenet', taps=('head',)).eval()
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = backbone(x)[0]
    # What efficientnet-lite-pytorch 0.1.0 says with the same weights.
    assert y.mean().item() == pytest.approx(0.0600069, abs=1e-5)
    assert y[0, :, 0, 0][:3].tolist() == pytest.approx([0.0, 0.0, 1.2265747], abs=1e-4)
    assert y[0, [423, 113], 1, 1].tolist() == pytest.approx([4.6770, 3.5056], abs=1e-3)


def test_fourth_channel_begins_unseen():
    backbone = make_backbone(
        'efficientnet_lite0', weights='imagenet', taps=('stage2',), in_channels=4
    ).eval()
    usual = make_backbone('efficientnet_lite0', weights='imagenet', taps=('stage2',)).eval()
    x = torch.randn(1, 4, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)[0], usual(x[:, :3])[0])
    assert backbone.stem.conv.weight.requires_grad


def test_each_family_says_how_its_pictures_are_normalised():
    assert input_statistics('efficientnet_lite0')[0] == pytest.approx((127 / 255,) * 3)
    assert input_statistics('efficientnet_b0')[1] == pytest.approx((0.229, 0.224, 0.225))


@pytest.mark.parametrize('taps', [(), ('stage9',), ('stage3', 'stage2'), ('stage2', 'stage2')])
def test_impossible_taps_are_named(taps):
    from geoloc_core.models.backbones.efficientnet import EfficientNet

    with pytest.raises(ConfigError, match='taps of efficientnet_b0'):
        EfficientNet('efficientnet_b0', taps)


def test_unknown_backbone_is_named():
    with pytest.raises(ConfigError, match="'resnet50'"):
        make_backbone('resnet50')
