# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that need rclpy."""

import pytest


@pytest.fixture(scope='session')
def map_path(tmp_path_factory):
    """A GeoTIFF of 120 x 100 m around the rig's datum."""
    pytest.importorskip('rclpy')
    from tests.ros.rig import aerial_texture, write_map

    return write_map(tmp_path_factory.mktemp('map') / 'map.tif', aerial_texture())


@pytest.fixture
def rig():
    """Makes rigs, and takes them down after the test."""
    pytest.importorskip('rclpy')
    from tests.ros.rig import Rig

    made = []

    def make(params=None, **options):
        made.append(Rig(params, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
        assert not each.errors, each.errors
