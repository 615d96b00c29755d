# SPDX-License-Identifier: Apache-2.0
"""Depth as a place map needs it: at features, and made small.

Convention: depth is z along the optical axis, m, NaN where invalid; for a panorama, or a piece of
one, the distance along the ray.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera, camera_kind

Floats = NDArray[np.float32]

# Depth that differs by more than this share (or this many m) belongs to another surface: at 70
# degrees of slant, 5 pixels of a common depth camera differ by some 3 %.
_OTHER_SURFACE = 0.05
_OTHER_SURFACE_M = 0.03
_WINDOW = 5
# Of the measured pixels around a feature, at least this share must be of its own surface: on an
# outline the feature belongs to one surface and the depth under it to another.
_OWN_SHARE = 0.7
_MIN_PIXELS = 8
_SMALL_WIDTH = 160
_MAX_MM = 65534


def points_at(
    xy: ArrayLike, depth: NDArray, camera: AbstractCamera, T_place_camera: ArrayLike
) -> Floats:
    """Points in space of features: a plane is laid through the depth around each.

    On a plane the inverse of z is linear in the pixel, for a pinhole exactly; fitting it averages
    the noise of some twenty pixels and gives the depth at a fraction of a pixel.

    Args:
        xy: (N, 2) px.
        depth: (H, W), m, of the same picture.
        camera: Of the picture.
        T_place_camera: (4, 4).

    Returns:
        (N, 3) float32 m, place frame; NaN where too little was measured, or at an outline.
    """
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    points = np.full((len(xy), 3), np.nan, np.float32)
    if not len(xy):
        return points
    half = _WINDOW // 2
    nearest = np.rint(xy).astype(np.int64)
    # A frame of NaN, so that windows at the rim need no rule of their own.
    padded = np.pad(np.asarray(depth, np.float64), half, constant_values=np.nan)
    step = np.arange(_WINDOW)
    rows = np.clip(nearest[:, 1], 0, depth.shape[0] - 1)[:, None, None] + step[:, None]
    cols = np.clip(nearest[:, 0], 0, depth.shape[1] - 1)[:, None, None] + step
    around = padded[rows, cols].reshape(len(xy), -1)
    du = (cols - half - xy[:, 0, None, None] + 0 * rows).reshape(len(xy), -1)
    dv = (rows - half - xy[:, 1, None, None] + 0 * cols).reshape(len(xy), -1)
    measured = np.isfinite(around) & (around > 0)
    # The measured pixel next to the feature says which surface is meant.
    beside = np.where(measured, du**2 + dv**2, np.inf)
    first = np.argmin(beside, axis=1)[:, None]
    own = np.take_along_axis(around, first, axis=1)
    with np.errstate(invalid='ignore'):
        limit = np.maximum(_OTHER_SURFACE_M, _OTHER_SURFACE * own)
        same = measured & (np.abs(around - own) <= limit)
    count = same.sum(axis=1)
    good = (
        (np.take_along_axis(beside, first, axis=1)[:, 0] <= 2.0)
        & (count >= _MIN_PIXELS)
        & (count >= _OWN_SHARE * measured.sum(axis=1))
    )
    z = np.full(len(xy), np.nan)
    z[good] = _plane_depth(du[good], dv[good], around[good], same[good])
    rays = camera.unproject(xy)
    if camera_kind(camera) != 'equirectangular':
        with np.errstate(invalid='ignore', divide='ignore'):
            rays = np.where(rays[:, 2:] > 0, rays / rays[:, 2:], np.nan)
    points[:] = se3.transform(T_place_camera, rays * z[:, None])
    points[~np.isfinite(points).all(axis=1)] = np.nan
    return points


def shrink(depth: NDArray) -> NDArray[np.uint16]:
    """A small picture of depth, without the mixtures that lie on outlines.

    Args:
        depth: (H, W), m.

    Returns:
        (h, w) uint16 mm, about 160 columns: the median of the 4 x 4 pixels around each centre;
        0 where fewer than half of them are measured or they belong to two surfaces. Pixel edges
        of both are the same, as `AbstractCamera.resized` takes for granted.
    """
    height, width = depth.shape
    w = min(width, _SMALL_WIDTH)
    h = max(1, round(height * w / width))
    window = np.arange(4) - 1
    rows = np.floor((np.arange(h) + 0.5) * height / h - 0.5).astype(np.int64)
    cols = np.floor((np.arange(w) + 0.5) * width / w - 0.5).astype(np.int64)
    if (h, w) == (height, width):
        window = np.zeros(1, np.int64)
    rows = np.clip(rows[:, None] + window, 0, height - 1)
    cols = np.clip(cols[:, None] + window, 0, width - 1)
    block = depth[rows[:, None, :, None], cols[None, :, None, :]].reshape(h, w, -1)
    with np.errstate(invalid='ignore'):
        block = np.where(np.isfinite(block) & (block > 0), block, np.nan).astype(np.float64)
    block.sort(axis=-1)  # NaN goes last
    count = np.isfinite(block).sum(axis=-1)
    last = np.maximum(count - 1, 0)
    low = block[..., 0]
    middle = np.take_along_axis(block, last[..., None] // 2, axis=-1)[..., 0]
    high = np.take_along_axis(block, last[..., None], axis=-1)[..., 0]
    with np.errstate(invalid='ignore'):
        one = high - low <= np.maximum(_OTHER_SURFACE_M, _OTHER_SURFACE * middle)
        good = (2 * count >= block.shape[-1]) & one & (middle * 1e3 <= _MAX_MM)
    return np.where(good, np.rint(np.nan_to_num(middle) * 1e3), 0).astype(np.uint16)


def _plane_depth(du: NDArray, dv: NDArray, depth: NDArray, same: NDArray) -> NDArray[np.float64]:
    """Depth at du = dv = 0 of planes through (N, 25) pixels, by least squares in inverse depth."""
    w = same.astype(np.float64)
    A = np.stack([np.ones_like(du), du, dv], axis=-1) * w[..., None]
    b = np.where(same, 1.0 / np.where(same, depth, 1.0), 0.0)
    normal = np.einsum('nki,nkj->nij', A, A)
    # Where all pixels lie in one row the slope across it is unknown: a little of zero decides.
    normal[:, 1, 1] += 1e-3
    normal[:, 2, 2] += 1e-3
    solved = np.linalg.solve(normal, np.einsum('nki,nk->ni', A, b)[..., None])[:, 0, 0]
    z: NDArray[np.float64] = 1.0 / solved
    # A plane seen from its edge says nothing: keep to what was measured.
    low = np.where(same, depth, np.inf).min(axis=1)
    high = np.where(same, depth, -np.inf).max(axis=1)
    return np.clip(np.where(np.isfinite(z), z, low), low, high)
