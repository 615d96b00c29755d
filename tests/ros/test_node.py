# SPDX-License-Identifier: Apache-2.0
"""The node on the real graph: a frame in, a pose out."""

import pytest

pytest.importorskip('rclpy')

from tests.ros.rig import START_NS, to_ns, view_of

S = 10**9


def test_a_frame_becomes_a_pose(rig, map_path):
    r = rig({'map.path': map_path})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    r.image(START_NS, view_of(r.node.session.map_source, 0.4, -0.3, 0.02))
    print(r.status_of(START_NS))
    r.wait(lambda: r.got['geoloc/pose'], 'pose')
    pose = r.got['geoloc/pose'][0]
    print(pose)
    assert to_ns(pose.header.stamp) == START_NS
