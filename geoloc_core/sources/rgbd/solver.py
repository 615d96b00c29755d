# SPDX-License-Identifier: Apache-2.0
"""A first pose from correspondences of which many are wrong, and a second one if there is one.

Two kinds of hypotheses are tried and judged by one measure, which knows the depth where there is
one: perspective-n-point, which needs no depth and is not fooled by a wrong one, and the alignment
of measured points with those of the map, which three true matches decide and which is not fooled
by a flat scene seen from far.
"""

from dataclasses import dataclass
import importlib.util
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.sources.rgbd.matching import Correspondences
from geoloc_core.sources.rgbd.noise import NoiseModel

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Triples of points whose mutual distances agree this often make a hypothesis each, at most.
_TRIPLES = 4000
_KEPT = 256
# Matches that rank those hypotheses, and hypotheses that all matches then judge.
_JURY = 300
_FINALISTS = 8
_MIN_BASE_M = 0.1


@dataclass(frozen=True)
class SolverConfig:
    """Settings of the search.

    Attributes:
        pnp: 'opencv' (USAC) or 'poselib', which must be installed.
        threshold_px: Reprojection error of an inlier while perspective hypotheses are searched.
        iterations: How many of them at most.
        seed: Of the draws; the same input gives the same answer.
    """

    pnp: Literal['opencv', 'poselib'] = 'opencv'
    threshold_px: float = 8.0
    iterations: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses an unknown solver.

        Raises:
            ConfigError: The name is none of the two, or a number is not positive.
        """
        if self.pnp not in ('opencv', 'poselib'):
            raise ConfigError(f"pnp is {self.pnp!r}: choose 'opencv' or 'poselib'")
        if not (self.threshold_px > 0 and self.iterations > 0):
            raise ConfigError(
                f'threshold_px {self.threshold_px}, iterations {self.iterations}: '
                'expected positive numbers'
            )


def require_installed(config: SolverConfig) -> None:
    """Refuses a solver that is not there, before the first view needs it.

    Raises:
        ConfigError: It is not installed.
    """
    if config.pnp == 'poselib' and importlib.util.find_spec('poselib') is None:
        raise ConfigError(
            "pnp is 'poselib', which is not installed: pip install poselib, or take 'opencv'"
        )


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A pose and what speaks for it.

    Attributes:
        T_place_camera: (4, 4).
        inlier: (M,) correspondences that agree with it.
        score: Sum over the inliers of 1 for a perfect one down to 0 at the threshold.
        support: Number of different features of the view among the inliers.
        method: 'pnp' or 'aligned'.
    """

    T_place_camera: Array
    inlier: Mask
    score: float
    support: int
    method: str


def errors_of(
    matches: Correspondences, T_place_camera: Array, noise: NoiseModel
) -> tuple[Array, Array]:
    """Normalised errors of correspondences at a pose, or at many.

    Args:
        matches: M of them.
        T_place_camera: (..., 4, 4).
        noise: Deviations.

    Returns:
        Across the ray (..., M), and along it (..., M), which is zero where the view has no depth;
        both in deviations, infinite behind the camera.
    """
    R = T_place_camera[..., :3, :3]
    seen = (matches.points - T_place_camera[..., None, :3, 3]) @ R
    z = seen[..., 2]
    with np.errstate(invalid='ignore', divide='ignore'):
        off = seen[..., :2] / z[..., None] - matches.rays[:, :2]
        across = np.hypot(off[..., 0], off[..., 1]) / noise.std_across(z, matches.focal_px)
        along = np.abs(z - matches.depth) / noise.std_along(z)
    along = np.where(np.isfinite(matches.depth), along, 0.0)
    behind = ~(z > 0.05)
    return np.where(behind, np.inf, across), np.where(behind, np.inf, along)


def judged(
    matches: Correspondences, T_place_camera: Array, noise: NoiseModel, method: str
) -> Hypothesis:
    """A pose (4, 4) with its inliers and its score."""
    worst = np.maximum(*errors_of(matches, T_place_camera, noise))
    inlier = worst < noise.reach
    score = float(np.sum(1.0 - (worst[inlier] / noise.reach) ** 2))
    support = len(np.unique(matches.feature[inlier]))
    return Hypothesis(T_place_camera, inlier, score, support, method)


def perspective(
    matches: Correspondences, noise: NoiseModel, config: SolverConfig
) -> Hypothesis | None:
    """The pose that most correspondences agree with, by their rays; None if there is none.

    Depths of the view, where there are some, take part in the judgement but not in the search.
    """
    T = _perspective(matches, config)
    return None if T is None else judged(matches, T, noise, 'pnp')


def aligned(
    matches: Correspondences, noise: NoiseModel, config: SolverConfig
) -> Hypothesis | None:
    """The same by points in space; None where the view has no three depths that fit the map."""
    T = _aligned(matches, noise, config.seed)
    return None if T is None else judged(matches, T, noise, 'aligned')


def solve(
    matches: Correspondences, noise: NoiseModel, config: SolverConfig, colour_only: bool = False
) -> Hypothesis | None:
    """The better one of the hypotheses, not yet refined.

    Args:
        matches: Right and wrong ones.
        noise: What counts as agreement.
        config: Settings.
        colour_only: Do not look at the depths of the view.

    Returns:
        The hypothesis of the higher score; None if there is not even a triple that fits.
    """
    if colour_only:
        return perspective(matches.without_depth(), noise, config)
    found = [perspective(matches, noise, config), aligned(matches, noise, config)]
    return max((h for h in found if h is not None), key=lambda h: h.score, default=None)


def _perspective(matches: Correspondences, config: SolverConfig) -> Array | None:
    """Perspective-n-point with RANSAC, on rays, so that any camera will do."""
    if len(matches) < 4:
        return None
    solver = _pnp_poselib if config.pnp == 'poselib' else _pnp_opencv
    pixels = np.ascontiguousarray(matches.rays[:, :2] * matches.focal_px)
    T_camera_place = solver(np.ascontiguousarray(matches.points), pixels, matches.focal_px, config)
    if T_camera_place is None or not se3.is_rigid(T_camera_place, 1e-6):
        return None
    return se3.inverse(T_camera_place)


def _pnp_opencv(points: Array, pixels: Array, focal: float, config: SolverConfig) -> Array | None:
    if len(points) < 6:
        return None
    params = cv2.UsacParams()
    params.threshold = config.threshold_px
    params.maxIterations = config.iterations
    params.confidence = 0.9999
    params.randomGeneratorState = config.seed
    params.score = cv2.SCORE_METHOD_MSAC
    params.loMethod = cv2.LOCAL_OPTIM_INNER_LO
    params.sampler = cv2.SAMPLING_UNIFORM
    K = np.diag([focal, focal, 1.0])
    # The state above does not reach all that it draws: the rest comes from the thread's generator.
    cv2.setRNGSeed(config.seed)
    try:
        ok, _, rotation, t, inliers = cv2.solvePnPRansac(points, pixels, K, None, params=params)
    except cv2.error:
        # Raised where a sample of it has no solution at all; there is no pose then.
        return None
    if not ok or inliers is None or len(inliers) < 4:
        return None
    return se3.make(se3.exp_rotation(rotation.ravel()), t.ravel())


def _pnp_poselib(points: Array, pixels: Array, focal: float, config: SolverConfig) -> Array | None:
    import poselib

    camera = {'model': 'SIMPLE_PINHOLE', 'width': 1, 'height': 1, 'params': [focal, 0.0, 0.0]}
    options = {
        'max_reproj_error': config.threshold_px,
        'max_iterations': config.iterations,
        'seed': config.seed,
    }
    pose, report = poselib.estimate_absolute_pose(pixels, points, camera, options, {})
    if report['num_inliers'] < 4:
        return None
    return se3.make(pose.R, pose.t)


def _aligned(matches: Correspondences, noise: NoiseModel, seed: int) -> Array | None:
    """Alignment of three measured points with three of the map, the best of many triples.

    A triple is tried only if its sides have the lengths that the map says: that needs no pose
    and drops nearly all triples with a wrong match in them.
    """
    measured = np.flatnonzero(np.isfinite(matches.depth))
    if len(measured) < 3:
        return None
    rng = np.random.default_rng(seed)
    triples = measured[rng.integers(len(measured), size=(_TRIPLES, 3))]
    p = matches.rays * matches.depth[:, None]
    sides = [(0, 1), (1, 2), (2, 0)]
    std = noise.std_along(matches.depth)
    fits = np.ones(_TRIPLES, dtype=bool)
    for a, b in sides:
        i, j = triples[:, a], triples[:, b]
        here = np.linalg.norm(p[i] - p[j], axis=1)
        there = np.linalg.norm(matches.points[i] - matches.points[j], axis=1)
        fits &= np.abs(here - there) < noise.reach * np.hypot(std[i], std[j])
        fits &= here > _MIN_BASE_M
    triples = triples[fits][:_KEPT]
    if not len(triples):
        return None
    T = align(p[triples], matches.points[triples])
    T = T[np.isfinite(T).all(axis=(1, 2))]
    if not len(T):
        return None
    # Ranked by some of the matches, the first few of the ranking judged by all.
    some = matches.take(rng.permutation(len(matches))[:_JURY])
    best = max(
        (T[k] for k in np.argsort(-_scores(some, T, noise))[:_FINALISTS]),
        key=lambda each: _scores(matches, each[None], noise)[0],
    )
    # Once more from all that agree, near points counting for more.
    inlier = np.maximum(*errors_of(matches, best, noise)) < noise.reach
    inlier &= np.isfinite(matches.depth)
    if inlier.sum() < 3:
        return best
    again = align(p[None, inlier], matches.points[None, inlier], 1.0 / std[inlier] ** 2)[0]
    both = [judged(matches, each, noise, 'aligned') for each in (best, again)]
    return max(both, key=lambda each: each.score).T_place_camera


def _scores(matches: Correspondences, T: Array, noise: NoiseModel) -> Array:
    """(B,) scores, as in `Hypothesis`, of poses (B, 4, 4)."""
    worst = np.maximum(*errors_of(matches, T, noise)) / noise.reach
    return np.asarray(np.sum(np.maximum(0.0, 1.0 - worst**2), axis=1))


def align(source: Array, target: Array, weights: Array | None = None) -> Array:
    """The rigid motions that best take points to points.

    Reference: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 1991, eq. 34-43, without scale.

    Args:
        source: (B, N, 3) m.
        target: (B, N, 3) m.
        weights: (N,) or None for equal ones.

    Returns:
        (B, 4, 4) T_target_source.
    """
    share = np.ones(source.shape[1]) if weights is None else weights
    share = share / share.sum()
    centre_s = np.einsum('n,bni->bi', share, source)
    centre_t = np.einsum('n,bni->bi', share, target)
    spread = np.einsum(
        'n,bni,bnj->bij', share, target - centre_t[:, None], source - centre_s[:, None]
    )
    U, _, Vt = np.linalg.svd(spread)
    sign = np.ones((len(source), 3))
    sign[:, 2] = np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    R = (U * sign[:, None, :]) @ Vt
    T = np.tile(np.eye(4), (len(source), 1, 1))
    T[:, :3, :3] = R
    T[:, :3, 3] = centre_t - np.einsum('bij,bj->bi', R, centre_s)
    return T


def depth_scale(matches: Correspondences, hypothesis: Hypothesis) -> tuple[float, int]:
    """How many times too large the view's depths are, against a pose found without them.

    Args:
        matches: With the depths of the view.
        hypothesis: Of the same, from colour alone.

    Returns:
        Median of depth / (depth that the map says), NaN without any; and of how many.
    """
    used = hypothesis.inlier & np.isfinite(matches.depth)
    if not used.any():
        return float('nan'), 0
    T = se3.inverse(hypothesis.T_place_camera)
    z = se3.transform(T, matches.points[used])[:, 2]
    return float(np.median(matches.depth[used] / z)), int(used.sum())
