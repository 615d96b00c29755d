# SPDX-License-Identifier: Apache-2.0
"""Samples of the compass rose with everything a sample can hold."""

from functools import cache

import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import (
    EquirectangularCamera,
    FisheyeCamera,
    PanoramaCropCamera,
    PinholeCamera,
)
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.compass import COMPASS_DATUM
from geoloc_core.simulation.layouts.base import Rig
from geoloc_core.simulation.robots.drive import mounted
from geoloc_core.types import AerialPatch, GroundView, PosePrior
from tests.training.datasets.compass import compass_orthophoto, compass_shots, view_depth
from training.datasets.sample import Sample

CAMERAS = {
    'panorama': EquirectangularCamera(384, 192),
    'strip': PanoramaCropCamera(384, 70, 384, 192, top=64),
    'pinhole': PinholeCamera(320, 200, 150.0, 154.0, 163.0, 96.0, (-0.1, 0.02, 1e-3, -1e-3, 0.0)),
    'fisheye': FisheyeCamera(280, 240, 80.0, 82.0, 138.0, 118.0, (0.01, -0.002, 0.0, 0.0)),
}
GSD = 0.125
T_BASE = se3.from_planar(1.3, -0.7, np.pi / 2 + 0.15)


@cache
def compass_sample(name='panorama', lever=False):
    """A sample with depth, classes, mask, a semi-positive and a prior that is off.

    Args:
        name: One of `CAMERAS`.
        lever: The camera stands off base_link and is turned and tilted against it.
    """
    mount = mounted(0.0, 0.0, 2.0, 0.0)
    if lever:
        mount = se3.from_xyz_rpy(0.6, -0.3, 1.7, 0.0, 0.05, 0.3) @ mounted(0.0, 0.0, 0.0, 0.0)
    rig = Rig(CAMERAS[name], mount)
    (shot,) = compass_shots(rig, places=[T_BASE])
    photo = compass_orthophoto(gsd=GSD, reach_m=26.0)
    prior_T = T_BASE @ se3.from_planar(2.0, -1.0, 0.2)
    cov = np.diag([4.0, 1.0, 0.1, 1e-3, 2e-3, 0.04])
    cov[0, 1] = cov[1, 0] = 0.5

    def patch(x, y, width, height):
        grid = Grid((x, y), GSD, width, height)
        return AerialPatch(photo.crop(grid), np.ones((height, width), bool), grid, '(c) mapper')

    first = patch(0.5, -1.0, 240, 208)
    xy = first.grid.cell_centers()
    # Four classes: the quarters of the compass.
    quarters = (2 * (xy[..., 0] > 0) + (xy[..., 1] > 0)).astype(np.uint8)
    view = GroundView(77, shot.image, rig.camera, mount, view_depth(shot))
    return Sample(
        'rose', 'plain', view, T_BASE,
        cov=cov,
        patch=first,
        prior=PosePrior(77, prior_T, cov),
        datum=COMPASS_DATUM,
        other_patches=(patch(7.0, 4.0, 200, 200),),
        patch_classes=quarters,
        # Which side of the camera a pixel looks to, as seen from the map.
        view_classes=view_classes(rig.camera, T_BASE @ mount),
    )  # fmt: skip


def view_classes(camera, T_map_camera):
    """(H, W) uint8: the quarter of the compass into which each pixel looks."""
    rays = np.nan_to_num(camera.rays()) @ T_map_camera[:3, :3].T
    return (2 * (rays[..., 0] > 0) + (rays[..., 1] > 0)).astype(np.uint8)
