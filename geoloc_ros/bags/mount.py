# SPDX-License-Identifier: Apache-2.0
"""Finds the small yaw and pitch error of a camera mount from a posed drive.

A camera that points a little beside where its calibration says projects the same patch of ground
to different places from different distances: half a degree of yaw moves ground 20 m ahead by
17 cm. So the mount is turned until views of the same ground, taken from different places of the
drive, agree best. Roll and height hardly show on a straight road and stay as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BagError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.geometry import se3
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import GroundProjector
from geoloc_core.types import GroundView

Array = NDArray[np.float64]
PosedView = tuple[GroundView, Array]

GSD = 0.2
SIDE_PX = 200
RANGE_M = 28.0
AHEAD_M = 10.0
# Distances driven between the two views of a pair, m.
SEPARATIONS_M = (5.0, 10.0, 15.0)
MAX_PAIRS = 75
MIN_OVERLAP_M2 = 20.0
CLIP_GREY = 40.0
SEARCH_DEG = 3.0


@dataclass(frozen=True)
class MountRefinement:
    """A better mount.

    Attributes:
        rpy_deg: Turn (roll, pitch, yaw) about the axes of base_link, on top of the mount given.
        before: Mean correlation of the pairs of views with the mount given, -1..1.
        after: The same with the turned one.
        T_base_camera: (4, 4) the turned mount.
    """

    rpy_deg: tuple[float, float, float]
    before: float
    after: float
    T_base_camera: Array

    def body_mount(self) -> tuple[Array, tuple[float, float, float]]:
        """The mount as the parameters `frames.camera_xyz` and `frames.camera_rpy` give it."""
        from geoloc_ros.conversions import R_BODY_OPTICAL

        T = self.T_base_camera.copy()
        T[:3, :3] = T[:3, :3] @ R_BODY_OPTICAL.T
        return T[:3, 3], se3.rpy_from(T)


def turned(T_base_camera: Array, rpy_deg: Sequence[float]) -> Array:
    """A mount (4, 4) turned in place by roll, pitch, yaw (degrees) about the axes of base_link."""
    roll, pitch, yaw = (float(v) for v in np.radians(rpy_deg))
    T = np.array(T_base_camera, dtype=np.float64)
    T[:3, :3] = se3.rotation_from_rpy(roll, pitch, yaw) @ T[:3, :3]
    return T


def posed_views(
    reader: Any, poses: Trajectory, params: Mapping[str, Any], every: int = 1, offset: int = 0
) -> list[PosedView]:
    """The views of a bag that have a pose, with T_map_base."""
    from geoloc_ros.bags.views import views

    found = []
    for view in views(reader, params, every=every, offset=offset):
        pose, known = poses.at([view.stamp_ns])
        if known[0]:
            found.append((view, pose[0]))
    return found


def refine_mount(
    views: Sequence[PosedView],
    base_height_m: float = 0.0,
    progress: Callable[[], object] | None = None,
) -> MountRefinement:
    """Finds the yaw and pitch of the mount with which the views agree best.

    Args:
        views: Views of one camera with T_map_base, in the order of the drive.
        base_height_m: Height of base_link's origin over the ground.
        progress: Called after each mount that was tried.

    Returns:
        The turn, at most 3 degrees each way.

    Raises:
        BagError: No two views see the same ground.
    """
    from scipy.optimize import minimize

    pairs = _pairs(views)
    if not pairs:
        raise BagError('no two views see the same ground from 5 m apart: drive farther')
    comparison = _Comparison(views, pairs, base_height_m)
    before = comparison.agreement((0.0, 0.0, 0.0))

    def cost(pitch_yaw: Array) -> float:
        if progress is not None:
            progress()
        if np.abs(pitch_yaw).max() > SEARCH_DEG:
            return 1.0
        return -comparison.agreement((0.0, float(pitch_yaw[0]), float(pitch_yaw[1])))

    start = np.array([[0.0, 0.0], [0.4, 0.0], [0.0, 0.6]])
    best = minimize(
        cost,
        start[0],
        method='Nelder-Mead',
        options={'initial_simplex': start, 'xatol': 0.02, 'fatol': 1e-4, 'maxfev': 60},
    )
    rpy = (0.0, float(best.x[0]), float(best.x[1]))
    if -best.fun <= before:
        rpy = (0.0, 0.0, 0.0)
    mount = turned(views[0][0].T_base_camera, rpy)
    return MountRefinement(rpy, before, max(before, float(-best.fun)), mount)


def _pairs(views: Sequence[PosedView]) -> list[tuple[int, int]]:
    """Views that lie one of the wanted distances apart, spread over the drive."""
    places = np.array([T[:2, 3] for _, T in views]).reshape(-1, 2)
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    driven = np.concatenate([[0.0], np.cumsum(steps)])
    pairs = []
    for i in range(len(views)):
        for separation in SEPARATIONS_M:
            j = int(np.searchsorted(driven, driven[i] + separation))
            if j < len(views) and driven[j] - driven[i] < separation + 3.0:
                pairs.append((i, j))
    keep = max(1, -(-len(pairs) // MAX_PAIRS))
    return pairs[::keep]


class _Comparison:
    """How well pairs of views agree on the ground that both see."""

    def __init__(
        self, views: Sequence[PosedView], pairs: list[tuple[int, int]], base_height_m: float
    ) -> None:
        self._views = views
        self._pairs = pairs
        self._height = base_height_m
        self._grid = Grid((0.0, 0.0), GSD, SIDE_PX, SIDE_PX)
        self._cells = self._grid.cell_centers()
        self._projector = GroundProjector(views[0][0].camera, self._grid)

    def agreement(self, rpy_deg: Sequence[float]) -> float:
        """Mean correlation over the pairs; pairs without common ground are left out."""
        scores = [
            score for i, j in self._pairs if (score := self._pair(i, j, rpy_deg)) is not None
        ]
        if not scores:
            raise BagError('no two views see the same ground: is the camera looking down at all?')
        return float(np.mean(scores))

    def _pair(self, i: int, j: int, rpy_deg: Sequence[float]) -> float | None:
        ahead = self._views[j][1]
        center = ahead[:2, 3] + AHEAD_M * ahead[:2, 0]
        a, mask_a = self._ground(i, center, rpy_deg)
        b, mask_b = self._ground(j, center, rpy_deg)
        # Filters reach over the edge of what is seen; the rim is left out.
        common = cv2.erode((mask_a & mask_b).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        if common.sum() * GSD**2 < MIN_OVERLAP_M2:
            return None
        x, y = (np.clip(g[common] - g[common].mean(), -CLIP_GREY, CLIP_GREY) for g in (a, b))
        energy = float(np.sqrt((x * x).sum() * (y * y).sum()))
        return float((x * y).sum()) / energy if energy > 0 else None

    def _ground(
        self, number: int, center: Array, rpy_deg: Sequence[float]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """High-passed grey bird's-eye view around a place, and where it is seen near enough."""
        view, T_map_base = self._views[number]
        T = T_map_base @ turned(view.T_base_camera, rpy_deg)
        T[:2, 3] -= center
        T[2, 3] -= T_map_base[2, 3] - self._height
        bev = self._projector.bev(view.image, T)
        grey = cv2.cvtColor(bev.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
        structure = grey - cv2.GaussianBlur(grey, (0, 0), 6.0)
        near = np.linalg.norm(self._cells - T[:2, 3], axis=-1) <= RANGE_M
        return structure, bev.mask & near
