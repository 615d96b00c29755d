# SPDX-License-Identifier: Apache-2.0
"""A rectangle cut out of a spherical panorama: a strip around the horizon, or a part of it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry.cameras.base import AbstractCamera, Floats
from geoloc_core.geometry.cameras.equirectangular import EquirectangularCamera

# Sizes are whole pixels until a picture is resized; then they carry rounding errors.
_SLACK_PX = 1e-6


@dataclass(frozen=True)
class PanoramaCropCamera(AbstractCamera):
    """Columns `left` .. and rows `top` .. of a panorama of `full_width` x `full_height` pixels.

    Convention: as for `EquirectangularCamera`: the centre column of the FULL panorama looks along
    optical +z, azimuth CCW positive (to the left) = -2 pi (left + u + 0.5 - full_width/2) /
    full_width, elevation = pi/2 - pi (top + v + 0.5) / full_height.

    Attributes:
        full_width: Columns of the whole circle, px.
        full_height: Rows from zenith to nadir, px.
        left: Columns cut off on the left, px; may wrap around.
        top: Rows cut off at the top, px.
    """

    full_width: float
    full_height: float
    left: float = 0.0
    top: float = 0.0

    def __post_init__(self) -> None:
        """Refuses impossible parameters.

        Raises:
            CalibrationError: A value is not finite, or the rectangle is larger than the panorama.
        """
        super().__post_init__()
        numbers = (self.full_width, self.full_height, self.left, self.top)
        if not np.all(np.isfinite(numbers)):
            raise CalibrationError(f'crop of a panorama holds NaN or infinity: {numbers}')
        fits = (
            self.width <= self.full_width + _SLACK_PX
            and self.top >= -_SLACK_PX
            and self.top + self.height <= self.full_height + _SLACK_PX
        )
        if not fits:
            raise CalibrationError(
                f'{self.width} x {self.height} px from row {self.top} do not fit into a panorama '
                f'of {self.full_width} x {self.full_height} px'
            )

    @property
    def wraps(self) -> bool:
        """Whether all columns of the circle are there."""
        return self.width >= self.full_width - _SLACK_PX

    def _project(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        # In units of a panorama one pixel wide and high, whose pixel centres lie at 0.
        u, v = EquirectangularCamera(1, 1)._project(x, y, z)
        u = (u + 0.5) * self.full_width - 0.5 - self.left
        v = (v + 0.5) * self.full_height - 0.5 - self.top
        # Columns come round again: into the picture, or as near to its middle as they get.
        middle = (self.width - 1) / 2
        turns = np.round((u - middle) / self.full_width)
        return u - turns * self.full_width, v

    def unproject(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Unit rays (N, 3), optical frame, of pixels (N, 2); any u, NaN past the poles."""
        uv = np.asarray(uv, dtype=np.float64)
        full = np.array([self.full_width, self.full_height])
        return EquirectangularCamera(1, 1).unproject(
            (uv + 0.5 + [self.left, self.top]) / full - 0.5
        )

    def resized(self, width: int, height: int) -> 'PanoramaCropCamera':
        """The camera of the same picture resized."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            full_width=self.full_width * sx,
            full_height=self.full_height * sy,
            left=self.left * sx,
            top=self.top * sy,
        )
