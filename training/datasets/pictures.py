# SPDX-License-Identifier: Apache-2.0
"""A sample as a picture: the view beside its patch, the pose drawn where the label says."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from training.datasets.sample import LabelKind, Sample

Image = NDArray[np.uint8]

_HEIGHT = 320
_TRUTH, _PRIOR, _INK = (40, 220, 60), (255, 190, 0), (245, 245, 245)
_CAPTION = 22


def draw_sample(sample: Sample) -> Image:
    """The view, its depth if any, and the patch with label (green) and prior (amber).

    Args:
        sample: Any sample.

    Returns:
        (H, W, 3) uint8 RGB, H = 342.
    """
    parts = [_to_height(sample.view.image)]
    if sample.view.depth is not None:
        parts.append(_to_height(_depth_colours(sample.view.depth)))
    if sample.patch is not None:
        parts.append(_patch(sample))
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


def contact_sheet(samples: list[Sample]) -> Image:
    """Pictures of samples below each other.

    Args:
        samples: At least one.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows = [draw_sample(sample) for sample in samples]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(padded)
