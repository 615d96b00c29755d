# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera with ROS's plumb_bob (Brown-Conrady) or rational distortion."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry.cameras.base import (
    first_positive_root,
    Floats,
    FocalCamera,
    invert_monotone,
)

# How many coefficients each model takes. OpenCV's further ones (thin prism, tilt) must be zero.
_COUNTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14)}
_MIN_DEPTH = 1e-9
# Rays further from the axis than this are not tabulated: tan(89 degrees).
_MAX_RADIUS = 57.0
_TABLE_SIZE = 2048
_NEWTON_STEPS = 20
_TOLERANCE = 1e-11


@dataclass(frozen=True)
class PinholeCamera(FocalCamera):
    """A pinhole camera. Distortion order: k1 k2 p1 p2 [k3 [k4 k5 k6]], as in ROS and OpenCV.

    With x = X/Z, y = Y/Z, s = x^2 + y^2 and g = (1 + k1 s + k2 s^2 + k3 s^3) /
    (1 + k4 s + k5 s^2 + k6 s^3):
      x' = x g + 2 p1 x y + p2 (s + 2 x^2),  y' = y g + p1 (s + 2 y^2) + 2 p2 x y,
      u = fx x' + cx,  v = fy y' + cy.

    Far from the axis such polynomials fold back: two rays would share a pixel. A ray from the
    fold on is invalid, because the lens never showed it where the formula puts it.

    Reference: OpenCV calib3d documentation, "Detailed Description"; ROS REP-104.

    Attributes:
        model: 'plumb_bob' or 'rational_polynomial'; only decides how many coefficients fit.
    """

    model: str = 'plumb_bob'

    def __post_init__(self) -> None:
        """Refuses impossible parameters.

        Raises:
            CalibrationError: A value is not finite, a focal length is not positive, or the
                coefficients do not fit the model.
        """
        super().__post_init__()
        if self.model not in _COUNTS:
            raise CalibrationError(
                f'distortion model {self.model!r} is not one of {sorted(_COUNTS)}'
            )
        count = len(self.distortion)
        if count and count not in _COUNTS[self.model]:
            raise CalibrationError(
                f'{self.model} takes {" or ".join(map(str, _COUNTS[self.model]))} distortion '
                f'coefficients (or none), got {count}'
            )
        if any(self.distortion[8:]):
            raise CalibrationError(
                f'thin prism and tilt coefficients {self.distortion[8:]} are not supported: '
                'recalibrate with at most 8 coefficients'
            )

    @cached_property
    def _k(self) -> tuple[float, ...]:
        """The eight coefficients k1 k2 p1 p2 k3 k4 k5 k6."""
        return (tuple(self.distortion) + (0.0,) * 8)[:8]

    @cached_property
    def is_distorted(self) -> bool:
        """Whether any distortion coefficient differs from zero."""
        return any(self._k)

    @cached_property
    def _fold(self) -> float:
        """Squared radius s at which the radial part stops growing, or its denominator is zero."""
        k1, k2, _, _, k3, k4, k5, k6 = self._k
        a, b = np.array([1.0, k1, k2, k3]), np.array([1.0, k4, k5, k6])
        s = np.array([0.0, 1.0])
        # r g(r^2) with g = a/b grows while (a + 2 s a') b - 2 s a b' > 0.
        da, db = polynomial.polyder(a), polynomial.polyder(b)
        growth = polynomial.polysub(
            polynomial.polymul(
                polynomial.polyadd(a, 2 * polynomial.polymul(s, da)),
                b,
            ),
            2 * polynomial.polymul(s, polynomial.polymul(a, db)),
        )
        return min(first_positive_root(part, _MAX_RADIUS**2) for part in (growth, b))

    @cached_property
    def _radial_table(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Undistorted radius and its increasing distorted radius, from zero to the fold."""
        last = min(np.sqrt(self._fold), _MAX_RADIUS)
        # Even steps of the angle from the axis: dense where images are.
        r = np.tan(np.linspace(0.0, np.arctan(last), _TABLE_SIZE))
        k1, k2, _, _, k3, k4, k5, k6 = self._k
        s = r * r
        # The last entry may lie on a pole of the denominator.
        with np.errstate(divide='ignore', invalid='ignore'):
            out = r * (1 + s * (k1 + s * (k2 + s * k3))) / (1 + s * (k4 + s * (k5 + s * k6)))
        growing = np.concatenate([[True], np.diff(out) > 0])
        end = _TABLE_SIZE if growing.all() else int(np.argmin(growing))
        return r[:end], out[:end]

    def _distort(self, x: Floats, y: Floats) -> tuple[Floats, Floats, Any]:
        """Distorted normalised coordinates, and the Jacobian (dx'/dx, dx'/dy, dy'/dx, dy'/dy)."""
        k1, k2, p1, p2, k3, k4, k5, k6 = self._k
        s = x * x + y * y
        upper = 1 + s * (k1 + s * (k2 + s * k3))
        lower = 1 + s * (k4 + s * (k5 + s * k6))
        g = upper / lower
        dg = (k1 + s * (2 * k2 + 3 * s * k3) - g * (k4 + s * (2 * k5 + 3 * s * k6))) / lower
        xd = x * g + 2 * p1 * x * y + p2 * (s + 2 * x * x)
        yd = y * g + p1 * (s + 2 * y * y) + 2 * p2 * x * y
        cross = 2 * x * y * dg + 2 * p1 * x + 2 * p2 * y
        j_xx = g + 2 * x * x * dg + 2 * p1 * y + 6 * p2 * x
        j_yy = g + 2 * y * y * dg + 6 * p1 * y + 2 * p2 * x
        return xd, yd, (j_xx, cross, cross, j_yy)

    def _project(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        with np.errstate(all='ignore'):
            depth = np.where(z > _MIN_DEPTH, z, np.nan)
            x, y = x / depth, y / depth
            if self.is_distorted:
                s = x * x + y * y
                x, y, (j_xx, j_xy, j_yx, j_yy) = self._distort(x, y)
                # The tangential part can fold a little before the radial one does.
                folded = (s >= self._fold) | (j_xx * j_yy - j_xy * j_yx <= 0)
                x = np.where(folded, np.nan, x)
                y = np.where(folded, np.nan, y)
            return self.fx * x + self.cx, self.fy * y + self.cy

    def undistort(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Undistorted normalised coordinates of distorted ones.

        A table of the radial part gives the first guess, damped Newton steps on both coordinates
        the rest; unlike plain fixed-point iteration it converges up to the fold.

        Args:
            xy: (N, 2) distorted (u - cx)/fx, (v - cy)/fy.

        Returns:
            (N, 2) X/Z, Y/Z; NaN where no ray before the fold arrives.
        """
        xy = np.asarray(xy, dtype=np.float64)
        if not self.is_distorted:
            return xy.copy()
        xd, yd = xy[..., 0], xy[..., 1]
        r_in, r_out = self._radial_table
        rd = np.hypot(xd, yd)
        with np.errstate(all='ignore'):
            # Tangential terms may push a pixel slightly past the table: start from its end then.
            guess = invert_monotone(np.minimum(rd, r_out[-1]), r_in, r_out)
            scale = np.where(rd > 0, guess / rd, 1.0)
            x, y = xd * scale, yd * scale
            for _ in range(_NEWTON_STEPS):
                fx, fy, (a, b, c, d) = self._distort(x, y)
                ex, ey = xd - fx, yd - fy
                if not np.any(np.hypot(ex, ey) > _TOLERANCE):
                    break
                det = a * d - b * c
                dx, dy = (d * ex - b * ey) / det, (a * ey - c * ex) / det
                # No step longer than a tenth of the radius: stays on this side of the fold.
                limit = 0.1 * (np.hypot(x, y) + 0.1)
                damp = np.minimum(1.0, limit / np.maximum(np.hypot(dx, dy), 1e-300))
                x, y = x + damp * dx, y + damp * dy
            fx, fy, (a, b, c, d) = self._distort(x, y)
            solved = (
                (np.hypot(xd - fx, yd - fy) < 1e-8)
                & (x * x + y * y < min(self._fold, _MAX_RADIUS**2))
                & (a * d - b * c > 0)
            )
        return np.where(solved[..., None], np.stack([x, y], axis=-1), np.nan)

    def unproject(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Unit rays (N, 3), optical frame, of pixels (N, 2); NaN past the fold."""
        uv = np.asarray(uv, dtype=np.float64)
        xy = self.undistort((uv - [self.cx, self.cy]) / [self.fx, self.fy])
        rays = np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)
