# SPDX-License-Identifier: Apache-2.0
"""Painted rooms looked at in four directions: places that overlap, or do not, by construction.

`install` registers their reader, 'rooms'.
"""

import sys

import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.types import GroundView
from training.datasets.base import AbstractDataset
from training.datasets.hand_held import base_from_camera, T_BASE_CAMERA
from training.datasets.registry import READERS
from training.datasets.sample import Sample

CAMERA = PinholeCamera(48, 36, 40.0, 41.0, 23.0, 17.0)
# Walls lie on no border of the cubes that points are counted in.
HALF = np.array([2.1, 2.9, 1.3])
# Optical axes: x right, y down, z forward along the room's +x.
_FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def look(yaw, xy=(0.0, 0.0)):
    """(4, 4) optical frame -> room, level, looking along a yaw."""
    return se3.make(se3.rotation_from_rpy(0, 0, yaw) @ _FORWARD, [*xy, 0.0])


def see(T, room=0):
    """Image (H, W, 3) and depth (H, W) m of a room; each room is painted otherwise."""
    rays = CAMERA.rays()
    rays = rays / rays[..., 2:]
    turned = rays @ T[:3, :3].T
    # A ray along a wall never meets it.
    turned = np.where(turned == 0, 1e-12, turned)
    depth = np.min((np.sign(turned) * HALF - T[:3, 3]) / turned, axis=-1)
    points = T[:3, 3] + turned * depth[..., None]
    waves = np.random.default_rng(room).uniform(-3, 3, (3, 3))
    image = 127.5 + 90 * np.sin(points @ waves.T + room)
    # Speckles, for features to be found at.
    cubes = np.floor(points / 0.23).astype(np.int64) @ np.array([73856093, 19349663, 83492791])
    image += np.where((cubes + room) % 7 < 2, 35.0, 0.0)[..., None]
    return np.rint(image).astype(np.uint8), depth.astype(np.float32)


class Rooms(AbstractDataset):
    """Two rooms; in each twelve views, three in each of four directions, some 10 degrees apart."""

    NAME = 'rooms'
    LAYOUT = '  nothing on disk'
    SPLITS = ('train', 'validation')

    @classmethod
    def recognises(cls, root):
        return False

    @property
    def keys(self):
        return [f'room{r}/seq-01/{i:02d}' for r in (0, 1) for i in range(12)]

    @property
    def protocol(self):
        return None

    def files(self, index):
        return ()

    def sample(self, index, epoch=0):
        room, i = divmod(index, 12)
        # The validation split stands a little beside the training split.
        beside = 0.0 if self.split == 'train' else 0.1
        yaw = np.deg2rad(90 * (i // 3) + 10 * (i % 3) + 20 * beside)
        T = look(yaw, (0.1 * (i % 3) + beside, -0.1))
        image, depth = see(T, room)
        view = GroundView(index, image, CAMERA, T_BASE_CAMERA, depth)
        return Sample(self.keys[index], f'room{room}/seq-01', view, base_from_camera(T))


def install():
    """Registers the reader in this process."""
    sys.modules['training.datasets._rooms'] = sys.modules[__name__]
    READERS['rooms'] = ('_rooms', 'Rooms')
