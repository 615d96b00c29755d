# SPDX-License-Identifier: Apache-2.0
"""Streams that go wrong as a whole, in the node: jumps, silence, doubles; told, and survived."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from geoloc_ros import messages
from tests.ros.rig import START_NS, view_of

S = 10**9


@pytest.fixture
def localized(rig, map_path):
    """A node that is localized, with a map, and whose warnings are heard."""
    r = rig({'map.path': map_path, 'depth.enabled': True, 'depth.wait_s': 0.0})
    r.start()
    listen(r)
    r.localize(START_NS)
    r.ready(START_NS)
    return r


def listen(r):
    # Not by /rosout: rcl keeps one publisher a process for nodes of the same name.
    r.said = []
    complaints = r.node.session.complaints
    say = complaints._say
    complaints._say = lambda text: (r.said.append(text), say(text))


def told(r, text):
    r.wait(lambda: any(text in each for each in list(r.said)), f'{text!r} in the log')


def seen_from(r, x):
    return view_of(r.node.session.map_source, x, 0.0, 0.0)


def drive(r, first, last, x0=0.0, speed=1.0, shift=0.0):
    """Odometry at 10 Hz from tenth `first` to `last`, as a robot that drives east."""
    monitor = r.node.session.monitors['odom']
    for tenth in range(first, last + 1):
        before = monitor.received
        x = x0 + speed * (tenth - first) / 10
        r.odom(START_NS + tenth * S // 10, x + shift, speed=speed)
        r.wait(lambda before=before: monitor.received > before, 'odom')


def estimate(r, stamp):
    return r.node.session.localizer.estimate(stamp)


def test_a_teleport_of_the_odometry_is_told_and_not_driven(localized):
    r = localized
    drive(r, 1, 10, 0.1)
    before = estimate(r, START_NS + S)
    drive(r, 11, 20, 1.1, shift=700.0)
    told(r, 'odometry broken')
    r.wait(lambda: r.node.session.localizer.counters['odometry.OK'] >= 20, 'odometry')
    after = estimate(r, START_NS + 2 * S)
    # It went on from where it was, knows less, and what the odometry says after is used again.
    assert abs(after.T_map_base[0, 3] - 2.0) < 1.5
    assert np.trace(after.cov[:2, :2]) > np.trace(before.cov[:2, :2])
    r.image(START_NS + 2 * S, seen_from(r, 2.0))
    status, reasons = r.status_of(START_NS + 2 * S)
    assert status == 'OK', reasons
    found = r.node.session.last_report.estimate.T_map_base
    assert abs(found[0, 3] - 2.0) < 0.5 and abs(found[1, 3]) < 0.5


def test_odometry_that_stops_lets_doubt_grow_until_it_speaks_again(localized):
    r = localized
    drive(r, 1, 10, 0.1)
    stamps = [START_NS + t * S // 10 for t in (10, 18, 40)]
    stds = [float(np.sqrt(estimate(r, s).cov[0, 0])) for s in stamps[:2]]
    assert stds[0] < stds[1]
    late = estimate(r, stamps[2])
    if late.cov is not None:
        assert np.isfinite(late.cov).all() and late.cov[0, 0] > stds[1] ** 2
    assert late.reasons
    drive(r, 40, 50, 4.0)
    r.wait(lambda: r.node.session.localizer.counters['odometry.OK'] >= 22, 'odometry')
    r.image(START_NS + 5 * S, seen_from(r, 5.0))
    status, reasons = r.status_of(START_NS + 5 * S)
    assert status == 'OK', reasons


def test_a_bag_that_loops_is_told_and_localized_anew(localized):
    r = localized
    drive(r, 600, 603, 0.0)
    drive(r, 0, 4, 0.0)
    told(r, 'the clock of odometry jumped')
    r.localize(START_NS + 5 * S // 10)
    r.image(START_NS + 5 * S // 10, seen_from(r, 0.0))
    status, reasons = r.status_of(START_NS + 5 * S // 10)
    assert status == 'OK', reasons


def test_one_stamp_from_far_away_does_not_reset(localized):
    r = localized
    drive(r, 1, 3, 0.1)
    counters = r.node.session.localizer.counters
    r.odom(START_NS - 5000 * S)
    r.wait(lambda: counters['odometry.BAD_STAMP'] == 1, f'{counters}')
    drive(r, 4, 5, 0.4)
    r.wait(lambda: counters['odometry.OK'] == 6, f'{counters}')
    assert counters['reset'] == 0
    assert r.node.session.monitors['odom'].refused['BAD_STAMP'] == 1


def test_simulated_time_that_leaps_ahead_by_an_hour(rig, map_path):
    r = rig({'map.path': map_path}, sim_time=True)
    clock = r.peer.create_publisher(Clock, '/clock', QoSProfile(depth=10))
    r.start()
    r.wait(clock.get_subscription_count, 'a clock listener')

    def tick(stamp):
        clock.publish(Clock(clock=messages.time_message(stamp)))
        r.wait(lambda: r.node.session.now_ns() == stamp, 'the time')

    tick(START_NS + S)
    r.localize(START_NS)
    r.ready(START_NS)
    late = START_NS + 3600 * S
    tick(late + S)
    r.image(late, seen_from(r, 0.0))
    status, reasons = r.status_of(late)
    assert status not in ('OK', 'INTERNAL_ERROR') and reasons
    # Odometry that goes on from there starts anew, and nothing is claimed before it is localized.
    for step in range(3):
        r.odom(late + step * S // 10)
    counters = r.node.session.localizer.counters
    r.wait(lambda: counters['reset'] == 1, f'{counters}')
    assert estimate(r, late + S // 5).T_map_base is None
    r.localize(late + 3 * S // 10)
    r.image(late + 3 * S // 10, seen_from(r, 0.0))
    assert r.status_of(late + 3 * S // 10)[0] == 'OK'


def test_the_reason_of_a_refused_sample_is_told_not_only_its_kind(localized):
    r = localized
    monitor = r.node.session.monitors['fix']
    for index, (fields, text) in enumerate(
        [
            ({'std': 300.0}, 'the fix itself claims 300 m'),
            ({'x': 3000.0}, 'contradicts the current estimate: 3000.0 m off'),
        ],
        start=1,
    ):
        r.fix(START_NS + index * S // 10, **fields)
        r.wait(lambda text=text: text in monitor.last_reason, text)
        told(r, text)
    assert abs(estimate(r, START_NS).T_map_base[0, 3]) < 1.0


def test_depth_that_is_damaged_costs_the_depth_alone(localized):
    r = localized
    cases = [({'encoding': 'rgb8'}, 'depth'), ({'height': 999}, 'truncated'), ({'step': 3}, 'row')]
    for index, (fields, text) in enumerate(cases, start=1):
        stamp = START_NS + index * S // 5
        depth = messages.image_message(np.zeros((10, 12, 3), np.uint8), stamp, 'cam')
        depth.encoding, depth.width, depth.step = '16UC1', 18, 36
        for name, value in fields.items():
            setattr(depth, name, value)
        before = r.node.session.monitors['depth/image'].received
        r.pub['depth/image'].publish(depth)
        r.wait(
            lambda before=before: r.node.session.monitors['depth/image'].received > before, 'depth'
        )
        r.odom(stamp)
        r.image(stamp, seen_from(r, 0.0))
        status, reasons = r.status_of(stamp)
        assert status == 'OK' and 'depth not used' in reasons and text in reasons, reasons


def test_torn_compressed_images_cost_their_frame_alone(rig, map_path):
    r = rig({'map.path': map_path, 'image.transport': 'compressed'})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    data = cv2.imencode('.jpg', seen_from(r, 0.0)[..., ::-1])[1].tobytes()
    cases = [(data[: len(data) // 2], 'BAD_INPUT'), (b'', 'BAD_INPUT'), (data, 'OK')]
    for index, (content, expected) in enumerate(cases):
        message = CompressedImage(header=messages.header(START_NS + index, 'camera'))
        message.format, message.data = 'jpeg', content
        r.pub['image/compressed'].publish(message)
        status, reasons = r.status_of(START_NS + index)
        assert status == expected and (status == 'OK' or reasons), reasons


@pytest.mark.parametrize('static', [False, True])
def test_a_second_publisher_of_map_to_odom_on_tf_is_told(localized, static):
    r = localized
    # What the /tf callback is given; tf2_msgs is not among the wheels.
    foreign = messages.transform_message(np.eye(4), START_NS, 'map', 'odom')
    r.node.session._on_tf(static, SimpleNamespace(transforms=[foreign]))
    topic = '/tf_static' if static else '/tf'
    told(r, f'{topic}: somebody else publishes map -> odom too: stop one of both')
    r.wait(
        lambda: any(
            s.name == 'geoloc: transforms' and s.level == b'\x01' and 'somebody else' in s.message
            for d in list(r.got['/diagnostics'])
            for s in d.status
        ),
        'a warning',
    )


def test_silence_is_told_by_the_name_of_the_topic(rig, monkeypatch):
    from geoloc_ros import diagnostics, session

    monkeypatch.setattr(diagnostics, 'WINDOW_S', 0.3)
    monkeypatch.setattr(session, 'WINDOW_S', 0.3)
    r = rig({'image.transport': 'compressed'})
    r.start()
    listen(r)
    r.localize(START_NS)
    told(r, 'nothing received on /image/compressed: is it published')
    told(r, 'nothing received on /camera_info')
    told(r, '/odom is silent for')
    # An initial pose is given once; nobody waits for a fix where there never was one.
    assert not any('/initialpose is' in each or '/fix' in each for each in r.said)
