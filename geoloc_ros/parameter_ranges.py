# SPDX-License-Identifier: Apache-2.0
"""Ranges of the core's settings, for `parameters.py`.

Data only. Default and text of a setting stand in the core's record.
"""

import math
from typing import Any

from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.messages.depth_stream import DepthSettings, REGISTERED_BY
from geoloc_core.sources.correlation_matcher import CorrelationConfig
from geoloc_core.sources.cross_view import CrossViewConfig
from geoloc_core.sources.features import FeatureConfig
from geoloc_core.sources.joined import JoinedConfig
from geoloc_core.sources.matcher import SearchLimits
from geoloc_core.sources.pose_regressor import PoseRegressorConfig
from geoloc_core.sources.rgbd.config import PlaceLocalizerConfig
from geoloc_core.sources.rgbd.solver import SolverConfig

_STD = {'low': 0.0, 'high': 1000.0}
_POSITIVE = {'low': 1e-6, 'high': 1e6}
_SECONDS = {'low': 0.0, 'high': 3600.0}
_FRACTION = {'low': 0.0, 'high': 1.0}
_ANY: dict[str, Any] = {}

_DEFAULTS = LocalizerConfig()

# (prefix of the parameter, the core's record with its defaults, {field: range}).
ESTIMATOR_SETTINGS: list[tuple[str, Any, dict[str, dict[str, Any]]]] = [
    (
        'datum',
        _DEFAULTS.datum,
        {
            'lat_deg': {'low': -90.0, 'high': 90.0, 'dynamic': True},
            'lon_deg': {'low': -180.0, 'high': 180.0, 'dynamic': True},
            'alt_m': {'low': -1e5, 'high': 1e5, 'dynamic': True},
            'average_fixes': {'low': 1, 'high': 1000},
            'wait_for_datum': _ANY,
        },
    ),
    (
        'odometry',
        _DEFAULTS.odometry,
        {
            'max_speed': _POSITIVE,
            'max_yaw_rate': _POSITIVE,
            'max_jump': _POSITIVE,
            'max_accel': _POSITIVE,
            'max_gap_s': _SECONDS,
            'extrapolate_s': _SECONDS,
            'yaw_source': {'choices': ('auto', 'gyro', 'odometry')},
            'std_along_per_sqrt_m': _STD,
            'std_across_per_sqrt_m': _STD,
            'std_vertical_per_sqrt_m': _STD,
            'std_tilt_per_sqrt_m': _STD,
            'std_yaw_per_sqrt_m': _STD,
            'std_yaw_per_sqrt_s': _STD,
            'std_yaw_per_rad': _STD,
            'std_rest': _STD,
        },
    ),
    (
        'motion',
        _DEFAULTS.motion,
        {
            'std_accel': _STD,
            'std_yaw_rate': _STD,
            'std_across': _STD,
            'std_vertical': _STD,
            'std_tilt_rate': _STD,
            'std_broken_speed': _STD,
            'std_broken_yaw': _STD,
        },
    ),
    (
        'gnss',
        _DEFAULTS.gnss,
        {
            'std_min': _STD,
            'std_max': _POSITIVE,
            'std_vertical_min': _STD,
            'correlation_s': _SECONDS,
            'std_factor': {'low': 0.1, 'high': 100.0},
            'gate_sigma': _POSITIVE,
            'robust_width': _POSITIVE,
            'max_abs_alt_m': _POSITIVE,
        },
    ),
    (
        'vision',
        _DEFAULTS.vision,
        {
            'std_position_min': _STD,
            'std_yaw_min': _STD,
            'correlation_s': _SECONDS,
            'gate_sigma': _POSITIVE,
            'robust_width': _POSITIVE,
            'max_prior_std': _POSITIVE,
        },
    ),
    (
        'yaw_init',
        _DEFAULTS.yaw_init,
        {
            'min_distance': _POSITIVE,
            'max_std': _POSITIVE,
            'window_s': _SECONDS,
            'assume_forward': _ANY,
        },
    ),
    (
        'calibration',
        _DEFAULTS.calibration,
        {
            'enabled': _ANY,
            'min_distance': _POSITIVE,
            'std_scale': _STD,
            'std_bias': _STD,
            'max_scale_change': _STD,
            'max_bias': _STD,
            'std_bias_walk': _STD,
            'std_scale_floor': _STD,
            'std_bias_floor': _STD,
        },
    ),
    (
        'smoother',
        _DEFAULTS.smoother,
        {
            'keyframe_s': {'low': 0.01, 'high': 60.0},
            'lag_s': {'low': 0.1, 'high': 600.0},
            'std_tilt': _STD,
            'std_tilt_imu': _STD,
            'min_std_position': _POSITIVE,
            'min_std_yaw': _POSITIVE,
            'max_std_position': _POSITIVE,
            'lost_std': _POSITIVE,
        },
    ),
    (
        'reacquire',
        _DEFAULTS.reacquire,
        {
            'after_s': _SECONDS,
            'count': {'low': 1, 'high': 1000},
            'agree_sigma': _POSITIVE,
            'std_yaw': _STD,
        },
    ),
    (
        'continuity',
        _DEFAULTS.continuity,
        {
            'max_speed': {'low': 0.0, 'high': 100.0},
            'max_turn_rate': {'low': 0.0, 'high': 10.0},
            'give_up_m': _POSITIVE,
        },
    ),
    (
        'source',
        CrossViewConfig(),
        {
            'min_coverage': _FRACTION,
            'outlier_rate': _FRACTION,
            'ambiguity': _FRACTION,
            'floor_position_m': _STD,
            'floor_yaw': _STD,
        },
    ),
    (
        'matcher',
        CorrelationConfig(),
        {
            'base_height_m': {'low': -10.0, 'high': 100.0},
            'gsd': {'low': 0.005, 'high': 10.0},
            'range_m': _POSITIVE,
            'falloff_heights': _POSITIVE,
            'supersampling': {'low': 1, 'high': 8},
            'yaw_step_cells': {'low': 0.05, 'high': 10.0},
            'max_cells': {'low': 1000, 'high': 1e9},
            'min_ground_m2': _STD,
            'min_coverage': _FRACTION,
            'min_contrast': _FRACTION,
            'sample_area_m2': _POSITIVE,
            'noise_correlation': _FRACTION,
        },
    ),
    (
        'matcher.search',
        SearchLimits(),
        {
            'sigmas': _POSITIVE,
            'min_m': _POSITIVE,
            'max_m': _POSITIVE,
            'min_yaw': {'low': 0.0, 'high': math.pi},
        },
    ),
    (
        'matcher.features',
        FeatureConfig(),
        {
            'contrast_radius_m': _POSITIVE,
            'smoothing_m': _STD,
            'noise_floor': _STD,
            'clip': _POSITIVE,
            'gradient_gain': _STD,
        },
    ),
    (
        'depth',
        DepthSettings(),
        {
            'slop_s': {'low': 0.0, 'high': 1.0},
            'wait_s': {'low': 0.0, 'high': 1.0},
            'unit_m': {'low': 1e-5, 'high': 1.0},
            'min_coverage': _FRACTION,
            'registered_by': {'choices': REGISTERED_BY},
            'rectified': _ANY,
        },
    ),
    (
        'place',
        JoinedConfig(),
        {'reach_m': _POSITIVE, 'among_m': _POSITIVE, 'sure_m': _POSITIVE},
    ),
    (
        'place',
        PlaceLocalizerConfig(),
        {
            'max_features': {'low': 50, 'high': 20000},
            'candidates': {'low': 1, 'high': 1000},
            'matcher': {'choices': ('auto', 'nearest')},
            'deep_candidates': {'low': 1, 'high': 100},
            'track_candidates': {'low': 1, 'high': 1000},
            'track_shrink': {'low': 1, 'high': 8},
            'min_inliers': {'low': 6, 'high': 10000},
            'ambiguity': {'low': 0.01, 'high': 1.0},
            'track_std_m': _POSITIVE,
            'track_std_deg': {'low': 0.01, 'high': 180.0},
            'min_on_surface': {'low': 0.001, 'high': 1.0},
            'max_scale_error': {'low': 0.001, 'high': 1.0},
            'max_std_m': _POSITIVE,
            'max_std_deg': {'low': 0.01, 'high': 180.0},
            'cov_factor': {'low': 0.01, 'high': 1e4},
            'cov_factor_colour': {'low': 0.01, 'high': 1e4},
            'floor_m': _POSITIVE,
            'floor_deg': {'low': 1e-3, 'high': 90.0},
            'floor_colour_m': _POSITIVE,
            'floor_colour_deg': {'low': 1e-3, 'high': 90.0},
        },
    ),
    ('place.solver', SolverConfig(), {'pnp': {'choices': ('opencv', 'poselib')}}),
    (
        'regressor',
        PoseRegressorConfig(),
        {
            'max_std_m': _POSITIVE,
            'floor_position_m': _POSITIVE,
            'floor_rotation': {'low': 1e-6, 'high': math.pi},
            'threads': {'low': 0, 'high': 64},
        },
    ),
    ('time', _DEFAULTS, {'clock_jump_s': {'low': 0.1, 'high': 3600.0}}),
]
