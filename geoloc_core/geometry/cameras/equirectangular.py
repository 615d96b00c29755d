# SPDX-License-Identifier: Apache-2.0
"""Equirectangular (spherical panorama) camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.geometry.cameras.base import AbstractCamera, Floats


@dataclass(frozen=True)
class EquirectangularCamera(AbstractCamera):
    """A full sphere: columns span 360 degrees, rows span 180 degrees; columns wrap.

    Convention: the centre column looks along optical +z; azimuth, CCW positive (to the left),
    = -2 pi (u + 0.5 - width/2) / width; the top row looks up (optical -y), elevation
    = pi/2 - pi (v + 0.5) / height.
    """

    @property
    def wraps(self) -> bool:
        """True: the left and the right edge of the image are neighbours."""
        return True

    def _project(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        azimuth = np.arctan2(-x, z)
        across = np.hypot(x, z)
        elevation = np.arctan2(-y, across)
        # A point in the optical centre has no direction.
        elevation = np.where((across == 0) & (y == 0), np.asarray(np.nan, x.dtype), elevation)
        u = azimuth * (-self.width / (2 * np.pi)) + (self.width / 2 - 0.5)
        v = elevation * (-self.height / np.pi) + (self.height / 2 - 0.5)
        return u, v

    def unproject(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Unit rays (N, 3), optical frame, of pixels (N, 2); any u, NaN past the poles."""
        uv = np.asarray(uv, dtype=np.float64)
        azimuth = -2 * np.pi * (uv[..., 0] + 0.5 - self.width / 2) / self.width
        elevation = np.pi / 2 - np.pi * (uv[..., 1] + 0.5) / self.height
        # A hair of slack: the rounding of v itself must not make the pole undefined.
        elevation = np.where(np.abs(elevation) <= np.pi / 2 + 1e-9, elevation, np.nan)
        across = np.cos(elevation)
        return np.stack(
            [-np.sin(azimuth) * across, -np.sin(elevation), np.cos(azimuth) * across], axis=-1
        )

    def resized(self, width: int, height: int) -> 'EquirectangularCamera':
        """The camera of the same panorama resized."""
        return EquirectangularCamera(width, height)
