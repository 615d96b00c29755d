# SPDX-License-Identifier: Apache-2.0
"""Names of all backbones, and the one way to make one."""

from collections.abc import Callable, Sequence
from typing import cast

from torch import nn

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones import efficientnet, hub, resnet, vgg
from geoloc_core.models.backbones.base import Backbone
from geoloc_core.models.backbones.circular import make_circular
from geoloc_core.models.backbones.pretrained import (
    efficientnet_names,
    imagenet_file,
    load_into,
    mute_extra_channels,
    read_state,
)
from geoloc_core.models.pretrained import pretrained_wanted

BACKBONES = (*efficientnet.SCALES, 'vgg16', *resnet.DEPTHS, *hub.VARIANTS)
Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
# (value - 127) / 128, as the Lite networks were trained.
LITE_MEAN: Triple = (127 / 255,) * 3
LITE_STD: Triple = (128 / 255,) * 3


def make_backbone(
    name: str,
    *,
    weights: str | None = None,
    circular: bool = False,
    in_channels: int = 3,
    taps: Sequence[str] | None = None,
) -> Backbone:
    """A backbone.

    Args:
        name: One of `BACKBONES`.
        weights: None (random), 'imagenet' (from an installed package), or the path of a file; for
            DINOv2 and ConvNeXt also what `HubBackbone.load` says.
        circular: Whether its columns wrap, for panoramas. A DINOv2 has no padding to wrap: it
            learns where the seam is.
        in_channels: Of the picture; the weights of channels past three begin at zero.
        taps: Which maps are wanted, the shallowest first; None means the usual ones (the end of
            each stride). Nothing past the last one is built.

    Raises:
        ConfigError: Unknown name or tap, weights that are missing or do not fit.
    """
    if name not in BACKBONES:
        raise ConfigError(f'no backbone is called {name!r}: choose one of {", ".join(BACKBONES)}')
    made: Backbone
    rename: Callable[[str], str] = vgg.vgg_names
    if name in hub.VARIANTS:
        made = hub.HubBackbone(name, taps, in_channels)
    elif name == 'vgg16':
        made = vgg.Vgg16(taps or vgg.DEFAULT_TAPS, in_channels)
    elif name in resnet.DEPTHS:
        made = resnet.ResNet(name, taps or resnet.TAPS, in_channels)
        rename = str
    else:
        made = efficientnet.EfficientNet(name, taps or efficientnet.DEFAULT_TAPS, in_channels)
        rename = efficientnet_names(efficientnet.block_counts(name))
    if in_channels > 3:
        mute_extra_channels(next(m for m in made.modules() if isinstance(m, nn.Conv2d)))
    if weights is not None and pretrained_wanted():
        if isinstance(made, hub.HubBackbone) and weights != 'imagenet':
            made.load(weights)
        else:
            path = imagenet_file(name) if weights == 'imagenet' else weights
            load_into(made, read_state(path), rename, str(path))
    return cast(Backbone, make_circular(made)) if circular else made


def input_statistics(name: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation of RGB in 0..1 that a backbone's weights expect."""
    if 'lite' in name:
        return LITE_MEAN, LITE_STD
    return IMAGENET_MEAN, IMAGENET_STD
