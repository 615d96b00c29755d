# SPDX-License-Identifier: Apache-2.0
"""Pixels out of image messages: steps, byte order, Bayer, YUV, depth, compressed images.

Works on anything with the fields of sensor_msgs/Image or CompressedImage (rclpy or rosbags). On a
robot cv_bridge does the plain encodings; everything else, and every machine without ROS, takes
the decoder here. Nothing is guessed: what does not fit raises `InputError`.
"""

from functools import lru_cache
import logging
import struct
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import InputError
from geoloc_core.formats.jpeg import jpeg_size

log = logging.getLogger(__name__)

MAX_PIXELS = 50_000_000  # guards against damaged headers that would ask for all memory

# One count of 16UC1 depth, m (REP-118), and the count that is no distance.
MILLIMETRE = 0.001
NO_RETURN = 65535

Rgb = NDArray[np.uint8]

# encoding -> (dtype, channels, cv2 conversion to RGB or None)
_PACKED: dict[str, tuple[type, int, int | None]] = {
    'rgb8': (np.uint8, 3, None),
    'bgr8': (np.uint8, 3, cv2.COLOR_BGR2RGB),
    'rgba8': (np.uint8, 4, cv2.COLOR_RGBA2RGB),
    'bgra8': (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    'mono8': (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    '8UC1': (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    '8UC3': (np.uint8, 3, cv2.COLOR_BGR2RGB),
    'rgb16': (np.uint16, 3, None),
    'bgr16': (np.uint16, 3, cv2.COLOR_BGR2RGB),
    'rgba16': (np.uint16, 4, cv2.COLOR_RGBA2RGB),
    'bgra16': (np.uint16, 4, cv2.COLOR_BGRA2RGB),
    'mono16': (np.uint16, 1, cv2.COLOR_GRAY2RGB),
    # ROS names a Bayer pattern by its first row and column, OpenCV by its second.
    'bayer_rggb8': (np.uint8, 1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': (np.uint8, 1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': (np.uint8, 1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': (np.uint8, 1, cv2.COLOR_BayerGB2RGB),
    'bayer_rggb16': (np.uint16, 1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr16': (np.uint16, 1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg16': (np.uint16, 1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg16': (np.uint16, 1, cv2.COLOR_BayerGB2RGB),
    'uyvy': (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422': (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    'yuyv': (np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    'yuv422_yuy2': (np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
}
# Luma plane of `height` rows, then half as many rows of chroma.
_PLANAR: dict[str, int] = {
    'nv12': cv2.COLOR_YUV2RGB_NV12,
    'nv21': cv2.COLOR_YUV2RGB_NV21,
    'i420': cv2.COLOR_YUV2RGB_I420,
}
# What cv_bridge is known to decode to the same pixels; it has no planar YUV, and rounds 16 bits.
_CV_BRIDGE = frozenset({'rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8'})

ENCODINGS = (*_PACKED, *_PLANAR)
DEPTH_ENCODINGS = ('16UC1', 'mono16', '32FC1')


def decode_image(message: Any, use_cv_bridge: bool = True) -> Rgb:
    """The picture of a sensor_msgs/Image.

    Args:
        message: Fields height, width, encoding, is_bigendian, step, data.
        use_cv_bridge: Let cv_bridge do plain encodings where it is installed.

    Returns:
        (H, W, 3) uint8, RGB, writable memory of its own; 16-bit images are scaled by 255 / 65535.

    Raises:
        InputError: Unknown encoding, impossible size or step, or too little data.
    """
    encoding = str(message.encoding)
    if encoding in _PLANAR:
        return _decode_planar(message, _PLANAR[encoding])
    if encoding not in _PACKED:
        raise InputError(
            f'image encoding {encoding!r} is not supported; known are {", ".join(ENCODINGS)}'
        )
    dtype, channels, code = _PACKED[encoding]
    pixels = _rows(message, dtype, channels)
    if use_cv_bridge and encoding in _CV_BRIDGE:
        bridged = _with_cv_bridge(message)
        if bridged is not None:
            return bridged
    if code in (cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2RGB_YUY2) and message.width % 2:
        raise InputError(f'{encoding} needs an even width, got {message.width}')
    if encoding.startswith('bayer') and min(message.width, message.height) < 2:
        raise InputError(f'{encoding} needs 2 x 2 pixels, got {message.width} x {message.height}')
    rgb = np.array(pixels) if code is None else cv2.cvtColor(np.ascontiguousarray(pixels), code)
    return _to_8_bits(rgb)


def decode_compressed_image(message: Any) -> Rgb:
    """The picture of a sensor_msgs/CompressedImage (JPEG or PNG).

    Args:
        message: Fields format, data.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: Neither JPEG nor PNG, torn, or larger than `MAX_PIXELS`.
    """
    text = str(message.format)
    if 'compressedDepth' in text:
        raise InputError(f'format {text!r} is a depth image: subscribe it as depth, not as image')
    if text.startswith('bayer') and 'compressed bgr8' not in text and 'mono8' not in text:
        raise InputError(f'compressed Bayer images ({text!r}) are not supported: debayer first')
    image = _decode_file(_bytes(message.data))
    if image.ndim == 2:
        return _to_8_bits(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
    code = cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return _to_8_bits(cv2.cvtColor(image, code))


def decode_depth(message: Any, unit_m: float = MILLIMETRE) -> NDArray[np.float32]:
    """Depth in metres of a sensor_msgs/Image (REP-118: 16UC1 in mm, 32FC1 in m).

    Args:
        message: Fields height, width, encoding, is_bigendian, step, data.
        unit_m: Metres of one count of 16UC1, for drivers that do not keep to REP-118.

    Returns:
        (H, W) float32, m; NaN where the sensor says nothing: 0, negative, not finite, and the
        largest count of 16UC1, with which some sensors say the same.

    Raises:
        InputError: Another encoding, impossible size or step, or too little data.
    """
    encoding = str(message.encoding)
    if encoding in ('16UC1', 'mono16'):
        return _depth_from_counts(_rows(message, np.uint16, 1), unit_m)
    if encoding == '32FC1':
        return _valid_depth(np.array(_rows(message, np.float32, 1), dtype=np.float32))
    raise InputError(
        f'depth encoding {encoding!r} is not supported; known are 16UC1 (mm) and 32FC1 (m)'
    )


def decode_compressed_depth(message: Any, unit_m: float = MILLIMETRE) -> NDArray[np.float32]:
    """Depth in metres of a CompressedImage of the compressedDepth transport (PNG).

    The data are a 12-byte header (int32 format, float32 a, float32 b) and a 16-bit PNG. For 32FC1
    the PNG holds inverse depth: depth = a / (value - b), 0 where unknown.

    Raises:
        InputError: Another format (RVL, JPEG), or torn data.
    """
    text = str(message.format)
    data = _bytes(message.data)
    if 'compressedDepth' not in text or 'rvl' in text.lower():
        raise InputError(f'depth format {text!r} is not supported: use compressedDepth with png')
    if data.size <= 12:
        raise InputError(f'compressedDepth needs more than its 12 byte header, got {data.size}')
    _, a, b = struct.unpack('<iff', data[:12].tobytes())
    raw = _decode_file(data[12:])
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise InputError(f'compressedDepth holds {raw.dtype} {raw.shape}, expected 16-bit gray')
    if text.startswith('16UC1'):
        return _depth_from_counts(raw, unit_m)
    if not text.startswith('32FC1'):
        raise InputError(f'depth format {text!r} names neither 16UC1 nor 32FC1')
    value = raw.astype(np.float32)
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.where(raw == 0, np.float32(np.nan), np.float32(a) / (value - np.float32(b)))
    return _valid_depth(depth.astype(np.float32))


def _rows(message: Any, dtype: type, channels: int) -> NDArray:
    """View of the pixels, (H, W) or (H, W, C), padding cut off, bytes in native order."""
    width, height = _size(message)
    item = np.dtype(dtype).itemsize
    row_bytes = width * channels * item
    plane = _plane(message, height, row_bytes)
    order: Literal['<', '>'] = '>' if item > 1 and message.is_bigendian else '<'
    pixels = np.ascontiguousarray(plane).view(np.dtype(dtype).newbyteorder(order))
    if order == '>':
        pixels = pixels.astype(dtype)
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def _plane(message: Any, rows: int, row_bytes: int) -> NDArray[np.uint8]:
    """(rows, row_bytes) uint8 view of the data without the padding at the end of rows."""
    step = int(message.step)
    data = _bytes(message.data)
    what = f'{message.encoding} image of {message.width} x {message.height}'
    if step < row_bytes:
        raise InputError(f'{what}: step is {step} bytes, a row needs {row_bytes}')
    # The last row may come without padding.
    needed = step * (rows - 1) + row_bytes
    if data.size < needed:
        raise InputError(f'{what}: data are truncated, {data.size} bytes of {needed}')
    return np.lib.stride_tricks.as_strided(
        data, shape=(rows, row_bytes), strides=(step, 1), writeable=False
    )


def _decode_planar(message: Any, code: int) -> Rgb:
    """NV12, NV21 and I420 -> RGB."""
    width, height = _size(message)
    if width % 2 or height % 2:
        raise InputError(f'{message.encoding} needs even sides, got {width} x {height}')
    if code == cv2.COLOR_YUV2RGB_I420 and int(message.step) != width:
        # Chroma rows of half the width would be padded in ways that drivers do not agree on.
        raise InputError(f'i420 with padded rows (step {message.step}) is not supported')
    plane = _plane(message, height * 3 // 2, width)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(plane), code), dtype=np.uint8)


def _size(message: Any) -> tuple[int, int]:
    width, height = int(message.width), int(message.height)
    if width < 1 or height < 1:
        raise InputError(f'image has no pixels: {width} x {height}')
    if width * height > MAX_PIXELS:
        raise InputError(f'image of {width} x {height} exceeds the limit of {MAX_PIXELS} pixels')
    return width, height


def _bytes(data: Any) -> NDArray[np.uint8]:
    """Message data as flat uint8 without copying."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, dtype=np.uint8)


def _to_8_bits(image: NDArray) -> Rgb:
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=255.0 / 65535.0)
    return np.asarray(image, dtype=np.uint8)


def _depth_from_counts(raw: NDArray, unit_m: float) -> NDArray[np.float32]:
    depth = raw.astype(np.float32) * np.float32(unit_m)
    depth[raw == NO_RETURN] = np.nan
    return _valid_depth(depth)


def _valid_depth(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Marks in place what is no depth."""
    with np.errstate(invalid='ignore'):
        depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def _decode_file(data: NDArray[np.uint8]) -> NDArray:
    """Decodes a whole JPEG or PNG, BGR order; OpenCV alone would fill a torn one with gray."""
    width, height = _file_size(data)
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise InputError(f'compressed image claims {width} x {height} pixels')
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if image is None or image.shape[:2] != (height, width):
        raise InputError(f'compressed image of {width} x {height} cannot be decoded')
    return image


def _file_size(data: NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height) that the header of a JPEG or PNG tells, after checking that it has an end.

    Raises:
        InputError: Neither of both, or torn.
    """
    raw = data.tobytes()
    if raw.startswith(b'\x89PNG\r\n\x1a\n') and raw[12:16] == b'IHDR':
        if b'IEND' not in raw[-64:]:
            raise InputError(f'PNG is truncated ({len(raw)} bytes, no end mark)')
        return struct.unpack('>II', raw[16:24])
    if raw.startswith(b'\xff\xd8'):
        if b'\xff\xd9' not in raw[-64:]:
            raise InputError(f'JPEG is truncated ({len(raw)} bytes, no end mark)')
        size = jpeg_size(raw)
        if size is None:
            raise InputError('JPEG has no frame header')
        return size
    raise InputError(f'compressed image is neither JPEG nor PNG (starts with {raw[:8].hex()!r})')


@lru_cache(maxsize=1)
def _cv_bridge() -> Any | None:
    """A CvBridge, or None where it is not installed or does not work (the one on PyPI)."""
    try:
        from cv_bridge import CvBridge

        return CvBridge()
    except Exception as error:  # whatever a broken installation throws, the own decoder remains
        log.debug('cv_bridge is not used: %s', error)
        return None


def _with_cv_bridge(message: Any) -> Rgb | None:
    bridge = _cv_bridge()
    # rosbags messages carry ndarrays, which cv_bridge was not made for.
    if bridge is None or isinstance(message.data, np.ndarray):
        return None
    try:
        return np.array(bridge.imgmsg_to_cv2(message, 'rgb8'))
    except Exception as error:
        log.warning('cv_bridge failed on %s (%s): own decoder used', message.encoding, error)
        return None
