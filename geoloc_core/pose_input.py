# SPDX-License-Identifier: Apache-2.0
"""One RGB-D frame -> what a pose network is fed: the same lines for a robot and for training."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    EquirectangularCamera,
    PanoramaCropCamera,
    PinholeCamera,
)
from geoloc_core.geometry.lookup import camera_lookup, Lookup
from geoloc_core.pose_spec import PoseInputSpec
from geoloc_core.preprocess import normalised
from geoloc_core.types import Array, GroundView

# A frame with less content than this in it counts as one without: nothing can be told from it.
_MIN_SHARE = 0.02
# Grey levels; a picture that reaches no higher was taken with the lens covered, or not at all.
_BLACK = 8


@dataclass(frozen=True)
class IdealView:
    """A frame as the ideal camera of a `PoseInputSpec` would have taken it.

    Attributes:
        image: (H, W, 3) uint8 RGB, black where the real camera did not look.
        mask: (H, W) bool, where it did.
        depth: (H, W) float32 m along the ideal camera's axis, NaN where unknown.
        R_camera_ideal: (3, 3) axes of the ideal camera -> of the real one, optical frames.
        available: Whether there is a picture, and depth, to speak of.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    depth: NDArray[np.float32]
    R_camera_ideal: Array
    available: tuple[bool, bool]


def ideal_camera(spec: PoseInputSpec) -> PinholeCamera:
    """The camera that a network takes all its pictures to be from."""
    width, height = spec.colour.width, spec.colour.height
    middle = (width - 1) / 2, (height - 1) / 2
    return PinholeCamera(width, height, spec.focal_px, spec.focal_px, *middle)


def ideal_view(view: GroundView, spec: PoseInputSpec) -> IdealView:
    """Warps a frame to the ideal camera, which looks where the middle of the picture does.

    The two cameras have one centre, so the warp is exact for colour and depth alike; depth is
    taken from the nearest pixel, never mixed across an edge.

    Args:
        view: Any camera; depth registered to colour, or None.
        spec: What the network is fed.
    """
    target = ideal_camera(spec)
    R = _towards_middle(view.camera)
    lookup = _picture_table(view.camera, target)
    image, mask = lookup.read(view.image), lookup.mask
    depth = np.full(mask.shape, np.nan, np.float32)
    if view.depth is not None:
        rows, columns, scale = _depth_table(view.camera, target)
        depth = np.where(mask, view.depth[rows, columns] * scale, np.float32(np.nan))
        with np.errstate(invalid='ignore'):
            depth[~((depth > 0) & (depth <= spec.depth.max_m))] = np.nan
    seen = bool(mask.mean() >= _MIN_SHARE and image.max() > _BLACK)
    measured = bool(np.isfinite(depth).mean() >= _MIN_SHARE)
    return IdealView(image, mask, depth, R, (seen, measured))


def network_arrays(ideal: IdealView, spec: PoseInputSpec) -> dict[str, NDArray[np.float32]]:
    """Inputs of a bundle's graph by name, for one frame.

    Args:
        ideal: From `ideal_view`.
        spec: What the network is fed.

    Returns:
        Colour (1, 3 or 4, H, W), depth (1, 2, H, W), and what is present (1, 2).
    """
    known = np.isfinite(ideal.depth)
    metres = np.where(known, ideal.depth, spec.depth.mean_m)
    scaled = (metres - np.float32(spec.depth.mean_m)) / np.float32(spec.depth.std_m)
    depth = np.stack([scaled.astype(np.float32), known.astype(np.float32)])[None]
    present = np.array([ideal.available], np.float32)
    colour = normalised(ideal.image, ideal.mask, spec.colour)
    return {spec.colour.name: colour, spec.depth.name: depth, spec.present: present}


def ideal_pose(T_map_camera: Array, ideal: IdealView) -> Array:
    """T_map_ideal (4, 4) of a real camera's pose (4, 4)."""
    return T_map_camera @ se3.make(ideal.R_camera_ideal, np.zeros(3))


@lru_cache(maxsize=16)
def _towards_middle(camera: AbstractCamera) -> Array:
    """The least turn (3, 3) after which the axis goes through the picture's middle."""
    middle = np.array([[(camera.width - 1) / 2, (camera.height - 1) / 2]])
    ray = camera.unproject(middle)[0]
    ray = ray / np.linalg.norm(ray)
    axis = np.array([-ray[1], ray[0], 0.0])
    length = float(np.linalg.norm(axis))
    if not np.isfinite(length) or length < 1e-12:
        # No ray there, or straight ahead already.
        return np.eye(3)
    R = se3.exp_rotation(axis / length * np.arctan2(length, ray[2]))
    R.flags.writeable = False
    return R


@lru_cache(maxsize=16)
def _picture_table(camera: AbstractCamera, target: PinholeCamera) -> Lookup:
    """Where each pixel of the ideal camera lies in the real one's picture."""
    return camera_lookup(camera, target, _towards_middle(camera))


@lru_cache(maxsize=16)
def _depth_table(
    camera: AbstractCamera, target: PinholeCamera
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each pixel of the ideal camera: row, column of the real one, and depth's factor."""
    rays = target.rays()
    rays = rays / rays[..., 2:]
    turned = rays @ _towards_middle(camera).T
    u, v, valid = camera.project_xyz(turned[..., 0], turned[..., 1], turned[..., 2])
    good = valid & np.isfinite(u) & np.isfinite(v)
    columns = np.rint(np.where(good, u, 0.0)).clip(0, camera.width - 1).astype(np.intp)
    rows = np.rint(np.where(good, v, 0.0)).clip(0, camera.height - 1).astype(np.intp)
    # A point at real depth d lies on the ideal camera's ray at d / (z of that ray, real axes);
    # of a panorama, whose depth is counted along the ray, at d / (length of that ray).
    spherical = isinstance(camera, (EquirectangularCamera, PanoramaCropCamera))
    z = np.linalg.norm(turned, axis=-1) if spherical else turned[..., 2]
    z = np.where(good & (z > 1e-6), z, np.nan)
    return rows, columns, (1.0 / z).astype(np.float32)
