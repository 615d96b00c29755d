# SPDX-License-Identifier: Apache-2.0
"""The classical matcher: the bird's-eye view, correlated with the map over position and yaw.

No weights. The view is projected to the ground, both are turned into structure channels
(`features`), and the view is scored by masked, normalised correlation at every cell and yaw bin
(`masked_correlation`). A score rho becomes a log-likelihood as for n jointly Gaussian pairs with
unknown gain: -n/2 log(1 - rho^2), with n the number of *independent* pairs, far fewer than cells.
"""

from dataclasses import dataclass, field
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import GroundProjector, T_ground_camera
from geoloc_core.sources.features import FeatureConfig, ground_features
from geoloc_core.sources.masked_correlation import (
    CorrelationWindow,
    Template,
    turn,
    TurnedTemplate,
)
from geoloc_core.sources.matcher import (
    AbstractMatcher,
    Attitude,
    MatchResult,
    PatchRequest,
    search_window,
    SearchLimits,
    SearchWindow,
)
from geoloc_core.types import AerialPatch, Array, GroundView, PosePrior, Status


@dataclass(frozen=True)
class CorrelationConfig:
    """Settings of the classical matcher.

    Attributes:
        base_height_m: Height of base_link's origin over the ground.
        gsd: Side of a cell, m; doubled while the search would exceed `max_cells`.
        range_m: Ground farther than this from the camera is not used.
        falloff_heights: Distance, in camera heights, at which ground counts half: farther ground
            is seen flatter, so blurred along the ray and shifted by the smallest tilt.
        supersampling: The view is projected this much finer, then averaged.
        yaw_step_cells: Yaw step, in cells moved at the template's typical distance.
        max_cells: Poses scored at most.
        min_ground_m2: Views that see less ground are refused.
        min_coverage: Poses where the map covers less of the view are not judged.
        min_contrast: Views or maps with less contrast (rms, of 0..1) are refused.
        sample_area_m2: Ground per independent sample: calibrates how sharply the likelihood tells
            one place from another.
        noise_correlation: Share of the mismatch that is not white (ground that is not flat,
            things that moved or stand up): widens a mode's covariance by
            1 + noise_correlation (1 / rho^2 - 1).
        search: Bounds of the search window.
        features: Structure channels.
    """

    base_height_m: float = 0.0
    gsd: float = 0.2
    range_m: float = 30.0
    falloff_heights: float = 6.0
    supersampling: int = 2
    yaw_step_cells: float = 0.75
    max_cells: int = 2_000_000
    min_ground_m2: float = 15.0
    min_coverage: float = 0.3
    min_contrast: float = 0.15
    sample_area_m2: float = 1.0
    noise_correlation: float = 0.2
    search: SearchLimits = field(default_factory=SearchLimits)
    features: FeatureConfig = field(default_factory=FeatureConfig)


@dataclass(frozen=True)
class _Footprint:
    """What a camera sees of level ground, worked out once per camera and mount.

    Attributes:
        key: What it was worked out for.
        grid: Cells of the fine bird's-eye view, level frame.
        projector: Makes that view.
        radius_m: Distance of the farthest seen cell from base_link.
        lever_m: Weighted rms distance of the seen cells from base_link.
        middle: (x, y) of the middle of what is seen, level frame.
    """

    key: tuple
    grid: Grid
    projector: GroundProjector
    radius_m: float
    lever_m: float
    middle: tuple[float, float]


class CorrelationMatcher(AbstractMatcher):
    """Scores poses by correlating the bird's-eye view with the map."""

    def __init__(self, config: CorrelationConfig | None = None) -> None:
        """Takes the settings; all else is worked out from the first view."""
        self.config = config or CorrelationConfig()
        self._footprints: dict[float, _Footprint] = {}

    # ---- what is asked of the map ----

    def patch_request(self, view: GroundView, prior: PosePrior) -> PatchRequest:
        """The smallest square that holds the view at every pose of the search window."""
        window = search_window(prior, self.config.search)
        gsd, _ = self._resolution(view, window)
        footprint = self._footprint(view, gsd)
        x, y, yaw = window.center
        half = max(window.half_xy)
        if window.half_yaw > np.radians(45.0):
            return PatchRequest((x, y), 2 * (half + footprint.radius_m) + 8 * gsd, gsd)
        # Around the middle of what is seen the turned footprint is smaller than around the robot.
        middle = np.array(footprint.middle)
        cos, sin = np.cos(yaw), np.sin(yaw)
        center = np.array([x, y]) + np.array([[cos, -sin], [sin, cos]]) @ middle
        width, height = footprint.grid.size_m
        reach = np.hypot(width, height) / 2 + np.hypot(*middle) * window.half_yaw
        return PatchRequest(
            (float(center[0]), float(center[1])), 2 * (half + float(reach)) + 8 * gsd, gsd
        )

    # ---- the match ----

    def log_likelihood(
        self, view: GroundView, attitude: Attitude, patch: AerialPatch, prior: PosePrior
    ) -> MatchResult:
        """See `AbstractMatcher`."""
        config = self.config
        start = time.perf_counter()
        window = search_window(prior, config.search)
        gsd = patch.grid.gsd
        _, yaws = self._resolution(view, window, gsd)
        template, ground_m2 = self._template(view, attitude, gsd)
        seen = time.perf_counter()
        if ground_m2 < config.min_ground_m2:
            return _refused(
                Status.NO_GROUND, f'{ground_m2:.1f} m^2 of ground < {config.min_ground_m2:.1f}'
            )
        contrast = _rms(template.features, template.weight)
        if contrast < config.min_contrast:
            return _refused(
                Status.LOW_TEXTURE,
                f'contrast of the view {contrast:.2f} < {config.min_contrast:.2f}',
            )
        if not patch.mask.any():
            return _refused(Status.NO_MAP, 'the map has no imagery here')
        features = ground_features(patch.image, patch.mask, gsd, config.features)
        contrast = _rms(features, patch.mask.astype(np.float32))
        if contrast < config.min_contrast:
            return _refused(
                Status.LOW_TEXTURE,
                f'contrast of the map {contrast:.2f} < {config.min_contrast:.2f}',
            )
        mapped = time.perf_counter()
        turned = [turn(template, yaw) for yaw in yaws]
        first, count, grid = _base_cells(patch.grid, window)
        piece, mask, first = _cut(features, patch.mask, turned, first, count)
        correlation = CorrelationWindow(piece, mask)
        scores = np.empty((len(yaws), count[1], count[0]), np.float32)
        covered = np.empty_like(scores)
        for k, one in enumerate(turned):
            scores[k], covered[k] = correlation.scores(one, first, count)
        best_cover = float(covered.max())
        if best_cover < config.min_coverage:
            return _refused(
                Status.NO_MAP,
                f'the map covers {100 * best_cover:.0f} % of the view '
                f'< {100 * config.min_coverage:.0f} %',
            )
        samples = self._samples(template.weight, gsd)
        log_likelihood = _log_likelihood(scores, covered, samples, config.min_coverage)
        best = float(np.where(covered < config.min_coverage, 0.0, scores).max())
        done = time.perf_counter()
        return MatchResult(
            Status.OK,
            (f'best score {best:.2f}',),
            log_likelihood,
            grid,
            yaws,
            1.0 + config.noise_correlation * (1.0 / max(best, 0.05) ** 2 - 1.0),
            {
                'view_ms': 1e3 * (seen - start),
                'map_ms': 1e3 * (mapped - seen),
                'correlate_ms': 1e3 * (done - mapped),
            },
        )

    # ---- the view on the ground ----

    def _template(
        self, view: GroundView, attitude: Attitude, gsd: float
    ) -> tuple[Template, float]:
        """The view's structure channels on the ground, and how much ground it shows, m^2."""
        config = self.config
        footprint = self._footprint(view, gsd)
        pose = T_ground_camera(
            view.T_base_camera, attitude.roll, attitude.pitch, config.base_height_m
        )
        bev = footprint.projector.bev(view.image, pose)
        factor = config.supersampling
        size = (footprint.grid.width // factor, footprint.grid.height // factor)
        image = cv2.resize(bev.image, size, interpolation=cv2.INTER_AREA)
        share = cv2.resize(bev.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        grid = Grid(footprint.grid.center_xy, gsd, *size)
        distance = _distances(grid, pose)
        mask = (share > 0.99) & (distance <= config.range_m)
        weight = mask / (1.0 + (distance / (config.falloff_heights * pose[2, 3])) ** 2)
        features = ground_features(image, mask, gsd, config.features)
        u, v = grid.uv_from_xy((0.0, 0.0))
        template = Template(features, weight.astype(np.float32), (float(u), float(v)))
        return template, float(mask.sum()) * gsd**2

    def _footprint(self, view: GroundView, gsd: float) -> _Footprint:
        key = (view.camera, view.T_base_camera.tobytes())
        known = self._footprints.get(gsd)
        if known is None or known.key != key:
            known = self._make_footprint(key, view.camera, view.T_base_camera, gsd)
            self._footprints[gsd] = known
        return known

    def _make_footprint(
        self, key: tuple, camera: AbstractCamera, T_base_camera: Array, gsd: float
    ) -> _Footprint:
        config = self.config
        pose = T_ground_camera(T_base_camera, 0.0, 0.0, config.base_height_m)
        half = config.range_m + float(np.hypot(pose[0, 3], pose[1, 3])) + 1.0
        side = int(np.ceil(2 * half / gsd))
        square = Grid((0.0, 0.0), gsd, side, side)
        seen = GroundProjector(camera, square).mask(pose) & (
            _distances(square, pose) <= config.range_m
        )
        if not seen.any():
            seen[side // 2, side // 2] = True  # sees no ground: the match will say so
        # A margin for the ground that comes into view when the robot leans.
        margin = round(1.5 / gsd)
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        top, bottom = max(rows[0] - margin, 0), min(rows[-1] + margin, side - 1)
        left, right = max(columns[0] - margin, 0), min(columns[-1] + margin, side - 1)
        middle = square.xy_from_uv(((left + right) / 2, (top + bottom) / 2))
        factor = config.supersampling
        grid = Grid(
            (float(middle[0]), float(middle[1])),
            gsd / factor,
            int(right - left + 1) * factor,
            int(bottom - top + 1) * factor,
        )
        centers = square.cell_centers()[seen]
        radius = np.hypot(centers[:, 0], centers[:, 1])
        weight = 1.0 / (
            1.0 + (_distances(square, pose)[seen] / (config.falloff_heights * pose[2, 3])) ** 2
        )
        lever = float(np.sqrt((weight * radius**2).sum() / weight.sum()))
        return _Footprint(
            key,
            grid,
            GroundProjector(camera, grid),
            float(radius.max()) + 1.5,
            max(lever, 1.0),
            (float(middle[0]), float(middle[1])),
        )

    # ---- resolution ----

    def _resolution(
        self, view: GroundView, window: SearchWindow, gsd: float | None = None
    ) -> tuple[float, Array]:
        """Cell side and yaw bins for a window; a wide window is searched more coarsely."""
        given = gsd is not None
        gsd = gsd if gsd is not None else self.config.gsd
        while True:
            yaws = self._yaw_bins(window, gsd, self._footprint(view, gsd).lever_m)
            cells = len(yaws) * np.prod([2 * half / gsd + 1 for half in window.half_xy])
            if given or cells <= self.config.max_cells or gsd > 1.0:
                return gsd, yaws
            gsd *= 2.0

    def _yaw_bins(self, window: SearchWindow, gsd: float, lever_m: float) -> Array:
        step = self.config.yaw_step_cells * gsd / lever_m
        if window.all_directions:
            count = int(np.ceil(2 * np.pi / step))
            return np.asarray(window.center[2] - np.pi + 2 * np.pi * np.arange(count) / count)
        side = int(np.ceil(window.half_yaw / step))
        return np.asarray(window.center[2] + step * np.arange(-side, side + 1))

    def _samples(self, weight: NDArray[np.float32], gsd: float) -> float:
        """Independent samples in a template: its effective area over the area of one."""
        area = float(weight.sum()) ** 2 / float((weight * weight).sum()) * gsd**2
        return area / self.config.sample_area_m2


def _refused(status: Status, reason: str) -> MatchResult:
    return MatchResult(status, (reason,))


def _rms(features: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Weighted rms of the contrast channel."""
    return float(np.sqrt((weight * features[..., 0] ** 2).sum() / max(weight.sum(), 1e-9)))


def _distances(grid: Grid, T_ground_camera: Array) -> NDArray[np.float32]:
    """Horizontal distance (H, W) of the cells from the camera, m."""
    corner = grid.xy_from_uv((0, 0)) - T_ground_camera[:2, 3]
    x = (corner[0] + grid.gsd * np.arange(grid.width)).astype(np.float32)
    y = (corner[1] - grid.gsd * np.arange(grid.height)).astype(np.float32)
    return np.hypot(x[None, :], y[:, None])


def _base_cells(
    patch: Grid, window: SearchWindow
) -> tuple[tuple[int, int], tuple[int, int], Grid]:
    """The poses to score, on the patch's own lattice: first pixel, number, grid."""
    u, v = np.round(patch.uv_from_xy(window.center[:2])).astype(int)
    half_u, half_v = (int(np.ceil(half / patch.gsd)) for half in window.half_xy)
    center = patch.xy_from_uv((u, v))
    count = (2 * half_u + 1, 2 * half_v + 1)
    grid = Grid((float(center[0]), float(center[1])), patch.gsd, *count)
    return (int(u) - half_u, int(v) - half_v), count, grid


def _cut(
    features: NDArray[np.float32],
    mask: NDArray[np.bool_],
    turned: list[TurnedTemplate],
    first: tuple[int, int],
    count: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[int, int]]:
    """The piece of map that all templates touch at all poses, padded where the patch ends.

    Returns:
        Features and mask of the piece, and `first` counted in its pixels.
    """
    left = first[0] + min(t.offset[0] for t in turned)
    top = first[1] + min(t.offset[1] for t in turned)
    right = first[0] + count[0] - 1 + max(t.offset[0] + t.weight.shape[1] for t in turned)
    bottom = first[1] + count[1] - 1 + max(t.offset[1] + t.weight.shape[0] for t in turned)
    piece = np.zeros((bottom - top, right - left, features.shape[2]), np.float32)
    inside = np.zeros(piece.shape[:2], bool)
    height, width = mask.shape
    rows = slice(max(top, 0), max(min(bottom, height), 0))
    columns = slice(max(left, 0), max(min(right, width), 0))
    there = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    if rows.stop > rows.start and columns.stop > columns.start:
        piece[there] = features[rows, columns]
        inside[there] = mask[rows, columns]
    return piece, inside, (first[0] - left, first[1] - top)


def _log_likelihood(
    scores: NDArray[np.float32],
    covered: NDArray[np.float32],
    samples: float,
    min_coverage: float,
) -> NDArray[np.float32]:
    """-n/2 log(1 - rho^2) with n the samples that the map covers; 0 where there is no match."""
    rho = np.clip(scores, 0.0, 0.999)
    rho[covered < min_coverage] = 0.0
    return -0.5 * samples * covered * np.log1p(-rho * rho)
