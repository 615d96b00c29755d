# SPDX-License-Identifier: Apache-2.0
"""A camera that the bundle was not made for is told in diagnostics as soon as it speaks."""

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from diagnostic_msgs.msg import DiagnosticStatus

from tests.ros.rig import info_message, START_NS
from tests.runtime.tiny_bundle import write_bundle


def camera_status(r):
    """The newest diagnostics of the camera."""
    for message in reversed(r.got['/diagnostics']):
        for status in message.status:
            if status.name == 'geoloc: camera':
                return status
    return None


def fisheye(stamp):
    message = info_message(stamp)
    message.distortion_model = 'equidistant'
    message.d = [0.0] * 4
    return message


def test_it_is_an_error_before_any_image_and_none_once_it_fits(rig, map_path, tmp_path):
    r = rig({'map.path': map_path, 'model.path': str(write_bundle(tmp_path / 'tiny'))})
    r.start()
    assert camera_status(r) is None
    r.pub['camera_info'].publish(fisheye(START_NS))
    r.wait(lambda: camera_status(r) is not None, 'diagnostics')
    found = camera_status(r)
    assert found.level == DiagnosticStatus.ERROR
    assert 'was made for pinhole cameras, this one is fisheye' in found.message
    assert 'choose a bundle for fisheye cameras' in found.message
    # Each frame says so as well.
    r.localize(START_NS)
    r.image(START_NS)
    status, reasons = r.status_of(START_NS)
    assert status == 'BAD_INPUT' and 'this one is fisheye' in reasons
    r.info(START_NS + 1)
    r.wait(lambda: camera_status(r).level == DiagnosticStatus.OK, 'diagnostics')


def test_the_classical_matcher_takes_any_camera(rig, map_path):
    r = rig({'map.path': map_path})
    r.start()
    r.pub['camera_info'].publish(fisheye(START_NS))
    r.wait(lambda: camera_status(r) is not None, 'diagnostics')
    assert camera_status(r).level == DiagnosticStatus.OK
