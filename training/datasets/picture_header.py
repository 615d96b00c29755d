# SPDX-License-Identifier: Apache-2.0
"""What a picture file says before it is decoded: how large it claims to be, and whether it ends.

Older OpenCV fills what is missing of a JPEG with grey, and any decoder would first take the memory
that a header asks for.
"""

import struct

_PNG = b'\x89PNG\r\n\x1a\n'


def claimed_pixels(data: bytes) -> int | None:
    """Pixels that the header of a PNG or JPEG claims; None for other kinds of files.

    Args:
        data: The whole file.

    Returns:
        Their number; 0 if the file is cut off.
    """
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack('>II', data[16:24])
            return int(width * height)
        if data.startswith(b'\xff\xd8'):
            return _jpeg_pixels(data)
    except (struct.error, IndexError):
        return 0
    return None


def _jpeg_pixels(data: bytes) -> int:
    """Walks the segments up to the picture's own data, then looks for its end mark."""
    place, pixels = 2, 0
    while True:
        while data[place] == 0xFF and data[place + 1] == 0xFF:
            place += 1  # fill bytes
        marker = data[place + 1]
        length = struct.unpack('>H', data[place + 2 : place + 4])[0]
        # The frame headers: all of C0..CF but tables (C4), reserved (C8) and arithmetic (CC).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack('>HH', data[place + 5 : place + 9])
            pixels = int(width * height)
        place += 2 + length
        if marker == 0xDA:
            # Cameras append things behind the end, and thumbnails before it have one too.
            return pixels if data.find(b'\xff\xd9', place) >= 0 else 0
