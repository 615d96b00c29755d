# SPDX-License-Identifier: Apache-2.0
"""The way back after a loss: where to start anew, when what the gates refuse is right.

A gate keeps gross errors out, and would keep a lost estimate lost for ever. So it remembers what
it refuses. Once every source of absolute measurements has been refused, or silent, for some time,
and the refused ones agree with each other, it is the estimate that is wrong.

Nothing here changes the estimate: each answer is a pose to start from, or None.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.covariance import PLANAR
from geoloc_core.estimation.dead_reckoning import DeadReckoning
from geoloc_core.estimation.gating import Gate, Refused
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.estimation.starting import PlanarStart, Start
from geoloc_core.estimation.yaw_init import Position, yaw_from_motion
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

# The height of a lost robot is taken for this much worse than it was said to be, m^2.
MORE_VAR_Z = 4.0


class Reacquisition:
    """Both gates, and what follows when they have been shut for long. Made anew at every start.

    Attributes:
        gnss_gate: Of fixes; its innovations are (2,) x, y.
        pose_gate: Of measured poses; offsets that it is told of are (3,) x, y, yaw.
        yaw_lost: Whether the robot may have been turned without anything having felt it.
    """

    def __init__(self, config: LocalizerConfig, reckoning: DeadReckoning) -> None:
        """Takes what tells the way that was driven while measurements were refused."""
        self._config = config
        self._reckoning = reckoning
        self.gnss_gate = Gate(config.gnss.gate_sigma, config.reacquire)
        self.pose_gate = Gate(config.vision.gate_sigma, config.reacquire)
        self.yaw_lost = False

    def from_fixes(
        self, stamp_ns: int, lost: Start, fixes: Sequence[Position], not_before_ns: int
    ) -> tuple[Start, str] | None:
        """Where to start anew by the fixes that the gate has refused.

        Args:
            stamp_ns: Of the newest of them.
            lost: The newest keyframe, where the estimate has it.
            fixes: Recent ones, refused or not.
            not_before_ns: The track is broken before this.

        Returns:
            The pose, and what told it in a few words; None to go on as before.
        """
        refused = self.gnss_gate.refused
        if not self._shut(stamp_ns) or len(refused) < self._config.reacquire.count:
            return None
        # The track laid over the refused fixes finds the robot again however it was turned.
        since = [fix for fix in fixes if fix.stamp_ns >= refused[0].stamp_ns]
        found = yaw_from_motion(since, self._reckoning.track, self._config, not_before_ns)
        if found is not None and found[1].std_factor <= self._config.reacquire.agree_sigma:
            stamp, aligned = found
            xyyaw = np.array([aligned.x, aligned.y, aligned.yaw])
            var_z = MORE_VAR_Z + lost.cov[2, 2]
            start = PlanarStart(stamp, xyyaw, aligned.cov[:3, :3], lost.T[2, 3], var_z)
            std_tilt = self._config.smoother.std_tilt
            return start.tilted(self._reckoning, std_tilt), 'fixes, with a new yaw'
        # Not driven far enough for that: where they agree on one offset, the yaw is kept.
        std_yaw = float(np.pi if self.yaw_lost else self._config.reacquire.std_yaw)
        alike = self.gnss_gate.agreement(stamp_ns, std_yaw)
        if not alike:
            return None
        shift = np.median([each.offset[:2] for each in alike], axis=0)
        return _moved(lost, shift, 0.0, alike, std_yaw**2), 'fixes'

    def from_poses(
        self, stamp_ns: int, lost: Start, whole: Start | None
    ) -> tuple[Start, str] | None:
        """Where to start anew by the measured poses that the gate has refused.

        Args:
            stamp_ns: Of the newest of them.
            lost: The newest keyframe, where the estimate has it.
            whole: The newest of them, if it speaks of all six axes: it is then started from.

        Returns:
            The pose, and what told it in a few words; None to go on as before.
        """
        if not self._shut(stamp_ns):
            return None
        alike = self.pose_gate.agreement(stamp_ns, self._config.reacquire.std_yaw)
        if not alike:
            return None
        if whole is not None:
            return whole.carried_on(self._reckoning), 'views'
        newest = alike[-1]
        yaw, var_yaw = float(newest.offset[2]), float(newest.cov[2, 2])
        return _moved(lost, newest.offset[:2], yaw, alike, var_yaw), 'views'

    def _shut(self, stamp_ns: int) -> bool:
        """Whether every absolute source has been refused, or silent, for long enough."""
        accepted = [self.gnss_gate.last_accepted_ns, self.pose_gate.last_accepted_ns]
        wait = self._config.reacquire.after_s * NS
        return all(each is None or stamp_ns - each >= wait for each in accepted)


def _moved(lost: Start, shift: Array, yaw: float, alike: list[Refused], var_yaw: float) -> Start:
    """Moves a keyframe by (2,) m, and turns it by a yaw about where it was last measured."""
    T, cov = lost.T, lost.cov.copy()
    turn = se3.rotation_from_rpy(0.0, 0.0, yaw)
    pivot = np.array([*alike[-1].predicted_xy, T[2, 3]])
    T_new = se3.make(turn @ T[:3, :3], pivot + turn @ (T[:3, 3] - pivot) + [*shift, 0.0])
    spread = np.var([each.offset[:2] for each in alike], axis=0)
    cov[PLANAR, :] = 0.0
    cov[:, PLANAR] = 0.0
    cov[:2, :2] = alike[-1].cov[:2, :2] + np.diag(spread)
    cov[5, 5] = var_yaw
    return Start(lost.stamp_ns, T_new, cov)
