# SPDX-License-Identifier: Apache-2.0
"""Names of all systems; adding one is a file and a line here."""

from collections.abc import Mapping
import importlib
from typing import Any

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import settings_from
from geoloc_core.models.network import Network

# Cross-view systems: name -> (module of this package, class); imported when asked for.
MODELS: dict[str, tuple[str, str]] = {
    'hc_net': ('hc_net', 'HcNet'),
    'ccvpe': ('ccvpe', 'Ccvpe'),
    'g2sweakly': ('g2sweakly', 'G2SWeakly'),
    'geodistill': ('geodistill', 'GeoDistill'),
    'fusion_transformer': ('fusion_transformer', 'FusionTransformer'),
    'orienternet_aerial': ('orienternet_aerial', 'OrienterNetAerial'),
    'geoloc': ('geoloc_net', 'GeolocNet'),
}

# Networks of a mapped place, of other families (`network.Network.FAMILY`).
PLACES: dict[str, tuple[str, str]] = {
    'vmloc': ('vmloc', 'VmLoc'),
    'pose_concatenation': ('pose_baselines', 'PoseConcatenation'),
    'atloc': ('pose_baselines', 'AtLoc'),
    'crossvit_student': ('crossvit', 'CrossVitStudent'),
    'crossvit_teacher': ('crossvit_teacher', 'CrossVitTeacher'),
}


def known_models() -> dict[str, tuple[str, str]]:
    """Every name there is, of all families."""
    return {**MODELS, **PLACES}


def model_class(name: str) -> type[Network]:
    """The class of a system.

    Raises:
        ConfigError: No such name.
    """
    known = known_models()
    if name not in known:
        raise ConfigError(f'no system is called {name!r}: choose one of {", ".join(known)}')
    module, attribute = known[name]
    kind: type[Network] = getattr(
        importlib.import_module(f'geoloc_core.models.{module}'), attribute
    )
    return kind


def make_model(name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """A system with fresh weights: a `CrossViewModel`, or a `Network` of another family.

    Args:
        name: One of `MODELS` or `PLACES`.
        settings: Those that differ from the published ones.

    Raises:
        ConfigError: Unknown name or setting.
    """
    kind: Any = model_class(name)
    return kind(settings_from(kind.Settings, settings or {}, f'system {name}'))
