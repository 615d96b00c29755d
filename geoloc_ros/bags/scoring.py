# SPDX-License-Identifier: Apache-2.0
"""Scores a run against the truth: the one place where figures are made, live or offline.

Every system is asked at the stamps of the camera frames. `geoloc` is the estimate at the frame's
own stamp. `gnss` is the straight line between fixes, and the last fix while there is none. Its yaw
is the course over the last second. `odometry` is dead reckoning from the true pose at the first
frame. Errors are in the plane.
"""

from collections import Counter
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.evaluation import camera_poses, consistency, continuity, metrics
from geoloc_core.evaluation.trajectory import rpe, Trajectory
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_ros.bags.run import FrameRecord, RunInputs, RunRecord

Array = NDArray[np.float64]

OUTAGE_S = 2.0
COURSE_BASELINE_S = 1.0
COURSE_MIN_M = 1.0
SECOND_NS = 1_000_000_000
# Statuses of frames whose estimate geoloc itself warns about.
NOT_TRUSTED = ('LOST', 'NO_PRIOR', 'NO_YAW', 'DROPPED', 'UNACCOUNTED')


@dataclass(frozen=True)
class Score:
    """A scored run.

    Attributes:
        metrics: Content of `metrics.json`.
        rows: Content of `frames.csv`, one a camera frame; absent values are None.
        trajectories: By system name and 'truth', in the run's map frame.
    """

    metrics: dict[str, Any]
    rows: list[dict[str, Any]]
    trajectories: dict[str, Trajectory]


def frame_to_frame(target: Datum, source: Datum) -> Array:
    """T_target_source (4, 4) of two local frames; both are rigid in ECEF, so this is exact."""
    points = np.vstack([np.zeros(3), np.eye(3) * 1000.0])
    there = EnuFrame(target).enu_from_geodetic(*EnuFrame(source).geodetic_from_enu(points))
    u, _, vt = np.linalg.svd((there[1:] - there[0]) / 1000.0)
    return se3.make((u @ vt).T, there[0])


def gnss_at(
    inputs: RunInputs, datum: Datum, stamps_ns: NDArray[np.int64]
) -> tuple[Array, Array, list[tuple[int, int]]]:
    """What GNSS alone says at stamps.

    Args:
        inputs: The fixes.
        datum: Origin of the frame wanted.
        stamps_ns: (N,) increasing.

    Returns:
        (N, 2) antenna positions, NaN before the first fix; (N,) course over ground, NaN where
        the antenna hardly moved; and the outages between the first stamp and the last.
    """
    xy = np.full((len(stamps_ns), 2), np.nan)
    course = np.full(len(stamps_ns), np.nan)
    if not len(stamps_ns):
        return xy, course, []
    times = np.array([f.stamp_ns for f in inputs.fixes], dtype=np.int64)
    start, end = int(stamps_ns[0]), int(stamps_ns[-1])
    outages = metrics.gaps(times, start, end, OUTAGE_S)
    if not len(times):
        return xy, course, outages
    places = _fix_places(inputs, datum)
    for i, stamp in enumerate(stamps_ns):
        xy[i] = _held(times, places, int(stamp), outages)
        past = _held(times, places, int(stamp - COURSE_BASELINE_S * SECOND_NS), outages)
        moved = xy[i] - past
        if np.linalg.norm(moved) >= COURSE_MIN_M:
            course[i] = math.atan2(moved[1], moved[0])
        elif i:
            course[i] = course[i - 1]
    return xy, course, outages


def _fix_places(inputs: RunInputs, datum: Datum) -> Array:
    lat, lon, alt = np.array([(f.lat_deg, f.lon_deg, f.alt_m) for f in inputs.fixes]).T
    return EnuFrame(datum).enu_from_geodetic(lat, lon, alt)[:, :2]


def _held(
    times: NDArray[np.int64], places: Array, stamp: int, outages: list[tuple[int, int]]
) -> Array:
    """Interpolated position; the last one during outages, at the end; NaN before the first."""
    right = int(np.searchsorted(times, stamp, side='right'))
    if right == 0:
        return np.full(2, np.nan)
    cut = any(a < stamp < b for a, b in outages)
    if right == len(times) or cut:
        return places[right - 1]
    t0, t1 = times[right - 1], times[right]
    alpha = (stamp - t0) / (t1 - t0)
    return (1 - alpha) * places[right - 1] + alpha * places[right]


def dead_reckoning(
    odometry: Trajectory, truth: Trajectory, stamps_ns: NDArray[np.int64]
) -> Trajectory:
    """Odometry laid on the truth at the first stamp that both know, from there on."""
    T_odom, known = odometry.at(stamps_ns)
    T_true, known_true = truth.at(stamps_ns)
    both = np.flatnonzero(known & known_true)
    if not len(both):
        return Trajectory.of([])
    first = int(both[0])
    T_map_odom = T_true[first] @ se3.inverse(T_odom[first])
    kept = np.flatnonzero(known)
    kept = kept[kept >= first]
    return Trajectory(stamps_ns[kept], T_map_odom @ T_odom[kept])


def score(run: RunRecord, inputs: RunInputs, *, name: str = '') -> Score:
    """Scores a run.

    Args:
        run: What geoloc answered.
        inputs: What the bag held.
        name: Of the run, for people.

    Returns:
        Metrics, rows and trajectories. Without truth (or without any estimate) the errors are
        absent, but every frame is still accounted for.
    """
    frames = _all_frames(run, inputs)
    stamps = np.array([f.stamp_ns for f in frames], dtype=np.int64)
    datum = run.datum or inputs.truth_datum
    truth = _truth_in(inputs, datum)
    T_truth, known = (
        truth.at(stamps)
        if truth is not None
        else (np.full((len(stamps), 4, 4), np.nan), np.zeros(len(stamps), bool))
    )
    poses = np.array([f.pose if f.pose is not None else [np.nan] * 3 for f in frames])
    poses = poses.reshape(-1, 3)
    covs = np.array([f.cov if f.cov is not None else np.full((3, 3), np.nan) for f in frames])
    covs = covs.reshape(-1, 3, 3)
    truth_xy, truth_yaw = T_truth[:, :2, 3], np.arctan2(T_truth[:, 1, 0], T_truth[:, 0, 0])
    error_xy = poses[:, :2] - truth_xy
    yaw_error = metrics.yaw_error(poses[:, 2], truth_yaw)

    trajectories = {'geoloc': run.estimates}
    systems: dict[str, dict[str, Any]] = {}
    outages: list[tuple[int, int]] = []
    if datum is not None:
        fix_xy, course, outages = gnss_at(inputs, datum, stamps)
        lever = inputs.fixes[0].antenna_in_base if inputs.fixes else (0.0, 0.0, 0.0)
        antenna = (T_truth @ np.array([*lever, 1.0]))[:, :2]
        trajectories['gnss'] = _gnss_trajectory(inputs, datum)
    cut = metrics.inside(stamps, outages)
    if truth is not None:
        trajectories['truth'] = truth
        systems['geoloc'] = _system(error_xy, yaw_error, truth_yaw, cut, known)
        systems['geoloc'].update(_relative(_frame_trajectory(stamps, poses), truth))
        if datum is not None and inputs.fixes:
            systems['gnss'] = _system(
                fix_xy - antenna, metrics.yaw_error(course, truth_yaw), truth_yaw, cut, known
            )
        reckoned = dead_reckoning(inputs.odometry, truth, stamps)
        if len(reckoned):
            trajectories['odometry'] = reckoned
            T_reckoned, there = reckoned.at(stamps)
            systems['odometry'] = _system(
                T_reckoned[:, :2, 3] - truth_xy,
                metrics.yaw_error(np.arctan2(T_reckoned[:, 1, 0], T_reckoned[:, 0, 0]), truth_yaw),
                truth_yaw,
                cut,
                known & there,
            )
            systems['odometry'].update(_relative(reckoned, truth))
    rows = [
        _row(f, T_truth[i], error_xy[i], yaw_error[i], bool(known[i]))
        for i, f in enumerate(frames)
    ]
    figures = _account(frames, inputs, run)
    figures.update(consistency.consistency_summary(error_xy, yaw_error, covs))
    figures.update(_flagging(frames, error_xy, covs))
    figures['continuity'] = continuity.continuity_figures(corrections_of(frames, inputs))
    figures['measured_by'] = dict(Counter(f.source for f in frames if f.source))
    if truth is not None:
        figures['distance_m'] = truth.length_m
        if run.parameters.get('place_map'):
            figures['pose'] = _whole_poses(frames, T_truth, known)
    figures = {
        'name': name,
        'datum': None if datum is None else [datum.lat_deg, datum.lon_deg, datum.alt_m],
        **figures,
        'systems': systems,
        'outages_ns': [[int(a), int(b)] for a, b in outages],
        'outage_s': sum(b - a for a, b in outages) * 1e-9,
        'parameters': run.parameters,
        **run.details,
    }
    return Score(_plain(figures), rows, trajectories)


def corrections_of(frames: list[FrameRecord], inputs: RunInputs) -> continuity.Corrections:
    """By what the estimate moved from each frame to the next beyond odometry."""
    nowhere = np.full((4, 4), np.nan)
    estimates = [f.T_map_base if f.T_map_base is not None else nowhere for f in frames]
    odom, known = inputs.odometry.at([f.stamp_ns for f in frames])
    return continuity.corrections(
        np.array(estimates).reshape(-1, 4, 4), np.where(known[:, None, None], odom, np.nan)
    )


def _all_frames(run: RunRecord, inputs: RunInputs) -> list[FrameRecord]:
    """Every frame of the bag once; those nobody reported on are UNACCOUNTED."""
    reported = {f.stamp_ns: f for f in run.frames}
    stamps = sorted({int(s) for s in inputs.frame_stamps_ns} | set(reported))
    return [reported.get(s) or FrameRecord(s, 'UNACCOUNTED') for s in stamps]


def _truth_in(inputs: RunInputs, datum: Datum | None) -> Trajectory | None:
    if inputs.truth is None or not len(inputs.truth):
        return None
    if datum is None or inputs.truth_datum is None or datum == inputs.truth_datum:
        return inputs.truth
    return inputs.truth.transformed(frame_to_frame(datum, inputs.truth_datum))


def _gnss_trajectory(inputs: RunInputs, datum: Datum) -> Trajectory:
    places = _fix_places(inputs, datum) if inputs.fixes else np.zeros((0, 2))
    return Trajectory.of(
        (f.stamp_ns, se3.from_planar(float(x), float(y), 0.0))
        for f, (x, y) in zip(inputs.fixes, places, strict=True)
    )


def _frame_trajectory(stamps: NDArray[np.int64], poses: Array) -> Trajectory:
    return Trajectory.of(
        (int(s), se3.from_planar(*(float(v) for v in pose)))
        for s, pose in zip(stamps, poses, strict=True)
        if np.isfinite(pose).all()
    )


def _system(
    error_xy: Array, yaw_error: Array, truth_yaw: Array, cut: NDArray, known: NDArray
) -> dict[str, Any]:
    """Figures of one system over the frames whose truth is known."""
    figures: dict[str, Any] = dict(metrics.position_summary(error_xy[known], truth_yaw[known]))
    figures.update(metrics.yaw_summary(yaw_error[known]))
    for metres, degrees in ((1.0, 5.0), (3.0, 10.0), (5.0, 20.0)):
        figures[f'recall_{metres:g}m_{degrees:g}deg'] = metrics.joint_recall(
            np.linalg.norm(error_xy[known], axis=1), yaw_error[known], metres, degrees
        )
    distance = np.linalg.norm(error_xy, axis=1)
    figures['outage_position_median_m'] = metrics.median(distance[known & cut])
    figures['outage_position_p95_m'] = metrics.percentile(distance[known & cut], 95)
    figures['outside_position_median_m'] = metrics.median(distance[known & ~cut])
    figures['frames_with_pose'] = int(np.isfinite(distance[known]).sum())
    return figures


def _whole_poses(frames: list[FrameRecord], T_truth: Array, known: NDArray) -> dict[str, Any]:
    """Figures of base_link in six degrees of freedom, over the frames whose truth is known.

    A frame counts as answered by the estimate at its stamp, if that may be trusted.
    """
    estimates = np.full((len(frames), 4, 4), np.nan)
    covs = np.full((len(frames), 6, 6), np.nan)
    for i, frame in enumerate(frames):
        if frame.T_map_base is not None and frame.status not in NOT_TRUSTED:
            estimates[i], covs[i] = frame.T_map_base, frame.cov_pose
    errors = camera_poses.pose_errors(estimates[known], T_truth[known])
    figures: dict[str, Any] = dict(camera_poses.camera_pose_figures(errors))
    figures['coverage_95'] = camera_poses.coverage_95(consistency.nees(errors, covs[known]))
    return figures


def _relative(estimate: Trajectory, truth: Trajectory) -> dict[str, float]:
    """RPE over about one second, in the plane."""
    T_truth, known = truth.at(estimate.stamps_ns)
    if known.sum() < 3:
        return {}
    kept = Trajectory(estimate.stamps_ns[known], estimate.poses[known])
    flat = np.array([se3.from_planar(*se3.planar(T)) for T in T_truth[known]])
    step = max(1, round(metrics.rate_hz(kept.stamps_ns)))
    if step >= len(kept):
        return {}
    errors = rpe(kept, Trajectory(kept.stamps_ns, flat), step)
    return {
        'rpe_1s_median_m': metrics.median(errors.translation_m),
        'rpe_1s_median_deg': math.degrees(metrics.median(errors.rotation_rad)),
    }


def _account(frames: list[FrameRecord], inputs: RunInputs, run: RunRecord) -> dict[str, Any]:
    """Counts, rates and latencies."""
    by_status = Counter(f.status for f in frames)
    stamps = np.array([f.stamp_ns for f in frames], dtype=np.int64)
    latencies = [f.latency_ms for f in frames]
    return {
        'duration_s': float(stamps[-1] - stamps[0]) * 1e-9 if len(stamps) else 0.0,
        'frames': len(frames),
        'frames_used': by_status['OK'],
        'frames_with_pose': sum(f.pose is not None for f in frames),
        'localized': sum(f.pose is not None and f.status not in NOT_TRUSTED for f in frames),
        'frames_unaccounted': by_status['UNACCOUNTED'],
        'frames_by_status': dict(by_status),
        'rejected': {k: v for k, v in by_status.items() if k not in ('OK', 'UNACCOUNTED')},
        'latency_ms': {
            'median': metrics.median(latencies),
            'p95': metrics.percentile(latencies, 95),
            'max': metrics.percentile(latencies, 100),
        },
        'rates_hz': {
            'image': metrics.rate_hz(inputs.frame_stamps_ns),
            'fix': metrics.rate_hz([f.stamp_ns for f in inputs.fixes]),
            'odometry': metrics.rate_hz(inputs.odometry.stamps_ns),
            'estimate': metrics.rate_hz(run.estimates.stamps_ns),
        },
    }


def _flagging(frames: list[FrameRecord], error_xy: Array, covs: Array) -> dict[str, Any]:
    """Frames more than a metre off, and those of them that nobody was warned about.

    A frame is flagged when geoloc refused it with a reason (any status but OK), or when its own
    95 % ellipse reaches as far as the error: then the covariance told.
    """
    distance = np.linalg.norm(error_xy, axis=1)
    nees = consistency.nees(error_xy, covs[:, :2, :2])
    limit = consistency.chi2_limit(0.95, 2)
    bad = distance > 1.0
    told = np.array([f.status != 'OK' for f in frames], dtype=bool) | (nees <= limit)
    return {
        'frames_over_1m': int(bad.sum()),
        'frames_over_1m_unflagged': int((bad & ~told).sum()),
    }


def _row(
    frame: FrameRecord, T_truth: Array, error_xy: Array, yaw_error: float, known: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {
        'stamp_ns': frame.stamp_ns,
        'status': frame.status,
        'reasons': '; '.join(frame.reasons),
        'latency_ms': frame.latency_ms,
        'source': frame.source,
    }
    if frame.pose is not None:
        row.update(zip(('x', 'y', 'yaw'), frame.pose, strict=True))
    if frame.cov is not None:
        std = np.sqrt(np.diag(frame.cov))
        row.update(zip(('std_x', 'std_y', 'std_yaw'), std, strict=True))
        row.update(cov_xx=frame.cov[0, 0], cov_xy=frame.cov[0, 1], cov_yy=frame.cov[1, 1])
    if known:
        truth_yaw = math.atan2(T_truth[1, 0], T_truth[0, 0])
        row.update(truth_x=T_truth[0, 3], truth_y=T_truth[1, 3], truth_yaw=truth_yaw)
        if frame.pose is not None:
            lateral, longitudinal = metrics.lateral_longitudinal(error_xy, truth_yaw)
            row.update(
                error_m=float(np.linalg.norm(error_xy)),
                lateral_m=float(lateral),
                longitudinal_m=float(longitudinal),
                yaw_error_deg=math.degrees(yaw_error),
            )
    if frame.measured is not None:
        row.update(zip(('meas_x', 'meas_y', 'meas_yaw'), frame.measured, strict=True))
    return {k: _plain(v) for k, v in row.items()}


def _plain(value: Any) -> Any:
    """JSON-ready: numpy scalars to Python's, what is not finite to None."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
