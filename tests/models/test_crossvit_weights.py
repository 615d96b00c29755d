# SPDX-License-Identifier: Apache-2.0
"""Weights of CrossViT from files: the published ones by their own names, and our own."""

from dataclasses import replace

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.crossvit_weights import published_name
from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import load_weights, save_weights
from tests.models.crossvit_networks import seen, TINY, tiny_student, tiny_teacher


@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        ('patch_embed.1.proj.weight', 'patches.1.proj.weight'),
        ('pos_embed_0', 'positions.0'),
        ('pos_embed.1', 'positions.1'),
        ('cls_token.0', 'patches.0.class_token'),
        ('blocks.2.blocks.1.3.attn.qkv.bias', 'encoders.2.own.1.3.attn.qkv.bias'),
        ('blocks.0.blocks.0.0.mlp.fc2.weight', 'encoders.0.own.0.0.mlp.2.weight'),
        ('blocks.1.projs.0.2.weight', 'encoders.1.leave.0.2.weight'),
        ('blocks.1.fusion.1.attn.wk.weight', 'encoders.1.cross.1.attn.wk.weight'),
        ('blocks.1.revert_projs.0.0.bias', 'encoders.1.back.0.0.bias'),
        ('norm.1.weight', 'norms.1.weight'),
        ('head.0.bias', 'layers.0.bias'),
    ],
)
def test_names_of_published_files(theirs, ours):
    assert published_name(theirs) == ours


def published_file(model, path):
    """A file of the model's weights in the naming of CrossViT's authors."""
    state = {}
    for name, value in model.state_dict().items():
        part, rest = name.split('.', 1)
        if part == 'head':
            state['head.' + rest.removeprefix('layers.')] = value
            continue
        if rest.startswith('patches'):
            branch, kind = rest.split('.')[1], rest.split('.', 2)[2]
            new = (
                f'cls_token.{branch}' if kind == 'class_token' else f'patch_embed.{branch}.{kind}'
            )
        elif rest.startswith('positions'):
            new = rest.replace('positions', 'pos_embed')
        elif rest.startswith('norms'):
            new = rest.replace('norms', 'norm')
        else:
            new = rest.replace('encoders', 'blocks', 1)
            for ours, theirs in (
                ('.own.', '.blocks.'),
                ('.leave.', '.projs.'),
                ('.cross.', '.fusion.'),
                ('.back.', '.revert_projs.'),
                ('mlp.0', 'mlp.fc1'),
                ('mlp.2', 'mlp.fc2'),
            ):
                new = new.replace(ours, theirs)
        state[new] = value
    torch.save(state, path)


def test_imagenet_weights_come_from_a_file(tmp_path):
    path = tmp_path / 'tiny.pth'
    source = tiny_student()
    published_file(source, path)
    view, _ = seen()
    with pytest.raises(ConfigError, match='1000 classes'):
        tiny_student(weights=str(path))
    compact = make_model(
        'crossvit_student', {**TINY, 'descriptor': 'compact', 'weights': str(path)}
    )
    with torch.no_grad():
        for wanted, found in zip(
            source.trunk([view, view]), compact.trunk([view, view]), strict=True
        ):
            torch.testing.assert_close(wanted, found)
    settings = {**TINY, 'descriptor': 'compact', 'weights': str(path)}
    teacher = make_model('crossvit_teacher', settings)
    torch.testing.assert_close(teacher.trunk.positions[1], source.trunk.positions[1])
    with pytest.raises(ConfigError, match='no weights at'):
        tiny_student(weights=str(tmp_path / 'absent.pth'))
    with pytest.raises(ConfigError, match='another'):
        tiny_student(weights=str(path), small=replace(TINY['small'], width=24))


@pytest.mark.parametrize('name', ['crossvit_student', 'crossvit_teacher'])
def test_weights_go_to_a_file_and_back(tmp_path, name):
    model = tiny_student() if name.endswith('student') else tiny_teacher(encoding='rotary')
    save_weights(tmp_path / 'a.safetensors', model)
    again = load_weights(tmp_path / 'a.safetensors')
    assert again.settings == model.settings
    view, extra = seen()
    extra = extra if model.EXTRA_INPUTS else {}
    with torch.no_grad():
        torch.testing.assert_close(again(view, **extra), model(view, **extra))
