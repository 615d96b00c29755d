# SPDX-License-Identifier: Apache-2.0
"""Patterns of walls: floors of windows above, doors and shop windows at street level."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.render.textures import Float32, fractal_noise, MipTexture

# A tile covers TILE_M x TILE_M metres of wall and continues over its own borders.
TILE_M = 12.4
FLOOR_M = 3.1
_TILE_PX = 512
KINDS = 6

Image = NDArray[np.uint8]


class Facades:
    """The tiles of all kinds of walls; four channels: colour of glass and frames, and wall tint.

    A texel's colour is rgb + tint * wall colour, so one tile serves houses of every colour.
    """

    def __init__(self, seed: int) -> None:
        """Draws the tiles.

        Args:
            seed: Of sizes, rhythms and curtains.
        """
        rng = np.random.default_rng([seed, 20])
        self._upper = [self._mip(_tile(rng, kind, street_level=False)) for kind in range(KINDS)]
        self._lower = [self._mip(_tile(rng, kind, street_level=True)) for kind in range(KINDS)]

    @staticmethod
    def _mip(image: Image) -> MipTexture:
        return MipTexture(image, cv2.BORDER_WRAP, levels=7)

    def albedo(
        self, kind: NDArray[np.uint8], s: Float32, z: Float32, wall: Float32, footprint_m: Float32
    ) -> Float32:
        """Colours of places on walls.

        Args:
            kind: (N,) pattern, 0 .. KINDS - 1.
            s: (N,) distance along the wall, m.
            z: (N,) height over the ground, m.
            wall: (N, 3) the wall's own colour, 0..255.
            footprint_m: (N,) size of what a pixel covers, m.

        Returns:
            (N, 3) float32, 0..255.
        """
        scale = np.float32(_TILE_PX / TILE_M)
        group = kind * np.uint8(2) + (z < FLOOR_M)
        texel = np.empty((len(kind), 4), np.float32)
        for g in np.flatnonzero(np.bincount(group, minlength=2 * KINDS)):
            chosen = np.flatnonzero(group == g)
            tile = (self._lower if g % 2 else self._upper)[g // 2]
            texel[chosen] = tile.sample(
                s[chosen] * scale, -z[chosen] * scale, footprint_m[chosen] * scale
            )
        return texel[:, :3] + wall * (texel[:, 3:] * np.float32(1 / 255))


def _tile(rng: np.random.Generator, kind: int, street_level: bool) -> Image:
    """One tile (H, W, 4); row 0 is the highest."""
    px = _TILE_PX / TILE_M
    tile = np.zeros((_TILE_PX, _TILE_PX, 4), np.uint8)
    grain = fractal_noise(rng, _TILE_PX, (1, 2, 8, 64), tileable=True)
    tile[..., 3] = np.clip(225 + 9 * grain, 0, 255)
    if kind % 3 == 1:
        for row in range(0, _TILE_PX, 8):
            tile[row : row + 1, :, 3] = 196
    per_row = (4, 5, 3, 6, 4, 5)[kind]
    pitch = TILE_M / per_row
    width = pitch * rng.uniform(0.36, 0.55)
    height = rng.uniform(1.3, 1.8)
    for floor in range(4):
        base = floor * FLOOR_M
        for column in range(per_row):
            left = column * pitch + (pitch - width) / 2
            if street_level:
                door = column % 3 == kind % 3
                _window(tile, rng, px, left, base + (0.05 if door else 0.5), width * 1.25, 2.2)
            else:
                _window(tile, rng, px, left, base + 0.95, width, height)
        row = round((TILE_M - base) * px)
        tile[max(0, row - 3) : row, :, 3] = 188 if kind % 2 else 240
    return tile


def _window(
    tile: Image,
    rng: np.random.Generator,
    px: float,
    s: float,
    z: float,
    width: float,
    height: float,
) -> None:
    """Frame, sill, glass with a little sky in it, and sometimes a curtain."""
    u0, u1 = round(s * px), round((s + width) * px)
    v0, v1 = round((TILE_M - z - height) * px), round((TILE_M - z) * px)
    cv2.rectangle(tile, (u0 - 2, v0 - 2), (u1 + 2, v1 + 2), (214, 212, 206, 0), -1)
    cv2.rectangle(tile, (u0 - 4, v1 + 2), (u1 + 4, v1 + 5), (170, 166, 160, 0), -1)
    glass = rng.uniform(0.6, 1.3)
    rows = max(1, v1 - v0)
    fade = np.linspace(1.25, 0.8, rows)[:, None]
    tile[v0:v1, u0:u1, :3] = np.clip(np.array([58, 70, 84]) * glass * fade, 0, 255)[:, None]
    if rng.random() < 0.35:
        cut = v0 + round(rows * rng.uniform(0.3, 0.9))
        tile[v0:cut, u0:u1, :3] = (186, 178, 164)
    middle = (u0 + u1) // 2
    tile[v0:v1, middle - 1 : middle + 1, :3] = (206, 204, 198)
