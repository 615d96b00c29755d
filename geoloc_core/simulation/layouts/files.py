# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent: whatever is killed, no half-written one stays under its name.

A file is written under another name in one folder of the same data set, `PARTIAL`, and then moved
to its place, which the file system does at once or not at all.
"""

from collections.abc import Mapping
import os
from pathlib import Path
import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.whole_file import write_whole

PARTIAL = '.partial'
JPEG_QUALITY = 92
# Level 1 is four times as quick as the default and some 10 % larger.
PNG_LEVEL = 1
# TIFF's number of Adobe's deflate, which every reader knows.
_DEFLATE = 8


def write_bytes(root: Path, path: Path, data: bytes) -> None:
    """Writes a file as a whole.

    Args:
        root: Folder of the data set; what is unfinished lies in its folder `PARTIAL`.
        path: The file, under `root`; folders on the way are made.
        data: What it shall hold.

    Raises:
        OSError: The disk is full or may not be written.
    """
    partial = root / PARTIAL / f'{os.getpid()}_{threading.get_ident()}'
    partial.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data, partial)


def clear_partial(root: Path) -> None:
    """Removes what a killed run left unfinished."""
    folder = root / PARTIAL
    if folder.is_dir():
        for leftover in folder.iterdir():
            leftover.unlink()
        folder.rmdir()


def jpeg(rgb: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """A colour picture (H, W, 3), RGB, as the bytes of a JPEG file."""
    return _encode('.jpg', rgb, {cv2.IMWRITE_JPEG_QUALITY: quality})


def png(image: NDArray) -> bytes:
    """A picture as the bytes of a PNG file: (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16."""
    return _encode('.png', image, {cv2.IMWRITE_PNG_COMPRESSION: PNG_LEVEL})


def tiff(mask: NDArray[np.uint8]) -> bytes:
    """A picture of one channel (H, W) as the bytes of a TIFF file, deflated."""
    return _encode('.tif', mask, {cv2.IMWRITE_TIFF_COMPRESSION: _DEFLATE})


def _encode(kind: str, image: NDArray, options: Mapping[int, int]) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    flat = [number for pair in options.items() for number in pair]
    done, data = cv2.imencode(kind, image, flat)
    if not done:
        raise DataError(f'a picture {image.shape} {image.dtype} cannot be stored as {kind}')
    return bytes(data)
