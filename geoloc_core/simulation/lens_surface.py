# SPDX-License-Identifier: Apache-2.0
"""What lies on the lens itself: specks of dirt and drops of water, all far out of focus."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# Light that dried mud lets through in the middle of a speck, and the part it scatters instead.
_DIRT_PASSES = 0.35
_DIRT_RGB = (0.20, 0.16, 0.11)
_MAX_SPECKS = 600
# A drop is a fisheye lens: the scene stands on its head and is this much smaller.
_DROP_SHRINKS = 5.0
_SMALL = 4


def add_dirt(light: Float32, share: float, seed: tuple[int, int], wraps: bool) -> Float32:
    """Darkens and browns part of the picture.

    Args:
        light: (H, W, 3) linear, not changed.
        share: Part of the picture under dirt.
        seed: The same specks for the same seed.
        wraps: The picture is a panorama.

    Returns:
        (H, W, 3).
    """
    mask = _dirt_mask(*light.shape[:2], share, seed, wraps)[..., None]
    scattered = light.mean(axis=(0, 1)) * np.array(_DIRT_RGB, np.float32)
    return light + mask * (light * np.float32(_DIRT_PASSES - 1) + scattered)


@lru_cache(maxsize=8)
def _dirt_mask(
    height: int, width: int, share: float, seed: tuple[int, int], wraps: bool
) -> Float32:
    """(H, W) 0..1: soft specks until their share of the picture is reached."""
    rng = np.random.default_rng([*seed, 51])
    mask = np.zeros((height, width), np.uint8)
    shifts = (-width, 0, width) if wraps else (0,)
    for _ in range(_MAX_SPECKS):
        if np.count_nonzero(mask) >= share * mask.size:
            break
        u, v = rng.uniform(0, width), rng.uniform(0, height)
        size = np.exp(rng.normal(-4.2, 0.7, 2)) * height
        angle, level = rng.uniform(0, 180), round(rng.uniform(90, 255))
        for shift in shifts:
            axes = tuple(max(1, round(float(s))) for s in size)
            center = (round(u + shift), round(v))
            cv2.ellipse(mask, center, axes, angle, 0, 360, level, -1, cv2.LINE_AA)
    sigma = max(0.8, height / 160)
    pad = int(4 * sigma) + 1
    border = cv2.BORDER_WRAP if wraps else cv2.BORDER_REPLICATE
    wide = cv2.copyMakeBorder(mask, 0, 0, pad, pad, border)
    soft = cv2.GaussianBlur(wide, (0, 0), sigma)[:, pad : pad + width]
    return soft.astype(np.float32) / np.float32(255)


def add_drops(light: Float32, count: int, seed: tuple[int, int], wraps: bool) -> Float32:
    """Puts drops of water on the lens: blurred, upside-down little pictures of the scene.

    Args:
        light: (H, W, 3) linear, not changed.
        count: How many drops.
        seed: The same drops for the same seed.
        wraps: The picture is a panorama.

    Returns:
        (H, W, 3).
    """
    height, width = light.shape[:2]
    rng = np.random.default_rng([*seed, 52])
    size = (max(1, width // _SMALL), max(1, height // _SMALL))
    shrunk = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
    small = np.asarray(cv2.blur(shrunk, (3, 3)), np.float32)
    out = light.copy()
    for _ in range(count):
        middle = rng.uniform((0, 0), (width, height))
        radius = float(np.clip(np.exp(rng.normal(-3.5, 0.45)), 0.006, 0.09) * height)
        wobble = rng.uniform(0, 2 * np.pi, 2)
        _add_drop(out, small, middle, radius, wobble, wraps)
    return out


def _add_drop(
    out: Float32, small: Float32, middle: NDArray, radius: float, wobble: NDArray, wraps: bool
) -> None:
    height, width = out.shape[:2]
    reach = int(radius * 1.4) + 2
    u = np.arange(int(middle[0]) - reach, int(middle[0]) + reach + 1)
    v = np.arange(int(middle[1]) - reach, int(middle[1]) + reach + 1)
    v = v[(v >= 0) & (v < height)]
    if not wraps:
        u = u[(u >= 0) & (u < width)]
    du, dv = np.meshgrid((u - middle[0]) / radius, (v - middle[1]) / radius)
    angle = np.arctan2(dv, du)
    # Gravity makes drops a little longer below; no drop is quite round.
    uneven = 1 + 0.1 * np.sin(2 * angle + wobble[0]) + 0.06 * np.sin(3 * angle + wobble[1])
    distance = np.hypot(du, dv * np.where(dv > 0, 0.85, 1.0)) / uneven
    # Soft over a third of the radius, as nothing on the lens is in focus.
    alpha = np.clip((1.15 - distance) / 0.35, 0, 1)
    alpha = (alpha * alpha * (3 - 2 * alpha) * 0.85).astype(np.float32)[..., None]
    bulge = _DROP_SHRINKS * (1 + np.minimum(distance, 1.2) ** 2)
    su = (middle[0] - du * radius * bulge + 0.5) / _SMALL - 0.5
    sv = (middle[1] - dv * radius * bulge + 0.5) / _SMALL - 0.5
    if wraps:
        su = su % small.shape[1]
    # Outside of the picture a drop shows what lies behind its edge, mirrored.
    seen = cv2.remap(
        small, su.astype(np.float32), sv.astype(np.float32), cv2.INTER_LINEAR, None,
        cv2.BORDER_REFLECT,
    )  # fmt: skip
    rim = (1.0 - 0.45 * np.clip((distance - 0.6) / 0.4, 0, 1)).astype(np.float32)[..., None]
    where = np.ix_(v, u % width)
    out[where] += alpha * (seen * rim - out[where])
