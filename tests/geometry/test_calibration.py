# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry.cameras import (
    camera_from_calibration,
    EquirectangularCamera,
    FisheyeCamera,
    PinholeCamera,
)

K = [500.0, 0, 322, 0, 510, 171, 0, 0, 1]
P = [450.0, 0, 320, -225, 0, 450, 170, 0, 0, 0, 1, 0]
D = [-0.3, 0.1, 0.001, -0.002, 0.01]


def test_raw_image_follows_k_and_d():
    camera = camera_from_calibration('plumb_bob', 642, 375, K, D, np.eye(3).ravel(), P)
    assert camera == PinholeCamera(642, 375, 500.0, 510.0, 322.0, 171.0, tuple(D))


def test_rectified_image_follows_p():
    camera = camera_from_calibration('plumb_bob', 642, 375, K, D, p=P, rectified=True)
    assert camera == PinholeCamera(642, 375, 450.0, 450.0, 320.0, 170.0)


def test_rectified_image_without_p():
    zero = np.zeros(12)
    camera = camera_from_calibration('plumb_bob', 642, 375, K, [0.0] * 5, p=zero, rectified=True)
    assert camera == PinholeCamera(642, 375, 500.0, 510.0, 322.0, 171.0)
    with pytest.raises(CalibrationError, match='no P'):
        camera_from_calibration('plumb_bob', 642, 375, K, D, p=zero, rectified=True)


@pytest.mark.parametrize('model', ['plumb_bob', 'rational_polynomial', ''])
@pytest.mark.parametrize('d', [[], [0.0] * 5, [0.0] * 8, np.zeros(14)])
def test_no_distortion_in_any_spelling(model, d):
    camera = camera_from_calibration(model, 642, 375, np.reshape(K, (3, 3)), d)
    assert camera == PinholeCamera(642, 375, 500.0, 510.0, 322.0, 171.0)
    assert not camera.is_distorted


def test_models():
    rational = camera_from_calibration('rational_polynomial', 642, 375, K, [0.1] * 8)
    assert isinstance(rational, PinholeCamera) and rational.model == 'rational_polynomial'
    for name in ('equidistant', 'fisheye', 'kannala_brandt'):
        fisheye = camera_from_calibration(name, 642, 375, K, [0.1, 0, 0, 0])
        assert fisheye == FisheyeCamera(642, 375, 500.0, 510.0, 322.0, 171.0, (0.1, 0, 0, 0))
    # No coefficients is not no fisheye.
    plain = camera_from_calibration('equidistant', 642, 375, K, [])
    assert isinstance(plain, FisheyeCamera)
    sphere = camera_from_calibration('equirectangular', 640, 320, np.zeros(9), [])
    assert sphere == EquirectangularCamera(640, 320)


def test_kitti_rectified_calibration():
    fx, cx, cy = 721.5377, 609.5593, 172.854
    k = [fx, 0, cx, 0, fx, cy, 0, 0, 1]
    p = [fx, 0, cx, 44.85728, 0, fx, cy, 0.2163791, 0, 0, 1, 0.002745884]
    camera = camera_from_calibration('plumb_bob', 1242, 375, k, [0.0] * 5, np.eye(3).ravel(), p)
    uv, valid = camera.project(np.array([[1.0, 1.65, 10.0]]))
    assert valid.all()
    np.testing.assert_allclose(uv, [[cx + fx / 10, cy + fx * 0.165]])


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'k': np.zeros(9)}, 'not calibrated'),
        ({'k': [np.nan] * 9}, 'NaN'),
        ({'k': K[:6]}, 'expected 3 x 3'),
        ({'k': np.reshape(K, (3, 3)).T}, 'row-major'),
        ({'k': [500, 3, 322, 0, 510, 171, 0, 0, 1]}, 'skew'),
        ({'k': [-500, 0, 322, 0, 510, 171, 0, 0, 1]}, 'positive'),
        ({'d': [np.inf, 0, 0, 0]}, 'infinity'),
        ({'d': [0.1, 0.2]}, 'coefficients'),
        ({'r': np.full(9, np.nan)}, 'R holds NaN'),
        ({'model': 'spline'}, "'spline'"),
        ({'model': 'spline', 'd': []}, "'spline'"),
        ({'model': ''}, 'unknown'),
        ({'width': 0}, 'no pixels'),
        ({'rectified': True, 'p': [0.0] * 3}, 'expected 3 x 4'),
    ],
)
def test_useless_calibrations_are_refused_with_a_reason(change, text):
    fields = {'model': 'plumb_bob', 'width': 642, 'height': 375, 'k': K, 'd': D} | change
    with pytest.raises(CalibrationError, match=text):
        camera_from_calibration(**fields)
