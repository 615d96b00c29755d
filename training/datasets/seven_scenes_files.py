# SPDX-License-Identifier: Apache-2.0
"""The files of 7-Scenes: split lists, frames, depth, poses."""

from dataclasses import dataclass
from pathlib import Path
import re

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from training.datasets.base import read_raw, UnreadableError
from training.datasets.hand_held import rigid

Array = NDArray[np.float64]


# Scene -> sequences of the publisher's training and test split.
OFFICIAL: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    'chess': ((1, 2, 4, 6), (3, 5)),
    'fire': ((1, 2), (3, 4)),
    'heads': ((2,), (1,)),
    'office': ((1, 3, 4, 5, 8, 10), (2, 6, 7, 9)),
    'pumpkin': ((2, 3, 6, 8), (1, 7)),
    'redkitchen': ((1, 2, 5, 7, 8, 11, 13), (3, 4, 6, 12, 14)),
    'stairs': ((2, 3, 5, 6), (1, 4)),
}
FRAMES_A_SEQUENCE = {scene: 500 if scene == 'stairs' else 1000 for scene in OFFICIAL}
# Part -> its list as published, and as AtLoc and its successors ship it.
LISTS = {
    'train': ('TrainSplit.txt', 'train_split.txt'),
    'test': ('TestSplit.txt', 'test_split.txt'),
}
_LIST_NAMES = frozenset(name for names in LISTS.values() for name in names)
_NO_DEPTH = (0, 65535)
_FRAME = re.compile(r'frame-(\d{6})\.(color\.png|color\.jpg|depth\.png|pose\.txt)')
_PARTS = ('color', 'depth', 'pose')


@dataclass(frozen=True)
class Frame:
    """A whole frame: its sequence ('scene/seq-01'), number, and the files' common beginning."""

    sequence: str
    number: int
    stem: Path
    colour: str

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Colour, depth, pose."""
        stem = str(self.stem)
        return Path(f'{stem}.{self.colour}'), Path(f'{stem}.depth.png'), Path(f'{stem}.pose.txt')


def read_split(path: Path) -> list[int]:
    """Sequence numbers of a split list: lines 'sequence1', CRLF or not; '#' comments one out.

    Raises:
        DataError: A line is something else, a sequence is named twice, or none is named.
    """
    numbers: list[int] = []
    for row, line in enumerate(path.read_text(encoding='utf-8-sig').splitlines(), start=1):
        word = line.partition('#')[0].strip()
        if not word:
            continue
        match = re.fullmatch(r'(?:sequence|seq-?)\s*(\d+)', word, re.IGNORECASE)
        if match is None:
            raise DataError(f'{path}:{row} is {line!r}; expected a line like "sequence1"')
        numbers.append(int(match[1]))
    if len(set(numbers)) < len(numbers):
        raise DataError(f'{path} names a sequence twice: {numbers}')
    if not numbers:
        raise DataError(f'{path} names no sequence; expected lines like "sequence1"')
    return numbers


def read_depth(path: Path) -> NDArray[np.float32]:
    """(H, W) float32 m, NaN where nothing was measured.

    Raises:
        UnreadableError: Missing, damaged, or not 16-bit grey.
    """
    raw = read_raw(path)
    if raw.dtype != np.uint16 or raw.ndim != 2:
        raise UnreadableError(path, f'a 16-bit grey picture in mm, not {raw.dtype} {raw.shape}')
    depth = raw.astype(np.float32) * np.float32(1e-3)
    depth[np.isin(raw, _NO_DEPTH)] = np.nan
    return depth


def read_pose(path: Path) -> Array:
    """(4, 4) depth sensor -> world, its rotation made exact.

    Raises:
        UnreadableError: Missing, or not sixteen numbers.
        DataError: No rotation, or not finite (tracking was lost).
    """
    try:
        words = path.read_text(encoding='ascii').split()
        numbers = np.array([float(word) for word in words])
    except (OSError, ValueError) as error:
        raise UnreadableError(path, 'sixteen numbers') from error
    if numbers.size != 16:
        raise UnreadableError(path, f'sixteen numbers, not {numbers.size}')
    return rigid(numbers.reshape(4, 4), path)


def is_flat(root: Path) -> bool:
    """Whether a folder holds frames itself, without split lists."""
    return not has_lists(root) and any(root.glob('frame-*.pose.txt'))


def has_lists(folder: Path) -> bool:
    """Whether a folder holds a split list, in either spelling."""
    return any((folder / name).is_file() for name in _LIST_NAMES)


def scene_folders(root: Path) -> list[Path]:
    """The scenes in a folder, or the folder itself if it is one."""

    def is_scene(path: Path) -> bool:
        listed = has_lists(path) and (any(path.glob('seq-*')) or path.name.lower() in OFFICIAL)
        return listed or any(path.glob('seq-[0-9][0-9]/frame-*.pose.txt'))

    if is_scene(root):
        return [root]
    return sorted(path for path in root.iterdir() if path.is_dir() and is_scene(path))


def list_frames(folder: Path, sequence: str) -> tuple[list[Frame], list[tuple[str, list[str]]]]:
    """The whole frames of a folder by number, and (name, absent parts) of the others."""
    files: dict[int, dict[str, str]] = {}
    for path in folder.iterdir():
        # macOS leaves '._frame-...' beside each file of an archive; they do not match.
        match = _FRAME.fullmatch(path.name)
        if match is None:
            continue
        number, kind = int(match[1]), match[2]
        parts = files.setdefault(number, {})
        part = kind.partition('.')[0]
        if part in parts:
            raise DataError(
                f'{folder}: frame-{number:06d} has both {parts[part]} and {kind}: two files claim '
                'one frame; remove one of them'
            )
        parts[part] = kind
    whole, incomplete = [], []
    for number in sorted(files):
        name = f'frame-{number:06d}'
        lacks = [part for part in _PARTS if part not in files[number]]
        if lacks:
            incomplete.append((name, lacks))
        else:
            whole.append(Frame(sequence, number, folder / name, files[number]['color']))
    return whole, incomplete
