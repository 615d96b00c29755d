# SPDX-License-Identifier: Apache-2.0
"""The layouts that can be written, by name. A new one is a file, a line here and a test."""

import importlib
from typing import TYPE_CHECKING

from geoloc_core.errors import ConfigError

if TYPE_CHECKING:
    from geoloc_core.simulation.layouts.base import LayoutWriter

# Name -> 'module:class', imported when asked for.
LAYOUTS: dict[str, str] = {
    'vigor': 'vigor:VigorWriter',
    'kitti': 'kitti:KittiWriter',
    'ford': 'ford:FordWriter',
    'robotcar': 'robotcar:RobotCarWriter',
    'robotcar-rgbd': 'robotcar:RobotCarRgbdWriter',
    'cvusa': 'cvusa:CvusaWriter',
    'cvact': 'cvact:CvactWriter',
    '7scenes': 'seven_scenes:SevenScenesWriter',
    '7scenes-streets': 'seven_scenes:StreetScenesWriter',
    'tum': 'tum:TumWriter',
    'aachen': 'aachen:AachenWriter',
}


def layout(name: str) -> 'type[LayoutWriter]':
    """The writer of a layout.

    Raises:
        ConfigError: No layout has that name.
    """
    if name not in LAYOUTS:
        raise ConfigError(f'unknown layout {name!r}: choose one of {", ".join(LAYOUTS)}')
    module, _, writer = LAYOUTS[name].partition(':')
    found: type[LayoutWriter] = getattr(importlib.import_module(f'{__package__}.{module}'), writer)
    return found
