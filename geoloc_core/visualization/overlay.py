# SPDX-License-Identifier: Apache-2.0
"""One picture of one frame: the aerial patch, the heat map on it, the estimate, and the view.

Made of OpenCV calls alone, so that the node can draw it at the camera's rate. Pixels become
metres through `Grid` and nowhere else.
"""

from dataclasses import dataclass
import math
import textwrap

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.grid import Grid
from geoloc_core.types import (
    AerialPatch,
    GroundView,
    PoseEstimate,
    PoseMeasurement,
    PoseVolume,
    Status,
)

Array = NDArray[np.float64]
Rgb = tuple[int, int, int]
Picture = NDArray[np.uint8]

# Radius of the 95 % ellipse of a 2-D Gaussian in standard deviations: sqrt(-2 ln 0.05).
RADIUS_95 = math.sqrt(-2.0 * math.log(0.05))

BACKGROUND: Rgb = (22, 25, 30)
TEXT: Rgb = (226, 230, 235)
QUIET: Rgb = (150, 158, 168)
ESTIMATE: Rgb = (86, 200, 255)
MEASUREMENT: Rgb = (255, 255, 255)
GOOD: Rgb = (108, 208, 130)
BAD: Rgb = (255, 150, 80)

FONT = cv2.FONT_HERSHEY_SIMPLEX
SUBPIXEL_BITS = 4
MAX_HEAT_ALPHA = 0.75


@dataclass(frozen=True)
class _Pen:
    """Draws metric shapes on one picture through its grid."""

    picture: Picture
    grid: Grid

    def line(self, xy: Array, colour: Rgb, *, closed: bool = False, width: int = 2) -> None:
        """Draws a polyline of metric points (N, 2), with a dark rim that shows on any map."""
        uv = self.grid.uv_from_xy(xy)
        if not np.all(np.isfinite(uv)):
            return
        # cv2 wants int32; beyond a few pictures' width only the direction of a line matters.
        uv = np.clip(uv, -1e5, 1e5)
        points = np.round(uv * (1 << SUBPIXEL_BITS)).astype(np.int32)[:, None, :]
        for ink, thickness in ((BACKGROUND, width + 2), (colour, width)):
            cv2.polylines(
                self.picture, [points], closed, ink, thickness, cv2.LINE_AA, SUBPIXEL_BITS
            )


def match_image(
    view: GroundView | None,
    measurement: PoseMeasurement,
    estimate: PoseEstimate,
    size_px: int = 512,
) -> Picture:
    """Draws what one frame saw and what became of it.

    The left half is `aerial_panel`; the right half shows the view, the distribution over yaw
    (when there is a volume) and the status in words.

    Args:
        view: The camera frame, or None to leave its place to the text.
        measurement: What the matcher made of it; a missing patch or volume is said in words.
        estimate: The answer that was published; it may have no pose.
        size_px: Height of the picture and width of each half.

    Returns:
        (size_px, 2 * size_px, 3) uint8, RGB.
    """
    left = aerial_panel(measurement, estimate, size_px)
    right = _blank(size_px)
    top = 0
    if view is not None:
        top = _paste_view(right, view.image)
    if measurement.volume is not None:
        top = _draw_yaw_strip(right, top, measurement.volume, estimate)
    _write_status(right, top, measurement, estimate)
    return np.hstack([left, right])


def aerial_panel(
    measurement: PoseMeasurement, estimate: PoseEstimate, size_px: int = 512
) -> Picture:
    """Draws the aerial patch with the heat map, the 95 % ellipse and the heading of the estimate.

    North is up and the whole patch is shown, letterboxed where it is not square. Without a patch
    the ground stays dark; without a pose nothing is drawn for it.

    Args:
        measurement: Its patch, volume and likelihood mean are drawn where present.
        estimate: Its pose and covariance are drawn where present.
        size_px: Side of the picture.

    Returns:
        (size_px, size_px, 3) uint8, RGB.
    """
    picture = _blank(size_px)
    grid = panel_grid(measurement, estimate, size_px)
    if grid is None:
        reason = f'{measurement.status.name}: {measurement.status.value}'
        _write_lines(picture, size_px // 2 - 20, ['no map, no pose', reason], QUIET)
        return picture
    if measurement.patch is not None:
        _draw_patch(picture, grid, measurement.patch)
    else:
        _write_lines(picture, 24, [f'no aerial patch: {measurement.status.value}'], QUIET)
    if measurement.volume is not None:
        _draw_heat(picture, grid, measurement.volume)
    pen = _Pen(picture, grid)
    if measurement.likelihood_mean is not None:
        _draw_cross(pen, measurement.likelihood_mean[:2])
    if estimate.T_map_base is not None:
        _draw_estimate(pen, estimate)
    _draw_scale_bar(pen)
    if measurement.patch is not None and measurement.patch.attribution:
        _draw_attribution(picture, measurement.patch.attribution)
    return picture


def panel_grid(measurement: PoseMeasurement, estimate: PoseEstimate, size_px: int) -> Grid | None:
    """The place that `aerial_panel` shows, as a grid of its pixels.

    Args:
        measurement: Its patch decides, else its volume.
        estimate: Decides when there is neither: 8 standard deviations around it.
        size_px: Side of the panel.

    Returns:
        A (size_px, size_px) grid in the map frame, or None when there is nothing to show.
    """
    shown = measurement.patch or measurement.volume
    if shown is not None:
        return Grid(shown.grid.center_xy, max(shown.grid.size_m) / size_px, size_px, size_px)
    if estimate.T_map_base is None:
        return None
    spread = 5.0
    if estimate.cov is not None:
        spread = max(spread, float(np.sqrt(np.max(np.linalg.eigvalsh(estimate.cov[:2, :2])))))
    centre = (float(estimate.T_map_base[0, 3]), float(estimate.T_map_base[1, 3]))
    return Grid(centre, 8.0 * spread / size_px, size_px, size_px)


def heatmap(volume: PoseVolume) -> NDArray[np.float32]:
    """The marginal over yaw of a volume.

    Args:
        volume: (K, H, W) log-probabilities.

    Returns:
        (H, W) float32 probabilities; zero outside the prior.
    """
    total = np.exp(volume.log_prob[0])
    layer = np.empty_like(total)
    for log_prob in volume.log_prob[1:]:
        np.exp(log_prob, out=layer)
        total += layer
    return total


def ellipse(mean_xy: Array, cov_xy: Array, radius: float = RADIUS_95, num: int = 72) -> Array:
    """Outline of a Gaussian's level set.

    Args:
        mean_xy: (2,) m.
        cov_xy: (2, 2) m^2, positive semi-definite.
        radius: Mahalanobis radius; the default encloses 95 % of a 2-D Gaussian.
        num: Number of points.

    Returns:
        (num, 2) points in m.
    """
    values, vectors = np.linalg.eigh(cov_xy)
    half_axes = vectors * np.sqrt(np.maximum(values, 0.0))
    angle = np.linspace(0.0, 2.0 * np.pi, num, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    return np.asarray(mean_xy)[None, :] + radius * (half_axes @ circle).T


def heat_colours(values: NDArray[np.float32]) -> Picture:
    """Colours (..., 3) uint8 RGB of values (...) in 0..1 on the perceptually uniform `inferno`."""
    index = np.clip(np.nan_to_num(values) * 255.0, 0, 255).astype(np.uint8)
    return _INFERNO[index]


def _blank(size_px: int) -> Picture:
    # A filled rectangle is ten times quicker than numpy's fill with a colour.
    picture: Picture = np.zeros((size_px, size_px, 3), dtype=np.uint8)
    cv2.rectangle(picture, (0, 0), (size_px, size_px), BACKGROUND, -1)
    return picture


def _inferno_table() -> Picture:
    """(256, 3) uint8 RGB; its dark end is left out, which would vanish on dark imagery."""
    ramp = np.linspace(60, 255, 256).astype(np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


_INFERNO = _inferno_table()


def _source_from_panel(source: Grid, panel: Grid) -> Array:
    """(2, 3) affine that takes pixels of `panel` to pixels of `source`, by way of metres."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    image = source.uv_from_xy(panel.xy_from_uv(corners))
    return np.stack([image[1] - image[0], image[2] - image[0], image[0]], axis=1)


def _warp(image: NDArray, source: Grid, panel: Grid, flags: int = cv2.INTER_LINEAR) -> NDArray:
    """Shows an image that lies on `source` on the pixels of `panel`, zero outside."""
    return cv2.warpAffine(
        image,
        _source_from_panel(source, panel),
        (panel.width, panel.height),
        flags=flags | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )


def _draw_patch(picture: Picture, panel: Grid, patch: AerialPatch) -> None:
    shrink = patch.grid.gsd / panel.gsd
    image = patch.image
    source = patch.grid
    if shrink < 0.5:
        # A warp samples four neighbours only; averaging first keeps a large patch from flicker.
        width = max(1, round(source.width * shrink))
        source = Grid(
            source.center_xy,
            source.size_m[0] / width,
            width,
            max(1, round(source.height * shrink)),
        )
        image = np.asarray(
            cv2.resize(image, (source.width, source.height), interpolation=cv2.INTER_AREA)
        )
    covered = _warp(patch.mask.astype(np.uint8), patch.grid, panel, cv2.INTER_NEAREST)
    warped = _warp(image, source, panel)
    cv2.copyTo(warped, covered, picture)


def _draw_heat(picture: Picture, panel: Grid, volume: PoseVolume) -> None:
    heat = heatmap(volume)
    peak = float(heat.max())
    if not peak > 0.0:
        return
    # The square root keeps second modes visible beside a sharp peak.
    level = np.sqrt(_warp(heat, volume.grid, panel) / peak)
    rows, columns = np.flatnonzero(level.max(axis=1)), np.flatnonzero(level.max(axis=0))
    if not len(rows):
        return
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    level = level[window]
    alpha = np.minimum(level * 1.5, 1.0) * MAX_HEAT_ALPHA
    picture[window] = cv2.blendLinear(
        heat_colours(level), picture[window].copy(), alpha, 1 - alpha
    )


def _draw_cross(pen: _Pen, xy: Array) -> None:
    """Marks where the view alone believes to be."""
    arm = 6.0 * pen.grid.gsd
    for dx, dy in ((arm, 0.0), (0.0, arm)):
        pen.line(np.array([[xy[0] - dx, xy[1] - dy], [xy[0] + dx, xy[1] + dy]]), MEASUREMENT)


def _draw_estimate(pen: _Pen, estimate: PoseEstimate) -> None:
    """Draws the 95 % ellipse and an arrow along +x of base_link."""
    assert estimate.T_map_base is not None
    xy = estimate.T_map_base[:2, 3]
    if estimate.cov is not None:
        pen.line(ellipse(xy, estimate.cov[:2, :2]), ESTIMATE, closed=True)
    forward = estimate.T_map_base[:2, 0]
    forward = forward / max(float(np.linalg.norm(forward)), 1e-9)
    left = np.array([-forward[1], forward[0]])
    length = 0.09 * pen.grid.size_m[0]
    tip = xy + length * forward
    wing = 0.3 * length
    pen.line(np.stack([xy, tip]), ESTIMATE)
    head = [tip - wing * (forward + 0.6 * left), tip, tip - wing * (forward - 0.6 * left)]
    pen.line(np.stack(head), ESTIMATE)


def _draw_scale_bar(pen: _Pen) -> None:
    """Draws a bar of a round length, at most 30 % of the width, at the lower left."""
    longest = 0.3 * pen.grid.size_m[0]
    decade = 10.0 ** math.floor(math.log10(longest))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= longest)
    height = pen.picture.shape[0]
    start = pen.grid.xy_from_uv(np.array([12.0, height - 14.0]))
    pen.line(np.stack([start, start + np.array([length, 0.0])]), TEXT, width=2)
    _put_text(pen.picture, f'{length:g} m', (12, height - 22), TEXT, 0.42, rim=True)


def _draw_attribution(picture: Picture, attribution: str) -> None:
    text = _ascii(attribution)
    scale = 0.36
    width = cv2.getTextSize(text, FONT, scale, 1)[0][0]
    height, full = picture.shape[:2]
    if width > 0.6 * full:
        scale *= 0.6 * full / width
        width = int(0.6 * full)
    _put_text(picture, text, (full - width - 8, height - 10), TEXT, scale, rim=True)


def _paste_view(canvas: Picture, image: Picture) -> int:
    """Puts the view at the top, at most 55 % high; returns the next free row."""
    height, width = canvas.shape[:2]
    scale = min(width / image.shape[1], 0.55 * height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    left = (width - size[0]) // 2
    canvas[: size[1], left : left + size[0]] = shown
    return size[1]


def _draw_yaw_strip(canvas: Picture, top: int, volume: PoseVolume, estimate: PoseEstimate) -> int:
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
    _put_text(canvas, f'yaw {first:.0f}', (margin, base + 15), QUIET, 0.38)
    _put_text(canvas, f'{last:.0f} deg', (canvas.shape[1] - margin - 60, base + 15), QUIET, 0.38)
    return base + 20


def _write_status(
    canvas: Picture, top: int, measurement: PoseMeasurement, estimate: PoseEstimate
) -> None:
    row = top + 26
    for name, status, reasons in (
        ('frame', measurement.status, measurement.reasons),
        ('pose', estimate.status, estimate.reasons),
    ):
        ink = GOOD if status is Status.OK else BAD
        row = _write_lines(canvas, row, [f'{name} {status.name}: {status.value}'], ink)
        row = _write_lines(canvas, row, list(reasons)[:4], QUIET) + 4
    if estimate.T_map_base is not None:
        x, y = estimate.T_map_base[:2, 3]
        yaw = math.degrees(math.atan2(estimate.T_map_base[1, 0], estimate.T_map_base[0, 0]))
        row = _write_lines(canvas, row, [f'x {x:.2f} m   y {y:.2f} m   yaw {yaw:.1f} deg'], TEXT)
    if estimate.cov is not None:
        std = np.sqrt(np.maximum(np.diag(estimate.cov)[[0, 1, 5]], 0.0))
        line = f'std  {std[0]:.2f} m   {std[1]:.2f} m   {math.degrees(std[2]):.1f} deg'
        row = _write_lines(canvas, row, [line], TEXT)
    if measurement.timings_ms:
        stages = '  '.join(f'{name} {ms:.1f}' for name, ms in measurement.timings_ms.items())
        row = _write_lines(canvas, row + 4, [f'ms  {stages}'], QUIET)
    _write_lines(canvas, canvas.shape[0] - 10, [f'stamp {estimate.stamp_ns / 1e9:.3f}'], QUIET)


def _write_lines(canvas: Picture, row: int, lines: list[str], ink: Rgb) -> int:
    """Writes wrapped lines from `row` down, never past the edge; returns the next row."""
    scale = 0.42
    columns = max(8, int((canvas.shape[1] - 24) / (cv2.getTextSize('n', FONT, scale, 1)[0][0])))
    for line in lines:
        for part in textwrap.wrap(_ascii(line), columns):
            if row > canvas.shape[0] - 8:
                return row
            _put_text(canvas, part, (12, row), ink, scale)
            row += 18
    return row


def _put_text(
    canvas: Picture, text: str, at: tuple[int, int], ink: Rgb, scale: float, rim: bool = False
) -> None:
    if rim:
        cv2.putText(canvas, text, at, FONT, scale, BACKGROUND, 3, cv2.LINE_AA)
    cv2.putText(canvas, text, at, FONT, scale, ink, 1, cv2.LINE_AA)


def _ascii(text: str) -> str:
    """OpenCV's fonts hold ASCII only: the usual signs are spelled out, others become '?'."""
    for sign, plain in (('©', '(c)'), ('±', '+-'), ('°', ' deg'), ('–', '-'), ('²', '^2')):
        text = text.replace(sign, plain)
    return text.encode('ascii', 'replace').decode('ascii')
