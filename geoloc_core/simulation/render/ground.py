# SPDX-License-Identifier: Apache-2.0
"""The ground's painted colours and classes, sampled at any place and size of pixel."""

from math import ceil, floor, log2, sqrt
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.noise import fbm, kernel, smoothstep

Array = NDArray[np.float64]

_LEVELS = 12
# Samples along the longer side of what a pixel sees of the ground.
_TAPS = 4
_VEGETATION = (Label.GRASS, Label.TREE)
_GRASS = int(Label.GRASS)


class GroundData(NamedTuple):
    """The ground as the kernels take it.

    `base` (S, S, 4) uint8 is colour and share of vegetation; `mips` holds the levels 1, 2, ... one
    after the other, level k from `starts[k]` on with `sides[k]` texels along a side.
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
        base[..., 3] = np.where(np.isin(classes, _VEGETATION), 255, 0)
        levels: list[NDArray[np.uint8]] = [base]
        while len(levels) < _LEVELS and len(levels[-1]) >= 8:
            half = len(levels[-1]) // 2
            smaller = cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA)
            levels.append(smaller.astype(np.uint8, copy=False))
        sizes = [level.size for level in levels[1:]]
        self.data = GroundData(
            base=base,
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


@kernel
def ground_label(x: float, y: float, ground: GroundData) -> int:
    """`Label` of a place; grass outside of the painted square."""
    u = floor((x + ground.half) / ground.gsd)
    v = floor((ground.half - y) / ground.gsd)
    side = ground.base.shape[0]
    if u < 0 or v < 0 or u >= side or v >= side:
        return _GRASS
    if ground.classes.shape[0] == 1:
        return int(ground.classes[0, 0])
    return int(ground.classes[v, u])


@kernel
def _level_sample(
    x: float, y: float, level: int, ground: GroundData
) -> tuple[float, float, float, float]:
    """Bilinear sample of one level, clamped at its borders."""
    side = ground.sides[level]
    scale = side / (2.0 * ground.half)
    u = min(max((x + ground.half) * scale - 0.5, 0.0), side - 1.0)
    v = min(max((ground.half - y) * scale - 0.5, 0.0), side - 1.0)
    i, j = int(u), int(v)
    p = min(i + 1, side - 1)
    q = min(j + 1, side - 1)
    a, b = u - i, v - j
    w00, w10, w01, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    if level == 0:
        t = ground.base
        return (
            w00 * t[j, i, 0] + w10 * t[j, p, 0] + w01 * t[q, i, 0] + w11 * t[q, p, 0],
            w00 * t[j, i, 1] + w10 * t[j, p, 1] + w01 * t[q, i, 1] + w11 * t[q, p, 1],
            w00 * t[j, i, 2] + w10 * t[j, p, 2] + w01 * t[q, i, 2] + w11 * t[q, p, 2],
            w00 * t[j, i, 3] + w10 * t[j, p, 3] + w01 * t[q, i, 3] + w11 * t[q, p, 3],
        )
    m = ground.mips
    k = ground.starts[level]
    n00, n10 = k + 4 * (j * side + i), k + 4 * (j * side + p)
    n01, n11 = k + 4 * (q * side + i), k + 4 * (q * side + p)
    return (
        w00 * m[n00] + w10 * m[n10] + w01 * m[n01] + w11 * m[n11],
        w00 * m[n00 + 1] + w10 * m[n10 + 1] + w01 * m[n01 + 1] + w11 * m[n11 + 1],
        w00 * m[n00 + 2] + w10 * m[n10 + 2] + w01 * m[n01 + 2] + w11 * m[n11 + 2],
        w00 * m[n00 + 3] + w10 * m[n10 + 3] + w01 * m[n01 + 3] + w11 * m[n11 + 3],
    )


@kernel
def ground_paint(
    x: float, y: float, minor: float, major: float, ax: float, ay: float, ground: GroundData
) -> tuple[float, float, float, float]:
    """Painted colour and share of vegetation under a pixel.

    Args:
        x: Place, m.
        y: Place, m.
        minor: Width across the view of what the pixel sees, m.
        major: Length along the view, m.
        ax: Unit vector of that length.
        ay: Its y.
        ground: Of `Ground`.

    Returns:
        Red, green, blue (0..255) and vegetation (0..1).
    """
    out = max(abs(x), abs(y)) - ground.half
    if out > 0.0:
        # Fields around the city, in patches.
        n = fbm(x, y, major, 160.0, 2, 3.0, 0.6, ground.seed + 70)
        m = smoothstep(-0.25, 0.25, n)
        return 104.0 + 34.0 * m, 112.0 + 6.0 * m, 68.0 + 6.0 * m, 1.0
    taps = int(min(max(ceil(major / minor - 0.3), 1.0), _TAPS))
    size = max(minor, major / taps) / ground.gsd
    top = len(ground.sides) - 1
    fine = min(max(log2(max(size, 1e-6)), 0.0), float(top))
    level = int(fine)
    part = fine - level
    # Between two levels only the middle third is a mixture: the rest costs half.
    part = min(max(3.0 * part - 1.0, 0.0), 1.0)
    r, g, b, v = 0.0, 0.0, 0.0, 0.0
    for k in range(taps):
        shift = ((k + 0.5) / taps - 0.5) * major
        px, py = x + shift * ax, y + shift * ay
        if part < 1.0:
            c = _level_sample(px, py, level, ground)
            w = 1.0 - part
            r, g, b, v = r + w * c[0], g + w * c[1], b + w * c[2], v + w * c[3]
        if part > 0.0:
            c = _level_sample(px, py, min(level + 1, top), ground)
            r, g, b, v = r + part * c[0], g + part * c[1], b + part * c[2], v + part * c[3]
    n = 1.0 / taps
    return r * n, g * n, b * n, v * n / 255.0


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
        out[i] = ground_label(xy[i, 0], xy[i, 1], ground)


@kernel
def _colours(xy: Array, width: Array, ground: GroundData, out: NDArray[np.float32]) -> None:
    for i in range(len(xy)):
        c = ground_paint(xy[i, 0], xy[i, 1], width[i], width[i], 1.0, 0.0, ground)
        out[i, 0] = c[0]
        out[i, 1] = c[1]
        out[i, 2] = c[2]
