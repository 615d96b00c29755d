# SPDX-License-Identifier: Apache-2.0
import os

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import make_backbone
from geoloc_core.models.backbones.pretrained import efficientnet_names
from geoloc_core.models.backbones.vgg import vgg_names

NAMES = efficientnet_names((1, 2, 2, 3, 3, 4, 1))


@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        ('_conv_stem.weight', 'stem.conv.weight'),
        ('_bn0.running_var', 'stem.norm.running_var'),
        ('_blocks.0._bn1.bias', 'stages.0.0.depthwise.norm.bias'),
        ('_blocks.2._expand_conv.weight', 'stages.1.1.expand.conv.weight'),
        ('_blocks.15._se_reduce.bias', 'stages.6.0.excite.reduce.bias'),
        ('_conv_head.weight', 'head.conv.weight'),
        ('conv_stem.weight', 'stem.conv.weight'),
        ('bn1.weight', 'stem.norm.weight'),
        ('blocks.0.0.conv_pw.weight', 'stages.0.0.project.conv.weight'),
        ('blocks.0.0.bn1.weight', 'stages.0.0.depthwise.norm.weight'),
        ('blocks.3.2.bn1.weight', 'stages.3.2.expand.norm.weight'),
        ('blocks.3.2.se.conv_expand.bias', 'stages.3.2.excite.expand.bias'),
        ('blocks.3.2.conv_pwl.weight', 'stages.3.2.project.conv.weight'),
        ('bn2.running_mean', 'head.norm.running_mean'),
        ('features.0.0.weight', 'stem.conv.weight'),
        ('features.1.0.block.2.0.weight', 'stages.0.0.project.conv.weight'),
        ('features.4.1.block.2.fc2.weight', 'stages.3.1.excite.expand.weight'),
        ('features.8.1.weight', 'head.norm.weight'),
        ('stages.3.1.project.conv.weight', 'stages.3.1.project.conv.weight'),
    ],
)
def test_namings_of_efficientnet(theirs, ours):
    assert NAMES(theirs) == ours


def test_namings_of_vgg():
    assert vgg_names('features.0.weight') == 'blocks.0.0.weight'
    assert vgg_names('features.5.bias') == 'blocks.1.1.bias'
    assert vgg_names('features.28.weight') == 'blocks.4.5.weight'
    whole = make_backbone('vgg16', taps=('block5',)).state_dict()
    theirs = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert {vgg_names(f'features.{i}.{k}') for i in theirs for k in ('weight', 'bias')} == set(
        whole
    )


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_weights_from_a_file(tmp_path, suffix):
    source = make_backbone('efficientnet_b0', taps=('stage3',))
    state = {f'module.{n}': v.contiguous() for n, v in source.state_dict().items()}
    path = str(tmp_path / f'weights{suffix}')
    if suffix == '.pth':
        torch.save({'state_dict': state, 'epoch': 3}, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    loaded = make_backbone('efficientnet_b0', weights=path, taps=('stage1', 'stage2'))
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, source.state_dict()[name])


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = str(tmp_path / 'b0.pth')
    torch.save(make_backbone('efficientnet_b0', taps=('stage2',)).state_dict(), path)
    with pytest.raises(ConfigError, match=r'lacks stages\.2\.0'):
        make_backbone('efficientnet_b0', weights=path, taps=('stage3',))
    with pytest.raises(ConfigError, match=r'expected \(48, 3, 3, 3\)'):
        make_backbone('efficientnet_b4', weights=path, taps=('stem',))
    with pytest.raises(ConfigError, match='no weights at'):
        make_backbone('vgg16', weights=str(tmp_path / 'absent.pth'))
    with pytest.raises(ConfigError, match='come with a package'):
        make_backbone('efficientnet_b0', weights='imagenet')


class Evil:
    def __reduce__(self):
        return (os.system, ('true',))


def test_a_pickle_with_code_is_refused(tmp_path):
    path = tmp_path / 'evil.pth'
    torch.save({'weight': Evil()}, path)
    with pytest.raises(ConfigError, match='plain tensors'):
        make_backbone('vgg16', weights=str(path))
    for suffix in ('pth', 'safetensors'):
        broken = tmp_path / f'broken.{suffix}'
        broken.write_bytes(b'this is not a file of weights')
        with pytest.raises(ConfigError, match=r'broken\.'):
            make_backbone('vgg16', weights=str(broken))
