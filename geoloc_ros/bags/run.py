# SPDX-License-Identifier: Apache-2.0
"""What one run of geoloc over a bag left behind, whether live or offline: the input of scoring."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.bags.reader import BagReader
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.errors import CalibrationError, InputError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.messages.conversions import gnss_from_fix, transform_from_pose
from geoloc_core.types import PoseEstimate, Status

Array = NDArray[np.float64]

PLANAR = [0, 1, 5]


@dataclass(frozen=True)
class FrameRecord:
    """One camera frame and what became of it.

    Attributes:
        stamp_ns: Its stamp.
        status: Name of the `Status` of the frame: OK when it was used and the estimate stands.
        reasons: Details for people.
        pose: (x, y, yaw) of the estimate at the stamp, m and rad, or None.
        cov: (3, 3) of it, or None.
        latency_ms: From the frame's arrival to its answer, NaN if not measured.
        measured: (x, y, yaw) that the view said by itself, or None.
        timings_ms: Stage -> duration.
        T_map_base: (4, 4) of the estimate at the stamp, or None.
        cov_pose: (6, 6) of it, or None.
        source: What measured: 'aerial', 'place', or '' if nothing did or it is not known.
    """

    stamp_ns: int
    status: str
    reasons: tuple[str, ...] = ()
    pose: Array | None = None
    cov: Array | None = None
    latency_ms: float = float('nan')
    measured: Array | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    T_map_base: Array | None = None
    cov_pose: Array | None = None
    source: str = ''

    @staticmethod
    def of(estimate: PoseEstimate, latency_ms: float = float('nan')) -> 'FrameRecord':
        """The record of a localizer's answer to a view."""
        measurement = estimate.measurement
        status, reasons = estimate.status, estimate.reasons
        if measurement is not None and status is Status.OK:
            status, reasons = measurement.status, measurement.reasons or reasons
        pose = cov = measured = None
        if estimate.T_map_base is not None and estimate.cov is not None:
            pose = np.array(se3.planar(estimate.T_map_base))
            cov = np.asarray(estimate.cov)[np.ix_(PLANAR, PLANAR)]
        if measurement is not None and measurement.likelihood_mean is not None:
            measured = np.asarray(measurement.likelihood_mean, dtype=np.float64)
        return FrameRecord(
            estimate.stamp_ns,
            status.name,
            tuple(reasons),
            pose,
            cov,
            latency_ms,
            measured,
            dict(measurement.timings_ms) if measurement is not None else {},
            estimate.T_map_base if pose is not None else None,
            estimate.cov if pose is not None else None,
            _source(estimate),
        )


def _source(estimate: PoseEstimate) -> str:
    """What measured a view: the aerial map speaks of the plane only, a place of all six axes."""
    measurement = estimate.measurement
    if measurement is None or measurement.status is not Status.OK:
        return ''
    return 'aerial' if measurement.likelihood_mean is not None else 'place'


@dataclass(frozen=True)
class FixRecord:
    """One usable fix of the input: stamp, WGS84 position and the antenna's place in base_link."""

    stamp_ns: int
    lat_deg: float
    lon_deg: float
    alt_m: float
    antenna_in_base: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class RunInputs:
    """What a bag offers to score a run with.

    Attributes:
        frame_stamps_ns: Stamps of all camera frames.
        fixes: Fixes that a receiver claims to be good.
        odometry: T_odom_base.
        truth: T_truth_base, or None.
        truth_datum: Origin of the truth's frame, or None if it is the run's own.
    """

    frame_stamps_ns: NDArray[np.int64]
    fixes: tuple[FixRecord, ...]
    odometry: Trajectory
    truth: Trajectory | None = None
    truth_datum: Datum | None = None

    def with_frames(self, stamps_ns: NDArray[np.int64]) -> 'RunInputs':
        """The same with only these camera frames, for a run that was given no others."""
        return replace(self, frame_stamps_ns=stamps_ns)


@dataclass(frozen=True)
class RunRecord:
    """What geoloc answered.

    Attributes:
        frames: One a camera frame that was reported on, by stamp.
        datum: Origin of the map frame that poses are in, or None if none was ever set.
        estimates: T_map_base of everything published; for a smooth line.
        parameters: Those of the run.
        details: Further figures for `metrics.json` (counters, rates, calibration...).
    """

    frames: tuple[FrameRecord, ...]
    datum: Datum | None
    estimates: Trajectory
    parameters: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def read_inputs(
    reader: BagReader,
    topics: TopicChoice | None = None,
    base_frame: str = 'base_link',
    antenna_in_base: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> RunInputs:
    """Reads from a bag what a run over it is scored with.

    Args:
        reader: The bag.
        topics: The user's choice of topics.
        base_frame: Name of base_link.
        antenna_in_base: Lever arm, where the static transforms do not tell it.

    Raises:
        BagError: A chosen topic is absent, or several fit.
    """
    topics = topics or TopicChoice()
    image = reader.find('image', topics.image)
    fix = reader.find('fix', topics.fix)
    odometry = reader.find('odometry', topics.odometry)
    wanted = [t for t in (image, fix, odometry) if t is not None]
    frames: list[int] = []
    fixes: list[FixRecord] = []
    poses: list[tuple[int, Array]] = []
    for item in reader.messages(wanted):
        try:
            if item.topic == image:
                frames.append(item.stamp_ns)
            elif item.topic == odometry:
                poses.append((item.stamp_ns, transform_from_pose(item.message.pose.pose)))
            else:
                good = gnss_from_fix(item.message)
                if good is not None:
                    mount = reader.extrinsic(base_frame, item.message.header.frame_id)
                    lever = antenna_in_base if mount is None else tuple(mount[:3, 3])
                    fixes.append(
                        FixRecord(item.stamp_ns, good.lat_deg, good.lon_deg, good.alt_m, lever)
                    )
        except (InputError, CalibrationError):
            continue  # the localizer refuses it too, and counts it
    return RunInputs(
        np.array(sorted(frames), dtype=np.int64),
        tuple(sorted(fixes, key=lambda f: f.stamp_ns)),
        Trajectory.of(poses),
        reader.truth(topics.truth),
        reader.truth_datum(),
    )
