# SPDX-License-Identifier: Apache-2.0
"""Names of the families of networks; adding one is a file and a line here."""

import importlib
from typing import Any

from training.families.base import AbstractFamily

# name -> (module of this package, class); imported when asked for.
FAMILIES: dict[str, tuple[str, str]] = {
    'cross_view': ('cross_view', 'CrossViewFamily'),
    'camera_pose': ('camera_pose', 'CameraPoseFamily'),
    'descriptor': ('descriptor', 'DescriptorFamily'),
}


def family_of(model: Any) -> AbstractFamily:
    """The family of a network."""
    module, attribute = FAMILIES[getattr(model, 'FAMILY', 'cross_view')]
    made: AbstractFamily = getattr(
        importlib.import_module(f'training.families.{module}'), attribute
    )()
    return made
