# SPDX-License-Identifier: Apache-2.0
"""A painted plane, a map source of it, and cameras that look at it: truth without files."""

import cv2
import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import BevImage, view_from_bev
from geoloc_core.maps.source import AbstractMapSource, MapInfo
from geoloc_core.types import AerialPatch, GroundView, PosePrior

FRAME = EnuFrame(Datum(49.0, 8.4, 110.0))
BASE_HEIGHT = 0.5
# Forward-looking: optical z = base x, optical x = -base y, optical y = -base z.
R_BASE_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
T_BASE_CAMERA = se3.make(
    se3.rotation_from_rpy(0.0, np.radians(12), 0.0) @ R_BASE_OPTICAL, [0.6, 0.1, 1.0]
)
PINHOLE = PinholeCamera(640, 360, 380.0, 380.0, 322.0, 176.0)
PANORAMA = EquirectangularCamera(720, 360)


class PaintedGround(AbstractMapSource):
    """A raster that is the whole world."""

    def __init__(self, image, grid):
        self.image, self.grid = image, grid

    @property
    def info(self):
        return MapInfo(
            'paint', 'array', 'ENU', (0, 0, 0, 0), self.grid.gsd, self.image.shape[1::-1]
        )

    def patch(self, frame, center_xy, size_m, gsd):
        side = round(size_m / gsd)
        grid = Grid(tuple(center_xy), gsd, side, side)
        u, v = np.moveaxis(self.grid.uv_from_xy(grid.cell_centers()), -1, 0).astype(np.float32)
        image = cv2.remap(self.image, u, v, cv2.INTER_LINEAR)
        return AerialPatch(image, self.grid.contains(grid.cell_centers()), grid)


def painted_ground(seed=0, size_m=(90.0, 76.0), gsd=0.1, center=(12.0, -7.0)):
    """Blobs and strokes of many sizes; H != W."""
    rng = np.random.default_rng(seed)
    width, height = round(size_m[0] / gsd), round(size_m[1] / gsd)
    image = np.full((height, width, 3), 110, np.float32)
    for sigma, gain in ((60, 120), (20, 90), (6, 60), (2, 30)):
        noise = cv2.GaussianBlur(
            rng.normal(size=(height, width)).astype(np.float32), (0, 0), sigma
        )
        image += (gain / noise.std() / 3 * noise)[..., None]
    for _ in range(60):
        a, b = rng.integers(0, [width, height]), rng.integers(-60, 60, 2)
        cv2.line(image, a.tolist(), (a + b).tolist(), (225, 225, 225), 2, cv2.LINE_AA)
    return PaintedGround(np.clip(image, 0, 255).astype(np.uint8), Grid(center, gsd, width, height))


def look(ground, x, y, yaw, roll=0.0, pitch=0.0, camera=PINHOLE, stamp_ns=7):
    """(view, T_map_base) of a camera over the ground."""
    T_map_base = se3.from_planar(x, y, yaw, z=BASE_HEIGHT, roll=roll, pitch=pitch)
    image, _ = view_from_bev(
        BevImage(ground.image, np.ones(ground.image.shape[:2], bool), ground.grid),
        camera,
        T_map_base @ T_BASE_CAMERA,
    )
    return GroundView(stamp_ns, image, camera, T_BASE_CAMERA), T_map_base


def prior_near(T_map_base, dx, dy, dyaw, std_m, std_yaw):
    """A prior that is off by a known amount."""
    x, y, yaw = se3.planar(T_map_base)
    roll, pitch, _ = se3.rpy_from(T_map_base)
    pose = se3.from_planar(x + dx, y + dy, yaw + dyaw, T_map_base[2, 3], roll, pitch)
    variances = np.array([std_m, std_m, 0.5, 0.02, 0.02, std_yaw]) ** 2
    return PosePrior(7, pose, np.diag(variances))
