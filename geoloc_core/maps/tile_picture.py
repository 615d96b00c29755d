# SPDX-License-Identifier: Apache-2.0
"""Decodes one tile, after looking at its header: nothing huge and nothing torn gets through."""

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.formats.jpeg import jpeg_size

# The largest tiles in use have 512 or 1024 pixels a side; a bomb has a hundred thousand.
_MAX_SIDE_PX = 2048


def picture_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a PNG, JPEG or WebP picture, from its header alone.

    Raises:
        MapError: It is none of these, or ends too early.
    """
    try:
        if data.startswith(b'\x89PNG\r\n\x1a\n'):
            if b'IEND' not in data[-64:]:
                raise MapError('the PNG picture is torn: its end is missing')
            width, height = struct.unpack('>II', data[16:24])
            return width, height
        if data.startswith(b'\xff\xd8'):
            if b'\xff\xd9' not in data[-64:]:
                raise MapError('the JPEG picture is torn: its end is missing')
            return _jpeg_size(data)
        if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
            if struct.unpack('<I', data[4:8])[0] + 8 > len(data):
                raise MapError('the WebP picture is torn: its end is missing')
            return _webp_size(data)
    except (struct.error, IndexError) as error:
        raise MapError('the picture is torn: its header is incomplete') from error
    raise MapError(f'not a PNG, JPEG or WebP picture (starts with {data[:16]!r})')


def decode_tile(data: bytes, tile_px: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Decodes a tile to the side all tiles of its source have.

    Args:
        data: A PNG, JPEG or WebP file.
        tile_px: Side wanted; a tile of another size is resized.

    Returns:
        (tile_px, tile_px, 3) uint8 RGB and (tile_px, tile_px) uint8, 255 = imagery.

    Raises:
        MapError: Torn, unreasonably large or not a picture.
    """
    width, height = picture_size(data)
    if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX):
        raise MapError(f'a tile of {width} x {height} pixels; at most {_MAX_SIDE_PX} are taken')
    picture: NDArray[Any] | None = cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
    )
    if picture is None:
        raise MapError('the picture cannot be decoded')
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.shape[:2] != (tile_px, tile_px):
        smaller = picture.shape[0] > tile_px
        picture = cv2.resize(
            picture,
            (tile_px, tile_px),
            interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
        )
    mask: NDArray[np.uint8] = np.full(picture.shape[:2], 255, np.uint8)
    if picture.ndim == 2:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), np.uint8), mask
    if picture.shape[2] == 4:
        mask[picture[..., 3] < 128] = 0
    return np.asarray(cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB), np.uint8), mask


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size = jpeg_size(data)
    if size is None:
        raise MapError('the JPEG picture has no frame header')
    return size


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b'VP8X':
        width = int.from_bytes(data[24:27], 'little') + 1
        return width, int.from_bytes(data[27:30], 'little') + 1
    if kind == b'VP8L':
        bits = struct.unpack('<I', data[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8 ':
        width, height = struct.unpack('<HH', data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise MapError(f'the WebP picture has an unknown kind {kind!r}')
