# SPDX-License-Identifier: Apache-2.0
"""What kind of lens a camera has, in one word."""

from geoloc_core.geometry.cameras.base import AbstractCamera
from geoloc_core.geometry.cameras.equirectangular import EquirectangularCamera
from geoloc_core.geometry.cameras.fisheye import FisheyeCamera
from geoloc_core.geometry.cameras.panorama_crop import PanoramaCropCamera
from geoloc_core.geometry.cameras.pinhole import PinholeCamera

_KINDS: tuple[tuple[type[AbstractCamera], str], ...] = (
    (PinholeCamera, 'pinhole'),
    (FisheyeCamera, 'fisheye'),
    (EquirectangularCamera, 'equirectangular'),
    (PanoramaCropCamera, 'equirectangular'),
)


def camera_kind(camera: AbstractCamera) -> str:
    """'pinhole', 'fisheye' or 'equirectangular' (a piece of a panorama is one, too)."""
    for kind, name in _KINDS:
        if isinstance(camera, kind):
            return name
    return type(camera).__name__
