# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there: whatever is killed, and also when the power goes.

A file is written beside its place and moved there when it is complete, which a file system does at
once or not at all. Before that its bytes are on the disk: else a power cut may leave the new name
with none of them, and what counts as done by its name would be empty.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import threading


@contextmanager
def whole_file(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """Gives another path to write to; the file is moved to its place where the block ends well.

    Nothing is left of it otherwise, and an older file is as it was.

    Args:
        path: The file wanted; its folder is there.
        partial: Where to write on the same file system; beside it, under a name of this thread's
            own, if None.

    Yields:
        The path to write. The file must be closed when the block ends.

    Raises:
        OSError: The disk is full or may not be written.
    """
    own = f'.{path.name}.{os.getpid()}_{threading.get_ident()}.part'
    partial = partial or path.with_name(own)
    try:
        yield partial
        with partial.open('rb') as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | memoryview, partial: Path | None = None) -> None:
    """Writes a file as a whole; its folder is made.

    Args:
        path: The file.
        content: What it shall hold.
        partial: See `whole_file`.

    Raises:
        OSError: The disk is full or may not be written; it names the file that is wanted, not the
            one on the way there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path, partial) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
