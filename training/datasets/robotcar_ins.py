# SPDX-License-Identifier: Apache-2.0
"""Tracks of Oxford RobotCar: the INS in an ENU frame, and visual odometry."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from geoloc_core.errors import DataError
from geoloc_core.formats import robotcar
from geoloc_core.geometry.geodesy import EnuFrame

Array = NDArray[np.float64]

# Interpolating over a longer outage would invent a pose, us.
MAX_GAP_US = 1_000_000


@dataclass(frozen=True)
class Track:
    """Poses over time.

    Attributes:
        stamps_us: (N,) increasing.
        T: (N, 4, 4).
    """

    stamps_us: NDArray[np.int64]
    T: Array

    def covers(self, stamps_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which stamps (M,) lie on a pose, or between two that are close enough in time."""
        stamps_us = np.asarray(stamps_us, dtype=np.int64)
        if not len(self.stamps_us):
            return np.zeros(stamps_us.shape, dtype=bool)
        low, high = self._around(stamps_us)
        before, after = self.stamps_us[low], self.stamps_us[high]
        return (
            (stamps_us >= before)
            & (stamps_us <= after)
            & ((after - before <= MAX_GAP_US) | (stamps_us == before) | (stamps_us == after))
        )

    def at(self, stamps_us: NDArray[np.int64]) -> Array:
        """(M, 4, 4) poses: straight lines and SLERP between neighbours; ask `covers` first."""
        stamps_us = np.asarray(stamps_us, dtype=np.int64)
        low, high = self._around(stamps_us)
        span = np.maximum(self.stamps_us[high] - self.stamps_us[low], 1)
        # Integers are subtracted before they become floats: 1.4e15 us fill 51 of 53 bits.
        alpha = np.clip((stamps_us - self.stamps_us[low]) / span, 0.0, 1.0)
        q0, q1 = self._quaternions[low], self._quaternions[high]
        result = np.tile(np.eye(4), (len(stamps_us), 1, 1))
        result[:, :3, :3] = Rotation.from_quat(_slerp(q0, q1, alpha)).as_matrix()
        result[:, :3, 3] = (1 - alpha)[:, None] * self.T[low, :3, 3] + alpha[:, None] * self.T[
            high, :3, 3
        ]
        return result

    def _around(self, stamps_us: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        high = np.searchsorted(self.stamps_us, stamps_us).clip(0, len(self.stamps_us) - 1)
        exact = self.stamps_us[high] == stamps_us
        return np.where(exact, high, np.maximum(high - 1, 0)), high

    @cached_property
    def _quaternions(self) -> Array:
        return Rotation.from_matrix(self.T[:, :3, :3]).as_quat()


@dataclass(frozen=True)
class InsRows:
    """The good rows of an ins.csv.

    Attributes:
        stamps_us: (N,) increasing.
        geodetic: (N, 3) latitude, longitude (degrees), altitude (m).
        utm: (N, 3) northing, easting, down, m.
        rpy: (N, 3) rad, (forward, right, down) -> (north, east, down).
        malformed: Rows that are none.
        not_good: Rows whose solution was not good.
    """

    stamps_us: NDArray[np.int64]
    geodetic: Array
    utm: Array
    rpy: Array
    malformed: int
    not_good: int

    def track(self, frame: EnuFrame) -> Track:
        """T_map_ins (N, 4, 4), INS axes forward, right, down; map is ENU."""
        T = np.tile(np.eye(4), (len(self.stamps_us), 1, 1))
        lat, lon, alt = self.geodetic.T
        T[:, :3, 3] = frame.enu_from_geodetic(lat, lon, alt)
        # The INS counts yaw clockwise from true north where it is; the map's is the datum's.
        turn = frame.convergence(lat, lon)
        T[:, :3, :3] = robotcar.ENU_FROM_NED @ _rotations(self.rpy - turn[:, None] * [0, 0, 1])
        return Track(self.stamps_us, T)

    def published(self) -> Track:
        """Poses as the absolute-pose-regression protocol has them, not those of a body in space.

        Position is (northing, easting, altitude) and rotation that of (north, east, down), one
        left-handed and one right-handed, and of the INS, not of the camera.
        """
        T = np.tile(np.eye(4), (len(self.stamps_us), 1, 1))
        T[:, :2, 3] = self.utm[:, :2]
        T[:, 2, 3] = self.geodetic[:, 2]
        T[:, :3, :3] = _rotations(self.rpy)
        return Track(self.stamps_us, T)


def read_ins(file: Path) -> InsRows:
    """Good rows of gps/ins.csv; malformed and bad ones are counted.

    Raises:
        DataError: The file is missing, is not an ins.csv, or holds no good row.
    """
    names = robotcar.INS_COLUMNS.split(',')
    rows, malformed, not_good = [], 0, 0
    for row in _rows(file, names[0]):
        if len(row) != len(names):
            malformed += 1
            continue
        if row[1].strip() != robotcar.INS_GOOD:
            not_good += 1
            continue
        try:
            rows.append([int(row[0]), *(float(row[i]) for i in (2, 3, 4, 5, 6, 7, 12, 13, 14))])
        except ValueError:
            malformed += 1
    stamps = np.array([row[0] for row in rows], dtype=np.int64)
    values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 9)
    good = np.isfinite(values).all(axis=1) & (np.abs(values[:, 0]) <= 90)
    malformed += int((~good).sum())
    stamps, values = stamps[good], values[good]
    if not len(stamps):
        raise DataError(
            f'{file} holds no row with {robotcar.INS_GOOD} ({not_good} others, {malformed} '
            'malformed): the traversal has no pose'
        )
    # A stamp that was written twice gives one pose; unordered files exist.
    stamps, first = np.unique(stamps, return_index=True)
    values = values[first]
    return InsRows(stamps, values[:, :3], values[:, 3:6], values[:, 6:9], malformed, not_good)


def read_vo(file: Path) -> Track:
    """Chained visual odometry of vo/vo.csv: T_start_vehicle; it drifts, so use it for seconds.

    Raises:
        DataError: The file is missing, is not a vo.csv, or empty.
    """
    names = robotcar.VO_COLUMNS.split(',')
    stamps: list[int] = []
    poses: list[Array] = []
    for row in _rows(file, names[0]):
        try:
            source, destination = int(row[0]), int(row[1])
            step = robotcar.motion(np.array([float(value) for value in row[2:8]]))
        except (ValueError, IndexError, TypeError):
            continue
        if not poses:
            stamps.append(destination)
            poses.append(np.eye(4))
        if source <= stamps[-1]:
            continue
        stamps.append(source)
        poses.append(poses[-1] @ step)
    if not poses:
        raise DataError(f'{file} holds no step of visual odometry')
    return Track(np.array(stamps, dtype=np.int64), np.array(poses))


def _rows(file: Path, first: str) -> list[list[str]]:
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{file} cannot be read: {error}') from error
    if not lines or not lines[0].startswith(first):
        head = lines[0][:60] if lines else 'an empty file'
        raise DataError(f'{file}: expected a first line that starts with {first!r}, got {head!r}')
    return [line.split(',') for line in lines[1:] if line.strip()]


def _slerp(q0: Array, q1: Array, alpha: Array) -> Array:
    """Unit quaternions (N, 4) between two, the short way round."""
    dot = np.sum(q0 * q1, axis=1)
    q1 = np.where(dot[:, None] < 0, -q1, q1)
    angle = np.arccos(np.clip(np.abs(dot), 0.0, 1.0))
    # For tiny angles both weights tend to linear interpolation; the guard avoids 0 / 0.
    sine = np.where(angle > 1e-7, np.sin(angle), 1.0)
    w0 = np.where(angle > 1e-7, np.sin((1 - alpha) * angle) / sine, 1 - alpha)
    w1 = np.where(angle > 1e-7, np.sin(alpha * angle) / sine, alpha)
    q = w0[:, None] * q0 + w1[:, None] * q1
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def _rotations(rpy: Array) -> Array:
    """(N, 3, 3) = Rz(yaw) Ry(pitch) Rx(roll) of (N, 3), rad."""
    return Rotation.from_euler('ZYX', rpy[:, ::-1]).as_matrix()
