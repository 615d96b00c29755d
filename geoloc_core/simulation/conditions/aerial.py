# SPDX-License-Identifier: Apache-2.0
"""What an aerial camera, the air below it and a tile server do to a true picture from above."""

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.conditions.draws import AerialDay
from geoloc_core.simulation.conditions.lens import compress

Image = NDArray[np.uint8]

# Linear light that a summer's air scatters upwards, were it thick enough to hide the ground.
_VEIL_RGB = np.array([0.55, 0.62, 0.72])
# Contrast turns about this level: 18 % grey.
_MIDDLE = 118.0
_GREY = np.array([0.299, 0.587, 0.114])
_NOISE_ROWS = 256


def develop(image: Image, day: AerialDay, grid: Grid | None = None) -> Image:
    """Takes a rendered picture through the day's aerial camera.

    Args:
        image: (H, W, 3) uint8 RGB, not changed.
        day: Its blur, veil, tint, contrast, saturation, noise and compression.
        grid: Where the picture lies; tiles of one flight differ in their noise.

    Returns:
        (H, W, 3) uint8; equal to `image` when the day asks for nothing.
    """
    out = image
    if day.blur_px > 0.1:
        out = np.asarray(
            cv2.GaussianBlur(out, (0, 0), day.blur_px, borderType=cv2.BORDER_REPLICATE), np.uint8
        )
    table = _table(day)
    if not np.array_equal(table, np.tile(np.arange(256)[:, None], 3)):
        out = np.asarray(cv2.LUT(out, table[None]), np.uint8)
    if day.saturation != 1.0:
        mix = day.saturation * np.eye(3) + (1 - day.saturation) * _GREY
        out = np.asarray(cv2.transform(out, mix), np.uint8)
    if day.noise > 0:
        place = zlib.crc32(repr(grid.center_xy).encode()) if grid else 0
        out = _noisy(out, day.noise, np.random.default_rng([day.seed, day.index, 63, place]))
    if day.jpeg_quality < 100:
        out = compress(out, day.jpeg_quality)
    return out.copy() if out is image else out


def _table(day: AerialDay) -> Image:
    """(256, 3) level of each colour after veil, tint and contrast, in that order."""
    level = np.arange(256)[:, None] / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    light = light * (1 - day.veil) + day.veil * _VEIL_RGB
    light = np.clip(light * np.array(day.tint), 0, 1)
    back = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    return np.clip(np.rint((back - _MIDDLE) * day.contrast + _MIDDLE), 0, 255).astype(np.uint8)


def _noisy(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Grain in bands of rows, as a whole orthophoto in floats would take gigabytes."""
    out = np.empty_like(image)
    for top in range(0, len(image), _NOISE_ROWS):
        band = image[top : top + _NOISE_ROWS]
        grain = rng.standard_normal(band.shape, np.float32)
        grain *= np.float32(sigma)
        grain += band
        out[top : top + _NOISE_ROWS] = np.clip(np.rint(grain, out=grain), 0, 255)
    return out
