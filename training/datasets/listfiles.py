# SPDX-License-Identifier: Apache-2.0
"""Split lists: where they may lie, how they are read, and how validation samples are held out."""

from collections.abc import Iterable, Sequence
from pathlib import Path
import re
import zlib

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.formats.packed import read_gzip

# The publishers' longest lists have a few megabytes.
MAX_LIST_BYTES = 200_000_000


def find_list(root: Path, given: Path | None, name: str) -> Path | None:
    """A list that the publisher keeps in a code repository, not in the data.

    Args:
        root: Of the data set; the list may lie there or in `splits/` or `lists/` below.
        given: Folder (or the file itself) that the user named, or None.
        name: Of the list; `<name>.gz` will do as well.

    Returns:
        The file, or None where there is none.
    """
    if given is not None and given.is_file():
        return given
    folders = [given] if given is not None else [root, root / 'splits', root / 'lists']
    for folder in folders:
        for file in (folder / name, folder / f'{name}.gz'):
            if file.is_file():
                return file
    return None


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, words) of all lines that hold something.

    Blank lines, CRLF, a byte-order mark and a last line without its newline are all welcome.

    Raises:
        DataError: Missing, damaged, not text, or larger than any list.
    """
    try:
        text = read_gzip(path, MAX_LIST_BYTES).decode('utf-8-sig')
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f'{path} is not a list of samples: {error}') from error
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line.split()) for number, line in lines if line.strip()]


def refuse_strays(path: Path, names: Iterable[str]) -> None:
    """Refuses a list that names a file outside of the data set: lists come from strangers.

    Args:
        path: The list.
        names: Of files, relative to a folder of the data set.

    Raises:
        DataError: A name is absolute or leads upwards.
    """
    for name in names:
        if name.startswith(('/', '\\')) or ('..' in name and '..' in re.split(r'[/\\]', name)):
            raise DataError(
                f'{path} names {name!r}, which lies outside of the data set; expected a name '
                'below its folder: take the list from its publisher again'
            )


def refuse_duplicates(path: Path, keys: Sequence[str]) -> None:
    """Refuses a list that names a sample twice.

    Raises:
        DataError: It does.
    """
    if len(set(keys)) == len(keys):
        return
    seen: set[str] = set()
    twice = next(key for key in keys if key in seen or seen.add(key))
    raise DataError(
        f'{path} lists {twice} twice ({len(keys) - len(set(keys))} repeats in all): two samples '
        'claim one name; take the list from its publisher again'
    )


def number_repeats(keys: Sequence[str]) -> list[str]:
    """The same keys, made unique: the second time a key ends in '#2', the third in '#3'."""
    counts: dict[str, int] = {}
    unique = []
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
        unique.append(key if counts[key] == 1 else f'{key}#{counts[key]}')
    return unique


def hold_out_groups(groups: Sequence[str], fraction: float = 0.1) -> NDArray[np.bool_]:
    """Which samples belong to validation when whole groups (drives) are held out.

    Groups are taken evenly spread over their sorted names until the fraction is reached; one
    group alone cannot be split.

    Args:
        groups: (N,) group of each sample.
        fraction: Of the samples, at least.

    Returns:
        (N,) bool.
    """
    names, inverse, counts = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    held = np.zeros(len(names), dtype=bool)
    if len(names) > 1:
        # A golden-ratio walk visits the sorted names evenly, and the same ones in every run.
        walk = np.argsort(np.mod((np.arange(len(names)) + 0.5) * 0.6180339887498949, 1.0))
        for name in walk[:-1]:
            # A drive that alone is more than that is worth more in training.
            if len(names) > 4 and counts[name] > fraction * counts.sum():
                continue
            if counts[held].sum() >= fraction * counts.sum():
                break
            held[name] = True
    return held[inverse]


def hold_out_blocks(
    groups: Sequence[str], block: int = 100, every: int = 10, guard: int = 10
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples belong to validation when contiguous blocks are held out of each group.

    Neighbouring frames show the same place, so single frames held out would leak.

    Args:
        groups: (N,) group of each sample, samples of a group in the order they were taken.
        block: Length of a block; shorter where a group holds less than a cycle of them.
        every: One block of so many is held out, the first being the middle one of a cycle.
        guard: Samples on either side of a block that neither part gets.

    Returns:
        Validation (N,) and training (N,), bool; the guards are in neither.
    """
    names, inverse = np.unique(np.array(groups), return_inverse=True)
    held = np.zeros(len(inverse), dtype=bool)
    train = np.ones(len(inverse), dtype=bool)
    for name in range(len(names)):
        members = np.flatnonzero(inverse == name)
        blocks = np.arange(len(members)) // max(1, min(block, len(members) // every))
        mine = blocks % every == every // 2
        held[members[mine]] = True
        near = np.convolve(mine, np.ones(2 * guard + 1), mode='full')[guard : guard + len(mine)]
        train[members[near > 0]] = False
    return held, train
