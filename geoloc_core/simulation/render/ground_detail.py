# SPDX-License-Identifier: Apache-2.0
"""What paint leaves out: asphalt, grass, paving and soil from 50 m to 5 cm (kernels).

Each class has its own mixture of octaves and structures. All of it is gradient noise of integer
hashes, so that nothing repeats, and fades out where a pixel no longer resolves it.
"""

from math import floor, sqrt

import numpy as np

from geoloc_core.simulation.render.compiling import kernel
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.noise import (
    fbm,
    gradient_noise,
    hash2,
    kept,
    smoothstep,
)

Rgb = tuple[float, float, float]

_ROAD, _PAVEMENT, _MARKING = int(Label.ROAD), int(Label.PAVEMENT), int(Label.MARKING)
_GRASS, _WATER = int(Label.GRASS), int(Label.WATER)
# Lattices are turned by steps that are no simple part of a full circle.
_TURN_C = np.cos(0.837 * np.arange(16))
_TURN_S = np.sin(0.837 * np.arange(16))


@kernel
def _octave(x: float, y: float, w: float, cell: float, seed: int) -> float:
    """One octave on a lattice turned by its seed; costs nothing where a pixel is too wide."""
    part = kept(cell, w)
    if part <= 0.0:
        return 0.0
    scale = 1.0 / cell
    c, s = _TURN_C[seed & 15] * scale, _TURN_S[seed & 15] * scale
    return part * gradient_noise(c * x - s * y, s * x + c * y, seed)


@kernel
def _spots(x: float, y: float, width: float, cell: float, share: float, seed: int) -> float:
    """Round spots: in a share of the cells one, at a random place and of a random size; 0..1."""
    if width > 0.5 * cell:
        return 0.0
    i, j = floor(x / cell), floor(y / cell)
    h = hash2(i, j, seed)
    if (h & 1023) > share * 1024:
        return 0.0
    radius = (0.1 + 0.2 * ((h >> 10) & 255) / 255.0) * cell
    px = (i + 0.3 + 0.4 * ((h >> 18) & 127) / 127.0) * cell - x
    py = (j + 0.3 + 0.4 * ((h >> 25) & 127) / 127.0) * cell - y
    away = sqrt(px * px + py * py)
    soft = max(width, 0.15 * radius)
    return smoothstep(radius + soft, radius - soft, away) if radius > soft else 0.0


# The octaves of a class are drawn once; what has an outline (patches, cracks, bare spots) is a
# level line of a sum of some of them.
@kernel
def _asphalt(x: float, y: float, w: float, seed: int) -> float:
    """Wear in broad clouds, patches of other age, cracks, oil, and single stones."""
    a = _octave(x, y, w, 43.0, seed)
    b = _octave(x, y, w, 15.1, seed + 1)
    c = _octave(x, y, w, 6.1, seed + 2)
    d = _octave(x, y, w, 2.3, seed + 3)
    e = _octave(x, y, w, 0.93, seed + 4)
    f = _octave(x, y, w, 0.39, seed + 5)
    g = _octave(x, y, w, 0.16, seed + 6)
    tone = 0.085 * a + 0.07 * b + 0.06 * c + 0.055 * d + 0.07 * e + 0.06 * f + 0.055 * g
    tone += 0.10 * _octave(x, y, w, 0.058, seed + 7) + 0.2 * _octave(x, y, w, 0.022, seed + 8)
    if w < 4.0:
        p = 0.35 * b + c + 0.35 * d + 0.12 * e
        soft = max(0.04, 0.3 * w)
        tone += 0.10 * smoothstep(0.55 - soft, 0.55 + soft, p)
        tone -= 0.12 * smoothstep(0.62 - soft, 0.62 + soft, -p)
    if w < 0.25 and b > 0.15:
        n = abs(d + 0.4 * e + 0.2 * f + 0.1 * g)
        line = 1.0 - smoothstep(0.003, 0.012 + 0.45 * w, n)
        tone -= 0.36 * smoothstep(0.15, 0.5, b) * line * 0.02 / max(0.02, w)
    tone -= 0.22 * _spots(x, y, w, 2.9, 0.14, seed + 40)
    return 1.0 + tone


@kernel
def _paving(x: float, y: float, w: float, seed: int) -> float:
    """Concrete: pores, walked-in spots, damp clouds."""
    tone = 0.075 * _octave(x, y, w, 31.0, seed) + 0.06 * _octave(x, y, w, 11.0, seed + 1)
    tone += 0.055 * _octave(x, y, w, 4.1, seed + 2) + 0.055 * _octave(x, y, w, 1.7, seed + 3)
    tone += 0.06 * _octave(x, y, w, 0.71, seed + 4) + 0.055 * _octave(x, y, w, 0.3, seed + 5)
    tone += 0.055 * _octave(x, y, w, 0.12, seed + 6) + 0.09 * _octave(x, y, w, 0.047, seed + 7)
    tone += 0.13 * _octave(x, y, w, 0.019, seed + 8)
    return 1.0 + tone - 0.16 * _spots(x, y, w, 0.17, 0.05, seed + 20)


@kernel
def _grass(x: float, y: float, w: float, seed: int) -> Rgb:
    """Meadows: dry and lush parts, tufts, blades that lean one way here and another there."""
    a = _octave(x, y, w, 37.0, seed)
    b = _octave(x, y, w, 14.0, seed + 1)
    c = _octave(x, y, w, 5.3, seed + 2)
    d = _octave(x, y, w, 2.1, seed + 3)
    e = _octave(x, y, w, 0.87, seed + 4)
    f = _octave(x, y, w, 0.37, seed + 5)
    dry = 0.42 * a + 0.34 * b + 0.28 * c + 0.2 * d
    tone = 0.05 * b + 0.08 * c + 0.10 * d + 0.13 * e + 0.13 * f
    tone += 0.14 * _octave(x, y, w, 0.16, seed + 6) + 0.18 * _octave(x, y, w, 0.075, seed + 7)
    if w < 0.04:
        turn = 0.8 * e + 0.6 * f
        s = turn
        k = 1.0 - 0.5 * turn * turn
        p, q = k * x - s * y, s * x + k * y
        tone += kept(0.032, w) * 0.34 * gradient_noise(p / 0.018, q / 0.085, seed + 8)
    bare = smoothstep(0.55, 0.95, 0.4 * b + c + 0.6 * d + 0.3 * e)
    red = (1.0 + 0.16 * dry + tone) * (1.0 + 0.10 * bare)
    green = 1.0 + 0.07 * dry + tone
    blue = (1.0 - 0.06 * dry + 0.8 * tone) * (1.0 + 0.05 * bare)
    # A daisy here and there.
    if w < 0.08 and dry > -0.3:
        bloom = _spots(x, y, w, 0.16, 0.05, seed + 30) * smoothstep(0.0, 0.5, dry + 0.3)
        return red + 0.9 * bloom, green + 0.75 * bloom, blue + 1.1 * bloom
    return red, green, blue


@kernel
def _soil(x: float, y: float, w: float, seed: int) -> Rgb:
    """Yards: trodden earth, gravel, stones, a little green."""
    a = _octave(x, y, w, 42.0, seed)
    b = _octave(x, y, w, 16.0, seed + 1)
    c = _octave(x, y, w, 6.2, seed + 2)
    d = _octave(x, y, w, 2.5, seed + 3)
    e = _octave(x, y, w, 1.0, seed + 4)
    tone = 0.12 * a + 0.10 * b + 0.09 * c + 0.09 * d + 0.11 * e
    tone += 0.10 * _octave(x, y, w, 0.43, seed + 5) + 0.10 * _octave(x, y, w, 0.18, seed + 6)
    tone += 0.10 * _octave(x, y, w, 0.08, seed + 7) + 0.20 * _octave(x, y, w, 0.034, seed + 8)
    tone += 0.25 * _spots(x, y, w, 0.12, 0.3, seed + 20)
    moss = 0.07 * smoothstep(0.15, 0.7, 0.5 * b + c + 0.6 * d)
    return 1.0 + tone - moss, 1.0 + tone + 0.3 * moss, 1.0 + tone - moss


@kernel
def ground_detail(
    label: int, x: float, y: float, w: float, r: float, g: float, b: float, seed: int
) -> Rgb:
    """The painted colour with the detail of its class.

    Args:
        label: `Label` of the place.
        x: m.
        y: m.
        w: Width of what the pixel sees, m.
        r: Painted red, 0..255.
        g: Green.
        b: Blue.
        seed: Of the world.

    Returns:
        Red, green, blue.
    """
    if label == _ROAD:
        f = max(_asphalt(x, y, w, seed), 0.25)
        return r * f, g * f, b * f
    if label == _PAVEMENT:
        f = max(_paving(x, y, w, seed + 200), 0.3)
        return r * f, g * f, b * f
    if label == _MARKING:
        f = _asphalt(x, y, w, seed)
        worn = fbm(x, y, w, 0.9, 4, 2.3, 0.8, seed + 420)
        gone = 0.75 * smoothstep(0.25, 0.8, worn) * kept(0.5, w)
        f = 1.0 + 0.45 * (f - 1.0)
        r, g, b = r * f, g * f, b * f
        return r + (92.0 - r) * gone, g + (92.0 - g) * gone, b + (93.0 - b) * gone
    if label == _GRASS:
        c = _grass(x, y, w, seed + 600)
        return r * max(c[0], 0.25), g * max(c[1], 0.25), b * max(c[2], 0.25)
    if label == _WATER:
        f = 1.0 + 0.06 * fbm(x, y, w, 30.0, 3, 2.6, 0.8, seed + 1000)
        return r * f, g * f, b * f
    c = _soil(x, y, w, seed + 800)
    return r * max(c[0], 0.25), g * max(c[1], 0.25), b * max(c[2], 0.25)


@kernel
def snow_cover(label: int, x: float, y: float, w: float, snow: float, seed: int) -> float:
    """Part (0..1) of a place that lies under snow; traffic and feet clear their ways first."""
    if snow <= 0.0 or label == _WATER:
        return 0.0
    if label in (_ROAD, _MARKING):
        much = 0.56 * snow
    elif label == _PAVEMENT:
        much = 0.80 * snow
    else:
        much = 1.12 * snow
    n = 0.42 * fbm(x, y, w, 6.0, 5, 2.4, 0.75, seed + 1300)
    n += 0.18 * fbm(x, y, w, 55.0, 2, 2.8, 0.8, seed + 1320)
    return smoothstep(-0.14, 0.14, much - 0.5 + n * (1.0 - min(abs(2.0 * much - 1.0), 1.0) * 0.55))


@kernel
def puddle(label: int, x: float, y: float, w: float, wet: float, seed: int) -> float:
    """Part (0..1) of a place under standing water; only hard ground holds it."""
    if wet <= 0.35 or label not in (_ROAD, _PAVEMENT, _MARKING):
        return 0.0
    n = fbm(x, y, w, 3.7, 3, 2.3, 0.5, seed + 1400)
    edge = 1.0 - 0.72 * wet
    return smoothstep(edge, edge + 0.07 + 0.2 * w, n + 0.06)
