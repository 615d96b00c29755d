# SPDX-License-Identifier: Apache-2.0
"""ResNet: published sizes, torchvision's names, scales."""

import pytest
from safetensors.torch import save_file
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones.registry import make_backbone
from geoloc_core.models.base import parameter_count


@pytest.mark.parametrize(('name', 'count'), [('resnet18', 11_176_512), ('resnet34', 21_284_672)])
def test_published_sizes(name, count):
    assert parameter_count(make_backbone(name)) == count


def test_scales_of_a_picture_that_is_no_square():
    backbone = make_backbone('resnet18', taps=('layer1', 'layer3')).eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(2, 3, 64, 96))
    assert backbone.channels == (64, 256) and backbone.strides == (4, 16)
    assert [tuple(m.shape) for m in maps] == [(2, 64, 16, 24), (2, 256, 4, 6)]
    assert not any('layer4' in name for name in backbone.state_dict())


def test_weights_in_torchvisions_naming(tmp_path):
    source = make_backbone('resnet18')
    names = source.state_dict()
    assert {'conv1.weight', 'layer2.0.downsample.1.running_mean', 'layer4.1.bn2.bias'} <= set(
        names
    )
    path = tmp_path / 'resnet18.safetensors'
    # With the classifier, which is left out.
    save_file({**names, 'fc.weight': torch.zeros(1000, 512)}, str(path))
    wider = make_backbone('resnet18', weights=str(path), in_channels=4).eval()
    source.eval()
    picture = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        blind = wider(torch.cat([picture, torch.randn(1, 1, 32, 64)], 1))[-1]
        assert torch.allclose(blind, source(picture)[-1], atol=1e-5)


def test_unknown_taps_are_refused():
    with pytest.raises(ConfigError, match='layer4'):
        make_backbone('resnet34', taps=('layer9',))
