# SPDX-License-Identifier: Apache-2.0
"""Late, repeated and missing inputs: each counts at its own stamp, once, or is counted as lost."""

import numpy as np
import pytest

from geoloc_core.localizer import Localizer
from geoloc_core.types import Status
from tests.estimation.drive import Drive, FRAME, ns
from tests.estimation.localizer_drive import FakeSource, known, run, view


@pytest.mark.parametrize('late_s', [0.2, 0.5, 2.0])
def test_late_views_count_at_their_own_stamps(late_s):
    drive = Drive(20.0)
    views = {i: drive.view(i) for i in range(5, drive.n, 10)}

    def answer(delay):
        localizer = known(drive)
        for i in range(1, drive.n + 25):
            if i < drive.n - 30:
                localizer.on_odometry(drive.odometry(i))
            if i - delay in views and i - delay < 120:
                assert localizer.on_pose(views[i - delay]) is Status.OK
        return localizer.estimate()

    in_time, late = answer(0), answer(round(late_s * 10))
    np.testing.assert_allclose(late.T_map_base, in_time.T_map_base, atol=0.01)
    np.testing.assert_allclose(np.diag(late.cov), np.diag(in_time.cov), rtol=0.1)


def test_the_order_of_views_does_not_matter():
    drive = Drive(20.0)
    views = [drive.view(i) for i in range(110, 200, 12)]

    def answer(order):
        localizer = known(drive)
        run(drive, localizer, gnss=0, since=1)
        for k in order:
            assert localizer.on_pose(views[k]) is Status.OK
        return localizer.estimate()

    forward, mixed = answer(range(8)), answer([3, 0, 7, 1, 5, 2, 6, 4])
    np.testing.assert_allclose(mixed.T_map_base, forward.T_map_base, atol=0.02)


def test_views_older_than_the_lag_are_refused_and_counted():
    drive = Drive(30.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    assert localizer.on_pose(drive.view(100)) is Status.STALE
    assert localizer.counters['view.STALE'] == 1


def test_the_answer_to_a_view_holds_for_its_own_stamp():
    drive = Drive(20.0)
    source = FakeSource(drive)
    localizer = known(drive)
    localizer._source, localizer._map_source = source, object()
    run(drive, localizer, gnss=0, since=1)
    answer = localizer.on_view(view(18.0))
    assert answer.stamp_ns == answer.measurement.stamp_ns == ns(18.0)
    assert answer.measurement.status is Status.OK
    assert np.hypot(*drive.error(answer, 180)[:2]) < 0.5
    assert source.priors[0].stamp_ns == ns(18.0)
    # A view newer than odometry: carried on at the last speed.
    ahead = localizer.estimate(ns(20.3))
    assert 'extrapolated' in ahead.reasons[0]
    gone = np.linalg.norm(ahead.T_map_base[:3, 3] - localizer.estimate(ns(20.0)).T_map_base[:3, 3])
    assert gone == pytest.approx(1.5, abs=0.05)


def test_when_odometry_stops_the_estimate_goes_on_briefly_then_is_stale():
    drive = Drive(20.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    assert localizer.estimate(ns(20.8)).status is Status.OK
    stale = localizer.estimate(ns(30.0))
    assert stale.status is Status.STALE
    assert stale.T_map_base is None


def test_fixes_carry_on_when_odometry_stops():
    drive = Drive(60.0, gnss_std=0.3)
    localizer = run(drive, Localizer(frame=FRAME), until=300)
    for i in range(300, drive.n, 5):
        assert localizer.on_gnss(drive.fix(i)) is Status.OK
    error = drive.error(localizer.estimate(), 600)
    assert np.hypot(*error[:2]) < 3.0


def test_a_bag_that_loops_resets_the_estimate():
    drive = Drive(20.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    assert localizer.on_odometry(drive.odometry(3)) is Status.BAD_STAMP
    assert localizer.counters['reset'] == 0
    localizer.on_odometry(drive.odometry(4))
    assert localizer.counters['reset'] == 1
    assert localizer.estimate().status is Status.NO_PRIOR
    assert any('jumped' in event for event in localizer.events)


def test_repeated_and_backward_stamps_are_counted_and_harmless():
    drive = Drive(20.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    before = localizer.estimate().T_map_base
    for _ in range(3):
        assert localizer.on_odometry(drive.odometry(199)) is Status.BAD_STAMP
    np.testing.assert_array_equal(localizer.estimate().T_map_base, before)
    assert localizer.counters['odometry.BAD_STAMP'] == 3


def test_a_repeated_fix_counts_once():
    drive = Drive(20.0)
    localizer = known(drive)
    assert localizer.on_gnss(drive.fix(0)) is Status.OK
    before = localizer.estimate().cov
    assert localizer.on_gnss(drive.fix(0)) is Status.BAD_STAMP
    np.testing.assert_array_equal(localizer.estimate().cov, before)
