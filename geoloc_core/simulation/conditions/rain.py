# SPDX-License-Identifier: Apache-2.0
"""Falling rain: streaks of drops near the camera, hidden by what stands before them."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# A drop falls 8 m/s; in a sixtieth of a second it draws a streak of this length, m.
_STREAK_M = 0.13
_DROP_M = 0.002
# Streaks are told apart up to here; those beyond are the haze of the scene itself.
_NEAR_M, _FAR_M = 0.5, 12.0
_BANDS = 4
# Streaks in a full sphere for each mm/h.
_PER_MM_H = 110.0
_MAX_STREAKS = 12000
_SHIFT = 4


def add_streaks(
    light: Float32,
    rain_mm_h: float,
    rng: np.random.Generator,
    depth_m: Float32 | None,
    pixel_rad: float,
    wraps: bool,
) -> Float32:
    """Draws streaks into linear light.

    A drop sends the light of a wide piece of sky to the camera, so streaks are as bright as the
    upper part of the picture. Nearer ones are longer, wider and rarer.

    Args:
        light: (H, W, 3) linear, not changed.
        rain_mm_h: How hard it rains.
        rng: Where the drops are in this frame.
        depth_m: (H, W) m, NaN for the sky, or None.
        pixel_rad: Angle across a pixel.
        wraps: The picture is a panorama.

    Returns:
        (H, W, 3).
    """
    height, width = light.shape[:2]
    sphere = height * width * pixel_rad**2 / (4 * np.pi)
    count = min(_MAX_STREAKS, round(_PER_MM_H * rain_mm_h * min(1.0, sphere)))
    distance = np.exp(rng.uniform(np.log(_NEAR_M), np.log(_FAR_M), count))
    u = rng.uniform(-0.5, width - 0.5, count)
    v = rng.uniform(-0.5, height - 0.5, count)
    slant = rng.normal(0, 0.15) + rng.normal(0, 0.04, count)
    half = np.minimum(_STREAK_M / distance / pixel_rad, 0.4 * height) / 2
    veil = np.zeros((height, width), np.uint8)
    edges = np.geomspace(_NEAR_M, _FAR_M, _BANDS + 1)
    for near, far in pairwise(edges):
        chosen = np.flatnonzero((distance >= near) & (distance < far))
        if not len(chosen):
            continue
        wide = _DROP_M / near / pixel_rad
        starts = np.stack([u - half * slant, v - half], axis=-1)[chosen]
        ends = np.stack([u + half * slant, v + half], axis=-1)[chosen]
        # A streak thinner than a pixel covers only its part of it.
        level = max(1, round(255 * 0.3 * min(1.0, wide**0.7)))
        mask = _lines(starts, ends, (height, width), max(1, round(wide)), level, wraps)
        if depth_m is not None:
            # Not a number is the sky: nothing hides rain there.
            mask[depth_m < np.sqrt(near * far)] = 0
        cv2.max(veil, mask, dst=veil)
    sky = np.array(cv2.mean(light[: max(1, height // 3)])[:3], np.float32) * np.float32(1.15)
    wet = np.flatnonzero(veil)
    out = light.reshape(-1, 3).copy()
    under = out.take(wet, axis=0)
    share = veil.ravel().take(wet).astype(np.float32)[:, None] * np.float32(1 / 255)
    out[wet] = under + share * (sky - under)
    return out.reshape(light.shape)


def _lines(
    starts: NDArray,
    ends: NDArray,
    shape: tuple[int, int],
    thickness: int,
    level: int,
    wraps: bool,
) -> NDArray[np.uint8]:
    """Anti-aliased segments of a level as a mask."""
    width = shape[1]
    pairs = np.stack([starts, ends], axis=1)
    if wraps:
        pairs = np.concatenate([pairs + np.array([shift, 0]) for shift in (-width, 0, width)])
        inside = (pairs[..., 0].max(axis=1) > -2) & (pairs[..., 0].min(axis=1) < width + 2)
        pairs = pairs[inside]
    fixed = np.rint(pairs * 2**_SHIFT).astype(np.int32)
    mask = np.zeros(shape, np.uint8)
    cv2.polylines(mask, list(fixed), False, level, thickness, cv2.LINE_AA, _SHIFT)
    return mask
