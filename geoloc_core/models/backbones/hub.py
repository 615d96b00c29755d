# SPDX-License-Identifier: Apache-2.0
"""DINOv2 (Oquab et al., 2023) and ConvNeXt (Liu et al., CVPR 2022; V2: Woo et al., CVPR 2023).

Both come from the `transformers` package, which is needed only where one of them is used. Their
weights are a user's: a file, a folder that `save_pretrained` wrote, or a name on the hub.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones.base import Backbone
from geoloc_core.models.backbones.pretrained import load_into, read_state, State

_PATCH = 14
_CLS = '+cls'


@dataclass(frozen=True)
class Variant:
    """One size of a family.

    Attributes:
        family: Prefix of its classes in `transformers`.
        hub: Name of its weights there.
        sizes: Of its configuration.
    """

    family: str
    hub: str
    sizes: Mapping[str, Any]


def _vit(size: str, width: int, layers: int, heads: int) -> Variant:
    return Variant(
        'Dinov2',
        f'facebook/dinov2-{size}',
        {'hidden_size': width, 'num_hidden_layers': layers, 'num_attention_heads': heads},
    )


def _convnext(name: str, width: int, depths: tuple[int, ...]) -> Variant:
    family = 'ConvNextV2' if 'v2' in name else 'ConvNext'
    sizes = {'depths': depths, 'hidden_sizes': tuple(width * 2**i for i in range(4))}
    return Variant(family, f'facebook/{name}', sizes)


VARIANTS = {
    'dinov2_small': _vit('small', 384, 12, 6),
    'dinov2_base': _vit('base', 768, 12, 12),
    'dinov2_large': _vit('large', 1024, 24, 16),
    'convnext_tiny': _convnext('convnext-tiny-224', 96, (3, 3, 9, 3)),
    'convnext_small': _convnext('convnext-small-224', 96, (3, 3, 27, 3)),
    'convnext_base': _convnext('convnext-base-224', 128, (3, 3, 27, 3)),
    'convnextv2_atto': _convnext('convnextv2-atto-1k-224', 40, (2, 2, 6, 2)),
    'convnextv2_tiny': _convnext('convnextv2-tiny-1k-224', 96, (3, 3, 9, 3)),
}


class HubBackbone(Backbone):
    """A network of `transformers`, cut after its last tap."""

    def __init__(self, name: str, taps: Sequence[str] | None = None, in_channels: int = 3) -> None:
        """Builds the network with random weights; nothing is fetched.

        Args:
            name: One of `VARIANTS`.
            taps: Of a ConvNeXt 'stage1' to 'stage4' (strides 4 to 32; None: all four). Of a
                DINOv2 'layer1' and so on, all at stride 14, or 'layer1+cls': with the class token
                beside each cell's own (None: after each quarter of the layers, with the token,
                as GeoDistill takes them).
            in_channels: Of the picture.

        Raises:
            ConfigError: Unknown taps, or `transformers` is not installed.
        """
        super().__init__()
        self.variant = VARIANTS[name]
        self.is_vit = self.variant.family == 'Dinov2'
        sizes = dict(self.variant.sizes)
        prefix = 'layer' if self.is_vit else 'stage'
        count = sizes['num_hidden_layers'] if self.is_vit else len(sizes['depths'])
        if taps is None:
            quarters = [count * (i + 1) // 4 for i in range(4)]
            taps = [f'{prefix}{i}{_CLS if self.is_vit else ""}' for i in quarters]
        known = {f'{prefix}{i + 1}': i + 1 for i in range(count)}
        if self.is_vit:
            known |= {f'{tap}{_CLS}': i for tap, i in known.items()}
        order = [known.get(tap, 0) for tap in taps]
        if not order or 0 in order or sorted(set(order)) != order:
            raise ConfigError(
                f'taps of {name} are {list(taps)}: expected some of {prefix}1 to {prefix}{count}'
                f'{f", with or without {_CLS}," if self.is_vit else ""} in order'
            )
        self.taps = tuple(order)
        self.with_cls = tuple(tap.endswith(_CLS) for tap in taps)
        if self.is_vit:
            width = sizes['hidden_size']
            sizes |= {'num_hidden_layers': order[-1], 'image_size': 518, 'patch_size': _PATCH}
            sizes['use_mask_token'] = False
            self.channels = tuple(2 * width if cls else width for cls in self.with_cls)
            self.strides = (_PATCH,) * len(order)
        else:
            sizes = {key: list(value[: order[-1]]) for key, value in sizes.items()}
            sizes['num_stages'] = order[-1]
            self.channels = tuple(sizes['hidden_sizes'][i - 1] for i in order)
            self.strides = tuple(2 ** (i + 1) for i in order)
        library = _transformers(name)
        config = getattr(library, f'{self.variant.family}Config')
        network = getattr(library, f'{self.variant.family}Model')
        self.net: nn.Module = network(config(**sizes, num_channels=in_channels))
        # Of the last layer's output as a whole, which nothing here uses.
        self.net.layernorm = nn.Identity()

    def load(self, weights: str) -> None:
        """Takes weights over.

        Args:
            weights: 'hub' (the publisher's), a name on the hub ('owner/name'), a folder that
                `save_pretrained` wrote, or a .safetensors or .pth file in the package's naming.

        Raises:
            ConfigError: They cannot be had, or do not fit.
        """
        if Path(weights).suffix in ('.safetensors', '.pth', '.pt', '.bin'):
            state = read_state(weights)
        else:
            state = self._from_hub(self.variant.hub if weights == 'hub' else weights)
        prefix = f'{self.variant.family.lower()}.'
        load_into(self.net, state, lambda name: name.removeprefix(prefix), weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See `Backbone`. DINOv2 sees zeros right and below of what fills no whole cell."""
        if not self.is_vit:
            hidden = self.net(image, output_hidden_states=True).hidden_states
            return [hidden[i] for i in self.taps]
        height, width = image.shape[-2:]
        rows, columns = -(-height // _PATCH), -(-width // _PATCH)
        padded = F.pad(image, (0, columns * _PATCH - width, 0, rows * _PATCH - height))
        hidden = self.net(padded, output_hidden_states=True).hidden_states
        maps = []
        for i, with_cls in zip(self.taps, self.with_cls, strict=True):
            tokens = hidden[i][:, 1:]
            if with_cls:
                tokens = torch.cat([tokens, hidden[i][:, :1].expand_as(tokens)], dim=2)
            maps.append(tokens.transpose(1, 2).unflatten(2, (rows, columns)))
        return maps

    def _from_hub(self, name: str) -> State:
        network = getattr(_transformers(name), f'{self.variant.family}Model')
        try:
            state: State = network.from_pretrained(name).state_dict()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f'the weights {name!r} cannot be had: {error}; give the path of a file, of a '
                "folder that save_pretrained wrote, or a hub's name while it can be reached"
            ) from error
        return state


def _transformers(name: str) -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            f'{name} needs the package transformers, which is not installed: pip install '
            'transformers, or use an EfficientNet or vgg16'
        ) from error
    module: ModuleType = transformers
    return module
