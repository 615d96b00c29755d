# SPDX-License-Identifier: Apache-2.0
"""What may be wrong with a view or an answer, in words for people."""

import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras.base import FocalCamera
from geoloc_core.types import Array, GroundView, PosePrior

# Ratios by which depths are off when their unit is misread, for people.
_UNITS = {
    1000.0: 'millimetres taken for metres',
    0.001: 'metres taken for millimetres',
    5.0: 'a file of 5000 units a metre read as one of 1000',
    0.2: 'a file of 1000 units a metre read as one of 5000',
    10.0: 'a factor of ten',
    0.1: 'a factor of ten',
}
# Chi-squared of three degrees of freedom: a position farther from the prior is not the prior's.
_CHI2_999 = 16.27


def unfit(view: GroundView) -> str:
    """Why a view cannot be localized at all; '' if it can."""
    camera = view.camera
    if not isinstance(camera, FocalCamera):
        return (
            f'a {type(camera).__name__} has no optical axis to measure depth along: give the view '
            'of a pinhole or fisheye camera'
        )
    if view.image.ndim != 3 or view.image.shape[2] != 3 or view.image.dtype != np.uint8:
        return f'picture of shape {view.image.shape}, {view.image.dtype}: expected (H, W, 3) uint8'
    if view.image.shape[:2] != (camera.height, camera.width):
        return (
            f'picture of {view.image.shape[1]} x {view.image.shape[0]} px, its camera of '
            f'{camera.width} x {camera.height}: calibration and picture do not belong together'
        )
    if view.depth is not None and view.depth.shape != view.image.shape[:2]:
        return (
            f'depth of {view.depth.shape[::-1]} px, picture of {view.image.shape[1::-1]}: '
            'register the depth to the picture first'
        )
    if not se3.is_rigid(view.T_base_camera, 1e-3):
        return 'T_base_camera is no rigid motion'
    return ''


def wrong_scale(scale: float, count: int) -> str:
    """What to say of depths that are `scale` times those of the map, at `count` features."""
    unit = next((f' ({word})' for k, word in _UNITS.items() if abs(scale / k - 1.0) < 0.15), '')
    return (
        f'depths are {scale:.4g} times those of the map at {count} features{unit}: wrong unit? '
        'colour alone is used'
    )


def apart(T: Array, other: Array) -> tuple[float, float]:
    """Metres and degrees between two poses."""
    angle = np.linalg.norm(se3.log_rotation(T[:3, :3].T @ other[:3, :3]))
    return float(np.linalg.norm(T[:3, 3] - other[:3, 3])), float(np.degrees(angle))


def fits(T: Array, believed: PosePrior) -> bool:
    """Whether the position of a pose (4, 4), in the prior's frame, may be the prior's."""
    off = T[:3, 3] - believed.T_map_base[:3, 3]
    return bool(off @ np.linalg.solve(np.asarray(believed.cov)[:3, :3], off) < _CHI2_999)
