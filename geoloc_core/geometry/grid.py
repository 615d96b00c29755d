# SPDX-License-Identifier: Apache-2.0
"""The one place where pixels of a north-up raster become metres, and back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Grid:
    """A north-up raster of square cells lying on the ground.

    Convention: u right = +x (east, or forward in a body-level frame), v down = -y (south, or
    right-hand side); integer (u, v) is a cell's centre; `center_xy` is the metric position of the
    raster's middle, that is of pixel ((width - 1) / 2, (height - 1) / 2).

    Attributes:
        center_xy: (x, y) of the raster's middle, m, in the frame the raster lies in.
        gsd: Side of a cell, m/px, positive.
        width: Number of columns.
        height: Number of rows.
    """

    center_xy: tuple[float, float]
    gsd: float
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuses grids without cells.

        Raises:
            ValueError: `gsd`, `width` or `height` is not positive, or a value is not finite.
        """
        if not (np.isfinite(self.gsd) and self.gsd > 0):
            raise ValueError(f'gsd must be positive and finite, got {self.gsd}')
        if self.width < 1 or self.height < 1:
            raise ValueError(f'a grid needs cells, got {self.width} x {self.height}')
        if not np.all(np.isfinite(self.center_xy)):
            raise ValueError(f'center_xy must be finite, got {self.center_xy}')

    @property
    def size_m(self) -> tuple[float, float]:
        """Extent (along x, along y) in metres."""
        return self.width * self.gsd, self.height * self.gsd

    def xy_from_uv(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Metric positions (..., 2) of pixel positions (..., 2)."""
        uv = np.asarray(uv, dtype=np.float64)
        x = self.center_xy[0] + (uv[..., 0] - (self.width - 1) / 2) * self.gsd
        y = self.center_xy[1] - (uv[..., 1] - (self.height - 1) / 2) * self.gsd
        return np.stack([x, y], axis=-1)

    def uv_from_xy(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Pixel positions (..., 2) of metric positions (..., 2)."""
        xy = np.asarray(xy, dtype=np.float64)
        u = (xy[..., 0] - self.center_xy[0]) / self.gsd + (self.width - 1) / 2
        v = (self.center_xy[1] - xy[..., 1]) / self.gsd + (self.height - 1) / 2
        return np.stack([u, v], axis=-1)

    def cell_centers(self) -> NDArray[np.float64]:
        """Metric positions (height, width, 2) of all cell centres."""
        v, u = np.mgrid[0 : self.height, 0 : self.width]
        return self.xy_from_uv(np.stack([u, v], axis=-1))

    def points(self, per_cell: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(1, columns) x and (rows, 1) y, m, of `per_cell` samples along each side of a cell."""
        n = per_cell
        fine = Grid(self.center_xy, self.gsd / n, self.width * n, self.height * n)
        u, v = np.arange(fine.width), np.arange(fine.height)
        x = fine.xy_from_uv(np.stack([u, 0 * u], axis=-1))[:, 0]
        y = fine.xy_from_uv(np.stack([0 * v, v], axis=-1))[:, 1]
        return x[None, :], y[:, None]

    def contains(self, xy: ArrayLike) -> NDArray[np.bool_]:
        """Which of the positions (..., 2) lie inside the raster's outer edges."""
        uv = self.uv_from_xy(xy)
        return (
            (uv[..., 0] >= -0.5)
            & (uv[..., 0] < self.width - 0.5)
            & (uv[..., 1] >= -0.5)
            & (uv[..., 1] < self.height - 0.5)
        )

    def moved_to(self, center_xy: tuple[float, float]) -> 'Grid':
        """The same raster around another centre."""
        return Grid(center_xy, self.gsd, self.width, self.height)
