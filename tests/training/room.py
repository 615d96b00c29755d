# SPDX-License-Identifier: Apache-2.0
"""A painted box seen from inside, colour and exact depth: a place small enough to learn in a test.

`install` registers its reader, 'room'.
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

CAMERA = PinholeCamera(80, 60, 70.0, 71.0, 38.0, 31.0)
HALF = np.array([2.0, 1.2, 1.5])
_WAVES = np.array([[3.1, 1.7, 2.3], [-2.2, 2.9, 1.1], [1.3, -2.5, 3.3]])


def paint(points):
    """Colours (..., 3) uint8 of points on the walls."""
    return np.rint(127.5 + 120 * np.sin(points @ _WAVES.T + [0.3, 1.1, 2.0])).astype(np.uint8)


def see(T_world_camera, camera=CAMERA):
    """Image (H, W, 3) and depth (H, W) m along the optical axis."""
    rays = camera.rays()
    rays = rays / rays[..., 2:]
    turned = rays @ T_world_camera[:3, :3].T
    origin = T_world_camera[:3, 3]
    with np.errstate(divide='ignore'):
        depth = np.min((np.sign(turned) * HALF - origin) / turned, axis=-1)
    return paint(origin + turned * depth[..., None]), depth.astype(np.float32)


def pose(index, seed=0):
    """Of the optical frame: y down; within half a metre of the middle, within 40 degrees."""
    rng = np.random.default_rng([seed, index])
    R = se3.exp_rotation(rng.uniform(-1, 1, 3) * [0.2, 0.7, 0.2])
    return se3.make(R, rng.uniform(-1, 1, 3) * [0.8, 0.3, 0.5])


def sample_at(T, key='seq-01/0', *, depth=True, stamp_ns=0):
    image, metres = see(T)
    if depth:
        metres = metres.copy()
        metres[:4] = np.nan
    view = GroundView(stamp_ns, image, CAMERA, T_BASE_CAMERA, metres if depth else None)
    return Sample(key, key.rpartition('/')[0], view, base_from_camera(T))


class Room(AbstractDataset):
    """Two sequences of twelve frames each."""

    NAME = 'room'
    LAYOUT = '  nothing on disk'
    SPLITS = ('train', 'validation')

    def __init__(self, root, split, *, seed=0, depth=True):
        super().__init__(root, split, seed=seed)
        self.depth = depth

    @classmethod
    def recognises(cls, root):
        return False

    @property
    def keys(self):
        names = [f'seq-{s:02d}/{i}' for s in (1, 2) for i in range(12)]
        return names if self.split == 'train' else names[:6]

    @property
    def protocol(self):
        return None

    def files(self, index):
        return ()

    def sample(self, index, epoch=0):
        return sample_at(pose(index), self.keys[index], depth=self.depth, stamp_ns=index)


def install():
    sys.modules['training.datasets._room'] = sys.modules[__name__]
    READERS['room'] = ('_room', 'Room')
