# SPDX-License-Identifier: Apache-2.0
"""What the recent drive teaches: first yaw, wheel scale, gyro bias, the fixes' true scatter."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.alignment import align, Alignment, Track
from geoloc_core.estimation.config import CalibrationConfig
from geoloc_core.estimation.odometry_buffer import NS, PoseBuffer
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

# Fewer nodes than this a second would let a turn between them go unnoticed.
NODE_NS = NS // 2
MAX_FIXES = 400


@dataclass(frozen=True)
class Calibration:
    """What is known of odometry and gyro, and how well.

    Attributes:
        scale: True distance per metre of odometry.
        bias: What the yaw rate reads too much, rad/s.
        std_scale: Its deviation.
        std_bias: Its deviation, rad/s.
        gnss_std_factor: What fixes are seen to scatter, over what they claim (>= 1).
        updates: Alignments it is made of.
    """

    scale: float = 1.0
    bias: float = 0.0
    std_scale: float = 0.03
    std_bias: float = 0.005
    gnss_std_factor: float = 1.0
    updates: int = 0


@dataclass(frozen=True)
class _Fix:
    stamp_ns: int
    xy: Array
    std: float
    arm: Array


class Calibrator:
    """Keeps the recent fixes, and aligns the raw track with them."""

    def __init__(self, config: CalibrationConfig, correlation_s: float, max_factor: float) -> None:
        self._config = config
        self._correlation_s = correlation_s
        self._max_factor = max_factor
        self._fixes: deque[_Fix] = deque(maxlen=MAX_FIXES)
        self._due_ns = 0
        self._not_before_ns = 0
        self._poses: dict[int, tuple[float, float, float]] = {}
        self.result = Calibration(std_scale=config.std_scale, std_bias=config.std_bias)

    def add_fix(self, stamp_ns: int, xy: Array, std: float, arm: Array) -> None:
        """Remembers where the antenna was: (2,) m in the map; `arm` (3,) m in the base."""
        if stamp_ns >= self._not_before_ns:
            self._fixes.append(_Fix(stamp_ns, np.array(xy), std, arm))

    def forget(self, before_ns: int = 0) -> None:
        """Forgets the fixes, and ignores later ones from before a stamp (a broken track)."""
        self._fixes.clear()
        self._not_before_ns = before_ns

    def move(self, T_new_old: Array) -> None:
        """Takes the fixes to another map frame (a new datum)."""
        moved = [
            replace(fix, xy=se3.transform(T_new_old, [*fix.xy, 0.0])[:2]) for fix in self._fixes
        ]
        self._fixes = deque(moved, maxlen=MAX_FIXES)

    def align(self, buffer: PoseBuffer, window_s: float) -> tuple[int, Alignment] | None:
        """Aligns the last `window_s` of the track; returns the last node's stamp and the result."""
        track = self._track(buffer, window_s)
        if track is None:
            return None
        stamp_ns, aligned = track
        now = self.result
        known = now.updates > 0
        c = self._config
        # What a former window found is a prior for the next, but no stronger than the floors
        # allow: windows overlap, and must not prop each other up.
        std = (
            max(3.0 * now.std_scale, 2 * c.std_scale_floor) if known else c.std_scale,
            max(3.0 * now.std_bias, 2 * c.std_bias_floor) if known else c.std_bias,
        )
        std = (min(std[0], c.std_scale), min(std[1], c.std_bias))
        found = align(aligned, self._correlation_s, (now.scale, now.bias), std)
        return None if found is None else (stamp_ns, found)

    def learn(self, buffer: PoseBuffer, stamp_ns: int) -> bool:
        """Takes in a new alignment where one is due; returns whether the result changed."""
        c = self._config
        if not c.enabled or stamp_ns < self._due_ns:
            return False
        self._due_ns = stamp_ns + int(c.period_s * NS)
        aligned = self.align(buffer, c.window_s)
        if aligned is None:
            return False
        found = aligned[1]
        # The extent of a straight drive of length d is d / sqrt(12).
        if found.inliers < 0.5 or found.extent * np.sqrt(12.0) < c.min_distance:
            return False
        scale = float(np.clip(found.scale, 1 - c.max_scale_change, 1 + c.max_scale_change))
        bias = float(np.clip(found.bias, -c.max_bias, c.max_bias))
        self.result = Calibration(
            scale,
            bias,
            max(float(np.sqrt(found.cov[3, 3])), c.std_scale_floor),
            max(float(np.sqrt(found.cov[4, 4])), c.std_bias_floor),
            float(np.clip(found.std_factor, 1.0, self._max_factor)),
            self.result.updates + 1,
        )
        return True

    def _track(self, buffer: PoseBuffer, window_s: float) -> tuple[int, Track] | None:
        if not len(buffer):
            return None
        newest = buffer.stamps[-1]
        start = max(newest - int(window_s * NS), buffer.stamps[0], self._not_before_ns)
        fixes = sorted(
            (fix for fix in self._fixes if start <= fix.stamp_ns <= newest),
            key=lambda fix: fix.stamp_ns,
        )
        if len(fixes) < 3:
            return None
        first = fixes[0].stamp_ns
        grid = range(first - first % NODE_NS + NODE_NS, newest, NODE_NS)
        stamps = sorted({*(fix.stamp_ns for fix in fixes), *grid, newest})
        index = {stamp: i for i, stamp in enumerate(stamps)}
        poses = [self._pose(buffer, stamp, stamp == newest) for stamp in stamps]
        for stamp in [stamp for stamp in self._poses if stamp < start]:
            del self._poses[stamp]
        track = Track(
            (np.array(stamps) - newest) / NS,
            np.array(poses),
            np.array([index[fix.stamp_ns] for fix in fixes]),
            np.array([fix.xy for fix in fixes]),
            np.array([fix.std for fix in fixes]),
            fixes[-1].arm[:2],
        )
        return newest, track

    def _pose(self, buffer: PoseBuffer, stamp: int, last: bool) -> tuple[float, float, float]:
        """Planar pose of the track; the past does not change, so it is looked up once."""
        pose = self._poses.get(stamp)
        if pose is None:
            T = buffer.at(stamp)
            if T is None:
                raise ValueError('a node outside the track')
            pose = se3.planar(T)
            if not last:
                self._poses[stamp] = pose
        return pose
