# SPDX-License-Identifier: Apache-2.0
"""Pictures -> what a network is fed: the same lines for a robot's frames and for training.

Two things are made: a view (on the ground, from above or by direction and distance, or a picture
as a level camera would take it) and a patch of the map around the prior. Which of the two is
turned by the prior's yaw is said by `InputSpec.turned`; `PatchFrame` keeps the books, so that a
network's answer becomes a pose.
"""

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import AbstractCamera, EquirectangularCamera, PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import GroundProjector, T_ground_camera
from geoloc_core.geometry.polar_grid import PolarGrid
from geoloc_core.input_spec import CameraSpec, InputSpec, PolarSpec, RasterSpec
from geoloc_core.types import AerialPatch, Array, GroundView

# (H, W, 3) uint8 and (H, W) bool.
Image = NDArray
Mask = NDArray

NORTH = math.pi / 2
# A level, forward-looking camera in base_link axes: z forward, x right, y down.
_R_BASE_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
# Shrinking by less than this is left to bilinear sampling.
_SHRINK = 1.5


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
        turn = prior_yaw if self.spec.turned == 'view' else None
        if self.spec.camera is None:
            return self._on_ground(view, roll, pitch, 0.0 if turn is None else turn)
        return self._picture(view, roll, pitch, 0.0 if turn is None else turn - NORTH)

    def patch(self, patch: AerialPatch, frame: PatchFrame) -> tuple[Image, Mask]:
        """The patch as the network wants it, (H, W, 3) RGB, and where the map has imagery."""
        raster = self.spec.patch
        size = (raster.width, raster.height)
        return cut_patch(patch, frame, self.spec.patch_gsd, size)

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
        self, view: GroundView, roll: float, pitch: float, turn: float
    ) -> tuple[Image, Mask]:
        if not self._projectors or self._projectors[0].camera != view.camera:
            self._projectors = self._projectors_for(view.camera)
        pose = T_ground_camera(view.T_base_camera, roll, pitch, self._base_height_m)
        pose = se3.from_planar(0.0, 0.0, turn) @ pose
        (ground, mask), *above = [p.look(view.image, pose) for p in self._projectors]
        # What becomes 0 when it is normalised.
        neutral = np.rint(255 * np.array(self.spec.view.mean)).astype(np.uint8)
        filled = [np.where(seen[..., None], image, neutral) for image, seen in above]
        return np.concatenate([ground, *filled], axis=-1) if filled else ground, mask

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
        self, view: GroundView, roll: float, pitch: float, turn: float
    ) -> tuple[Image, Mask]:
        """What the level camera would see, looking `turn` to the right of straight ahead."""
        assert self._level is not None
        R_level_camera = (
            se3.from_xyz_rpy(0.0, 0.0, 0.0, roll, pitch, 0.0)[:3, :3] @ view.T_base_camera[:3, :3]
        )
        # Rays of the wanted camera, level axes, turned clockwise by `turn`.
        R_turned = se3.from_planar(0.0, 0.0, -turn)[:3, :3] @ _R_BASE_OPTICAL
        return warp_camera(view.image, view.camera, self._level, R_level_camera.T @ R_turned)


def level_camera(spec: CameraSpec, view: RasterSpec) -> AbstractCamera:
    """The camera that a network takes pictures to be from."""
    if spec.kind == 'equirectangular':
        return EquirectangularCamera(view.width, view.height)
    assert spec.focal_px is not None and spec.center_px is not None
    return PinholeCamera(view.width, view.height, *spec.focal_px, *spec.center_px)


def warp_camera(
    image: Image, camera: AbstractCamera, wanted: AbstractCamera, R_camera_wanted: Array
) -> tuple[Image, Mask]:
    """A picture as another camera at the same place would take it.

    Args:
        image: (H, W, 3) of `camera`.
        camera: That took it.
        wanted: That shall have taken it.
        R_camera_wanted: (3, 3) rotation, optical axes of `wanted` -> of `camera`.

    Returns:
        (wanted.height, wanted.width, 3), black where `camera` did not look; and where it did.
    """
    ratio = _px_per_rad(camera) / _px_per_rad(wanted)
    if ratio > _SHRINK:
        size = (round(camera.width / ratio), round(camera.height / ratio))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        camera = camera.resized(*size)
    rays = wanted.rays().astype(np.float32) @ R_camera_wanted.T.astype(np.float32)
    u, v, valid = camera.project_xyz(rays[..., 0], rays[..., 1], rays[..., 2])
    valid = valid & np.isfinite(u) & np.isfinite(v)
    u = np.where(valid, u, -10.0).astype(np.float32)
    v = np.where(valid, np.clip(v, 0, camera.height - 1), -10.0).astype(np.float32)
    if camera.wraps:
        # One column more on either side joins the seam; BORDER_WRAP would also wrap the poles.
        image = np.concatenate([image[:, -1:], image, image[:, :1]], axis=1)
        u = np.where(valid, u + 1.0, -10.0).astype(np.float32)
    else:
        u = np.where(valid, np.clip(u, 0, camera.width - 1), -10.0).astype(np.float32)
    out = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return out, valid


def _px_per_rad(camera: AbstractCamera) -> float:
    """Pixels a radian in the middle of the picture, along the coarser axis."""
    middle = (camera.width - 1) / 2, (camera.height - 1) / 2
    uv = np.array([middle, (middle[0] + 1, middle[1]), (middle[0], middle[1] + 1)])
    rays = camera.unproject(uv)
    steps = np.linalg.norm(rays[1:] - rays[0], axis=1)
    return float(1.0 / steps.max())


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
    image: Image = patch.image
    mask: Mask = patch.mask
    grid = patch.grid
    wanted = Grid(frame.center_xy, gsd, *size)
    if frame.turn == 0.0 and wanted == grid:
        return image, mask
    factor = int(gsd / grid.gsd)
    if gsd / grid.gsd > _SHRINK:
        # Whole factors keep pixel borders, and with them the grid's middle, where they were.
        factor = max(factor, 2)
        width, height = grid.width // factor, grid.height // factor
        box = (slice(0, height * factor), slice(0, width * factor))
        corner = grid.xy_from_uv(((width * factor - 1) / 2, (height * factor - 1) / 2))
        image = cv2.resize(
            np.ascontiguousarray(image[box]), (width, height), interpolation=cv2.INTER_AREA
        )
        # A shrunken pixel counts as known if all that it mixes is.
        mask = np.asarray(mask[box].reshape(height, factor, width, factor).all(axis=(1, 3)))
        grid = Grid((float(corner[0]), float(corner[1])), grid.gsd * factor, width, height)
    # Three corners of the wanted patch, in pixels of the old one.
    corners = np.array([[0.0, 0.0], [size[0] - 1.0, 0.0], [0.0, size[1] - 1.0]])
    local = (corners - [(size[0] - 1) / 2, (size[1] - 1) / 2]) * [gsd, -gsd]
    c, s = math.cos(frame.turn), math.sin(frame.turn)
    world = local @ np.array([[c, s], [-s, c]]) + frame.center_xy
    affine = cv2.getAffineTransform(
        corners.astype(np.float32), grid.uv_from_xy(world).astype(np.float32)
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(image, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    known = cv2.warpAffine(mask.astype(np.uint8) * 255, affine, size, flags=flags) >= 128
    out[~known] = 0
    return out, known


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
