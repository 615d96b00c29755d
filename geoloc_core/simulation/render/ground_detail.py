# SPDX-License-Identifier: Apache-2.0
"""What paint leaves out: asphalt, grass, paving and soil from 50 m to 5 cm (kernels).

Each class has its own mixture of octaves and structures. All of it is gradient noise of integer
hashes, so that nothing repeats, and fades out where a pixel no longer resolves it.
"""

from math import floor, sqrt

from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.noise import (
    fbm,
    gradient_noise,
    hash2,
    kept,
    kernel,
    smoothstep,
)

Rgb = tuple[float, float, float]

_ROAD, _PAVEMENT, _MARKING = int(Label.ROAD), int(Label.PAVEMENT), int(Label.MARKING)
_GRASS, _WATER = int(Label.GRASS), int(Label.WATER)


@kernel
def _fine(x: float, y: float, width: float, cell: float, amplitude: float, seed: int) -> float:
    """One octave with its own amplitude; costs nothing where a pixel does not resolve it."""
    part = kept(cell, width)
    if part <= 0.0:
        return 0.0
    return amplitude * part * gradient_noise(x / cell, y / cell, seed)


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


@kernel
def _asphalt(x: float, y: float, w: float, seed: int) -> float:
    """Wear in broad clouds, patches of other age, cracks, oil, and single stones."""
    tone = 0.085 * fbm(x, y, w, 47.0, 4, 2.7, 0.85, seed)
    tone += 0.075 * fbm(x, y, w, 0.95, 3, 2.3, 0.85, seed + 10)
    tone += _fine(x, y, w, 0.055, 0.11, seed + 15) + _fine(x, y, w, 0.021, 0.2, seed + 16)
    # Patches: a level line of smooth noise is an edge without any direction of its own.
    p = fbm(x, y, w, 8.3, 3, 2.4, 0.3, seed + 20)
    soft = max(0.05, 0.3 * w)
    tone += 0.10 * smoothstep(0.52 - soft, 0.52 + soft, p) * kept(8.0, w)
    tone -= 0.12 * smoothstep(0.58 - soft, 0.58 + soft, -p) * kept(8.0, w)
    # Cracks: near the zero line of noise, only where the asphalt is old.
    if w < 0.25:
        old = smoothstep(0.05, 0.35, gradient_noise(x / 13.0, y / 13.0, seed + 30))
        if old > 0.0:
            n = abs(fbm(x, y, 0.02, 2.6, 4, 2.2, 0.45, seed + 31))
            line = 1.0 - smoothstep(0.004, 0.012 + 0.4 * w, n)
            tone -= 0.5 * old * line * 0.02 / max(0.02, w)
    tone -= 0.22 * _spots(x, y, w, 2.9, 0.14, seed + 40)
    return 1.0 + tone


@kernel
def _paving(x: float, y: float, w: float, seed: int) -> float:
    """Concrete: pores, walked-in spots, damp clouds."""
    tone = 0.075 * fbm(x, y, w, 31.0, 4, 2.6, 0.85, seed)
    tone += 0.065 * fbm(x, y, w, 0.85, 3, 2.3, 0.9, seed + 10)
    tone += _fine(x, y, w, 0.045, 0.10, seed + 15) + _fine(x, y, w, 0.018, 0.13, seed + 16)
    tone -= 0.30 * _spots(x, y, w, 0.31, 0.10, seed + 20) * 0.7
    return 1.0 + tone


@kernel
def _grass(x: float, y: float, w: float, seed: int) -> Rgb:
    """Meadows: dry and lush parts, tufts, blades that lean one way here and another there."""
    dry = 0.55 * fbm(x, y, w, 36.0, 4, 2.6, 0.8, seed)
    tuft = fbm(x, y, w, 1.3, 3, 2.3, 0.95, seed + 10)
    tone = 0.14 * tuft + 0.10 * fbm(x, y, w, 7.0, 2, 2.3, 0.9, seed + 14)
    tone += _fine(x, y, w, 0.11, 0.22, seed + 16)
    if w < 0.045:
        turn = gradient_noise(x / 0.45, y / 0.45, seed + 20)
        c, s = 1.0 - 0.5 * turn * turn, turn
        p, q = c * x - s * y, s * x + c * y
        tone += kept(0.032, w) * 0.34 * gradient_noise(p / 0.018, q / 0.085, seed + 21)
    bare = smoothstep(0.42, 0.75, fbm(x, y, w, 4.1, 3, 2.2, 0.6, seed + 25))
    r = (1.0 + 0.30 * dry + tone) * (1.0 + 0.22 * bare)
    g = 1.0 + 0.10 * dry + tone
    b = (1.0 - 0.06 * dry + 0.8 * tone) * (1.0 + 0.05 * bare)
    # A daisy here and there.
    bloom = _spots(x, y, w, 0.16, 0.05, seed + 30) * smoothstep(0.0, 0.5, dry + 0.3)
    return r + 0.9 * bloom, g + 0.75 * bloom, b + 1.1 * bloom


@kernel
def _soil(x: float, y: float, w: float, seed: int) -> Rgb:
    """Yards: trodden earth, gravel, stones, a little green."""
    tone = 0.12 * fbm(x, y, w, 42.0, 4, 2.6, 0.85, seed)
    tone += 0.12 * fbm(x, y, w, 1.1, 4, 2.3, 0.9, seed + 10)
    tone += _fine(x, y, w, 0.035, 0.22, seed + 16)
    tone += 0.25 * _spots(x, y, w, 0.12, 0.3, seed + 20)
    moss = 0.08 * smoothstep(0.1, 0.6, fbm(x, y, w, 5.3, 3, 2.3, 0.7, seed + 25))
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
