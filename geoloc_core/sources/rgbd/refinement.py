# SPDX-License-Identifier: Apache-2.0
"""All that a view says about its pose in one estimate: features, their depths, and surfaces.

Features alone place a camera well and turn it badly; surfaces alone the other way round, and
slide along a wall. One Gauss-Newton estimate takes both: reprojection and depth of the matched
features, and distances of the view's depth from the planes of many keyframes at once. The poses
of keyframes disagree by a centimetre or two; many of them together are better than the nearest.

The covariance is that of the normal equations, and beside it the one that the disagreement of
the keyframes shows ("sandwich" of clustered data: Liang and Zeger, "Longitudinal data analysis
using generalized linear models", Biometrika 1986, eq. 7), because neighbouring pixels, and points
of one keyframe, err together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.sources.rgbd.matching import Correspondences
from geoloc_core.sources.rgbd.noise import NoiseModel
from geoloc_core.sources.rgbd.surface import MapSurfaces

Array = NDArray[np.float64]

_SMALL = 1e-5
# Normals err by a degree: along a wall they seem to see the square of that.
_ONE_PLANE = 2e-4


@dataclass(frozen=True)
class RefinementConfig:
    """Settings of the estimate.

    Attributes:
        rounds: How often pairs are sought anew.
        steps: Gauss-Newton steps between.
        surface_m: Deviation of a point from the plane of a keyframe, at 2 m; grows with z^2.
        reach_m: In the first round points farther than this from a surface are not its own.
        last_reach_m: The same in the last round.
        redundancy: So many neighbouring pixels of depth count as one: they err together.
        feature_weight: Of features against surfaces; 1 takes both deviations at their word.
    """

    rounds: int = 3
    steps: int = 2
    surface_m: float = 0.005
    reach_m: float = 0.1
    last_reach_m: float = 0.04
    redundancy: float = 10.0
    feature_weight: float = 0.05

    def __post_init__(self) -> None:
        """Refuses what makes no estimate.

        Raises:
            ConfigError: A number is not positive.
        """
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f'{name} is {value}: expected a positive number')


@dataclass(frozen=True, eq=False)
class ViewPoints:
    """Points (N, 3) m and unit normals (N, 3) of a view's own depth, optical frame."""

    points: Array
    normals: Array


@dataclass(frozen=True, eq=False)
class Refined:
    """The estimate.

    Attributes:
        T_place_camera: (4, 4).
        cov: (6, 6) of camera centre (m) and rotation (rad), both in the axes of the place frame:
            T = [exp(w) R, t + d]. Not yet calibrated.
        spread: (6, 6) the share of it that the keyframes' disagreement shows.
        information: (6, 6) the normal equations, in the axes of the camera.
        on_surface: Share of the view's points that lie on a surface of the map; NaN without.
        surface_rms_m: How far those are off it.
        keyframes: How many spoke.
    """

    T_place_camera: Array
    cov: Array
    spread: Array
    information: Array
    on_surface: float
    surface_rms_m: float
    keyframes: int


@dataclass(frozen=True, eq=False)
class _Rows:
    """Whitened, weighted rows: Jacobian (n, 6), residual (n,), and whose keyframe's (n,)."""

    J: Array
    r: Array
    cluster: NDArray[np.int64]


def refine(
    T_place_camera: Array,
    matches: Correspondences,
    view: ViewPoints | None,
    surfaces: MapSurfaces,
    indices: Sequence[int],
    noise: NoiseModel,
    config: RefinementConfig,
) -> Refined | None:
    """Improves a pose.

    Args:
        T_place_camera: (4, 4) to start from; a few centimetres and degrees off.
        matches: Features; those that do not agree are weighed down or left out. May be empty.
        view: The view's own depth, or None.
        surfaces: Those of the map.
        indices: Keyframes to compare the view's depth with.
        noise: Deviations of features.
        config: Settings.

    Returns:
        The estimate; None where the geometry leaves an axis of motion undetermined.
    """
    T = np.array(T_place_camera, dtype=np.float64)
    reaches = np.geomspace(config.reach_m, config.last_reach_m, config.rounds)
    rows = None
    pairs = _Pairs.none()
    for reach in reaches:
        if view is not None:
            pairs = _pairs(T, view, surfaces, indices, float(reach))
        for _ in range(config.steps):
            rows = _rows(T, matches, pairs, noise, config)
            step = _step(rows)
            if step is None:
                return None
            T[:3, 3] += T[:3, :3] @ step[:3]
            T[:3, :3] = T[:3, :3] @ se3.exp_rotation(step[3:])
            if np.abs(step).max() < _SMALL:
                break
    rows = _rows(T, matches, pairs, noise, config)
    return _summary(T, rows, pairs, view)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Points of the view (L, 3, optical frame) on points and normals of the map (L, 3)."""

    points: Array
    target: Array
    normal: Array
    cluster: NDArray[np.int64]
    share: Array
    covered: int

    @staticmethod
    def none() -> '_Pairs':
        empty = np.zeros((0, 3))
        return _Pairs(empty, empty, empty, np.zeros(0, np.int64), np.zeros(0), 0)


def _pairs(
    T: Array, view: ViewPoints, surfaces: MapSurfaces, indices: Sequence[int], reach: float
) -> _Pairs:
    placed = se3.transform(T, view.points)
    turned = view.normals @ T[:3, :3].T
    index, cluster, target, normal = surfaces.pairs(indices, placed, turned, reach)
    # A point seen by many keyframes is still one measurement.
    times = np.bincount(index, minlength=len(placed))
    return _Pairs(
        view.points[index],
        target,
        normal,
        cluster,
        1.0 / times[index],
        int((times > 0).sum()),
    )


def _rows(
    T: Array, matches: Correspondences, pairs: _Pairs, noise: NoiseModel, config: RefinementConfig
) -> _Rows:
    parts = [
        _feature_rows(T, matches, noise, config.feature_weight),
        _surface_rows(T, pairs, config),
    ]
    return _Rows(
        np.concatenate([part.J for part in parts]),
        np.concatenate([part.r for part in parts]),
        np.concatenate([part.cluster for part in parts]),
    )


def _feature_rows(
    T: Array, matches: Correspondences, noise: NoiseModel, feature_weight: float
) -> _Rows:
    """Reprojection in x/z and y/z, and depth, of matched features.

    Convention: the pose moves by a step (d, w) in the camera's own axes, t + R d and R exp(w); a
    fixed point p of the place then moves in the camera by -d + p x w.
    """
    seen = (matches.points - T[:3, 3]) @ T[:3, :3]
    keep = seen[:, 2] > 0.05
    seen, rays, depth = seen[keep], matches.rays[keep], matches.depth[keep]
    x, y, z = seen.T
    count = len(seen)
    J_point = np.zeros((count, 3, 6))
    J_point[:, :, :3] = -np.eye(3)
    J_point[:, 0, 4], J_point[:, 0, 5] = -z, y
    J_point[:, 1, 3], J_point[:, 1, 5] = z, -x
    J_point[:, 2, 3], J_point[:, 2, 4] = -y, x
    across = 1.0 / noise.std_across(z, matches.focal_px)
    along = np.where(np.isfinite(depth), 1.0 / noise.std_along(z), 0.0)
    J = np.empty((count, 3, 6))
    J[:, 0] = (J_point[:, 0] - (x / z)[:, None] * J_point[:, 2]) * (across / z)[:, None]
    J[:, 1] = (J_point[:, 1] - (y / z)[:, None] * J_point[:, 2]) * (across / z)[:, None]
    J[:, 2] = J_point[:, 2] * along[:, None]
    r = np.empty((count, 3))
    r[:, 0] = (x / z - rays[:, 0]) * across
    r[:, 1] = (y / z - rays[:, 1]) * across
    r[:, 2] = np.where(along > 0, z - np.nan_to_num(depth), 0.0) * along
    # Tukey's biweight (Beaton and Tukey, Technometrics 1974): gross outliers have no say.
    squared = np.sum(r**2, axis=1) / noise.reach**2
    weight = np.maximum(0.0, 1.0 - squared)
    # A feature matched in several keyframes is still one measurement.
    feature = matches.feature[keep]
    counted = squared < 1.0
    times = np.bincount(feature[counted], minlength=int(feature.max(initial=-1)) + 1)
    scale = weight * np.sqrt(feature_weight / np.maximum(times[feature], 1))
    return _Rows(
        (J * scale[:, None, None]).reshape(-1, 6),
        (r * scale[:, None]).ravel(),
        np.repeat(matches.keyframe[keep], 3),
    )


def _surface_rows(T: Array, pairs: _Pairs, config: RefinementConfig) -> _Rows:
    """Distances of the view's points from planes of the map; see `_feature_rows` for the step."""
    R = T[:3, :3]
    normal = pairs.normal @ R
    apart = (se3.transform(T, pairs.points) - pairs.target) @ R
    distance = np.einsum('ni,ni->n', apart, normal)
    std = config.surface_m * np.maximum(pairs.points[:, 2] / 2.0, 0.5) ** 2
    # Cauchy's weight: the tails of depth are long but not empty.
    r = distance / std
    scale = np.sqrt(pairs.share / config.redundancy / (1.0 + (r / 2.0) ** 2)) / std
    J = np.concatenate([normal, np.cross(pairs.points, normal)], axis=1)
    return _Rows(J * scale[:, None], distance * scale, pairs.cluster)


def _step(rows: _Rows) -> Array | None:
    A = rows.J.T @ rows.J
    if not _well_posed(A):
        return None
    return np.asarray(-np.linalg.solve(A, rows.J.T @ rows.r), np.float64)


def _well_posed(A: Array) -> bool:
    """Whether every axis is seen: the information, freed of its units, is not singular."""
    scale = np.sqrt(np.diag(A))
    if not (np.isfinite(A).all() and np.all(scale > 0)):
        return False
    return bool(np.linalg.eigvalsh(A / np.outer(scale, scale))[0] > 1e-7)


def _one_plane(A: Array) -> bool:
    """Whether the axis seen worst is seen no better than noise of normals makes of one plane."""
    along = np.linalg.eigvalsh(A[:3, :3])
    return bool(along[0] < _ONE_PLANE * along[2])


def _summary(T: Array, rows: _Rows, pairs: _Pairs, view: ViewPoints | None) -> Refined | None:
    A = rows.J.T @ rows.J
    if not _well_posed(A) or _one_plane(A):
        return None
    inverse = np.linalg.inv(A)
    names, cluster = np.unique(rows.cluster, return_inverse=True)
    pull = np.zeros((len(names), 6))
    np.add.at(pull, cluster, rows.J * rows.r[:, None])
    said = int(np.count_nonzero(np.abs(pull).max(axis=1) > 0)) if len(names) else 0
    spread = np.zeros((6, 6))
    if said > 1:
        half = inverse @ pull.T
        spread = half @ half.T * (said / (said - 1.0))
    R = T[:3, :3]
    cov, spread = se3.rotate_cov(inverse + spread, R), se3.rotate_cov(spread, R)
    share, rms = float('nan'), float('nan')
    if view is not None and len(view.points):
        share = pairs.covered / len(view.points)
    if len(pairs.points):
        apart = se3.transform(T, pairs.points) - pairs.target
        off = np.einsum('ni,ni->n', apart, pairs.normal)
        rms = float(np.sqrt(np.mean(off**2)))
    return Refined(T, 0.5 * (cov + cov.T), spread, A, share, rms, said)
