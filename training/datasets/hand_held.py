# SPDX-License-Identifier: Apache-2.0
"""What the readers of hand-held cameras share: their axes, and poses that must be rotations."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.messages.conversions import R_BODY_OPTICAL

Array = NDArray[np.float64]

# base_link of a hand-held camera is its centre, x forward, y left, z up (see `Sample`).
T_BASE_CAMERA: Array = se3.make(R_BODY_OPTICAL, np.zeros(3))

# Text files round; a matrix farther than this from any rotation is damaged, or no pose.
_MAX_OFF_ROTATION = 0.02


def base_from_camera(T_world_camera: Array) -> Array:
    """T_world_base (4, 4) of an optical frame -> world pose (4, 4)."""
    return T_world_camera @ se3.inverse(T_BASE_CAMERA)


def rigid(T: Array, source: Path | str) -> Array:
    """The nearest rigid motion to a published matrix.

    Args:
        T: (4, 4) camera -> world.
        source: Where it was read, for people.

    Returns:
        (4, 4) with a rotation to machine precision, by singular value decomposition.

    Raises:
        DataError: Not finite, not of the form [R t; 0 1], or R is far from any rotation.
    """
    if T.shape != (4, 4) or not np.isfinite(T).all():
        raise DataError(f'{source}: the pose is not finite; leave this frame out')
    if np.abs(T[3] - [0, 0, 0, 1]).max() > 1e-3:
        raise DataError(f'{source}: last row is {T[3].tolist()}, expected 0 0 0 1')
    U, _, Vt = np.linalg.svd(T[:3, :3])
    R = U @ Vt
    off = float(np.abs(R - T[:3, :3]).max())
    if np.linalg.det(R) < 0 or off > _MAX_OFF_ROTATION:
        raise DataError(
            f'{source}: the pose is no rotation (determinant {np.linalg.det(T[:3, :3]):.3f}, '
            f'{off:.3f} from the nearest one); expected a camera-to-world matrix'
        )
    return se3.make(R, T[:3, 3])
