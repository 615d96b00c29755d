# SPDX-License-Identifier: Apache-2.0
"""The orientations with which two papers turned VIGOR's test panoramas, once and for all.

Both give degrees from north, but count them in opposite directions (`angles`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import angles

Array = NDArray[np.float64]

_NORTH = np.pi / 2
_SLICEMATCH_PATTERN = '*_Orientations_Degrees.txt'


def by_order(path: Path, count: int) -> Array:
    """CCVPE's `{samearea,crossarea}_orientation_test.npy`: one angle a panorama, in test order.

    The order is that of the label files, cities as in `vigor_labels.CITIES`. Nothing in the file
    says so, hence it must have exactly as many angles as there are test panoramas.

    Args:
        path: The file; degrees, counter-clockwise.
        count: Test panoramas of all the protocol's cities.

    Returns:
        (count,) rad CCW from north.

    Raises:
        DataError: The file cannot be read, or its length differs.
    """
    try:
        degrees = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f'{path}: cannot be read as an array of angles: {error}') from error
    if degrees.shape != (count,) or not np.isfinite(degrees).all():
        raise DataError(
            f'{path}: {degrees.shape} values; expected one finite angle for each of the {count} '
            'test panoramas of all cities. Same-area and cross-area tests have a file each, and '
            'the label files must be whole'
        )
    return angles.difference(angles.yaw_from_ccvpe_vigor_deg(degrees), _NORTH)


def by_name(path: Path, names: Sequence[str]) -> Array:
    """SliceMatch's `*_Orientations_Degrees.txt`: a panorama's name and its angle a line.

    Args:
        path: One such file, or a folder with one per city; degrees, clockwise.
        names: Panoramas whose angles are wanted.

    Returns:
        (len(names),) rad CCW from north.

    Raises:
        DataError: No file, a line that is not a name and an angle, a name with two angles, or a
            panorama without one.
    """
    paths = sorted(path.rglob(_SLICEMATCH_PATTERN)) if path.is_dir() else [path]
    degrees: dict[str, float] = {}
    for each in paths:
        _read_names(each, degrees)
    absent = [name for name in names if name not in degrees]
    if absent:
        raise DataError(
            f'{path}: no orientation for {len(absent)} of {len(names)} panoramas, e.g. '
            f'{absent[0]}; looked in {len(paths)} files ({_SLICEMATCH_PATTERN})'
        )
    heading_deg = np.array([degrees[name] for name in names])
    return angles.difference(angles.yaw_from_slicematch_deg(heading_deg), _NORTH)


def _read_names(path: Path, degrees: dict[str, float]) -> None:
    try:
        lines = path.read_text(encoding='ascii').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: cannot be read as text: {error}') from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, value = line.strip().replace('\t', ' ').rpartition(' ')
        name = name.strip()
        try:
            angle = float(value)
        except ValueError:
            angle = np.nan
        if not name or not np.isfinite(angle):
            raise DataError(
                f'{path}, line {number}: {line[:80]!r}; expected a panorama and degrees'
            )
        if degrees.setdefault(name, angle) != angle:
            raise DataError(f'{path}, line {number}: a second, different orientation of {name}')
