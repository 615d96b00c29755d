# SPDX-License-Identifier: Apache-2.0
"""Bad input: a clear message, the node lives, nothing is invented."""

import math

import numpy as np
import pytest

pytest.importorskip('rclpy')

from geoloc_ros import messages
from tests.ros.rig import HEIGHT, MOUNTS, START_NS, view_of, WIDTH

S = 10**9
NAN9 = [math.nan] * 9


@pytest.fixture
def localized(rig, map_path):
    """A node that is localized, with a map."""
    r = rig({'map.path': map_path, 'depth.enabled': True, 'depth.wait_s': 0.0})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    return r


def lives(r, stamp):
    """The next good frame is used."""
    r.odom(stamp)
    r.ready(stamp)
    r.image(stamp, view_of(r.node.session.map_source, 0.0, 0.0, 0.0))
    assert r.status_of(stamp)[0] == 'OK'
    assert not r.errors
    assert 'INTERNAL_ERROR' not in r.node.session.frame_counts
    assert 'samples_failed' not in r.node.session.frame_counts


def refusals(r, topic, status, count=1):
    monitor = r.node.session.monitors[topic]
    r.wait(lambda: monitor.refused[status] == count, f'{status} on {topic}, {monitor.refused}')
    return monitor.last_reason


def test_bad_fixes(localized):
    r = localized
    cases = [
        ({'latitude': math.nan}, 'BAD_INPUT', 'not finite'),
        ({'latitude': 91.0}, 'BAD_INPUT', 'out of range'),
        ({'longitude': 181.0}, 'BAD_INPUT', 'out of range'),
        ({'status': -1}, 'NO_FIX', 'no fix'),
        ({'covariance': [math.inf] * 9}, 'BAD_INPUT', 'not finite'),
        ({'covariance': NAN9}, 'BAD_INPUT', 'not finite'),
        ({'covariance': [-1.0] + [0.0] * 8}, 'BAD_INPUT', 'not positive definite'),
    ]
    counts = {}
    for fields, status, text in cases:
        counts[status] = counts.get(status, 0) + 1
        r.fix(START_NS + S, **fields)
        assert text in refusals(r, 'fix', status, counts[status])
    # Type 0 and zeros are no error: the default deviation is taken.
    r.fix(START_NS + S, kind=0, covariance=NAN9)
    r.fix(START_NS + S + 1, kind=3, covariance=[0.0] * 9)
    counters = r.node.session.localizer.counters
    r.wait(lambda: counters['gnss.OK'] + counters['gnss.GATED'] == 2, f'{counters}')
    lives(r, START_NS + S // 2)


def test_camera_info_missing_zero_or_of_another_size(rig, map_path):
    r = rig({'map.path': map_path})
    r.start()
    r.localize(START_NS)
    r.image(START_NS)
    status, reasons = r.status_of(START_NS)
    assert status == 'BAD_INPUT' and 'no camera_info received' in reasons
    r.info(START_NS, zero=True)
    refusals(r, 'camera_info', 'BAD_INPUT')
    r.image(START_NS + 1)
    status, reasons = r.status_of(START_NS + 1)
    assert status == 'BAD_INPUT' and 'camera_info cannot be used' in reasons
    monitor = r.node.session.monitors['camera_info']
    r.info(START_NS, width=320, height=240)
    r.wait(lambda: monitor.received == 2, 'camera_info')
    r.image(START_NS + 2)
    status, reasons = r.status_of(START_NS + 2)
    assert status == 'BAD_INPUT' and 'image is 160 x 120, camera_info is for 320 x 240' in reasons
    lives(r, START_NS + 3)


def test_damaged_images(localized):
    r = localized
    cases = [
        ({'encoding': 'wrong9'}, 'not supported'),
        ({'encoding': ''}, 'not supported'),
        ({'step': 10}, 'a row needs'),
        ({'height': HEIGHT * 2}, 'truncated'),
        ({'width': 0}, 'no pixels'),
    ]
    for index, (fields, text) in enumerate(cases):
        r.image(START_NS + index, **fields)
        status, reasons = r.status_of(START_NS + index)
        assert status == 'BAD_INPUT' and text in reasons, (fields, reasons)
    lives(r, START_NS + 50)


def test_padded_rows_are_no_error(localized):
    r = localized
    view = view_of(r.node.session.map_source, 0.0, 0.0, 0.0)
    padded = np.pad(view.reshape(HEIGHT, -1), ((0, 0), (0, 32)), constant_values=77)
    message = messages.image_message(view, START_NS, 'camera_optical_frame')
    message.step = padded.shape[1]
    message.data = padded.tobytes()
    r.pub['image'].publish(message)
    assert r.status_of(START_NS)[0] == 'OK'


def test_depth_of_another_size_costs_the_depth_not_the_frame(localized):
    r = localized
    stamp = START_NS + S // 10
    depth = messages.image_message(np.zeros((10, 12, 3), np.uint8), stamp, 'cam')
    depth.encoding, depth.width, depth.step = '16UC1', 18, 36
    r.pub['depth/image'].publish(depth)
    r.wait(lambda: r.node.session.monitors['depth/image'].received, 'depth')
    r.odom(stamp)
    r.image(stamp, view_of(r.node.session.map_source, 0.0, 0.0, 0.0))
    status, reasons = r.status_of(stamp)
    assert status == 'OK'
    assert f'depth is 18 x 10, camera_info is for {WIDTH} x {HEIGHT}' in reasons


def test_odometry_that_teleports_is_of_another_frame_or_stops(localized):
    r = localized
    r.odom(START_NS + S, child='base_footprint')
    assert 'frames.base' in refusals(r, 'odom', 'BAD_INPUT')
    r.odom(START_NS + S // 10, x=0.1)
    counters = r.node.session.localizer.counters
    r.wait(lambda: counters['odometry.OK'] >= 2, f'{counters}')
    r.odom(START_NS + S // 5, x=5000.0)
    r.wait(lambda: sum(counters.values()) > 4, f'{counters}')
    # It stops: a little later a pose is still carried on, near where the robot was.
    r.image(START_NS + 8 * S // 10)
    status, _ = r.status_of(START_NS + 8 * S // 10)
    assert status not in ('OK', 'BAD_INPUT', 'INTERNAL_ERROR')
    estimate = r.node.session.last_report.estimate
    assert np.all(np.abs(estimate.T_map_base[:2, 3]) < 20)
    assert np.linalg.eigvalsh(estimate.cov).min() > 0
    # Much later it is not: the frame is refused with a reason.
    r.image(START_NS + 60 * S)
    status, reasons = r.status_of(START_NS + 60 * S)
    assert status not in ('OK', 'INTERNAL_ERROR') and reasons


def test_stamps_that_go_back_or_lie_ahead(localized):
    r = localized
    r.odom(START_NS + S, x=0.1)
    r.odom(START_NS + S // 2, x=0.05)
    counters = r.node.session.localizer.counters
    r.wait(lambda: counters['odometry.BAD_STAMP'] == 1, f'{counters}')
    ahead = r.node.session.now_ns() + 3600 * S
    r.image(ahead)
    status, reasons = r.status_of(ahead)
    assert status == 'BAD_STAMP' and 'ahead of ROS time' in reasons
    r.fix(ahead)
    assert 'ahead of ROS time' in refusals(r, 'fix', 'BAD_STAMP')
    r.image(0)
    status, reasons = r.status_of(0)
    assert status == 'BAD_INPUT' and 'no stamp' in reasons
    lives(r, START_NS + S)


def test_a_bag_that_loops_without_clock(localized):
    r = localized
    counters = r.node.session.localizer.counters
    for step in range(1, 4):
        r.odom(START_NS + (60 + step) * S // 10, x=0.0)
    for step in range(4):
        r.odom(START_NS - 100 * S + step * S // 10)
    r.wait(lambda: counters['reset'] == 1, f'{counters}')
    r.localize(START_NS - 99 * S)
    lives(r, START_NS - 99 * S)


def test_a_place_that_the_map_does_not_cover(localized):
    r = localized
    r.localize(START_NS + S, x=5000.0)
    r.image(START_NS + S)
    status, reasons = r.status_of(START_NS + S)
    assert status == 'NO_MAP' and 'covers 0 %' in reasons


def test_no_mount_no_pose(rig, map_path):
    given = {name: [math.nan] * 3 for name in MOUNTS if name.startswith('frames.')}
    r = rig({'map.path': map_path, **given})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    r.image(START_NS)
    status, reasons = r.status_of(START_NS)
    assert status == 'BAD_INPUT' and 'mount of the camera is not known' in reasons
    r.fix(START_NS)
    assert 'frames.antenna_xyz' in refusals(r, 'fix', 'BAD_INPUT')


def test_nothing_is_published_before_there_is_an_estimate(rig, map_path):
    r = rig({'map.path': map_path})
    r.start()
    r.ready(START_NS)
    r.image(START_NS)
    status, reasons = r.status_of(START_NS)
    assert status == 'NO_PRIOR' and reasons
    assert not r.got['geoloc/pose']
