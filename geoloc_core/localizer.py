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

from dataclasses import replace
import threading

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import GeolocError, MapError
from geoloc_core.estimation import measured_pose
from geoloc_core.estimation.answer import answer
from geoloc_core.estimation.calibration import Calibration
from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.continuous_output import ContinuousOutput
from geoloc_core.estimation.covariance import horizontal_std
from geoloc_core.estimation.estimator import Estimator, Prediction
from geoloc_core.estimation.fix_input import checked, DatumFinder, placed
from geoloc_core.estimation.logbook import Logbook
from geoloc_core.estimation.stream_clock import StreamClock
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame, T_between
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.sources.view_source import look, StartingSource, ViewSource
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

__all__ = ['Localizer', 'LocalizerConfig']

Array = NDArray[np.float64]

STREAMS = ('odometry', 'imu', 'gnss')


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
        self._log = Logbook()
        self.counters = self._log.counters
        self.events = self._log.events
        self.refusals = self._log.refusals
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
                status, reason = self._push_fix(each)
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
            status, reason = measured_pose.tell(self._estimator, stamp_ns, T_map_base, cov)
            if status is Status.OK:
                self._output.forget()
            return self._count('initial_pose', status, reason)

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
            measured = look(self._source, view, prior, frame, map_source, now)
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

    def refusal_of(self, camera: AbstractCamera) -> str:
        """Why its source can match no view of a camera, before there is one; '' where it may."""
        ask = getattr(self._source, 'refusal_of', None)
        return '' if ask is None else str(ask(camera))

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
                self._estimator.move(T_between(old, new))
                self._output.forget()
            for fix in self._datum.release():
                self._count('gnss', *self._push_fix(fix))
            self._generation += 1
            self.events.append(f'datum set to {datum.lat_deg:.7f}, {datum.lon_deg:.7f}')

    # ---- inside ----

    def _push_fix(self, fix: GnssFix) -> tuple[Status, str]:
        assert self._datum.frame is not None
        position = placed(fix, self._datum.frame, self.config.gnss)
        return self._estimator.push_position(position)

    def _prior(self, stamp_ns: int) -> PosePrior | tuple[Status, str]:
        found = self._estimator.predict(stamp_ns)
        if not isinstance(found, Prediction):
            return found
        std = horizontal_std(found.cov)
        if std > self.config.vision.max_prior_std:
            return Status.LOST, f'position known to {std:.0f} m only: too wide to search'
        return PosePrior(stamp_ns, found.T, found.cov)

    def _begin_at(self, measured: PoseMeasurement, why: str) -> PoseEstimate:
        """Begins the estimate at a measurement made without a prior, if it is one."""
        status, reason = measured.status, why
        if status is Status.OK:
            status, reason = measured_pose.begin(self._estimator, measured)
        return self._judged(measured, status, reason)

    def _fuse(self, measured: PoseMeasurement) -> PoseEstimate:
        """Gates and fuses a measurement; the estimate at its stamp."""
        status, reason = measured.status, ''
        if status is Status.OK:
            status, reason = measured_pose.fuse(self._estimator, measured)
        return self._judged(measured, status, reason)

    def _judged(self, measured: PoseMeasurement, status: Status, reason: str) -> PoseEstimate:
        self._count('view', status, reason)
        if reason:
            reasons = (*measured.reasons, reason)
            measured = replace(measured, status=status, reasons=reasons)
        return self._estimate(measured.stamp_ns, measured)

    def _unmeasured(self, view: GroundView, status: Status, reason: str) -> PoseEstimate:
        with self._lock:
            self._count('view', status, reason)
            measurement = PoseMeasurement(view.stamp_ns, status, (reason,))
            return self._estimate(view.stamp_ns, measurement)

    def _estimate(self, stamp_ns: int, measurement: PoseMeasurement | None = None) -> PoseEstimate:
        found = self._output.predict(stamp_ns)
        return answer(stamp_ns, found, self.config.smoother.lost_std, measurement)

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
        return self._log.note(stream, status, reason, self._estimator.events)
