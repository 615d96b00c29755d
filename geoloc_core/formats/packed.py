# SPDX-License-Identifier: Apache-2.0
"""Packed files from strangers, unpacked up to a limit: a few bytes may promise a full memory."""

import gzip
import io
from pathlib import Path
from typing import BinaryIO
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError

# An empty file, one cut off, other bytes in it, an array of objects, a shape beyond all memory;
# NotImplementedError is zipfile's answer to a kind of compression that it does not know.
_DAMAGE = (
    OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, MemoryError,
    zipfile.BadZipFile, zlib.error, NotImplementedError,
)  # fmt: skip


def read_npz(source: Path | BinaryIO, limit: int, name: str = '') -> dict[str, NDArray]:
    """The arrays of an .npz file; no pickle is ever opened.

    Args:
        source: The file, or its content.
        limit: Bytes that all of it may have when it is unpacked.
        name: Of the file, for errors; its path if empty.

    Raises:
        DataError: It is larger, damaged, or holds anything else.
    """
    name = name or str(source)
    try:
        # Its list tells sizes, of which zipfile reads no byte more, whatever follows.
        with zipfile.ZipFile(source) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > limit:
            raise DataError(f'{name} unpacks to {size} bytes, more than the {limit} allowed')
        if not isinstance(source, Path):
            source.seek(0)
        with np.load(source, allow_pickle=False) as file:
            return {member: np.asarray(file[member]) for member in file.files}
    except _DAMAGE as error:
        raise DataError(
            f'{name} holds no arrays (.npz): {error or type(error).__name__}'
        ) from error


def read_gzip(path: Path, limit: int) -> bytes:
    """The content of a file, unpacked if its name ends in .gz.

    Args:
        path: The file.
        limit: Bytes that it may have, unpacked.

    Raises:
        DataError: It is larger.
        OSError: It cannot be read, or is no such archive.
        EOFError: It is cut off.
        zlib.error: It is damaged.
    """
    with path.open('rb') as file:
        whole: io.BufferedIOBase = file
        if path.suffix == '.gz':
            whole = gzip.GzipFile(fileobj=file)
        # One byte more shows that there is more, without unpacking all of it.
        content = whole.read(limit + 1)
    if len(content) > limit:
        raise DataError(f'{path} has more than the {limit} bytes allowed (unpacked)')
    return content
