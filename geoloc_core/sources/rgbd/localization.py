# SPDX-License-Identifier: Apache-2.0
"""Finds the pose of a view in a place map, or says why it does not know.

Look, match, solve, doubt (`search`); refine, doubt again (`estimate`): every step may end in a
status with reasons.
"""

import cv2
import numpy as np

from geoloc_core.errors import MapError
from geoloc_core.features.base import (
    AbstractFeatures,
    AbstractGlobalDescriptor,
    AbstractMatcher,
    LocalFeatures,
)
from geoloc_core.features.global_descriptor import restore
from geoloc_core.features.registry import open_features, open_matcher
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.maps.place.checking import require_fit
from geoloc_core.maps.place.records import PlaceMap
from geoloc_core.sources.rgbd.checks import unfit
from geoloc_core.sources.rgbd.config import PlaceLocalizerConfig
from geoloc_core.sources.rgbd.estimate import nothing, PlaceEstimate
from geoloc_core.sources.rgbd.found import Found, Stopwatch
from geoloc_core.sources.rgbd.matching import Sight, sight_of
from geoloc_core.sources.rgbd.retrieval import Overlaps
from geoloc_core.sources.rgbd.search import PlaceSearch
from geoloc_core.sources.rgbd.solver import require_installed
from geoloc_core.types import Array, GroundView, PoseMeasurement, PosePrior, Status


class PlaceLocalizer:
    """Localizes views in one place map. One object serves one thread.

    Attributes:
        place: The map.
        config: Settings.
        depth_fits: False while the last depths that could be compared with those of the map were
            in another unit.
    """

    def __init__(
        self,
        place: PlaceMap,
        config: PlaceLocalizerConfig | None = None,
        features: AbstractFeatures | None = None,
        descriptor: AbstractGlobalDescriptor | None = None,
        matcher: AbstractMatcher | None = None,
    ) -> None:
        """Prepares a map for searching.

        Args:
            place: The map.
            config: Settings; the defaults if None.
            features: Detector; by default the one that the map was made with.
            descriptor: Of whole pictures; by default the one that the map was made with.
            matcher: Network for pairs of pictures; by default as `config.matcher` says.

        Raises:
            MapError: The map's descriptor is not known to this version.
            ConfigError: What the map's features or the solver need is not installed.
        """
        self.place = place
        self.config = config or PlaceLocalizerConfig()
        self.depth_fits = True
        require_installed(self.config.solver)
        self._features = features or open_features(place.features, self.config.max_features)
        if matcher is None and self.config.matcher == 'auto':
            matcher = open_matcher(place.features)
        overlaps = Overlaps(place)
        self._search = PlaceSearch(
            place,
            self.config,
            descriptor or restore(place.global_kind, place.global_arrays),
            overlaps,
            matcher,
        )
        self._estimate = PlaceEstimate(place, self.config, overlaps)
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
        watch = Stopwatch()
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
        found = self._find(view, depth, believed, watch)
        if isinstance(found, PoseMeasurement):
            reasons = (*found.reasons, *notes)
            return PoseMeasurement(view.stamp_ns, found.status, reasons, timings_ms=watch.laps)
        if found.use_depth or found.notes:
            self.depth_fits = found.use_depth
        return self._estimate.measure(
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

    def _find(
        self,
        view: GroundView,
        depth: np.ndarray | None,
        believed: PosePrior | None,
        watch: Stopwatch,
    ) -> Found | PoseMeasurement:
        """Near the prior if it is narrow, and everywhere if that finds nothing."""
        sight = None
        if believed is not None and self._search.is_narrow(believed):
            # With depth, features only lead to where surfaces decide.
            shrinks = depth is not None and self._features.scale_invariant
            smaller = self.config.track_shrink if shrinks else 1
            near = self._sight(view, depth, watch, smaller)
            if len(near.local) >= self.config.min_inliers:
                found = self._search.near(view, near, believed, watch)
                # So few features may misjudge depth's unit: that is for the whole picture to say.
                if isinstance(found, Found) and (smaller == 1 or found.use_depth):
                    return found
            sight = near if smaller == 1 else None
        if sight is None:
            sight = self._sight(view, depth, watch)
        count = len(sight.local)
        if count < self.config.min_inliers:
            reasons = [f'{count} features in the view < {self.config.min_inliers}']
            return nothing(view, Status.LOW_TEXTURE, reasons, watch)
        return self._search.everywhere(view, sight, believed, watch)

    def _sight(
        self, view: GroundView, depth: np.ndarray | None, watch: Stopwatch, smaller: int = 1
    ) -> Sight:
        """The best features of a view, maybe of a picture made so many times smaller."""
        image, camera = view.image, view.camera
        if smaller > 1:
            size = (max(1, camera.width // smaller), max(1, camera.height // smaller))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        local = self._features.detect(image)
        if len(local) > self.config.max_features:
            local = local.take(np.arange(self.config.max_features))
        if smaller > 1:
            scale = np.array([camera.width / size[0], camera.height / size[1]], np.float32)
            half = np.float32(0.5)
            local = LocalFeatures((local.xy + half) * scale - half, local.descriptors, local.score)
        sight = sight_of(local, camera, depth)
        watch.lap('features_ms')
        return sight
