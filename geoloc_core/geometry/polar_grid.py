# SPDX-License-Identifier: Apache-2.0
"""The ground around a point, by direction and distance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PolarGrid:
    """Rings around the origin of a level frame, cut into directions.

    What stands upright is smeared along one column, as it is in a picture of a level camera, where
    a Cartesian grid smears it in as many directions as there are. Each ring is farther away than
    the one below it by the same factor: cells are about as long as they are wide.

    Convention: like a panorama's. Columns run clockwise around the whole circle and the middle of
    the raster looks along +x; row 0 is the farthest ring. Integer (column, row) is the centre of a
    cell.

    Attributes:
        near_m: Inner edge of the nearest ring, m.
        far_m: Outer edge of the farthest one, m.
        width: Number of directions.
        height: Number of rings.
    """

    near_m: float
    far_m: float
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuses grids without cells.

        Raises:
            ValueError: `near_m` is not between 0 and `far_m`, or there are no cells.
        """
        if not 0 < self.near_m < self.far_m < np.inf:
            raise ValueError(
                f'rings from {self.near_m} m to {self.far_m} m: expected 0 < near < far'
            )
        if self.width < 1 or self.height < 1:
            raise ValueError(f'a grid needs cells, got {self.width} x {self.height}')

    def directions(self, per_cell: int = 1) -> Array:
        """(width per_cell,) rad, counter-clockwise from +x, of that many columns for each one."""
        count = self.width * per_cell
        return np.pi * (1 - 2 * (np.arange(count) + 0.5) / count)

    def distances(self, per_cell: int = 1) -> Array:
        """(height per_cell,) m, of that many rings for each one; the farthest first."""
        count = self.height * per_cell
        share: Array = (np.arange(count) + 0.5) / count
        return self.far_m * (self.near_m / self.far_m) ** share

    def points(self, per_cell: int = 1) -> tuple[Array, Array]:
        """X and y, m, of `per_cell` samples along each side of each cell; (rows, columns) each."""
        distance, direction = self.distances(per_cell)[:, None], self.directions(per_cell)
        return distance * np.cos(direction), distance * np.sin(direction)

    def areas(self) -> Array:
        """(height, 1) m^2 of a cell of each ring."""
        edges = self.far_m * (self.near_m / self.far_m) ** (
            np.arange(self.height + 1) / self.height
        )
        return (np.pi / self.width * (edges[:-1] ** 2 - edges[1:] ** 2))[:, None]

    def cells(self, x: Array, y: Array) -> tuple[Array, Array]:
        """(column, row) of points; columns in [-0.5, width - 0.5), rows beyond the grid too."""
        column = (0.5 - np.arctan2(y, x) / (2 * np.pi)) * self.width - 0.5
        with np.errstate(divide='ignore'):
            share = np.log(np.hypot(x, y) / self.far_m) / np.log(self.near_m / self.far_m)
        return column, share * self.height - 0.5
