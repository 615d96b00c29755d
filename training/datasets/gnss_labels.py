# SPDX-License-Identifier: Apache-2.0
"""What a receiver and odometry say about a pose: the labels of weak supervision.

Positions are those of the fixes around a stamp, as noisy as they are: errors of metres that stay
alike for seconds. The yaw comes from laying odometry over the fixes, or else from the course over
ground, or it is not known. An IMU's own yaw is not used: its reference differs from driver to
driver.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.estimation.alignment import align, backward_track, Track
from geoloc_core.geometry import angles, se3

Array = NDArray[np.float64]
Stamps = NDArray[np.int64]

NS = 1_000_000_000
# Between two fixes the robot is taken to move steadily; so quickly may it do otherwise.
_ACCEL = 2.0
# Seconds over which a receiver's error stays alike, and what odometry may be off by.
_CORRELATION_S = 20.0
_STD_SCALE, _STD_BIAS = 0.03, 0.0005
_NODE_NS = NS // 2
# One alignment serves the pictures of so long: odometry does not drift in that time.
_BLOCK_NS = 2 * NS
_WINDOW_NS = 20 * NS
# A yaw less sure than this is as good as none.
_MAX_STD_YAW = np.radians(20.0)
_MIN_STD_YAW = np.radians(1.0)
_COURSE_SPANS_S = (1.0, 2.0, 4.0)
_MIN_COURSE_M = 2.0
_STD_Z_M, _STD_TILT = 0.5, np.radians(3.0)


@dataclass(frozen=True)
class Fixes:
    """Good fixes by increasing stamp, in the map frame.

    Attributes:
        stamps_ns: (N,).
        xy: (N, 2) antenna, m.
        cov: (N, 2, 2) m^2.
        arm: (2,) antenna in base_link, m.
    """

    stamps_ns: Stamps
    xy: Array
    cov: Array
    arm: Array


@dataclass(frozen=True)
class Odometry:
    """The track of base_link in a frame of its own, by increasing stamp.

    Attributes:
        stamps_ns: (N,).
        poses: (N, 3) x, y, yaw; the yaw without jumps by a whole turn.
    """

    stamps_ns: Stamps
    poses: Array

    def at(self, stamps_ns: Stamps) -> Array:
        """(M, 3) interpolated poses; the stamps must lie within the track."""
        t = (stamps_ns - self.stamps_ns[0]).astype(np.float64)
        own = (self.stamps_ns - self.stamps_ns[0]).astype(np.float64)
        return np.column_stack([np.interp(t, own, column) for column in self.poses.T])


@dataclass(frozen=True)
class GnssLabel:
    """A pose as the receiver has it.

    Attributes:
        T_map_base: (4, 4), upright, z = 0.
        cov: (6, 6), order (x, y, z, rot x, rot y, rot z), map axes.
        knows_yaw: Whether the yaw means anything; if not it is 0 and its variance that of a
            uniform distribution over the circle.
    """

    T_map_base: Array
    cov: Array
    knows_yaw: bool


class GnssLabels:
    """Labels of one recording at any stamp."""

    def __init__(
        self,
        fixes: Fixes,
        odometry: Odometry | None = None,
        *,
        max_gap_s: float = 1.5,
        assume_forward: bool = True,
    ) -> None:
        """Takes what was recorded.

        Args:
            fixes: Of the receiver.
            odometry: Of the wheels or the like, if any.
            max_gap_s: Fixes further apart are not bridged.
            assume_forward: Without odometry, take the course over ground for the yaw; wrong
                where the robot backs up.

        Raises:
            DataError: Not one fix.
        """
        if len(fixes.stamps_ns) == 0:
            raise DataError('not one fix has a position: nothing can be labelled')
        self._fixes = fixes
        self._odometry = odometry if odometry is not None and len(odometry.stamps_ns) > 1 else None
        self._max_gap_ns = round(max_gap_s * NS)
        self._assume_forward = assume_forward
        self._offsets: dict[int, tuple[float, float] | None] = {}

    def covers(self, stamps_ns: Stamps) -> NDArray[np.bool_]:
        """(M,) which stamps lie between fixes that are close enough to each other."""
        own = self._fixes.stamps_ns
        right = np.searchsorted(own, stamps_ns)
        exact = (right < len(own)) & (own[np.minimum(right, len(own) - 1)] == stamps_ns)
        inner = (right > 0) & (right < len(own))
        safe = np.clip(right, 1, max(len(own) - 1, 1))
        if len(own) < 2:
            return exact
        return exact | (inner & (own[safe] - own[safe - 1] <= self._max_gap_ns))

    def at(self, stamp_ns: int) -> GnssLabel:
        """The label at a stamp.

        Args:
            stamp_ns: One that `covers` says True of.

        Returns:
            The label.
        """
        xy, cov_xy = self._position(stamp_ns)
        yaw = self._yaw(stamp_ns)
        arm = self._fixes.arm
        cov = np.diag([0.0, 0.0, _STD_Z_M**2, _STD_TILT**2, _STD_TILT**2, np.pi**2 / 3])
        if yaw is None:
            # The antenna stands somewhere around the base.
            cov[:2, :2] = cov_xy + 0.5 * float(arm @ arm) * np.eye(2)
            return GnssLabel(se3.from_planar(*xy, 0.0), cov, False)
        angle, std = yaw
        c, s = np.cos(angle), np.sin(angle)
        offset = np.array([c * arm[0] - s * arm[1], s * arm[0] + c * arm[1]])
        across = np.array([-offset[1], offset[0]])
        # d(base)/d(yaw) is minus the antenna's offset turned left: the two errors go together.
        cov[:2, :2] = cov_xy + np.outer(across, across) * std**2
        cov[:2, 5] = cov[5, :2] = -across * std**2
        cov[5, 5] = std**2
        return GnssLabel(se3.from_planar(*(xy - offset), angle), cov, True)

    def position(self, stamp_ns: int) -> Array:
        """(2,) antenna at a stamp that is covered, m: quick, for choosing pictures."""
        return self._position(stamp_ns)[0]

    def _position(self, stamp_ns: int) -> tuple[Array, Array]:
        """Antenna (2,) and covariance (2, 2) at a stamp."""
        f = self._fixes
        r = int(np.searchsorted(f.stamps_ns, stamp_ns))
        if r < len(f.stamps_ns) and f.stamps_ns[r] == stamp_ns:
            return f.xy[r], f.cov[r]
        dt = float(f.stamps_ns[r] - f.stamps_ns[r - 1])
        a = float(stamp_ns - f.stamps_ns[r - 1]) / dt
        between = 0.5 * _ACCEL * a * (1 - a) * (dt / NS) ** 2
        # Errors of neighbouring fixes are alike, so averaging two does not make them smaller.
        cov = (1 - a) * f.cov[r - 1] + a * f.cov[r] + between**2 * np.eye(2)
        return (1 - a) * f.xy[r - 1] + a * f.xy[r], cov

    def _yaw(self, stamp_ns: int) -> tuple[float, float] | None:
        """(yaw, deviation) in rad, or None where it is not known."""
        found = self._yaw_from_odometry(stamp_ns)
        if found is None and self._odometry is None and self._assume_forward:
            found = self._course(stamp_ns)
        if found is None or found[1] > _MAX_STD_YAW:
            return None
        return float(angles.wrap(found[0])), max(found[1], float(_MIN_STD_YAW))

    def _yaw_from_odometry(self, stamp_ns: int) -> tuple[float, float] | None:
        odometry = self._odometry
        if odometry is None or not (odometry.stamps_ns[0] <= stamp_ns <= odometry.stamps_ns[-1]):
            return None
        block = stamp_ns // _BLOCK_NS
        if block not in self._offsets:
            self._offsets[block] = self._align(block * _BLOCK_NS + _BLOCK_NS // 2)
        offset = self._offsets[block]
        if offset is None:
            return None
        own = odometry.at(np.array([stamp_ns]))[0, 2]
        return own + offset[0], offset[1]

    def _align(self, middle_ns: int) -> tuple[float, float] | None:
        """(yaw of the map minus yaw of odometry, deviation) around a stamp, or None."""
        odometry, f = self._odometry, self._fixes
        assert odometry is not None
        first = max(int(odometry.stamps_ns[0]), middle_ns - _WINDOW_NS)
        last = min(int(odometry.stamps_ns[-1]), middle_ns + _WINDOW_NS)
        inside = (f.stamps_ns >= first) & (f.stamps_ns <= last)
        # A few a second say no more than one, their errors being alike.
        chosen = _thinned(f.stamps_ns, np.flatnonzero(inside), NS // 2)
        if len(chosen) < 3:
            return None
        stamps = np.unique(
            np.concatenate([np.arange(first, last, _NODE_NS), f.stamps_ns[chosen], [last]])
        )
        poses = odometry.at(stamps)
        track = Track(
            (stamps - stamps[-1]) / NS,
            poses,
            np.searchsorted(stamps, f.stamps_ns[chosen]),
            f.xy[chosen],
            np.sqrt(0.5 * np.trace(f.cov[chosen], axis1=1, axis2=2)),
            f.arm,
        )
        start = _rough_end(poses, np.searchsorted(stamps, f.stamps_ns[chosen]), track)
        found = align(track, _CORRELATION_S, (1.0, 0.0), (_STD_SCALE, _STD_BIAS), start)
        if found is None or found.inliers < 0.5:
            return None
        middle = int(np.argmin(np.abs(stamps - middle_ns)))
        _, headings = backward_track(track, found.scale, found.bias)
        yaw = found.yaw + headings[middle]
        return float(yaw - poses[middle, 2]), float(np.sqrt(found.cov[2, 2]))

    def _course(self, stamp_ns: int) -> tuple[float, float] | None:
        """(direction of motion, deviation) from the fixes around a stamp, or None."""
        f = self._fixes
        for span in _COURSE_SPANS_S:
            ends = np.array([stamp_ns - round(span * NS), stamp_ns + round(span * NS)])
            if not self.covers(ends).all():
                return None
            start, end = (self._position(int(stamp))[0] for stamp in ends)
            way = end - start
            distance = float(np.hypot(*way))
            near = int(np.argmin(np.abs(f.stamps_ns - stamp_ns)))
            std = float(np.sqrt(0.5 * np.trace(f.cov[near])))
            middle = self._position(stamp_ns)[0]
            halves = middle - start, end - middle
            if distance < _MIN_COURSE_M or min(np.hypot(*h) for h in halves) < 0.2 * distance:
                continue
            bend = angles.difference(
                np.arctan2(halves[1][1], halves[1][0]), np.arctan2(halves[0][1], halves[0][0])
            )
            # The chord of a steady turn is its middle's tangent; of an unsteady one only nearly.
            sigma = float(np.hypot(np.sqrt(2.0) * std / distance, 0.25 * bend))
            if sigma <= _MAX_STD_YAW:
                return float(np.arctan2(way[1], way[0])), sigma
        return None

    def __getstate__(self) -> dict[str, object]:
        """Without what can be computed again."""
        return {**self.__dict__, '_offsets': {}}


def _rough_end(poses: Array, nodes: NDArray[np.intp], track: Track) -> tuple[float, float, float]:
    """(x, y, yaw) of the track's end on the map, by the plain least-squares rotation."""
    c, s = np.cos(poses[nodes, 2]), np.sin(poses[nodes, 2])
    ax, ay = track.arm
    own = poses[nodes, 0] + c * ax - s * ay + 1j * (poses[nodes, 1] + s * ax + c * ay)
    seen = track.fixes[:, 0] + 1j * track.fixes[:, 1]
    turn = np.angle(np.sum(np.conj(own - own.mean()) * (seen - seen.mean())))
    end = (poses[-1, 0] + 1j * poses[-1, 1] - own.mean()) * np.exp(1j * turn) + seen.mean()
    return float(end.real), float(end.imag), float(poses[-1, 2] + turn)


def _thinned(stamps: Stamps, indices: NDArray[np.intp], step_ns: int) -> NDArray[np.intp]:
    """Indices whose stamps are at least a step apart."""
    chosen: list[int] = []
    for index in indices:
        if not chosen or stamps[index] - stamps[chosen[-1]] >= step_ns:
            chosen.append(int(index))
    return np.array(chosen, dtype=np.intp)
