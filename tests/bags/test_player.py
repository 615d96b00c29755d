# SPDX-License-Identifier: Apache-2.0
"""The player and the recorder on a real ROS graph."""

import os
import threading
import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from geometry_msgs.msg import PoseWithCovarianceStamped  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image, NavSatFix  # noqa: E402

from geoloc_core.bags import topics  # noqa: E402
from geoloc_core.bags.reader import read_bag  # noqa: E402
from geoloc_core.bags.writer import BagWriter  # noqa: E402
from geoloc_core.errors import BagError  # noqa: E402
from geoloc_core.messages.image_decoding import decode_image  # noqa: E402
from geoloc_ros.bags.player import BagPlayer, PlayOptions  # noqa: E402
from geoloc_ros.bags.recorder import Recorder  # noqa: E402
from tests.bags.conftest import picture, START  # noqa: E402

pytestmark = pytest.mark.ros


def eventually(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, 'waited in vain'
        time.sleep(0.02)


@pytest.fixture
def graph(monkeypatch):
    """Two nodes of a domain of our own, the second one spinning."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    context = Context()
    rclpy.init(context=context, domain_id=1 + os.getpid() % 100)
    sender = rclpy.create_node('sender', context=context)
    listener = rclpy.create_node('listener', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield sender, listener
    executor.shutdown()
    thread.join(5.0)
    sender.destroy_node()
    listener.destroy_node()
    rclpy.try_shutdown(context=context)


def test_a_bag_arrives_whole_and_in_time(graph, drive_bag):
    sender, listener = graph
    got = {'images': [], 'fixes': [], 'clocks': []}
    listener.create_subscription(Image, '/front', got['images'].append, 10)
    listener.create_subscription(NavSatFix, topics.FIX, got['fixes'].append, 10)
    listener.create_subscription(Clock, '/clock', got['clocks'].append, 100)
    with read_bag(drive_bag) as reader:
        options = PlayOptions(
            rate=5.0,
            remap={topics.IMAGE: '/front'},
            exclude=[topics.TRUTH],
            wait_for=[topics.IMAGE, topics.FIX],
        )
        player = BagPlayer(reader, sender, options)
        seconds = []
        begin = time.monotonic()
        published = player.play(seconds.append)
        took = time.monotonic() - begin
        eventually(lambda: len(got['images']) == 7 and len(got['fixes']) == 16)
    assert published == 16 + 31 + 31 + 7 + 7 + 1  # no truth; /tf_static has no wheel
    assert sum(seconds) == pytest.approx(3.0, abs=0.01)
    assert took > 3.0 / 5.0
    np.testing.assert_array_equal(decode_image(got['images'][1]), picture(5))
    assert got['images'][1].header.stamp.nanosec == 500_000_007
    clock = [c.clock.sec * 10**9 + c.clock.nanosec for c in got['clocks']]
    assert clock == sorted(clock)
    assert clock[0] == START
    assert len(clock) > 31


def test_part_of_a_bag_with_what_is_latched(graph, drive_bag):
    sender, listener = graph
    got = []
    listener.create_subscription(NavSatFix, topics.FIX, got.append, 10)
    with read_bag(drive_bag) as reader:
        options = PlayOptions(
            rate=10.0,
            topics=[topics.FIX, topics.TRUTH_DATUM],
            start_s=1.0,
            duration_s=1.0,
            wait_for=[topics.FIX],
        )
        assert BagPlayer(reader, sender, options).play() == 5 + 1
        eventually(lambda: len(got) == 5)
    assert got[0].header.stamp.sec - START // 10**9 == 1


def test_player_explains_what_it_cannot_do(graph, drive_bag):
    sender, _ = graph
    with read_bag(drive_bag) as reader:
        for options, text in (
            (PlayOptions(rate=0.0), 'rate must be positive'),
            (PlayOptions(topics=['/nowhere']), 'has no /nowhere'),
            (PlayOptions(topics=[topics.TF_STATIC]), 'nothing in'),
        ):
            with pytest.raises(BagError, match=text):
                BagPlayer(reader, sender, options)
        options = PlayOptions(wait_for=[topics.IMU], wait_timeout_s=0.1)
        with pytest.raises(BagError, match=r'nobody subscribed to /imu/data in 0\.1 s'):
            BagPlayer(reader, sender, options).play()


def test_recorder_makes_a_run_of_what_a_node_says(graph, tmp_path):
    sender, listener = graph
    pose_out = sender.create_publisher(PoseWithCovarianceStamped, '/robot/geoloc/pose', 10)
    status_out = sender.create_publisher(DiagnosticArray, '/robot/geoloc/status', 10)
    with BagWriter(tmp_path / 'heard') as bag:
        recorder = Recorder(listener, '/robot/geoloc', bag=bag)
        assert recorder.wait_for_target(20.0)
        eventually(
            lambda: pose_out.get_subscription_count() and status_out.get_subscription_count()
        )
        pose = PoseWithCovarianceStamped()
        pose.header.stamp.sec = 5
        pose.pose.pose.position.x = 3.0
        pose.pose.pose.orientation.w = 1.0
        pose.pose.covariance = [float(v) for v in np.diag([1.0, 2, 3, 4, 5, 6]).reshape(36)]
        # Reader and writer may meet one after the other: said until heard.
        eventually(lambda: pose_out.publish(pose) or 5 * 10**9 in recorder._poses)
        for sec, values in (
            (5, {'status': 'OK', 'estimate_status': 'OK', 'total_ms': '42.5', 'reasons': ''}),
            (6, {'status': 'DROPPED', 'reasons': 'busy; too slow'}),
        ):
            status = DiagnosticArray()
            status.header.stamp.sec = sec
            pairs = [KeyValue(key=k, value=v) for k, v in values.items()]
            status.status = [DiagnosticStatus(values=pairs)]
            eventually(
                lambda s=status, t=sec: (
                    status_out.publish(s) or recorder.wait_for_frames([t * 10**9], 0.05)
                )
            )
        assert not recorder.wait_for_frames([7 * 10**9], 0.1)
        run = recorder.record({'a': 1}, {'rate': 2.0})
        recorder.close()
    first, second = run.frames
    assert (first.status, first.latency_ms) == ('OK', 42.5)
    np.testing.assert_allclose(first.pose, [3, 0, 0])
    np.testing.assert_allclose(np.diag(first.cov), [1, 2, 6])
    assert (second.status, second.reasons, second.pose) == ('DROPPED', ('busy', 'too slow'), None)
    assert run.details['rate'] == 2.0
    with read_bag(tmp_path / 'heard') as heard:
        assert heard.topics['/robot/geoloc/status'].count >= 2
