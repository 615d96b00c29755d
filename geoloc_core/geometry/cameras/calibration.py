# SPDX-License-Identifier: Apache-2.0
"""From the fields of a ROS CameraInfo to a camera."""

import numpy as np
from numpy.typing import ArrayLike

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry.cameras.base import AbstractCamera
from geoloc_core.geometry.cameras.equirectangular import EquirectangularCamera
from geoloc_core.geometry.cameras.fisheye import FisheyeCamera
from geoloc_core.geometry.cameras.pinhole import PinholeCamera

_FISHEYE = ('equidistant', 'fisheye', 'kannala_brandt')
_PINHOLE = ('plumb_bob', 'rational_polynomial')
EQUIRECTANGULAR = 'equirectangular'


def camera_from_calibration(
    model: str,
    width: int,
    height: int,
    k: ArrayLike,
    d: ArrayLike,
    r: ArrayLike | None = None,
    p: ArrayLike | None = None,
    rectified: bool = False,
) -> AbstractCamera:
    """The camera that a CameraInfo describes.

    A CameraInfo serves two images. The raw one follows K and D; R and P are not needed for it.
    The rectified one (image_rect) follows the left 3x3 of P, without distortion, in the rectified
    optical frame; R would only matter to someone who holds directions in the raw frame, and the
    baseline in P's fourth column belongs to the extrinsics. Nothing in the message says which of
    the two images is meant, hence `rectified`. A driver that publishes rectified images with
    all-zero D and K = P (as many do) is right either way; KITTI's synchronised images that come
    with the raw K and D (as kitti2bag writes them) need `rectified=True`.

    Args:
        model: `distortion_model`. 'plumb_bob', 'rational_polynomial', 'equidistant' (also known as
            'fisheye' or 'kannala_brandt') or 'equirectangular' (K and D are ignored: a full
            sphere). '' is read as no distortion, and refused where D is not zero.
        width: Columns of the image.
        height: Rows of the image.
        k: (9,) or (3, 3), row-major.
        d: Distortion coefficients; empty or all zero means none.
        r: (9,) or (3, 3) rectification, checked to be finite; may be None.
        p: (12,) or (3, 4) projection; used for rectified images, may be None or zero otherwise.
        rectified: The images are rectified ones.

    Returns:
        The camera.

    Raises:
        CalibrationError: The fields describe no camera; the text says which one and what to do.
    """
    width, height = int(width), int(height)
    if model == EQUIRECTANGULAR:
        return EquirectangularCamera(width, height)
    K = _matrix('K', k, (3, 3))
    if r is not None:
        _matrix('R', r, (3, 3))
    distortion = tuple(float(c) for c in np.asarray(d, dtype=np.float64).ravel())
    if not np.all(np.isfinite(distortion)):
        raise CalibrationError(f'distortion coefficients {distortion} hold NaN or infinity')
    if rectified:
        P = _matrix('P', p if p is not None else np.zeros(12), (3, 4))
        if P.any():
            K = P[:, :3]
        elif any(distortion):
            raise CalibrationError(
                'images are said to be rectified, but the calibration has no P to read them '
                'with: give P, or use the raw images'
            )
        model, distortion = 'plumb_bob', ()
    if not any(distortion) and model in ('', *_PINHOLE):
        model, distortion = 'plumb_bob', ()
    _check_intrinsics(K)
    intrinsics = (width, height, float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    if model in _PINHOLE:
        return PinholeCamera(*intrinsics, distortion, model)
    if model in _FISHEYE:
        # Without coefficients r = theta: still a fisheye, not a pinhole.
        return FisheyeCamera(*intrinsics, distortion)
    raise CalibrationError(
        f'distortion model {model!r} with coefficients {distortion} is unknown; known are '
        f'{", ".join((*_PINHOLE, *_FISHEYE, EQUIRECTANGULAR))}'
    )


def _matrix(name: str, values: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.size != shape[0] * shape[1]:
        raise CalibrationError(
            f'{name} has {matrix.size} numbers, expected {shape[0]} x {shape[1]}'
        )
    if not np.all(np.isfinite(matrix)):
        raise CalibrationError(f'{name} holds NaN or infinity: {matrix.ravel().tolist()}')
    return matrix.reshape(shape)


def _check_intrinsics(K: np.ndarray) -> None:
    if not K.any():
        raise CalibrationError(
            'K is all zero: the camera is not calibrated; calibrate it, or give its intrinsics '
            'to the driver'
        )
    if abs(K[0, 1]) > 1e-6 * abs(K[0, 0]) or K[1, 0] != 0 or not np.allclose(K[2], [0, 0, 1]):
        raise CalibrationError(
            f'K = {K.ravel().tolist()} is not of the form fx 0 cx 0 fy cy 0 0 1: skew is not '
            'supported, and the order must be row-major'
        )
