# SPDX-License-Identifier: Apache-2.0
"""How far off a feature, a depth and the map itself may be: the scales of all residuals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseModel:
    """Deviations of what is measured and of what the map says.

    The depth of structured light and of stereo is a disparity turned over, so its deviation grows
    with the square of the distance (Nguyen, Izadi, Lovell, "Modeling Kinect sensor noise for
    improved 3D reconstruction and tracking", 3DIMPVT 2012, section 3.2).

    Attributes:
        pixel_px: Of a feature's place in the picture.
        depth_m: Of a depth, at no distance.
        depth_per_m: What a depth of 1 m adds to that; one of 2 m adds four times as much.
        map_m: Of a point of the map from where its neighbours put it: keyframes disagree.
        reach: Residuals beyond this many deviations are outliers.
    """

    pixel_px: float = 1.0
    depth_m: float = 0.003
    depth_per_m: float = 0.002
    map_m: float = 0.01
    reach: float = 3.5

    def __post_init__(self) -> None:
        """Refuses deviations of nothing.

        Raises:
            ConfigError: One is not positive.
        """
        for name in ('pixel_px', 'depth_m', 'depth_per_m', 'map_m', 'reach'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'{name} is {getattr(self, name)}: expected a positive number')

    def std_depth(self, z: Array) -> Array:
        """Deviation (...,) in m of depths z (...,) in m."""
        return self.depth_m + self.depth_per_m * np.asarray(z) ** 2

    def std_across(self, z: Array, focal_px: float) -> Array:
        """Deviation (...,) of a reprojected point of the map at depth z, in units of x/z.

        Args:
            z: (...,) m, of the point in the camera's frame.
            focal_px: Of the camera, to turn pixels into x/z.
        """
        return np.hypot(self.pixel_px / focal_px, self.map_m / np.maximum(z, 0.05))

    def std_along(self, z: Array) -> Array:
        """Deviation (...,) in m of a measured depth from that of a point of the map at z."""
        return np.hypot(np.sqrt(2.0) * self.std_depth(z), self.map_m)
