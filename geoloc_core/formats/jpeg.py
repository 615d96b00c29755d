# SPDX-License-Identifier: Apache-2.0
"""What a JPEG says before it is decoded: its size, and whether it has an end (ITU-T T.81, B.1)."""

from collections.abc import Iterator

_START_OF_SCAN = 0xDA
# The frame headers: all of C0..CF but tables (C4), reserved (C8) and arithmetic (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Size that the frame header claims.

    Args:
        data: The file, or its beginning.

    Returns:
        (width, height) px; None if there is no frame header before the picture's own data.
    """
    for marker, place, _ in _segments(data):
        if marker in _FRAMES and place + 9 <= len(data):
            height, width = data[place + 5 : place + 7], data[place + 7 : place + 9]
            return int.from_bytes(width, 'big'), int.from_bytes(height, 'big')
    return None


def jpeg_has_end(data: bytes) -> bool:
    """Whether a whole file's picture data end with their mark.

    Cameras append things behind the end, and thumbnails before it have one of their own.
    """
    for marker, _, after in _segments(data):
        if marker == _START_OF_SCAN:
            return data.find(b'\xff\xd9', after) >= 0
    return False


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, place of it, place after its segment), up to the start of scan or to damage."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        after = place + 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
        yield marker, place, after
        if marker == _START_OF_SCAN:
            return
        place = after
