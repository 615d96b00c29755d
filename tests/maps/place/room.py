# SPDX-License-Identifier: Apache-2.0
"""A box of painted walls with exact depth: what the tests of place maps look at."""

import cv2
import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.maps.place.sequence import PosedView
from geoloc_core.messages.conversions import R_BODY_OPTICAL
from geoloc_core.types import GroundView

SIZE = np.array([5.0, 4.0, 2.6])
CAMERA = PinholeCamera(160, 120, 131.0, 133.0, 81.0, 58.5)
T_BASE_CAMERA = se3.make(R_BODY_OPTICAL, [0.1, 0.0, 0.05])
_PX_PER_M = 90


def walls(seed: int = 0) -> list[np.ndarray]:
    """Paintings (512, 512, 3) of the six walls: spots of many sizes and colours."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(6):
        wall = np.full((512, 512, 3), 110, np.uint8)
        for radius in (40, 20, 10, 6, 4, 3):
            for x, y in rng.integers(0, 512, (2400 // radius, 2)):
                colour = tuple(int(c) for c in rng.integers(20, 236, 3))
                corner = (
                    int(x + rng.integers(2, radius + 2)),
                    int(y + rng.integers(2, radius + 2)),
                )
                cv2.rectangle(wall, (int(x), int(y)), corner, colour, -1)
        result.append(cv2.GaussianBlur(wall, (0, 0), 0.8))
    return result


def look(paintings, T_room_camera, camera=CAMERA) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) and depth (H, W) m from a pose inside the room."""
    rays = camera.rays().reshape(-1, 3) @ T_room_camera[:3, :3].T
    origin = T_room_camera[:3, 3]
    # A ray along a wall never meets it: a slope of almost nothing stands for none.
    rays = np.where(rays == 0, 1e-12, rays)
    far = np.where(rays > 0, (SIZE - origin) / rays, (0 - origin) / rays)
    axis = far.argmin(axis=1)
    t = far[np.arange(len(far)), axis]
    hit = origin + rays * t[:, None]
    side = 2 * axis + (rays[np.arange(len(far)), axis] > 0)
    u = np.choose(axis, [hit[:, (k + 1) % 3] for k in (0, 1, 2)])
    v = np.choose(axis, [hit[:, (k + 2) % 3] for k in (0, 1, 2)])
    image = np.zeros((len(rays), 3), np.uint8)
    for k in range(6):
        on = side == k
        if on.any():
            xy = np.stack([u[on], v[on]], axis=-1).astype(np.float32) * _PX_PER_M
            sampled = cv2.remap(paintings[k], xy[None], None, cv2.INTER_LINEAR)
            image[on] = sampled[0]
    z = t * camera.rays().reshape(-1, 3)[:, 2]
    shape = (camera.height, camera.width)
    return image.reshape(*shape, 3), z.reshape(shape).astype(np.float32)


def posed(paintings, x, y, yaw, *, name, camera=CAMERA, stamp_ns=0, z=1.2) -> PosedView:
    """A frame of a camera at base height z (m), looking to yaw (rad)."""
    T_room_base = se3.from_planar(x, y, yaw, z)
    image, depth = look(paintings, T_room_base @ T_BASE_CAMERA, camera)
    view = GroundView(stamp_ns, image, camera, T_BASE_CAMERA, depth)
    return PosedView(name, view, T_room_base)


def walk(paintings, count, *, first=0, camera=CAMERA) -> list[PosedView]:
    """A turn on the spot with a few steps: `count` frames of a whole circle of 24."""
    return [
        posed(
            paintings,
            2.3 + 0.02 * k,
            1.9,
            2 * np.pi * k / 24,
            name=f'frame-{k:06d}',
            camera=camera,
            stamp_ns=k * 10**8,
        )
        for k in range(first, first + count)
    ]
