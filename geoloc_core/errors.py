# SPDX-License-Identifier: Apache-2.0
"""Exceptions of geoloc: misuse raises one of these; expected bad luck is a `Status` instead.

A message names the value, says what was expected and what to do.
"""


class GeolocError(Exception):
    """Base of every error that geoloc raises on purpose."""


class ConfigError(GeolocError):
    """A parameter, option or file of settings that cannot be used."""


class CalibrationError(GeolocError):
    """A camera calibration or an extrinsic transform that cannot be used."""


class MapError(GeolocError):
    """A map source that cannot be opened, or whose georeference cannot be believed."""


class InputError(GeolocError):
    """A sensor message whose content is damaged or impossible."""


class BundleError(GeolocError):
    """A model bundle that is damaged or does not fit the camera, the map or the engine."""


class BagError(GeolocError):
    """A bag that cannot be read or lacks what was asked of it."""


class DataError(GeolocError):
    """A data set that is incomplete, damaged or not laid out as its publisher lays it out."""


class EngineError(GeolocError):
    """A runtime or a GPU that is absent, full or gone, or refuses a network: another may do."""
