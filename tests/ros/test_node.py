# SPDX-License-Identifier: Apache-2.0
"""The node on the real graph: a frame in, a pose out, and everything beside it."""

import math
import threading

import numpy as np
import pytest

pytest.importorskip('rclpy')

import cv2
from geometry_msgs.msg import QuaternionStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image, NavSatFix
from std_srvs.srv import Trigger

from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.types import PoseEstimate, Status
from geoloc_ros import messages
from geoloc_ros.outputs import LATCHED
from tests.ros.rig import DATUM, START_NS, to_ns, view_of

S = 10**9


def test_a_frame_becomes_a_pose_and_all_that_goes_with_it(rig, map_path):
    r = rig({'map.path': map_path})
    for topic, kind, qos in (
        ('geoloc/odometry', Odometry, 10),
        ('geoloc/fix', NavSatFix, 10),
        ('geoloc/path', Path, LATCHED),
        ('geoloc/datum', NavSatFix, LATCHED),
        ('geoloc/match_image', Image, 10),
        ('geoloc/map_to_odom', TransformStamped, 10),
    ):
        r.listen(topic, kind, qos)
    r.start()
    r.wait(lambda: r.node.count_subscribers('geoloc/match_image'), 'listener')
    r.localize(START_NS)
    r.ready(START_NS)
    x, y, yaw = 0.6, -0.4, 0.03
    r.image(START_NS, view_of(r.node.session.map_source, x, y, yaw))
    assert r.status_of(START_NS)[0] == 'OK'
    pose = r.got['geoloc/pose'][0]
    assert to_ns(pose.header.stamp) == START_NS
    assert pose.header.frame_id == 'map'
    at = pose.pose.pose
    # The prior of 0.5 m pulls the answer a little towards the origin.
    assert math.hypot(at.position.x - x, at.position.y - y) < 0.15
    assert abs(2 * math.atan2(at.orientation.z, at.orientation.w) - yaw) < 0.02
    cov = np.array(pose.pose.covariance).reshape(6, 6)
    np.testing.assert_allclose(cov, cov.T)
    assert np.linalg.eigvalsh(cov).min() > 0
    assert cov[0, 0] < 0.3**2
    for topic in r.got:
        r.wait(lambda topic=topic: r.got[topic], topic)
    r.odom(START_NS + S // 10)
    r.wait(lambda: to_ns(r.got['geoloc/fix'][-1].header.stamp) > START_NS, 'a later fix')
    assert r.got['geoloc/odometry'][-1].child_frame_id == 'base_link'
    fix = r.got['geoloc/fix'][-1]
    assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_KNOWN
    east, north, _ = EnuFrame(DATUM).enu_from_geodetic(fix.latitude, fix.longitude, fix.altitude)
    assert math.hypot(east - x, north - y) < 0.3
    datum = r.got['geoloc/datum'][0]
    assert (datum.latitude, datum.longitude, datum.altitude) == (48.5, 9.25, 300.0)
    transform = r.got['geoloc/map_to_odom'][-1]
    assert (transform.header.frame_id, transform.child_frame_id) == ('map', 'odom')
    picture = r.got['geoloc/match_image'][0]
    assert picture.encoding == 'rgb8'
    assert to_ns(picture.header.stamp) == START_NS
    names = {s.name for s in r.got['/diagnostics'][-1].status}
    r.wait(
        lambda: (
            {s.name for s in r.got['/diagnostics'][-1].status}
            >= {
                'geoloc: node',
                'geoloc: localization',
                'geoloc: input image',
                'geoloc: transforms',
            }
        ),
        f'diagnostics, so far {names}',
    )


def test_a_compressed_image_does_as_well(rig, map_path):
    r = rig({'map.path': map_path, 'image.transport': 'compressed'})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    view = view_of(r.node.session.map_source, 0.0, 0.0, 0.0)
    message = CompressedImage(header=messages.header(START_NS, 'cam'), format='jpeg')
    message.data = cv2.imencode('.jpg', view[..., ::-1])[1].tobytes()
    r.pub['image/compressed'].publish(message)
    assert r.status_of(START_NS)[0] == 'OK'


class SlowLocalizer:
    """Stands in for the localizer: holds frames until told."""

    def __init__(self, localizer):
        self.localizer = localizer
        self.begun, self.release = threading.Event(), threading.Event()
        self.raises = None

    def __getattr__(self, name):
        return getattr(self.localizer, name)

    def on_view(self, view):
        self.begun.set()
        assert self.release.wait(10)
        if self.raises is not None:
            raise self.raises
        return PoseEstimate(view.stamp_ns, Status.NO_PRIOR, ('test',))


def slow(r):
    stand_in = SlowLocalizer(r.node.session.localizer)
    r.node.session._pipeline._localizer = stand_in
    return stand_in


def test_the_newest_frame_wins_and_every_frame_is_accounted_for(rig):
    r = rig()
    r.start()
    stand_in = slow(r)
    r.ready(START_NS)
    stamps = [START_NS + i * S // 10 for i in range(8)]
    r.image(stamps[0])
    assert stand_in.begun.wait(5)
    monitor = r.node.session.monitors['image']
    for count, stamp in enumerate(stamps[1:], start=2):
        r.image(stamp)
        r.wait(lambda count=count: monitor.received == count, 'image')
    stand_in.release.set()
    fates = [r.status_of(stamp)[0] for stamp in stamps]
    assert fates == ['NO_PRIOR'] + ['DROPPED'] * 6 + ['NO_PRIOR']
    assert r.node.session.frame_counts == {'NO_PRIOR': 2, 'DROPPED': 6}


def test_an_exception_costs_one_frame_and_is_told(rig):
    r = rig()
    r.start()
    stand_in = slow(r)
    stand_in.release.set()
    r.ready(START_NS)
    stand_in.raises = RuntimeError('surprise')
    r.image(START_NS)
    assert r.status_of(START_NS) == ('INTERNAL_ERROR', 'RuntimeError: surprise')
    stand_in.raises = None
    r.image(START_NS + S)
    assert r.status_of(START_NS + S)[0] == 'NO_PRIOR'
    r.wait(
        lambda: any(
            s.name == 'geoloc: processing' and s.level == b'\x02'
            for d in r.got['/diagnostics']
            for s in d.status
        ),
        'an error in diagnostics',
    )


def test_heading_imu_and_fix_reach_the_localizer(rig):
    r = rig({'heading.convention': 'ned_heading'})
    r.start()
    r.localize(START_NS)
    heading = QuaternionStamped(header=messages.header(START_NS + S // 10, 'heading'))
    heading.quaternion.w = heading.quaternion.z = math.sqrt(0.5)  # 90 degrees: east
    r.odom(START_NS + S // 10)
    r.pub['heading'].publish(heading)
    r.fix(START_NS + S // 10)
    counters = r.node.session.localizer.counters
    r.wait(lambda: counters['heading.OK'] == 1, f'heading in {counters}')
    r.wait(lambda: counters['gnss.OK'] == 1, f'fix in {counters}')


def call(r, name):
    client = r.peer.create_client(Trigger, f'geoloc/{name}')
    assert client.wait_for_service(5)
    future = client.call_async(Trigger.Request())
    r.wait(future.done, name)
    return future.result()


def test_services(rig):
    r = rig({'datum.lat_deg': math.nan, 'datum.lon_deg': math.nan, 'datum.alt_m': 0.0})
    answer = call(r, 'reset')
    assert not answer.success and 'not configured' in answer.message
    r.listen('geoloc/datum', NavSatFix, LATCHED)
    r.start()
    answer = call(r, 'set_datum')
    assert not answer.success and 'datum.lat_deg' in answer.message
    results = r.node.set_parameters(
        [Parameter('datum.lat_deg', value=10.5), Parameter('datum.lon_deg', value=20)]
    )
    assert all(result.successful for result in results)
    assert call(r, 'set_datum').success
    r.localize(START_NS)
    r.wait(lambda: r.got['geoloc/datum'], 'datum')
    assert r.got['geoloc/datum'][-1].latitude == 10.5
    assert call(r, 'reset').success
    assert r.node.session.localizer.counters['reset'] == 1
    assert r.node.session.localizer.estimate().T_map_base is None


def test_parameters_are_described_and_judged(rig):
    r = rig()
    described = r.node.describe_parameter('smoother.lag_s')
    assert 'late measurement' in described.description
    assert described.floating_point_range[0].from_value > 0
    bad = Parameter('smoother.lag_s', value=-1.0)
    assert not r.node.set_parameters([bad])[0].successful
    assert r.node.set_parameters([Parameter('smoother.lag_s', value=12.0)])[0].successful
    r.start()
    assert r.node.session.localizer.config.smoother.lag_s == 12.0
    result = r.node.set_parameters([Parameter('smoother.lag_s', value=9.0)])[0]
    assert not result.successful and 'clean up first' in result.reason


def test_quality_of_service_can_be_overridden(rig):
    r = rig({'qos_overrides./image.subscription.depth': 2})
    r.start()
    infos = r.peer.get_subscriptions_info_by_topic('/image')
    assert infos[0].qos_profile.reliability.name == 'BEST_EFFORT'
    assert r.node.get_parameter('qos_overrides./image.subscription.depth').value == 2
    assert r.node.get_parameter('qos_overrides./fix.subscription.reliability').value


def test_a_second_publisher_of_the_transform_is_told(rig):
    r = rig()
    other = r.peer.create_publisher(TransformStamped, 'geoloc/map_to_odom', 10)
    r.start()
    r.wait(
        lambda: any(
            s.name == 'geoloc: transforms' and s.level == b'\x01'
            for d in r.got['/diagnostics']
            for s in d.status
        ),
        'a warning',
    )
    assert other


def test_the_transform_is_published_on_tf_where_tf2_msgs_is_installed(rig, monkeypatch):
    from geoloc_ros import outputs

    class Message:
        def __init__(self, transforms):
            self.transforms = transforms

    sent = []

    class Publisher:
        def publish(self, message):
            sent.append(message)

    r = rig({'output.tf_tolerance_s': 0.5})
    monkeypatch.setattr(outputs, 'tf_message_type', lambda: Message)
    create, destroy = r.node.create_lifecycle_publisher, r.node.destroy_lifecycle_publisher
    monkeypatch.setattr(
        r.node,
        'create_lifecycle_publisher',
        lambda kind, *rest: Publisher() if kind is Message else create(kind, *rest),
    )
    monkeypatch.setattr(
        r.node,
        'destroy_lifecycle_publisher',
        lambda p: None if isinstance(p, Publisher) else destroy(p),
    )
    r.start()
    r.localize(START_NS)
    r.wait(lambda: sent, '/tf')
    transform = sent[0].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ('map', 'odom')
    assert to_ns(transform.header.stamp) >= START_NS + S // 2
    assert not r.node.session.outputs.authority.seen(sent[0])


def test_initialpose_in_another_frame_is_refused(rig):
    r = rig()
    r.start()
    r.initialpose(START_NS, frame='odom')
    monitor = r.node.session.monitors['initialpose']
    r.wait(lambda: monitor.refused, 'refusal')
    assert "expected 'map'" in monitor.last_reason
