# SPDX-License-Identifier: Apache-2.0
"""Data sets as posed sequences, of which `geoloc place build` makes a map.

The robot's package does not know the readers: it finds this module by its entry point
(`geoloc.sequences` in setup.py).
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.maps.place.sequence import AbstractPosedSequence, PosedView
from training.datasets.base import AbstractDataset, UnreadableError
from training.datasets.registry import open_dataset, reader, recognise

# Of these nobody says which way is up; all other readers give worlds with z up.
_UP_UNKNOWN = frozenset({'7scenes', 'aachen'})
_MAX_PROBLEMS = 20


class DatasetSequence(AbstractPosedSequence):
    """Frames of one split of a data set, in its order."""

    def __init__(self, dataset: AbstractDataset, name: str, *, z_up: bool, chosen: range) -> None:
        """Takes an open data set.

        Args:
            dataset: With poses and depth.
            name: For people.
            z_up: Whether z of its world is up.
            chosen: Numbers of the samples used.

        Raises:
            DataError: Its samples are of several places, or none is chosen.
        """
        scenes = {key.split('/')[0] for key in dataset.keys if key.count('/') >= 2}
        if len(scenes) > 1:
            raise DataError(
                f'{dataset.root} holds several scenes, each with a frame of its own '
                f'({", ".join(sorted(scenes)[:3])}, ...): name the folder of one'
            )
        self.name = name
        self.z_up = z_up
        self._dataset = dataset
        self._chosen = chosen
        self._problems: dict[str, None] = dict.fromkeys(dataset.missing())
        if not len(chosen):
            raise DataError(f'{dataset.root}: of {len(dataset)} frames none is chosen')

    def __len__(self) -> int:
        """Frames chosen."""
        return len(self._chosen)

    def views(self, only: Collection[str] | None = None) -> Iterator[PosedView]:
        """Reads the frames; damaged ones are left out and told of in `problems`."""
        keys = self._dataset.keys
        for index in self._chosen:
            if only is not None and keys[index] not in only:
                continue
            try:
                sample = self._dataset.sample(index)
            except UnreadableError as error:
                self._problems[str(error)] = None
                continue
            except DataError as error:
                # A pose that is lost (NaN) is one frame's bad luck.
                self._problems[str(error)] = None
                continue
            if sample.T_map_base is None:
                self._problems[f'{self._dataset.root}: the poses of this split are kept back'] = (
                    None
                )
                continue
            yield PosedView(sample.key, sample.view, sample.T_map_base)

    def problems(self) -> list[str]:
        """What is missing in the data set, and which frames could not be read."""
        found = list(self._problems)
        more = len(found) - _MAX_PROBLEMS
        return found[:_MAX_PROBLEMS] + ([f'... and {more} more'] if more > 0 else [])


def open_sequence(
    root: Path,
    layout: str | None = None,
    split: str | None = None,
    options: Mapping[str, Any] | None = None,
    frames: tuple[int, int] | None = None,
    every: int = 1,
) -> DatasetSequence:
    """Opens a folder of posed frames.

    Args:
        root: As the publisher's archive unpacks.
        layout: Name of its reader; recognised if None.
        split: Of the reader; all frames if None, or where there is a list of those meant for
            training, those.
        options: Further arguments of the reader.
        frames: First and last of the frames used, counted from 0; all if None.
        every: One frame of so many.

    Raises:
        DataError: No such folder, or none that is known, or no frames in it.
        ConfigError: The reader has no such split or option.
    """
    name = layout or recognise(root)
    kind = reader(name)
    given = dict(options or {})
    if split is None:
        # Nothing held out, unless asked for.
        split = 'all' if 'all' in kind.SPLITS else 'train'
        if name == '7scenes':
            given = {'validation': 0.0, 'test': 0.0, **given}
    if split not in kind.SPLITS:
        raise ConfigError(
            f'{kind.NAME} has no split {split!r}: choose one of {", ".join(kind.SPLITS)}'
        )
    try:
        dataset = open_dataset(name, root, split, **given)
    except TypeError as error:
        raise ConfigError(
            f'{kind.NAME} cannot be opened with {given}: {error} (`geoloc data list {name}` shows '
            'its options)'
        ) from error
    first, last = frames or (0, len(dataset) - 1)
    chosen = range(first, min(last, len(dataset) - 1) + 1, every)
    return DatasetSequence(
        dataset, root.resolve().name, z_up=name not in _UP_UNKNOWN, chosen=chosen
    )
