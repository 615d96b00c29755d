# SPDX-License-Identifier: Apache-2.0
"""Labels from a receiver: interpolation, lever arm, yaw from odometry or course, or none."""

import pickle

import numpy as np
import pytest

from geoloc_core.bags.reader import BagReader
from geoloc_core.errors import DataError
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.messages.conversions import gnss_from_fix, transform_from_pose
from training.datasets.gnss_labels import Fixes, GnssLabels, NS, Odometry

ARM = np.array([-0.4, 0.25])


def arc(t):
    """(N, 3) x, y, yaw of a steady turn at 3 m/s."""
    yaw = 0.7 + 0.08 * t
    radius = 3.0 / 0.08
    return np.column_stack([radius * np.sin(yaw), -radius * np.cos(yaw), yaw])


def antenna(pose):
    c, s = np.cos(pose[:, 2]), np.sin(pose[:, 2])
    return pose[:, :2] + np.column_stack([c * ARM[0] - s * ARM[1], s * ARM[0] + c * ARM[1]])


def recording(*, std=0.05, noise=0.0, odometry=True, rate=2.0, seconds=40.0, **options):
    t = np.arange(0.0, seconds, 1 / rate)
    rng = np.random.default_rng(1)
    xy = antenna(arc(t)) + rng.normal(0, 1, (len(t), 2)) * noise
    cov = np.broadcast_to(np.eye(2) * std**2, (len(t), 2, 2))
    fixes = Fixes((t * NS).astype(np.int64), xy, cov, ARM)
    track = None
    if odometry:
        s = np.arange(0.0, seconds, 0.05)
        T_odom_map = se3.from_planar(5.0, -3.0, 2.0)
        poses = np.array([se3.planar(T_odom_map @ se3.from_planar(*p)) for p in arc(s)])
        poses[:, 2] = np.unwrap(poses[:, 2])
        track = Odometry((s * NS).astype(np.int64), poses)
    return GnssLabels(fixes, track, **options)


def test_yaw_and_lever_arm_come_from_odometry_laid_over_the_fixes():
    labels = recording()
    for t in (3.0, 17.3, 30.25):
        label = labels.at(round(t * NS))
        x, y, yaw = arc(np.array([t]))[0]
        assert label.knows_yaw
        assert se3.planar(label.T_map_base) == pytest.approx((x, y, yaw), abs=0.05)
        assert label.T_map_base[2, 3] == 0.0
        assert np.linalg.eigvalsh(label.cov).min() > 0
        assert np.sqrt(label.cov[5, 5]) < np.radians(5)
    assert pickle.loads(pickle.dumps(labels)).at(3 * NS).knows_yaw


def test_yaw_from_the_course_where_there_is_no_odometry():
    label = recording(odometry=False, rate=5.0).at(round(17.3 * NS))
    assert label.knows_yaw
    # The antenna's course, 0.4 m behind the base in a turn, is nearly the robot's.
    assert se3.yaw_of(label.T_map_base) == pytest.approx(0.7 + 0.08 * 17.3, abs=0.03)
    assert not recording(odometry=False, assume_forward=False).at(17 * NS).knows_yaw


def test_yaw_is_not_known_where_nothing_tells_it():
    label = recording(odometry=False, std=10.0, noise=10.0).at(17 * NS)
    assert not label.knows_yaw and label.cov[5, 5] == pytest.approx(np.pi**2 / 3)
    standing = Fixes(
        np.arange(20, dtype=np.int64) * NS, np.zeros((20, 2)),
        np.broadcast_to(np.eye(2) * 0.01, (20, 2, 2)), ARM,
    )  # fmt: skip
    still = Odometry(np.arange(20, dtype=np.int64) * NS, np.zeros((20, 3)))
    for labels in (GnssLabels(standing), GnssLabels(standing, still)):
        label = labels.at(9 * NS)
        assert not label.knows_yaw
        # The base is somewhere around the antenna.
        assert label.cov[0, 0] > 0.01 + 0.5 * ARM @ ARM - 1e-9


@pytest.mark.parametrize('std', [0.5, 1.5])
def test_deviations_of_the_yaw_are_honest(std):
    errors, sigmas = [], []
    for shift in range(12):
        labels = recording(std=std, noise=std, seconds=30.0 + shift)
        label = labels.at((12 + shift) * NS)
        if label.knows_yaw:
            truth = 0.7 + 0.08 * (12 + shift)
            errors.append(se3.yaw_of(label.T_map_base) - truth)
            sigmas.append(np.sqrt(label.cov[5, 5]))
    assert len(errors) >= 6
    assert np.max(np.abs(np.array(errors)) / sigmas) < 3.5


def test_positions_between_fixes_keep_their_noise():
    labels = recording(std=2.0, noise=0.0)
    middle, on = labels.at(10 * NS + NS // 4), labels.at(10 * NS)
    assert middle.cov[0, 0] >= 4.0 and on.cov[0, 0] >= 4.0
    # Position and yaw go together through the lever arm.
    c, s = np.cos(1.5), np.sin(1.5)
    assert np.sign(on.cov[0, 5]) == np.sign(s * ARM[0] + c * ARM[1])


def test_gaps_are_not_bridged():
    stamps = np.array([0, 1, 2, 5, 6], dtype=np.int64) * NS
    cov = np.broadcast_to(np.eye(2), (5, 2, 2))
    labels = GnssLabels(Fixes(stamps, np.zeros((5, 2)), cov, np.zeros(2)), max_gap_s=1.5)
    asked = np.array([-1, 0, 1.5, 2, 3, 5, 5.5, 6, 7]) * NS
    got = labels.covers(asked.astype(np.int64))
    np.testing.assert_array_equal(got, [0, 1, 1, 1, 0, 1, 1, 1, 0])
    one = GnssLabels(Fixes(stamps[:1], np.zeros((1, 2)), cov[:1], np.zeros(2)))
    np.testing.assert_array_equal(one.covers(stamps[:2]), [True, False])
    with pytest.raises(DataError, match='not one fix'):
        GnssLabels(Fixes(stamps[:0], np.zeros((0, 2)), cov[:0], np.zeros(2)))


def test_a_real_robots_two_yaws_agree(real_data):
    """Odometry laid over the fixes, and the course of the fixes alone: a real Husky outdoors."""
    pytest.importorskip('rosbags')
    path = real_data('rosbags_real', 'rl_test1.bag')
    fixes, poses = [], []
    with BagReader(path) as reader:
        for item in reader.messages(['/fix', '/husky_velocity_controller/odom']):
            if item.topic == '/fix':
                fixes.append(gnss_from_fix(item.message))
            else:
                pose = se3.planar(transform_from_pose(item.message.pose.pose))
                poses.append((item.stamp_ns, *pose))
    frame = EnuFrame(Datum(fixes[0].lat_deg, fixes[0].lon_deg, fixes[0].alt_m))
    place = np.array([[f.lat_deg, f.lon_deg, f.alt_m] for f in fixes])
    received = Fixes(
        np.array([f.stamp_ns for f in fixes]),
        frame.enu_from_geodetic(*place.T)[:, :2],
        np.array([f.cov_enu[:2, :2] for f in fixes]),
        np.zeros(2),
    )
    track = np.array([p[1:] for p in poses])
    track[:, 2] = np.unwrap(track[:, 2])
    stamps = np.array([p[0] for p in poses])
    both = GnssLabels(received, Odometry(stamps, track)), GnssLabels(received)
    sigmas = []
    for second in range(10, 230, 20):
        laid, course = (labels.at(int(stamps[0]) + second * NS) for labels in both)
        assert laid.knows_yaw and course.knows_yaw
        assert np.degrees(np.sqrt(laid.cov[5, 5])) < 5.0
        off = angles.difference(se3.yaw_of(laid.T_map_base), se3.yaw_of(course.T_map_base))
        sigmas.append(off / np.sqrt(laid.cov[5, 5] + course.cov[5, 5]))
    assert np.sqrt(np.mean(np.square(sigmas))) < 1.3 and np.abs(sigmas).max() < 3.0
    # Standing still there is no course, but odometry remembers.
    laid, course = (labels.at(int(stamps[0]) + 240 * NS) for labels in both)
    assert laid.knows_yaw and not course.knows_yaw
