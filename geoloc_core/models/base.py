# SPDX-License-Identifier: Apache-2.0
"""The one interface of all cross-view networks."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import InputSpec, RasterSpec
from geoloc_core.models.belief import Belief
from geoloc_core.models.network import Network

Outputs = dict[str, Tensor]
S = TypeVar('S')


class CrossViewModel(Network):
    """A network that compares one ground view with one aerial patch.

    A subclass is built from its frozen `Settings` alone, whose defaults are the published sizes.
    `forward` gives the method's own tensors, which its objective turns into a loss; `belief`
    turns the same tensors into a volume of poses. What `belief` needs beyond them and cannot be
    learned by the published loss (temperatures, widths) lies in `calibration`, is left alone by
    training, and is fitted on validation data when training is done.

    Attributes:
        NAME: The system's, in registry, tables and bundles.
        Settings: Its frozen dataclass of settings.
        EXTRA_INPUTS: Names of further inputs of `forward` beside view and patch.
        inputs: What it is fed.
        calibration: Scalars that only `belief` uses, e.g. log_temperature.
    """

    FAMILY: ClassVar[str] = 'cross_view'

    def __init__(self, settings: Any, inputs: InputSpec) -> None:
        """Keeps the settings.

        Args:
            settings: An instance of `Settings`.
            inputs: What the network is fed with these settings.
        """
        super().__init__(settings)
        self.inputs = inputs

    @abstractmethod
    def forward(self, view: Tensor, patch: Tensor, **extra: Tensor) -> Outputs:
        """The method's tensors.

        Args:
            view: (B, C, H, W) normalised, see `normalise`.
            patch: (B, C, h, w) normalised.
            extra: `EXTRA_INPUTS`.
        """

    @abstractmethod
    def belief(self, outputs: Outputs) -> Belief:
        """What `forward`'s tensors say about the pose. Differentiable in `calibration`."""


def settings_from(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """A settings dataclass from plain values; nested ones from nested mappings.

    Args:
        kind: The dataclass.
        values: Field -> value; absent ones keep their defaults.
        where: Said in errors, e.g. 'system hc_net'.

    Raises:
        ConfigError: An unknown name.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f'{where} has no setting {unknown[0]!r}; it has {", ".join(known)}')
    made: dict[str, Any] = {}
    for name, value in values.items():
        default = getattr(kind, name, None)
        if is_dataclass(default) and isinstance(value, Mapping):
            value = settings_from(type(default), value, f'{where}.{name}')
        made[name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def normalise(image: Tensor, mask: Tensor, spec: RasterSpec) -> Tensor:
    """A network's input from pictures: the same numbers as `preprocess.normalised`.

    Args:
        image: (B, 3, H, W) uint8 RGB; three channels for each plane of a view on several.
        mask: (B, 1, H, W), where there is content.
        spec: Of the input.

    Returns:
        (B, C, H, W) float32, 0 where there is no content.
    """
    mean, std = (
        torch.tensor(values * spec.planes, device=image.device).view(1, -1, 1, 1)
        for values in (spec.mean, spec.std)
    )
    known = mask.to(torch.float32)
    scaled = (image.to(torch.float32) / 255.0 - mean) / std * known
    return torch.cat([scaled, known], dim=1) if spec.with_mask else scaled


def parameter_count(module: nn.Module) -> int:
    """Parameters of a network, frozen ones too; `calibration` is not counted."""
    return sum(p.numel() for n, p in module.named_parameters() if 'calibration.' not in n)
