# SPDX-License-Identifier: Apache-2.0
import threading

import pytest

from geoloc_core.bags.messages import camera_info_msg
from geoloc_core.errors import CalibrationError
from geoloc_core.messages.camera_feed import CameraFeed


def info(focal=50.0, width=40):
    k = [[focal, 0, 19.5], [0, focal, 14.5], [0, 0, 1]]
    return camera_info_msg(1, width, 30, k)


def test_the_newest_calibration_counts_and_equal_ones_build_nothing():
    feed = CameraFeed()
    assert not feed.arrived and feed.take(info()) is None and feed.arrived
    first = feed.camera()
    feed.take(info())
    assert feed.camera() is first
    feed.take(info(focal=60.0))
    assert feed.camera().fx == 60.0


def test_what_is_missing_or_wrong_is_said_with_the_topic():
    feed = CameraFeed(topic='depth/camera_info')
    with pytest.raises(CalibrationError, match='no depth/camera_info received'):
        feed.camera()
    assert 'depth/camera_info cannot be used' in str(feed.take(info(focal=0.0)))
    with pytest.raises(CalibrationError, match='cannot be used'):
        feed.camera()
    assert feed.take(info()) is None and feed.camera().width == 40


def test_the_first_one_is_waited_for():
    feed = CameraFeed()
    late = threading.Timer(0.05, feed.take, [info()])
    late.start()
    assert feed.camera(wait_s=20.0).fx == 50.0
    late.join()
