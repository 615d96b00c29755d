# SPDX-License-Identifier: Apache-2.0
"""Names of all data sets and where their readers are; adding one is a file and a line here."""

import importlib
from pathlib import Path

from geoloc_core.errors import DataError
from training.datasets.base import AbstractDataset

# name -> (module of this package, class); imported when asked for.
READERS: dict[str, tuple[str, str]] = {
    'vigor': ('vigor', 'Vigor'),
    'cvusa': ('pairs', 'Cvusa'),
    'cvact': ('pairs', 'Cvact'),
    'kitti': ('kitti_crossview', 'KittiCrossView'),
    'ford': ('ford', 'Ford'),
    'robotcar': ('robotcar_crossview', 'RobotCarCrossView'),
    'robotcar-rgbd': ('robotcar_rgbd', 'RobotCarRgbd'),
    '7scenes': ('seven_scenes', 'SevenScenes'),
    'tum': ('tum_rgbd', 'TumRgbd'),
    'aachen': ('aachen', 'Aachen'),
    'bag': ('bags', 'Bags'),
}


def reader(name: str) -> type[AbstractDataset]:
    """The reader's class of a data set.

    Raises:
        DataError: No such name.
    """
    if name not in READERS:
        raise DataError(f'no reader is called {name!r}: choose one of {", ".join(READERS)}')
    module, attribute = READERS[name]
    return getattr(importlib.import_module(f'training.datasets.{module}'), attribute)


def open_dataset(name: str, root: Path | str, split: str, **options) -> AbstractDataset:
    """Opens a data set.

    Args:
        name: One of `READERS`.
        root: Folder as the publisher's archives unpack.
        split: One of the reader's `SPLITS`.
        options: Further arguments of that reader, e.g. seed, protocol.

    Raises:
        DataError: Unknown name, folder or split, or damaged label files.
    """
    return reader(name)(root, split, **options)


def recognise(root: Path) -> str:
    """Which data set lies in a folder.

    Raises:
        DataError: No folder, none is recognised, or more than one is.
    """
    if not root.exists():
        raise DataError(f'{root}: no such folder')
    found = [name for name in READERS if reader(name).recognises(root)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f'{root} looks like {" and like ".join(found)}: name it with --layout')
    trees = '\n'.join(f'{name}:\n{reader(name).LAYOUT}' for name in READERS)
    raise DataError(f'{root} is laid out like no data set that is known here.\n{trees}')
