# SPDX-License-Identifier: Apache-2.0
"""Bare surfaces of things that are built: bricks, plaster, panels, tiles, boards (kernels)."""

from math import floor

from geoloc_core.simulation.render.compiling import kernel
from geoloc_core.simulation.render.noise import (
    fbm,
    gradient_noise,
    kept,
    pulse,
    smoothstep,
    uniform,
    value3,
)

_BRICK_M, _COURSE_M, _JOINT = 0.25, 0.0833, 0.14
_TILE_M, _ROW_M = 0.30, 0.34


@kernel
def weather(s: float, z: float, ws: float, wz: float, seed: int) -> float:
    """Rain marks that run down a wall, damp near the ground, fading of whole parts."""
    w = max(ws, wz)
    tone = 0.06 * fbm(s, z, w, 9.0, 3, 2.6, 0.8, seed)
    tone += 0.05 * fbm(s * 3.0, z * 0.35, max(3.0 * ws, 0.35 * wz), 1.6, 3, 2.3, 0.8, seed + 5)
    return tone - 0.10 * smoothstep(0.9, 0.0, z + 0.5 * gradient_noise(s / 0.8, 0.0, seed + 9))


@kernel
def plaster_tone(s: float, z: float, ws: float, wz: float, seed: int) -> float:
    """Factor of rendered walls."""
    w = max(ws, wz)
    f = 1.0 + weather(s, z, ws, wz, seed) + 0.035 * fbm(s, z, w, 0.4, 3, 2.4, 0.9, seed + 20)
    part = kept(0.02, w)
    if part > 0.0:
        f += 0.10 * part * gradient_noise(s / 0.02, z / 0.02, seed + 25)
    return max(f, 0.3)


@kernel
def indoor_tone(s: float, z: float, w: float, seed: int) -> float:
    """Factor of painted walls and ceilings of rooms: no rain, little dirt, the roller's grain."""
    f = 1.0 + 0.025 * fbm(s, z, w, 1.9, 4, 2.4, 0.8, seed)
    part = kept(0.012, w)
    if part > 0.0:
        f += 0.05 * part * gradient_noise(s / 0.012, z / 0.012, seed + 8)
    return f


@kernel
def brick_tone(s: float, z: float, ws: float, wz: float, seed: int) -> tuple[float, float]:
    """Factor of bricks in a running bond, and the share of joints in the pixel."""
    row = floor(z / _COURSE_M)
    x = s / _BRICK_M + 0.5 * (int(row) & 1)
    stone = pulse(z / _COURSE_M, wz / _COURSE_M, 1.0 - _JOINT)
    if wz < 1.5 * _COURSE_M:
        stone *= pulse(x, ws / _BRICK_M, 1.0 - 0.4 * _JOINT)
    else:
        stone *= 1.0 - 0.4 * _JOINT
    own = 2.0 * uniform(floor(x), int(row), seed + 40) - 1.0
    single = kept(_COURSE_M, wz) * kept(_BRICK_M, ws)
    f = 1.0 + weather(s, z, ws, wz, seed) + 0.20 * own * single
    f += 0.05 * fbm(s, z, max(ws, wz), 0.6, 2, 2.4, 0.9, seed + 20)
    return max(f, 0.3), 1.0 - stone


@kernel
def panel_tone(s: float, z: float, ws: float, wz: float, seed: int) -> float:
    """Factor of concrete panels, each of its own age, with joints."""
    i, j = floor(s / 3.3), floor(z / 3.1)
    own = (2.0 * uniform(i, j, seed + 50) - 1.0) * kept(3.1, max(ws, wz))
    joint = pulse(s / 3.3 + 0.005, ws / 3.3, 0.010) + pulse(z / 3.1 + 0.006, wz / 3.1, 0.012)
    f = plaster_tone(s, z, ws, wz, seed) + 0.05 * own
    return f * (1.0 - 0.45 * min(joint, 1.0))


@kernel
def tile_tone(a: float, d: float, w: float, seed: int) -> float:
    """Factor of roof tiles; a runs along the eaves, d down the slope (m)."""
    row = floor(d / _ROW_M)
    v = d / _ROW_M - row
    x = a / _TILE_M + 0.5 * (int(row) & 1)
    u = x - floor(x)
    own = 2.0 * uniform(floor(x), int(row), seed + 60) - 1.0
    f = 1.0 + 0.17 * own * kept(_TILE_M, w)
    # Each tile is round across and throws a shadow onto the next row.
    near = kept(0.3, 2.0 * w)
    if near > 0.0:
        f += near * (0.14 * (1.0 - 4.0 * (u - 0.5) * (u - 0.5)) - 0.09)
        f -= near * 0.34 * smoothstep(0.80, 0.97, v) - near * 0.05
    f += 0.10 * fbm(a, d, w, 6.0, 4, 2.4, 0.75, seed) + 0.05 * gradient_noise(a / 23, d / 23, seed)
    moss = smoothstep(0.3, 0.7, fbm(a, d, w, 1.9, 3, 2.3, 0.7, seed + 9))
    return max(f - 0.16 * moss, 0.25)


@kernel
def flat_roof_tone(x: float, y: float, w: float, seed: int) -> float:
    """Factor of gravel or sheeting on a flat roof: stains, seams of sheets, stones."""
    f = 1.0 + 0.13 * fbm(x, y, w, 12.0, 4, 2.5, 0.75, seed)
    dirt = fbm(x, y, w, 3.1, 3, 2.3, 0.7, seed + 10)
    f -= 0.16 * smoothstep(0.2, 0.7, dirt)
    f += 0.06 * fbm(x, y, w, 0.3, 2, 2.3, 1.0, seed + 15)
    part = kept(0.035, w)
    if part > 0.0:
        f += 0.25 * part * gradient_noise(x / 0.035, y / 0.035, seed + 20)
    return max(f, 0.25)


@kernel
def board_tone(s: float, t: float, w: float, seed: int) -> float:
    """Factor of wooden boards along s, 12 cm wide, with grain."""
    row = floor(t / 0.12)
    start = 1.7 * uniform(row, 3, seed)
    own = 2.0 * uniform(row, floor((s + start) / 1.7), seed + 70) - 1.0
    grain = fbm(s * 0.12, t, w, 0.05, 3, 2.2, 0.8, seed + 80 + row)
    # Joints are drawn a little softer than they are: seen flat they would break into dashes.
    soft = 1.5 * w
    joint = pulse(t / 0.12 + 0.02, soft / 0.12, 0.04)
    joint = max(joint, pulse((s + start) / 1.7, soft / 1.7, 0.004))
    return (1.0 + 0.12 * own * kept(0.12, w) + 0.10 * grain) * (1.0 - 0.45 * min(joint, 1.0))


@kernel
def leaves_tone(x: float, y: float, z: float, w: float, seed: int) -> float:
    """Factor of a crown: clumps, twigs and single leaves."""
    f = 1.0
    part = kept(1.1, w)
    if part > 0.0:
        f += 0.20 * part * value3(x / 1.1, y / 1.1, z / 1.1, seed)
    part = kept(0.38, w)
    if part > 0.0:
        f += 0.38 * part * value3(x / 0.38, y / 0.38, z / 0.38, seed + 1)
    part = kept(0.13, w)
    if part > 0.0:
        f += 0.42 * part * value3(x / 0.13, y / 0.13, z / 0.13, seed + 2)
    part = kept(0.05, w)
    if part > 0.0:
        f += 0.36 * part * value3(x / 0.05, y / 0.05, z / 0.05, seed + 3)
    return max(f, 0.15)
