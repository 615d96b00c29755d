# SPDX-License-Identifier: Apache-2.0
"""The ground's painted colours and classes, sampled at any place and size of pixel."""

from math import ceil, floor, log2, sqrt
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.render.compiling import kernel
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.noise import (
    fbm,
    smoothstep,
)

Array = NDArray[np.float64]

_LEVELS = 12
# Samples along the longer side of what a pixel sees of the ground.
_TAPS = 4
_GRASS = int(Label.GRASS)


class GroundData(NamedTuple):
    """The ground as the kernels take it.

    `base` (S * S * 4,) uint8 is colour and share of vegetation; `mips` holds the levels 1, 2, ...
    one after the other, level k from `starts[k]` on with `sides[k]` texels along a side.
    """

    base: NDArray[np.uint8]
    mips: NDArray[np.uint8]
    starts: NDArray[np.int64]
    sides: NDArray[np.int64]
    classes: NDArray[np.uint8]
    half: float
    gsd: float
    seed: int


class Ground:
    """What the ground looks like anywhere, seen at any size of pixel.

    Convention: a raster row runs east, rows go north to south, as in `Grid`.
    """

    def __init__(
        self,
        canvas: NDArray[np.uint8],
        half_extent: float,
        seed: int,
        classes: NDArray[np.uint8] | None = None,
    ) -> None:
        """Takes the painted picture.

        Args:
            canvas: (S, S, 3) uint8 RGB over [-half_extent, half_extent] squared.
            half_extent: m.
            seed: Of the detail that is added to the paint.
            classes: (S, S) uint8 `Label` of every texel; BARE everywhere if None.

        Raises:
            ConfigError: Canvas and classes are not square rasters of the same side.
        """
        side = canvas.shape[0]
        if canvas.shape != (side, side, 3) or canvas.dtype != np.uint8:
            raise ConfigError(
                f'the canvas of the ground is {canvas.dtype} {canvas.shape}: expected uint8 '
                '(S, S, 3)'
            )
        if classes is None:
            classes = np.full((1, 1), Label.BARE, np.uint8)
        elif classes.shape != (side, side) or classes.dtype != np.uint8:
            raise ConfigError(
                f'the classes of the ground are {classes.dtype} {classes.shape}: expected uint8 '
                f'({side}, {side}) like the canvas'
            )
        self.half_extent = half_extent
        self.gsd = 2 * half_extent / side
        base = np.empty((side, side, 4), np.uint8)
        base[..., :3] = canvas
        grows = np.logical_or(classes == Label.GRASS, classes == Label.TREE)
        # Booleans seen as bytes: a large city leaves no room for wider temporaries.
        np.multiply(grows.view(np.uint8), 255, out=base[..., 3], dtype=np.uint8)
        levels: list[NDArray[np.uint8]] = [base]
        while len(levels) < _LEVELS and len(levels[-1]) >= 8:
            half = len(levels[-1]) // 2
            smaller = cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA)
            levels.append(smaller.astype(np.uint8, copy=False))
        sizes = [level.size for level in levels[1:]]
        self.data = GroundData(
            base=base.reshape(-1),
            mips=np.concatenate([*(v.ravel() for v in levels[1:]), np.zeros(0, np.uint8)]),
            starts=np.concatenate([[0, 0], np.cumsum(sizes)]).astype(np.int64)[: len(levels)],
            sides=np.array([len(level) for level in levels], np.int64),
            classes=np.ascontiguousarray(classes),
            half=float(half_extent),
            gsd=float(self.gsd),
            seed=int(seed) * 1009 + 11,
        )

    def label_at(self, x: Array, y: Array) -> NDArray[np.uint8]:
        """`Label` (N,) of places on the ground; grass outside of the painted square."""
        xy = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], -1).reshape(-1, 2)
        out = np.empty(len(xy), np.uint8)
        _labels(xy, self.data, out)
        return out

    def colour_at(self, x: Array, y: Array, footprint_m: Array) -> NDArray[np.float32]:
        """Colours (N, 3) 0..255 of the paint alone at places (N,), averaged over a footprint."""
        xy = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], -1).reshape(-1, 2)
        out = np.empty((len(xy), 3), np.float32)
        width = np.broadcast_to(np.asarray(footprint_m, np.float64), len(xy))
        _colours(xy, np.ascontiguousarray(width), self.data, out)
        return out


# Kernels that are called for every pixel take arrays, not the tuple that holds them: taking an
# array out of a tuple counts a reference, which costs more than the sample itself.
@kernel
def ground_label(x: float, y: float, half: float, side: int, classes: NDArray[np.uint8]) -> int:
    """`Label` of a place; grass outside of the painted square of `side` texels."""
    scale = side / (2.0 * half)
    u = floor((x + half) * scale)
    v = floor((half - y) * scale)
    if u < 0 or v < 0 or u >= side or v >= side:
        return _GRASS
    if classes.shape[0] == 1:
        return int(classes[0, 0])
    return int(classes[v, u])


@kernel
def _level_sample(
    u: float, v: float, side: int, start: int, texels: NDArray[np.uint8]
) -> tuple[float, float, float, float]:
    """Bilinear sample of one level of `texels`, clamped at its borders.

    Args:
        u: Column, 0..1 over the level's outer edges.
        v: Row, 0..1.
        side: Of the level.
        start: Index of its first byte.
        texels: (K,) of all levels.

    Returns:
        The four channels, 0..255.
    """
    u = min(max(u * side - 0.5, 0.0), side - 1.0)
    v = min(max(v * side - 0.5, 0.0), side - 1.0)
    i, j = int(u), int(v)
    a, b = u - i, v - j
    n00 = start + 4 * (j * side + i)
    right = 4 if i < side - 1 else 0
    below = 4 * side if j < side - 1 else 0
    n10, n01 = n00 + right, n00 + below
    n11 = n01 + right
    w00, w10, w01, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    t = texels
    return (
        w00 * t[n00] + w10 * t[n10] + w01 * t[n01] + w11 * t[n11],
        w00 * t[n00 + 1] + w10 * t[n10 + 1] + w01 * t[n01 + 1] + w11 * t[n11 + 1],
        w00 * t[n00 + 2] + w10 * t[n10 + 2] + w01 * t[n01 + 2] + w11 * t[n11 + 2],
        w00 * t[n00 + 3] + w10 * t[n10 + 3] + w01 * t[n01 + 3] + w11 * t[n11 + 3],
    )


@kernel
def ground_paint(
    x: float,
    y: float,
    minor: float,
    major: float,
    ax: float,
    ay: float,
    half: float,
    seed: int,
    base: NDArray[np.uint8],
    mips: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sides: NDArray[np.int64],
) -> tuple[float, float, float, float]:
    """Painted colour and share of vegetation under a pixel.

    Args:
        x: Place, m.
        y: Place, m.
        minor: Width across the view of what the pixel sees, m.
        major: Length along the view, m.
        ax: Unit vector of that length.
        ay: Its y.
        half: Half the side of the painted square, m.
        seed: Of the world.
        base: See `GroundData`.
        mips: See there.
        starts: See there.
        sides: See there.

    Returns:
        Red, green, blue (0..255) and vegetation (0..1).
    """
    if max(abs(x), abs(y)) > half:
        # Fields around the city, in patches.
        n = fbm(x, y, major, 160.0, 2, 3.0, 0.6, seed + 70)
        m = smoothstep(-0.25, 0.25, n)
        return 104.0 + 34.0 * m, 112.0 + 6.0 * m, 68.0 + 6.0 * m, 1.0
    taps = 1
    if major > 1.3 * minor:
        taps = int(min(ceil(major / minor - 0.3), _TAPS))
    size = max(minor, major / taps) * sides[0] / (2.0 * half)
    top = len(sides) - 1
    level, part = 0, 0.0
    if size > 1.0:
        fine = min(log2(size), float(top))
        level = int(fine)
        # Between two levels only the middle third is a mixture: the rest costs half.
        part = min(max(3.0 * (fine - level) - 1.0, 0.0), 1.0)
        if part == 1.0:
            level, part = level + 1, 0.0
    r, g, b, v = 0.0, 0.0, 0.0, 0.0
    n = 0.5 / half
    for k in range(taps):
        shift = ((k + 0.5) / taps - 0.5) * major
        pu, pv = (x + shift * ax + half) * n, (half - y - shift * ay) * n
        if level == 0:
            c = _level_sample(pu, pv, sides[0], 0, base)
        else:
            c = _level_sample(pu, pv, sides[level], starts[level], mips)
        w = 1.0 - part
        r, g, b, v = r + w * c[0], g + w * c[1], b + w * c[2], v + w * c[3]
        if part > 0.0:
            c = _level_sample(pu, pv, sides[level + 1], starts[level + 1], mips)
            r, g, b, v = r + part * c[0], g + part * c[1], b + part * c[2], v + part * c[3]
    w = 1.0 / taps
    return r * w, g * w, b * w, v * w / 255.0


@kernel
def view_footprint(
    dx: float, dy: float, facing: float, width: float
) -> tuple[float, float, float, float]:
    """(minor, major, ax, ay) of what a ray of some width sees of a level plane.

    Args:
        dx: Unit direction of the ray.
        dy: Its y.
        facing: Cosine between ray and the plane's normal, positive.
        width: Of the ray, m.
    """
    flat = sqrt(dx * dx + dy * dy)
    if flat < 1e-6:
        return width, width, 1.0, 0.0
    return width, width / max(facing, 0.004), dx / flat, dy / flat


@kernel
def _labels(xy: Array, ground: GroundData, out: NDArray[np.uint8]) -> None:
    for i in range(len(xy)):
        out[i] = ground_label(xy[i, 0], xy[i, 1], ground.half, ground.sides[0], ground.classes)


@kernel
def _colours(xy: Array, width: Array, ground: GroundData, out: NDArray[np.float32]) -> None:
    for i in range(len(xy)):
        c = ground_paint(
            xy[i, 0], xy[i, 1], width[i], width[i], 1.0, 0.0, ground.half, ground.seed,
            ground.base, ground.mips, ground.starts, ground.sides,
        )  # fmt: skip
        out[i, 0] = c[0]
        out[i, 1] = c[1]
        out[i, 2] = c[2]
