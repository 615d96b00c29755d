# SPDX-License-Identifier: Apache-2.0
"""Depth in the live node: registered or not, late, gone and back, and how it is said."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import CameraInfo, CompressedImage

from geoloc_core.bags.depth_encoding import compressed_depth
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.types import PoseMeasurement, Status
from geoloc_ros import messages
from tests.ros.rig import HEIGHT, info_message, pinhole, START_NS, WIDTH

S = 10**9
OWN_FRAME = 'depth_optical_frame'
# Smaller than colour, and as wide in angle.
OWN = PinholeCamera(80, 60, 50.0, 50.0, 39.5, 29.5)


class Eyes:
    """A source that keeps the views it is shown, and says that they are where the prior is."""

    def __init__(self):
        self.views = {}

    def measure(self, view, prior, frame, map_source):
        self.views[view.stamp_ns] = view
        cov = np.diag([0.1, 0.1, 0.1, 0.02, 0.02, 0.02]) ** 2
        return PoseMeasurement(view.stamp_ns, Status.OK, T_map_base=prior.T_map_base, cov=cov)


@pytest.fixture
def seeing(rig, map_path):
    """Makes nodes that are localized and whose views are kept; with them, what they were told."""

    def make(**params):
        given = {f'depth.{name}': value for name, value in params.items() if name != 'frames'}
        r = rig({'map.path': map_path, 'depth.enabled': True, **given, **params.get('frames', {})})
        r.depth_info = r.peer.create_publisher(CameraInfo, 'depth/camera_info', 10)
        r.compressed = r.peer.create_publisher(CompressedImage, 'depth/image/compressedDepth', 10)
        r.start()
        r.eyes = Eyes()
        r.node.session.localizer._source = r.eyes
        transport = r.node.params()['depth.transport']
        publisher = r.pub['depth/image'] if transport == 'raw' else r.compressed
        r.wait(publisher.get_subscription_count, 'depth')
        r.wait(r.depth_info.get_subscription_count, 'depth/camera_info')
        r.localize(START_NS)
        r.ready(START_NS)
        return r

    return make


def depth_message(stamp, depth, encoding='16UC1', frame='camera_optical_frame'):
    """Of metres (H, W)."""
    pixels = np.asarray(depth, np.float32)
    if encoding == '16UC1':
        pixels = np.rint(pixels * 1000).astype(np.uint16)
    height, width = pixels.shape
    message = messages.image_message(np.zeros((1, 1, 3), np.uint8), stamp, frame)
    message.height, message.width, message.step = height, width, width * pixels.itemsize
    message.encoding, message.data = encoding, pixels.tobytes()
    return message


def send(r, message):
    monitor = r.node.session.monitors['depth/image']
    before = monitor.received
    r.pub['depth/image'].publish(message)
    r.wait(lambda: monitor.received > before, 'depth')


def send_info(r, camera=OWN):
    monitor = r.node.session.monitors['depth/camera_info']
    before = monitor.received
    message = info_message(START_NS, camera.width, camera.height, camera=camera)
    message.header.frame_id = OWN_FRAME
    r.depth_info.publish(message)
    r.wait(lambda: monitor.received > before, 'depth/camera_info')


def view_at(r, stamp):
    """The view that the localizer was shown, and what the status says of its depth."""
    r.odom(stamp)
    r.image(stamp)
    status, reasons = r.status_of(stamp)
    assert status == 'OK', reasons
    values = next(
        {v.key: v.value for v in m.status[0].values}
        for m in r.got['geoloc/status']
        if m.header.stamp == messages.time_message(stamp)
    )
    return r.eyes.views[stamp], values['depth'], reasons


def diagnosed(r, text):
    """Waits for a message of the depth diagnostics."""

    def look():
        return any(
            s.name == 'geoloc: depth' and text in s.message
            for m in list(r.got['/diagnostics'])[-3:]
            for s in m.status
        )

    r.wait(look, f'{text!r} in diagnostics')


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_registered_depth_reaches_the_source(seeing, encoding):
    r = seeing()
    depth = np.full((HEIGHT, WIDTH), 2.5, np.float32)
    depth[:, -7:] = 1.25
    depth[:10] = 0.0
    send(r, depth_message(START_NS, depth, encoding))
    view, word, _ = view_at(r, START_NS)
    assert word == 'used'
    assert view.depth.shape == view.image.shape[:2]
    assert np.isnan(view.depth[:10]).all()
    np.testing.assert_allclose(view.depth[10:, :-7], 2.5, rtol=1e-6)
    np.testing.assert_allclose(view.depth[10:, -7:], 1.25, rtol=1e-6)
    diagnosed(r, 'used')


def test_compressed_depth_reaches_the_source(seeing):
    r = seeing(transport='compressed')
    counts = np.full((HEIGHT, WIDTH), 2500, np.uint16)
    message = CompressedImage(header=messages.header(START_NS, 'camera_optical_frame'))
    message.format, message.data = '16UC1; compressedDepth png', compressed_depth(counts)
    monitor = r.node.session.monitors['depth/image']
    r.compressed.publish(message)
    r.wait(lambda: monitor.received, 'depth')
    view, word, _ = view_at(r, START_NS)
    assert word == 'used'
    np.testing.assert_allclose(view.depth, 2.5, rtol=1e-6)


def test_depth_of_its_own_camera_is_registered_on_the_way(seeing):
    # The depth camera sits 0.1 m to the left of the colour camera (y left) and looks as it does.
    mount = {'frames.depth_xyz': [0.0, 0.1, 0.0], 'frames.depth_rpy': [0.0, 0.0, 0.0]}
    r = seeing(frames=mount)
    send_info(r)
    depth = np.full((60, 80), 4.0, np.float32)
    depth[20:40, 30:50] = 1.0
    send(r, depth_message(START_NS, depth, frame=OWN_FRAME))
    view, word, _ = view_at(r, START_NS)
    assert word == 'used'
    near = np.abs(view.depth - 1.0) < 1e-3
    # What it sees in its middle lies left of the colour camera's: 100 px * 0.1 m / 1 m.
    columns, rows = np.nonzero(near)[1], np.nonzero(near)[0]
    assert abs(columns.mean() - (pinhole().cx - 10.0)) < 1.0
    assert abs(rows.mean() - pinhole().cy) < 1.0
    # 40 pixels wide in the finer colour picture, and no sieve: the wall does not shine through.
    assert near.sum() == pytest.approx(40 * 40, rel=0.1)


def test_extrinsics_come_from_tf_where_it_tells(seeing):
    wrong = {'frames.depth_xyz': [0.0, 5.0, 0.0], 'frames.depth_rpy': [0.0, 0.0, 0.0]}
    r = seeing(frames=wrong)
    send_info(r)
    # What the /tf_static callback is given; tf2_msgs is not among the wheels.
    T = se3.make(np.eye(3), [-0.1, 0.0, 0.0])
    link = messages.transform_message(T, START_NS, 'camera_optical_frame', OWN_FRAME)
    r.node.session._on_tf(True, SimpleNamespace(transforms=[link]))
    depth = np.full((60, 80), 4.0, np.float32)
    depth[20:40, 30:50] = 1.0
    send(r, depth_message(START_NS, depth, frame=OWN_FRAME))
    view, _, _ = view_at(r, START_NS)
    columns = np.nonzero(np.abs(view.depth - 1.0) < 1e-3)[1]
    assert abs(columns.mean() - (pinhole().cx - 10.0)) < 1.0


def test_colour_goes_on_alone_when_depth_stops_and_depth_comes_back(seeing):
    r = seeing()
    wall = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    send(r, depth_message(START_NS, wall))
    assert view_at(r, START_NS)[1] == 'used'
    for half in range(1, 6):
        stamp = START_NS + half * S // 2
        view, word, reasons = view_at(r, stamp)
        assert view.depth is None and word == 'none' and 'depth' in reasons
    diagnosed(r, 'colour alone: depth is silent for 2 s')
    stamp = START_NS + 3 * S
    send(r, depth_message(stamp + 5_000_000, wall))
    view, word, _ = view_at(r, stamp)
    assert word == 'used' and np.isfinite(view.depth).all()
    diagnosed(r, 'used')


@pytest.mark.parametrize(
    ('depth', 'frame', 'ahead_ms', 'text'),
    [
        (np.zeros((HEIGHT, WIDTH)), 'camera_optical_frame', 0, 'not one of its pixels'),
        (np.ones((60, 80)), 'camera_optical_frame', 0, 'depth is 80 x 60, camera_info is for'),
        (np.ones((HEIGHT, WIDTH)), OWN_FRAME, 0, 'depth/camera_info has not been received'),
        (np.ones((HEIGHT, WIDTH)), 'camera_optical_frame', 60, '60.0 ms after it'),
    ],
)
def test_depth_that_cannot_be_used_costs_itself_alone(seeing, depth, frame, ahead_ms, text):
    r = seeing(wait_s=0.0)
    send(r, depth_message(START_NS + ahead_ms * 1_000_000, depth, frame=frame))
    view, word, reasons = view_at(r, START_NS)
    assert view.depth is None and word == 'none'
    assert text in reasons
    diagnosed(r, text)


def test_depth_that_never_comes_is_told(seeing):
    r = seeing()
    view, word, reasons = view_at(r, START_NS)
    assert view.depth is None and word == 'none' and 'no depth received yet' in reasons
    monitor = r.node.session.monitors['depth/image']
    assert 'nothing received on /depth/image' in monitor.complaint()


def test_without_depth_enabled_nothing_is_subscribed_or_said(rig, map_path):
    r = rig({'map.path': map_path})
    r.start()
    assert r.node.session.depth is None
    assert r.pub['depth/image'].get_subscription_count() == 0
    r.localize(START_NS)
    r.ready(START_NS)
    r.image(START_NS)
    r.status_of(START_NS)
    values = {v.key for m in r.got['geoloc/status'] for v in m.status[0].values}
    assert 'depth' not in values
