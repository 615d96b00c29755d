# SPDX-License-Identifier: Apache-2.0
"""A picture of several hundred megapixels, decoded once for all processes of a machine."""

import hashlib
import os
from pathlib import Path
import tempfile

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.whole_file import whole_file
from training.datasets.base import UnreadableError


class BigPicture:
    """(H, W, 3) uint8 RGB behind a memory map: workers share its pages, a crop reads few.

    A PNG cannot be read in part, so the first use decodes it whole (for a moment that takes as
    much memory as the picture has) and leaves the pixels in a file of the cache folder.
    """

    def __init__(self, path: Path, cache: Path | None = None) -> None:
        """Takes the picture's path; nothing is read.

        Args:
            path: Of the picture.
            cache: Folder for the pixels; the machine's folder for temporary files if None.
        """
        self.path = path
        # One a user: nobody else can write what is read here, or be kept from writing it.
        user = os.getuid() if hasattr(os, 'getuid') else 0
        self.cache = cache or Path(tempfile.gettempdir()) / f'geoloc-pictures-{user}'
        self._pixels: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict:
        """Everything but the memory map, which every process opens itself."""
        return {**self.__dict__, '_pixels': None}

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, read-only.

        Raises:
            UnreadableError: No whole picture is there.
            DataError: The disk has no room for its pixels.
        """
        if self._pixels is None:
            file = self._cached()
            if not file.exists():
                self._decode(file)
            try:
                self._pixels = np.load(file, mmap_mode='r', allow_pickle=False)
            except (ValueError, EOFError):
                # Cut off by a crash of the machine: the picture itself is still there.
                self._decode(file)
                self._pixels = np.load(file, mmap_mode='r', allow_pickle=False)
        return self._pixels

    def _cached(self) -> Path:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise UnreadableError(self.path, 'one big aerial picture') from error
        # Another size or time of change means other pixels.
        name = f'{self.path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}'
        return self.cache / f'{hashlib.sha256(name.encode()).hexdigest()[:20]}.npy'

    def _decode(self, file: Path) -> None:
        data = np.fromfile(self.path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if image is None:
            raise UnreadableError(self.path, 'one big aerial picture, whole')
        self.cache.mkdir(parents=True, exist_ok=True)
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
        try:
            # A second process never maps half a file.
            with whole_file(file) as partial, partial.open('wb') as stream:
                np.save(stream, image)
        except OSError as error:
            raise DataError(
                f'{self.cache}: no room for the {image.nbytes / 1e6:.0f} MB of pixels of '
                f'{self.path} ({error}): give cache = a folder on a larger disk'
            ) from error
