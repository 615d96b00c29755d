# SPDX-License-Identifier: Apache-2.0
"""The right half of the overlay: the camera view, probability over yaw, the status in words."""

import math

import cv2
import numpy as np

from geoloc_core.types import PoseEstimate, PoseMeasurement, PoseVolume, Status
from geoloc_core.visualization.ink import (
    BAD,
    ESTIMATE,
    GOOD,
    heat_colours,
    Picture,
    put_text,
    QUIET,
    TEXT,
    write_lines,
)


def paste_view(canvas: Picture, image: Picture) -> int:
    """Puts the view at the top, at most 55 % high; returns the next free row."""
    height, width = canvas.shape[:2]
    scale = min(width / image.shape[1], 0.55 * height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    left = (width - size[0]) // 2
    canvas[: size[1], left : left + size[0]] = shown
    return size[1]


def draw_yaw_strip(canvas: Picture, top: int, volume: PoseVolume, estimate: PoseEstimate) -> int:
    """Draws probability over yaw, smallest yaw on the left; returns the next free row."""
    margin, height = 12, max(24, canvas.shape[0] // 12)
    mass = np.exp(volume.log_prob).sum(axis=(1, 2), dtype=np.float64)
    peak = float(mass.max())
    if not peak > 0.0 or top + height + 28 > canvas.shape[0]:
        return top
    base = top + height + 8
    width = canvas.shape[1] - 2 * margin
    num = len(volume.yaws)
    step = width / num
    colours = heat_colours((mass / peak).astype(np.float32)).tolist()
    for k, value in enumerate(mass / peak):
        left, right = round(margin + k * step), max(round(margin + (k + 1) * step) - 1, 0)
        cv2.rectangle(canvas, (left, base - round(value * height)), (right, base), colours[k], -1)
    if estimate.T_map_base is not None and num > 1:
        yaw = math.atan2(estimate.T_map_base[1, 0], estimate.T_map_base[0, 0])
        bin_width = float(volume.yaws[1] - volume.yaws[0])
        middle = 0.5 * float(volume.yaws[0] + volume.yaws[-1])
        # Wrapped about the strip's middle: bins may run past +-pi.
        away = math.remainder(yaw - middle, 2.0 * math.pi) / bin_width
        u = round(margin + (num / 2 + away) * step)
        cv2.line(canvas, (u, base - height), (u, base), ESTIMATE, 2)
    first, last = np.degrees(volume.yaws[[0, -1]])
    put_text(canvas, f'yaw {first:.0f}', (margin, base + 15), QUIET, 0.38)
    put_text(canvas, f'{last:.0f} deg', (canvas.shape[1] - margin - 60, base + 15), QUIET, 0.38)
    return base + 20


def write_status(
    canvas: Picture, top: int, measurement: PoseMeasurement, estimate: PoseEstimate
) -> None:
    """Writes what became of the frame and of the pose, from row `top` down."""
    row = top + 26
    for name, status, reasons in (
        ('frame', measurement.status, measurement.reasons),
        ('pose', estimate.status, estimate.reasons),
    ):
        ink = GOOD if status is Status.OK else BAD
        row = write_lines(canvas, row, [f'{name} {status.name}: {status.value}'], ink)
        row = write_lines(canvas, row, list(reasons)[:4], QUIET) + 4
    if estimate.T_map_base is not None:
        x, y = estimate.T_map_base[:2, 3]
        yaw = math.degrees(math.atan2(estimate.T_map_base[1, 0], estimate.T_map_base[0, 0]))
        row = write_lines(canvas, row, [f'x {x:.2f} m   y {y:.2f} m   yaw {yaw:.1f} deg'], TEXT)
    if estimate.cov is not None:
        std = np.sqrt(np.maximum(np.diag(estimate.cov)[[0, 1, 5]], 0.0))
        line = f'std  {std[0]:.2f} m   {std[1]:.2f} m   {math.degrees(std[2]):.1f} deg'
        row = write_lines(canvas, row, [line], TEXT)
    row = write_lines(canvas, row, [f'stamp {estimate.stamp_ns / 1e9:.3f}'], QUIET)
    if measurement.timings_ms:
        stages = (f'{n.removesuffix("_ms")} {ms:.1f}' for n, ms in measurement.timings_ms.items())
        write_lines(canvas, row, ['ms  ' + '  '.join(stages)], QUIET)
