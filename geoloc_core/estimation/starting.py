# SPDX-License-Identifier: Apache-2.0
"""Poses that an estimate starts from, and how the first of them is found.

Fixes alone tell a place and no direction. They are kept until a way that was driven under them, or
a heading from elsewhere, makes a whole pose.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.covariance import PLANAR
from geoloc_core.estimation.dead_reckoning import DeadReckoning
from geoloc_core.estimation.keyframes import Keyframes
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.estimation.yaw_init import course_over_ground, Position, yaw_from_motion
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

# Fixes kept for finding a yaw.
MAX_RECENT = 200
# A heading this much older or newer than a fix still goes with it.
HEADING_NS = 2 * NS


@dataclass(frozen=True)
class Start:
    """A pose to start from.

    Attributes:
        stamp_ns: When.
        T: (4, 4), T_map_base.
        cov: (6, 6), map axes.
    """

    stamp_ns: int
    T: Array
    cov: Array

    def carried_on(self, reckoning: DeadReckoning) -> 'Start':
        """Carried to the newest odometry by dead reckoning; itself where none is newer."""
        newest = reckoning.newest_ns
        if newest is None or newest <= self.stamp_ns:
            return self
        motion = reckoning.motion(self.stamp_ns, newest)
        T = self.T @ motion.T
        shift = np.eye(6)
        shift[:3, 3:] = -se3.hat(T[:3, 3] - self.T[:3, 3])
        cov = shift @ self.cov @ shift.T + se3.rotate_cov(motion.cov, T[:3, :3])
        return Start(newest, T, cov)


@dataclass(frozen=True)
class PlanarStart:
    """A pose in the plane, and a height.

    Attributes:
        stamp_ns: When.
        xyyaw: (3,) x, y in m and yaw in rad, of the base.
        cov: (3, 3), theirs.
        z: Height of the base, m.
        var_z: Its variance, m^2.
    """

    stamp_ns: int
    xyyaw: Array
    cov: Array
    z: float
    var_z: float

    def tilted(self, reckoning: DeadReckoning, std_tilt: float) -> Start:
        """In space: tilted as gravity is felt, else level, with deviation `std_tilt` (rad)."""
        tilt = reckoning.gyro.tilt(self.stamp_ns) or (0.0, 0.0)
        T = se3.from_planar(self.xyyaw[0], self.xyyaw[1], self.xyyaw[2], self.z, *tilt)
        cov = np.diag([0.0, 0.0, self.var_z, *[std_tilt**2] * 2, 0.0])
        cov[np.ix_(PLANAR, PLANAR)] = self.cov
        return Start(self.stamp_ns, T, cov)


class FirstPose:
    """Keeps what has been heard of place and direction, until it makes a pose.

    Attributes:
        fixes: Recent ones, as they came.
        broken_ns: The odometry broke here last: what was driven before does not go with it.
    """

    def __init__(self, config: LocalizerConfig, keyframes: Keyframes) -> None:
        """Takes what dead reckoning is read from."""
        self._config = config
        self._keyframes = keyframes
        self._heading: tuple[int, float, float] | None = None
        self.fixes: list[Position] = []
        self.broken_ns = 0

    def add_fix(self, fix: Position) -> bool:
        """Keeps a fix, and of old ones fewer, as neighbours are alike; False if it is known."""
        if any(each.stamp_ns == fix.stamp_ns for each in self.fixes):
            return False
        window = int(self._config.yaw_init.window_s * NS)
        recent = [each for each in self.fixes if fix.stamp_ns - each.stamp_ns <= window]
        if len(recent) > MAX_RECENT:
            recent = recent[::2]
        self.fixes = [*recent, fix]
        return True

    def add_heading(self, stamp_ns: int, yaw: float, std: float) -> None:
        """Keeps a yaw of the base and its deviation, rad."""
        self._heading = (stamp_ns, yaw, std)

    def move(self, T_new_old: Array) -> None:
        """Takes the fixes to another map frame."""
        self.fixes = [replace(fix, xyz=se3.transform(T_new_old, fix.xyz)) for fix in self.fixes]

    def why_not(self) -> str:
        """What a driver can do while there are fixes but no pose."""
        need = self._config.yaw_init.min_distance
        return f'yaw unknown: drive {need:.0f} m or more, or give a heading or an initial pose'

    def find(self) -> Start | None:
        """The pose at the newest fix, or at the end of the track; None while the yaw is open."""
        found = self._in_plane() if self.fixes else None
        if found is None:
            return None
        return found.tilted(self._keyframes.reckoning, self._config.smoother.std_tilt)

    def _in_plane(self) -> PlanarStart | None:
        fix, c = self.fixes[-1], self._config.yaw_init
        height = self._height()
        if self._heading is not None and abs(fix.stamp_ns - self._heading[0]) < HEADING_NS:
            stamp, yaw, std = self._heading
            yaw += se3.yaw_of(self._keyframes.reckoning.motion(stamp, fix.stamp_ns).T)
            arm = se3.rotation_from_rpy(0.0, 0.0, yaw) @ fix.arm
            cov = np.zeros((3, 3))
            cov[:2, :2], cov[2, 2] = fix.cov[:2, :2], std**2
            xyyaw = np.array([*(fix.xyz - arm)[:2], yaw])
            return PlanarStart(fix.stamp_ns, xyyaw, cov, *height)
        if self._keyframes.odometry_alive(fix.stamp_ns):
            track = self._keyframes.reckoning.track
            found = yaw_from_motion(self.fixes, track, self._config, self.broken_ns)
            if found is None:
                return None
            stamp, aligned = found
            xyyaw = np.array([aligned.x, aligned.y, aligned.yaw])
            return PlanarStart(stamp, xyyaw, aligned.cov[:3, :3], *height)
        if c.assume_forward:
            course = course_over_ground(self.fixes, c.min_distance, c.max_std)
            return None if course is None else PlanarStart(fix.stamp_ns, *course, *height)
        return None

    def _height(self) -> tuple[float, float]:
        """Height of the base and its variance, by the newest fixes."""
        newest = self.fixes[-20:]
        return (
            float(np.median([fix.xyz[2] - fix.arm[2] for fix in newest])),
            float(np.median([fix.cov[2, 2] for fix in newest])),
        )
