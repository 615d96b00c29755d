# SPDX-License-Identifier: Apache-2.0
"""How a camera really sits on the robot, from a posed drive over flat ground.

A camera turned by half a degree against its calibration moves ground 20 m away by 17 cm, and a
map blended from such views is wrong by different amounts near and far. Two views that see the same
ground from different distances agree only if the mount is right: that agreement is maximised.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry import se3
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import GroundProjector
from geoloc_core.sources.features import FeatureConfig, ground_features
from geoloc_core.types import Array, GroundView


@dataclass(frozen=True)
class MountConfig:
    """Settings of the calibration.

    Attributes:
        base_height_m: Height of base_link's origin over the ground.
        gsd: Side of a cell, m.
        ahead_m: Distance of the compared ground's middle from the first view's camera, m.
        size_m: (along, across) of the compared ground, m.
        baselines_m: Distances between the two views of a pair, m.
        max_pairs: Pairs compared at most, spread over the drive.
        steps_deg: Widths of the successive searches, degrees.
        max_correction_deg: A larger correction is refused: the calibration is broken otherwise.
    """

    base_height_m: float = 0.0
    gsd: float = 0.15
    ahead_m: float = 16.0
    size_m: tuple[float, float] = (18.0, 12.0)
    baselines_m: tuple[float, ...] = (6.0, 11.0)
    max_pairs: int = 40
    steps_deg: tuple[float, ...] = (0.4, 0.2, 0.1)
    max_correction_deg: float = 3.0


@dataclass(frozen=True)
class MountCalibration:
    """What was found.

    Attributes:
        T_base_camera: (4, 4) corrected; the camera's position is kept.
        roll_pitch_yaw: (3,) rad, turn of the mount in base_link axes that was added.
        agreement_before: Mean correlation of the pairs with the mount as given, -1..1.
        agreement_after: The same with the corrected mount.
        pairs: Number of pairs.
    """

    T_base_camera: Array
    roll_pitch_yaw: Array
    agreement_before: float
    agreement_after: float
    pairs: int


def calibrate_mount(
    views: Sequence[GroundView], poses: Sequence[Array], config: MountConfig | None = None
) -> MountCalibration:
    """Corrects the orientation of a camera on the robot.

    Args:
        views: Views of one drive by one camera, in order.
        poses: T_map_base (4, 4) of each.
        config: Settings.

    Returns:
        The corrected mount.

    Raises:
        CalibrationError: No two views see common ground, or the correction is implausibly large.
    """
    config = config or MountConfig()
    pairs = _pairs(poses, config)
    if not pairs:
        raise CalibrationError(
            f'no two of the {len(views)} views are {config.baselines_m} m apart: calibrate on a '
            'longer drive'
        )
    comparer = _Comparer(views, poses, pairs, config)
    turn = np.zeros(3)
    before = best = comparer.agreement(turn)
    for step in np.radians(config.steps_deg):
        for axis in (2, 1, 0):  # yaw moves far ground most, roll least
            trial = np.eye(3)[axis] * step
            low, high = comparer.agreement(turn - trial), comparer.agreement(turn + trial)
            bend = low - 2 * best + high
            if bend < 0:
                move = float(np.clip(0.5 * (low - high) / bend, -2.0, 2.0))
            else:
                move = float(np.sign(high - low))
            score = comparer.agreement(turn + move * trial)
            if score > best:
                turn, best = turn + move * trial, score
    if np.abs(np.degrees(turn)).max() > config.max_correction_deg:
        raise CalibrationError(
            f'the camera seems turned by {np.degrees(turn).round(1).tolist()} degrees (roll, '
            'pitch, yaw) against its calibration: check T_base_camera, the poses and base_height'
        )
    return MountCalibration(comparer.mount(turn), turn, before, best, len(pairs))


def _pairs(poses: Sequence[Array], config: MountConfig) -> list[tuple[int, int]]:
    """Views (behind, ahead) whose distance is one of the wanted ones, while driving straight."""
    xy = np.array([pose[:2, 3] for pose in poses])
    found = []
    for i in range(len(poses)):
        forward = np.array([poses[i][0, 0], poses[i][1, 0]])
        along = (xy - xy[i]) @ forward
        for baseline in config.baselines_m:
            j = int(np.argmin(np.abs(along - baseline)))
            turned = se3.yaw_of(se3.inverse(poses[i]) @ poses[j])
            if abs(along[j] - baseline) < 0.3 * baseline and abs(turned) < np.radians(20):
                found.append((i, j))
    keep = np.unique(np.linspace(0, len(found) - 1, config.max_pairs).astype(int))
    return [found[k] for k in keep] if found else []


class _Comparer:
    """Agreement of all pairs for a trial mount."""

    def __init__(
        self,
        views: Sequence[GroundView],
        poses: Sequence[Array],
        pairs: list[tuple[int, int]],
        config: MountConfig,
    ) -> None:
        self._views, self._poses, self._pairs, self._config = views, poses, pairs, config
        columns, rows = (round(size / config.gsd) for size in config.size_m)
        self._grid = Grid((0.0, 0.0), config.gsd, columns, rows)
        self._projector = GroundProjector(views[0].camera, self._grid)
        self._features = FeatureConfig()

    def mount(self, turn: Array) -> Array:
        """T_base_camera (4, 4) turned by (roll, pitch, yaw) about the camera's own place."""
        T = np.array(self._views[0].T_base_camera, dtype=np.float64)
        T[:3, :3] = se3.rotation_from_rpy(*turn) @ T[:3, :3]
        return T

    def agreement(self, turn: Array) -> float:
        """Mean correlation of the pairs' structure, -1..1."""
        mount = self.mount(turn)
        scores = []
        for behind, ahead in self._pairs:
            x, y, yaw = se3.planar(self._poses[behind])
            reach = self._config.ahead_m
            T_map_patch = se3.from_planar(x + reach * np.cos(yaw), y + reach * np.sin(yaw), yaw)
            one, seen_one = self._look(behind, mount, T_map_patch)
            two, seen_two = self._look(ahead, mount, T_map_patch)
            seen = seen_one & seen_two
            if seen.sum() < 0.2 * seen.size:
                continue
            a, b = one[seen], two[seen]
            scores.append(float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-9)))
        return float(np.mean(scores)) if scores else -1.0

    def _look(self, index: int, mount: Array, T_map_patch: Array) -> tuple[NDArray, NDArray]:
        """Structure (H, W, C) and mask (H, W) of one view on a patch of ground."""
        T = np.array(self._poses[index], dtype=np.float64)
        T[2, 3] = self._config.base_height_m
        view = self._views[index]
        bev = self._projector.bev(view.image, se3.inverse(T_map_patch) @ T @ mount)
        return ground_features(bev.image, bev.mask, self._config.gsd, self._features), bev.mask
