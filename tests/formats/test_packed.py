# SPDX-License-Identifier: Apache-2.0
"""Packed files are unpacked up to a limit, whatever they promise."""

import gzip
import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.formats.packed import read_gzip, read_npz
from training.datasets import listfiles

LIMIT = 100_000


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path, save):
    path = tmp_path / 'a.npz'
    save(path, view=np.arange(6, dtype=np.float32).reshape(2, 3), mask=np.ones(5, bool))
    for source in (path, io.BytesIO(path.read_bytes())):
        arrays = read_npz(source, LIMIT)
        assert set(arrays) == {'view', 'mask'} and arrays['mask'].dtype == bool
        np.testing.assert_array_equal(arrays['view'], [[0, 1, 2], [3, 4, 5]])


def test_a_small_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / 'bomb.npz'
    np.savez_compressed(path, a=np.zeros(20_000_000, np.uint8))
    assert path.stat().st_size < LIMIT
    tracemalloc.start()
    with pytest.raises(DataError, match=r'bomb\.npz unpacks to 20000\d+ bytes, more than'):
        read_npz(path, LIMIT)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_bomb_that_lies_about_its_size_is_cut_short(tmp_path):
    path = tmp_path / 'liar.npz'
    np.savez_compressed(path, a=np.zeros(20_000_000, np.uint8))
    with zipfile.ZipFile(path) as archive:
        true = archive.getinfo('a.npy').file_size
    content = path.read_bytes()
    path.write_bytes(content.replace(true.to_bytes(4, 'little'), (1000).to_bytes(4, 'little')))
    with pytest.raises(DataError, match=r'liar\.npz holds no arrays'):
        read_npz(path, LIMIT)


def test_a_shape_beyond_all_memory_is_refused(tmp_path):
    path = tmp_path / 'huge.npz'
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {'descr': '<f8', 'fortran_order': False, 'shape': (2**52,)}
    )
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a.npy', head.getvalue())
    with pytest.raises(DataError, match=r'huge\.npz holds no arrays'):
        read_npz(path, LIMIT)


@pytest.mark.parametrize('content', [b'', b'hello', b'PK\x03\x04'])
def test_what_is_no_archive_is_named(tmp_path, content):
    path = tmp_path / 'a.npz'
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'a\.npz holds no arrays'):
        read_npz(path, LIMIT)
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(DataError, match='holds no arrays'):
        read_npz(path, LIMIT)


def test_gzip_is_unpacked_up_to_the_limit(tmp_path):
    path = tmp_path / 'list.txt.gz'
    # Two members, one after the other, are one file.
    path.write_bytes(gzip.compress(b'one\n') + gzip.compress(b'two\n'))
    assert read_gzip(path, 8) == b'one\ntwo\n'
    path.write_bytes(gzip.compress(bytes(20_000_000)))
    assert path.stat().st_size < LIMIT
    tracemalloc.start()
    with pytest.raises(DataError, match=r'list\.txt\.gz has more than the 100000 bytes'):
        read_gzip(path, LIMIT)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    plain = tmp_path / 'list.txt'
    plain.write_bytes(bytes(LIMIT + 1))
    with pytest.raises(DataError, match='more than the 100000'):
        read_gzip(plain, LIMIT)


def test_lists_of_samples_have_a_limit(tmp_path, monkeypatch):
    path = tmp_path / 'train.txt.gz'
    path.write_bytes(gzip.compress(b'a 1\n\nb 2\r\n'))
    assert listfiles.read_lines(path) == [(1, ['a', '1']), (3, ['b', '2'])]
    monkeypatch.setattr(listfiles, 'MAX_LIST_BYTES', 5)
    with pytest.raises(DataError, match='more than the 5 bytes'):
        listfiles.read_lines(path)
    path.write_bytes(b'no archive')
    with pytest.raises(DataError, match='is not a list of samples'):
        listfiles.read_lines(path)
