# SPDX-License-Identifier: Apache-2.0
"""Depth as the compressedDepth transport carries it: a 12-byte header and a 16-bit PNG."""

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BagError

# What `format` of the CompressedImage says.
FORMAT_16UC1 = '16UC1; compressedDepth png'


def compressed_depth(depth: NDArray[np.uint16] | bytes) -> bytes:
    """The data of a CompressedImage of 16UC1 depth.

    Args:
        depth: (H, W) uint16 mm, or the bytes of a PNG that holds it.

    Raises:
        BagError: It is not (H, W) uint16.
    """
    if isinstance(depth, bytes):
        png = depth
    else:
        if depth.dtype != np.uint16 or depth.ndim != 2:
            raise BagError(f'depth is {depth.dtype} {depth.shape}, expected uint16 (H, W)')
        png = cv2.imencode('.png', depth)[1].tobytes()
    # Format and quantisation speak of 32FC1 alone.
    return struct.pack('<iff', 0, 0.0, 0.0) + png
