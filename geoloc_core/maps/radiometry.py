# SPDX-License-Identifier: Apache-2.0
"""From the bands of a raster to 8-bit RGB and a mask.

8-bit bands are taken as they are. Others (16-bit, float) are stretched linearly from the raster's
1st and 99th percentile to 0 and 255, one stretch for all bands and the whole raster, so that the
same place looks the same in every patch. One band becomes three equal ones; of more than three,
those named red, green and blue are used, else the first three.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_OPAQUE = 0.5  # of full alpha


@dataclass(frozen=True, eq=False)
class BandPlan:
    """What to read of a raster, and how to make RGB of it.

    Attributes:
        colors: One or three band numbers (from 1), in the order R, G, B.
        alpha: Band number of the transparency, or None.
        palette: (N, 4) uint8 RGBA by value, or None.
        nodata: Value that means "no imagery", or None.
        low: Value that becomes 0.
        high: Value that becomes 255; with `low` 0 and `high` 255 values are kept.
    """

    colors: tuple[int, ...]
    alpha: int | None = None
    palette: NDArray[np.uint8] | None = None
    nodata: float | None = None
    low: float = 0.0
    high: float = 255.0

    @property
    def bands(self) -> list[int]:
        """Band numbers to read, in the order `decode` wants them."""
        return [*self.colors, self.alpha] if self.alpha else list(self.colors)

    def decode(self, data: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Makes RGB and mask.

        Args:
            data: (bands, height, width), the bands named by `bands`, any number type.

        Returns:
            (height, width, 3) uint8, and (height, width) uint8, 255 where there is imagery.
        """
        colors = data[: len(self.colors)]
        mask: NDArray[np.uint8] = np.full(data.shape[1:], 255, np.uint8)
        if self.palette is not None:
            rgba = self.palette[np.minimum(colors[0], len(self.palette) - 1)]
            mask[rgba[..., 3] == 0] = 0
            planes = [np.ascontiguousarray(rgba[..., i]) for i in range(3)]
        else:
            planes = [self._to_8bit(plane) for plane in colors]
        if self.nodata is not None and not np.isnan(self.nodata):
            # As GDAL does: a pixel is missing only if all its bands say so.
            mask[np.all(colors == self.nodata, axis=0)] = 0
        if np.issubdtype(data.dtype, np.floating):
            mask[~np.all(np.isfinite(colors), axis=0)] = 0
        if self.alpha:
            mask[data[-1] < _OPAQUE * _full(data.dtype)] = 0
        rgb = cv2.merge(planes if len(planes) == 3 else planes * 3)
        return np.asarray(rgb, np.uint8), mask

    def _to_8bit(self, plane: NDArray) -> NDArray[np.uint8]:
        if plane.dtype == np.uint8 and (self.low, self.high) == (0.0, 255.0):
            return plane
        gain = np.float32(255.0 / (self.high - self.low))
        stretched = (plane.astype(np.float32) - np.float32(self.low)) * gain
        return np.clip(np.rint(np.nan_to_num(stretched)), 0, 255).astype(np.uint8)


def stretch(samples: NDArray) -> tuple[float, float]:
    """(low, high) for `BandPlan` from valid values of a raster, any shape."""
    if samples.size == 0:
        return 0.0, 255.0
    low, high = np.percentile(samples, [1, 99])
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _full(dtype: np.dtype) -> float:
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0
