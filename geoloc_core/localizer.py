# SPDX-License-Identifier: Apache-2.0
"""Where am I on the map, which way do I face, and how sure am I? Start reading here.

Sensors speak to a `Localizer`; it answers with poses:

    localizer = Localizer(LocalizerConfig(), source, map_source)
    localizer.on_odometry(sample)       # dead reckoning: keyframes along the way
    localizer.on_gnss(fix)              # ties them to the Earth; gives datum and first yaw
    estimate = localizer.on_view(view)  # matches the camera to the map, and corrects the rest

`on_view` is the whole idea in a few lines: predict where the robot was when the image was taken,
look there on the map, gate what was found, fuse it at that very moment, answer for that moment.

Nothing raises because of what a sensor sends: each call returns a `Status`, and counts it.
"""

from collections import Counter, deque
from dataclasses import replace
import threading
from typing import cast, Protocol

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import GeolocError, MapError
from geoloc_core.estimation.calibration import Calibration
from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.continuous_output import ContinuousOutput
from geoloc_core.estimation.covariance import is_usable
from geoloc_core.estimation.estimator import Estimator, Prediction
from geoloc_core.estimation.fix_input import checked, DatumFinder
from geoloc_core.estimation.stream_clock import StreamClock
from geoloc_core.estimation.yaw_init import Position
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.types import (
    GnssFix,
    GroundView,
    ImuSample,
    OdometrySample,
    PoseEstimate,
    PoseMeasurement,
    PosePrior,
    Status,
)

__all__ = ['Localizer', 'LocalizerConfig', 'StartingSource', 'ViewSource']

Array = NDArray[np.float64]

STREAMS = ('odometry', 'imu', 'gnss')
# Deviation of what a planar measurement leaves open: large, but bounded.
UNOBSERVED_M = 1000.0
UNOBSERVED_RAD = 3.0
NO_HEIGHT_STD = 1000.0


class ViewSource(Protocol):
    """What turns a view into a measurement: a cross-view source, an RGB-D source, a test."""

    def measure(
        self, view: GroundView, prior: PosePrior, frame: EnuFrame, map_source: AbstractMapSource
    ) -> PoseMeasurement:
        """Measures the pose of one view, or says why it cannot."""


class StartingSource(Protocol):
    """A source that finds a view without being told where to look: it can start an estimate.

    Attributes:
        starts: True. It is asked without prior, frame and map as well.
    """

    starts: bool

    def measure(
        self,
        view: GroundView,
        prior: PosePrior | None,
        frame: EnuFrame | None,
        map_source: AbstractMapSource | None,
    ) -> PoseMeasurement:
        """Measures the pose of one view (6 degrees of freedom), or says why it cannot."""


class Localizer:
    """Fuses GNSS, odometry, gyro and views into one pose on the map. Safe between threads.

    Attributes:
        config: Its settings.
        counters: 'input.STATUS' -> how many; and events such as 'reset' and 're-acquired'.
        events: The last things worth telling a person, newest last.
        refusals: Input -> why its latest sample was not used as it is, '' if it was.
    """

    def __init__(
        self,
        config: LocalizerConfig | None = None,
        source: ViewSource | StartingSource | None = None,
        map_source: AbstractMapSource | None = None,
        frame: EnuFrame | None = None,
    ) -> None:
        """Makes a localizer that knows nothing yet.

        Args:
            config: Settings; the defaults if None.
            source: Turns views into measurements; without one, `on_view` only predicts.
            map_source: Aerial imagery for the source.
            frame: The map frame; by default from `config.datum` or the first fixes.
        """
        self.config = config or LocalizerConfig()
        self._source = source
        self._map_source = map_source
        self._lock = threading.RLock()
        self.counters: Counter[str] = Counter()
        self.events: deque[str] = deque(maxlen=50)
        self.refusals: dict[str, str] = {}
        self._datum = DatumFinder(self.config.datum)
        if frame is not None:
            self._datum.frame = frame
        self._begin()

    def _begin(self) -> None:
        self._estimator = Estimator(self.config)
        self._output = ContinuousOutput(self.config.continuity, self._estimator)
        self._clocks = {name: StreamClock(self.config.clock_jump_s) for name in STREAMS}
        # Counts resets, so that a view begun before one is not fused after it.
        self._generation = getattr(self, '_generation', 0) + 1

    # ---- what the sensors say ----

    def on_odometry(self, sample: OdometrySample) -> Status:
        """Takes in a pose of the continuous odom frame."""
        with self._lock:
            if not self._clock_ok('odometry', sample.stamp_ns):
                return self._count('odometry', Status.BAD_STAMP)
            return self._count('odometry', *self._estimator.push_odometry(sample))

    def on_imu(self, sample: ImuSample) -> Status:
        """Takes in angular rates, and roll and pitch if the device gives them."""
        with self._lock:
            if not self._clock_ok('imu', sample.stamp_ns):
                return self._count('imu', Status.BAD_STAMP)
            return self._count('imu', *self._estimator.push_imu(sample))

    def on_gnss(self, fix: GnssFix) -> Status:
        """Takes in a satellite fix. NO_YAW means: kept, but it does not make a pose yet."""
        with self._lock:
            good = checked(fix, self.config.gnss)
            if not isinstance(good, GnssFix):
                return self._count('gnss', *good)
            if not self._clock_ok('gnss', good.stamp_ns):
                return self._count('gnss', Status.BAD_STAMP)
            status, reason = Status.NO_PRIOR, 'waiting for a datum'
            for each in self._datum.offer(good):
                status, reason = self._estimator.push_position(self._position(each))
            return self._count('gnss', status, reason)

    def on_heading(self, stamp_ns: int, yaw: float, std_yaw: float) -> Status:
        """Takes in a yaw of the base (rad, 0 = east, counter-clockwise) from another device."""
        with self._lock:
            if not (np.isfinite(yaw) and np.isfinite(std_yaw) and std_yaw > 0.0):
                return self._count('heading', Status.BAD_INPUT, 'heading is not finite')
            std = max(std_yaw, self.config.smoother.min_std_yaw)
            return self._count('heading', *self._estimator.push_yaw(stamp_ns, yaw, std))

    def on_initial_pose(self, stamp_ns: int, T_map_base: Array, cov: Array) -> Status:
        """Starts anew where a person says the robot is.

        Args:
            stamp_ns: When it was there.
            T_map_base: (4, 4).
            cov: (6, 6), map axes; zeros, as some tools send for what they do not know, become
                modest defaults.
        """
        with self._lock:
            cov = np.asarray(cov, dtype=np.float64)
            if not se3.is_rigid(T_map_base, 1e-3) or cov.shape != (6, 6):
                return self._count('initial_pose', Status.BAD_INPUT, 'no finite rigid transform')
            if not np.all(np.isfinite(cov)) or np.any(np.diag(cov) < 0.0):
                return self._count('initial_pose', Status.BAD_INPUT, 'covariance is impossible')
            default = np.array([1.0, 1.0, 10.0, 0.1, 0.1, 0.2]) ** 2
            unknown = np.diag(cov) == 0.0
            cov = 0.5 * (cov + cov.T) + np.diag(np.where(unknown, default, 0.0))
            self._estimator.set_pose(stamp_ns, np.asarray(T_map_base, dtype=np.float64), cov)
            self._output.forget()
            return self._count('initial_pose', Status.OK)

    def on_view(self, view: GroundView) -> PoseEstimate:
        """Matches a camera frame to the map; returns the estimate at the frame's own stamp.

        The estimate carries the measurement, whose status tells what became of the frame. The
        matcher's long work runs outside the lock: other inputs are taken in meanwhile. Where
        nothing is known yet, a source that can do without begins the estimate.
        """
        with self._lock:
            prior, generation = self._prior(view.stamp_ns), self._generation
            frame, map_source, now = self._datum.frame, self._map_source, self._now()
        try:
            measured = self._look(view, prior, frame, map_source, now)
        except MapError as error:
            measured = Status.NO_MAP, str(error)
        except GeolocError as error:
            measured = Status.BAD_INPUT, str(error)
        if not isinstance(measured, PoseMeasurement):
            return self._unmeasured(view, *measured)
        with self._lock:
            if generation != self._generation:
                return self._unmeasured(view, Status.STALE, 'reset while the view was matched')
            if isinstance(prior, PosePrior):
                return self._fuse(measured)
            return self._begin_at(measured, prior[1])

    def on_pose(self, measurement: PoseMeasurement) -> Status:
        """Takes in a pose that was measured elsewhere."""
        with self._lock:
            fused = self._fuse(measurement).measurement
            return measurement.status if fused is None else fused.status

    # ---- what it answers ----

    def estimate(self, stamp_ns: int | None = None) -> PoseEstimate:
        """The pose at a stamp, by default that of the newest input."""
        with self._lock:
            if stamp_ns is None:
                stamp_ns = self._now()
            return self._estimate(stamp_ns)

    def T_map_odom(self) -> tuple[int, Array] | None:
        """(stamp, (4, 4)) of the newest odometry, or None without odometry or estimate."""
        with self._lock:
            odom = self._estimator.reckoning.odometry.odom
            if not len(odom):
                return None
            stamp, T_odom_base = odom.stamps[-1], odom.poses[-1]
            found = self._output.predict(stamp)
            if not isinstance(found, Prediction):
                return None
            return stamp, found.T @ se3.inverse(T_odom_base)

    @property
    def frame(self) -> EnuFrame | None:
        """The map frame, or None until a datum is known."""
        return self._datum.frame

    @property
    def calibration(self) -> Calibration:
        """Wheel scale and gyro bias, as far as they are known."""
        with self._lock:
            return self._estimator.calibrator.result

    @property
    def engines(self) -> tuple[AbstractEngine, ...]:
        """What runs the networks of its source, for diagnostics."""
        return tuple(getattr(self._source, 'engines', ()))

    def close(self) -> None:
        """Gives back what its engines hold; no view is matched any more."""
        for engine in self.engines:
            engine.close()

    # ---- what its owner says ----

    def reset(self, reason: str) -> None:
        """Forgets the estimate and all buffers; the datum stays."""
        with self._lock:
            self._begin()
            self.counters['reset'] += 1
            self.events.append(f'reset: {reason}')

    def set_datum(self, datum: Datum) -> None:
        """Moves the origin of the map frame; an estimate is kept and moved with it."""
        with self._lock:
            old, new = self._datum.frame, EnuFrame(datum)
            self._datum.frame = new
            if old is not None:
                self._estimator.move(_between_frames(old, new))
                self._output.forget()
            for fix in self._datum.release():
                self._count('gnss', *self._estimator.push_position(self._position(fix)))
            self._generation += 1
            self.events.append(f'datum set to {datum.lat_deg:.7f}, {datum.lon_deg:.7f}')

    # ---- inside ----

    def _position(self, fix: GnssFix) -> Position:
        frame = self._datum.frame
        assert frame is not None
        xyz = frame.enu_from_geodetic(fix.lat_deg, fix.lon_deg, fix.alt_m)
        cov = fix.cov_enu
        if not np.isfinite(xyz[2]):
            xyz = np.array([xyz[0], xyz[1], 0.0])
            cov = np.zeros((3, 3))
            cov[:2, :2] = fix.cov_enu[:2, :2]
            cov[2, 2] = NO_HEIGHT_STD**2
        arm = fix.antenna_in_base
        if arm is None:
            arm = np.array(self.config.gnss.antenna_in_base)
        return Position(fix.stamp_ns, xyz, cov, np.asarray(arm, dtype=np.float64))

    def _prior(self, stamp_ns: int) -> PosePrior | tuple[Status, str]:
        found = self._estimator.predict(stamp_ns)
        if not isinstance(found, Prediction):
            return found
        std = _horizontal_std(found.cov)
        if std > self.config.vision.max_prior_std:
            return Status.LOST, f'position known to {std:.0f} m only: too wide to search'
        return PosePrior(stamp_ns, found.T, found.cov)

    def _look(
        self,
        view: GroundView,
        prior: PosePrior | tuple[Status, str],
        frame: EnuFrame | None,
        map_source: AbstractMapSource | None,
        now_ns: int,
    ) -> PoseMeasurement | tuple[Status, str]:
        """Asks the source, if it can be asked with what is known."""
        source = self._source
        known = prior if isinstance(prior, PosePrior) else None
        if getattr(source, 'starts', False):
            # Of the past there is nothing to begin with: what came since would be lost.
            if isinstance(prior, tuple) and prior[0] is Status.STALE and view.stamp_ns <= now_ns:
                return prior
            return cast(StartingSource, source).measure(view, known, frame, map_source)
        if not isinstance(prior, PosePrior):
            return prior
        if source is None or map_source is None or frame is None:
            return Status.NO_MAP, 'no map, no matcher or no datum is set'
        return source.measure(view, prior, frame, map_source)

    def _begin_at(self, measured: PoseMeasurement, why: str) -> PoseEstimate:
        """Begins the estimate at a measurement made without a prior, if it is one."""
        T, cov = measured.T_map_base, measured.cov
        status, reason = measured.status, why
        if status is Status.OK:
            if T is None or cov is None or not se3.is_rigid(T, 1e-3) or not is_usable(cov, 6):
                status, reason = Status.BAD_INPUT, 'a view alone begins with a whole pose only'
            else:
                self._estimator.set_pose(measured.stamp_ns, T, cov)
                self._estimator.events.append('begun at a view: ' + '; '.join(measured.reasons))
                reason = ''
        self._count('view', status, reason)
        if reason:
            measured = _with_status(measured, status, reason)
        return self._estimate(measured.stamp_ns, measured)

    def _fuse(self, measured: PoseMeasurement) -> PoseEstimate:
        """Gates and fuses a measurement; the estimate at its stamp."""
        status, reason = measured.status, ''
        if status is Status.OK:
            status, reason = self._push_measurement(measured)
        self._count('view', status, reason)
        if reason:
            measured = _with_status(measured, status, reason)
        return self._estimate(measured.stamp_ns, measured)

    def _push_measurement(self, measured: PoseMeasurement) -> tuple[Status, str]:
        mean, cov3 = measured.likelihood_mean, measured.likelihood_cov
        if mean is not None and cov3 is not None:
            if not np.all(np.isfinite(mean)) or not is_usable(cov3, 3):
                return Status.BAD_INPUT, 'measured pose is not finite'
            rest = measured.T_map_base
            if rest is None:
                found = self._estimator.predict(measured.stamp_ns)
                if not isinstance(found, Prediction):
                    return found
                rest = found.T
            # What the measurement does not speak of stays where the prior had it.
            roll, pitch, _ = se3.rpy_from(rest)
            T = se3.from_planar(mean[0], mean[1], mean[2], float(rest[2, 3]), roll, pitch)
            cov = np.diag([0.0, 0.0, UNOBSERVED_M, UNOBSERVED_RAD, UNOBSERVED_RAD, 0.0]) ** 2
            cov[np.ix_([0, 1, 5], [0, 1, 5])] = cov3
            return self._estimator.push_pose(measured.stamp_ns, T, cov, 3)
        if measured.T_map_base is None or measured.cov is None:
            return Status.BAD_INPUT, 'measurement without a pose'
        if not se3.is_rigid(measured.T_map_base, 1e-3) or not is_usable(measured.cov, 6):
            return Status.BAD_INPUT, 'measured pose or covariance is impossible'
        return self._estimator.push_pose(measured.stamp_ns, measured.T_map_base, measured.cov, 6)

    def _unmeasured(self, view: GroundView, status: Status, reason: str) -> PoseEstimate:
        with self._lock:
            self._count('view', status, reason)
            measurement = PoseMeasurement(view.stamp_ns, status, (reason,))
            return self._estimate(view.stamp_ns, measurement)

    def _estimate(self, stamp_ns: int, measurement: PoseMeasurement | None = None) -> PoseEstimate:
        found = self._output.predict(stamp_ns)
        if not isinstance(found, Prediction):
            return PoseEstimate(stamp_ns, found[0], (found[1],), measurement=measurement)
        status = Status.OK
        reasons: tuple[str, ...] = ()
        if found.source != 'odometry':
            reasons = (f'motion {found.source}: no odometry at this time',)
        std = _horizontal_std(found.cov)
        if std > self.config.smoother.lost_std:
            status, reasons = Status.LOST, (*reasons, f'position known to {std:.0f} m only')
        twist = found.twist
        return PoseEstimate(
            stamp_ns,
            status,
            reasons,
            found.T,
            found.cov,
            None if twist is None else twist[:3],
            None if twist is None else twist[3:],
            measurement,
        )

    def _now(self) -> int:
        stamps = [self._estimator.reckoning.newest_ns or 0]
        if self._estimator.running:
            stamps.append(self._estimator.smoother.newest_ns)
        return max(stamps)

    def _clock_ok(self, stream: str, stamp_ns: int) -> bool:
        verdict = self._clocks[stream].judge(stamp_ns)
        if verdict == 'jumped':
            self.reset(f'the clock of {stream} jumped')
            self._clocks[stream].judge(stamp_ns)
        return verdict != 'suspect'

    def _count(self, stream: str, status: Status, reason: str = '') -> Status:
        self.counters[f'{stream}.{status.name}'] += 1
        self.refusals[stream] = reason
        for event in self._estimator.events:
            self.counters[event.split(':')[0].split(' from')[0]] += 1
            self.events.append(event)
        self._estimator.events.clear()
        return status


def _horizontal_std(cov: Array) -> float:
    """The longer half-axis of the one-sigma ellipse, m."""
    return float(np.sqrt(np.linalg.eigvalsh(cov[:2, :2])[-1]))


def _with_status(measured: PoseMeasurement, status: Status, reason: str) -> PoseMeasurement:
    return replace(measured, status=status, reasons=(*measured.reasons, reason))


def _between_frames(old: EnuFrame, new: EnuFrame) -> Array:
    """T_new_old (4, 4): tangent planes of the same Earth, so a rigid motion."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    moved = new.enu_from_geodetic(*old.geodetic_from_enu(corners))
    R = (moved[1:] - moved[0]).T
    u, _, vt = np.linalg.svd(R)
    return se3.make(u @ vt, moved[0])
