# SPDX-License-Identifier: Apache-2.0
"""Sensor samples on their way into the localizer: converted, checked, counted. No ROS here."""

from collections.abc import Callable, Mapping
import math
import threading
from typing import Any

from geoloc_core.errors import GeolocError
from geoloc_core.localizer import Localizer
from geoloc_core.messages import conversions
from geoloc_core.messages.transform_buffer import Mounts
from geoloc_core.types import Status
from geoloc_ros.diagnostics import Complaints, InputMonitor

# topic -> whether its silence is worth a warning from the start
TOPICS = {
    'image': True,
    'camera_info': True,
    'depth/image': False,
    'depth/camera_info': False,
    'fix': False,
    'odom': False,
    'imu': False,
    'heading': False,
    'initialpose': False,
}

# topic -> what the localizer calls it
STREAMS = {'fix': 'gnss', 'odom': 'odometry', 'initialpose': 'initial_pose'}

# What the localizer has kept, though it may not make a pose yet.
KEPT = (Status.OK, Status.NO_YAW, Status.NO_PRIOR)


class StampGuard:
    """Refuses stamps from the future, and remembers the newest that was believed.

    Args:
        now_ns: ROS time; 0 while there is none (simulated time before the first /clock).
        max_ahead_s: What clocks of different machines may differ.
    """

    def __init__(self, now_ns: Callable[[], int], max_ahead_s: float) -> None:
        self._now_ns = now_ns
        self._max_ahead_s = max_ahead_s
        self._lock = threading.Lock()
        self._newest_ns = 0

    @property
    def newest_ns(self) -> int:
        """Newest accepted stamp; 0 if none."""
        return self._newest_ns

    def refusal(self, stamp_ns: int) -> str:
        """Why a stamp is not believed, or ''."""
        now = self._now_ns()
        ahead_s = (stamp_ns - now) / 1e9
        if now > 0 and ahead_s > self._max_ahead_s:
            return (
                f'stamp is {ahead_s:.3g} s ahead of ROS time: clocks differ, or use_sim_time is '
                'wrong'
            )
        return ''

    def accept(self, stamp_ns: int) -> None:
        """Notes the stamp of a sample that was used."""
        with self._lock:
            self._newest_ns = max(self._newest_ns, stamp_ns)

    def clear(self) -> None:
        """Forgets (the clock jumped back)."""
        with self._lock:
            self._newest_ns = 0


class SensorInputs:
    """One method a topic; each ends in a count, none raises what geoloc foresees.

    Args:
        params: All parameters.
        localizer: Whom to tell.
        mounts: Where sensors sit.
        guard: Judges stamps.
        monitors: Topic -> its counts.
        complaints: Where refusals are told to people.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        localizer: Localizer,
        mounts: Mounts,
        guard: StampGuard,
        monitors: Mapping[str, InputMonitor],
        complaints: Complaints,
    ) -> None:
        self._params = params
        self._localizer = localizer
        self._mounts = mounts
        self._guard = guard
        self._monitors = monitors
        self._complaints = complaints

    def fix(self, message: Any) -> None:
        """sensor_msgs/NavSatFix."""
        self._take('fix', message, self._fix)

    def odom(self, message: Any) -> None:
        """nav_msgs/Odometry."""
        self._take('odom', message, self._odom)

    def imu(self, message: Any) -> None:
        """sensor_msgs/Imu."""
        self._take('imu', message, self._imu)

    def heading(self, message: Any) -> None:
        """geometry_msgs/QuaternionStamped."""
        self._take('heading', message, self._heading)

    def initialpose(self, message: Any) -> None:
        """geometry_msgs/PoseWithCovarianceStamped."""
        self._take('initialpose', message, self._initialpose)

    def _take(self, topic: str, message: Any, use: Callable[[Any, int], Status]) -> None:
        try:
            stamp = conversions.stamp_ns(message.header.stamp)
            reason = self._guard.refusal(stamp)
            if reason:
                status = Status.BAD_STAMP
            else:
                stream = STREAMS.get(topic, topic)
                self._localizer.refusals.pop(stream, None)
                status = use(message, stamp)
                detail = self._localizer.refusals.get(stream)
                reason = f'{status.value}: {detail}' if detail else status.value
        except GeolocError as error:
            status, reason = Status.BAD_INPUT, str(error)
        if status in KEPT:
            self._guard.accept(stamp)
            return
        self._monitors[topic].refuse(status.name, reason)
        self._complaints.add(topic, f'{status.name}: {reason}')

    def _fix(self, message: Any, stamp: int) -> Status:
        fix = conversions.gnss_from_fix(message, None, self._params['fix.default_std_m'])
        if fix is None:
            return Status.NO_FIX
        frame_id = str(message.header.frame_id)
        T = self._mounts.T_base_sensor('antenna', frame_id, stamp)
        fix = conversions.with_antenna(fix, T[:3, 3])
        return self._localizer.on_gnss(fix)

    def _odom(self, message: Any, stamp: int) -> Status:
        frame = str(message.header.frame_id).lstrip('/')
        if frame != self._params['frames.odom']:
            self._complaints.add(
                'odom',
                f'is in frame {frame!r}, frames.odom is {self._params["frames.odom"]!r}: used, '
                'but map -> odom will not connect to it',
            )
        return self._localizer.on_odometry(
            conversions.odometry_from_message(message, self._params['frames.base'])
        )

    def _imu(self, message: Any, stamp: int) -> Status:
        T = self._mounts.T_base_sensor('imu', str(message.header.frame_id), stamp)
        return self._localizer.on_imu(conversions.imu_from_message(message, T[:3, :3]))

    def _heading(self, message: Any, stamp: int) -> Status:
        _, yaw = conversions.heading_from_message(
            message, self._params['heading.convention'], self._params['heading.offset_deg']
        )
        std = math.radians(self._params['heading.std_deg'])
        return self._localizer.on_heading(stamp, yaw, std)

    def _initialpose(self, message: Any, stamp: int) -> Status:
        stamp, T, cov = conversions.initial_pose_from_message(
            message,
            self._params['frames.map'],
            self._params['initial_pose.default_std_m'],
            self._params['initial_pose.default_std_deg'],
        )
        return self._localizer.on_initial_pose(stamp, T, cov)
