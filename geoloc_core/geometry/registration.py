# SPDX-License-Identifier: Apache-2.0
"""Depth seen from another camera: every measured point is carried over and the nearest one kept.

Convention: depth is z along the optical axis, as depth cameras give it; for a panorama, or a piece
of one, it is the distance along the ray. NaN where there is none.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    EquirectangularCamera,
    PanoramaCropCamera,
)

Depth = NDArray[np.float32]

# A point that would have to fill more pixels than this a side says too little about them.
_MAX_FOOTPRINT_PX = 4


def register_depth(
    depth: Depth, source: AbstractCamera, target: AbstractCamera, T_target_source: ArrayLike
) -> Depth:
    """Depth of one camera as another one, close by, would have measured it.

    A forward warp with a depth buffer: where two points fall into one pixel the nearer one hides
    the other. Where the target's pixels are finer than the source's a point fills as many as its
    own pixel covers, so that surfaces do not become sieves.

    Args:
        depth: (H, W) of the source camera, m.
        source: Camera that measured it.
        target: Camera that it is wanted for.
        T_target_source: (4, 4) optical frame of the source -> that of the target.

    Returns:
        (H', W') of the target camera, NaN where no point falls.

    Raises:
        InputError: The depth is not of the source camera's size.
    """
    if depth.shape != (source.height, source.width):
        raise InputError(
            f'depth is {depth.shape[::-1]}, its camera {source.width} x {source.height}: pass the '
            'calibration of the depth as it is'
        )
    points = points_of(depth, source, T_target_source)
    return depth_of_points(points, target, _footprint(source, target))


def points_of(depth: Depth, camera: AbstractCamera, T_target_camera: ArrayLike) -> NDArray:
    """The measured points.

    Args:
        depth: (H, W), m.
        camera: Its camera.
        T_target_camera: (4, 4) optical frame -> the frame wanted.

    Returns:
        (N, 3) float32 m, row by row, of the pixels that have a depth and a ray.
    """
    rays = _rays(camera)
    flat = np.ascontiguousarray(depth, dtype=np.float32).reshape(-1)
    measured = np.flatnonzero(has_point(depth, camera))
    T = np.asarray(T_target_camera, dtype=np.float64).astype(np.float32)
    points = T[:3, :3] @ (rays[:, measured] * flat[measured]) + T[:3, 3:]
    return points.T


def has_point(depth: Depth, camera: AbstractCamera) -> NDArray[np.bool_]:
    """Which pixels (H, W) of a depth image `points_of` gives points of."""
    with np.errstate(invalid='ignore'):
        measured = np.isfinite(depth) & (np.asarray(depth) > 0)
    return measured & np.isfinite(_rays(camera)[2]).reshape(depth.shape)


def depth_of_points(points: ArrayLike, camera: AbstractCamera, footprint_px: int = 1) -> Depth:
    """Depth of the nearest point in each pixel.

    Args:
        points: (N, 3) m, optical frame of the camera.
        camera: Where they are seen.
        footprint_px: Side of the square of pixels that a point fills.

    Returns:
        (H, W) float32, NaN where no point falls.
    """
    points = np.asarray(points, dtype=np.float32)
    x, y, z = np.ascontiguousarray(points.T)
    u, v, _ = camera.project_xyz(x, y, z)
    depth = np.sqrt(x * x + y * y + z * z) if _is_spherical(camera) else z
    height, width = camera.height, camera.width
    # The last slot takes what falls outside.
    nearest = np.full(height * width + 1, np.inf, dtype=np.float32)
    # Pixels of an even square lie to both sides of the point, those of an odd one around it.
    first = np.float32(0.5 * (footprint_px - 1))
    far = np.float32(-1e6)  # outside of any image, as a whole number too
    known = np.isfinite(u) & np.isfinite(v) & (depth > 0)
    column = np.rint(np.where(known, u - first, far).clip(far, -far)).astype(np.int32)
    row = np.rint(np.where(known, v - first, far).clip(far, -far)).astype(np.int32)
    for i in range(footprint_px):
        for j in range(footprint_px):
            r, c = row + i, column + j
            if camera.wraps:
                c = np.where(known, c % width, c)
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            np.minimum.at(nearest, np.where(inside, r * width + c, height * width), depth)
    image = nearest[:-1].reshape(height, width)
    image[np.isinf(image)] = np.nan
    return image


def depth_disagreement(
    depth: Depth, camera: AbstractCamera, other: Depth, T_other_camera: ArrayLike
) -> NDArray[np.float32]:
    """How far two depth images of one camera are from agreeing about the surfaces both see.

    Args:
        depth: (H, W), m.
        camera: Camera of both.
        other: (H, W) measured at the other place, m.
        T_other_camera: (4, 4) optical frame of `depth` -> that of `other`.

    Returns:
        (N,) m, warped minus measured, for the pixels that have both. What one place sees and the
        other does not is in it: look at the median, not at the mean.
    """
    warped = register_depth(depth, camera, camera, T_other_camera)
    both = np.isfinite(warped) & np.isfinite(other)
    return warped[both] - other[both]


def _is_spherical(camera: AbstractCamera) -> bool:
    """Whether depth is counted along the ray: the optical axis of a panorama means nothing."""
    return isinstance(camera, (EquirectangularCamera, PanoramaCropCamera))


@lru_cache(maxsize=16)
def _rays(camera: AbstractCamera) -> NDArray[np.float32]:
    """Rays (3, H W) of all pixels, of z = 1, or of length 1 for a panorama."""
    rays = camera.rays().reshape(-1, 3).T
    if not _is_spherical(camera):
        with np.errstate(invalid='ignore', divide='ignore'):
            rays = np.where(rays[2] > 0, rays / rays[2], np.nan)
    result = np.ascontiguousarray(rays, dtype=np.float32)
    result.flags.writeable = False
    return result


@lru_cache(maxsize=64)
def _footprint(source: AbstractCamera, target: AbstractCamera) -> int:
    """Pixels a side, at the image's middle, that one pixel of the source covers in the target."""
    middle = np.array([(source.width - 1) / 2, (source.height - 1) / 2])
    rays = source.unproject(middle + np.array([[0, 0], [1, 0], [0, 1]]))
    uv, _ = target.project(rays)
    if not np.isfinite(uv).all():
        return 1
    spacing = float(np.abs(uv[1:] - uv[0]).max())
    # A tenth of a pixel more leaves a hole in ten rows and no harm.
    return int(np.clip(np.ceil(spacing - 0.1), 1, _MAX_FOOTPRINT_PX))
