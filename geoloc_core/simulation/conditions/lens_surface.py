# SPDX-License-Identifier: Apache-2.0
"""What lies on the lens itself: specks of dirt and drops of water, all far out of focus."""

from dataclasses import dataclass
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
_FOLD = 1024


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
    rows, columns, mask = _dirt(*light.shape[:2], share, seed, wraps)
    mean = np.array(cv2.mean(light)[:3]).astype(np.float32)
    out = light.copy()
    under = light[rows, columns]
    scattered = mean * np.array(_DIRT_RGB, np.float32)
    out[rows, columns] = under + mask * (under * np.float32(_DIRT_PASSES - 1) + scattered)
    return out


@lru_cache(maxsize=8)
def _dirt(
    height: int, width: int, share: float, seed: tuple[int, int], wraps: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], Float32]:
    """Soft specks up to their share of the picture: rows, columns and strength (N, 1) 0..1."""
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
    rows, columns = np.nonzero(soft)
    return rows, columns, soft[rows, columns][:, None].astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class _Water:
    """Pixels under water: indices, how each blends, where it looks (u, v) in the small picture."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    u: Float32
    v: Float32
    alpha: Float32
    rim: Float32


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
    water = _water(height, width, count, seed, wraps)
    size = (max(1, width // _SMALL), max(1, height // _SMALL))
    shrunk = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
    small = np.asarray(cv2.blur(shrunk, (3, 3)), np.float32)
    # Outside of the picture a drop shows what lies behind its edge, mirrored.
    seen = cv2.remap(small, water.u, water.v, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT).reshape(
        -1, 3
    )[: len(water.rows)]
    out = light.copy()
    under = light[water.rows, water.columns]
    out[water.rows, water.columns] = under + water.alpha * (seen * water.rim - under)
    return out


@lru_cache(maxsize=8)
def _water(height: int, width: int, count: int, seed: tuple[int, int], wraps: bool) -> _Water:
    """All drops of a day; where two meet the one lies above that covers more."""
    rng = np.random.default_rng([*seed, 52])
    alpha = np.zeros((height, width), np.float32)
    rim, map_u, map_v = np.ones_like(alpha), np.zeros_like(alpha), np.zeros_like(alpha)
    for _ in range(count):
        u0, v0 = rng.uniform((0, 0), (width, height))
        radius = float(np.clip(np.exp(rng.normal(-3.5, 0.45)), 0.006, 0.09) * height)
        wobble = rng.uniform(0, 2 * np.pi, 2)
        reach = int(radius * 1.4) + 2
        u = np.arange(int(u0) - reach, int(u0) + reach + 1)
        v = np.arange(int(v0) - reach, int(v0) + reach + 1)
        v = v[(v >= 0) & (v < height)]
        u = u if wraps else u[(u >= 0) & (u < width)]
        du, dv = np.meshgrid((u - u0) / radius, (v - v0) / radius)
        # No drop is quite round, and gravity makes it a little longer below.
        angle = np.arctan2(dv, du)
        uneven = 1 + 0.1 * np.sin(2 * angle + wobble[0]) + 0.06 * np.sin(3 * angle + wobble[1])
        distance = np.hypot(du, dv * np.where(dv > 0, 0.85, 1.0)) / uneven
        # Soft over a third of the radius, as nothing on the lens is in focus.
        cover = np.clip((1.15 - distance) / 0.35, 0, 1)
        cover = cover * cover * (3 - 2 * cover) * 0.85
        where = np.ix_(v, u % width)
        above = cover > alpha[where]
        bulge = radius * _DROP_SHRINKS * (1 + np.minimum(distance, 1.2) ** 2)
        su = (u0 - du * bulge + 0.5) / _SMALL - 0.5
        su = su % (width // _SMALL) if wraps else su
        values = (
            (alpha, cover),
            (rim, 1.0 - 0.45 * np.clip((distance - 0.6) / 0.4, 0, 1)),
            (map_u, su),
            (map_v, (v0 - dv * bulge + 0.5) / _SMALL - 0.5),
        )
        for image, value in values:
            image[where] = np.where(above, value, image[where])
    rows, columns = np.nonzero(alpha)
    # cv2.remap refuses lines of 32767 pixels or more: the list is folded.
    pad = -len(rows) % _FOLD
    look = [np.pad(m[rows, columns], (0, pad)).reshape(-1, _FOLD) for m in (map_u, map_v)]
    blend = (m[rows, columns][:, None] for m in (alpha, rim))
    return _Water(rows, columns, *look, *blend)
