# SPDX-License-Identifier: Apache-2.0
"""The way back: when refused measurements win, and where the robot is then put."""

import numpy as np
import pytest

from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.dead_reckoning import DeadReckoning
from geoloc_core.estimation.gating import Refused
from geoloc_core.estimation.reacquisition import MORE_VAR_Z, Reacquisition
from geoloc_core.estimation.starting import Start
from geoloc_core.estimation.yaw_init import Position
from geoloc_core.geometry import se3
from tests.estimation.drive import Drive, NS, ns

CONFIG = LocalizerConfig()
COUNT, WAIT_S = CONFIG.reacquire.count, CONFIG.reacquire.after_s
# The newest keyframe of an estimate that has lost its way, and how sure it is.
LOST = Start(ns(19.5), se3.from_planar(10.0, 20.0, 0.5, 3.0), np.diag([1.0, 1, 4, 0.01, 0.01, 1]))


def reckoning(drive=None):
    made = DeadReckoning(CONFIG.odometry, CONFIG.motion, 60.0)
    for i in range(0 if drive is None else drive.n):
        made.push_odometry(drive.odometry(i))
    return made


def refused(seconds, offset, at=(8.0, 20.0)):
    cov = np.diag([0.04, 0.09, 0.01])[: len(offset), : len(offset)]
    return Refused(ns(seconds), np.array(offset), cov, np.array(at))


def lost_to(gate, offset, count=COUNT):
    """Lets a gate refuse measurements that agree on an offset, one a second up to 20 s."""
    for i in range(count):
        gate.refuse(refused(21 - count + i, offset))


def test_an_offset_that_fixes_agree_on_moves_the_robot_and_keeps_its_yaw():
    back = Reacquisition(CONFIG, reckoning())
    lost_to(back.gnss_gate, (30.0, -8.0))
    start, told_by = back.from_fixes(ns(20), LOST, [], 0)
    assert (told_by, start.stamp_ns) == ('fixes', LOST.stamp_ns)
    np.testing.assert_allclose(start.T, se3.from_planar(40.0, 12.0, 0.5, 3.0), atol=1e-9)
    variances = [0.04, 0.09, 4.0, 0.01, 0.01, CONFIG.reacquire.std_yaw**2]
    np.testing.assert_allclose(np.diag(start.cov), variances)
    # What was believed is not changed by it.
    assert LOST.T[0, 3] == 10.0 and LOST.cov[0, 0] == 1.0


def test_a_robot_that_may_have_been_turned_has_any_yaw():
    back = Reacquisition(CONFIG, reckoning())
    back.yaw_lost = True
    lost_to(back.gnss_gate, (30.0, -8.0))
    assert back.from_fixes(ns(20), LOST, [], 0)[0].cov[5, 5] == pytest.approx(np.pi**2)


def test_too_few_are_not_believed():
    back = Reacquisition(CONFIG, reckoning())
    lost_to(back.gnss_gate, (30.0, -8.0), COUNT - 1)
    lost_to(back.pose_gate, (30.0, -8.0, 0.1), COUNT - 1)
    assert back.from_fixes(ns(20), LOST, [], 0) is None
    assert back.from_poses(ns(20), LOST, None) is None


@pytest.mark.parametrize('source', ['gnss_gate', 'pose_gate'])
def test_nothing_is_believed_against_another_source_that_is_content(source):
    back = Reacquisition(CONFIG, reckoning())
    content = getattr(back, source)
    content.passes(ns(20 - 0.5 * WAIT_S), np.zeros(2), np.eye(2))
    lost_to(back.gnss_gate, (30.0, -8.0))
    lost_to(back.pose_gate, (30.0, -8.0, 0.1))
    assert back.from_fixes(ns(20), LOST, [], 0) is None
    assert back.from_poses(ns(20), LOST, None) is None
    later = ns(20 + 0.5 * WAIT_S)
    assert back.from_fixes(later, LOST, [], 0) and back.from_poses(later, LOST, None)


def test_the_track_laid_over_refused_fixes_finds_a_new_yaw():
    drive = Drive(20.0, speed=4.0, gnss_std=0.3, gnss_tau=1.0)
    back = Reacquisition(CONFIG, reckoning(drive))
    fixes = [
        Position(ns(drive.times[i]), drive.truth[i][:3, 3], 0.09 * np.eye(3), np.zeros(3))
        for i in range(0, drive.n, 5)
    ]
    for each in fixes:
        # Of a robot that was turned, the offset is never the same: no agreement is needed.
        offset = np.array([30.0, 0.0]) + 3.0 * (each.stamp_ns - ns(0)) / NS
        back.gnss_gate.refuse(Refused(each.stamp_ns, offset, np.eye(2), np.zeros(2)))
    start, told_by = back.from_fixes(ns(20), LOST, fixes, 0)
    assert (told_by, start.stamp_ns) == ('fixes, with a new yaw', ns(20))
    truth = drive.truth[-1]
    assert np.linalg.norm((start.T - truth)[:2, 3]) < 1.0
    assert abs(se3.yaw_of(se3.inverse(truth) @ start.T)) < 0.1
    # Its height is kept, and trusted less.
    assert start.T[2, 3] == LOST.T[2, 3]
    assert start.cov[2, 2] == pytest.approx(LOST.cov[2, 2] + MORE_VAR_Z)
    # A track that broke at its end says nothing.
    assert back.from_fixes(ns(20), LOST, fixes, ns(19.9)) is None


def test_views_turn_the_robot_about_where_it_was_seen():
    """Seen at (8, 20), since then 2 m on to the east: turned left, they lead to the north."""
    back = Reacquisition(CONFIG, reckoning())
    lost_to(back.pose_gate, (5.0, 1.0, np.pi / 2))
    start, told_by = back.from_poses(ns(20), LOST, None)
    assert (told_by, start.stamp_ns) == ('views', LOST.stamp_ns)
    np.testing.assert_allclose(
        start.T, se3.from_planar(13.0, 23.0, 0.5 + np.pi / 2, 3.0), atol=1e-9
    )
    np.testing.assert_allclose(np.diag(start.cov), [0.04, 0.09, 4.0, 0.01, 0.01, 0.01])


def test_a_whole_pose_is_started_from_as_it_is():
    drive = Drive(20.0)
    back = Reacquisition(CONFIG, reckoning(drive))
    lost_to(back.pose_gate, (5.0, 1.0, 0.3))
    seen = Start(ns(19), drive.truth[190], 0.01 * np.eye(6))
    start, _ = back.from_poses(ns(19), LOST, seen)
    # And carried to the newest odometry.
    assert start.stamp_ns == ns(20)
    assert np.linalg.norm((start.T - drive.truth[200])[:3, 3]) < 0.2
