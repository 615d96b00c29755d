# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the way, and how the localizer comes back."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import MapError
from geoloc_core.geometry import se3
from geoloc_core.localizer import Localizer
from geoloc_core.types import OdometrySample, PoseMeasurement, Status
from tests.estimation.drive import Drive, FRAME, ns
from tests.estimation.localizer_drive import FakeSource, known, run, view


def test_odometry_that_teleports_is_survived():
    drive = Drive(40.0, gnss_std=0.5)
    localizer = run(drive, Localizer(frame=FRAME), until=250)
    before = localizer.estimate()
    jump = se3.from_planar(300.0, -100.0, 2.0)
    for i in range(250, drive.n):
        sample = OdometrySample(ns(drive.times[i]), jump @ drive.odom[i])
        assert localizer.on_odometry(sample) is Status.OK
        if i == 250:
            assert np.hypot(*drive.error(localizer.estimate(), 250)[:2]) < 3.0
            assert localizer.estimate().cov[0, 0] > before.cov[0, 0]
        if i % 5 == 0:
            localizer.on_gnss(drive.fix(i))
    assert localizer.counters['odometry broken'] == 1
    assert np.hypot(*drive.error(localizer.estimate(), drive.n - 1)[:2]) < 3.0


@pytest.mark.parametrize('turn', [0.0, 2.5])
def test_a_kidnapped_robot_is_found_again_by_fixes(turn):
    """Carried 80 m away while odometry says nothing of it; and turned, or not."""
    drive = Drive(80.0, gnss_std=0.5)
    localizer = run(drive, Localizer(frame=FRAME), until=300)
    shift = se3.from_planar(80.0, 30.0, turn)
    shift = shift @ se3.make(np.eye(3), -drive.truth[300][:3, 3])
    shift[:3, 3] += drive.truth[300][:3, 3]
    for i in range(300, drive.n):
        localizer.on_odometry(drive.odometry(i))
        if i % 5 == 0:
            carried = (shift @ drive.truth[i])[:3, 3] - drive.truth[i][:3, 3]
            localizer.on_gnss(drive.fix(i, carried))
    assert localizer.counters['re-acquired'] >= 1
    found = localizer.estimate().T_map_base
    true = shift @ drive.truth[-1]
    assert np.hypot(*(found - true)[:2, 3]) < 3.0
    assert abs(se3.yaw_of(se3.inverse(true) @ found)) < 0.2


def test_a_wrong_start_is_corrected_by_views_that_agree():
    drive = Drive(30.0)
    localizer = Localizer(frame=FRAME)
    localizer.on_odometry(drive.odometry(0))
    wrong = se3.from_planar(15.0, 0.0, 0.0) @ drive.truth[0]
    localizer.on_initial_pose(ns(0), wrong, np.diag([0.2, 0.2, 0.2, 0.01, 0.01, 0.01]) ** 2)
    statuses = []
    for i in range(1, drive.n):
        localizer.on_odometry(drive.odometry(i))
        if i % 5 == 0:
            statuses.append(localizer.on_pose(drive.view(i)))
    assert statuses[0] is Status.GATED
    assert statuses[-1] is Status.OK
    assert np.hypot(*drive.error(localizer.estimate(), drive.n - 1)[:2]) < 0.8


def test_views_that_lie_differently_each_time_never_win():
    drive = Drive(30.0)
    localizer = known(drive)
    for i in range(1, drive.n):
        localizer.on_odometry(drive.odometry(i))
        if i % 5 == 0:
            offset = (*drive.rng.uniform(15, 80, 2), 0.0)
            localizer.on_pose(drive.view(i, offset=offset))
    assert localizer.counters['re-acquired'] == 0
    assert np.hypot(*drive.error(localizer.estimate(), drive.n - 1)[:2]) < 4.0


@pytest.mark.parametrize(
    'bad',
    [
        PoseMeasurement(0, Status.OK),
        PoseMeasurement(
            0, Status.OK, likelihood_mean=np.full(3, np.nan), likelihood_cov=np.eye(3)
        ),
        PoseMeasurement(
            0, Status.OK, likelihood_mean=np.zeros(3), likelihood_cov=np.zeros((3, 3))
        ),
        PoseMeasurement(0, Status.OK, T_map_base=np.zeros((4, 4)), cov=np.eye(6)),
        PoseMeasurement(0, Status.OK, T_map_base=np.eye(4), cov=-np.eye(6)),
    ],
)
def test_impossible_measurements_are_refused(bad):
    drive = Drive(5.0)
    localizer = known(drive)
    assert localizer.on_pose(replace(bad, stamp_ns=ns(0))) is Status.BAD_INPUT


@pytest.mark.parametrize('status', [Status.NO_MAP, Status.AMBIGUOUS, Status.LOW_TEXTURE])
def test_a_view_that_says_nothing_is_told_and_changes_nothing(status):
    drive = Drive(10.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    localizer._map_source = object()
    localizer._source = FakeSource(drive, PoseMeasurement(0, status, ('why',)))
    before = localizer.estimate(ns(10.0))
    answer = localizer.on_view(view(10.0))
    assert answer.status is Status.OK
    assert answer.measurement.status is status
    np.testing.assert_array_equal(answer.T_map_base, before.T_map_base)
    assert localizer.counters[f'view.{status.name}'] == 1


def test_a_damaged_map_is_a_status_not_a_crash():
    drive = Drive(10.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    localizer._map_source = object()
    localizer._source = FakeSource(drive, error=MapError('torn tile'))
    answer = localizer.on_view(view(10.0))
    assert answer.measurement.reasons == ('torn tile',)
    assert answer.T_map_base is not None


def test_bad_initial_poses_and_headings_are_refused():
    localizer = Localizer(frame=FRAME)
    bad = np.eye(4)
    bad[0, 3] = np.nan
    assert localizer.on_initial_pose(ns(0), bad, np.eye(6)) is Status.BAD_INPUT
    assert localizer.on_initial_pose(ns(0), np.eye(4), -np.eye(6)) is Status.BAD_INPUT
    assert localizer.on_heading(ns(0), np.nan, 0.1) is Status.BAD_INPUT
    assert localizer.on_heading(ns(0), 1.0, 0.0) is Status.BAD_INPUT
    assert localizer.estimate().T_map_base is None
    assert localizer.on_initial_pose(ns(0), np.eye(4), np.zeros((6, 6))) is Status.OK
    np.linalg.cholesky(localizer.estimate(ns(0)).cov)
