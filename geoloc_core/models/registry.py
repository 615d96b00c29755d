# SPDX-License-Identifier: Apache-2.0
"""Names of all cross-view systems; adding one is a file and a line here."""

from collections.abc import Mapping
import importlib
from typing import Any

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import CrossViewModel, settings_from

# name -> (module of this package, class); imported when asked for.
MODELS: dict[str, tuple[str, str]] = {
    'hc_net': ('hc_net', 'HcNet'),
    'ccvpe': ('ccvpe', 'Ccvpe'),
    'g2sweakly': ('g2sweakly', 'G2SWeakly'),
    'geodistill': ('geodistill', 'GeoDistill'),
    'fusion_transformer': ('fusion_transformer', 'FusionTransformer'),
    'orienternet_aerial': ('orienternet_aerial', 'OrienterNetAerial'),
    'geoloc': ('geoloc_net', 'GeolocNet'),
}


def model_class(name: str) -> type[CrossViewModel]:
    """The class of a system.

    Raises:
        ConfigError: No such name.
    """
    if name not in MODELS:
        raise ConfigError(f'no system is called {name!r}: choose one of {", ".join(MODELS)}')
    module, attribute = MODELS[name]
    kind: type[CrossViewModel] = getattr(
        importlib.import_module(f'geoloc_core.models.{module}'), attribute
    )
    return kind


def make_model(name: str, settings: Mapping[str, Any] | None = None) -> CrossViewModel:
    """A system with fresh weights.

    Args:
        name: One of `MODELS`.
        settings: Those that differ from the published ones.

    Raises:
        ConfigError: Unknown name or setting.
    """
    kind: Any = model_class(name)
    made: CrossViewModel = kind(settings_from(kind.Settings, settings or {}, f'system {name}'))
    return made
