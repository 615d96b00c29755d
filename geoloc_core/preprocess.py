# SPDX-License-Identifier: Apache-2.0
"""Pictures -> what a network is fed: the same lines for a robot's frames and for training.

Two things are made: a view (on the ground, from above or by direction and distance, or a picture
as a level camera would take it) and a patch of the map around the prior. Which of the two is
turned by the prior's yaw is said by `InputSpec.turned`; `PatchFrame` keeps the books, so that a
network's answer becomes a pose.
"""

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import AbstractCamera, EquirectangularCamera, PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.grid_cut import cut_of, GridCut
from geoloc_core.geometry.ground_plane import check_size, GroundProjector, T_ground_camera
from geoloc_core.geometry.lookup import camera_lookup, Lookup
from geoloc_core.geometry.polar_grid import PolarGrid
from geoloc_core.input_spec import CameraSpec, InputSpec, PolarSpec, RasterSpec
from geoloc_core.types import AerialPatch, Array, GroundView

# (H, W, 3) uint8 and (H, W) bool.
Image = NDArray
Mask = NDArray

NORTH = math.pi / 2
# A level, forward-looking camera in base_link axes: z forward, x right, y down.
# Turns of the camera that a table may ignore, as `GroundProjector` has it, rad.
_SAME_RAD = 1e-4
_R_BASE_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class PatchFrame:
    """Where a network's answers are counted from.

    Convention: the frame's origin is the patch's middle, x to the patch's right, y up the patch.
    A pose in it is (x, y, yaw offset from the prior's yaw).

    Attributes:
        center_xy: (x, y) of the origin, m, map frame.
        turn: Direction of the frame's x axis in the map, rad; 0 for a north-up patch.
        prior_yaw: Yaw that offsets are counted from, rad; 0 if the network answers from east.
    """

    center_xy: tuple[float, float]
    turn: float
    prior_yaw: float

    def local(self, pose: Array) -> Array:
        """(x, y, yaw offset) of a pose (x, y, yaw) in the map frame."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        dx, dy = pose[0] - self.center_xy[0], pose[1] - self.center_xy[1]
        offset = float(angles.wrap(pose[2] - self.prior_yaw))
        return np.array([c * dx + s * dy, -s * dx + c * dy, offset])

    def to_map(self, local: Array) -> Array:
        """(x, y, yaw) in the map frame of a pose in this one; the inverse of `local`."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        x = self.center_xy[0] + c * local[0] - s * local[1]
        y = self.center_xy[1] + s * local[0] + c * local[1]
        return np.array([x, y, float(angles.wrap(local[2] + self.prior_yaw))])


def patch_frame(spec: InputSpec, prior: tuple[float, float, float]) -> PatchFrame:
    """The frame of the patch around a prior (x, y, yaw)."""
    x, y, yaw = prior
    return PatchFrame(
        (x, y),
        yaw if spec.turned == 'patch' else 0.0,
        0.0 if spec.turned == 'none' else yaw,
    )


class Preprocessor:
    """Makes the inputs of one network; keeps the tables of the camera it saw last.

    Convention: roll and pitch are REP-103's (positive pitch is nose down), as everywhere.
    """

    def __init__(
        self, spec: InputSpec, base_height_m: float = 0.0, supersampling: int = 1
    ) -> None:
        """Prepares for a network.

        Args:
            spec: What the network is fed.
            base_height_m: Height of base_link's origin over the ground.
            supersampling: Of views on the ground, see `GroundProjector`.
        """
        self.spec = spec
        self._base_height_m = base_height_m
        self._supersampling = supersampling
        self._projectors: list[GroundProjector] = []
        self._level = None if spec.camera is None else level_camera(spec.camera, spec.view)
        self._kept: tuple[AbstractCamera, Array, Lookup] | None = None

    def view(
        self, view: GroundView, roll: float, pitch: float, prior_yaw: float
    ) -> tuple[Image, Mask]:
        """The view as the network wants it, (H, W, 3) RGB, and where it has content (H, W).

        A view on several planes has three channels for each.

        Args:
            view: What the camera saw.
            roll: Of the robot, rad.
            pitch: Of the robot, rad.
            prior_yaw: rad, map frame; used if the view is to be turned.
        """
        if self.spec.camera is None:
            check_size(view.image, view.camera)
        lookups = self.lookups(view.camera, view.T_base_camera, roll, pitch, prior_yaw)
        ground, *above = [lookup.read(view.image) for lookup in lookups]
        filled = [
            np.where(lookup.mask[..., None], image, self.neutral)
            for image, lookup in zip(above, lookups[1:], strict=True)
        ]
        mask = lookups[0].mask
        return np.concatenate([ground, *filled], axis=-1) if filled else ground, mask

    def lookups(
        self,
        camera: AbstractCamera,
        T_base_camera: Array,
        roll: float,
        pitch: float,
        prior_yaw: float,
    ) -> list[Lookup]:
        """How the view is read out of a picture: for each plane, the ground (or all of it) first.

        While the pose of the camera hardly changes, they stay the same objects.

        Args:
            camera: That takes the picture.
            T_base_camera: (4, 4) its optical frame -> base_link.
            roll: Of the robot, rad.
            pitch: Of the robot, rad.
            prior_yaw: rad, map frame; used if the view is to be turned.
        """
        turn = prior_yaw if self.spec.turned == 'view' else None
        if self.spec.camera is None:
            turn = 0.0 if turn is None else turn
            return self._on_ground(camera, T_base_camera, roll, pitch, turn)
        turn = 0.0 if turn is None else turn - NORTH
        return [self._picture(camera, T_base_camera, roll, pitch, turn)]

    @property
    def neutral(self) -> NDArray[np.uint8]:
        """(3,) RGB that becomes 0 when it is normalised: what upper planes do not see."""
        return np.rint(255 * np.array(self.spec.view.mean)).astype(np.uint8)

    def patch(self, patch: AerialPatch, frame: PatchFrame) -> tuple[Image, Mask]:
        """The patch as the network wants it, (H, W, 3) RGB, and where the map has imagery."""
        cut = self.cut(patch.grid, frame)
        return (patch.image, patch.mask) if cut is None else cut.read(patch.image, patch.mask)

    def cut(self, grid: Grid, frame: PatchFrame) -> GridCut | None:
        """How the patch is read out of imagery on a grid; None if that is just what is wanted."""
        size = (self.spec.patch.width, self.spec.patch.height)
        return cut_of(grid, frame.center_xy, frame.turn, self.spec.patch_gsd, size)

    def ground_m2(self, mask: Mask) -> float:
        """How much ground a view on the ground shows; infinite for a picture.

        Args:
            mask: Of that view, see `view`.
        """
        if self.spec.bev is not None:
            return float(mask.sum()) * self.spec.bev.gsd**2
        if self.spec.polar is not None:
            return float((mask * self._polar_grid(self.spec.polar).areas()).sum())
        return math.inf

    def _on_ground(
        self, camera: AbstractCamera, T_base_camera: Array, roll: float, pitch: float, turn: float
    ) -> list[Lookup]:
        if not self._projectors or self._projectors[0].camera != camera:
            self._projectors = self._projectors_for(camera)
        pose = T_ground_camera(T_base_camera, roll, pitch, self._base_height_m)
        pose = se3.from_planar(0.0, 0.0, turn) @ pose
        return [projector.lookup(pose) for projector in self._projectors]

    def _projectors_for(self, camera: AbstractCamera) -> list[GroundProjector]:
        """One for each plane that the picture is laid on, the ground first."""
        bev, polar, raster = self.spec.bev, self.spec.polar, self.spec.view
        n = self._supersampling
        if bev is not None:
            grid = Grid(bev.center_xy, bev.gsd, raster.width, raster.height)
            return [GroundProjector(camera, grid, supersampling=n)]
        assert polar is not None
        rings = self._polar_grid(polar)
        return [
            GroundProjector(camera, rings, supersampling=n, height_m=height)
            for height in polar.heights_m
        ]

    def _polar_grid(self, polar: PolarSpec) -> PolarGrid:
        return PolarGrid(polar.near_m, polar.far_m, self.spec.view.width, self.spec.view.height)

    def _picture(
        self, camera: AbstractCamera, T_base_camera: Array, roll: float, pitch: float, turn: float
    ) -> Lookup:
        """What the level camera would see, looking `turn` to the right of straight ahead."""
        assert self._level is not None
        R_level_camera = (
            se3.from_xyz_rpy(0.0, 0.0, 0.0, roll, pitch, 0.0)[:3, :3] @ T_base_camera[:3, :3]
        )
        # Rays of the wanted camera, level axes, turned clockwise by `turn`.
        R_turned = se3.from_planar(0.0, 0.0, -turn)[:3, :3] @ _R_BASE_OPTICAL
        R_camera_wanted = R_level_camera.T @ R_turned
        kept = self._kept
        # Compared with the pose it was made for, so that errors do not add up.
        if (
            kept is None
            or kept[0] != camera
            or np.abs(kept[1] - R_camera_wanted).max() > _SAME_RAD
        ):
            lookup = camera_lookup(camera, self._level, R_camera_wanted)
            self._kept = kept = (camera, R_camera_wanted, lookup)
        return kept[2]


def level_camera(spec: CameraSpec, view: RasterSpec) -> AbstractCamera:
    """The camera that a network takes pictures to be from."""
    if spec.kind == 'equirectangular':
        return EquirectangularCamera(view.width, view.height)
    assert spec.focal_px is not None and spec.center_px is not None
    return PinholeCamera(view.width, view.height, *spec.focal_px, *spec.center_px)


def cut_patch(
    patch: AerialPatch, frame: PatchFrame, gsd: float, size: tuple[int, int]
) -> tuple[Image, Mask]:
    """A piece of an aerial patch, at another scale and turned.

    Args:
        patch: North-up imagery.
        frame: Its origin is the new patch's middle, its x axis the new patch's right.
        gsd: m/px wanted.
        size: (width, height) px wanted.

    Returns:
        (height, width, 3) RGB, black outside the old patch; and where there is imagery.
    """
    cut = cut_of(patch.grid, frame.center_xy, frame.turn, gsd, size)
    return (patch.image, patch.mask) if cut is None else cut.read(patch.image, patch.mask)


def normalised(image: Image, mask: Mask, spec: RasterSpec) -> NDArray[np.float32]:
    """A network's input (1, C, H, W) float32 from (H, W, 3) uint8 RGB; 0 outside the mask.

    Several planes have three channels each.
    """
    mean, std = (np.tile(np.array(v, np.float32), spec.planes) for v in (spec.mean, spec.std))
    scaled = (image.astype(np.float32) / np.float32(255.0) - mean) / std
    scaled[~mask] = 0.0
    if spec.with_mask:
        scaled = np.concatenate([scaled, mask[..., None].astype(np.float32)], axis=-1)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, 0)[None])
