# SPDX-License-Identifier: Apache-2.0
"""From samples to what a descriptor network is fed, and from its answers to figures of recall."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from geoloc_core.descriptor_spec import whole_picture
from geoloc_core.errors import ConfigError, DataError
from geoloc_core.evaluation.place_recognition import (
    capped_precision_at,
    nearest,
    recall_at,
    same_name,
)
from geoloc_core.input_spec import RasterSpec
from geoloc_core.models.base import normalise
from geoloc_core.models.descriptor import DescriptorModel, SamePlace
from training.datasets.observations import (
    padded_points,
    patch_geometry,
    points_seen,
    world_of,
)
from training.datasets.overlaps import overlaps_of
from training.datasets.sample import Sample
from training.loading import Batch

Floats = NDArray[np.float32]

SPATIAL = ('rays', 'ranges', 'camera')
KS = (1, 5, 20)
# Bytes of a world's name that travel with a batch.
_NAME_BYTES = 96


@dataclass(frozen=True)
class DescriptorPreparation:
    """A sample -> arrays for a descriptor network.

    Attributes:
        view: The picture's input.
        patches_a_side: Parts that `SPATIAL` arrays describe, each way.
        extras: Of `SPATIAL`, those wanted.
    """

    view: RasterSpec
    patches_a_side: int
    extras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what cannot be made.

        Raises:
            ConfigError: An unknown extra.
        """
        unknown = sorted(set(self.extras) - set(SPATIAL))
        if unknown:
            raise ConfigError(
                f'a descriptor network cannot be given {unknown[0]!r}: expected some of {SPATIAL}'
            )

    def __call__(self, sample: Sample) -> dict[str, np.ndarray]:
        """The arrays.

        Returns:
            view (3, H, W) uint8, the whole picture at the network's size; observed (K, 3) float32,
            points that the picture sees, m in the map frame, NaN after the last; world (n,) uint8,
            the name of that frame; and `extras` as `PatchGeometry` has them.

        Raises:
            DataError: The sample has no label.
        """
        T = sample.T_map_camera
        if T is None:
            raise DataError(f'{sample.key} has no pose: its place cannot be learned from')
        image = whole_picture(sample.view.image, self.view)
        name = world_of(sample).encode()[-_NAME_BYTES:]
        arrays: dict[str, np.ndarray] = {
            'view': np.ascontiguousarray(image.transpose(2, 0, 1)),
            'observed': padded_points(points_seen(sample)),
            'world': np.frombuffer(name.ljust(_NAME_BYTES, b'\0'), np.uint8).copy(),
        }
        if self.extras:
            geometry = patch_geometry(sample.view, T, self.patches_a_side)
            arrays |= {extra: getattr(geometry, extra) for extra in self.extras}
        return arrays


def run_descriptor(
    model: DescriptorModel, batch: Mapping[str, Tensor], extras: Sequence[str] | None = None
) -> Tensor:
    """(B, size) unit vectors of a batch as `DescriptorPreparation` gives it.

    Args:
        model: Any.
        batch: Tensors by name, on the model's device.
        extras: Further inputs to give; None for the model's own.
    """
    image = batch['view']
    view = normalise(image, image.new_ones(1, 1, 1, 1), model.view)
    names = model.EXTRA_INPUTS if extras is None else extras
    made: Tensor = model(view, **{name: batch[name] for name in names})
    return made


def world_names(worlds: NDArray[np.uint8]) -> tuple[str, ...]:
    """(B, n) `world` arrays of `DescriptorPreparation` as names."""
    return tuple(bytes(name).rstrip(b'\0').decode(errors='replace') for name in worlds)


@dataclass(frozen=True)
class Described:
    """Pictures, what a network says of them, and what they see.

    Attributes:
        keys: Of N samples.
        worlds: Name of the frame of each.
        vectors: (N, D) float32 descriptors.
        observed: (N, K, 3) float32 points, m in the frame of their world, NaN after the last.
        rule: What counts as the same place.
        unreadable: What the samples that are not among these had wrong with them.
    """

    keys: tuple[str, ...]
    worlds: tuple[str, ...]
    vectors: Floats
    observed: Floats
    rule: SamePlace
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        """N."""
        return len(self.keys)

    @classmethod
    def joined(cls, parts: Sequence['Described']) -> 'Described':
        """Several sets as one; a key that comes twice counts once.

        Raises:
            DataError: Nothing to join.
        """
        keys = [key for part in parts for key in part.keys]
        if not keys:
            raise DataError(
                'no picture was described: the split is empty, or nothing of it is read'
            )
        worlds = [world for part in parts for world in part.worlds]
        place = {key: i for i, key in reversed(list(enumerate(keys)))}
        first = sorted(place.values())
        return cls(
            tuple(keys[i] for i in first),
            tuple(worlds[i] for i in first),
            np.concatenate([part.vectors for part in parts])[first],
            np.concatenate([part.observed for part in parts])[first],
            parts[0].rule,
            tuple(dict.fromkeys(w for part in parts for w in part.unreadable)),
        )


def describe(
    model: DescriptorModel, batches: Iterable[Batch], device: torch.device | str = 'cpu'
) -> Iterator[Described]:
    """Runs a network over batches, as it predicts and without gradients.

    Args:
        model: Any; its mode is given back as it was.
        batches: Of `DescriptorPreparation`.
        device: Where the model is.
    """
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            if not len(batch):
                empty = np.zeros((0, 1), np.float32)
                none = np.zeros((0, 1, 3), np.float32)
                yield Described((), (), empty, none, model.same_place, batch.unreadable)
                continue
            tensors = {name: tensor.to(device) for name, tensor in batch.tensors.items()}
            with torch.no_grad():
                vectors = run_descriptor(model, tensors).float().cpu().numpy()
            worlds = world_names(batch.tensors['world'].cpu().numpy())
            observed = batch.tensors['observed'].cpu().numpy()
            yield Described(
                batch.keys, worlds, vectors, observed, model.same_place, batch.unreadable
            )
    finally:
        model.train(was_training)


def place_figures(queries: Described, database: Described | None = None) -> dict[str, float]:
    """How well the pictures of a place are found.

    Args:
        queries: Pictures to be found for.
        database: Pictures to find; None to find each query among the other ones. A query that is
            in the database too is never its own answer.

    Returns:
        recall_at_K and capped_precision_at_K; queries, and how many of them have any picture of
        their place to be found (`answerable`); database; unreadable. Recall is NaN where no
        query is answerable.
    """
    base = queries if database is None else database
    both = Described.joined([queries, base]) if database is not None else queries
    overlaps = overlaps_of(list(both.observed), both.worlds, both.rule)
    at = {key: i for i, key in enumerate(both.keys)}
    rows = np.array([at[key] for key in queries.keys], np.int64)
    columns = np.array([at[key] for key in base.keys], np.int64)
    itself = same_name(queries.keys, base.keys)
    positives = overlaps.positive(rows, columns) & ~itself
    ranks = nearest(queries.vectors, base.vectors, max(KS), itself)
    figures = {f'recall_at_{k}': recall_at(ranks, positives, k) for k in KS}
    figures |= {f'capped_precision_at_{k}': capped_precision_at(ranks, positives, k) for k in KS}
    return figures | {
        'queries': float(len(queries)),
        'answerable': float(positives.any(axis=1).sum()),
        'database': float(len(base)),
        'unreadable': float(len({*queries.unreadable, *base.unreadable})),
    }
