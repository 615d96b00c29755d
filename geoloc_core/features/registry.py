# SPDX-License-Identifier: Apache-2.0
"""Names of the local features; adding one is a file and a line here."""

import importlib

from geoloc_core.errors import ConfigError
from geoloc_core.features.base import AbstractFeatures

# kind -> (module of this package, class); imported when asked for.
FEATURES: dict[str, tuple[str, str]] = {
    'sift': ('sift', 'SiftFeatures'),
    'xfeat': ('xfeat', 'XFeatFeatures'),
}


def open_features(kind: str, max_features: int | None = None) -> AbstractFeatures:
    """A detector by its name.

    Args:
        kind: One of `FEATURES`.
        max_features: So many at most in a picture; None for the kind's own choice.

    Raises:
        ConfigError: Unknown, or what it needs is not installed.
    """
    if kind not in FEATURES:
        raise ConfigError(f'features {kind!r} are not known: choose one of {", ".join(FEATURES)}')
    module, name = FEATURES[kind]
    opened: AbstractFeatures = getattr(
        importlib.import_module(f'geoloc_core.features.{module}'), name
    )(max_features=max_features)
    return opened
