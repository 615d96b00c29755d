# SPDX-License-Identifier: Apache-2.0
"""The ground's colours and classes, sampled at any place and size of pixel."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.textures import Float32, fractal_noise, MipTexture

Array = NDArray[np.float64]

_DETAIL_GSD = 0.02


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
            seed: Of the fine grain.
            classes: (S, S) uint8 `Label` of every texel; BARE everywhere if None.
        """
        self.half_extent = half_extent
        self.gsd = 2 * half_extent / canvas.shape[0]
        self._classes = classes
        self._albedo = MipTexture(canvas)
        rng = np.random.default_rng([seed, 11])
        grain = fractal_noise(rng, 1024, (1, 2, 4, 16), tileable=True, exponent=0.1)
        tile = np.clip(128 + 14 * grain, 0, 255).astype(np.uint8)
        self._grain = MipTexture(tile, cv2.BORDER_WRAP, levels=6)

    def label_at(self, x: Array, y: Array) -> NDArray[np.uint8]:
        """`Label` (N,) of places on the ground; grass outside of the painted square."""
        u = np.floor((np.asarray(x) + self.half_extent) / self.gsd).astype(np.int64)
        v = np.floor((self.half_extent - np.asarray(y)) / self.gsd).astype(np.int64)
        side = round(2 * self.half_extent / self.gsd)
        inside = (u >= 0) & (v >= 0) & (u < side) & (v < side)
        out = np.full(len(u), Label.GRASS, np.uint8)
        if self._classes is None:
            out[inside] = Label.BARE
        else:
            out[inside] = self._classes[v[inside], u[inside]]
        return out

    def albedo(self, x: Float32, y: Float32, footprint_m: Float32) -> Float32:
        """Colours of places on the ground.

        Args:
            x: (N,) east, m.
            y: (N,) north, m.
            footprint_m: (N,) size of the ground that the camera's pixel covers, m.

        Returns:
            (N, 3) float32, 0..255.
        """
        scale = np.float32(1 / self.gsd)
        half = np.float32(self.half_extent)
        u = (x + half) * scale - np.float32(0.5)
        v = (half - y) * scale - np.float32(0.5)
        colour = self._albedo.sample(u, v, footprint_m * scale).astype(np.float32)
        return colour * self.grain(x, y, footprint_m)[:, None]

    def grain(self, a: Float32, b: Float32, footprint_m: Float32) -> Float32:
        """Fine roughness of any surface, as a factor (N,) around 1, at metric places (a, b)."""
        scale = np.float32(1 / _DETAIL_GSD)
        return self._grain.sample(a * scale, b * scale, footprint_m * scale) * np.float32(1 / 128)
