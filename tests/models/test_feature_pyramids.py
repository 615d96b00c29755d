# SPDX-License-Identifier: Apache-2.0
"""Feature networks of G2SWeakly: sizes, strides, seams, what is built and what is not."""

import pytest
import torch
from torch import nn

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import Backbone
from geoloc_core.models.base import parameter_count
from geoloc_core.models.feature_dpt import DptFeatures, DptHead
from geoloc_core.models.feature_unet import UNetFeatures


class Tokens(Backbone):
    """In place of a vision transformer: two depths at a stride of 14."""

    channels = (6, 6)
    strides = (14, 14)

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 14, stride=14)

    def forward(self, image):
        x = self.embed(image)
        return [x, x.roll(1, dims=1)]


@pytest.mark.parametrize(
    ('backbone', 'deepest', 'levels'),
    [
        ('vgg16', 8, (0, 1)),
        ('efficientnet_lite0', 16, (0, 1, 2)),
        ('efficientnet_lite0', 16, (3,)),
    ],
)
def test_sizes(backbone, deepest, levels):
    net = UNetFeatures(backbone, levels, (8, 6, 4, 3), deepest=deepest, confidence=True)
    features, trust = net(torch.rand(2, 3, 32, 48))
    sizes = net.map_sizes(32, 48)
    for level in levels:
        stride = 2 ** (3 - level)
        assert sizes[level] == (32 // stride, 48 // stride)
        assert features[level].shape == (2, net.channels[level], *sizes[level])
        assert features[level].square().mean(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1], 1e-3)
        assert trust[level].shape == (2, 1, *sizes[level])
        assert trust[level].min() > 0.268
        assert trust[level].max() <= 0.5


def test_published_sizes_of_a_unet():
    net = UNetFeatures('vgg16', (1,), (256, 64, 16, 4), confidence=True)
    encoder = sum(p.numel() for p in net.encoder.parameters())
    # Three blocks of VGG16; 512 -> 128 -> 64 channels; one confidence.
    assert encoder == 1_735_488
    assert parameter_count(net) - encoder == 9 * (512 * 128 + 128 * 64) + 9 * 64 + 1
    assert net.channels == {1: 64}


def test_published_size_of_a_dpt_head():
    head = DptHead((1536,) * 4, 512, (0, 1, 2), (256, 64, 16))
    assert parameter_count(head) == pytest.approx(38.9e6, rel=0.02)


def test_rolled_panorama_rolls_features_exactly():
    torch.manual_seed(0)
    net = UNetFeatures('vgg16', (1,), (8, 4, 4, 3), circular=True).eval()
    image = torch.rand(1, 3, 16, 64)
    plain, _ = net(image)
    rolled, _ = net(image.roll(16, dims=-1))
    torch.testing.assert_close(rolled[1], plain[1].roll(4, dims=-1), atol=1e-5, rtol=1e-4)
    open_ended, _ = UNetFeatures('vgg16', (1,), (8, 4, 4, 3)).eval()(image)
    assert open_ended[1].shape == plain[1].shape


def test_dpt_covers_the_picture_whatever_its_size():
    torch.manual_seed(0)
    net = DptFeatures(Tokens(), (0, 2), (8, 6, 4), width=16)
    features, trust = net(torch.rand(1, 3, 32, 44))
    # 32 px are 2 tokens, 44 px 3.
    assert net.map_sizes(32, 44) == {0: (4, 6), 2: (16, 24)}
    assert {k: tuple(x.shape) for k, x in features.items()} == {0: (1, 8, 4, 6), 2: (1, 4, 16, 24)}
    assert trust == {}
    assert all('embed' not in name for name, _ in net.named_parameters())


def test_refusals():
    with pytest.raises(ConfigError, match='stride'):
        UNetFeatures('vgg16', (1,), (8, 4, 4, 3)).map_sizes(30, 64)
    with pytest.raises(ConfigError, match='ends at stride 4'):
        UNetFeatures('vgg16', (0,), (8, 4, 4, 3), deepest=4)
    with pytest.raises(ConfigError, match='levels of 0, 1, 2'):
        DptFeatures(Tokens(), (3,), (8, 6, 4), width=16)
