# SPDX-License-Identifier: Apache-2.0
"""Finds the pose of a view in a place map, or says why it does not know.

Look, match, solve, doubt, refine, doubt again: every step may end in a status with reasons.
"""

from dataclasses import dataclass
import time

import numpy as np

from geoloc_core.errors import MapError
from geoloc_core.estimation.covariance import bounded
from geoloc_core.features.base import AbstractFeatures, AbstractGlobalDescriptor
from geoloc_core.features.global_descriptor import restore
from geoloc_core.features.registry import open_features
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.maps.place.checking import require_fit
from geoloc_core.maps.place.records import PlaceMap
from geoloc_core.sources.rgbd.checks import apart, fits, unfit, wrong_scale
from geoloc_core.sources.rgbd.config import PlaceLocalizerConfig
from geoloc_core.sources.rgbd.matching import Correspondences, correspondences, Sight, sight_of
from geoloc_core.sources.rgbd.refinement import refine, Refined, ViewPoints
from geoloc_core.sources.rgbd.retrieval import glance, KeyframeIndex, sample, seeing
from geoloc_core.sources.rgbd.solver import (
    aligned,
    depth_scale,
    Hypothesis,
    judged,
    perspective,
    solve,
)
from geoloc_core.sources.rgbd.surface import MapSurfaces, view_surface
from geoloc_core.types import Array, GroundView, PoseMeasurement, PosePrior, Status

_GLANCE_POINTS = 150


@dataclass(frozen=True, eq=False)
class _Found:
    """A pose that the features agree on, before it is refined."""

    best: Hypothesis
    matches: Correspondences
    sight: Sight
    use_depth: bool
    tracked: bool
    notes: tuple[str, ...]


class PlaceLocalizer:
    """Localizes views in one place map. One object serves one thread.

    Attributes:
        place: The map.
        config: Settings.
    """

    def __init__(
        self,
        place: PlaceMap,
        config: PlaceLocalizerConfig | None = None,
        features: AbstractFeatures | None = None,
        descriptor: AbstractGlobalDescriptor | None = None,
    ) -> None:
        """Prepares a map for searching.

        Args:
            place: The map.
            config: Settings; the defaults if None.
            features: Detector; by default the one that the map was made with.
            descriptor: Of whole pictures; by default the one that the map was made with.

        Raises:
            MapError: The map's descriptor is not known to this version.
            ConfigError: What the map's features need is not installed.
        """
        self.place = place
        self.config = config or PlaceLocalizerConfig()
        self._features = features or open_features(place.features, self.config.max_features)
        self._descriptor = descriptor or restore(place.global_kind, place.global_arrays)
        self._ratio = self.config.ratio(place.features)
        self._index = KeyframeIndex(place)
        self._surfaces = MapSurfaces(place)
        self._fitting: AbstractCamera | None = None

    def localize(
        self,
        view: GroundView,
        prior: PosePrior | None = None,
        T_map_place: Array | None = None,
    ) -> PoseMeasurement:
        """Measures the pose of a view.

        Args:
            view: Colour, and depth registered to it if there is any.
            prior: Where base_link is believed to be; a narrow one makes the search local and
                quick, any one decides between places that look alike. It is not fused.
            T_map_place: (4, 4) place frame -> map frame; the same frame if None.

        Returns:
            The pose of base_link in the map frame with its covariance, or the reason for none.
        """
        watch = _Watch()
        problem = unfit(view) or self._misfit(view.camera)
        if problem:
            return PoseMeasurement(view.stamp_ns, Status.BAD_INPUT, (problem,))
        T_map_place = np.eye(4) if T_map_place is None else np.asarray(T_map_place, np.float64)
        believed = None
        if prior is not None:
            T = se3.inverse(T_map_place) @ prior.T_map_base @ view.T_base_camera
            believed = PosePrior(
                prior.stamp_ns, T, se3.rotate_cov(prior.cov, T_map_place[:3, :3].T)
            )
        notes: list[str] = []
        depth = view.depth
        if depth is not None and not np.any(np.isfinite(depth) & (depth > 0)):
            notes.append('no pixel has a valid depth: colour alone is used')
            depth = None
        local = self._features.detect(view.image)
        if len(local) > self.config.max_features:
            local = local.take(np.arange(self.config.max_features))
        sight = sight_of(local, view.camera, depth)
        watch.lap('features_ms')
        if len(local) < self.config.min_inliers:
            notes.insert(0, f'{len(local)} features in the view < {self.config.min_inliers}')
            return _nothing(view, Status.LOW_TEXTURE, notes, watch)
        found = self._find(view, sight, believed, watch)
        if isinstance(found, PoseMeasurement):
            return _with_notes(found, notes, watch)
        return self._measure(
            view, depth if found.use_depth else None, found, notes, T_map_place, watch
        )

    def _misfit(self, camera: AbstractCamera) -> str:
        """Why pictures of a camera cannot be matched with those of the map, '' if they can."""
        if camera != self._fitting:
            try:
                require_fit(self.place, camera)
            except MapError as error:
                return str(error)
            self._fitting = camera
        return ''

    # ---- look, match, solve ----

    def _find(
        self, view: GroundView, sight: Sight, believed: PosePrior | None, watch: '_Watch'
    ) -> '_Found | PoseMeasurement':
        """Near the prior if it is narrow, and everywhere if that finds nothing."""
        config = self.config
        if believed is not None and self._is_narrow(believed):
            points = glance(view.camera)
            near = seeing(self.place, believed.T_map_base, points, config.track_candidates)
            matches = correspondences(
                sight,
                self.place.keyframes,
                near,
                self._ratio,
                believed.T_map_base,
                self._radius_px(believed, sight.focal_px),
            )
            watch.lap('matching_ms')
            found = self._solve(view, sight, matches, None, tracked=True)
            watch.lap('solving_ms')
            if isinstance(found, _Found):
                return found
        descriptor = self._descriptor.describe(view.image, sight.local)
        candidates = self._index.candidates(descriptor, config.candidates)
        watch.lap('retrieval_ms')
        matches = correspondences(sight, self.place.keyframes, candidates, self._ratio)
        watch.lap('matching_ms')
        answer = self._solve(view, sight, matches, believed, tracked=False)
        watch.lap('solving_ms')
        return answer

    def _is_narrow(self, believed: PosePrior) -> bool:
        std = np.sqrt(np.maximum(np.diag(believed.cov), 0.0))
        config = self.config
        return bool(
            std[:3].max() < config.track_std_m and np.degrees(std[3:].max()) < config.track_std_deg
        )

    @staticmethod
    def _radius_px(believed: PosePrior, focal_px: float) -> float:
        """How far from its prediction a point 1.5 m off may be seen: three deviations."""
        std = np.sqrt(np.maximum(np.diag(believed.cov), 0.0))
        angle = np.hypot(std[3:].max(), std[:3].max() / 1.5)
        return float(np.clip(3.0 * angle, 0.03, 0.4) * focal_px)

    def _solve(
        self,
        view: GroundView,
        sight: Sight,
        matches: Correspondences,
        believed: PosePrior | None,
        tracked: bool,
    ) -> '_Found | PoseMeasurement':
        config = self.config
        notes: tuple[str, ...] = ()
        # Without the depths first: they may be of another unit, and then nothing would fit.
        colour = perspective(matches.without_depth(), config.noise, config.solver)
        use_depth = bool(np.isfinite(matches.depth).any())
        if use_depth and colour is not None and colour.support >= config.min_inliers:
            scale, count = depth_scale(matches, colour)
            if count >= config.min_inliers // 2 and abs(scale - 1.0) > config.max_scale_error:
                notes = (wrong_scale(scale, count),)
                use_depth = False
        best = colour
        if use_depth:
            both = [aligned(matches, config.noise, config.solver)]
            if colour is not None:
                both.append(judged(matches, colour.T_place_camera, config.noise, 'pnp'))
            best = max((h for h in both if h is not None), key=lambda h: h.score, default=None)
        else:
            matches = matches.without_depth()
        support = 0 if best is None else best.support
        if best is None or support < config.min_inliers:
            reason = (
                f'{support} features agree on a pose < {config.min_inliers}, of '
                f'{len(np.unique(matches.feature))} matched to '
                f'{len(np.unique(matches.keyframe))} keyframes'
            )
            return PoseMeasurement(view.stamp_ns, Status.NO_MAP, (reason, *notes))
        if not tracked:
            chosen = self._doubt(matches, best, believed, use_depth)
            if isinstance(chosen, str):
                return PoseMeasurement(view.stamp_ns, Status.AMBIGUOUS, (chosen, *notes))
            best = chosen
        return _Found(best, matches, sight, use_depth, tracked, notes)

    def _doubt(
        self,
        matches: Correspondences,
        best: Hypothesis,
        believed: PosePrior | None,
        use_depth: bool,
    ) -> Hypothesis | str:
        """Looks for a second answer among what the first one does not explain."""
        config = self.config
        rest = np.flatnonzero(~best.inlier)
        if len(rest) < config.ambiguity * best.support:
            return best
        second = solve(matches.take(rest), config.noise, config.solver, colour_only=not use_depth)
        if second is None or second.support < config.min_inliers:
            return best
        # Its own inliers among all, so that both are measured alike.
        second = judged(matches, second.T_place_camera, config.noise, second.method)
        if second.support < config.ambiguity * best.support:
            return best
        apart_m, apart_deg = apart(best.T_place_camera, second.T_place_camera)
        if apart_m < config.apart_m and apart_deg < config.apart_deg:
            return best
        if believed is not None:
            likely = [h for h in (best, second) if fits(h.T_place_camera, believed)]
            if len(likely) == 1:
                return likely[0]
        return (
            f'a second pose {apart_m:.1f} m and {apart_deg:.0f} degrees away has '
            f'{second.support} features in agreement against {best.support}'
        )

    # ---- refine, doubt again ----

    def _measure(
        self,
        view: GroundView,
        depth: np.ndarray | None,
        found: _Found,
        notes: list[str],
        T_map_place: Array,
        watch: '_Watch',
    ) -> PoseMeasurement:
        notes = [*notes, *found.notes]
        refined, matches = self._refine(view, depth, found)
        watch.lap('refinement_ms')
        config = self.config
        if refined is None:
            notes.insert(0, 'what agrees leaves an axis of motion undetermined')
            return _nothing(view, Status.LOW_TEXTURE, notes, watch)
        if refined.on_surface < config.min_on_surface:
            notes.insert(
                0,
                f'{100 * refined.on_surface:.0f} % of the depth lies on what the map measured < '
                f'{100 * config.min_on_surface:.0f} %: another place, or changed',
            )
            return _nothing(view, Status.NO_MAP, notes, watch)
        factor, floor_m, floor_deg = config.cov_factor, config.floor_m, config.floor_deg
        if depth is None:
            factor = config.cov_factor_colour
            floor_m, floor_deg = config.floor_colour_m, config.floor_colour_deg
        floor = np.array([floor_m] * 3 + [np.radians(floor_deg)] * 3)
        cov = factor * refined.cov + np.diag(floor**2)
        std = (
            np.sqrt(np.linalg.eigvalsh(cov[:3, :3])[-1]),
            np.sqrt(np.linalg.eigvalsh(cov[3:, 3:])[-1]),
        )
        if std[0] > config.max_std_m or np.degrees(std[1]) > config.max_std_deg:
            notes.insert(
                0,
                f'the points in agreement lie too badly for a pose: known to {std[0]:.2f} m and '
                f'{np.degrees(std[1]):.0f} degrees only',
            )
            return _nothing(view, Status.LOW_TEXTURE, notes, watch)
        final = judged(matches, refined.T_place_camera, config.noise, found.best.method)
        T_base_camera = np.asarray(view.T_base_camera, np.float64)
        T_map_base = T_map_place @ refined.T_place_camera @ se3.inverse(T_base_camera)
        cov_map = se3.rotate_cov(cov, T_map_place[:3, :3])
        R_map_camera = (T_map_place @ refined.T_place_camera)[:3, :3]
        arm = R_map_camera @ se3.inverse(T_base_camera)[:3, 3]
        kind = 'tracked' if found.tracked else 'found'
        sort = 'colour and depth' if depth is not None else 'colour'
        notes.insert(
            0, f'{kind} by {sort}: {final.support} features agree, {refined.keyframes} keyframes'
        )
        return PoseMeasurement(
            view.stamp_ns,
            Status.OK,
            tuple(notes),
            T_map_base=T_map_base,
            cov=bounded(carried(cov_map, arm), 1e-4, 1e-5, 1e3),
            timings_ms=watch.laps,
        )

    def _refine(
        self, view: GroundView, depth: np.ndarray | None, found: _Found
    ) -> tuple[Refined | None, Correspondences]:
        """Twice: the better pose shows better keyframes, or where to look for their points."""
        config, T, matches = self.config, found.best.T_place_camera, found.matches
        points = None
        if depth is not None:
            points = ViewPoints(*view_surface(depth, view.camera).sample(config.surface_points))
        refined = None
        for first in (True, False):
            keyframes: list[int] = []
            if points is not None:
                few = sample(points.points, _GLANCE_POINTS)
                keyframes = seeing(self.place, T, few, config.surfaces)
            # Beside surfaces more features change little: they hold what surfaces leave open.
            if not first and not keyframes:
                matches = self._guided(found, T)
            refined = refine(
                T,
                matches,
                points if keyframes else None,
                self._surfaces,
                keyframes,
                config.noise,
                config.refinement if keyframes else config.colour_refinement,
            )
            if refined is None:
                return None, matches
            T = refined.T_place_camera
        return refined, matches

    def _guided(self, found: _Found, T: Array) -> Correspondences:
        """Matches near where they are expected; those there were if these are too few."""
        config, sight = self.config, found.sight
        if not found.use_depth:
            sight = sight.with_depth(np.full(len(sight.depth), np.nan))
        seen = se3.transform(se3.inverse(T), found.matches.points[found.best.inlier])
        near = seeing(self.place, T, sample(seen, _GLANCE_POINTS), config.guided)
        matches = correspondences(
            sight, self.place.keyframes, near, config.guided_ratio, T, config.guided_px
        )
        if judged(matches, T, config.noise, '').support < config.min_inliers:
            return found.matches
        return matches


def carried(cov: Array, arm: Array) -> Array:
    """The covariance of another point of the same body.

    Args:
        cov: (6, 6) of a point and the rotation, T = [exp(w) R, t + d], in the axes of the frame.
        arm: (3,) m from that point to the other one, same axes.

    Returns:
        (6, 6): the other point moves by d + w x arm.
    """
    J = np.eye(6)
    J[:3, 3:] = -se3.hat(arm)
    return J @ cov @ J.T


class _Watch:
    """Stage name -> milliseconds; a stage that comes twice adds up."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + 1e3 * (now - self._last)
        self._last = now


def _nothing(
    view: GroundView, status: Status, reasons: list[str], watch: _Watch
) -> PoseMeasurement:
    return PoseMeasurement(view.stamp_ns, status, tuple(reasons), timings_ms=watch.laps)


def _with_notes(measured: PoseMeasurement, notes: list[str], watch: _Watch) -> PoseMeasurement:
    reasons = (*measured.reasons, *notes)
    return PoseMeasurement(measured.stamp_ns, measured.status, reasons, timings_ms=watch.laps)
