# SPDX-License-Identifier: Apache-2.0
"""What a picture file says before it is decoded: how large it claims to be, and whether it ends.

Older OpenCV fills what is missing of a JPEG with grey, and any decoder would first take the memory
that a header asks for.
"""

import struct

from geoloc_core.formats.jpeg import jpeg_has_end, jpeg_size

_PNG = b'\x89PNG\r\n\x1a\n'


def claimed_pixels(data: bytes) -> int | None:
    """Pixels that the header of a PNG or JPEG claims; None for other kinds of files.

    Args:
        data: The whole file.

    Returns:
        Their number; 0 if the file is cut off.
    """
    if data.startswith(_PNG):
        if len(data) < 24:
            return 0
        width, height = struct.unpack('>II', data[16:24])
        return int(width * height)
    if data.startswith(b'\xff\xd8'):
        size = jpeg_size(data)
        return size[0] * size[1] if size is not None and jpeg_has_end(data) else 0
    return None
