# SPDX-License-Identifier: Apache-2.0
"""Which point of the robot a cross-view network finds on the map, and base_link from there.

A view on the ground is laid around base_link wherever the camera is mounted: base_link is what its
network finds. A picture says nothing of where on the robot it was taken: its network finds the
camera, and base_link is away from it by the mount's lever arm, turned by the yaw that was found.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from geoloc_core.geometry.ground_plane import T_ground_camera
from geoloc_core.input_spec import InputSpec
from geoloc_core.types import Array


def lever_arm(
    spec: InputSpec, T_base_camera: ArrayLike, roll: float = 0.0, pitch: float = 0.0
) -> Array:
    """From base_link to the point that a network finds, (forward, left) m.

    Convention: axes of base_link, levelled; REP-103 roll and pitch.

    Args:
        spec: What the network is fed.
        T_base_camera: (4, 4) camera optical frame -> base_link.
        roll: Of the robot, rad.
        pitch: Of the robot, rad.

    Returns:
        (2,); zeros for views on the ground.
    """
    if spec.camera is None:
        return np.zeros(2)
    return T_ground_camera(T_base_camera, roll, pitch, 0.0)[:2, 3]


def moved(pose: ArrayLike, arm: ArrayLike) -> Array:
    """A pose (x, y, yaw) moved along its own axes.

    Args:
        pose: (3,) m, m, rad; of base_link for the found point's, of the found point (and then with
            the negative arm) for base_link's.
        arm: (2,) forward and left, m.

    Returns:
        (3,), the yaw unchanged.
    """
    x, y, yaw = (float(value) for value in np.asarray(pose, dtype=np.float64))
    forward, left = (float(value) for value in np.asarray(arm, dtype=np.float64))
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([x + c * forward - s * left, y + s * forward + c * left, yaw])
