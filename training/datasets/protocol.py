# SPDX-License-Identifier: Apache-2.0
"""What an evaluation lets a method know before it looks: the rules of each comparison."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.types import PosePrior

Array = NDArray[np.float64]

# Axes that a protocol does not speak of: height, roll and pitch of a vehicle on level ground.
_STD_Z_M = 0.5
_STD_TILT = float(np.radians(2.0))


@dataclass(frozen=True)
class Protocol:
    """How far a prior may be from the truth; errors are uniform within the stated bounds.

    Attributes:
        name: As the tables of the field call it, e.g. 'same-area aligned', 'test2 +-10 deg'.
        half_x_m: Bound along the axis named by `axes`, m.
        half_y_m: Bound along the other axis, m.
        half_yaw: Bound of the yaw, rad; 0 = known orientation, pi = unknown.
        axes: 'map' (x east, y north) or 'heading' (x along the true heading, y to its left).
        split: The part of the data set it is evaluated on.
    """

    name: str
    half_x_m: float
    half_y_m: float
    half_yaw: float
    axes: str = 'map'
    split: str = 'test'

    def prior(self, stamp_ns: int, T_map_base: Array, fractions: tuple[float, ...]) -> PosePrior:
        """The prior of one sample.

        Args:
            stamp_ns: Of the sample.
            T_map_base: (4, 4) the truth; only x, y and yaw are used, the prior stands upright.
            fractions: (x, y, yaw) each in [-1, 1]: prior minus truth, in units of the bounds.

        Returns:
            The shifted pose with the covariance of a uniform distribution (bound^2 / 3).
        """
        x, y, yaw = se3.planar(T_map_base)
        dx, dy = fractions[0] * self.half_x_m, fractions[1] * self.half_y_m
        var = np.array([self.half_x_m, self.half_y_m]) ** 2 / 3
        cov_xy = np.diag(var)
        if self.axes == 'heading':
            c, s = np.cos(yaw), np.sin(yaw)
            R = np.array([[c, -s], [s, c]])
            dx, dy = R @ (dx, dy)
            cov_xy = R @ cov_xy @ R.T
        cov = np.diag([0.0, 0.0, _STD_Z_M**2, _STD_TILT**2, _STD_TILT**2, 0.0])
        # Never zero, also where a protocol gives the orientation away.
        cov[:2, :2] = cov_xy + 1e-4 * np.eye(2)
        cov[5, 5] = self.half_yaw**2 / 3 + 1e-6
        T = se3.from_planar(x + dx, y + dy, yaw + fractions[2] * self.half_yaw, T_map_base[2, 3])
        return PosePrior(stamp_ns, T, cov)


def fractions(seed: int, index: int, epoch: int = 0, count: int = 3) -> tuple[float, ...]:
    """Uniform draws in [-1, 1] that depend on nothing but (seed, epoch, index)."""
    return tuple(np.random.default_rng([seed, epoch, index]).uniform(-1, 1, count))
