# SPDX-License-Identifier: Apache-2.0
"""Which frames of a sequence a place map keeps: few, from which all the others see enough.

A point that one frame measured counts as covered by another frame if that one measured it too,
from about the same direction and distance: local features are recognised within such limits, not
beyond. Frames are then taken greedily, the one that covers most of what is not yet covered first.
Greedy choice covers at least 1 - 1/e of what the best choice of as many frames would (Nemhauser,
Wolsey and Fisher, "An analysis of approximations for maximizing submodular set functions", 1978).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera, camera_kind
from geoloc_core.geometry.registration import points_of

Array = NDArray[np.float64]

_COLUMNS, _ROWS = 14, 10
_POPCOUNT = np.array([bin(byte).count('1') for byte in range(256)], np.uint8)
# Sharpness is compared with this many frames to either side.
_NEIGHBOURS = 5


@dataclass(frozen=True)
class SelectionConfig:
    """When a frame is covered.

    Attributes:
        coverage: Share of each frame's points that keyframes must cover, 0..1.
        max_angle_deg: Between the two directions from which a point is seen. Features are
            recognised over wider angles, but their places are the truer the nearer the keyframe.
        max_ratio: Of the two distances.
        max_keyframes: So many at most, or None.
    """

    coverage: float = 0.97
    max_angle_deg: float = 8.0
    max_ratio: float = 1.3
    max_keyframes: int | None = None

    def __post_init__(self) -> None:
        """Refuses what chooses nothing.

        Raises:
            ConfigError: A value is out of its range.
        """
        if not 0.0 < self.coverage <= 1.0:
            raise ConfigError(f'coverage is {self.coverage}: expected a share, 0 to 1')
        if not 0.0 < self.max_angle_deg <= 90.0:
            raise ConfigError(f'max_angle_deg is {self.max_angle_deg}: expected 0 to 90 degrees')
        if not self.max_ratio > 1.0:
            raise ConfigError(f'max_ratio is {self.max_ratio}: expected more than 1')
        if self.max_keyframes is not None and self.max_keyframes < 1:
            raise ConfigError(f'max_keyframes is {self.max_keyframes}: expected 1 or more')


@dataclass(frozen=True, eq=False)
class Glimpse:
    """What the choice needs of a frame.

    Attributes:
        name: Of the frame.
        T_place_camera: (4, 4).
        depth: (h, w) uint16 mm, 0 where invalid (`depth.shrink`).
        sharpness: Any measure that blur makes smaller.
    """

    name: str
    T_place_camera: Array
    depth: NDArray[np.uint16]
    sharpness: float = 1.0


@dataclass(frozen=True)
class Selection:
    """The frames chosen.

    Attributes:
        chosen: Their indices, in order of the sequence.
        covered: (N,) share of each frame's points that they cover; NaN for a frame without depth.
    """

    chosen: tuple[int, ...]
    covered: Array


def select(
    glimpses: list[Glimpse], camera: AbstractCamera, config: SelectionConfig | None = None
) -> Selection:
    """Chooses keyframes.

    Args:
        glimpses: The frames, in order of the sequence.
        camera: Of the small depth pictures.
        config: When a frame is covered.

    Returns:
        The choice. The same frames give the same one. Frames without depth are never chosen.
    """
    config = config or SelectionConfig()
    points, owner = _samples(glimpses, camera)
    count = len(glimpses)
    total = np.bincount(owner, minlength=count)
    if not len(points):
        return Selection((), np.full(count, np.nan))
    seen = np.stack(
        [_sees(k, glimpses, camera, points, owner, config) for k in range(count)]
    )  # (N, M / 8) bits: memory for thousands of frames
    weight = _sharpness_weights(glimpses)
    limit = min(count, config.max_keyframes or count)
    covered = np.zeros(len(points), bool)
    chosen: list[int] = []
    while len(chosen) < limit:
        share = _shares(covered, owner, total)
        # Frames that see enough already pull no more: what is left of them are odd corners.
        wanting = ~covered & (np.nan_to_num(share, nan=1.0) < config.coverage)[owner]
        if not wanting.any():
            break
        gain = _POPCOUNT[seen & np.packbits(wanting)].sum(axis=1, dtype=np.int64) * weight
        best = int(np.argmax(gain))
        if gain[best] <= 0:
            break
        chosen.append(best)
        covered |= np.unpackbits(seen[best], count=len(points)).astype(bool)
    return Selection(tuple(sorted(chosen)), _shares(covered, owner, total))


def _samples(
    glimpses: list[Glimpse], camera: AbstractCamera
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Measured points (M, 3) spread over each frame, place frame, and whose each is (M,)."""
    keep = np.zeros((camera.height, camera.width), bool)
    rows = ((np.arange(_ROWS) + 0.5) * camera.height / _ROWS).astype(int)
    cols = ((np.arange(_COLUMNS) + 0.5) * camera.width / _COLUMNS).astype(int)
    keep[np.ix_(rows, cols)] = True
    clouds = []
    for glimpse in glimpses:
        depth = np.where(keep & (glimpse.depth > 0), glimpse.depth * np.float32(1e-3), np.nan)
        clouds.append(points_of(depth.astype(np.float32), camera, glimpse.T_place_camera))
    owner = np.repeat(np.arange(len(clouds)), [len(cloud) for cloud in clouds])
    return np.concatenate(clouds) if clouds else np.zeros((0, 3), np.float32), owner


def _sees(
    k: int,
    glimpses: list[Glimpse],
    camera: AbstractCamera,
    points: NDArray[np.float32],
    owner: NDArray[np.intp],
    config: SelectionConfig,
) -> NDArray[np.uint8]:
    """Which points frame k covers, as packed bits."""
    mine = glimpses[k]
    centres = np.stack([g.T_place_camera[:3, 3] for g in glimpses]).astype(np.float32)
    here = points - centres[k]
    there = points - centres[owner]
    near, far = np.linalg.norm(here, axis=1), np.linalg.norm(there, axis=1)
    with np.errstate(invalid='ignore', divide='ignore'):
        ratio = near / far
        cosine = (here * there).sum(axis=1) / (near * far)
    alike = (
        (cosine >= np.cos(np.deg2rad(config.max_angle_deg)))
        & (ratio <= config.max_ratio)
        & (ratio >= 1.0 / config.max_ratio)
    )
    result = owner == k
    index = np.flatnonzero(alike & ~result)
    local = se3.transform(se3.inverse(mine.T_place_camera), points[index])
    uv, valid = camera.project(local)
    pixel = np.rint(np.where(valid[:, None], uv, 0)).astype(int)
    u = np.clip(pixel[:, 0], 0, camera.width - 1)
    v = np.clip(pixel[:, 1], 0, camera.height - 1)
    measured = mine.depth[v, u] * 1e-3
    # Along the axis or along the ray, seen from one place the two differ alike.
    expected = np.where(measured > 0, _depth_like(local, camera), np.nan)
    with np.errstate(invalid='ignore'):
        result[index] = valid & (np.abs(measured - expected) <= 0.05 + 0.04 * expected)
    return np.packbits(result)


def _depth_like(local: Array, camera: AbstractCamera) -> Array:
    """Depth (N,) that this camera gives points (N, 3) of its optical frame."""
    if camera_kind(camera) == 'equirectangular':
        return np.asarray(np.linalg.norm(local, axis=1))
    return local[:, 2]


def _shares(covered: NDArray[np.bool_], owner: NDArray[np.intp], total: NDArray) -> Array:
    """(N,) share of each frame's points that are covered; NaN where it has none."""
    hits = np.bincount(owner, weights=covered, minlength=len(total))
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(total > 0, hits / total, np.nan)


def _sharpness_weights(glimpses: list[Glimpse]) -> Array:
    """(N,) in (0, 1]: below 1 for frames that are blurred beside their neighbours."""
    values = np.array([glimpse.sharpness for glimpse in glimpses], np.float64)
    weights = np.ones(len(values))
    for k, value in enumerate(values):
        around = np.median(values[max(0, k - _NEIGHBOURS) : k + _NEIGHBOURS + 1])
        if around > 0:
            weights[k] = np.clip(value / around, 0.05, 1.0)
    return weights
