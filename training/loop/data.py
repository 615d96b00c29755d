# SPDX-License-Identifier: Apache-2.0
"""The samples of a run, as its settings describe them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.network import Network
from training.augmentation import pipeline_from
from training.datasets.base import AbstractDataset
from training.datasets.registry import open_dataset
from training.families.registry import family_of
from training.loading import (
    batches_once,
    make_loader,
    Preparation,
    Prepare,
    ShardedSampler,
    start_workers,
)
from training.loop.companions import Companions
from training.loop.reading import plain
from training.loop.settings import Data, Split
from training.novel_views import WithNovelViews
from training.reduction import Reduction

# Keeps these draws apart from those of readers and augmentation.
_COMPANIONS = 0x636F6D70


@dataclass(frozen=True)
class Wanted:
    """What network and objective want of each sample.

    Attributes:
        model: Says what it is fed.
        extras: Names of further arrays.
        companions: (data set, indices in use) -> which samples share a batch; None for any.
    """

    model: Network
    extras: tuple[str, ...] = ()
    companions: Callable[[AbstractDataset, np.ndarray], Companions | None] | None = None

    def preparation(self) -> Prepare:
        """A sample -> arrays."""
        return family_of(self.model).preparation(self.model, self.extras)

    def grouped(self, dataset: AbstractDataset, indices: np.ndarray) -> Companions | None:
        """Which samples of a selection share a batch."""
        return None if self.companions is None else self.companions(dataset, indices)


@dataclass
class Chosen:
    """A sampler whose numbers are places in a selection of the data set.

    Attributes:
        sampler: Batches of (epoch, place).
        indices: Place -> index in the data set.
        ordered: Whether each batch is in the data set's order.
        companions: Which samples come with each of the sampler's; None for none.
        seed: Of the draws of companions.
    """

    sampler: ShardedSampler
    indices: np.ndarray
    ordered: bool = False
    companions: Companions | None = None
    seed: int = 0

    def __len__(self) -> int:
        """Batches of a pass."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Batches of (epoch, index)."""
        for batch in self.sampler:
            places = sorted(batch) if self.ordered else batch
            rows = [row for epoch, place in places for row in self._group(epoch, place)]
            yield [(epoch, int(self.indices[place])) for epoch, place in rows]

    def _group(self, epoch: int, place: int) -> list[tuple[int, int]]:
        """A sample and those that come with it."""
        if self.companions is None:
            return [(epoch, place)]
        rng = np.random.default_rng([_COMPANIONS, self.seed, epoch, place])
        return [(epoch, p) for p in (place, *self.companions.of(place, rng))]


def open_split(data: Data, name: str, root: Path | None = None) -> tuple[AbstractDataset, Split]:
    """Opens 'train' or 'validation'.

    Args:
        data: The settings.
        name: Which of the two.
        root: Stands for `data.root`.

    Raises:
        ConfigError: No folder is given.
        DataError: It cannot be read, or has no samples.
    """
    split: Split | None = getattr(data, name)
    if split is None:
        raise ConfigError(f'data.{name}: is null, and needed here: name a split')
    folder = split.root or root or data.root
    if folder is None:
        raise ConfigError('data.root: no folder is given: set it, or say --data DIR')
    options: dict[str, Any] = {**data.options, **(split.options or {})}
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    reader = split.reader or data.reader
    try:
        dataset = open_dataset(reader, Path(folder).expanduser(), split.split, **options)
    except TypeError as error:
        raise ConfigError(
            f'data.options: {plain(options)} do not suit the reader {reader!r} ({error}): '
            f'`geoloc data list {reader}` shows them'
        ) from error
    if len(dataset) == 0:
        raise DataError(
            f'data.{name}: the split {split.split!r} of {folder} has no samples; '
            f'`geoloc data check {folder}` shows what is there'
        )
    if split.novel_views is not None:
        sizes = split.reduce or data.reduce
        reduce = None if sizes is None else Reduction(sizes.view_size, sizes.patch_size)
        dataset = WithNovelViews(dataset, split.novel_views, reduce)
    return dataset, split


def chosen_indices(dataset: AbstractDataset, limit: int | None) -> np.ndarray:
    """Indices of the samples in use, evenly spread over the data set."""
    length = len(dataset)
    if limit is None or limit >= length:
        return np.arange(length)
    return np.arange(limit) * length // limit


def preparation_of(
    data: Data, split: Split, wanted: Wanted, *, augmented: bool, seed: int
) -> Preparation:
    """What happens to each sample of a split.

    Raises:
        ConfigError: Further patches are wanted, and not read.
    """
    sizes = split.reduce or data.reduce
    prepare = wanted.preparation()
    others = bool(getattr(prepare, 'other_patches', False))
    reduce = None
    options = {**data.options, **(split.options or {})}
    if others and not options.get('semi_positives'):
        raise ConfigError(
            'data.options: the objective wants further patches of each place: set semi_positives: '
            'true (of the reader vigor), or objective.settings.semi_positives: 0'
        )
    if sizes is not None or others:
        view, patch = (None, None) if sizes is None else (sizes.view_size, sizes.patch_size)
        reduce = Reduction(view, patch, keep_others=others)
    steps = data.augment if split.augment is None else split.augment
    # Validation shows the data as it is, unless its own section says otherwise.
    steps = steps if augmented or split.augment is not None else ()
    augment = pipeline_from(list(steps), seed) if steps else None
    return Preparation(
        reduce,
        augment,
        prepare,
        None if data.cache is None else Path(data.cache),
        with_index=family_of(wanted.model).INDEXED,
    )


def training_batches(
    data: Data, wanted: Wanted, batch_size: int, seed: int, *,
    root: Path | None, rank: int, world: int, pin: bool,
) -> tuple[Chosen, Iterable]:  # fmt: skip
    """The sampler and loader of the training split.

    Args:
        data: The settings.
        wanted: What each sample becomes.
        batch_size: Samples a step, all processes together.
        seed: Of order and augmentation.
        root: Stands for `data.root`.
        rank: Of this process.
        world: Number of processes.
        pin: Batches in page-locked memory.

    Raises:
        ConfigError: The batch cannot be shared evenly, or is larger than the split.
        DataError: The split cannot be read, or is empty.
    """
    if batch_size % world:
        raise ConfigError(
            f'batch_size: {batch_size} samples cannot be shared evenly among {world} processes'
        )
    dataset, split = open_split(data, 'train', root)
    indices = chosen_indices(dataset, split.limit)
    companions = wanted.grouped(dataset, indices)
    anchors = _anchors(batch_size // world, companions, 'batch_size')
    sampler = Chosen(
        ShardedSampler(len(indices), anchors, seed=seed, rank=rank, world_size=world),
        indices,
        ordered=data.batch_order == 'place',
        companions=companions,
        seed=seed,
    )
    preparation = preparation_of(data, split, wanted, augmented=True, seed=seed)
    loader = make_loader(dataset, sampler, preparation, workers=data.workers, pin_memory=pin)
    return sampler, loader


def validation_batches(
    data: Data, wanted: Wanted, batch_size: int, *,
    root: Path | None, rank: int = 0, world: int = 1, pin: bool = False, mixed: bool = False,
) -> Iterable:  # fmt: skip
    """This process's share of the validation split, each sample once.

    Args:
        data: The settings.
        wanted: What each sample becomes.
        batch_size: Samples at a time.
        root: Stands for `data.root`.
        rank: Of this process.
        world: Number of processes.
        pin: Batches in page-locked memory.
        mixed: In an order that mixes places, for whoever looks at the first ones only.

    Raises:
        DataError: The split cannot be read, or is empty.
    """
    dataset, split = open_split(data, 'validation', root)
    indices = chosen_indices(dataset, split.limit)
    if mixed:
        indices = np.random.default_rng(0).permutation(indices)
    batches = batches_once(indices[rank::world], batch_size)
    preparation = preparation_of(data, split, wanted, augmented=False, seed=0)
    loader = make_loader(dataset, batches, preparation, workers=data.workers, pin_memory=pin)
    return start_workers(loader)


def fixed_batch(data: Data, wanted: Wanted, count: int, root: Path | None) -> Any:
    """A few samples of the training split as one batch, without augmentation.

    Raises:
        DataError: The split cannot be read, or has fewer samples.
    """
    dataset, split = open_split(data, 'train', root)
    if len(dataset) < count:
        raise DataError(f'--overfit {count}: the split has {len(dataset)} samples')
    indices = chosen_indices(dataset, None)
    companions = wanted.grouped(dataset, indices)
    anchors = _anchors(count, companions, '--overfit')
    places = np.arange(anchors) * len(indices) // anchors
    # A sampler of one batch, so that companions come as they do in a real run.
    one = [[(0, int(place)) for place in places]]
    batches = list(Chosen(one, indices, companions=companions))  # type: ignore[arg-type]
    preparation = preparation_of(data, split, wanted, augmented=False, seed=0)
    return next(iter(make_loader(dataset, batches, preparation)))


def _anchors(rows: int, companions: Companions | None, name: str) -> int:
    """Groups in so many rows.

    Raises:
        ConfigError: They are no whole number.
    """
    size = 1 if companions is None else companions.size
    if rows % size:
        raise ConfigError(
            f'{name}: {rows} rows a process are no whole number of groups of {size}, as the '
            'objective wants them'
        )
    return rows // size
