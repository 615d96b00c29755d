# SPDX-License-Identifier: Apache-2.0
"""Noise from integer hashes: it never repeats, and no detail finer than a pixel is left in it.

Gradient noise on a lattice (Perlin, 1985, "An image synthesizer"). Each octave turns the lattice,
so that its axes do not show, and fades out where its cells become smaller than what a pixel sees.
All functions are kernels: numbers in, numbers out.
"""

from math import floor

import numpy as np

from geoloc_core.simulation.render.compiling import kernel

_MASK = 0xFFFFFFFF
# Gradients in 16 directions, scaled so that one octave has a standard deviation near 0.5.
_ANGLES = (np.arange(16) + 0.5) * (2 * np.pi / 16)
_GX = 2.0 * np.cos(_ANGLES)
_GY = 2.0 * np.sin(_ANGLES)
# Turn between octaves: an angle that is no simple part of a full circle.
_COS, _SIN = float(np.cos(0.837)), float(np.sin(0.837))


@kernel
def hash2(ix: int, iy: int, seed: int) -> int:
    """32 random bits of a lattice point."""
    h = (ix * 668265263 + iy * 374761393 + seed * 1274126177) & _MASK
    h = ((h ^ (h >> 15)) * 2246822519) & _MASK
    h = ((h ^ (h >> 13)) * 3266489917) & _MASK
    return h ^ (h >> 16)


@kernel
def uniform(ix: int, iy: int, seed: int) -> float:
    """Random number in [0, 1) of a lattice point."""
    return hash2(ix, iy, seed) * (1.0 / 4294967296.0)


@kernel
def _direction(k: int) -> int:
    """A lattice point's gradient, 0..15."""
    k = ((k ^ ((k >> 15) & 0x1FFFF)) * 2246822519) & _MASK
    return ((k ^ (k >> 14)) * 3266489917 >> 26) & 15


@kernel
def gradient_noise(x: float, y: float, seed: int) -> float:
    """One octave with cells of side 1: zero mean, standard deviation about 0.5."""
    fx, fy = floor(x), floor(y)
    ix, iy = int(fx), int(fy)
    x -= fx
    y -= fy
    # One round of hashing is enough for one of 16 directions, and the corners share its start.
    k = ix * 668265263 + iy * 374761393 + seed * 1274126177
    a = _direction(k)
    b = _direction(k + 668265263)
    c = _direction(k + 374761393)
    d = _direction(k + 668265263 + 374761393)
    na = _GX[a] * x + _GY[a] * y
    nb = _GX[b] * (x - 1) + _GY[b] * y
    nc = _GX[c] * x + _GY[c] * (y - 1)
    nd = _GX[d] * (x - 1) + _GY[d] * (y - 1)
    u = x * x * x * (x * (x * 6 - 15) + 10)
    v = y * y * y * (y * (y * 6 - 15) + 10)
    low = na + u * (nb - na)
    return low + v * (nc + u * (nd - nc) - low)


@kernel
def kept(cell: float, width: float) -> float:
    """Part (0..1) of an octave that a pixel of some width still shows."""
    t = (cell / width - 1.0) * 0.8
    return min(max(t, 0.0), 1.0)


@kernel
def fbm(
    x: float,
    y: float,
    width: float,
    cell: float,
    octaves: int,
    step: float,
    gain: float,
    seed: int,
) -> float:
    """Sum of octaves from coarse to fine, as far as a pixel sees them.

    Args:
        x: Place, m.
        y: Place, m.
        width: Of the pixel there, m.
        cell: Side of the coarsest octave's cells, m.
        octaves: At most so many.
        step: Ratio of cells from one octave to the next, above 1.
        gain: Ratio of amplitudes from one octave to the next.
        seed: Of the hashes.

    Returns:
        Zero-mean noise; the coarsest octave has an amplitude of 1.
    """
    total = 0.0
    amplitude = 1.0
    for k in range(octaves):
        part = kept(cell, width)
        if part <= 0.0:
            break
        total += amplitude * part * gradient_noise(x / cell, y / cell, seed + k)
        x, y = _COS * x - _SIN * y, _SIN * x + _COS * y
        cell /= step
        amplitude *= gain
    return total


@kernel
def value3(x: float, y: float, z: float, seed: int) -> float:
    """Smooth noise in space with cells of side 1, in [-1, 1]; for leaves and bark."""
    fx, fy, fz = floor(x), floor(y), floor(z)
    ix, iy, iz = int(fx), int(fy), int(fz)
    x -= fx
    y -= fy
    z -= fz
    u = x * x * (3 - 2 * x)
    v = y * y * (3 - 2 * y)
    w = z * z * (3 - 2 * z)
    total = 0.0
    for k in range(2):
        layer = seed + (iz + k) * 7919
        a, b = uniform(ix, iy, layer), uniform(ix + 1, iy, layer)
        c, d = uniform(ix, iy + 1, layer), uniform(ix + 1, iy + 1, layer)
        low = a + u * (b - a)
        plane = low + v * (c + u * (d - c) - low)
        total += plane * (w if k else 1 - w)
    return 2.0 * total - 1.0


@kernel
def pulse(x: float, width: float, duty: float) -> float:
    """How much of a pixel lies in [0, duty) of a period 1 (box filter over `width` periods)."""
    if width < 1e-6:
        return 1.0 if x - floor(x) < duty else 0.0
    a, b = x - 0.5 * width, x + 0.5 * width
    fa, fb = floor(a), floor(b)
    return ((fb - fa) * duty + min(b - fb, duty) - min(a - fa, duty)) / width


@kernel
def cover(x: float, width: float, low: float, high: float) -> float:
    """How much of a pixel of some width about x lies in [low, high]."""
    overlap = min(x + 0.5 * width, high) - max(x - 0.5 * width, low)
    return min(max(overlap / width, 0.0), 1.0)


@kernel
def smoothstep(low: float, high: float, x: float) -> float:
    """0 below `low`, 1 above `high`, smooth between."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)
