# SPDX-License-Identifier: Apache-2.0
"""One file of named arrays and a page of JSON: versioned, checksummed, nothing in it is executed.

    8 bytes   magic
    u32       version of the format
    u64       size of the whole file
    u64       size of the JSON that follows
    JSON      {"about": ..., "arrays": [{"name", "dtype", "shape", "bytes", "packed"}, ...]}
    arrays    one after the other, little-endian, by rows, packed with zlib where that is smaller
    32 bytes  SHA-256 of all before

Numbers of the head are little-endian. A file that was cut off differs in size from what its head
says, one that was damaged in its checksum: the two are told apart.
"""

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
import struct
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.whole_file import whole_file

MAGIC = b'\x89GEOPLC\n'
VERSION = 1
_HEAD = struct.Struct('<8sIQQ')
_DIGEST = hashlib.sha256().digest_size
MAX_FILE_BYTES = 4_000_000_000
# What the arrays may become when unpacked; a small file can promise any size.
MAX_UNPACKED_BYTES = 8_000_000_000
MAX_JSON_BYTES = 32_000_000
_DTYPES = ('<f8', '<f4', '<f2', '<i8', '<i4', '<u4', '<u2', '|u1', '|i1')
_MAX_DIMENSIONS = 4


def write(path: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> int:
    """Writes a file, whole or not at all: a reader never meets half of it under its name.

    Args:
        path: The file; an existing one is replaced.
        about: What JSON can hold.
        arrays: By name, of the types in `_DTYPES`.

    Returns:
        Bytes written.

    Raises:
        MapError: It would be larger than what is read back, or the folder is absent.
    """
    blobs, rows = [], []
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder('<') if array.dtype.itemsize > 1 else array.dtype
        if dtype.str not in _DTYPES or array.ndim > _MAX_DIMENSIONS:
            raise MapError(f'array {name} is {array.dtype} {array.shape}: the file has no such')
        raw = np.ascontiguousarray(array, dtype).tobytes()
        packed = zlib.compress(raw, 6)
        smaller = len(packed) < len(raw)
        blobs.append(packed if smaller else raw)
        rows.append(
            {
                'name': name,
                'dtype': dtype.str,
                'shape': list(array.shape),
                'bytes': len(blobs[-1]),
                'packed': smaller,
            }
        )
    page = json.dumps({'about': dict(about), 'arrays': rows}, allow_nan=False).encode('utf-8')
    total = _HEAD.size + len(page) + sum(map(len, blobs)) + _DIGEST
    if total > MAX_FILE_BYTES or len(page) > MAX_JSON_BYTES:
        raise MapError(
            f'{path} would have {total / 1e9:.1f} GB, more than the {MAX_FILE_BYTES / 1e9:.0f} GB '
            'that are read: keep fewer keyframes or features'
        )
    folder = path.resolve().parent
    if not folder.is_dir():
        raise MapError(f'there is no folder {folder} to write {path.name} to')
    digest = hashlib.sha256()
    with whole_file(path) as unfinished, unfinished.open('wb') as file:
        for part in (_HEAD.pack(MAGIC, VERSION, total, len(page)), page, *blobs):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
    return total


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Reads a file that `write` wrote.

    Returns:
        What it is about, and its arrays by name, read-only.

    Raises:
        MapError: Not such a file, of a newer version, cut off, damaged, or beyond the limits.
    """
    content = _content(path)
    page, start = _page(path, content)
    arrays: dict[str, NDArray] = {}
    total = 0
    end = len(content) - _DIGEST
    for row in page['arrays']:
        name, dtype, shape, size, packed = _row(path, row)
        count = int(np.prod(shape, dtype=object)) if shape else 1
        expected = count * dtype.itemsize
        total += expected
        if total > MAX_UNPACKED_BYTES:
            raise MapError(f'{path} promises more than {MAX_UNPACKED_BYTES / 1e9:.0f} GB: refused')
        if start + size > end:
            raise _damaged(path, f'array {name} reaches past the end')
        raw = bytes(content[start : start + size])
        start += size
        if packed:
            raw = _unpacked(path, name, raw, expected)
        if len(raw) != expected:
            raise _damaged(path, f'array {name} has {len(raw)} bytes, its shape {expected}')
        arrays[name] = np.frombuffer(raw, dtype).reshape(shape)
    if start != end:
        raise _damaged(path, f'{end - start} bytes belong to no array')
    return page['about'], arrays


def _content(path: Path) -> memoryview:
    """The bytes of a file, verified."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise MapError(f'{path} is a folder; expected a place map, one file')
        if size > MAX_FILE_BYTES:
            raise MapError(
                f'{path} has {size / 1e9:.1f} GB, more than the {MAX_FILE_BYTES / 1e9:.0f} GB of '
                'the largest place map'
            )
        with path.open('rb') as file:
            head = file.read(_HEAD.size)
            if not head.startswith(MAGIC):
                raise MapError(
                    f'{path} is no place map'
                    + (': it is empty' if not head else '')
                    + '; expected a file made by `geoloc place build`'
                )
            if len(head) < _HEAD.size:
                raise _torn(path, size, None)
            _, version, total, _ = _HEAD.unpack(head)
            if version > VERSION:
                raise MapError(
                    f'{path} has format {version}, this version of geoloc reads up to {VERSION}: '
                    'update geoloc, or build the map with this one'
                )
            if size != total:
                raise _torn(path, size, total)
            content = memoryview(head + file.read())
    except FileNotFoundError as error:
        raise MapError(f'no place map at {path}') from error
    except OSError as error:
        raise MapError(f'{path} cannot be read: {error.strerror or error}') from error
    if len(content) < _HEAD.size + _DIGEST:
        raise _torn(path, len(content), None)
    if hashlib.sha256(content[:-_DIGEST]).digest() != bytes(content[-_DIGEST:]):
        raise _damaged(path, 'its checksum does not fit its content')
    return content


def _page(path: Path, content: memoryview) -> tuple[dict[str, Any], int]:
    """The JSON of a file, and where it ends."""
    size = _HEAD.unpack(content[: _HEAD.size])[3]
    end = _HEAD.size + size
    if size > MAX_JSON_BYTES or end > len(content) - _DIGEST:
        raise _damaged(path, f'its description claims {size} bytes')
    try:
        page = json.loads(bytes(content[_HEAD.size : end]).decode('utf-8'))
        if not isinstance(page['about'], dict) or not isinstance(page['arrays'], list):
            raise TypeError('wrong kinds')
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, f'its description cannot be read ({error})') from error
    return page, end


def _row(path: Path, row: Any) -> tuple[str, np.dtype, tuple[int, ...], int, bool]:
    try:
        name, dtype, shape, size = row['name'], row['dtype'], row['shape'], row['bytes']
        packed = row['packed']
        whole = all(type(n) is int and 0 <= n < 2**40 for n in (*shape, size))
        known = dtype in _DTYPES and isinstance(name, str) and isinstance(packed, bool)
        if not (whole and known and len(shape) <= _MAX_DIMENSIONS):
            raise ValueError('values out of range')
        return name, np.dtype(dtype), tuple(shape), size, packed
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f'an array is described as {str(row)[:120]}') from error


def _unpacked(path: Path, name: str, packed: bytes, expected: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        # One byte more than promised shows that there is more, without unpacking all of it.
        raw = unpacker.decompress(packed, expected + 1)
    except zlib.error as error:
        raise _damaged(path, f'array {name} cannot be unpacked') from error
    if len(raw) == expected and not unpacker.eof:
        raise _damaged(path, f'array {name} goes on past its shape')
    return raw


def _torn(path: Path, size: int, total: int | None) -> MapError:
    of = f' of {total}' if total is not None else ', not even the head'
    return MapError(f'{path} is torn: it has {size}{of} bytes; copy or build it again')


def _damaged(path: Path, what: str) -> MapError:
    return MapError(f'{path} is damaged: {what}; copy or build it again')
