# SPDX-License-Identifier: Apache-2.0
"""What the readers of north-aligned street-view panoramas have in common."""

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import angles, se3

Array = NDArray[np.float64]

# Optical axes (z forward, x right, y down) in body axes (x forward, y left, z up).
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
# Yaw of a panorama whose centre column looks north.
NORTH = np.pi / 2


def upright_mount(height_m: float) -> Array:
    """T_base_camera (4, 4) of a level camera straight over base_link."""
    return se3.make(R_BODY_OPTICAL, [0.0, 0.0, height_m])


def turned(image: NDArray, turn: float) -> tuple[NDArray, float]:
    """A north-aligned panorama as seen by someone who turned away from north.

    Args:
        image: (H, W, ...) whole circle.
        turn: rad, counter-clockwise.

    Returns:
        The rolled picture, and its yaw. The picture turns by the nearest whole number of columns;
        the yaw says exactly that turn, so no interpolation and no rounding enters the label.
    """
    width = image.shape[1]
    columns = round(float(angles.pano_roll_from_turn(turn, width)))
    yaw = float(angles.wrap(NORTH + angles.turn_from_pano_roll(columns, width)))
    return np.roll(image, columns, axis=1), yaw
