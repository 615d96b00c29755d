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
_MAX_STREAKS = 3000
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
    veil = np.zeros((height, width), np.float32)
    edges = np.geomspace(_NEAR_M, _FAR_M, _BANDS + 1)
    open_air = np.full((height, width), np.inf) if depth_m is None else depth_m
    for near, far in pairwise(edges):
        chosen = np.flatnonzero((distance >= near) & (distance < far))
        if not len(chosen):
            continue
        wide = _DROP_M / near / pixel_rad
        starts = np.stack([u - half * slant, v - half], axis=-1)[chosen]
        ends = np.stack([u + half * slant, v + half], axis=-1)[chosen]
        mask = _lines(starts, ends, width, height, max(1, round(wide)), wraps)
        # A streak thinner than a pixel covers only its part of it.
        strength = np.float32(0.3 * min(1.0, wide**0.7) / 255)
        hidden = open_air < np.sqrt(near * far)
        veil += np.where(hidden, np.float32(0), mask * strength)
    np.minimum(veil, 1, out=veil)
    sky = light[: max(1, height // 3)].mean(axis=(0, 1)) * np.float32(1.15)
    return light + veil[..., None] * (sky - light)


def _lines(
    starts: NDArray, ends: NDArray, width: int, height: int, thickness: int, wraps: bool
) -> NDArray[np.uint8]:
    """Anti-aliased segments as a mask, 0..255."""
    pairs = np.stack([starts, ends], axis=1)
    if wraps:
        pairs = np.concatenate([pairs + np.array([shift, 0]) for shift in (-width, 0, width)])
        inside = (pairs[..., 0].max(axis=1) > -2) & (pairs[..., 0].min(axis=1) < width + 2)
        pairs = pairs[inside]
    fixed = np.rint(pairs * 2**_SHIFT).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.polylines(mask, list(fixed), False, 255, thickness, cv2.LINE_AA, _SHIFT)
    return mask
