# SPDX-License-Identifier: Apache-2.0
"""Whole or not there: and on the disk before it has its name."""

import errno
import os
from pathlib import Path

import pytest

from geoloc_core.whole_file import whole_file, write_whole


def test_bytes_are_on_the_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / 'deep' / 'a.bin', []
    sync = os.fsync

    def watched(handle):
        seen.append((path.exists(), os.fstat(handle).st_size))
        sync(handle)

    monkeypatch.setattr(os, 'fsync', watched)
    write_whole(path, b'twelve bytes')
    assert seen == [(False, 12)]
    assert path.read_bytes() == b'twelve bytes' and list(path.parent.iterdir()) == [path]
    # As readable as any other file.
    other = tmp_path / 'other'
    other.write_bytes(b'')
    assert path.stat().st_mode == other.stat().st_mode


def test_what_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.bin'
    write_whole(path, b'old')
    with pytest.raises(ZeroDivisionError), whole_file(path) as partial:
        partial.write_bytes(b'half of the n')
        raise ZeroDivisionError
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]

    def full(handle):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.bin'") as error:
        write_whole(path, b'new')
    assert error.value.errno == errno.ENOSPC
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_it_may_be_written_elsewhere_first(tmp_path):
    path, partial = tmp_path / 'a.bin', tmp_path / 'b'
    with whole_file(path, partial) as given:
        assert given == partial and not path.exists()
        Path(given).write_bytes(b'x')
    assert path.read_bytes() == b'x' and not partial.exists()
