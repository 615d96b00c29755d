# SPDX-License-Identifier: Apache-2.0
"""Pixels of a picture: which ones lie on an edge, the extra rays they get, the developed image."""

from math import isfinite, nan, sqrt

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.render.compiling import kernel
from geoloc_core.simulation.render.noise import (
    uniform,
)

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

# Neighbours that differ by less than this (sum of three channels) need no extra rays.
_CONTRAST = 20.0


@kernel
def _is_edge(
    a: int, b: int, triangle: I64, label: U8, normal: F32, range_m: F64, lit: F32, pixel: float
) -> bool:
    """Whether something begins or ends between two neighbouring pixels."""
    if lit[a] != lit[b]:
        return True
    if triangle[a] == triangle[b]:
        return False
    if label[a] != label[b] or triangle[a] < 0 or triangle[b] < 0:
        return True
    cosine = 0.0
    for k in range(3):
        cosine += normal[a, k] * normal[b, k]
    if cosine < 0.97:
        return True
    # On one plane the range grows no faster than its slope allows.
    near, far = min(range_m[a], range_m[b]), max(range_m[a], range_m[b])
    return far - near > 12.0 * pixel * near + 0.05


@kernel
def find_edges(
    top: int,
    bottom: int,
    width: int,
    triangle: I64,
    label: U8,
    normal: F32,
    range_m: F64,
    lit: F32,
    rgb: F32,
    inside: U8,
    pixel: float,
    mask: U8,
) -> None:
    """Marks the pixels of the rows [top, bottom) that lie at a visible edge.

    Args:
        top: First row.
        bottom: Row after the last.
        width: Of the picture.
        triangle: (H * W,) what each pixel's middle met.
        label: (H * W,).
        normal: (H * W, 3).
        range_m: (H * W,).
        lit: (H * W,) sunlight.
        rgb: (H * W, 3).
        inside: (H * W,) 1 where the camera sees anything.
        pixel: Angle that a pixel covers, rad.
        mask: (H * W,) set to 1 at edges.
    """
    height = len(triangle) // width
    for v in range(top, bottom):
        for u in range(width):
            a = v * width + u
            mask[a] = 0
            if inside[a] == 0:
                continue
            for k in range(4):
                if k == 0:
                    if u == 0:
                        continue
                    b = a - 1
                elif k == 1:
                    if u == width - 1:
                        continue
                    b = a + 1
                elif k == 2:
                    if v == 0:
                        continue
                    b = a - width
                else:
                    if v == height - 1:
                        continue
                    b = a + width
                if inside[b] == 0 or (triangle[a] == triangle[b] and lit[a] == lit[b]):
                    continue
                contrast = 0.0
                for c in range(3):
                    contrast += abs(min(rgb[a, c], 255.0) - min(rgb[b, c], 255.0))
                if contrast < _CONTRAST:
                    continue
                if _is_edge(a, b, triangle, label, normal, range_m, lit, pixel):
                    mask[a] = 1
                    break


@kernel
def sub_rays(
    index: I64,
    width: int,
    optical: F64,
    inside: U8,
    offsets: F64,
    R: F64,
    rays: F64,
    rays32: F32,
) -> None:
    """Rays through several places of pixels, in the map frame.

    Args:
        index: (K,) pixels.
        width: Of the picture.
        optical: (H * W, 3) rays of all pixels' middles, optical frame.
        inside: (H * W,) 1 where the camera sees anything.
        offsets: (S, 2) places in a pixel, from its middle, px.
        R: (3, 3) optical frame -> map.
        rays: (K * S, 3) filled.
        rays32: (K * S, 3) filled.
    """
    height = len(optical) // width
    d = np.empty(3)
    for j in range(len(index)):
        i = index[j]
        v = i // width
        u = i - v * width
        # Rays change smoothly from pixel to pixel: differences stand for the camera's model.
        # At the rim, where one neighbour sees nothing, the other one's difference is taken.
        right, su = i, 1.0
        if u + 1 < width and inside[i + 1]:
            right = i + 1
        elif u > 0 and inside[i - 1]:
            right, su = i - 1, -1.0
        below, sv = i, 1.0
        if v + 1 < height and inside[i + width]:
            below = i + width
        elif v > 0 and inside[i - width]:
            below, sv = i - width, -1.0
        for s in range(len(offsets)):
            p, q = su * offsets[s, 0], sv * offsets[s, 1]
            square = 0.0
            for k in range(3):
                c = optical[i, k]
                d[k] = c + p * (optical[right, k] - c) + q * (optical[below, k] - c)
                square += d[k] * d[k]
            n = 1.0 / sqrt(square)
            for k in range(3):
                x = (R[k, 0] * d[0] + R[k, 1] * d[1] + R[k, 2] * d[2]) * n
                rays[j * len(offsets) + s, k] = x
                rays32[j * len(offsets) + s, k] = x


@kernel
def average(index: I64, samples: int, fine: F32, rgb: F32) -> None:
    """Gives pixels the mean of their own colour and S samples (K * S, 3), none over white."""
    for j in range(len(index)):
        for c in range(3):
            total = min(rgb[index[j], c], 255.0)
            for s in range(samples):
                total += min(fine[j * samples + s, c], 255.0)
            rgb[index[j], c] = total / (samples + 1)


@kernel
def develop(
    top: int,
    bottom: int,
    noise: float,
    seed: int,
    rgb: F32,
    ranges: F64,
    optical: F64,
    inside: U8,
    image: U8,
    range_m: F32,
    depth_m: F32,
    triangle: I64,
    label: U8,
) -> None:
    """Turns answers to rays into a picture with depth, for the pixels [top, bottom).

    Args:
        top: First pixel.
        bottom: Pixel after the last.
        noise: Standard deviation of the sensor's noise, 0 for none.
        seed: Of that noise.
        rgb: (H * W, 3) colours.
        ranges: (H * W,) inf for the sky.
        optical: (H * W, 3) rays.
        inside: (H * W,) 1 where the camera sees anything.
        image: (H * W, 3) filled.
        range_m: (H * W,) filled, NaN for the sky.
        depth_m: (H * W,) filled, NaN for the sky.
        triangle: (H * W,) set to -1 where the camera sees nothing.
        label: (H * W,) set to 0 there.
    """
    for i in range(top, bottom):
        if inside[i] == 0:
            for c in range(3):
                image[i, c] = 0
            range_m[i] = nan
            depth_m[i] = nan
            triangle[i] = -1
            label[i] = 0
            continue
        grain = 0.0
        if noise > 0.0:
            # Shot noise: one draw for the three channels; four even draws are nearly normal.
            for k in range(4):
                grain += uniform(i, k, seed) - 0.5
            grain *= noise * sqrt(3.0)
        for c in range(3):
            image[i, c] = int(min(max(rgb[i, c] + grain + 0.5, 0.0), 255.0))
        if isfinite(ranges[i]):
            range_m[i] = ranges[i]
            depth_m[i] = ranges[i] * optical[i, 2]
        else:
            range_m[i] = nan
            depth_m[i] = nan


@kernel
def shrink(fine: F32, labels: U8, k: int, width: int, image: U8, classes: U8) -> None:
    """Averages k x k rays a pixel; its label is the one that most of them have.

    Args:
        fine: (h * k * width * k, 3) colours.
        labels: (h * k * width * k,).
        k: Rays along a side of a pixel.
        width: Of the picture.
        image: (h, width, 3) filled.
        classes: (h, width) filled.
    """
    votes = np.empty(16, np.int64)
    for v in range(image.shape[0]):
        for u in range(width):
            votes[:] = 0
            r, g, b = 0.0, 0.0, 0.0
            for j in range(k):
                for i in range(k):
                    n = ((v * k + j) * width + u) * k + i
                    r += min(fine[n, 0], 255.0)
                    g += min(fine[n, 1], 255.0)
                    b += min(fine[n, 2], 255.0)
                    votes[labels[n]] += 1
            n = ((v * k + k // 2) * width + u) * k + k // 2
            best = int(labels[n])
            for c in range(16):
                if votes[c] > votes[best]:
                    best = c
            classes[v, u] = best
            image[v, u, 0] = int(r / (k * k) + 0.5)
            image[v, u, 1] = int(g / (k * k) + 0.5)
            image[v, u, 2] = int(b / (k * k) + 0.5)
