# SPDX-License-Identifier: Apache-2.0
"""Semantic masks of VIGOR's tiles: `<City>/point_prompt_mask/<tile>_mask.tif`.

They are not part of VIGOR: the authors of the fusion transformer made theirs with a segmenter
that was prompted with points, and rendered data sets bring exact ones. Any value > 0 counts.
"""

from collections.abc import Sequence
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from training.datasets.base import read_raw

log = logging.getLogger(__name__)

MASK_FOLDER = 'point_prompt_mask'


def mask_path(city: Path, tile: str) -> Path:
    """Where the mask of a tile lies, by the tile's file name."""
    return city / MASK_FOLDER / f'{tile.rpartition(".")[0]}_mask.tif'


def require_masks(cities: Sequence[Path]) -> None:
    """Refuses a data set without any folder of masks.

    Raises:
        DataError: None of the cities has one.
    """
    if any((city / MASK_FOLDER).is_dir() for city in cities):
        return
    raise DataError(
        f'{", ".join(str(city / MASK_FOLDER) for city in cities)}: no such folder, and masks are '
        'asked for; put satellite_<lat>_<lon>_mask.tif of the tiles there, or set masks: false'
    )


def absent_masks(cities: Sequence[Path], wanted: Sequence[Path]) -> frozenset[Path]:
    """Which masks are not there; how many is logged.

    Args:
        cities: Folders of the cities.
        wanted: The mask of each sample.
    """
    present = {path for city in cities for path in (city / MASK_FOLDER).glob('*')}
    absent = frozenset(path for path in wanted if path not in present)
    if absent:
        count = sum(path in absent for path in wanted)
        log.warning(
            '%d of %d samples have no semantic mask (e.g. %s is absent): theirs are all 0',
            count, len(wanted), min(absent),
        )  # fmt: skip
    return absent


def read_mask(path: Path | None, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask like its tile (H, W); all 0 without a file, as the method's authors have it.

    Raises:
        UnreadableError: The file is damaged, or has gone since it was looked for.
        DataError: It is not one uint8 a pixel.
    """
    if path is None:
        return np.zeros(shape, np.uint8)
    mask = read_raw(path)
    if mask.shape != shape or mask.dtype != np.uint8:
        raise DataError(
            f'{path}: a mask of shape {mask.shape}, {mask.dtype}; expected one uint8 class per '
            f'pixel of the tile, {shape}'
        )
    return mask
