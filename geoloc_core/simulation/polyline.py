# SPDX-License-Identifier: Apache-2.0
"""A curve in the plane, measured by its own length."""

from math import hypot

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Polyline:
    """Points joined by straight pieces, addressed by the distance s from the first, m."""

    def __init__(self, points: ArrayLike) -> None:
        """Measures the line.

        Args:
            points: (N, 2), m, N >= 2; repeated points are dropped.
        """
        points = np.asarray(points, np.float64)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        self.points: Array = points[np.concatenate([[True], steps > 1e-9])]
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        self.s: Array = np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def length(self) -> float:
        """Length of the whole line, m."""
        return float(self.s[-1])

    def at(self, s: float) -> tuple[Array, Array]:
        """The point (2,) at distance s and the unit direction (2,) there."""
        i = min(max(int(np.searchsorted(self.s, s, 'right')) - 1, 0), len(self.s) - 2)
        step = self.points[i + 1] - self.points[i]
        along = step / hypot(step[0], step[1])
        return self.points[i] + along * (s - self.s[i]), along

    def resampled(self, spacing: float) -> 'Polyline':
        """The same line with points about every `spacing` metres."""
        count = max(2, round(self.length / spacing) + 1)
        s = np.linspace(0, self.length, count)
        return Polyline(
            np.stack([np.interp(s, self.s, self.points[:, k]) for k in (0, 1)], axis=-1)
        )

    def part(self, start: float, end: float) -> 'Polyline':
        """The piece between two distances, start < end."""
        inner = (self.s > start) & (self.s < end)
        points = [self.at(start)[0], *self.points[inner], self.at(end)[0]]
        return Polyline(np.array(points))

    def offset(self, left: float) -> 'Polyline':
        """The line moved sideways, m; positive to the left of its direction."""
        tangent = np.gradient(self.points, self.s, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=-1)
        return Polyline(self.points + normal * left)

    def reversed(self) -> 'Polyline':
        """The line walked the other way."""
        return Polyline(self.points[::-1])
