# SPDX-License-Identifier: Apache-2.0
"""RGB-D frames as they come from a robot on a bad day, each fault alone and always the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from training.datasets.base import AbstractDataset
from training.datasets.sample import Sample

Damage = Callable[[Sample, int, AbstractDataset], Sample]

# Frames between a picture and the depth that came with it, where depth is stale.
STALE_FRAMES = 3
_WRONG_SCALE = 1.25
_DARK = 0.15
_STREAM = 0x646567


@dataclass(frozen=True)
class Condition:
    """One way in which frames are less than they should be.

    Attributes:
        name: In tables.
        present: Whether colour, and depth, reach the network.
        damage: What happens to a sample: itself, its index, and the data set it is of.
    """

    name: str
    present: tuple[bool, bool] = (True, True)
    damage: Damage | None = None


def covered(sample: Sample, index: int, dataset: AbstractDataset) -> Sample:
    """Half of the picture, left or right, is hidden from both sensors."""
    view = sample.view
    width = view.image.shape[1]
    half = slice(0, width // 2) if index % 2 else slice(width // 2, width)
    image = view.image.copy()
    image[:, half] = 0
    depth = view.depth
    if depth is not None:
        depth = depth.copy()
        depth[:, half] = np.nan
    return replace(sample, view=replace(view, image=image, depth=depth))


def stale_depth(sample: Sample, index: int, dataset: AbstractDataset) -> Sample:
    """Depth is that of an earlier frame (a later one at the beginning)."""
    other = index - STALE_FRAMES if index >= STALE_FRAMES else index + STALE_FRAMES
    depth = dataset.sample(min(other, len(dataset) - 1)).view.depth
    if depth is None or sample.view.depth is None:
        return sample
    rows, columns = sample.view.depth.shape
    picked = depth[
        (np.arange(rows) * depth.shape[0] // rows)[:, None],
        np.arange(columns) * depth.shape[1] // columns,
    ]
    return replace(sample, view=replace(sample.view, depth=picked))


def scaled_depth(sample: Sample, index: int, dataset: AbstractDataset) -> Sample:
    """All depth is a quarter too long."""
    return _with_depth(sample, lambda depth: depth * np.float32(_WRONG_SCALE))


def sparse_depth(sample: Sample, index: int, dataset: AbstractDataset) -> Sample:
    """Three of four pixels of depth are lost."""
    lost = _rng(index).uniform(size=sample.view.image.shape[:2]) < 0.75
    return _with_depth(sample, lambda depth: np.where(lost, np.float32(np.nan), depth))


def blocked(sample: Sample, index: int, dataset: AbstractDataset) -> Sample:
    """Half of an 8 x 8 board of blocks, drawn, is black in colour and unknown in depth."""
    view = sample.view
    rows, columns = view.image.shape[:2]
    board = _rng(index).permutation(64).reshape(8, 8) < 32
    hidden = board[(np.arange(rows) * 8 // rows)[:, None], np.arange(columns) * 8 // columns]
    damaged = _with_depth(sample, lambda depth: np.where(hidden, np.float32(np.nan), depth))
    image = np.where(hidden[..., None], np.uint8(0), view.image)
    return replace(damaged, view=replace(damaged.view, image=image))


def noisy(sample: Sample, index: int, dataset: AbstractDataset) -> Sample:
    """Noise of 25 grey levels on colour."""
    values = sample.view.image + _rng(index).normal(0.0, 25.0, sample.view.image.shape)
    image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return replace(sample, view=replace(sample.view, image=image))


def dark(sample: Sample, index: int, dataset: AbstractDataset) -> Sample:
    """A seventh of the light."""
    image = (sample.view.image * _DARK).astype(np.uint8)
    return replace(sample, view=replace(sample.view, image=image))


CONDITIONS = (
    Condition('whole'),
    Condition('without depth', (True, False)),
    Condition('without colour', (False, True)),
    Condition('half covered', damage=covered),
    Condition('half the blocks hidden', damage=blocked),
    Condition('depth stale', damage=stale_depth),
    Condition('depth a quarter too long', damage=scaled_depth),
    Condition('depth lost at 3 of 4 pixels', damage=sparse_depth),
    Condition('colour noise', damage=noisy),
    Condition('low light', damage=dark),
)


def _with_depth(sample: Sample, change: Callable[[np.ndarray], np.ndarray]) -> Sample:
    depth = sample.view.depth
    if depth is None:
        return sample
    return replace(sample, view=replace(sample.view, depth=change(depth)))


def _rng(index: int) -> np.random.Generator:
    return np.random.default_rng([_STREAM, index])
