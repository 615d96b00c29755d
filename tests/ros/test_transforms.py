# SPDX-License-Identifier: Apache-2.0
"""Who publishes map -> odom."""

from geoloc_core.geometry import se3
from geoloc_ros.transforms import AuthorityWatch
from tests.messages.test_transform_buffer import message, S, stamped


def test_somebody_else_publishing_map_to_odom_is_noticed():
    watch = AuthorityWatch('map', 'odom')
    own = stamped('map', 'odom', se3.from_xyz_rpy(1, 2, 0, 0, 0, 0), 5 * S)
    watch.published(own)
    assert not watch.seen(message(own, stamped('odom', 'base_link')))
    assert watch.seen(message(stamped('map', 'odom', stamp=5 * S)))
    assert watch.foreign == 1
