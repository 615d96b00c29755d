# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
import threading

import numpy as np
import pytest

from geoloc_core.errors import MapError
from geoloc_core.estimation.config import DatumConfig, LocalizerConfig
from geoloc_core.estimation.covariance import planar_block
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.localizer import Localizer
from geoloc_core.types import GroundView, OdometrySample, PoseMeasurement, PosePrior, Status
from tests.estimation.drive import Drive, FRAME, NS, ns


def run(drive, localizer, until=None, gnss=5, since=0):
    """Feeds odometry at 10 Hz and a fix every `gnss` samples (0: none)."""
    for i in range(since, until or drive.n):
        localizer.on_odometry(drive.odometry(i))
        if gnss and i % gnss == 0:
            localizer.on_gnss(drive.fix(i))
    return localizer


def known(drive, i=0, **changes):
    """A localizer that has been told where the robot is at sample i."""
    localizer = Localizer(replace(LocalizerConfig(), **changes), frame=FRAME)
    cov = np.diag([0.1, 0.1, 0.1, 0.01, 0.01, 0.01]) ** 2
    localizer.on_odometry(drive.odometry(i))
    assert localizer.on_initial_pose(ns(drive.times[i]), drive.truth[i], cov) is Status.OK
    return localizer


class FakeSource:
    """Measures the truth; keeps what it was asked."""

    def __init__(self, drive, result=None, error=None):
        self.drive, self.result, self.error = drive, result, error
        self.priors: list[PosePrior] = []
        self.during = lambda: None

    def measure(self, view, prior, frame, map_source):
        self.priors.append(prior)
        self.during()
        if self.error is not None:
            raise self.error
        if self.result is not None:
            return replace(self.result, stamp_ns=view.stamp_ns)
        return self.drive.view(round((view.stamp_ns - ns(0)) / NS / 0.1))


def view(t):
    return GroundView(ns(t), np.zeros((4, 6, 3), np.uint8), None, np.eye(4))


# ---- starting ----


def test_nothing_is_invented_before_anything_is_known():
    localizer = Localizer()
    assert localizer.estimate().status is Status.NO_PRIOR
    assert localizer.estimate().T_map_base is None
    assert localizer.T_map_odom() is None
    assert localizer.frame is None
    answer = localizer.on_view(view(1.0))
    assert answer.T_map_base is None
    assert answer.measurement.status is Status.NO_PRIOR
    assert answer.stamp_ns == ns(1.0)


def test_yaw_comes_from_the_drive_and_no_pose_before():
    drive = Drive(15.0, gnss_std=0.5)
    localizer = Localizer(frame=FRAME)
    statuses = []
    for i in range(drive.n):
        localizer.on_odometry(drive.odometry(i))
        if i % 5 == 0:
            statuses.append(localizer.on_gnss(drive.fix(i)))
            estimate = localizer.estimate()
            assert (estimate.T_map_base is None) == (estimate.status is Status.NO_YAW)
    assert statuses[0] is Status.NO_YAW
    assert statuses[-1] is Status.OK
    assert abs(drive.error(localizer.estimate(), drive.n - 1)[2]) < 0.2


def test_standing_still_gives_no_yaw():
    drive = Drive(12.0, speed=0.0)
    localizer = run(drive, Localizer(frame=FRAME))
    assert localizer.estimate().status is Status.NO_YAW
    assert localizer.estimate().reasons


def test_a_heading_gives_the_yaw_at_once():
    drive = Drive(5.0)
    localizer = Localizer(frame=FRAME)
    localizer.on_odometry(drive.odometry(0))
    assert localizer.on_heading(ns(0), se3.yaw_of(drive.truth[0]), 0.05) is Status.NO_PRIOR
    assert localizer.on_gnss(drive.fix(0)) is Status.OK
    assert drive.error(localizer.estimate(), 0)[2] == pytest.approx(0.0, abs=1e-6)


def test_without_odometry_the_course_gives_the_yaw_and_the_fixes_the_way():
    drive = Drive(40.0, gnss_std=0.3)
    localizer = Localizer(frame=FRAME)
    for i in range(0, drive.n, 5):
        localizer.on_gnss(drive.fix(i))
    estimate = localizer.estimate()
    assert estimate.status is Status.OK
    assert 'no odometry' in estimate.reasons[0]
    error = drive.error(estimate, drive.n - 1)
    assert np.hypot(*error[:2]) < 2.0
    assert abs(error[2]) < 0.3
    assert localizer.T_map_odom() is None


def test_the_datum_comes_from_the_first_good_fixes_only():
    drive = Drive(20.0, gnss_std=0.2)
    localizer = Localizer()
    assert localizer.on_gnss(replace(drive.fix(0), lat_deg=np.nan)) is Status.BAD_INPUT
    assert localizer.on_gnss(replace(drive.fix(0), lat_deg=0.0, lon_deg=0.0)) is Status.NO_FIX
    assert localizer.frame is None
    run(drive, localizer)
    assert localizer.frame.datum.lat_deg == pytest.approx(48.1, abs=1e-3)
    assert localizer.estimate().status is Status.OK


def test_waits_for_a_datum_when_told_so():
    drive = Drive(20.0, gnss_std=0.2)
    config = LocalizerConfig(datum=DatumConfig(wait_for_datum=True))
    localizer = run(drive, Localizer(config))
    assert localizer.frame is None
    localizer.set_datum(FRAME.datum)
    run(drive, localizer, since=drive.n - 1)
    assert localizer.frame is not None


# ---- accuracy and honesty ----


@pytest.mark.parametrize('with_views', [False, True])
def test_errors_are_as_large_as_claimed(with_views):
    """Normalised error squared of x, y, yaw: 3 on average if honest; never much above."""
    nees = []
    for seed in range(4):
        drive = Drive(40.0, seed=seed, scale=0.98, bias=0.0005, gnss_std=1.5)
        localizer = Localizer(frame=FRAME)
        for i in range(drive.n):
            localizer.on_odometry(drive.odometry(i))
            if i % 5 == 0:
                localizer.on_gnss(drive.fix(i))
            if with_views and i % 5 == 2:
                localizer.on_pose(drive.view(i))
            if i > 200 and i % 40 == 0:
                estimate = localizer.estimate(ns(drive.times[i]))
                error = drive.error(estimate, i)
                nees.append(error @ np.linalg.solve(planar_block(estimate.cov), error))
                if with_views:
                    assert np.hypot(*error[:2]) < 0.8
    assert 0.3 < np.mean(nees) < 4.5
    assert np.mean(np.array(nees) < 7.81) > 0.85


def test_a_fifth_of_gross_outliers_does_no_harm():
    drive = Drive(60.0, gnss_std=1.0, seed=5)
    localizer = Localizer(frame=FRAME)
    for i in range(drive.n):
        localizer.on_odometry(drive.odometry(i))
        if i % 5 == 0:
            bad = drive.rng.random() < 0.2
            offset = drive.rng.uniform(-60, 60, 3) * [1, 1, 0] if bad else np.zeros(3)
            localizer.on_gnss(drive.fix(i, offset))
        if i > 250:
            assert np.hypot(*drive.error(localizer.estimate(), i)[:2]) < 5.0
    assert localizer.counters['gnss.GATED'] > 5
    assert localizer.counters['re-acquired'] == 0


@pytest.mark.parametrize('scale', [0.9, 1.0])
def test_in_an_outage_doubt_grows_and_covers_the_error(scale):
    drive = Drive(100.0, gnss_std=0.7, scale=scale, seed=2)
    config = LocalizerConfig()
    config = replace(config, calibration=replace(config.calibration, std_scale=0.05))
    localizer = run(drive, Localizer(config, frame=FRAME), until=500)
    stds = []
    for i in range(500, drive.n):
        localizer.on_odometry(drive.odometry(i))
        if i % 100 == 99:
            estimate = localizer.estimate()
            np.testing.assert_array_equal(estimate.cov, estimate.cov.T)
            np.linalg.cholesky(estimate.cov)
            C = planar_block(estimate.cov)
            error = drive.error(estimate, i)
            assert error @ np.linalg.solve(C, error) < 16.3  # 99.9 %
            stds.append(np.sqrt(np.linalg.eigvalsh(C[:2, :2])[-1]))
    assert np.all(np.diff(stds) > 0)
    assert stds[-1] > 2.0 * stds[0]


def test_runs_on_odometry_and_views_without_any_gnss():
    drive = Drive(40.0, scale=0.95)
    localizer = known(drive)
    for i in range(1, drive.n):
        localizer.on_odometry(drive.odometry(i))
        if i % 10 == 0:
            assert localizer.on_pose(drive.view(i)) is Status.OK
            assert np.hypot(*drive.error(localizer.estimate(), i)[:2]) < 1.0


def test_the_lever_arm_of_the_antenna_is_taken_off():
    arm = np.array([2.0, 1.0, 1.5])
    drive = Drive(30.0, gnss_std=0.02, arm=arm, yaw_noise=0.0005)
    config = LocalizerConfig()
    config = replace(config, gnss=replace(config.gnss, antenna_in_base=tuple(arm), std_min=0.05))
    localizer = run(drive, Localizer(config, frame=FRAME))
    estimate = localizer.estimate()
    assert np.hypot(*drive.error(estimate, drive.n - 1)[:2]) < 0.3
    assert estimate.T_map_base[2, 3] == pytest.approx(0.0, abs=0.3)


def test_scale_and_bias_of_the_wheels_are_found():
    drive = Drive(200.0, scale=0.95, bias=0.001, gnss_std=0.7, yaw_noise=0.001)
    found = run(drive, Localizer(frame=FRAME), gnss=10).calibration
    assert found.scale == pytest.approx(0.95, abs=3 * found.std_scale)
    assert found.bias == pytest.approx(0.001, abs=3 * found.std_bias)


# ---- time ----


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


# ---- faults, and the way back ----


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


# ---- frames and threads ----


def test_map_to_odom_joins_odometry_to_the_map():
    drive = Drive(20.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    stamp, T_map_odom = localizer.T_map_odom()
    assert stamp == ns(drive.times[-1])
    expected = localizer.estimate(stamp).T_map_base
    np.testing.assert_allclose(T_map_odom @ drive.odom[-1], expected, atol=1e-9)


def test_a_new_datum_moves_the_estimate_with_it():
    drive = Drive(20.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    before = localizer.estimate()
    there = FRAME.geodetic_from_enu(before.T_map_base[:3, 3])
    localizer.set_datum(Datum(48.2, 11.4, 480.0))
    after = localizer.estimate(before.stamp_ns)
    again = localizer.frame.geodetic_from_enu(after.T_map_base[:3, 3])
    assert again[0] == pytest.approx(there[0], abs=1e-8)
    assert again[1] == pytest.approx(there[1], abs=1e-8)
    assert again[2] == pytest.approx(there[2], abs=0.01)
    # Meridians converge: north has turned by about 0.1 deg * sin(48 deg).
    turned = se3.yaw_of(after.T_map_base) - se3.yaw_of(before.T_map_base)
    assert abs(turned) == pytest.approx(np.radians(0.1 * np.sin(np.radians(48.15))), rel=0.05)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(after.cov), np.linalg.eigvalsh(before.cov), rtol=0.05
    )


def test_other_inputs_come_in_while_a_view_is_matched():
    drive = Drive(20.0)
    localizer = run(drive, known(drive), until=150, gnss=0, since=1)
    source = FakeSource(drive)
    localizer._source, localizer._map_source = source, object()
    entered, release = threading.Event(), threading.Event()
    source.during = lambda: (entered.set(), release.wait(10.0))
    answers = []
    worker = threading.Thread(target=lambda: answers.append(localizer.on_view(view(14.0))))
    worker.start()
    assert entered.wait(10.0)
    run(drive, localizer, until=180, gnss=0, since=150)  # would hang if the lock were held
    assert localizer.estimate().stamp_ns == ns(17.9)
    release.set()
    worker.join(10.0)
    assert answers[0].measurement.status is Status.OK
    assert answers[0].stamp_ns == ns(14.0)


def test_a_view_begun_before_a_reset_is_not_fused_after_it():
    drive = Drive(20.0)
    localizer = run(drive, known(drive), gnss=0, since=1)
    source = FakeSource(drive)
    source.during = lambda: localizer.reset('test')
    localizer._source, localizer._map_source = source, object()
    answer = localizer.on_view(view(18.0))
    assert answer.measurement.status is Status.STALE
    assert answer.T_map_base is None


def test_the_same_input_gives_the_same_answer():
    answers = []
    for _ in range(2):
        drive = Drive(20.0, seed=9)
        answers.append(run(drive, Localizer(frame=FRAME)).estimate())
    np.testing.assert_array_equal(answers[0].T_map_base, answers[1].T_map_base)
    np.testing.assert_array_equal(answers[0].cov, answers[1].cov)
