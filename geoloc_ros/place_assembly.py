# SPDX-License-Identifier: Apache-2.0
"""Parameters in, a place map ready to be searched out: the same for the node and offline."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.maps.place.file import load_place
from geoloc_core.maps.place.records import PlaceMap
from geoloc_core.messages.conversions import R_BODY_OPTICAL
from geoloc_core.runtime import descriptor_bundle
from geoloc_core.runtime.pose_bundle import load_pose_bundle
from geoloc_core.sources.pose_regressor import PoseRegressor, PoseRegressorConfig
from geoloc_core.sources.rgbd.config import PlaceLocalizerConfig
from geoloc_core.sources.rgbd.localization import PlaceLocalizer
from geoloc_core.sources.rgbd.solver import SolverConfig
from geoloc_core.sources.rgbd.source import RgbdSource
from geoloc_ros.assembly import datum_from_parameters, engine_settings, filled

Params = Mapping[str, Any]


def build_place(params: Params) -> RgbdSource | None:
    """The place map with all that finds a view in it, or None where `place_map` is empty.

    Raises:
        ConfigError: It cannot be joined with the aerial map, or needs what is not given; or
            there is none, and a network for it is given.
        MapError: There is no such map, it is damaged, or of another version.
        BundleError: A bundle is damaged.
    """
    if not params['place_map']:
        for name in ('place.descriptor', 'regressor.path'):
            if params[name]:
                raise ConfigError(
                    f'{name} is {params[name]}, place_map is empty: it is for a mapped place; '
                    'set place_map, or leave it empty as well'
                )
        return None
    place = load_place(params['place_map'])
    T_map_place = _frame_of(place, params)
    descriptor, regressor = _descriptor(place, params), _regressor(place, params)
    config = filled(PlaceLocalizerConfig(), 'place', params)
    config = replace(config, solver=filled(SolverConfig(), 'place.solver', params))
    localizer = PlaceLocalizer(place, config, descriptor=descriptor)
    source = RgbdSource(localizer, regressor, T_map_place)
    source.engines = tuple(part.engine for part in (descriptor, regressor) if part is not None)
    return source


def _frame_of(place: PlaceMap, params: Params) -> NDArray[np.float64] | None:
    """(4, 4) place -> map for a place that is not tied to the Earth; None otherwise.

    Raises:
        ConfigError: Half of it is given, or nothing ties the place to the aerial map.
    """
    given = ~np.isnan([*params['place.xyz'], *params['place.rpy']])
    if given.any() and not given.all():
        raise ConfigError('place.xyz and place.rpy: give both wholly, or none')
    on_earth = given.all() and datum_from_parameters(params) is not None
    if params['map.path'] and place.anchor is None and not on_earth:
        raise ConfigError(
            f'place_map {params["place_map"]} is not tied to the Earth, so it cannot be joined '
            'with map.path: build it with its place on the Earth (geoloc place build --help), or '
            'give place.xyz and place.rpy in the frame of a datum, or leave map.path empty'
        )
    if given.all():
        return se3.from_xyz_rpy(*params['place.xyz'], *params['place.rpy'])
    if place.anchor is None and not place.z_up:
        # It is not known which way is up. Such worlds begin with a camera held about level:
        # x right, y down, z forward.
        return se3.make(R_BODY_OPTICAL, np.zeros(3))
    return None


def _descriptor(place: PlaceMap, params: Params) -> Any:
    """The network that described the map's pictures; None where none did.

    Raises:
        ConfigError: It is not given.
        MapError: Another one is.
    """
    if params['place.descriptor']:
        bundle = descriptor_bundle.load_descriptor_bundle(params['place.descriptor'])
        network = descriptor_bundle.NetworkDescriptor(
            bundle, params['model.threads'], engine_settings(params)
        )
        network.require_of(place.global_kind, place.global_arrays)
        return network
    if place.global_kind == descriptor_bundle.KIND:
        raise ConfigError(
            f'the pictures of {params["place_map"]} were described by a network: give its bundle '
            'as place.descriptor, or build the map without --descriptor'
        )
    return None


def _regressor(place: PlaceMap, params: Params) -> PoseRegressor | None:
    """The network that guesses where geometry refuses, or None.

    Raises:
        BundleError: It is damaged.
        ConfigError: It learned another place.
    """
    if not params['regressor.path']:
        return None
    config = filled(PoseRegressorConfig(), 'regressor', params)
    bundle = load_pose_bundle(params['regressor.path'])
    return PoseRegressor(bundle, config, place.name, engine=engine_settings(params))
