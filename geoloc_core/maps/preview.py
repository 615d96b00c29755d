# SPDX-License-Identifier: Apache-2.0
"""A small picture of a whole map."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.maps.pyramid import AbstractPyramid

# Reading more than this for a picture takes minutes and is not what was meant.
_MAX_PIXELS_READ = 2_000_000_000


def preview(pyramid: AbstractPyramid, side_px: int = 1024) -> NDArray[np.uint8]:
    """The whole map in its own projection, square metres as square pixels; no imagery is black.

    Args:
        pyramid: The map.
        side_px: Longer side of the picture.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        MapError: The map is damaged, or too large to be looked at as a whole.
    """
    width, height = pyramid.info.size_px
    finest = pyramid.levels[0].extent
    area = finest if finest.col >= 0 else pyramid.levels[-1].extent
    middle = (area.col + area.width / 2 - 0.5, area.row + area.height / 2 - 0.5)
    size_u, size_v = pyramid.georeference.pixel_size_m(middle)
    gsd = max(width * size_u, height * size_v) / side_px
    scale = pyramid.scale_for(gsd / size_u, gsd / size_v)
    level = pyramid.levels[scale.level]
    extent = level.extent
    if extent.width * extent.height > _MAX_PIXELS_READ:
        raise MapError(
            f'{pyramid.info.name} is {extent.width} x {extent.height} pixels without coarser '
            'overviews; add some (gdaladdo -r average), or name a --center'
        )
    rgb, _ = pyramid.read_cells(scale, scale.aligned(extent))
    columns = round(extent.width / scale.step_u)
    rows = round(extent.height / scale.step_v)
    shape = (
        max(1, round(width * size_u / gsd)),
        max(1, round(height * size_v / gsd)),
    )
    picture = cv2.resize(rgb[:rows, :columns], shape, interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8)
