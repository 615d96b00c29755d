# SPDX-License-Identifier: Apache-2.0
"""Rooms of which everything is known: four walls, floor and ceiling, points with names on them.

Their pictures are black; what a detector would find in them is known from the points instead.
"""

from dataclasses import dataclass, field

import numpy as np

from geoloc_core.features.base import AbstractFeatures, AbstractGlobalDescriptor, LocalFeatures
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.maps.place.depth import points_at, shrink
from geoloc_core.maps.place.records import Keyframe, PlaceMap
from geoloc_core.messages.conversions import R_BODY_OPTICAL
from geoloc_core.types import GroundView

CAMERA = PinholeCamera(192, 144, 150.0, 151.0, 94.0, 73.0)
SIZE = np.array([5.0, 4.0, 2.6])
# A camera ahead of, left of and above the base, looking a little down.
T_BASE_CAMERA = se3.from_xyz_rpy(0.3, 0.1, 0.8, 0.0, 0.1, 0.0) @ se3.make(
    R_BODY_OPTICAL, [0, 0, 0]
)
D = 32


class PlantedFeatures(AbstractFeatures):
    """Finds what the scene says is in the next picture."""

    kind = 'planted'
    descriptor_size = D
    scale_invariant = True

    def __init__(self):
        self.sizes = []
        self.found = LocalFeatures(
            np.zeros((0, 2), 'f4'), np.zeros((0, D), 'f4'), np.zeros(0, 'f4')
        )

    def detect(self, image):
        self.sizes.append(image.shape[:2])
        # A smaller picture shows the same things at fewer pixels.
        scale = np.array([image.shape[1] / CAMERA.width, image.shape[0] / CAMERA.height], 'f4')
        xy = (self.found.xy + np.float32(0.5)) * scale - np.float32(0.5)
        return LocalFeatures(xy, self.found.descriptors, self.found.score)


class MeanDescriptor(AbstractGlobalDescriptor):
    kind = 'mean'
    size = D

    def describe(self, image, local):
        total = local.descriptors.sum(axis=0)
        return (total / max(np.linalg.norm(total), 1e-9)).astype(np.float32)

    def arrays(self):
        return {}


@dataclass
class Room:
    """A box with points on its walls, one corner at `origin`."""

    seed: int = 0
    origin: tuple = (0.0, 0.0, 0.0)
    count: int = 1500
    points: np.ndarray = field(init=False)
    descriptors: np.ndarray = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        points = rng.uniform(0.05, 0.95, (self.count, 3)) * SIZE
        axis = rng.integers(0, 3, self.count)
        points[np.arange(self.count), axis] = np.where(rng.random(self.count) < 0.5, 0, SIZE[axis])
        self.points = points + np.array(self.origin)
        named = rng.normal(size=(self.count, D))
        self.descriptors = named / np.linalg.norm(named, axis=1, keepdims=True)

    def depth(self, T_place_camera, noise_m=0.0, seed=0):
        """(H, W) m of a camera inside."""
        rays = CAMERA.rays()
        rays = rays / rays[..., 2:] @ T_place_camera[:3, :3].T
        start = T_place_camera[:3, 3] - np.array(self.origin)
        with np.errstate(divide='ignore', invalid='ignore'):
            hits = np.concatenate([(0 - start) / rays, (SIZE - start) / rays], axis=-1)
        depth = np.where(hits > 0, hits, np.inf).min(axis=-1)
        rng = np.random.default_rng(seed)
        return (depth + noise_m * rng.normal(size=depth.shape)).astype(np.float32)

    def features(self, T_place_camera, pixel_px=0.5, seed=0, wrong=0.0):
        """What a detector finds; a share of the descriptors says something else."""
        rng = np.random.default_rng(seed)
        uv, seen = CAMERA.project(se3.transform(se3.inverse(T_place_camera), self.points))
        index = np.flatnonzero(seen)
        xy = uv[index] + pixel_px * rng.normal(size=(len(index), 2))
        named = self.descriptors[index] + 0.05 * rng.normal(size=(len(index), D))
        mixed = rng.random(len(index)) < wrong
        named[mixed] = self.descriptors[rng.integers(0, self.count, mixed.sum())]
        named /= np.linalg.norm(named, axis=1, keepdims=True)
        return LocalFeatures(xy.astype('f4'), named.astype('f4'), np.ones(len(index), 'f4'))

    def keyframe(self, name, T_place_camera):
        depth = self.depth(T_place_camera)
        local = self.features(T_place_camera, seed=len(name) + int(name[-2:]))
        return Keyframe(
            name,
            0,
            T_place_camera,
            local.xy,
            local.descriptors,
            points_at(local.xy, depth, CAMERA, T_place_camera),
            MeanDescriptor().describe(None, local),
            shrink(depth),
        )


def camera_pose(x, y, yaw, z=1.3, pitch=0.1):
    """(4, 4) T_place_camera."""
    return se3.from_xyz_rpy(x, y, z, 0.0, pitch, yaw) @ se3.make(R_BODY_OPTICAL, [0, 0, 0])


def poses_of(room, count=12):
    """Camera poses of a turn in the middle of a room."""
    middle = np.array(room.origin) + SIZE / 2
    yaws = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [camera_pose(middle[0] - 0.6 * np.cos(a), middle[1] - 0.5 * np.sin(a), a) for a in yaws]


def place_of(*rooms, camera=CAMERA):
    """A map of rooms, in one frame."""
    keyframes = [
        room.keyframe(f'room{r} frame {k:02d}', T)
        for r, room in enumerate(rooms)
        for k, T in enumerate(poses_of(room))
    ]
    return PlaceMap('rooms', camera, 'planted', 'mean', {}, tuple(keyframes))


def view_at(T_place_camera, depth=None, stamp_ns=7):
    """The view at a pose; its picture is black."""
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    return GroundView(stamp_ns, image, CAMERA, T_BASE_CAMERA, depth)
