# SPDX-License-Identifier: Apache-2.0
"""A raster with coarser copies of itself, read in windows and shrunk without aliasing."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.maps.georeference import AbstractGeoreference
from geoloc_core.maps.source import MapInfo

Rgb = NDArray[np.uint8]
Mask = NDArray[np.uint8]

# Rows of raster pixels decoded in one go: bounds the memory beside the result, and the time for
# which a file stays locked.
_STRIP_ROWS = 512
_WHOLE = 254  # a mask averages to 255 only where every pixel under the cell is valid
_SLACK = 1.005  # a request for 0.25 m may use a level of 0.2512 m


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: first column and row, and their numbers."""

    col: int
    row: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column past it."""
        return self.col + self.width

    @property
    def bottom(self) -> int:
        """The first row past it."""
        return self.row + self.height

    def covers(self, other: 'Window') -> bool:
        """Whether `other` lies inside."""
        return (
            self.col <= other.col
            and self.row <= other.row
            and self.right >= other.right
            and self.bottom >= other.bottom
        )

    def intersection(self, other: 'Window') -> 'Window | None':
        """What both share, or None."""
        col, row = max(self.col, other.col), max(self.row, other.row)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        if right <= col or bottom <= row:
            return None
        return Window(col, row, right - col, bottom - row)


@dataclass(frozen=True)
class Level:
    """One resolution of a pyramid.

    Attributes:
        factor_u: Pixels of the finest level per pixel of this one, along u.
        factor_v: The same along v.
        extent: Where this level has pixels, in its own pixels.
    """

    factor_u: float
    factor_v: float
    extent: Window


@dataclass(frozen=True)
class Scale:
    """A level, and how many of its pixels make one cell of a decoded block.

    Cells are quarter steps of a power of two (1, 1.25, 1.5, 1.75, 2, 2.5 ...) pixels wide, so
    that four cells are a whole number of pixels. Blocks that start at such multiples hold the
    same values for the same place, whichever block it is read from: results do not depend on
    which block happened to be in memory.
    """

    level: int
    step_u: float
    step_v: float

    def aligned(self, window: Window) -> Window:
        """The smallest window around `window` that whole groups of four cells make up."""
        unit_u, unit_v = round(4 * self.step_u), round(4 * self.step_v)
        col, row = window.col // unit_u * unit_u, window.row // unit_v * unit_v
        return Window(
            col,
            row,
            -(-(window.right - col) // unit_u) * unit_u,
            -(-(window.bottom - row) // unit_v) * unit_v,
        )

    def cells(self, window: Window) -> tuple[int, int]:
        """(columns, rows) of cells in an aligned window."""
        return round(window.width / self.step_u), round(window.height / self.step_v)


class AbstractPyramid(ABC):
    """A georeferenced raster, whatever it is stored in. Safe to use from several threads.

    Attributes:
        georeference: Where the finest level's pixels lie.
        levels: Finest first.
        area: What the map covers, finest level's pixels, a world-wide one once.
    """

    georeference: AbstractGeoreference
    levels: tuple[Level, ...]
    area: Window

    @property
    @abstractmethod
    def info(self) -> MapInfo:
        """What this map is."""

    @abstractmethod
    def read_pixels(self, level: int, window: Window) -> tuple[Rgb, Mask]:
        """Decodes a window that lies inside the level's extent.

        Returns:
            (height, width, 3) uint8 RGB, and (height, width) uint8: 255 where there is imagery.

        Raises:
            MapError: The file is damaged.
        """

    @abstractmethod
    def check(self) -> Iterator[str]:
        """Reads everything there is, one part (tile or block) at a time.

        Yields:
            '' for a sound part, what is wrong for another.
        """

    @abstractmethod
    def parts(self) -> int:
        """How many parts `check` will go through."""

    def problems(self) -> tuple[str, ...]:
        """What went wrong so far while reading, for people."""
        return ()

    def close(self) -> None:  # noqa: B027 (some have nothing to release)
        """Releases files. Safe to call twice."""

    def scale_for(self, pixels_u: float, pixels_v: float) -> Scale:
        """The coarsest scale that is still fine enough.

        Args:
            pixels_u: Pixels of the finest level per pixel wanted, along u.
            pixels_v: The same along v.
        """
        index = 0
        for number, level in enumerate(self.levels):
            if level.factor_u <= pixels_u * _SLACK and level.factor_v <= pixels_v * _SLACK:
                index = number
        level = self.levels[index]
        return Scale(index, _step(pixels_u / level.factor_u), _step(pixels_v / level.factor_v))

    def read_cells(
        self, scale: Scale, window: Window, cancelled: Callable[[], bool] = lambda: False
    ) -> tuple[Rgb, Mask | None]:
        """Reads an aligned window and averages its pixels into cells.

        Args:
            scale: The level, and its pixels per cell.
            window: Level pixels, as `scale.aligned` gives; may reach outside the raster.
            cancelled: Asked now and then; True stops the work.

        Returns:
            (rows, columns, 3) uint8 RGB, and (rows, columns) uint8, 255 where every pixel under
            the cell is imagery; None instead if that is everywhere.

        Raises:
            MapError: The file is damaged, or the work was cancelled.
        """
        columns, rows = scale.cells(window)
        rgb = np.zeros((rows, columns, 3), np.uint8)
        mask = np.zeros((rows, columns), np.uint8)
        unit = round(4 * scale.step_v)
        strip_rows = max(unit, _STRIP_ROWS // unit * unit)
        for top in range(window.row, window.bottom, strip_rows):
            if cancelled():
                raise MapError('reading was cancelled')
            strip = Window(window.col, top, window.width, min(strip_rows, window.bottom - top))
            first = round((top - window.row) / scale.step_v)
            last = first + round(strip.height / scale.step_v)
            self._read_strip(scale, strip, rgb[first:last], mask[first:last])
        return rgb, None if mask.all() else mask

    def _read_strip(self, scale: Scale, strip: Window, rgb: Rgb, mask: Mask) -> None:
        inside = strip.intersection(self.levels[scale.level].extent)
        if inside is None:
            return
        pixels: NDArray[Any]
        valid: NDArray[Any]
        pixels, valid = self.read_pixels(scale.level, inside)
        if inside != strip:
            top, left = inside.row - strip.row, inside.col - strip.col
            border = (
                top,
                strip.height - inside.height - top,
                left,
                strip.width - inside.width - left,
            )
            pixels = cv2.copyMakeBorder(pixels, *border, cv2.BORDER_CONSTANT, value=0)
            valid = cv2.copyMakeBorder(valid, *border, cv2.BORDER_CONSTANT, value=0)
        if scale.step_u != 1 or scale.step_v != 1:
            size = (rgb.shape[1], rgb.shape[0])
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            valid = cv2.resize(valid, size, interpolation=cv2.INTER_AREA)
        rgb[:] = pixels
        np.multiply(valid >= _WHOLE, 255, out=mask, casting='unsafe')


def _step(ratio: float) -> float:
    """The largest of 1, 1.25, 1.5, 1.75 times a power of two that does not exceed `ratio`."""
    ratio *= _SLACK
    if ratio < 1.25:
        return 1.0
    power = 2.0 ** math.floor(math.log2(ratio))
    return power * math.floor(ratio / power * 4) / 4
