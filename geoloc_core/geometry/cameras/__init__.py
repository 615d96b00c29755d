# SPDX-License-Identifier: Apache-2.0
"""Camera models: pinhole with distortion, fisheye, equirectangular, from a ROS calibration."""

from geoloc_core.geometry.cameras.base import AbstractCamera
from geoloc_core.geometry.cameras.calibration import camera_from_calibration
from geoloc_core.geometry.cameras.equirectangular import EquirectangularCamera
from geoloc_core.geometry.cameras.fisheye import FisheyeCamera
from geoloc_core.geometry.cameras.kinds import camera_kind
from geoloc_core.geometry.cameras.panorama_crop import PanoramaCropCamera
from geoloc_core.geometry.cameras.pinhole import PinholeCamera

__all__ = [
    'AbstractCamera',
    'EquirectangularCamera',
    'FisheyeCamera',
    'PanoramaCropCamera',
    'PinholeCamera',
    'camera_from_calibration',
    'camera_kind',
]
