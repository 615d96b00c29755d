# SPDX-License-Identifier: Apache-2.0
"""What a real camera does to a rendered picture, in the order in which light meets it.

Scene light, linear -> rain in the air -> motion blur and defocus -> dirt and drops on the lens ->
vignetting and exposure -> the sensor's noise -> sRGB curve -> JPEG. Only colours change: depth and
labels stay those of the scene.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.simulation.conditions.draws import GroundDay
from geoloc_core.simulation.conditions.lens_surface import add_dirt, add_drops
from geoloc_core.simulation.conditions.rain import add_streaks

Image = NDArray[np.uint8]
Float32 = NDArray[np.float32]

# A small sensor: electrons that one pixel holds at ISO 100, and the noise of reading it.
_FULL_WELL = 20000.0
_READ_NOISE = 3.0
# Below this a blur would only cost time, px.
_MIN_BLUR_PX = 0.1


def expose(
    image: Image,
    day: GroundDay,
    seed: int = 0,
    depth_m: Float32 | None = None,
    camera: AbstractCamera | None = None,
) -> Image:
    """Takes the rendered picture through the day's camera.

    Args:
        image: (H, W, 3) uint8 sRGB, as rendered; not changed.
        day: The day's draws. Dirt and drops are the day's own and stay where they are.
        seed: Of what differs from frame to frame: noise and falling rain.
        depth_m: (H, W) distance or depth, m, NaN for the sky; rain falls only in front of what is
            there. Without it all rain is in front.
        camera: Tells whether the picture's sides are neighbours (a panorama) and how wide a pixel
            is; a 90 degree view without it.

    Returns:
        (H, W, 3) uint8; equal to `image` when the day asks for nothing.
    """
    if is_perfect(day):
        return image.copy()
    rng = np.random.default_rng([day.seed, day.index, 50, seed])
    wraps = camera is not None and camera.wraps
    light = to_linear(image)
    if day.rain_mm_h > 0:
        light = add_streaks(light, day.rain_mm_h, rng, depth_m, pixel_rad(camera, image), wraps)
    if max(day.motion_blur_px, day.defocus_px) > _MIN_BLUR_PX:
        kernel = _kernel(day.motion_blur_px, day.motion_blur_direction, day.defocus_px)
        light = _filter(light, kernel, wraps)
    if day.dirt > 0:
        light = add_dirt(light, day.dirt, (day.seed, day.index), wraps)
    if day.lens_drops > 0:
        light = add_drops(light, day.lens_drops, (day.seed, day.index), wraps)
    if day.exposure_ev or day.night_ev:
        light = light * np.float32(2.0 ** (day.exposure_ev + day.night_ev))
    if day.vignetting_ev > 0 and not wraps:
        light = light * _vignette(image.shape[0], image.shape[1], day.vignetting_ev)
    if day.iso > 0:
        light = _add_noise(light, day.iso, rng)
    out = to_srgb(light)
    return compress(out, day.jpeg_quality) if day.jpeg_quality < 100 else out


def is_perfect(day: GroundDay) -> bool:
    """Whether a day's camera leaves pictures as they are."""
    effects = (
        day.rain_mm_h, day.motion_blur_px, day.defocus_px, day.dirt, day.lens_drops,
        day.exposure_ev, day.night_ev, day.vignetting_ev, day.iso,
    )  # fmt: skip
    return not any(effects) and day.jpeg_quality >= 100


@lru_cache(maxsize=1)
def _curves() -> tuple[Float32, Image]:
    """IEC 61966-2-1: light (256,) 0..1 of each level, and the level of 65536 steps of light."""
    level = np.arange(256) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    steps = np.arange(65536) / 65535
    back = np.where(steps <= 0.0031308, 12.92 * steps, 1.055 * steps ** (1 / 2.4) - 0.055)
    return light.astype(np.float32), np.rint(255 * back).astype(np.uint8)


def to_linear(image: Image) -> Float32:
    """Linear light (..., 3) float32, 0..1, of sRGB levels."""
    return np.asarray(cv2.LUT(image, _curves()[0]), np.float32)


def to_srgb(light: Float32) -> Image:
    """SRGB levels (..., 3) uint8 of linear light; beyond 0..1 it is cut off."""
    steps = light * np.float32(65535)
    steps += np.float32(0.5)
    np.clip(steps, 0, 65535, out=steps)
    return _curves()[1][steps.astype(np.uint16)]


def compress(image: Image, quality: int) -> Image:
    """An RGB picture after JPEG at a quality 1..100."""
    _, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def pixel_rad(camera: AbstractCamera | None, image: Image) -> float:
    """Angle that the middle pixel of a picture spans, rad."""
    if camera is None:
        return float(np.pi / 2 / image.shape[1])
    return _pixel_rad(camera)


@lru_cache(maxsize=8)
def _pixel_rad(camera: AbstractCamera) -> float:
    middle = np.array([[camera.width / 2, camera.height / 2]])
    a, b = camera.unproject(np.concatenate([middle, middle + np.array([1.0, 0.0])]))
    return float(np.arccos(np.clip(a @ b, -1, 1)))


def _filter(light: Float32, kernel: Float32, wraps: bool) -> Float32:
    """Convolution; a panorama continues over its left and right edges."""
    if not wraps:
        blurred = cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred, np.float32)
    pad = min(kernel.shape[1] // 2, light.shape[1])
    wide = cv2.copyMakeBorder(light, 0, 0, pad, pad, cv2.BORDER_WRAP)
    blurred = cv2.filter2D(wide, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(blurred[:, pad : pad + light.shape[1]], np.float32)


@lru_cache(maxsize=64)
def _kernel(length: float, direction: float, radius: float) -> Float32:
    """Motion and defocus as one convolution."""
    if length <= _MIN_BLUR_PX:
        return _disc_kernel(radius)
    line = _line_kernel(length, direction)
    if radius <= _MIN_BLUR_PX:
        return line
    disc = _disc_kernel(radius)
    wide = np.pad(line, len(disc) // 2)
    both = cv2.filter2D(wide, -1, disc, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(both / both.sum(), np.float32)


def _line_kernel(length: float, direction: float) -> Float32:
    """A line of a length (px) through the kernel's middle; direction in rad, u to the right."""
    half = int(np.ceil(length / 2)) + 1
    along = (np.arange(64) + 0.5) / 64 * length - length / 2
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    u, v = half + along * np.cos(direction), half + along * np.sin(direction)
    # Each point of the line is shared by the four pixels around it.
    for du in (0, 1):
        for dv in (0, 1):
            i, j = np.floor(v).astype(int) + dv, np.floor(u).astype(int) + du
            weight = (1 - np.abs(u - j)) * (1 - np.abs(v - i))
            inside = (i < len(kernel)) & (j < len(kernel))
            np.add.at(kernel, (i[inside], j[inside]), weight[inside])
    return (kernel / kernel.sum()).astype(np.float32)


def _disc_kernel(radius: float) -> Float32:
    """A disc: each pixel has the part of it that the disc covers."""
    half = int(np.ceil(radius + 0.5))
    fine = (np.arange((2 * half + 1) * 8) + 0.5) / 8 - half - 0.5
    inside = (fine[:, None] ** 2 + fine**2 <= radius**2).astype(np.float64)
    kernel = inside.reshape(2 * half + 1, 8, 2 * half + 1, 8).sum(axis=(1, 3))
    return (kernel / kernel.sum()).astype(np.float32)


@lru_cache(maxsize=16)
def _vignette(height: int, width: int, ev: float) -> Float32:
    """(H, W, 1) factor: 1 in the middle, 2^-ev in the corners, as the square of the distance."""
    v = (np.arange(height) + 0.5) / height * 2 - 1
    u = (np.arange(width) + 0.5) / width * 2 - 1
    aspect = width / height
    square = (v[:, None] ** 2 + (u * aspect) ** 2) / (1 + aspect**2)
    return np.exp2(-ev * square)[..., None].astype(np.float32)


def _add_noise(light: Float32, iso: float, rng: np.random.Generator) -> Float32:
    """Shot noise, which grows as the root of the light, and the noise of reading the sensor."""
    electrons = np.float32(_FULL_WELL * 100 / iso)
    floor = np.float32((_READ_NOISE / electrons) ** 2)
    sigma: Float32 = np.sqrt(np.maximum(light, 0) / electrons + floor)
    # One table of noise, entered at a random place, costs a tenth of drawing it anew.
    grain = _grain()
    start = int(rng.integers(len(grain)))
    sigma *= np.resize(np.roll(grain, -start), light.size).reshape(light.shape)
    sigma += light
    return sigma


@lru_cache(maxsize=1)
def _grain() -> Float32:
    return np.random.default_rng(53).standard_normal(1_000_003, np.float32)
