# SPDX-License-Identifier: Apache-2.0
"""Who stands where on the robot: a small buffer of transforms, and mounts taken from it.

Takes anything with the fields of tf2_msgs/TFMessage. On the wire TF is two topics; tf2_ros is not
needed to read them.
"""

from collections import deque
from collections.abc import Callable
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import CalibrationError, InputError
from geoloc_core.geometry import se3
from geoloc_core.messages.conversions import transform_from_message

Array = NDArray[np.float64]

MEMORY_S = 10.0


class TransformBuffer:
    """Who stands where, as /tf and /tf_static tell it. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._static: dict[str, tuple[str, Array]] = {}
        self._moving: dict[str, tuple[str, deque[tuple[int, Array]]]] = {}

    def add(self, message: Any, static: bool) -> list[InputError]:
        """Takes a TFMessage; returns what was wrong with single transforms of it."""
        errors = []
        for stamped in message.transforms:
            try:
                self._add(stamped, static)
            except InputError as error:
                errors.append(error)
        return errors

    def _add(self, stamped: Any, static: bool) -> None:
        parent = str(stamped.header.frame_id).lstrip('/')
        child = str(stamped.child_frame_id).lstrip('/')
        if not parent or not child or parent == child:
            raise InputError(f'transform {parent!r} -> {child!r} names no two frames')
        try:
            T = transform_from_message(stamped.transform)
        except InputError as error:
            raise InputError(f'transform {parent} -> {child}: {error}') from None
        with self._lock:
            if static:
                self._static[child] = (parent, T)
                return
            stamp = int(stamped.header.stamp.sec) * 10**9 + int(stamped.header.stamp.nanosec)
            known = self._moving.get(child)
            if known is None or known[0] != parent:
                known = self._moving[child] = (parent, deque())
            samples = known[1]
            if samples and stamp <= samples[-1][0]:
                return
            samples.append((stamp, T))
            while samples[-1][0] - samples[0][0] > MEMORY_S * 1e9:
                samples.popleft()

    def clear(self) -> None:
        """Forgets what moves (the clock jumped back); mounts stay."""
        with self._lock:
            self._moving.clear()

    def lookup(self, target: str, source: str, stamp_ns: int) -> Array | None:
        """T_target_source at a time, or None if the two are not connected then.

        Args:
            target: Frame to express in.
            source: Frame to be expressed.
            stamp_ns: Time; static transforms hold always.

        Returns:
            (4, 4); moving links are interpolated, never extrapolated by more than their last gap.
        """
        with self._lock:
            up_target = self._chain(target, stamp_ns)
            up_source = self._chain(source, stamp_ns)
        for frame, T_frame_source in up_source.items():
            if frame in up_target:
                return se3.inverse(up_target[frame]) @ T_frame_source
        return None

    def _chain(self, frame: str, stamp_ns: int) -> dict[str, Array]:
        """Every ancestor -> T_ancestor_frame, the frame itself included."""
        T = np.eye(4)
        chain = {frame: T}
        while True:
            link = self._static.get(frame)
            if link is None:
                link = self._moving_link(frame, stamp_ns)
            if link is None or link[0] in chain:
                return chain
            frame, T = link[0], link[1] @ T
            chain[frame] = T

    def _moving_link(self, child: str, stamp_ns: int) -> tuple[str, Array] | None:
        if child not in self._moving:
            return None
        parent, samples = self._moving[child]
        stamps = [s for s, _ in samples]
        at = int(np.searchsorted(stamps, stamp_ns))
        if at < len(samples) and stamps[at] == stamp_ns:
            return parent, samples[at][1]
        if at == 0 or len(samples) < 2:
            return None
        if at == len(samples):
            gap = stamps[-1] - stamps[-2]
            return (parent, samples[-1][1]) if stamp_ns - stamps[-1] <= gap else None
        (t0, T0), (t1, T1) = samples[at - 1], samples[at]
        return parent, se3.interpolate(T0, T1, (stamp_ns - t0) / (t1 - t0))


# Which parameters give the mount of a sensor.
MOUNT_PARAMETERS = {
    'camera': 'frames.camera_xyz and frames.camera_rpy',
    'antenna': 'frames.antenna_xyz',
    'imu': 'frames.imu_rpy',
    'depth': 'frames.depth_xyz and frames.depth_rpy',
}


class Mounts:
    """Where sensors sit on the robot: from TF where it tells, else from parameters.

    Args:
        buffer: Filled from /tf_static and /tf; stays empty without tf2_msgs.
        base_frame: Name of base_link.
        from_parameters: Sensor ('camera', 'antenna', 'imu') -> T_base_sensor (4, 4), and 'depth'
            -> T_camera_depth (4, 4), for those whose parameters are given.
        say: Called once per sensor with where its mount was taken from.
    """

    def __init__(
        self,
        buffer: TransformBuffer,
        base_frame: str,
        from_parameters: dict[str, Array],
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._buffer = buffer
        self._base_frame = base_frame
        self._from_parameters = from_parameters
        self._say = say
        self._said: dict[str, str] = {}

    def T_base_sensor(self, sensor: str, frame_id: str, stamp_ns: int) -> Array:
        """(4, 4) sensor frame -> base_link; a camera's is its optical frame.

        Raises:
            CalibrationError: Neither TF nor parameters tell it. Nothing is assumed.
        """
        frame_id = frame_id.lstrip('/')
        T = self._buffer.lookup(self._base_frame, frame_id, stamp_ns) if frame_id else None
        if T is not None:
            self._once(sensor, f'{sensor} mount: {self._base_frame} <- {frame_id} from TF')
            return T
        if sensor in self._from_parameters:
            self._once(sensor, f'{sensor} mount: from {MOUNT_PARAMETERS[sensor]}')
            return self._from_parameters[sensor]
        raise CalibrationError(
            f'mount of the {sensor} is not known: no transform {self._base_frame} <- '
            f'{frame_id!r} on /tf_static, and {MOUNT_PARAMETERS[sensor]} not set'
        )

    def T_camera_depth(self, camera_frame: str, depth_frame: str, stamp_ns: int) -> Array:
        """(4, 4) depth camera -> colour camera, optical frames.

        Raises:
            CalibrationError: Neither TF nor parameters tell it. Nothing is assumed.
        """
        target, source = camera_frame.lstrip('/'), depth_frame.lstrip('/')
        T = self._buffer.lookup(target, source, stamp_ns) if target and source else None
        # A frame is always where it is: that tells nothing of two cameras that share its name.
        if T is not None and target != source:
            self._once('depth', f'depth camera: {target} <- {source} from TF')
            return T
        if 'depth' in self._from_parameters:
            self._once('depth', f'depth camera: from {MOUNT_PARAMETERS["depth"]}')
            return self._from_parameters['depth']
        raise CalibrationError(
            f'where the depth camera sits is not known: no transform {target!r} <- {source!r} on '
            f'/tf_static, and {MOUNT_PARAMETERS["depth"]} not set'
        )

    def _once(self, sensor: str, text: str) -> None:
        if self._said.get(sensor) != text:
            self._said[sensor] = text
            self._say(text)
