# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of CrossViT-Ti from a file that a user brings."""

import re

from torch import nn

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones.pretrained import load_into, read_state
from geoloc_core.models.crossvit_settings import CrossVitSettings
from geoloc_core.models.pretrained import pretrained_wanted

_CLASSES = 1000
_PARTS = {'blocks': 'own', 'projs': 'leave', 'fusion': 'cross', 'revert_projs': 'back'}


def published_name(name: str) -> str:
    """A tensor's name in the files of CrossViT's authors, or of timm, -> ours."""
    if found := re.fullmatch(r'patch_embed\.(\d)\.proj\.(\w+)', name):
        return f'patches.{found[1]}.proj.{found[2]}'
    if found := re.fullmatch(r'(pos_embed|cls_token)[._](\d)', name):
        positions = found[1] == 'pos_embed'
        return f'positions.{found[2]}' if positions else f'patches.{found[2]}.class_token'
    if found := re.fullmatch(r'blocks\.(\d)\.(\w+)\.(\d)\.(.+)', name):
        part = _PARTS.get(found[2])
        # Their perceptron names its layers, ours counts them.
        rest = found[4].replace('mlp.fc1', 'mlp.0').replace('mlp.fc2', 'mlp.2')
        return name if part is None else f'encoders.{found[1]}.{part}.{found[3]}.{rest}'
    if found := re.fullmatch(r'norm\.(\d)\.(\w+)', name):
        return f'norms.{found[1]}.{found[2]}'
    if found := re.fullmatch(r'head\.(\d)\.(\w+)', name):
        return f'layers.{found[1]}.{found[2]}'
    return name


def load_imagenet(trunk: nn.Module, head: nn.Module, settings: CrossVitSettings) -> None:
    """Fills a new network from `settings.weights`; nothing happens where that is null.

    A head that is not the published one begins at random; what else the file has and the network
    lacks (the teacher's second picture) is left out.

    Args:
        trunk: The transformer.
        head: Class tokens -> descriptor.
        settings: Of the network.

    Raises:
        ConfigError: No such file, not weights, or of another network.
    """
    if settings.weights is None or not pretrained_wanted():
        return
    state = read_state(settings.weights)
    load_into(trunk, state, published_name, settings.weights)
    if settings.descriptor == 'classes':
        if settings.size != _CLASSES:
            raise ConfigError(
                f'crossvit: {settings.weights} has {_CLASSES} classes, size is {settings.size}: '
                'leave size out, or use descriptor: compact, whose layer is not in the file'
            )
        load_into(head, state, published_name, settings.weights)
