# SPDX-License-Identifier: Apache-2.0
"""Settings of localization in a mapped place."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from geoloc_core.errors import ConfigError
from geoloc_core.sources.rgbd.noise import NoiseModel
from geoloc_core.sources.rgbd.refinement import RefinementConfig
from geoloc_core.sources.rgbd.solver import SolverConfig


@dataclass(frozen=True)
class PlaceLocalizerConfig:
    """How a view is found in a place map.

    Attributes:
        max_features: So many features of a view at most are matched, the best ones.
        candidates: Keyframes matched when nothing is known about the pose.
        matcher: 'auto', the network that was trained for the map's features if there is one
            (LighterGlue for XFeat), or 'nearest', nearest descriptors alone.
        deep_candidates: Of the candidates, so many are matched by that network, those with most
            nearest descriptors; it takes far longer.
        track_candidates: Keyframes matched when the prior is narrow.
        max_ratio: Of the distances to the nearest and second-nearest descriptor. None: 0.9 for
            SIFT, and 1, mutual neighbours alone, for learned features, which were trained so.
        min_inliers: Fewer features in agreement are no pose.
        ambiguity: A second pose with this share of the first one's support is another answer.
        apart_m: Poses nearer than this, and turned less than `apart_deg`, are one answer.
        apart_deg: See `apart_m`.
        track_shrink: With depth and a narrow prior, features are sought in a picture made so many
            times smaller, at a camera's rate: they only lead to where surfaces decide. For kinds
            of features that know things by any size, as SIFT does and XFeat does not.
        track_std_m: A prior surer than this, and than `track_std_deg`, narrows the search.
        track_std_deg: See `track_std_m`.
        guided: Without depth, keyframes matched again where the first estimate expects them.
        guided_px: How far from there they are looked for.
        guided_ratio: Ratio test of those: few compete, so it may be lax.
        surfaces: Keyframes that the view's depth is compared with.
        track_surfaces: The same when the prior is narrow, where time counts.
        surface_points: Points of that depth which are compared.
        min_on_surface: If less of the depth lies on what the map measured, the place has changed
            or is another one.
        max_scale_error: Depths farther than this share from the map's are in another unit.
        max_std_m: An answer less sure than this, or than `max_std_deg`, is none.
        max_std_deg: See `max_std_m`.
        cov_factor: What the covariance of the estimate is multiplied by.
        cov_factor_colour: The same for an answer from colour alone.
        floor_m: Deviation added to each axis: maps and calibrations are not perfect.
        floor_deg: The same for rotations.
        floor_colour_m: As `floor_m`, for an answer from colour alone.
        floor_colour_deg: As `floor_deg`, for an answer from colour alone.
        noise: Deviations of features and depths.
        solver: Search.
        refinement: Estimate from features and surfaces.
        colour_refinement: Estimate from features alone.
    """

    max_features: int = 1500
    candidates: int = 10
    matcher: Literal['auto', 'nearest'] = 'auto'
    deep_candidates: int = 3
    track_candidates: int = 4
    track_shrink: int = 2
    max_ratio: float | None = None
    min_inliers: int = 20
    ambiguity: float = 0.6
    apart_m: float = 0.5
    apart_deg: float = 20.0
    track_std_m: float = 0.25
    track_std_deg: float = 8.0
    guided: int = 6
    guided_px: float = 20.0
    guided_ratio: float = 0.95
    surfaces: int = 30
    track_surfaces: int = 20
    surface_points: int = 600
    min_on_surface: float = 0.2
    max_scale_error: float = 0.15
    max_std_m: float = 0.5
    max_std_deg: float = 10.0
    cov_factor: float = 3.0
    cov_factor_colour: float = 3.0
    floor_m: float = 0.017
    floor_deg: float = 0.7
    floor_colour_m: float = 0.025
    floor_colour_deg: float = 1.2
    noise: NoiseModel = field(default_factory=NoiseModel)
    solver: SolverConfig = field(default_factory=SolverConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    colour_refinement: RefinementConfig = field(
        default_factory=lambda: RefinementConfig(feature_weight=1.0)
    )

    def ratio(self, kind: str) -> float:
        """The ratio test for a kind of features."""
        if self.max_ratio is not None:
            return self.max_ratio
        return 0.9 if kind == 'sift' else 1.0

    def __post_init__(self) -> None:
        """Refuses what cannot find anything.

        Raises:
            ConfigError: A number is not positive, or a share is above one.
        """
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not (np.isfinite(value) and value > 0):
                raise ConfigError(f'{name} is {value}: expected a positive number')
        for name in ('max_ratio', 'ambiguity', 'min_on_surface', 'max_scale_error'):
            if (getattr(self, name) or 0.0) > 1:
                raise ConfigError(f'{name} is {getattr(self, name)}: expected a share, up to 1')
        if self.matcher not in ('auto', 'nearest'):
            raise ConfigError(f"matcher is {self.matcher!r}: choose 'auto' or 'nearest'")
        if self.min_inliers < 6:
            raise ConfigError(
                f'min_inliers is {self.min_inliers}: with fewer than 6 chance makes poses'
            )
