# SPDX-License-Identifier: Apache-2.0
"""What a camera with an ordinary lens would have seen where a panorama was taken."""

from dataclasses import dataclass, replace
import math

import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.lookup import warp_camera
from training.augmentation.step import Step
from training.datasets.sample import Sample


@dataclass(frozen=True)
class ThroughLens(Step):
    """Makes a pinhole picture of a panorama, so that a network meets both.

    The lens looks where the middle of the panorama does, tilted down by a little: `roll_panorama`
    before it makes that any direction. The pose stays; depth and classes are dropped. Pictures
    that are no whole circle are left alone.

    Attributes:
        fov_deg: (least, most) horizontal field of view.
        down_deg: (least, most) tilt below the horizon.
        size: (width, height) px.
    """

    fov_deg: tuple[float, float] = (60.0, 110.0)
    down_deg: tuple[float, float] = (-2.0, 15.0)
    size: tuple[int, int] = (640, 400)

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        good = len(self.fov_deg) == 2 and 10 <= self.fov_deg[0] <= self.fov_deg[1] <= 150
        self.require(good, 'fov_deg', '(least, most), both within 10..150')
        good = len(self.down_deg) == 2 and -80 <= self.down_deg[0] <= self.down_deg[1] <= 80
        self.require(good, 'down_deg', '(least, most), both within -80..80')
        good = len(self.size) == 2 and min(self.size) >= 1
        self.require(good, 'size', '(width, height) in pixels')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        fov, down = np.radians(rng.uniform(*self.fov_deg)), np.radians(rng.uniform(*self.down_deg))
        view = sample.view
        if not view.camera.wraps:
            return sample
        width, height = self.size
        focal = width / 2 / math.tan(fov / 2)
        camera = PinholeCamera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        # About optical +x, which is right: a negative turn takes the view axis down (optical +y).
        R_panorama_lens = se3.exp_rotation([-down, 0.0, 0.0])
        image, _ = warp_camera(view.image, view.camera, camera, R_panorama_lens)
        mount = view.T_base_camera @ se3.make(R_panorama_lens, np.zeros(3))
        return replace(
            sample,
            view=replace(view, image=image, camera=camera, T_base_camera=mount, depth=None),
            view_classes=None,
        )
