# SPDX-License-Identifier: Apache-2.0
"""Names of all training methods; adding one is a file and a line here."""

from collections.abc import Mapping
import importlib
from typing import Any

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import settings_from
from geoloc_core.models.network import Network
from training.objectives.base import Objective

# name -> (module of this package, class); imported when asked for.
OBJECTIVES: dict[str, tuple[str, str]] = {
    'hc_net': ('hc_net', 'HcNetObjective'),
    'ccvpe': ('ccvpe', 'CcvpeObjective'),
    'g2sweakly': ('weak_triplet', 'WeakTriplet'),
    'g2sweakly_supervised': ('weak_triplet', 'SupervisedTriplet'),
    'rotation': ('rotation', 'SelfSupervisedRotation'),
    'orientation': ('orientation', 'OrientationObjective'),
    'distillation': ('distillation', 'Distillation'),
    'fusion_transformer': ('fusion_transformer', 'FusionTransformerObjective'),
    'focused_volume': ('focused_volume', 'FocusedVolume'),
    'volume': ('volume', 'VolumeLikelihood'),
    'pose_regression': ('pose_regression', 'PoseRegression'),
    'vmloc': ('vmloc', 'VmLocObjective'),
    'spatial_contrastive': ('spatial_contrastive', 'SpatialContrastive'),
    'relaxed_contrastive': ('relaxed_contrastive', 'RelaxedContrastive'),
}


def make_objective(
    name: str, model: Network, settings: Mapping[str, Any] | None = None
) -> Objective:
    """A training method around a model.

    Args:
        name: One of `OBJECTIVES`.
        model: To be trained.
        settings: Those that differ from the published ones.

    Raises:
        ConfigError: Unknown name or setting.
    """
    if name not in OBJECTIVES:
        raise ConfigError(
            f'no objective is called {name!r}: choose one of {", ".join(OBJECTIVES)}'
        )
    module, attribute = OBJECTIVES[name]
    kind = getattr(importlib.import_module(f'training.objectives.{module}'), attribute)
    return kind(model, settings_from(kind.Settings, settings or {}, f'objective {name}'))
