# SPDX-License-Identifier: Apache-2.0
"""Parameters in, a ready `Localizer` out: the same for the node and for offline tools.

No ROS here. `params` is always the full dictionary that `parameters.validated` or
`parameters.load_params_file` returns.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.localizer import Localizer
from geoloc_core.maps.opening import open_map
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.messages.conversions import camera_mount, R_BODY_OPTICAL
from geoloc_core.messages.depth_stream import DepthSettings
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.engine_choice import EngineSettings
from geoloc_core.sources.correlation_matcher import CorrelationConfig, CorrelationMatcher
from geoloc_core.sources.cross_view import CrossViewConfig, CrossViewSource
from geoloc_core.sources.joined import JoinedConfig, JoinedSource
from geoloc_core.sources.matcher import AbstractMatcher, SearchLimits
from geoloc_core.sources.model_matcher import ModelMatcher
from geoloc_core.sources.rgbd.source import RgbdSource

Record = TypeVar('Record')
Params = Mapping[str, Any]


def build_localizer(
    params: Params,
    map_source: AbstractMapSource | None = None,
    place: RgbdSource | None = None,
) -> Localizer:
    """The whole main job, ready for its first sample.

    Args:
        params: All parameters.
        map_source: A map that is open already; None opens `map.path`.
        place: A place map that is open already; None opens `place_map`.

    Raises:
        ConfigError: Settings that contradict each other.
        MapError: A map cannot be opened.
        BundleError: The model bundle is damaged or does not fit the map.
    """
    if map_source is None:
        map_source = build_map(params)
    if place is None:
        from geoloc_ros.place_assembly import build_place

        place = build_place(params)
    aerial = build_source(params, map_source) if map_source is not None else None
    config = build_config(params)
    if place is None:
        return Localizer(config, source=aerial, map_source=map_source)
    source = JoinedSource(place, aerial, filled(JoinedConfig(), 'place', params))
    anchor = place.localizer.place.anchor
    frame = None
    if anchor is None:
        # Its frame is not the Earth's: a datum out of the first fixes would lie anywhere in it.
        config = replace(config, datum=replace(config.datum, wait_for_datum=True))
    elif datum_from_parameters(params) is None:
        frame = EnuFrame(anchor.datum)
    return Localizer(config, source=source, map_source=map_source, frame=frame)


def build_config(params: Params) -> LocalizerConfig:
    """Settings of the estimator.

    Raises:
        ConfigError: Settings that contradict each other.
    """
    datum_from_parameters(params)  # refuses half a datum
    config = LocalizerConfig(clock_jump_s=params['time.clock_jump_s'])
    parts = {
        f.name: filled(getattr(config, f.name), f.name, params)
        for f in fields(config)
        if is_dataclass(getattr(config, f.name))
    }
    config = replace(config, **parts)
    antenna = antenna_from_parameters(params)
    if antenna is not None:
        x, y, z = (float(v) for v in antenna)
        config = replace(config, gnss=replace(config.gnss, antenna_in_base=(x, y, z)))
    return config


def build_source(params: Params, map_source: AbstractMapSource | None = None) -> CrossViewSource:
    """The cross-view source with its matcher: the bundle's, or the classical one.

    Args:
        params: All parameters.
        map_source: The map to be matched against, for a bundle to be held against; None leaves
            that unchecked.

    Raises:
        BundleError: The model bundle is damaged or does not fit the map.
        EngineError: The engine asked for is not here.
    """
    config = filled(CrossViewConfig(), 'source', params)
    if params['model.path']:
        bundle = load_bundle(params['model.path'])
        bundle.require_fit(map_gsd=0.0 if map_source is None else map_source.info.gsd)
        matcher: AbstractMatcher = ModelMatcher(
            bundle,
            base_height_m=params['matcher.base_height_m'],
            threads=params['model.threads'],
            limits=filled(SearchLimits(), 'matcher.search', params),
            engine=engine_settings(params),
        )
        return CrossViewSource(matcher, config)
    classical = filled(CorrelationConfig(), 'matcher', params)
    classical = replace(
        classical,
        search=filled(classical.search, 'matcher.search', params),
        features=filled(classical.features, 'matcher.features', params),
    )
    return CrossViewSource(CorrelationMatcher(classical), config)


def engine_settings(params: Params) -> EngineSettings:
    """What runs networks.

    Raises:
        ConfigError: The engine is torch, and no weights are named for it.
    """
    settings = EngineSettings(
        params['model.engine'],
        params['model.threads'],
        params['model.engine_cache'],
        params['model.torch_weights'],
    )
    if settings.engine == 'torch' and params['model.path'] and not settings.torch_weights:
        raise ConfigError(
            'model.engine is torch: name the weights that model.path was exported from as '
            'model.torch_weights (a .safetensors file)'
        )
    return settings


def build_map(params: Params) -> AbstractMapSource | None:
    """The aerial map, or None where `map.path` is empty.

    Raises:
        MapError: There is no such map, it is damaged or its georeference cannot be believed.
    """
    if not params['map.path']:
        return None
    return open_map(
        params['map.path'],
        attribution=params['map.attribution'],
        crs=params['map.crs'] or None,
        memory_mb=params['map.memory_mb'],
        cache_dir=params['map.cache_dir'] or None,
        cache_size_mb=params['map.cache_size_mb'],
        cache_days=params['map.cache_days'],
        min_zoom=params['map.min_zoom'],
        max_zoom=params['map.max_zoom'],
        tile_px=params['map.tile_px'],
        timeout_s=params['map.timeout_s'],
    )


def datum_from_parameters(params: Params) -> Datum | None:
    """The datum that the parameters give, or None to take it from the first fixes.

    Raises:
        ConfigError: Only half of it is given.
        InputError: It is not a place on Earth.
    """
    lat, lon, alt = (params[f'datum.{n}'] for n in ('lat_deg', 'lon_deg', 'alt_m'))
    if math.isnan(lat) and math.isnan(lon):
        return None
    if math.isnan(lat) or math.isnan(lon):
        raise ConfigError(f'datum.lat_deg is {lat}, datum.lon_deg is {lon}: give both or none')
    return Datum(lat, lon, alt)


def antenna_from_parameters(params: Params) -> NDArray[np.float64] | None:
    """(3,) m, lever arm of the GNSS antenna in base_link, or None if not given."""
    xyz = np.array(params['frames.antenna_xyz'], dtype=np.float64)
    return None if np.isnan(xyz).any() else xyz


def mounts_from_parameters(params: Params) -> dict[str, NDArray[np.float64]]:
    """Sensor ('camera', 'antenna', 'imu') -> T_base_sensor (4, 4), for those that are given.

    'depth', where it is given, is the depth camera in the colour camera, optical frames.

    Raises:
        ConfigError: Half of a mount is given.
    """
    mounts = {}
    for sensor in ('camera', 'depth'):
        xyz, rpy = params[f'frames.{sensor}_xyz'], params[f'frames.{sensor}_rpy']
        missing = np.isnan([*xyz, *rpy])
        if not missing.any():
            mounts[sensor] = camera_mount(xyz, rpy)
        elif not missing.all():
            raise ConfigError(
                f'frames.{sensor}_xyz is {list(xyz)}, frames.{sensor}_rpy is {list(rpy)}: give '
                'both wholly, or none'
            )
    if 'depth' in mounts:
        # It is given in the colour camera's body axes, as the cameras' frames are in base_link.
        mounts['depth'] = se3.make(R_BODY_OPTICAL.T, np.zeros(3)) @ mounts['depth']
    antenna = antenna_from_parameters(params)
    if antenna is not None:
        mounts['antenna'] = se3.make(np.eye(3), antenna)
    imu = np.array(params['frames.imu_rpy'], dtype=np.float64)
    if not np.isnan(imu).any():
        mounts['imu'] = se3.make(se3.rotation_from_rpy(*(float(v) for v in imu)), np.zeros(3))
    return mounts


def depth_settings(params: Params) -> DepthSettings:
    """How depth joins the images."""
    return filled(DepthSettings(), 'depth', params)


def filled(record: Record, prefix: str, params: Params) -> Record:
    """A settings record with the parameters `prefix`.* put in."""
    values = {}
    for f in fields(record):  # type: ignore[arg-type]
        name = f'{prefix}.{f.name}'
        if name in params:
            value = params[name]
            values[f.name] = tuple(value) if isinstance(value, list) else value
    return replace(record, **values)  # type: ignore[type-var]
