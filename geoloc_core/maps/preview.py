# SPDX-License-Identifier: Apache-2.0
"""A small picture of a whole map."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.maps.pyramid import AbstractPyramid, Window

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
    area = pyramid.area
    middle = (area.col + area.width / 2 - 0.5, area.row + area.height / 2 - 0.5)
    size_u, size_v = pyramid.georeference.pixel_size_m(middle)
    gsd = max(area.width * size_u, area.height * size_v) / side_px
    scale = pyramid.scale_for(gsd / size_u, gsd / size_v)
    level = pyramid.levels[scale.level]
    window = Window(
        math.floor(area.col / level.factor_u),
        math.floor(area.row / level.factor_v),
        max(1, round(area.width / level.factor_u)),
        max(1, round(area.height / level.factor_v)),
    )
    if window.width * window.height > _MAX_PIXELS_READ:
        raise MapError(
            f'{pyramid.info.name} is {window.width} x {window.height} pixels without coarser '
            'overviews; add some (gdaladdo -r average), or name a --center'
        )
    aligned = scale.aligned(window)
    rgb, _ = pyramid.read_cells(scale, aligned)
    left = round((window.col - aligned.col) / scale.step_u)
    top = round((window.row - aligned.row) / scale.step_v)
    columns = max(1, round(window.width / scale.step_u))
    rows = max(1, round(window.height / scale.step_v))
    shape = (max(1, round(area.width * size_u / gsd)), max(1, round(area.height * size_v / gsd)))
    picture = cv2.resize(
        rgb[top : top + rows, left : left + columns], shape, interpolation=cv2.INTER_AREA
    )
    return np.asarray(picture, np.uint8)
