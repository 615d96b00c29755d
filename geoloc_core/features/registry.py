# SPDX-License-Identifier: Apache-2.0
"""Names of the local features and of what matches them; adding one is a file and a line."""

import importlib

from geoloc_core.errors import ConfigError
from geoloc_core.features.base import AbstractFeatures, AbstractMatcher

# kind -> (module of this package, class); imported when asked for.
FEATURES: dict[str, tuple[str, str]] = {
    'sift': ('sift', 'SiftFeatures'),
    'xfeat': ('xfeat', 'XFeatFeatures'),
}

# kind of features -> (module, class) of the network that matches them best.
MATCHERS: dict[str, tuple[str, str]] = {'xfeat': ('lighterglue', 'LighterGlue')}


def open_matcher(features: str) -> AbstractMatcher | None:
    """The network that was trained to match a kind of features; None where there is none.

    Raises:
        ConfigError: What it needs is not installed.
    """
    if features not in MATCHERS:
        return None
    module, name = MATCHERS[features]
    opened: AbstractMatcher = getattr(
        importlib.import_module(f'geoloc_core.features.{module}'), name
    )()
    return opened


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
