# SPDX-License-Identifier: Apache-2.0
"""Patterns of walls: bricks, plaster, panels and glass with windows, balconies, doors and shops.

Nothing is stored as a picture. Every edge is filtered by the width of the pixel (box filter in
closed form), so walls are sharp at one metre and calm at a kilometre; every window, door and shop
draws its own looks from a hash of its place, so that no wall repeats.
"""

from math import floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.render.brickwork import brick_tone, panel_tone, plaster_tone
from geoloc_core.simulation.render.compiling import kernel
from geoloc_core.simulation.render.noise import (
    cover,
    hash2,
    kept,
    pulse,
    smoothstep,
    uniform,
)

FLOOR_M = 3.1
KINDS = 12

# Columns of a kind's parameters.
_PITCH, _WIDTH, _HEIGHT, _SILL, _SKIN, _BALCONY, _SHOP, _FRAME, _BAND, _SHUTTER = range(10)
_PLASTER, _BRICK, _PANEL, _GLASS = 0.0, 1.0, 2.0, 3.0
# Skin, share of balconies and of shops, shutters of the kinds; sizes are drawn.
_STYLES = (
    (_PLASTER, 0.0, 0.0, 0.0), (_BRICK, 0.0, 0.0, 0.0), (_PLASTER, 0.55, 0.0, 0.0),
    (_PLASTER, 0.0, 0.9, 0.0), (_BRICK, 0.0, 0.8, 0.0), (_PANEL, 0.6, 0.0, 0.0),
    (_GLASS, 0.0, 1.0, 0.0), (_PLASTER, 0.0, 0.0, 0.8), (_PANEL, 0.0, 0.6, 0.0),
    (_BRICK, 0.45, 0.0, 0.0), (_PLASTER, 0.25, 0.6, 0.3), (_GLASS, 0.0, 0.3, 0.0),
)  # fmt: skip


class FacadeData(NamedTuple):
    """Parameters of the kinds of walls, (KINDS, 10), as the kernels take them."""

    styles: NDArray[np.float64]
    seed: int


class Facades:
    """What the walls of a city look like."""

    def __init__(self, seed: int) -> None:
        """Draws the sizes and rhythms of every kind of wall.

        Args:
            seed: The same seed gives the same walls.
        """
        rng = np.random.default_rng([seed, 20])
        styles = np.zeros((KINDS, 10))
        for kind, (skin, balcony, shop, shutter) in enumerate(_STYLES):
            styles[kind, _PITCH] = rng.uniform(2.2, 3.6) if skin != _GLASS else rng.uniform(1.2, 2)
            share = rng.uniform(0.36, 0.56) if skin != _GLASS else 0.93
            styles[kind, _WIDTH] = share
            styles[kind, _HEIGHT] = rng.uniform(1.35, 1.8) if skin != _GLASS else 2.35
            styles[kind, _SILL] = rng.uniform(0.85, 1.0) if skin != _GLASS else 0.5
            styles[kind, _SKIN] = skin
            styles[kind, _BALCONY] = balcony
            styles[kind, _SHOP] = shop
            styles[kind, _FRAME] = rng.uniform(0.05, 0.09) if skin != _GLASS else 0.04
            styles[kind, _BAND] = rng.uniform(0.0, 1.0)
            styles[kind, _SHUTTER] = shutter
        self.data = FacadeData(styles, int(seed) * 7321 + 20)


# Red, green, blue; how much it mirrors (0..1); the light it gives at night (0..1); its warmth.
Look = tuple[float, float, float, float, float, float]


@kernel
def _mix(look: Look, r: float, g: float, b: float, gloss: float, part: float) -> Look:
    """Paints over a part of a pixel."""
    k = 1.0 - part
    return (
        look[0] * k + r * part, look[1] * k + g * part, look[2] * k + b * part,
        look[3] * k + gloss * part, look[4] * k, look[5],
    )  # fmt: skip


@kernel
def _glass(
    look: Look, part: float, height: float, h: int, small: float, night: float, share: float
) -> Look:
    """A pane: its tone, a curtain or a blind behind it, a lit room at night.

    `height` is 0 at the pane's lower and 1 at its upper edge; `small` is 1 where single panes are
    resolved and 0 where only their mean is.
    """
    tone = 0.75 + 0.5 * small * ((h & 255) / 255.0 - 0.5) + 0.12 * (1.0 - height)
    r, g, b = 44.0 * tone, 54.0 * tone, 66.0 * tone
    gloss = 1.0
    drop = ((h >> 8) & 255) / 255.0
    # A blind or a curtain, drawn down to somewhere; far away, the mean of all of them.
    behind = 0.2 * (1.0 - small)
    c = 170.0
    if drop < 0.5:
        c = 130.0 + 80.0 * ((h >> 16) & 127) / 127.0
        behind += small * smoothstep(2.0 * drop - 0.02, 2.0 * drop + 0.02, height) * 0.85
    r, g, b = r + (c - r) * behind, g + (0.97 * c - g) * behind, b + (0.9 * c - b) * behind
    gloss -= 0.55 * behind
    out = _mix(look, r, g, b, gloss, part)
    if night <= 0.0:
        return out
    lit = 1.0 if ((h >> 4) & 1023) / 1023.0 < share else 0.0
    lit = small * lit + (1.0 - small) * share
    glow = night * part * lit * (0.55 + 0.45 * height)
    warm = ((h >> 20) & 255) / 255.0
    return out[0], out[1], out[2], out[3], out[4] + glow, warm


@kernel
def _skin(
    skin: float, s: float, z: float, ws: float, wz: float, r: float, g: float, b: float, seed: int
) -> Look:
    """The bare wall: its tone from grains of sand to rain marks of several metres."""
    if skin == _BRICK:
        f, joint = brick_tone(s, z, ws, wz, seed)
        r, g, b = r * f, g * f, b * f
        k = 0.55 * joint
        return r + (176 - r) * k, g + (172 - g) * k, b + (164 - b) * k, 0.0, 0.0, 0.0
    if skin == _PANEL:
        f = panel_tone(s, z, ws, wz, seed)
    else:
        f = plaster_tone(s, z, ws, wz, seed)
    return r * f, g * f, b * f, 0.02, 0.0, 0.0


@kernel
def _shop(
    look: Look, s: float, z: float, ws: float, wz: float, length: float, night: float, h: int
) -> Look:
    """A street level of shops: panes between pillars, a sign above, doors."""
    pitch = 4.6 + 2.2 * ((h >> 3) & 255) / 255.0
    count = max(floor((length - 0.5) / pitch), 1.0)
    pitch = (length - 0.5) / count
    x = (s - 0.25) / pitch
    i = int(min(max(floor(x), 0.0), count - 1.0))
    own = hash2(i, 5, h)
    small = kept(pitch, ws)
    inside = cover(s, ws, 0.25, length - 0.25)
    wx = ws / pitch
    pane = pulse(x - 0.045, wx, 0.91) * cover(z, wz, 0.42, 2.35) * inside
    base = pulse(x - 0.03, wx, 0.94) * cover(z, wz, 0.05, 2.42) * inside
    dark = 34.0 + 90.0 * ((own >> 5) & 255) / 255.0
    look = _mix(look, dark, dark, 1.02 * dark, 0.05, base)
    look = _glass(look, pane, (z - 0.42) / 1.93, own, small * 0.8, night, 0.75)
    # Mullions, and a door in one of the fields.
    bars = pulse(x * 3.0 + 0.02, 3.0 * wx, 0.04) * cover(z, wz, 0.42, 2.35) * inside
    look = _mix(look, dark, dark, dark, 0.05, bars * 0.9)
    place = (own >> 13) % 3
    u = (x - floor(x)) * 3.0 - place
    door = cover(u, 3.0 * wx, 0.12, 0.88) * cover(z, wz, 0.05, 2.3) * small * inside
    look = _glass(look, door * 0.8, z / 2.3, own >> 2, small * 0.5, night, 0.6)
    # The sign: any colour, with strokes like letters.
    sign = pulse(x - 0.06, wx, 0.88) * cover(z, wz, 2.45, 2.95) * inside
    hue = uniform(i, 9, h)
    red = 60.0 + 160.0 * smoothstep(0.3, 0.9, hue)
    green = 50.0 + 120.0 * (1.0 - abs(2.0 * hue - 1.0))
    blue = 60.0 + 140.0 * smoothstep(0.7, 0.1, hue)
    k = 1.0 - small
    red, green, blue = red + (130 - red) * k, green + (110 - green) * k, blue + (130 - blue) * k
    look = _mix(look, red, green, blue, 0.1, sign)
    stroke = floor(s / 0.11)
    if wz < 0.3:
        ink = 1.0 if uniform(int(stroke), i, h) < 0.55 else 0.0
        middle = cover(u - 1.0 + place, 3.0 * wx, -0.6, 0.6) * cover(z, wz, 2.57, 2.83)
        part = 0.85 * sign * ink * middle * kept(0.11, ws)
        look = _mix(look, 240.0, 238.0, 230.0, 0.1, part)
    return look[0], look[1], look[2], look[3], look[4] + night * 0.5 * sign, 0.3


@kernel
def _balcony(look: Look, u: float, v: float, wu: float, wv: float, pitch: float, h: int) -> Look:
    """A slab with its shade below and a railing of bars or a parapet; u, v in m in its cell."""
    across = cover(u, wu, 0.08, pitch - 0.08)
    look = _mix(look, look[0] * 0.55, look[1] * 0.55, look[2] * 0.58, 0.0,
                across * cover(v, wv, -0.6, -0.16) * 0.8)  # fmt: skip
    slab = across * cover(v, wv, -0.16, 0.05)
    look = _mix(look, 172.0, 170.0, 166.0, 0.0, slab)
    if h & 4:
        c = 120.0 + 100.0 * ((h >> 6) & 63) / 63.0
        return _mix(look, c, c, 0.98 * c, 0.05, across * cover(v, wv, 0.05, 0.98))
    bars = across * (
        cover(v, wv, 0.92, 0.98) + cover(v, wv, 0.05, 0.92) * pulse(u / 0.12, wu / 0.12, 0.17)
    )
    return _mix(look, 52.0, 54.0, 58.0, 0.1, min(bars, 1.0))


@kernel
def facade(
    styles: NDArray[np.float64],
    seed: int,
    kind: int,
    s: float,
    z: float,
    length: float,
    bottom: float,
    top: float,
    ws: float,
    wz: float,
    r: float,
    g: float,
    b: float,
    wall: int,
    night: float,
) -> Look:
    """What a place on a wall looks like.

    Args:
        styles: See `FacadeData`.
        seed: See there.
        kind: Which pattern.
        s: Distance from the wall's left end, m.
        z: Height over the ground, m.
        length: Of the wall, m.
        bottom: Of the wall, m over the ground.
        top: Of the wall, m over the ground.
        ws: Width of the pixel along the wall, m.
        wz: Width of the pixel upwards, m.
        r: The wall's own red, 0..255.
        g: Green.
        b: Blue.
        wall: Hash of the wall.
        night: 0..1.

    Returns:
        Its look before light falls on it.
    """
    style = styles[kind % KINDS]
    v = z - bottom
    height = top - bottom
    skin = style[_SKIN]
    look = _skin(skin, s, z, ws, wz, r, g, b, seed + (wall & 4095))
    floors = floor((height - 0.25) / FLOOR_M)
    if floors < 1.0 or length < 2.0:
        return look
    is_shop = bottom < 1.0 and uniform(wall, 1, seed) < style[_SHOP] and length > 5.0
    if is_shop and v < FLOOR_M:
        return _shop(look, s, v, ws, wz, length, night, wall)
    # Columns fill the wall evenly, so that no window is cut by a corner.
    pitch = style[_PITCH] * (0.88 + 0.3 * uniform(wall, 2, seed))
    count = max(floor((length - 0.6) / pitch), 1.0)
    pitch = (length - 0.6) / count
    x = (s - 0.3) / pitch
    wx, wy = ws / pitch, wz / FLOOR_M
    level = floor(v / FLOOR_M)
    i, j = floor(x), int(level)
    y = v - level * FLOOR_M
    if i < 0 or i >= count or level >= floors:
        y = -9.0
    # A cornice under the roof and a band between floors.
    look = _mix(look, look[0] * 0.8, look[1] * 0.8, look[2] * 0.8, 0.0,
                cover(v, wz, height - 0.22, height - 0.02))  # fmt: skip
    if style[_BAND] > 0.5 and skin != _GLASS:
        look = _mix(look, look[0] * 0.86, look[1] * 0.86, look[2] * 0.86, 0.0,
                    pulse(v / FLOOR_M + 0.035, wy, 0.045))  # fmt: skip
    own = hash2(i, j, wall)
    column = hash2(i, 77, wall)
    small = kept(pitch, ws) * kept(FLOOR_M, wz)
    inside = cover(s, ws, 0.3, length - 0.3) * cover(v, wz, 0.0, floors * FLOOR_M)
    width = style[_WIDTH]
    sill, tall = style[_SILL], style[_HEIGHT]
    has_balcony = (column & 1023) / 1023.0 < style[_BALCONY] and j > 0 and pitch > 1.8
    if has_balcony:
        width, tall, sill = 0.6, 2.1, 0.06
    is_door = (column >> 10) % 7 == 2 and j == 0 and bottom < 1.0 and skin != _GLASS
    if is_door:
        width, tall, sill = min(1.3 / pitch, 0.8), 2.15, 0.04
    left = 0.5 * (1.0 - width)
    frame = style[_FRAME]
    f = frame / pitch
    outer = pulse(x - left + f, wx, width + 2 * f) * pulse(
        (v - sill + frame) / FLOOR_M, wy, (tall + 2 * frame) / FLOOR_M
    )
    panes = pulse(x - left, wx, width) * pulse((v - sill) / FLOOR_M, wy, tall / FLOOR_M)
    light = 1.0 if (wall >> 3) & 1 else 0.3
    ink = 70.0 + 150.0 * light
    look = _mix(look, ink, ink, 0.97 * ink, 0.05, outer * inside)
    if is_door and small > 0.4:
        c = 50.0 + 60.0 * ((own >> 5) & 255) / 255.0
        look = _mix(look, 1.15 * c, 0.9 * c, 0.7 * c, 0.1, panes * inside)
        panes *= cover(y, wz, 1.3, 2.0) * cover(x - i - left, wx, 0.2 * width, 0.8 * width)
    look = _glass(look, panes * inside, (y - sill) / tall, own, small, night, 0.34)
    u = x - i
    if (wall >> 7) % 10 < 10.0 * style[_SHUTTER] and not is_door:
        wing = 0.48 * width
        sides = cover(u, wx, left - f - wing, left - f) + cover(
            u, wx, left + width + f, left + width + f + wing
        )
        c = 0.6 + 0.4 * pulse(y / 0.09, wz / 0.09, 0.7)
        part = small * min(sides, 1.0) * cover(y, wz, sill, sill + tall) * inside
        part += (1.0 - small) * 2.0 * wing * tall / FLOOR_M * inside
        tint = ((wall >> 12) & 255) / 255.0
        look = _mix(look, (60 + 70 * tint) * c, (96 - 20 * tint) * c, (70 - 10 * tint) * c, 0.0,
                    part)  # fmt: skip
    if small <= 0.0:
        return look
    # What is only seen from near: the cross of the frame, the sill, balconies.
    cross = cover(u, wx, 0.5 - 0.5 * f, 0.5 + 0.5 * f)
    if column & 2048 and skin != _GLASS:
        cross = min(cross + cover(y, wz, sill + 0.7 * tall, sill + 0.7 * tall + 0.06), 1.0)
    look = _mix(look, ink, ink, ink, 0.05, small * cross * panes * inside)
    ledge = cover(u, wx, left - 2 * f, left + width + 2 * f) * cover(
        y, wz, sill - frame - 0.08, sill - frame
    )
    if skin != _GLASS:
        look = _mix(look, 176.0, 173.0, 167.0, 0.0, 0.9 * small * ledge * inside)
    if has_balcony:
        near = y if y < FLOOR_M - 0.7 else y - FLOOR_M
        if y < FLOOR_M - 0.7 or j < floors - 1:
            out = _balcony(look, u * pitch, near, ws, wz, pitch, column >> 3)
            k = small * inside
            look = (
                look[0] + k * (out[0] - look[0]), look[1] + k * (out[1] - look[1]),
                look[2] + k * (out[2] - look[2]), look[3] + k * (out[3] - look[3]),
                look[4] + k * (out[4] - look[4]), look[5],
            )  # fmt: skip
    return look
