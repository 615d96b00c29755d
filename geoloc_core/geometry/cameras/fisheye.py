# SPDX-License-Identifier: Apache-2.0
"""Fisheye camera: the equidistant (Kannala-Brandt) model of ROS and OpenCV."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry.cameras.base import (
    first_positive_root,
    Floats,
    FocalCamera,
    invert_monotone,
)

_TABLE_SIZE = 2048
_NEWTON_STEPS = 8


@dataclass(frozen=True)
class FisheyeCamera(FocalCamera):
    """A fisheye camera; rays may come from beyond 90 degrees off the axis.

    With theta the angle from the axis: r = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 +
    k4 theta^8) along the ray's direction in the image, u = fx r cos(phi) + cx.
    Where r stops growing the model ends; rays from there on are invalid.

    Reference: Kannala and Brandt, "A generic camera model and calibration method for
    conventional, wide-angle, and fish-eye lenses", PAMI 2006, eq. 6; OpenCV fisheye.
    """

    def __post_init__(self) -> None:
        """Refuses impossible parameters.

        Raises:
            CalibrationError: A value is not finite, a focal length is not positive, or there are
                neither four coefficients nor none.
        """
        super().__post_init__()
        if len(self.distortion) not in (0, 4):
            raise CalibrationError(
                'the equidistant model takes 4 distortion coefficients (or none), got '
                f'{len(self.distortion)}'
            )

    @cached_property
    def _k(self) -> tuple[float, ...]:
        return tuple(self.distortion) or (0.0,) * 4

    @cached_property
    def max_angle(self) -> float:
        """Angle from the axis, rad, at which the model ends; at most pi."""
        k1, k2, k3, k4 = self._k
        slope = [1.0, 3 * k1, 5 * k2, 7 * k3, 9 * k4]
        return min(float(np.sqrt(first_positive_root(slope, np.pi**2))), np.pi)

    @cached_property
    def _table(self) -> tuple[Floats, Floats]:
        """Angles from zero to the model's end, and their image radii, increasing."""
        theta = np.linspace(0.0, self.max_angle, _TABLE_SIZE)
        return theta, self._radius(theta)

    def _radius(self, theta: Floats) -> Floats:
        k1, k2, k3, k4 = self._k
        t2 = theta * theta
        return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))

    def _project(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        across = np.hypot(x, y)
        theta = np.arctan2(across, z)
        # Straight ahead every direction is as good as another; straight behind none is; and a
        # point in the optical centre has no ray.
        with np.errstate(all='ignore'):
            scale = np.where(across > 0, self._radius(theta) / across, 0.0)
        undefined = (theta >= self.max_angle) | ((across == 0) & ~(z > 0)) | ~np.isfinite(z)
        scale = np.where(undefined, np.nan, scale).astype(x.dtype, copy=False)
        return self.fx * scale * x + self.cx, self.fy * scale * y + self.cy

    def unproject(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Unit rays (N, 3), optical frame, of pixels (N, 2); NaN where the model has ended."""
        uv = np.asarray(uv, dtype=np.float64)
        xy = (uv - [self.cx, self.cy]) / [self.fx, self.fy]
        radius = np.hypot(xy[..., 0], xy[..., 1])
        k1, k2, k3, k4 = self._k
        theta = invert_monotone(radius, *self._table)
        with np.errstate(all='ignore'):
            for _ in range(_NEWTON_STEPS):
                t2 = theta * theta
                slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
                # Near the model's end the slope vanishes; the table's own precision is kept there.
                step = np.where(slope > 1e-6, (radius - self._radius(theta)) / slope, 0.0)
                theta = np.clip(theta + step, 0.0, self.max_angle)
            across = np.where(radius > 0, np.sin(theta) / radius, 0.0)
        return np.concatenate([xy * across[..., None], np.cos(theta)[..., None]], axis=-1)
