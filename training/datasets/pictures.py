# SPDX-License-Identifier: Apache-2.0
"""A sample as a picture: the view beside its patch, the pose drawn where the label says."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.grid import Grid
from training.datasets.overlays import class_colours, neighbour_from_here, view_on_ground
from training.datasets.sample import LabelKind, Sample

Image = NDArray[np.uint8]

_HEIGHT = 320
_TRUTH, _PRIOR, _INK = (40, 220, 60), (255, 190, 0), (245, 245, 245)
_CAPTION = 22
_MATCHED_M = 48.0


def draw_sample(sample: Sample, neighbour: Sample | None = None) -> Image:
    """All that a sample holds side by side, and the picture that shows whether its pose is right.

    The view, its depth and classes if any; with `neighbour`, what that one saw, as this view would
    see it by depth and both poses. The patch with label (green) and prior (amber); the patch again
    with the view's ground laid on it by the label; the patch's classes.

    Args:
        sample: Any sample.
        neighbour: A sample of nearby, for those with depth.

    Returns:
        (H, W, 3) uint8 RGB, H = 342.
    """
    view = sample.view
    parts = [_to_height(view.image)]
    if view.depth is not None:
        parts.append(_to_height(_depth_colours(view.depth)))
    if neighbour is not None:
        parts.append(_to_height(neighbour_from_here(sample, neighbour)))
    if sample.view_classes is not None:
        parts.append(_to_height(class_colours(sample.view_classes)))
    if sample.patch is not None:
        parts.append(_patch(sample))
        if sample.T_map_base is not None:
            parts.append(_matched(sample))
    if sample.patch_classes is not None:
        parts.append(_to_height(class_colours(sample.patch_classes)))
    row = np.concatenate(parts, axis=1)
    caption = np.zeros((_CAPTION, row.shape[1], 3), np.uint8)
    cv2.putText(
        caption, _words(sample), (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA
    )
    return np.concatenate([caption, row])


def _words(sample: Sample) -> str:
    words = f'{sample.sequence} / {sample.key}'
    if len(words) > 60:
        words = '...' + words[-57:]
    if sample.T_map_base is not None:
        x, y, yaw = se3.planar(sample.T_map_base)
        words += f'   x {x:.2f} m  y {y:.2f} m  yaw {np.degrees(yaw):.1f} deg'
    if sample.label is not LabelKind.TRUTH:
        words += f'   label: {sample.label.name}'
    return words


def _to_height(image: Image, height: int = _HEIGHT) -> Image:
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    shrinks = height < image.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)


def _depth_colours(depth: NDArray[np.float32]) -> Image:
    """Near is bright, far is dark, no measurement is black."""
    known = np.isfinite(depth)
    if not known.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    low, high = np.percentile(depth[known], [2, 98])
    scaled = np.clip((depth - low) / max(high - low, 1e-6), 0, 1)
    grey = np.where(known, 255 - 225 * scaled, 0).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    colours[~known] = 0
    return colours


def _patch(sample: Sample) -> Image:
    patch = sample.patch
    assert patch is not None
    image = np.where(patch.mask[..., None], patch.image, patch.image // 3)
    image = _to_height(image.astype(np.uint8))
    scale = _HEIGHT / patch.grid.height
    if sample.prior is not None:
        _arrow(image, sample, sample.prior.T_map_base, scale, _PRIOR)
    if sample.T_map_base is not None:
        _arrow(image, sample, sample.T_map_base, scale, _TRUTH)
    return image


def _matched(sample: Sample) -> Image:
    """The patch around the label, 48 m wide at most, the view's ground laid on it."""
    patch = sample.patch
    assert patch is not None and sample.T_map_base is not None
    x, y, _ = se3.planar(sample.T_map_base)
    side_m = min(_MATCHED_M, *patch.grid.size_m)
    grid = Grid((x, y), side_m / _HEIGHT, _HEIGHT, _HEIGHT)
    uv = patch.grid.uv_from_xy(grid.cell_centers()).astype(np.float32)
    under = cv2.remap(np.ascontiguousarray(patch.image), uv, None, cv2.INTER_LINEAR)
    laid, seen = view_on_ground(sample, grid)
    image = np.where(seen[..., None], laid, under).astype(np.uint8)
    edges, _ = cv2.findContours(seen.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, edges, -1, _TRUTH, 1)
    return image


def _arrow(
    image: Image, sample: Sample, T: NDArray, scale: float, colour: tuple[int, int, int]
) -> None:
    """A ring at the place and an arrow, 40 px long, the way the robot faces."""
    assert sample.patch is not None
    x, y, yaw = se3.planar(T)
    uv = (sample.patch.grid.uv_from_xy((x, y)) + 0.5) * scale - 0.5
    tip = uv + 40 * np.array([np.cos(yaw), -np.sin(yaw)])
    start, end = [tuple(np.rint(p * 16).astype(int).tolist()) for p in (uv, tip)]
    for ink, width in (((0, 0, 0), 4), (colour, 2)):
        cv2.circle(image, start, 6 * 16, ink, width, cv2.LINE_AA, 4)
        cv2.arrowedLine(image, start, end, ink, width, cv2.LINE_AA, 4, 0.3)


def contact_sheet(
    samples: Sequence[Sample], neighbours: Mapping[str, Sample] | None = None
) -> Image:
    """Pictures of samples below each other.

    Args:
        samples: At least one.
        neighbours: Key of a sample -> one taken nearby.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    near = neighbours or {}
    rows = [draw_sample(sample, near.get(sample.key)) for sample in samples]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(padded)
