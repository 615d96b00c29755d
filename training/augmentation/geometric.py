# SPDX-License-Identifier: Apache-2.0
"""Steps that move things: whatever they do to pixels they do to the pose, camera or grid too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    EquirectangularCamera,
    PanoramaCropCamera,
)
from geoloc_core.geometry.cameras.base import FocalCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch, PosePrior
from training.augmentation.step import Step
from training.datasets.sample import Sample

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RollPanorama(Step):
    """Turns the viewer of a panorama: columns move, and so does the yaw.

    Camera and base_link turn together about the camera's vertical axis; the mount stays. The
    prior turns with them, so that it is off by as much as before. Depth of a panorama is the
    distance along the ray (`GroundView`), which a turn leaves as it is. Pictures that are no whole
    circle are left alone.

    Attributes:
        half_turn_deg: Turns are uniform within plus or minus this, rounded to whole columns.
    """

    half_turn_deg: float = 180.0

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        self.require(0 <= self.half_turn_deg <= 180, 'half_turn_deg', '0..180')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        turn = np.radians(rng.uniform(-self.half_turn_deg, self.half_turn_deg))
        view = sample.view
        if not view.camera.wraps:
            return sample
        width = view.camera.width
        columns = round(float(angles.pano_roll_from_turn(turn, width)))
        # Content that moves right is a viewer who turns left, about optical -y, which is up.
        turn = float(angles.turn_from_pano_roll(columns, width))
        T_old_new = se3.make(se3.exp_rotation([0.0, -turn, 0.0]), np.zeros(3))
        T_base = view.T_base_camera @ T_old_new @ se3.inverse(view.T_base_camera)
        return replace(
            sample,
            view=replace(
                view,
                image=np.roll(view.image, columns, axis=1),
                depth=_each(view.depth, lambda a: np.roll(a, columns, axis=1)),
            ),
            view_classes=_each(sample.view_classes, lambda a: np.roll(a, columns, axis=1)),
            T_map_base=_each(sample.T_map_base, lambda T: T @ T_base),
            prior=sample.prior
            and replace(sample.prior, T_map_base=sample.prior.T_map_base @ T_base),
        )


@dataclass(frozen=True)
class ShiftPatch(Step):
    """Cuts the patch around another centre: the place lies elsewhere in it.

    The map frame and the pose stay; the patch's `Grid` moves by whole pixels. Where the new patch
    reaches past the old one it is black and its mask False. `other_patches` stay.

    Attributes:
        half_m: Shifts are uniform within plus or minus this, east and north, m.
        size_px: Side of the new patch, px; None for the size it had.
        prior_follows: Whether the prior moves along with the patch's centre (a method that is
            given the tile around its prior); its covariance grows by that of the shift.
    """

    half_m: float = 10.0
    size_px: int | None = None
    prior_follows: bool = False

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        self.require(self.half_m >= 0, 'half_m', 'metres, 0 or more')
        self.require(self.size_px is None or self.size_px >= 1, 'size_px', 'a size in pixels')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        shift_m = rng.uniform(-self.half_m, self.half_m, 2)
        if sample.patch is None:
            return sample
        grid = sample.patch.grid
        width, height = (self.size_px or grid.width), (self.size_px or grid.height)
        left, top = np.rint(
            [
                (grid.width - width) / 2 + shift_m[0] / grid.gsd,
                (grid.height - height) / 2 - shift_m[1] / grid.gsd,
            ]
        ).astype(int)
        patch, classes = _window(sample.patch, sample.patch_classes, left, top, width, height)
        prior = sample.prior
        if prior is not None and self.prior_follows:
            moved = np.subtract(patch.grid.center_xy, grid.center_xy)
            T, cov = prior.T_map_base.copy(), prior.cov.copy()
            T[:2, 3] += moved
            cov[:2, :2] += np.eye(2) * self.half_m**2 / 3
            prior = replace(prior, T_map_base=T, cov=cov)
        return replace(sample, patch=patch, patch_classes=classes, prior=prior)


@dataclass(frozen=True)
class TurnMap(Step):
    """Turns map, pose and prior together by a quarter, a half or three quarters of a circle.

    The world is the same, but north is elsewhere: the patch shows streets in new directions. The
    ground view stays as it is. The map frame is then no longer east-north-up at a datum, hence
    `datum` becomes None.
    """

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        return turn_map(sample, int(rng.integers(0, 4)))


def turn_map(sample: Sample, quarters: int) -> Sample:
    """A sample whose map frame content is turned by quarters of a circle, counter-clockwise."""
    quarters %= 4
    if quarters == 0 or sample.patch is None:
        return sample
    R = np.rint(se3.rotation_from_rpy(0.0, 0.0, quarters * np.pi / 2))
    T = se3.make(R, np.zeros(3))

    def turned_patch(patch: AerialPatch) -> AerialPatch:
        grid = patch.grid
        x, y = R[:2, :2] @ grid.center_xy
        sides = (grid.width, grid.height) if quarters == 2 else (grid.height, grid.width)
        return replace(
            patch,
            image=np.ascontiguousarray(np.rot90(patch.image, quarters)),
            mask=np.ascontiguousarray(np.rot90(patch.mask, quarters)),
            grid=Grid((float(x), float(y)), grid.gsd, *sides),
        )

    prior = sample.prior
    if prior is not None:
        prior = PosePrior(prior.stamp_ns, T @ prior.T_map_base, se3.rotate_cov(prior.cov, R))
    return replace(
        sample,
        T_map_base=_each(sample.T_map_base, lambda pose: T @ pose),
        cov=_each(sample.cov, lambda cov: se3.rotate_cov(cov, R)),
        patch=turned_patch(sample.patch),
        other_patches=tuple(turned_patch(patch) for patch in sample.other_patches),
        patch_classes=_each(
            sample.patch_classes, lambda a: np.ascontiguousarray(np.rot90(a, quarters))
        ),
        prior=prior,
        datum=None,
    )


@dataclass(frozen=True)
class CropView(Step):
    """Cuts a rectangle out of the ground view and resizes it; its camera follows.

    Depth and classes are taken from the nearest pixel, never mixed across an edge: a mean of
    metres or of class numbers means nothing.

    Attributes:
        scale: (least, most) side of the rectangle, as a part of the picture's, 0..1.
        size: (width, height) of the result, px; None for the rectangle's own size.
    """

    scale: tuple[float, float] = (0.7, 1.0)
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        good = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1
        self.require(good, 'scale', '(least, most), both within 0..1')
        good = self.size is None or (len(self.size) == 2 and min(self.size) >= 1)
        self.require(good, 'size', '(width, height) in pixels')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        side = rng.uniform(*self.scale)
        along, down = rng.uniform(0, 1, 2)
        camera = sample.view.camera
        width = max(1, round(camera.width * side))
        height = max(1, round(camera.height * side))
        left = round((camera.width - width) * along)
        top = round((camera.height - height) * down)
        sample = crop_view(sample, left, top, width, height)
        return sample if self.size is None else resize_view(sample, *self.size)


def crop_view(sample: Sample, left: int, top: int, width: int, height: int) -> Sample:
    """A sample whose ground view is a rectangle of the given one, with the camera of that."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    view = sample.view
    return replace(
        sample,
        view=replace(
            view,
            image=np.ascontiguousarray(view.image[rows, columns]),
            depth=_each(view.depth, lambda a: np.ascontiguousarray(a[rows, columns])),
            camera=_cropped(view.camera, left, top, width, height),
        ),
        view_classes=_each(sample.view_classes, lambda a: np.ascontiguousarray(a[rows, columns])),
    )


def resize_view(sample: Sample, width: int, height: int) -> Sample:
    """A sample whose ground view is resized, with the camera of that."""
    view = sample.view
    camera = view.camera
    if (width, height) == (camera.width, camera.height):
        return sample
    shrinks = width * height < camera.width * camera.height
    image = cv2.resize(
        np.ascontiguousarray(view.image),
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    # The pixel that contains each new pixel's centre.
    rows = ((np.arange(height) + 0.5) * camera.height / height).astype(int)[:, None]
    columns = ((np.arange(width) + 0.5) * camera.width / width).astype(int)
    return replace(
        sample,
        view=replace(
            view,
            image=image.astype(np.uint8, copy=False),
            depth=_each(view.depth, lambda a: a[rows, columns]),
            camera=camera.resized(width, height),
        ),
        view_classes=_each(sample.view_classes, lambda a: a[rows, columns]),
    )


def _cropped(
    camera: AbstractCamera, left: int, top: int, width: int, height: int
) -> AbstractCamera:
    if isinstance(camera, FocalCamera):
        return replace(camera, width=width, height=height, cx=camera.cx - left, cy=camera.cy - top)
    if isinstance(camera, EquirectangularCamera):
        camera = PanoramaCropCamera(camera.width, camera.height, camera.width, camera.height)
    if isinstance(camera, PanoramaCropCamera):
        return replace(
            camera, width=width, height=height, left=camera.left + left, top=camera.top + top
        )
    raise TypeError(f'no crop of a {type(camera).__name__} is known')


def _window(
    patch: AerialPatch,
    classes: NDArray[np.uint8] | None,
    left: int,
    top: int,
    width: int,
    height: int,
) -> tuple[AerialPatch, NDArray[np.uint8] | None]:
    """The piece of a patch whose first pixel is (left, top); black where there is none."""
    grid = patch.grid
    inside_u = slice(max(left, 0), max(min(left + width, grid.width), 0))
    inside_v = slice(max(top, 0), max(min(top + height, grid.height), 0))
    to_u = slice(inside_u.start - left, inside_u.stop - left)
    to_v = slice(inside_v.start - top, inside_v.stop - top)

    def cut(array: NDArray) -> NDArray:
        piece = np.zeros((height, width, *array.shape[2:]), array.dtype)
        if inside_u.stop > inside_u.start and inside_v.stop > inside_v.start:
            piece[to_v, to_u] = array[inside_v, inside_u]
        return piece

    x, y = grid.xy_from_uv([left + (width - 1) / 2, top + (height - 1) / 2])
    moved = AerialPatch(
        cut(patch.image),
        cut(patch.mask),
        Grid((float(x), float(y)), grid.gsd, width, height),
        patch.attribution,
    )
    return moved, _each(classes, cut)


def _each(value: NDArray | None, change: Callable[[NDArray], NDArray]) -> Any:
    """`change(value)`, or None for None."""
    return None if value is None else change(value)
