# SPDX-License-Identifier: Apache-2.0
"""Depth that joins its image: stamps, registration, what is refused and how it is said."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from geoloc_core.bags import messages
from geoloc_core.errors import CalibrationError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.messages.depth_stream import DepthSettings, DepthStream

T0 = 1_700_000_000 * 10**9
MS = 10**6
COLOUR = PinholeCamera(40, 30, 50.0, 50.0, 19.5, 14.5)
OPTICAL, OWN = 'camera_optical_frame', 'depth_optical_frame'


def unknown(colour, depth, stamp):
    raise CalibrationError(f'{colour} <- {depth} is not known')


def stream(T=None, **settings):
    said = []
    settings = {'wait_s': 0.0, **settings}
    where = unknown if T is None else lambda *frames: T
    made = DepthStream(DepthSettings(**settings), where, said.append)
    made.said = said
    return made


def image_of(value, stamp=T0, frame=OPTICAL, shape=(30, 40), encoding='16UC1'):
    kind = np.uint16 if encoding == '16UC1' else np.float32
    return messages.image_msg(stamp, np.full(shape, value, kind), encoding, frame)


def own_info(width=40, height=30, focal=50.0, cx=None):
    cx = (width - 1) / 2 if cx is None else cx
    k = [[focal, 0, cx], [0, focal, (height - 1) / 2], [0, 0, 1]]
    return messages.camera_info_msg(T0, width, height, k, frame_id=OWN)


def asked(made, stamp=T0):
    return made.for_image(stamp, COLOUR, OPTICAL)


@pytest.mark.parametrize(
    ('encoding', 'value', 'unit', 'expected'),
    [('16UC1', 1500, 0.001, 1.5), ('32FC1', 1.5, 0.001, 1.5), ('16UC1', 6000, 0.00025, 1.5)],
)
def test_both_encodings_are_metres(encoding, value, unit, expected):
    made = stream(unit_m=unit)
    made.add(image_of(value, encoding=encoding))
    answer = asked(made)
    assert answer.depth.shape == (30, 40) and answer.depth.dtype == np.float32
    np.testing.assert_allclose(answer.depth, expected, rtol=1e-6)
    assert answer.coverage == 1.0 and answer.note == ''
    assert made.counts == {'used': 1}


def test_nothing_measured_is_zero_or_the_largest_count():
    depth = np.full((30, 40), 1000, np.uint16)
    depth[0], depth[1] = 0, 65535
    made = stream()
    made.add(messages.image_msg(T0, depth, '16UC1', OPTICAL))
    found = asked(made).depth
    assert np.isnan(found[:2]).all() and np.isfinite(found[2:]).all()


def test_the_nearest_stamp_within_the_slop_is_taken():
    made = stream(slop_s=0.02)
    for offset in (-33, -12, 9, 30):
        made.add(image_of(1000 + offset, T0 + offset * MS))
    np.testing.assert_allclose(asked(made).depth, 1.009, rtol=1e-6)
    # An image that follows finds its own; what lies before it is given up.
    np.testing.assert_allclose(asked(made, T0 + 33 * MS).depth, 1.030, rtol=1e-6)
    assert asked(made, T0 - 33 * MS).depth is None


@pytest.mark.parametrize(('offset', 'text'), [(50, '50.0 ms after'), (-50, '50.0 ms before')])
def test_stamps_apart_are_said_with_their_sign(offset, text):
    made = stream()
    made.add(image_of(1000, T0 + offset * MS))
    answer = asked(made)
    assert answer.depth is None and text in answer.note
    assert made.counts == {'none': 1}


def test_an_image_waits_for_depth_that_is_on_its_way():
    made = stream(wait_s=20.0)
    made.add(image_of(1000, T0 - 33 * MS))
    late = threading.Timer(0.05, made.add, [image_of(2000, T0)])
    late.start()
    answer = asked(made)
    late.join()
    np.testing.assert_allclose(answer.depth, 2.0)


def test_no_waiting_for_depth_that_passed_by_is_silent_or_never_spoke():
    # Waiting would hang this test for an hour.
    made = stream(wait_s=3600.0)
    assert asked(made).note == 'no depth received yet'
    made.add(image_of(1000, T0))
    made.add(image_of(1000, T0 + 100 * MS))
    assert '50.0 ms' in asked(made, T0 + 50 * MS).note
    assert 'silent for 5 s' in asked(made, T0 + 5100 * MS).note


def test_depth_that_stops_and_comes_back_is_said_once_each():
    made = stream()
    made.add(image_of(1000, T0))
    assert asked(made).depth is not None and made.said == []
    for second in (3, 4, 5):
        assert asked(made, T0 + second * 1000 * MS).depth is None
    assert len(made.said) == 1 and 'without depth: depth is silent for 3 s' in made.said[0]
    made.add(image_of(1000, T0 + 6000 * MS))
    assert asked(made, T0 + 6000 * MS).depth is not None
    assert len(made.said) == 2 and made.said[1] == 'images have depth'
    assert made.counts == {'used': 2, 'none': 3}


def test_a_recording_that_begins_again_forgets_the_future():
    made = stream(wait_s=3600.0)
    made.add(image_of(1000, T0 + 60_000 * MS))
    made.add(image_of(2000, T0))
    np.testing.assert_allclose(asked(made).depth, 2.0)
    made.clear()
    assert asked(made).depth is None


@pytest.mark.parametrize('shape', [(15, 20), (30, 41)])
def test_another_size_without_its_own_calibration_is_refused(shape):
    made = stream()
    made.add(image_of(1000, shape=shape))
    answer = asked(made)
    assert answer.depth is None
    assert f'depth is {shape[1]} x {shape[0]}, camera_info is for 40 x 30' in answer.note
    assert made.counts == {'refused': 1}


def test_another_frame_without_its_own_calibration_is_refused():
    made = stream(T=np.eye(4))
    made.add(image_of(1000, frame=OWN))
    assert 'depth/camera_info has not been received' in asked(made).note
    # Unless the driver is known to lay it over the image and only names the frame wrongly.
    made = stream(registered_by='driver')
    made.add(image_of(1000, frame=OWN))
    assert asked(made).depth is not None


def test_without_extrinsics_nothing_is_assumed():
    made = stream()
    assert made.info.take(own_info()) is None
    made.add(image_of(1000, frame=OWN))
    answer = asked(made)
    assert answer.depth is None and 'is not known' in answer.note


def test_a_smaller_picture_of_the_same_frame_needs_its_calibration_alone():
    made = stream()
    made.info.take(own_info(20, 15, 25.0))
    made.add(image_of(1000, shape=(15, 20)))
    found = asked(made).depth
    assert found.shape == (30, 40) and np.isfinite(found).mean() > 0.9
    np.testing.assert_allclose(found[np.isfinite(found)], 1.0)


def test_depth_of_a_camera_of_its_own_is_laid_over_the_image():
    # The depth camera sits 0.1 m to the right of the colour camera and 0.2 m behind it.
    T = se3.make(np.eye(3), [0.1, 0.0, -0.2])
    made = stream(T)
    made.info.take(own_info())
    depth = np.zeros((30, 40), np.uint16)
    depth[14:16, 19:21] = 1200
    made.add(messages.image_msg(T0, depth, '16UC1', OWN))
    made.settings = DepthSettings(min_coverage=0.0, wait_s=0.0)
    found = asked(made).depth
    rows, columns = np.nonzero(np.isfinite(found))
    # 0.1 m at a distance of 1 m and 50 px: five pixels further right.
    np.testing.assert_allclose(columns.mean(), 19.5 + 5.0, atol=0.6)
    np.testing.assert_allclose(rows.mean(), 14.5, atol=0.6)
    np.testing.assert_allclose(found[rows, columns], 1.0, rtol=1e-6)


def test_the_nearest_surface_wins():
    T = se3.make(np.eye(3), [0.1, 0.0, 0.0])
    made = stream(T)
    made.info.take(own_info())
    depth = np.full((30, 40), 5000, np.uint16)
    # The wall moves by one pixel, what stands before it by five: over a piece of the wall.
    depth[:, 10:15] = 1000
    made.add(messages.image_msg(T0, depth, '16UC1', OWN))
    found = asked(made).depth
    np.testing.assert_allclose(found[:, 15:20], 1.0)
    np.testing.assert_allclose(found[:, 20:], 5.0)
    assert np.isnan(found[:, 11:15]).all()  # behind it nobody looked


@pytest.mark.parametrize(('value', 'text'), [(0, 'not one of its pixels'), (65535, 'not one of')])
def test_depth_without_one_distance_is_refused(value, text):
    made = stream()
    made.add(image_of(value))
    answer = asked(made)
    assert answer.depth is None and text in answer.note


def test_depth_that_says_next_to_nothing_is_refused():
    depth = np.zeros((30, 40), np.uint16)
    depth[0, :3] = 1000
    made = stream(min_coverage=0.01)
    made.add(messages.image_msg(T0, depth, '16UC1', OPTICAL))
    assert 'covers 0.25 % of the image < 1 %' in asked(made).note


def test_extrinsics_that_look_elsewhere_leave_nothing():
    behind = se3.make(np.diag([-1.0, 1.0, -1.0]), np.zeros(3))
    made = stream(behind)
    made.info.take(own_info())
    made.add(image_of(1000, frame=OWN))
    assert 'covers 0 % of the image' in asked(made).note


def test_a_calibration_of_another_size_or_none_is_said():
    made = stream(np.eye(4))
    made.info.take(own_info(20, 15))
    made.add(image_of(1000, frame=OWN))
    assert 'depth is 40 x 30, depth/camera_info is for 20 x 15' in asked(made).note
    error = made.info.take(own_info(focal=0.0))
    assert 'depth/camera_info cannot be used' in str(error)
    assert 'depth/camera_info cannot be used' in asked(made).note


def test_damaged_depth_costs_itself_alone():
    made = stream()
    torn = image_of(1000)
    torn = SimpleNamespace(
        **{name: getattr(torn, name) for name in ('header', 'width', 'step', 'is_bigendian')},
        height=999,
        encoding='16UC1',
        data=torn.data,
    )
    made.add(torn)
    assert 'truncated' in asked(made).note
    made.add(image_of(1000, T0 + 100 * MS))
    assert asked(made, T0 + 100 * MS).depth is not None
