# SPDX-License-Identifier: Apache-2.0
"""Trajectories against a truth: association by stamp, alignment, APE and RPE.

Absolute and relative pose error follow Sturm et al., "A Benchmark for the Evaluation of RGB-D
SLAM Systems", IROS 2012, eq. 1-5; the alignment is the closed form of Umeyama, "Least-squares
estimation of transformation parameters between two point patterns", TPAMI 1991, eq. 34-43,
with the scale held at one. The tests hold both to `evo`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import InputError
from geoloc_core.geometry import se3

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Trajectory:
    """Poses at stamps.

    Attributes:
        stamps_ns: (N,) int64, strictly increasing.
        poses: (N, 4, 4), T_map_base at each stamp.
    """

    stamps_ns: NDArray[np.int64]
    poses: Array

    def __post_init__(self) -> None:
        """Refuses what is not a trajectory.

        Raises:
            InputError: Shapes disagree or stamps do not increase.
        """
        if self.stamps_ns.ndim != 1 or self.poses.shape != (len(self.stamps_ns), 4, 4):
            raise InputError(
                f'a trajectory needs (N,) stamps and (N, 4, 4) poses, got {self.stamps_ns.shape} '
                f'and {self.poses.shape}'
            )
        if np.any(np.diff(self.stamps_ns) <= 0):
            raise InputError('stamps of a trajectory must increase; sort it and drop repetitions')

    @staticmethod
    def of(samples: Iterable[tuple[int, Array]]) -> 'Trajectory':
        """Makes one of (stamp_ns, (4, 4)) pairs in any order; of a repeated stamp the last stays.

        Args:
            samples: Pairs of stamp and pose.

        Returns:
            The sorted trajectory, possibly empty.
        """
        by_stamp = {int(stamp): np.asarray(pose, dtype=np.float64) for stamp, pose in samples}
        stamps = np.array(sorted(by_stamp), dtype=np.int64)
        poses = np.array([by_stamp[int(s)] for s in stamps]).reshape(len(stamps), 4, 4)
        return Trajectory(stamps, poses)

    def __len__(self) -> int:
        """Number of poses."""
        return len(self.stamps_ns)

    @property
    def xy(self) -> Array:
        """(N, 2) positions in the plane, m."""
        return self.poses[:, :2, 3]

    @property
    def yaws(self) -> Array:
        """(N,) yaw, rad."""
        return np.arctan2(self.poses[:, 1, 0], self.poses[:, 0, 0])

    @property
    def length_m(self) -> float:
        """Length of the driven line in the plane, m."""
        return float(np.linalg.norm(np.diff(self.xy, axis=0), axis=1).sum())

    def transformed(self, T_new_old: Array) -> 'Trajectory':
        """The same poses told in another frame, `T_new_old @ pose`."""
        return Trajectory(self.stamps_ns, T_new_old @ self.poses)

    def at(self, stamps_ns: ArrayLike, max_gap_ns: int = 1_000_000_000) -> tuple[Array, NDArray]:
        """Interpolates poses at stamps: linear in position, along the great arc in rotation.

        Args:
            stamps_ns: (M,) stamps wanted.
            max_gap_ns: Neighbours further apart than this are not bridged.

        Returns:
            (M, 4, 4) poses, NaN where there is none, and (M,) bool, True where there is one.
        """
        wanted = np.asarray(stamps_ns, dtype=np.int64).reshape(-1)
        poses = np.full((len(wanted), 4, 4), np.nan)
        valid = np.zeros(len(wanted), dtype=bool)
        right = np.searchsorted(self.stamps_ns, wanted, side='left')
        for i, (stamp, r) in enumerate(zip(wanted, right, strict=True)):
            if r < len(self) and self.stamps_ns[r] == stamp:
                poses[i], valid[i] = self.poses[r], True
            elif 0 < r < len(self):
                t0, t1 = int(self.stamps_ns[r - 1]), int(self.stamps_ns[r])
                if t1 - t0 <= max_gap_ns:
                    alpha = (int(stamp) - t0) / (t1 - t0)
                    poses[i] = se3.interpolate(self.poses[r - 1], self.poses[r], alpha)
                    valid[i] = True
        return poses, valid


@dataclass(frozen=True)
class PoseErrors:
    """Errors of a trajectory, one entry an associated pose or pair.

    Attributes:
        translation_m: (N,) Euclidean, in three dimensions.
        rotation_rad: (N,) angle of the rotation error, 0..pi.
    """

    translation_m: Array
    rotation_rad: Array


def associate(
    stamps_a_ns: ArrayLike, stamps_b_ns: ArrayLike, max_difference_ns: int = 10_000_000
) -> tuple[Indices, Indices]:
    """Pairs each stamp of a with the nearest of b.

    Args:
        stamps_a_ns: (N,) increasing.
        stamps_b_ns: (M,) increasing.
        max_difference_ns: Pairs further apart are left out.

    Returns:
        Indices into a and into b, of equal length; each stamp of b is used at most once, by the
        nearest of those of a that want it.
    """
    a = np.asarray(stamps_a_ns, dtype=np.int64)
    b = np.asarray(stamps_b_ns, dtype=np.int64)
    best: dict[int, tuple[int, int]] = {}
    if len(b):
        for i, stamp in enumerate(a):
            r = int(np.searchsorted(b, stamp))
            j = min((k for k in (r - 1, r) if 0 <= k < len(b)), key=lambda k: abs(b[k] - stamp))
            gap = abs(int(b[j] - stamp))
            if gap <= max_difference_ns and (j not in best or gap < best[j][0]):
                best[j] = (gap, i)
    pairs = sorted((i, j) for j, (_, i) in best.items())
    return (
        np.array([i for i, _ in pairs], dtype=np.intp),
        np.array([j for _, j in pairs], dtype=np.intp),
    )


def umeyama(source: ArrayLike, target: ArrayLike) -> Array:
    """Rigid transform that lays one point set on another in the least-squares sense.

    Args:
        source: (N, 3), N >= 3, not all on one line.
        target: (N, 3).

    Returns:
        (4, 4) T_target_source.

    Raises:
        InputError: Fewer than three points, or shapes that differ.
    """
    p = np.asarray(source, dtype=np.float64)
    q = np.asarray(target, dtype=np.float64)
    if p.shape != q.shape or p.ndim != 2 or p.shape[1] != 3 or len(p) < 3:
        raise InputError(f'alignment needs two (N >= 3, 3) sets, got {p.shape} and {q.shape}')
    centre_p, centre_q = p.mean(axis=0), q.mean(axis=0)
    u, _, vt = np.linalg.svd((q - centre_q).T @ (p - centre_p) / len(p))
    # A reflection would fit planar sets just as well; it is not a motion.
    sign = np.diag([1.0, 1.0, np.linalg.det(u) * np.linalg.det(vt)])
    rotation = u @ sign @ vt
    return se3.make(rotation, centre_q - rotation @ centre_p)


def _magnitudes(errors: Array) -> PoseErrors:
    """Translation and rotation size of (N, 4, 4) error transforms."""
    # atan2 of the antisymmetric part keeps small angles exact, where arccos of the trace rounds.
    r = errors[:, :3, :3]
    sine = 0.5 * np.linalg.norm(
        np.stack(
            [r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], axis=1
        ),
        axis=1,
    )
    cosine = 0.5 * (np.trace(r, axis1=1, axis2=2) - 1)
    return PoseErrors(np.linalg.norm(errors[:, :3, 3], axis=1), np.arctan2(sine, cosine))


def ape(estimate: Trajectory, truth: Trajectory, align: bool = False) -> PoseErrors:
    """Absolute pose error of two trajectories that share their stamps one to one.

    Args:
        estimate: Poses to judge.
        truth: Poses at the same indices (see `associate` or `Trajectory.at`).
        align: Lay the estimate on the truth first (Umeyama); for odometry, whose frame is its own.

    Returns:
        The errors `truth^-1 estimate` of each pose.

    Raises:
        InputError: The lengths differ, or there are too few poses to align.
    """
    if len(estimate) != len(truth):
        raise InputError(f'{len(estimate)} estimates against {len(truth)} truths: associate first')
    poses = estimate.poses
    if align:
        poses = umeyama(poses[:, :3, 3], truth.poses[:, :3, 3]) @ poses
    return _magnitudes(np.linalg.inv(truth.poses) @ poses)


def rpe(estimate: Trajectory, truth: Trajectory, step: int = 1) -> PoseErrors:
    """Relative pose error over pairs of poses `step` indices apart.

    Args:
        estimate: Poses to judge.
        truth: Poses at the same indices.
        step: Distance of a pair, in poses, at least 1. Pairs overlap.

    Returns:
        The errors of the N - step relative motions.

    Raises:
        InputError: The lengths differ or the step is not positive.
    """
    if len(estimate) != len(truth):
        raise InputError(f'{len(estimate)} estimates against {len(truth)} truths: associate first')
    if step < 1:
        raise InputError(f'a step of {step} poses: it must be at least 1')
    moved_truth = np.linalg.inv(truth.poses[:-step]) @ truth.poses[step:]
    moved = np.linalg.inv(estimate.poses[:-step]) @ estimate.poses[step:]
    return _magnitudes(np.linalg.inv(moved_truth) @ moved)
