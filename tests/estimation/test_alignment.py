# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.estimation.alignment import align, backward_track, Track

RNG = np.random.default_rng(3)
END = np.array([40.0, -25.0, 2.2])


def drive(scale=1.0, bias=0.0, arm=(0.0, 0.0), noise=0.0, n=241, outliers=0.0):
    """A winding track as a faulty odometry saw it, and the fixes of its antenna."""
    t = np.arange(n) * 0.25
    rate = 0.2 * np.sin(t / 6) + 0.05
    true = np.zeros((n, 3))
    seen = np.zeros((n, 3))
    seen[0] = [5.0, 6.0, -1.0]
    for i in range(n - 1):
        for poses, way, turn in (
            (true, 0.5, rate[i] * 0.25),
            (seen, 0.5 / scale, (rate[i] + bias) * 0.25),
        ):
            heading = poses[i, 2] + 0.5 * turn
            poses[i + 1] = poses[i] + [way * np.cos(heading), way * np.sin(heading), turn]
    # Bring the true track's end to END.
    angle = END[2] - true[-1, 2]
    c, s = np.cos(angle), np.sin(angle)
    xy = (true[:, :2] - true[-1, :2]) @ np.array([[c, s], [-s, c]]) + END[:2]
    yaw = true[:, 2] + angle
    c, s = np.cos(yaw), np.sin(yaw)
    antenna = xy + np.column_stack([c * arm[0] - s * arm[1], s * arm[0] + c * arm[1]])
    nodes = np.arange(0, n, 4)
    fixes = antenna[nodes] + noise * RNG.normal(size=(len(nodes), 2))
    bad = RNG.random(len(nodes)) < outliers
    fixes[bad] += RNG.uniform(-80, 80, (bad.sum(), 2))
    std = np.full(len(nodes), max(noise, 0.1))
    return Track(t - t[-1], seen, nodes, fixes, std, np.array(arm))


def test_the_backward_track_ends_at_the_origin():
    track = drive()
    xy, heading = backward_track(track, 1.0, 0.0)
    np.testing.assert_allclose(xy[-1], 0.0, atol=1e-12)
    assert heading[-1] == 0.0
    # A calibrated copy of itself: the distance shrinks with the scale.
    shorter, _ = backward_track(track, 0.5, 0.0)
    np.testing.assert_allclose(shorter, 0.5 * xy, atol=1e-12)


@pytest.mark.parametrize('arm', [(0.0, 0.0), (1.5, -0.7)])
def test_finds_pose_scale_and_bias_exactly_from_clean_fixes(arm):
    found = align(drive(0.93, 0.004, arm), 0.0, (1.0, 0.0), (1.0, 1.0))
    assert (found.x, found.y, found.yaw) == pytest.approx(tuple(END), abs=5e-3)
    assert (found.scale, found.bias) == pytest.approx((0.93, 0.004), abs=1e-4)


@pytest.mark.parametrize('yaw', np.linspace(-3, 3, 5))
def test_starts_from_any_direction(yaw):
    track = drive(noise=0.5)
    c, s = np.cos(yaw), np.sin(yaw)
    turned = track.poses[:, :2] @ np.array([[c, s], [-s, c]])
    poses = np.column_stack([turned, track.poses[:, 2] + yaw])
    track = Track(track.times, poses, track.fix_nodes, track.fixes, track.std, track.arm)
    found = align(track, 10.0, (1.0, 0.0), (0.03, 0.001))
    assert found.yaw == pytest.approx(END[2], abs=0.05)


def test_a_fifth_of_gross_outliers_is_seen_through():
    track = drive(noise=0.5, outliers=0.2)
    found = align(track, 5.0, (1.0, 0.0), (0.03, 0.001))
    assert (found.x, found.y) == pytest.approx(tuple(END[:2]), abs=1.5)
    assert found.yaw == pytest.approx(END[2], abs=0.05)
    assert 0.6 < found.inliers < 0.95


def test_correlated_fixes_leave_more_doubt():
    track = drive(noise=0.5)
    white = align(track, 0.0, (1.0, 0.0), (0.03, 0.001))
    alike = align(track, 20.0, (1.0, 0.0), (0.03, 0.001))
    assert alike.cov[0, 0] > 3 * white.cov[0, 0]


def test_too_few_fixes_give_nothing():
    track = drive()
    few = Track(
        track.times, track.poses, track.fix_nodes[:2], track.fixes[:2], track.std[:2], track.arm
    )
    assert align(few, 0.0, (1.0, 0.0), (0.03, 0.001)) is None


@pytest.mark.parametrize('fresh', [0.0, 0.5, 1.0])
def test_a_first_yaw_is_as_sure_as_it_says_whatever_the_fixes_errors_are_made_of(fresh):
    """Short starts: 40 m in 8 s, errors of 4 m that are partly alike for 20 s, partly new."""
    rng = np.random.default_rng(11)
    times = np.arange(0, 8.01, 0.25)
    poses = np.column_stack([5.0 * times, 0.0 * times, 0.0 * times])
    apart = np.abs(times[:, None] - times[None, :])
    cov = (1 - fresh) * np.exp(-apart / 20.0) + fresh * np.eye(len(times))
    root = 4.0 * np.linalg.cholesky(cov + 1e-9 * np.eye(len(times)))
    errors = []
    for _ in range(60):
        fixes = poses[:, :2] + root @ rng.normal(size=(len(times), 2))
        nodes = np.arange(len(times))
        track = Track(times - times[-1], poses, nodes, fixes, np.full(33, 4.0), np.zeros(2))
        found = align(track, 20.0, (1.0, 0.0), (0.03, 0.001))
        errors.append(found.yaw / np.sqrt(found.cov[2, 2]))
    # One would be perfect. With FRESH_SHARE near 0 it is 4.8 and 5.9 for the mixed and the
    # white errors: a first yaw far too sure of itself.
    assert 0.1 < np.mean(np.square(errors)) < 2.5
