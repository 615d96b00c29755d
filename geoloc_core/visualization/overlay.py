# SPDX-License-Identifier: Apache-2.0
"""One picture of one frame: the aerial patch, the heat map on it, the estimate, and the view.

Made of OpenCV calls alone, so that the node can draw it at the camera's rate. Pixels become
metres through `Grid` and nowhere else.
"""

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch, GroundView, PoseEstimate, PoseMeasurement, PoseVolume
from geoloc_core.visualization.ink import (
    BACKGROUND,
    blank,
    ESTIMATE,
    FONT,
    heat_colours,
    MEASUREMENT,
    Picture,
    plain_text,
    put_text,
    QUIET,
    Rgb,
    TEXT,
    write_lines,
)
from geoloc_core.visualization.status_panel import draw_yaw_strip, paste_view, write_status

Array = NDArray[np.float64]

# Radius of the 95 % ellipse of a 2-D Gaussian in standard deviations: sqrt(-2 ln 0.05).
RADIUS_95 = math.sqrt(-2.0 * math.log(0.05))

# A search window smaller than this fraction of the panel is shown magnified in its corner.
INSET_BELOW = 0.3
INSET_SIZE = 0.34
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
    right = blank(size_px)
    top = 0
    if view is not None:
        top = paste_view(right, view.image)
    if measurement.volume is not None:
        top = draw_yaw_strip(right, top, measurement.volume, estimate)
    write_status(right, top, measurement, estimate)
    return np.hstack([left, right])


def aerial_panel(
    measurement: PoseMeasurement, estimate: PoseEstimate, size_px: int = 512
) -> Picture:
    """Draws the aerial patch with the heat map, the 95 % ellipse and the heading of the estimate.

    North is up and the whole patch is shown, letterboxed where it is not square; a search window
    that is small in it is magnified in the corner. Without a patch the ground stays
    dark; without a pose nothing is drawn for it.

    Args:
        measurement: Its patch, volume and likelihood mean are drawn where present.
        estimate: Its pose and covariance are drawn where present.
        size_px: Side of the picture.

    Returns:
        (size_px, size_px, 3) uint8, RGB.
    """
    picture = blank(size_px)
    grid = panel_grid(measurement, estimate, size_px)
    if grid is None:
        reason = f'{measurement.status.name}: {measurement.status.value}'
        write_lines(picture, size_px // 2 - 20, ['no map, no pose', reason], QUIET)
        return picture
    heat = None if measurement.volume is None else heatmap(measurement.volume)
    pen = _Pen(picture, grid)
    _draw_layers(pen, measurement, estimate, heat)
    if measurement.patch is None:
        write_lines(picture, 24, [f'no aerial patch: {measurement.status.value}'], QUIET)
    elif measurement.patch.attribution:
        _draw_attribution(picture, measurement.patch.attribution)
    _draw_scale_bar(pen)
    if measurement.volume is not None:
        _draw_inset(pen, measurement, estimate, heat)
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


def _draw_layers(
    pen: _Pen,
    measurement: PoseMeasurement,
    estimate: PoseEstimate,
    heat: NDArray[np.float32] | None,
) -> None:
    """Draws ground, heat map, measurement and estimate, as far as there are any."""
    if measurement.patch is not None:
        _draw_patch(pen.picture, pen.grid, measurement.patch)
    if measurement.volume is not None and heat is not None:
        _draw_heat(pen.picture, pen.grid, measurement.volume, heat)
    if measurement.likelihood_mean is not None:
        _draw_cross(pen, measurement.likelihood_mean[:2])
    if estimate.T_map_base is not None:
        _draw_estimate(pen, estimate)


def _draw_inset(
    pen: _Pen,
    measurement: PoseMeasurement,
    estimate: PoseEstimate,
    heat: NDArray[np.float32] | None,
) -> None:
    """Magnifies a small search window in the upper right corner, with its own scale bar."""
    assert measurement.volume is not None
    window = measurement.volume.grid
    side = max(window.size_m)
    if side > INSET_BELOW * pen.grid.size_m[0]:
        return
    outline = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (0.5 * side) + window.center_xy
    pen.line(outline, QUIET, closed=True, width=1)
    size_px = round(INSET_SIZE * pen.grid.width)
    inset = _Pen(blank(size_px), Grid(window.center_xy, side / size_px, size_px, size_px))
    _draw_layers(inset, measurement, estimate, heat)
    _draw_scale_bar(inset)
    cv2.rectangle(inset.picture, (0, 0), (size_px - 1, size_px - 1), QUIET, 1)
    pen.picture[8 : 8 + size_px, -8 - size_px : -8] = inset.picture


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


def _draw_heat(
    picture: Picture, panel: Grid, volume: PoseVolume, heat: NDArray[np.float32]
) -> None:
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
    put_text(pen.picture, f'{length:g} m', (12, height - 22), TEXT, 0.42, rim=True)


def _draw_attribution(picture: Picture, attribution: str) -> None:
    text = plain_text(attribution)
    scale = 0.36
    width = cv2.getTextSize(text, FONT, scale, 1)[0][0]
    height, full = picture.shape[:2]
    if width > 0.6 * full:
        scale *= 0.6 * full / width
        width = int(0.6 * full)
    put_text(picture, text, (full - width - 8, height - 10), TEXT, scale, rim=True)
