# SPDX-License-Identifier: Apache-2.0
"""What a recipe feeds to its network, after all augmentation: a look before hours of training.

Sample by sample, as the network takes them; not what an objective adds, nor which ones it puts
into one batch.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.visualization.ink import heat_colours
from training.loading import Batch
from training.loop.data import training_batches, Wanted
from training.loop.settings import Config

Image = NDArray[np.uint8]


def fed_pictures(
    config: Config, root: Path | None, count: int, side: int
) -> list[tuple[Image, str]]:
    """The first samples of a run, each with a caption.

    Args:
        config: Of the run.
        root: The data's folder, in place of the settings'.
        count: How many.
        side: Width of each picture, px.

    Raises:
        ConfigError: The settings do not fit the data, or there is no picture in what it is fed.
        DataError: The data cannot be read, or has fewer samples.
    """
    from geoloc_core.models.registry import make_model

    # Weights do not matter to what is fed.
    settings = {**config.system.settings}
    if 'weights' in settings:
        settings['weights'] = None
    model = make_model(config.system.name, settings)
    _, loader = training_batches(
        replace(config.data, workers=0), Wanted(model), count, config.seed,
        root=root, rank=0, world=1, pin=False,
    )  # fmt: skip
    batch: Batch = next(iter(loader))
    arrays = {name: tensor.numpy() for name, tensor in batch.tensors.items()}
    rows = [[p for a in arrays.values() for p in _picture(a[i], side)] for i in range(len(batch))]
    if not rows or not rows[0]:
        raise ConfigError(f'{model.NAME} is fed {", ".join(arrays) or "nothing"}: no picture')
    return [(_side_by_side(row), key) for row, key in zip(rows, batch.keys, strict=True)]


def _picture(array: NDArray, side: int) -> list[Image]:
    """Colours (3, H, W) as they are, depth (1, H, W) from near to far; nothing of others."""
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        return []
    height = round(side * array.shape[1] / array.shape[2])
    if array.dtype == np.uint8 and array.shape[0] == 3:
        image = np.ascontiguousarray(array.transpose(1, 2, 0))
    elif array.dtype == np.float32 and array.shape[0] == 1:
        known = np.isfinite(array[0])
        far = np.percentile(array[0][known], 99) if known.any() else 1.0
        image = heat_colours(array[0] / max(far, 1e-6)) * known[..., None].astype(np.uint8)
    else:
        return []
    return [cv2.resize(image, (side, height), interpolation=cv2.INTER_NEAREST)]


def _side_by_side(pictures: list[Image]) -> Image:
    tallest = max(p.shape[0] for p in pictures)
    padded = [
        cv2.copyMakeBorder(p, 0, tallest - len(p), 0, 4, cv2.BORDER_CONSTANT) for p in pictures
    ]
    return np.hstack(padded)
