# SPDX-License-Identifier: Apache-2.0
"""What every reader offers, and how it says that something is wrong with the files."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
import sys
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from training.datasets.picture_header import claimed_pixels
from training.datasets.protocol import Protocol
from training.datasets.sample import Sample

# A picture larger than this is a mistake or an attack, not a camera's.
MAX_PIXELS = 200_000_000


class UnreadableError(DataError):
    """One file of a sample cannot be read; the sample is counted and left out, never invented."""

    def __init__(self, path: Path, expected: str) -> None:
        """Names the file and what should be in it."""
        self.path = path
        super().__init__(f'{path}: cannot be read; expected {expected}')


class AbsentError(DataError):
    """A split has no trace on disk. Copies often hold some splits only, so it may be meant."""


@dataclass
class ReadCounts:
    """What became of the samples asked for.

    Attributes:
        read: Samples given.
        unreadable: (file, reason) of those that were not.
    """

    read: int = 0
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


class AbstractDataset(ABC):
    """A publisher's data set on disk, as a sequence of samples.

    Convention: `sample(index, epoch)` draws from (seed, epoch, index) alone, so that it does not
    matter which worker reads it, when, or how often.

    Attributes:
        NAME: What the command line calls it.
        LAYOUT: The folder tree that is expected, for people, one path a line.
        SPLITS: Names of its splits.
    """

    NAME: ClassVar[str]
    LAYOUT: ClassVar[str]
    SPLITS: ClassVar[tuple[str, ...]]

    def __new__(cls, *args: object, **options: object) -> 'AbstractDataset':
        """Remembers how it was opened: a cache must tell one protocol from another."""
        self = super().__new__(cls)
        # Put into words only when asked for: an option may be a table of a million numbers.
        self._opened = (cls.__qualname__, args, sorted(options.items()))
        return self

    @property
    def opened(self) -> str:
        """How it was opened, in words that differ whenever samples may differ."""
        # Long arrays in full: shortened ones look alike.
        with np.printoptions(threshold=sys.maxsize):
            return repr(self._opened)

    def __init__(self, root: Path | str, split: str, *, seed: int = 0) -> None:
        """Checks that the folder is there.

        Args:
            root: Folder as the publisher's archives unpack.
            split: One of `SPLITS`.
            seed: Of all draws.

        Raises:
            DataError: No such folder or split, or the seed is negative.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(
                f'{self.root}: no such folder; expected {self.NAME} laid out as\n{self.LAYOUT}'
            )
        if split not in self.SPLITS:
            raise DataError(f'{self.NAME} has no split {split!r}: choose one of {self.SPLITS}')
        if seed < 0:
            raise DataError(f'seed {seed}: expected 0 or a positive whole number')
        self.split = split
        self.seed = seed
        self.counts = ReadCounts()

    @classmethod
    @abstractmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder looks like this data set, also if parts are missing."""

    @property
    @abstractmethod
    def keys(self) -> Sequence[str]:
        """Keys of all samples, in the split's order; unique."""

    @property
    @abstractmethod
    def protocol(self) -> Protocol | None:
        """What a method may know beforehand; None where it knows nothing (RGB-D)."""

    @abstractmethod
    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Reads one sample.

        Args:
            index: 0 .. len - 1.
            epoch: Of training; another one draws anew. Test splits ignore it.

        Returns:
            The sample.

        Raises:
            UnreadableError: A file of it is missing or damaged.
            DataError: Its label cannot be true.
        """

    @abstractmethod
    def files(self, index: int) -> tuple[Path, ...]:
        """Every file that `sample(index)` opens."""

    def label_error_m(self, index: int) -> float | None:
        """Distance (m) between the label and an independent position (a GPS tag), or None."""
        return None

    def missing(self) -> Sequence[str]:
        """What is absent, and where it must lie; empty if complete. One sentence each."""
        return ()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        """`sample(index)`, counted."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'{self.NAME} {self.split} has {len(self)} samples, not {index}')
        return self.read(index % len(self))

    def read(self, index: int, epoch: int = 0) -> Sample:
        """`sample` with its outcome counted in `counts`."""
        try:
            sample = self.sample(index, epoch)
        except UnreadableError as error:
            self.counts.unreadable.append((error.path, str(error)))
            raise
        self.counts.read += 1
        return sample

    def __iter__(self) -> Iterator[Sample]:
        """All readable samples in order; the others are counted."""
        for index in range(len(self)):
            try:
                yield self.read(index)
            except UnreadableError:
                continue


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A colour picture (H, W, 3), RGB.

    Raises:
        UnreadableError: Missing, not a picture, or of impossible size.
    """
    image = _decode(path, cv2.IMREAD_COLOR, MAX_PIXELS)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_raw(path: Path, max_pixels: int | None = None) -> NDArray:
    """A picture as stored: 16-bit depth stays 16-bit, one channel stays one.

    Args:
        path: Of the picture.
        max_pixels: A larger one is refused; None for what cameras have at most.

    Raises:
        UnreadableError: Missing, not a picture, or of impossible size.
    """
    return _decode(path, cv2.IMREAD_UNCHANGED, max_pixels or MAX_PIXELS)


def _decode(path: Path, flags: int, max_pixels: int) -> NDArray:
    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise UnreadableError(path, 'a picture, but there is no such file') from error
    except OSError as error:
        raise UnreadableError(path, 'a picture') from error
    claimed = claimed_pixels(data.tobytes())
    if claimed is not None and claimed > max_pixels:
        raise UnreadableError(path, f'a picture of at most {max_pixels} pixels')
    try:
        image = cv2.imdecode(data, flags) if data.size and claimed != 0 else None
    except cv2.error:
        # A header that promises more pixels than the decoder takes.
        image = None
    if image is None:
        raise UnreadableError(path, 'a whole picture: copy it again')
    if image.shape[0] * image.shape[1] > max_pixels:
        raise UnreadableError(path, f'a picture of at most {max_pixels} pixels')
    return image
