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
# Where a mistaken path is set right: so many levels up, and in so many folders below it.
_LEVELS_UP = 3
_MAX_FOLDERS = 100
_MAX_NAMED = 3


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


def layouts_of(root: Path) -> list[str]:
    """Names of the data sets that a folder (or a bag) looks like."""
    return [name for name in READERS if reader(name).recognises(root)]


def nearby(root: Path, name: str | None = None) -> str:
    """What a folder that is not the right one may have been meant to be, as half a sentence.

    Args:
        root: Where nothing was recognised.
        name: Only this data set; any if None.

    Returns:
        '; did you mean PATH (name)?' of folders above and below, or ''.
    """
    here = root if root.is_dir() else root.parent
    below = sorted(p for p in here.iterdir() if p.is_dir()) if here.is_dir() else []
    # Both '.' and a link have parents that their path does not name.
    above = [here, *here.absolute().parents[:_LEVELS_UP]]
    found = []
    for folder in (*below[:_MAX_FOLDERS], *above):
        try:
            names = [n for n in layouts_of(folder) if folder != root and name in (None, n)]
        except OSError:
            # Not ours to look into, so not what was meant.
            continue
        # Any folder with a bag in it is a folder of bags: above, that is no hint.
        names = [n for n in names if n != 'bag' or folder in below]
        found += [f'{folder} ({" or ".join(names)})'] if names else []
    if not found:
        return ''
    more = f' or {len(found) - _MAX_NAMED} more' if len(found) > _MAX_NAMED else ''
    return f'; did you mean {", ".join(found[:_MAX_NAMED])}{more}?'


def recognise(root: Path) -> str:
    """Which data set lies in a folder.

    Raises:
        DataError: No folder, none is recognised, or more than one is.
    """
    if not root.exists():
        raise DataError(f'{root}: no such folder')
    found = layouts_of(root)
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f'{root} looks like {" and like ".join(found)}: name it with --layout')
    hint = nearby(root) or ': `geoloc data list` shows how each must lie on disk'
    kind = 'is laid out like no' if root.is_dir() else 'is a file, not the folder of a'
    raise DataError(f'{root} {kind} data set that is known here{hint}')
