# SPDX-License-Identifier: Apache-2.0
"""The localizer on a drive: how it starts, how well it knows what it knows, frames and threads."""

from dataclasses import replace
import threading

import numpy as np
import pytest

from geoloc_core.estimation.config import DatumConfig, LocalizerConfig
from geoloc_core.estimation.covariance import planar_block
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.localizer import Localizer
from geoloc_core.types import Status
from tests.estimation.drive import Drive, FRAME, ns
from tests.estimation.localizer_drive import FakeSource, known, run, view

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
