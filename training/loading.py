# SPDX-License-Identifier: Apache-2.0
"""From a data set to batches on the way to a GPU: workers, a cache, shards for several machines.

Every draw and every order depends on (seed, epoch, index) alone. A run on four machines sees the
samples of a run on one, and a run that was killed goes on with the batch it would have seen.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info, Sampler

from geoloc_core import __version__
from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from training.datasets.base import AbstractDataset, UnreadableError
from training.datasets.sample import Sample
from training.datasets.storage import load_sample, save_sample, VERSION

# A change of a sample that uses randomness, `training.augmentation.Pipeline`:
# (sample, index, epoch) -> sample.
Augment = Callable[[Sample, int, int], Sample]
# A change that does not, such as a resize; what it gives is cached.
Reduce = Callable[[Sample], Sample]
# What a model is given of a sample: arrays of the same shapes for all samples of a batch.
Prepare = Callable[[Sample], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Batch:
    """Samples side by side.

    Attributes:
        tensors: Name -> (B, ...) tensor.
        keys: Of the samples, in the order of the tensors.
        unreadable: What the samples that are missing here had wrong with them.
    """

    tensors: dict[str, torch.Tensor]
    keys: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.keys)

    def pin_memory(self) -> 'Batch':
        """The batch in page-locked memory, from which copies to a GPU do not wait."""
        pinned = {name: tensor.pin_memory() for name, tensor in self.tensors.items()}
        return Batch(pinned, self.keys, self.unreadable)

    def to(self, device: torch.device | str) -> 'Batch':
        """The batch on a device; from pinned memory the copy goes on in the background."""
        moved = {name: t.to(device, non_blocking=True) for name, t in self.tensors.items()}
        return Batch(moved, self.keys, self.unreadable)


def arrays_of(sample: Sample) -> dict[str, np.ndarray]:
    """What most cross-view and RGB-D models want of a sample.

    Returns:
        image (3, H, W) uint8; depth (1, H, W) float32 with NaN, if any; patch (3, h, w) uint8 and
        patch_grid (3,) float32 = center x, center y, gsd (m), if any; pose (3,) float32 = x, y,
        yaw of base_link and T_map_base (4, 4) float64, if known; prior (3,) and prior_std (3,)
        float32, if any. Metres and radians in the sample's map frame.
    """
    arrays = {'image': np.ascontiguousarray(sample.view.image.transpose(2, 0, 1))}
    if sample.view.depth is not None:
        arrays['depth'] = sample.view.depth[None]
    if sample.patch is not None:
        grid = sample.patch.grid
        arrays['patch'] = np.ascontiguousarray(sample.patch.image.transpose(2, 0, 1))
        arrays['patch_grid'] = np.array([*grid.center_xy, grid.gsd], np.float32)
    if sample.T_map_base is not None:
        arrays['pose'] = np.array(se3.planar(sample.T_map_base), np.float32)
        arrays['T_map_base'] = sample.T_map_base
    if sample.prior is not None:
        arrays['prior'] = np.array(se3.planar(sample.prior.T_map_base), np.float32)
        variance = sample.prior.cov.diagonal()[[0, 1, 5]]
        arrays['prior_std'] = np.sqrt(variance).astype(np.float32)
    return arrays


@dataclass(frozen=True)
class Preparation:
    """What happens to each sample between disk and batch, in this order.

    Attributes:
        reduce: Deterministic part, done once when there is a cache; None for nothing.
        augment: Random part, drawn from (seed, epoch, index); None for nothing.
        prepare: Sample -> arrays.
        cache: Folder for reduced samples; None for no cache. What a reader draws itself (a
            prior, the turn of a panorama) is then that of the first epoch for ever: let `augment`
            draw it. Remove the folder when labels or pictures of the data set are exchanged.
        with_index: Also give `index` () int64, the sample's place in the data set.
    """

    reduce: Reduce | None = None
    augment: Augment | None = None
    prepare: Prepare = arrays_of
    cache: Path | None = None
    with_index: bool = False


class _Indexed(Dataset):
    """(epoch, index) -> prepared arrays, or the words of an `UnreadableError`."""

    def __init__(self, dataset: AbstractDataset, preparation: Preparation) -> None:
        self._dataset = dataset
        self._preparation = preparation
        self._mark = '' if preparation.cache is None else _mark(dataset, preparation.reduce)

    def __getitem__(self, item: tuple[int, int]) -> tuple[str, dict[str, np.ndarray] | str]:
        epoch, index = item
        key = self._dataset.keys[index]
        try:
            sample = self._reduced(index, key, epoch)
        except UnreadableError as error:
            return key, str(error)
        if self._preparation.augment is not None:
            sample = self._preparation.augment(sample, index, epoch)
        arrays = self._preparation.prepare(sample)
        if self._preparation.with_index:
            arrays['index'] = np.array(index, np.int64)
        return key, arrays

    def _reduced(self, index: int, key: str, epoch: int) -> Sample:
        cache, reduce = self._preparation.cache, self._preparation.reduce
        if cache is None:
            sample = self._dataset.sample(index, epoch)
            return reduce(sample) if reduce else sample
        name = hashlib.sha256(key.encode()).hexdigest()[:24]
        path = Path(cache) / self._mark / name[:2] / f'{name}.npz'
        if path.exists():
            try:
                return load_sample(path)
            except UnreadableError:
                # Written by another version or cut off by a full disk: made anew below.
                path.unlink(missing_ok=True)
        sample = self._dataset.sample(index, 0)
        sample = reduce(sample) if reduce else sample
        save_sample(path, sample)
        return sample


def _mark(dataset: AbstractDataset, reduce: Reduce | None) -> str:
    """Folder of the cache: another resize, split or version never meets this one's files.

    Raises:
        ConfigError: Nothing tells this `reduce` from another one.
    """
    name = ''
    if reduce is not None:
        name = str(getattr(reduce, 'name', '') or getattr(reduce, '__qualname__', ''))
        if not name or '<lambda>' in name:
            raise ConfigError(
                f'reduce = {reduce!r} has no name of its own, so its cache would be taken for '
                'that of another one: use Reduction, a function, or an object with a `name`'
            )
    words = f'{__version__} {VERSION} {dataset.root.resolve()} {dataset.opened} {name}'
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def collate(items: Sequence[tuple[str, dict[str, np.ndarray] | str]]) -> Batch:
    """Stacks samples; those that could not be read are named, not replaced.

    Raises:
        ConfigError: Samples have different shapes, so `reduce` must bring them to one.
    """
    good = [(key, arrays) for key, arrays in items if not isinstance(arrays, str)]
    words = tuple(text for _, text in items if isinstance(text, str))
    tensors: dict[str, torch.Tensor] = {}
    for name in dict.fromkeys(name for _, arrays in good for name in arrays):
        parts = [arrays[name] for _, arrays in good if name in arrays]
        shapes = {part.shape for part in parts}
        if len(parts) < len(good) or len(shapes) > 1:
            raise ConfigError(
                f'{name!r} of the samples {good[0][0]} ... has the shapes {sorted(shapes)} in '
                f'{len(parts)} of {len(good)} samples: resize them alike before batching'
            )
        tensors[name] = torch.from_numpy(np.stack(parts))
    return Batch(tensors, tuple(key for key, _ in good), words)


@dataclass
class ShardedSampler(Sampler):
    """Batches of (epoch, index), shuffled alike everywhere, each machine taking its own share.

    Every rank gets the same number of batches, as distributed training needs: at the end of an
    epoch the few samples that do not fill a round are left out of it (`drop_last`) or some are
    seen twice.

    Attributes:
        length: Samples in the data set.
        batch_size: Samples a batch and rank.
        shuffle: A new order each epoch; else the data set's order.
        seed: Of the order.
        rank: This process, 0 .. world_size - 1.
        world_size: Processes that share the epoch.
        drop_last: Leave out what does not fill a round, rather than repeat some.
        epoch: Set it before each pass.
        start: Batches of the next pass to skip, after a resume; 0 again once that pass begins.
    """

    length: int
    batch_size: int
    shuffle: bool = True
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    drop_last: bool = True
    epoch: int = 0
    start: int = field(default=0)

    def __post_init__(self) -> None:
        """Refuses settings that give no batch.

        Raises:
            ConfigError: A setting is out of range, or the data set is smaller than one round.
        """
        if self.batch_size < 1 or not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f'batch_size {self.batch_size}, rank {self.rank} of {self.world_size}: expected a '
                'positive batch and a rank below the number of processes'
            )
        if self.length < 1 or (self.drop_last and self.length < self._round):
            raise ConfigError(
                f'{self.length} samples do not fill a batch of {self.batch_size} on each of '
                f'{self.world_size} processes: make the batch smaller or set drop_last=False'
            )

    @property
    def _round(self) -> int:
        return self.batch_size * self.world_size

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        rounds = self.length // self._round
        return rounds if self.drop_last or self.length % self._round == 0 else rounds + 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """This rank's batches of the epoch."""
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        order = np.resize(order, len(self) * self._round)
        # Consecutive pieces go to consecutive ranks: one machine's batches in one order are the
        # many machines' batches dealt out.
        pieces = order.reshape(len(self), self.world_size, self.batch_size)[:, self.rank]
        start, self.start = self.start, 0
        for piece in pieces[start:]:
            yield [(self.epoch, int(i)) for i in piece]


def batches_once(indices: Iterable[int], batch_size: int) -> list[list[tuple[int, int]]]:
    """Batches of (epoch 0, index) in which each sample comes once, for `make_loader`.

    Args:
        indices: Of the data set.
        batch_size: Samples a batch; the last one may be smaller.
    """
    items = [(0, int(index)) for index in indices]
    return [items[i : i + batch_size] for i in range(0, len(items), batch_size)]


def make_loader(
    dataset: AbstractDataset,
    sampler: Iterable[list[tuple[int, int]]],
    preparation: Preparation | None = None,
    *,
    workers: int = 0,
    pin_memory: bool = False,
    prefetch: int = 4,
) -> DataLoader:
    """A torch loader of `Batch`es.

    Args:
        dataset: Any reader.
        sampler: Batches of (epoch, index), as `ShardedSampler` gives them; set its `epoch` before
            each pass.
        preparation: What happens to each sample; nothing but `arrays_of` if None.
        workers: Processes that read; 0 reads in this one.
        pin_memory: Batches in page-locked memory, for copies to a GPU.
        prefetch: Batches each worker keeps ready.

    Returns:
        An iterable of batches, the same with any number of workers.
    """
    more: dict[str, Any] = {}
    if workers:
        # The samplers' epoch lives in this process, so workers may stay from pass to pass.
        more = {'prefetch_factor': prefetch, 'persistent_workers': True}
    return DataLoader(
        _Indexed(dataset, preparation or Preparation()),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_one_thread,
        pin_memory=pin_memory,
        **more,
    )


def start_workers(loader: DataLoader) -> DataLoader:
    """Starts a loader's processes now, and gives it back.

    A process that is forked later shares all that this one holds by then, and each page that
    either writes to is copied: gigabytes, in the middle of training.
    """
    if loader.num_workers:
        iter(loader)
    return loader


def _one_thread(_: int) -> None:
    """Workers are the parallelism: each of them with a thread a core would be too many."""
    import cv2

    if get_worker_info() is not None:
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
