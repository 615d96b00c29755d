# SPDX-License-Identifier: Apache-2.0
"""New viewpoints of a mapped place: what a camera beside the real one would have seen.

A regressor knows the poses it was shown and little between them, and maps are often walked along
one line. Where there is depth, every picture can be seen from its neighbourhood as well.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.registration import register_depth
from geoloc_core.types import GroundView
from training.augmentation.step import Step
from training.datasets.sample import Sample

Array = NDArray[np.float64]

# A pixel of the real picture shows the point that is wanted if its own depth agrees to this share;
# else something nearer hides it.
_AGREES = 0.05
# A side more than the widest crack that is closed, px; things this thin are closed with them.
_CRACK_PX = 3
_NOWHERE = 1e6


@dataclass(frozen=True)
class MoveViewpoint(Step):
    """Moves the camera a little, and shows what it would see from there, with its true pose.

    Colour is carried by depth; pixels without one keep the colour of their direction, as if far
    away, and have no depth in the new view either. What the real camera could not see because
    something hid it has no depth, and noise for a colour: nothing is invented that could be
    learned. A view without depth is turned only. Parts outside the real picture are black.

    Attributes:
        half_m: (right, down, forward) the camera moves uniformly within plus or minus these, m.
        half_deg: (pitch, yaw, roll) of the camera, likewise, about its own x, y and z axes.
        least_known: Part of the new picture, 0..1, that the real one must show; a draw that shows
            less is halved until it does.
    """

    half_m: tuple[float, float, float] = (0.15, 0.08, 0.15)
    half_deg: tuple[float, float, float] = (5.0, 10.0, 5.0)
    least_known: float = 0.6

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        for name, most in (('half_m', 10.0), ('half_deg', 60.0)):
            value = getattr(self, name)
            good = len(value) == 3 and all(0 <= v <= most for v in value)
            self.require(good, name, f'three numbers of 0..{most:g}')
        self.require(0 <= self.least_known <= 1, 'least_known', 'a part, 0..1')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        moved_m = rng.uniform(-1, 1, 3) * self.half_m
        turned = np.radians(rng.uniform(-1, 1, 3) * self.half_deg)
        noise = int(rng.integers(0, 2**32))
        if sample.view.camera.wraps or sample.view_classes is not None:
            # A panorama turns by `roll_panorama`; classes have no colour to be carried by.
            return sample
        if sample.view.depth is None:
            moved_m = np.zeros(3)
        for _ in range(4):
            T = se3.make(se3.exp_rotation(turned), moved_m)
            view, known = seen_from(sample.view, T, noise)
            if known >= self.least_known:
                return _at(sample, view, T)
            moved_m, turned = moved_m / 2, turned / 2
        return sample


def seen_from(view: GroundView, T_camera_moved: Array, noise: int = 0) -> tuple[GroundView, float]:
    """A view as the same camera would have had it from another pose.

    Args:
        view: Of any camera but a panorama.
        T_camera_moved: (4, 4) optical frame of the moved camera -> of the real one.
        noise: Seed of the colour of what was hidden.

    Returns:
        The new view, its mount unchanged; and which part of it, 0..1, the real one showed.
    """
    seen = warp(view, T_camera_moved, view.camera)
    image = seen.image.copy()
    generator = np.random.default_rng(noise)
    image[seen.hidden] = generator.integers(0, 256, (int(seen.hidden.sum()), 3), dtype=np.uint8)
    new = replace(view, image=image, depth=None if view.depth is None else seen.depth)
    return new, float(seen.shown.mean())


@dataclass(frozen=True)
class Warp:
    """What one picture shows of what another pose would see.

    Attributes:
        image: (H, W, 3) uint8, black outside of the real picture.
        depth: (H, W) float32 m from the new pose, NaN where unknown.
        shown: (H, W) bool, where the colour is true, as far as the real picture can tell: of a
            surface that is looked at from behind it tells the front.
        hidden: (H, W) bool, what something hid from the real camera.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    shown: NDArray[np.bool_]
    hidden: NDArray[np.bool_]


def warp(view: GroundView, T_camera_moved: Array, moved_camera: AbstractCamera) -> Warp:
    """Carries a picture through its depth to a camera elsewhere.

    Args:
        view: Of any camera but a panorama.
        T_camera_moved: (4, 4) optical frame of the moved camera -> of the real one.
        moved_camera: Any but a panorama; its size is that of what comes.
    """
    camera = view.camera
    depth = np.full(view.image.shape[:2], np.nan, np.float32) if view.depth is None else view.depth
    moved = register_depth(depth, camera, moved_camera, se3.inverse(T_camera_moved))
    moved = _closed(moved)
    far = ~np.isfinite(moved)
    rays = _rays(moved_camera)
    # A direction in place of a point: its own picture is what it would be from far away.
    points = rays * np.where(far, np.float32(1.0), moved)[..., None]
    T = T_camera_moved.astype(np.float32)
    in_camera = (
        points @ T[:3, :3].T + np.where(far, np.float32(0), np.float32(1))[..., None] * (T[:3, 3])
    )
    u, v, valid = camera.project_xyz(in_camera[..., 0], in_camera[..., 1], in_camera[..., 2])
    inside = valid & (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    u, v = (np.where(inside, a, -10.0).astype(np.float32) for a in (u, v))
    there = cv2.remap(depth, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT,
                      borderValue=float('nan'))  # fmt: skip
    with np.errstate(invalid='ignore'):
        differs = np.abs(there - in_camera[..., 2]) > _AGREES * in_camera[..., 2]
    # Of a pixel without depth it is not known whether the surface before it hides its direction.
    hidden = inside & np.where(far, np.isfinite(there) & np.isfinite(depth).any(), differs)
    image = cv2.remap(view.image, u.clip(-10, camera.width - 1), v.clip(-10, camera.height - 1),
                      cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    image[~inside] = 0
    shown = inside & ~hidden
    return Warp(
        image, np.where(shown, moved, np.float32(np.nan)).astype(np.float32), shown, hidden
    )


def _at(sample: Sample, view: GroundView, T_camera_moved: Array) -> Sample:
    """A sample whose camera, and base_link with it, stands elsewhere."""
    mount = view.T_base_camera
    T_map_base = sample.T_map_base
    if T_map_base is not None:
        T_map_base = T_map_base @ mount @ T_camera_moved @ se3.inverse(mount)
    return replace(sample, view=view, T_map_base=T_map_base)


@lru_cache(maxsize=16)
def _rays(camera: AbstractCamera) -> NDArray[np.float32]:
    """(H, W, 3) of z = 1."""
    rays = camera.rays()
    with np.errstate(invalid='ignore', divide='ignore'):
        result = np.where(rays[..., 2:] > 0, rays / rays[..., 2:], np.nan).astype(np.float32)
    result.flags.writeable = False
    return result


def _closed(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Closes the cracks of a forward warp, through which one sees what lies behind, or nothing.

    A surface that is nearer now than it was has fewer points than pixels. What is both further
    away and thinner than a step of the grid is such a crack, and takes its neighbours' depth.
    """
    unknown = ~np.isfinite(depth)
    known = np.where(unknown, np.float32(_NOWHERE), depth)
    kernel = np.ones((_CRACK_PX, _CRACK_PX), np.uint8)
    # Grey-scale opening: the least of all, then the most of that, leaves no thin far thing.
    opened = cv2.morphologyEx(known, cv2.MORPH_OPEN, kernel)
    cracked = (known > (1.0 + _AGREES) * opened) & (opened < _NOWHERE)
    made = np.where(cracked, opened, known)
    return np.where(made < _NOWHERE, made, np.float32(np.nan)).astype(np.float32)
