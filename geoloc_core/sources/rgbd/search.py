# SPDX-License-Identifier: Apache-2.0
"""Look, match, solve, doubt: where in a place map a view may have been taken."""

from functools import partial

import numpy as np

from geoloc_core.features.base import AbstractGlobalDescriptor, AbstractMatcher
from geoloc_core.maps.place.records import PlaceMap
from geoloc_core.sources.rgbd.checks import apart, fits, wrong_scale
from geoloc_core.sources.rgbd.config import PlaceLocalizerConfig
from geoloc_core.sources.rgbd.found import Found, Stopwatch
from geoloc_core.sources.rgbd.matching import (
    Correspondences,
    correspondences,
    Match,
    Sight,
)
from geoloc_core.sources.rgbd.retrieval import glance, KeyframeIndex, Overlaps
from geoloc_core.sources.rgbd.solver import (
    aligned,
    depth_scale,
    Hypothesis,
    judged,
    perspective,
    solve,
)
from geoloc_core.types import GroundView, PoseMeasurement, PosePrior, Status

# Depths fit the map if so much of what agrees without them agrees with them as well.
_ENOUGH = 0.5


class PlaceSearch:
    """Finds candidates for a view and a pose that its features agree on."""

    def __init__(
        self,
        place: PlaceMap,
        config: PlaceLocalizerConfig,
        descriptor: AbstractGlobalDescriptor,
        overlaps: Overlaps,
        matcher: AbstractMatcher | None = None,
    ) -> None:
        """Prepares a map for searching.

        Args:
            place: The map.
            config: Settings.
            descriptor: Of whole pictures, as the map's are described.
            overlaps: Which keyframes of the map see what.
            matcher: Network that matches pairs of pictures; nearest descriptors alone if None.
        """
        self.place = place
        self.config = config
        self._descriptor = descriptor
        self._overlaps = overlaps
        self._matcher = matcher
        self._ratio = config.ratio(place.features)
        self._index = KeyframeIndex(place)

    def is_narrow(self, believed: PosePrior) -> bool:
        """Whether a belief is sure enough to look near it only."""
        std = np.sqrt(np.maximum(np.diag(believed.cov), 0.0))
        config = self.config
        return bool(
            std[:3].max() < config.track_std_m and np.degrees(std[3:].max()) < config.track_std_deg
        )

    def near(
        self, view: GroundView, sight: Sight, believed: PosePrior, watch: Stopwatch
    ) -> Found | PoseMeasurement:
        """Looks where a narrow belief expects things: no retrieval, few candidates."""
        config = self.config
        T = believed.T_map_base
        near = self._overlaps.seeing(T, glance(view.camera), config.track_candidates)
        radius = self._radius_px(believed, sight.focal_px)
        matches = correspondences(sight, self.place.keyframes, near, self._ratio, T, radius)
        watch.lap('matching_ms')
        answer = self._solve(view, sight, matches, None, tracked=True)
        watch.lap('solving_ms')
        return answer

    def everywhere(
        self, view: GroundView, sight: Sight, believed: PosePrior | None, watch: Stopwatch
    ) -> Found | PoseMeasurement:
        """Looks for the most similar keyframes of the whole map.

        Args:
            view: The view.
            sight: Its features.
            believed: Camera pose in the place frame; decides between places that look alike.
            watch: Of the stages.
        """
        descriptor = self._descriptor.describe(view.image, sight.local)
        candidates = self._index.candidates(descriptor, self.config.candidates)
        watch.lap('retrieval_ms')
        matches = correspondences(sight, self.place.keyframes, candidates, self._ratio)
        if self._matcher is not None:
            seen, mapped = view.camera, self.place.camera
            sizes = (seen.width, seen.height), (mapped.width, mapped.height)
            matches = self._matched_again(sight, matches, partial(self._matcher.match, *sizes))
        watch.lap('matching_ms')
        answer = self._solve(view, sight, matches, believed, tracked=False)
        watch.lap('solving_ms')
        return answer

    def _matched_again(
        self, sight: Sight, matches: Correspondences, match: Match
    ) -> Correspondences:
        """Where most was matched, a network matches anew; what it leaves out was not alike.

        The other candidates keep their matches: a twin of the place must be heard as well.
        """
        keyframes, counts = np.unique(matches.keyframe, return_counts=True)
        best = keyframes[np.argsort(-counts, kind='stable')[: self.config.deep_candidates]]
        again = correspondences(
            sight, self.place.keyframes, [int(k) for k in best], self._ratio, match=match
        )
        return again.joined(matches.take(~np.isin(matches.keyframe, best)))

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
    ) -> Found | PoseMeasurement:
        config = self.config
        notes: tuple[str, ...] = ()
        # Without the depths first: they may be of another unit, and then nothing would fit.
        colour = perspective(matches.without_depth(), config.noise, config.solver)
        best = colour
        use_depth = bool(np.isfinite(matches.depth).any())
        if use_depth:
            both = [aligned(matches, config.noise, config.solver)]
            if colour is not None:
                both.append(judged(matches, colour.T_place_camera, config.noise, 'pnp'))
            best = max((h for h in both if h is not None), key=lambda h: h.score, default=None)
            notes = self._unit_notes(matches, colour, best)
            use_depth = not notes
        if not use_depth:
            best, matches = colour, matches.without_depth()
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
        return Found(best, matches, sight, use_depth, tracked, notes)

    def _unit_notes(
        self, matches: Correspondences, colour: Hypothesis | None, best: Hypothesis | None
    ) -> tuple[str, ...]:
        """What is wrong with the depths as a whole, if colour agrees on a pose and they do not.

        Args:
            matches: With the depths.
            colour: Found without them.
            best: Found, or judged, with them.
        """
        config = self.config
        if colour is None or colour.support < config.min_inliers:
            return ()
        # A poor pose of colour must not speak against depths that do agree with the map.
        if best is not None and best.support >= _ENOUGH * colour.support:
            return ()
        scale, count = depth_scale(matches, colour)
        if count < config.min_inliers // 2 or abs(scale - 1.0) <= config.max_scale_error:
            return ()
        return (wrong_scale(scale, count),)

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
