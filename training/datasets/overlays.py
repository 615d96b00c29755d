# SPDX-License-Identifier: Apache-2.0
"""Two pictures of one place laid over each other: where they do not match, a pose is wrong."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.registration import has_point, points_of
from training.datasets.sample import Sample

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

# As far as a camera at two metres sees the ground with some detail.
_REACH_M = 18.0
# A step of the golden ratio along the circle of hues: neighbouring numbers look different.
_HUE_STEP = 180 * 0.6180339887498949


def view_on_ground(sample: Sample, grid: Grid) -> tuple[Image, NDArray[np.bool_]]:
    """The view as a map: its ground, taken as a plane, where the label says that it lies.

    Args:
        sample: With a label.
        grid: Of the picture wanted, map frame.

    Returns:
        (H, W, 3) uint8 RGB, and (H, W) bool, True where the ground is seen and is near.
    """
    assert sample.T_map_base is not None and sample.T_map_camera is not None
    xy = grid.cell_centers()
    place = sample.T_map_base[:3, 3]
    points = np.concatenate([xy, np.full((*xy.shape[:-1], 1), place[2])], axis=-1)
    near = np.hypot(*np.moveaxis(xy - place[:2], -1, 0)) < _REACH_M
    T = se3.inverse(sample.T_map_camera)
    in_camera = points.reshape(-1, 3) @ T[:3, :3].T + T[:3, 3]
    image, seen = colours_at(sample.view.camera, sample.view.image, in_camera)
    return image.reshape(*near.shape, 3), seen.reshape(near.shape) & near


def colours_at(
    camera: AbstractCamera, image: Image, points: Array
) -> tuple[Image, NDArray[np.bool_]]:
    """Colours of points in a picture.

    Args:
        camera: Of the picture.
        image: (H, W, 3).
        points: (N, 3) m, optical frame.

    Returns:
        (N, 3) uint8, and (N,) bool, False where the picture does not show the point.
    """
    if not len(points):
        return np.zeros((0, 3), np.uint8), np.zeros(0, bool)
    uv, seen = camera.project(points)
    uv = np.where(seen[:, None], uv, -10.0).astype(np.float32)[None]
    border = cv2.BORDER_WRAP if camera.wraps else cv2.BORDER_REPLICATE
    # A destination of one row may be no longer than 16 bits count.
    parts = [
        cv2.remap(np.ascontiguousarray(image), part, None, cv2.INTER_LINEAR, borderMode=border)
        for part in np.array_split(uv, uv.shape[1] // 30_000 + 1, axis=1)
    ]
    return np.concatenate(parts, axis=1)[0], seen


def neighbour_from_here(sample: Sample, neighbour: Sample) -> Image:
    """The neighbour's colours where depth and both poses say that they belong in this view.

    Args:
        sample: With depth and a label.
        neighbour: Of the same map frame, with a label.

    Returns:
        (H, W, 3) uint8 RGB like the sample's view; black where there is no depth or the neighbour
        looks elsewhere. What was hidden from the neighbour shows what hid it.
    """
    depth = sample.view.depth
    assert depth is not None and sample.T_map_camera is not None
    assert neighbour.T_map_camera is not None
    T = se3.inverse(neighbour.T_map_camera) @ sample.T_map_camera
    points = points_of(depth, sample.view.camera, T)
    image = np.zeros((*depth.shape, 3), np.uint8)
    known = has_point(depth, sample.view.camera)
    colours, seen = colours_at(neighbour.view.camera, neighbour.view.image, points)
    image[known] = colours * seen[:, None]
    return image


def class_colours(classes: NDArray[np.uint8]) -> Image:
    """(H, W, 3) colours of class numbers: the same number has the same colour everywhere."""
    numbers = np.arange(256)
    hsv = np.stack(
        [numbers * _HUE_STEP % 180, np.full(256, 170), 120 + 100 * (numbers % 2)], axis=-1
    )
    table = cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0]
    return table[classes]
