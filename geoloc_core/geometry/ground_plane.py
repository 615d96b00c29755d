# SPDX-License-Identifier: Apache-2.0
"""Ground image to bird's-eye view (BEV) and back, over a flat ground.

Convention: the level (ground) frame has its origin on the ground below base_link's origin, z up,
x forward with yaw removed. A BEV is an image on a `Grid` of that frame: u right = forward,
v down = right-hand side of the robot, so that at yaw 0 it overlays a north-up map patch.
"""

from dataclasses import dataclass
from functools import lru_cache
import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import CalibrationError, ConfigError, InputError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.lookup import Lookup, NOWHERE
from geoloc_core.geometry.polar_grid import PolarGrid

Array = NDArray[np.float64]

# Rays closer to the horizon than this hit the ground so far away that neither the flat ground nor
# the attitude is good enough to say where.
MIN_DEPRESSION = math.radians(1.0)
# cv2.remap addresses with 16 bits.
_MAX_IMAGE_SIDE = 32767


@dataclass(frozen=True)
class BevImage:
    """A bird's-eye view.

    Attributes:
        image: (H, W) or (H, W, C), dtype of the camera's image; zero where not seen.
        mask: (H, W) bool, True where the ground is seen.
        grid: Its place in the level frame.
    """

    image: NDArray
    mask: NDArray[np.bool_]
    grid: Grid


def T_ground_camera(
    T_base_camera: ArrayLike, roll: float, pitch: float, base_height_m: float
) -> Array:
    """Pose of a camera in the level frame.

    Args:
        T_base_camera: (4, 4) optical frame -> base_link.
        roll: rad, right side down positive.
        pitch: rad, nose down positive.
        base_height_m: Height of base_link's origin over the ground.

    Returns:
        (4, 4) optical frame -> level frame.
    """
    T_ground_base = se3.from_xyz_rpy(0.0, 0.0, base_height_m, roll, pitch, 0.0)
    return T_ground_base @ np.asarray(T_base_camera, dtype=np.float64)


@dataclass(frozen=True)
class _Table:
    """Lookup for one attitude: where each cell lies in the image."""

    T_ground_camera: Array
    lookup: Lookup


class GroundProjector:
    """Makes bird's-eye views of one camera on one grid.

    Its table is kept while the camera's pose stays within the tolerances of the pose it was made
    for, so errors do not add up. Threads may share a projector.
    """

    def __init__(
        self,
        camera: AbstractCamera,
        grid: Grid | PolarGrid,
        min_depression: float = MIN_DEPRESSION,
        tolerance_m: float = 1e-3,
        tolerance_rad: float = 1e-4,
        supersampling: int = 1,
        height_m: float = 0.0,
    ) -> None:
        """Prepares for a camera and a grid.

        Args:
            camera: Of the images to come.
            grid: Of the views to make, level frame. Of a polar one `look` makes views.
            min_depression: rad; cells seen under a flatter angle are masked.
            tolerance_m: Movement of the camera that the table may ignore.
            tolerance_rad: Rotation of the camera that the table may ignore.
            supersampling: A cell is the mean of this many bilinear samples along each side. One
                sample aliases where a cell is larger than an image pixel, as near the robot it is;
                two along each side remove nearly all of that, for four times the work.
            height_m: Of the plane over the ground; one over the camera is seen from below.

        Raises:
            CalibrationError: The image is larger than cv2.remap can address.
            ConfigError: `supersampling` is less than 1.
        """
        if supersampling < 1:
            raise ConfigError(f'supersampling must be at least 1, got {supersampling}')
        if max(camera.width, camera.height) >= _MAX_IMAGE_SIDE:
            raise CalibrationError(
                f'images of {camera.width} x {camera.height} px are too large to remap: resize '
                f'them below {_MAX_IMAGE_SIDE} px a side'
            )
        self.camera = camera
        self.grid = grid
        self.min_depression = min_depression
        self.height_m = height_m
        self._tolerance_m = tolerance_m
        self._tolerance_rad = tolerance_rad
        self.supersampling = supersampling
        self._x, self._y = grid.points(supersampling)
        self._table: _Table | None = None

    def bev(self, image: NDArray, T_ground_camera: ArrayLike) -> BevImage:
        """The bird's-eye view of an image.

        Args:
            image: (H, W) or (H, W, C) of the camera's size; any dtype that cv2.remap takes.
            T_ground_camera: (4, 4) optical frame -> level frame.

        Returns:
            The view.

        Raises:
            ConfigError: The grid is a polar one.
            InputError: The image is not of the camera's size.
            CalibrationError: The pose is no rigid motion, or the camera is not above the ground.
        """
        if not isinstance(self.grid, Grid):
            raise ConfigError("a polar grid makes no bird's-eye view: use look()")
        return BevImage(*self.look(image, T_ground_camera), self.grid)

    def look(
        self, image: NDArray, T_ground_camera: ArrayLike
    ) -> tuple[NDArray, NDArray[np.bool_]]:
        """The image on the cells of the grid, whichever it is, and which of them (H, W) are seen.

        Arguments and errors as of `bev`; zero where not seen.
        """
        check_size(image, self.camera)
        lookup = self.lookup(T_ground_camera)
        return lookup.read(image), lookup.mask

    def mask(self, T_ground_camera: ArrayLike) -> NDArray[np.bool_]:
        """Which cells (H, W) the camera sees.

        Raises:
            CalibrationError: The pose is no rigid motion, or the camera is not above the ground.
        """
        return self.lookup(T_ground_camera).mask

    def lookup(self, T_ground_camera: ArrayLike) -> Lookup:
        """Where the cells lie in the image; the same object while the pose hardly changes.

        Raises:
            CalibrationError: The pose is no rigid motion, or the camera is not above the ground.
        """
        T = np.asarray(T_ground_camera, dtype=np.float64)
        table = self._table
        if table is None or not self._is_near(T, table.T_ground_camera):
            table = self._make_table(T)
            self._table = table
        return table.lookup

    def _is_near(self, T: Array, other: Array) -> bool:
        moved = np.abs(T[:3, 3] - other[:3, 3]).max()
        turned = np.abs(T[:3, :3] - other[:3, :3]).max()
        return bool(moved <= self._tolerance_m and turned <= self._tolerance_rad)

    def _make_table(self, T: Array) -> _Table:
        u, v, mask = self._project_cells(T)
        # The outermost half pixel repeats the edge pixel, or meets the one across the seam.
        if not self.camera.wraps:
            u = np.clip(u, 0, self.camera.width - 1)
        u = np.where(mask, u, NOWHERE).astype(np.float32, copy=False)
        v = np.where(mask, np.clip(v, 0, self.camera.height - 1), NOWHERE)
        maps = cv2.convertMaps(u, v.astype(np.float32, copy=False), cv2.CV_16SC2)
        n = self.supersampling
        if n > 1:
            # A cell counts as seen if all of its samples are.
            blocks = mask.reshape(self.grid.height, n, self.grid.width, n)
            mask = np.asarray(np.all(blocks, axis=(1, 3)))
        mask.setflags(write=False)
        return _Table(T.copy(), Lookup(maps, mask, wraps=self.camera.wraps, samples=n))

    def _project_cells(self, T: Array) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
        """Image coordinates (H n, W n) of all samples and which of them are seen."""
        check_above_ground(T)
        R, t = T[:3, :3], T[:3, 3]
        # Point in the camera = R^T (p - t) with p = (x, y, height): on square cells the sum of a
        # row and a column, which saves the (H, W, 3) product.
        dx, dy = (self._x - t[0]).astype(np.float32), (self._y - t[1]).astype(np.float32)
        R32 = R.astype(np.float32)
        down = ((self.height_m - t[2]) * R[2]).astype(np.float32)
        x, y, z = (dx * R32[0, i] + (dy * R32[1, i] + down[i]) for i in range(3))
        u, v, valid = self.camera.project_xyz(x, y, z)
        away = abs(t[2] - self.height_m)
        farthest = away / math.tan(self.min_depression) if self.min_depression > 0 else math.inf
        return u, v, valid & (dx * dx + dy * dy <= farthest**2)


def check_size(image: NDArray, camera: AbstractCamera) -> None:
    """Refuses images that are not of the camera's size.

    Raises:
        InputError: Says which sizes.
    """
    if image.shape[:2] != (camera.height, camera.width):
        raise InputError(
            f'image is {image.shape[1]} x {image.shape[0]}, but its camera is calibrated for '
            f'{camera.width} x {camera.height}: resize the camera with resized()'
        )


def check_above_ground(T_ground_camera: Array) -> None:
    """Refuses poses from which no ground can be seen.

    Raises:
        CalibrationError: The pose is no rigid motion, or the camera is not above the ground.
    """
    if not se3.is_rigid(T_ground_camera, tolerance=1e-4):
        raise CalibrationError(
            f'T_ground_camera is not a finite rigid motion (4, 4): {T_ground_camera.tolist()}'
        )
    if T_ground_camera[2, 3] <= 0:
        raise CalibrationError(
            f'the camera lies {-T_ground_camera[2, 3]:.3f} m below the ground: check base_height '
            'and the extrinsics of the camera (T_base_camera)'
        )


@lru_cache(maxsize=4)
def _camera_rays(camera: AbstractCamera) -> Array:
    rays = camera.rays()
    rays.setflags(write=False)
    return rays


def view_from_bev(
    bev: BevImage,
    camera: AbstractCamera,
    T_ground_camera: ArrayLike,
    min_depression: float = MIN_DEPRESSION,
) -> tuple[NDArray, NDArray[np.bool_]]:
    """What a camera would see if the ground were painted with a bird's-eye view.

    Args:
        bev: The paint, level frame.
        camera: The camera to look through.
        T_ground_camera: (4, 4) optical frame -> level frame.
        min_depression: rad; pixels whose ray meets the ground under a flatter angle are masked.

    Returns:
        image (camera.height, camera.width[, C]), zero where the paint is not seen; and its mask.

    Raises:
        CalibrationError: The pose is no rigid motion, or the camera is not above the ground.
    """
    T = np.asarray(T_ground_camera, dtype=np.float64)
    check_above_ground(T)
    rays = _camera_rays(camera) @ T[:3, :3].T
    with np.errstate(all='ignore'):
        reach = -T[2, 3] / rays[..., 2]
        hits = -rays[..., 2] >= math.sin(max(min_depression, 1e-6))
        uv = bev.grid.uv_from_xy(T[:2, 3] + rays[..., :2] * reach[..., None])
    hits &= (
        (uv[..., 0] >= 0)
        & (uv[..., 0] <= bev.grid.width - 1)
        & (uv[..., 1] >= 0)
        & (uv[..., 1] <= bev.grid.height - 1)
    )
    uv = np.where(hits[..., None], uv, NOWHERE).astype(np.float32)
    maps = cv2.convertMaps(uv[..., 0], uv[..., 1], cv2.CV_16SC2)
    image = cv2.remap(bev.image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    # A pixel is painted only if all cells that it mixes are.
    painted = cv2.remap(
        bev.mask.astype(np.uint8) * 255, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    mask = hits & (painted == 255)
    image = cv2.copyTo(image, mask.view(np.uint8))
    return image.reshape(*mask.shape, *bev.image.shape[2:]), mask
