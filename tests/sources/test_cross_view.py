# SPDX-License-Identifier: Apache-2.0
"""The cross-view source with the classical matcher, on painted ground."""

import dataclasses

import cv2
import numpy as np
import pytest

from geoloc_core.geometry import angles, se3
from geoloc_core.sources.correlation_matcher import CorrelationConfig, CorrelationMatcher
from geoloc_core.sources.cross_view import CrossViewConfig, CrossViewSource
from geoloc_core.types import Status
from tests.sources.painted_ground import (
    BASE_HEIGHT,
    FRAME,
    look,
    painted_ground,
    PANORAMA,
    PINHOLE,
    prior_near,
)


@pytest.fixture(scope='module')
def ground():
    return painted_ground()


@pytest.fixture
def source():
    return CrossViewSource(CorrelationMatcher(CorrelationConfig(base_height_m=BASE_HEIGHT)))


def errors(mean, T_map_base):
    x, y, yaw = se3.planar(T_map_base)
    return np.array([mean[0] - x, mean[1] - y, float(angles.difference(mean[2], yaw))])


@pytest.mark.parametrize('camera', [PINHOLE, PANORAMA], ids=['pinhole', 'panorama'])
def test_finds_a_pose_that_differs_from_the_prior_in_every_axis(ground, source, camera):
    view, truth = look(
        ground, 5.37, -9.21, np.radians(64), np.radians(1.0), np.radians(-1.5), camera
    )
    prior = prior_near(truth, 2.3, -1.4, np.radians(-3), 1.5, np.radians(2))
    found = source.measure(view, prior, FRAME, ground)
    assert found.status is Status.OK
    assert found.stamp_ns == view.stamp_ns
    for mean in (se3.planar(found.T_map_base), found.likelihood_mean):
        assert np.abs(errors(mean, truth)[:2]).max() < 0.1
        assert abs(errors(mean, truth)[2]) < np.radians(0.3)
    # Levelled with the prior's attitude, which is passed through.
    np.testing.assert_allclose(se3.rpy_from(found.T_map_base)[:2], np.radians([1.0, -1.5]))
    assert np.linalg.eigvalsh(found.cov).min() > 0
    assert np.linalg.eigvalsh(found.likelihood_cov).min() > 0
    assert found.volume.log_prob.shape == (
        len(found.volume.yaws),
        found.volume.grid.height,
        found.volume.grid.width,
    )
    assert np.exp(found.volume.log_prob).sum() == pytest.approx(1.0, abs=1e-3)


def test_levelling_matters(ground, source):
    view, truth = look(ground, 5.0, -9.0, 0.3, pitch=np.radians(3.0))
    prior = prior_near(truth, 0.5, 0.5, 0.0, 0.7, np.radians(2))
    level = se3.from_planar(*se3.planar(prior.T_map_base), z=BASE_HEIGHT)
    right = source.measure(view, prior, FRAME, ground)
    wrong = source.measure(view, dataclasses.replace(prior, T_map_base=level), FRAME, ground)
    error = np.hypot(*errors(right.likelihood_mean, truth)[:2])
    assert error < 0.1
    if wrong.status is Status.OK:
        assert np.hypot(*errors(wrong.likelihood_mean, truth)[:2]) > 3 * error


def test_finds_the_yaw_when_it_is_unknown(ground, source):
    view, truth = look(ground, 8.0, -3.0, np.radians(-151))
    prior = prior_near(truth, 0.7, -0.4, np.radians(140), 0.3, np.radians(180))
    found = source.measure(view, prior, FRAME, ground)
    assert found.status is Status.OK
    assert np.hypot(*errors(found.likelihood_mean, truth)[:2]) < 0.2
    assert abs(errors(found.likelihood_mean, truth)[2]) < np.radians(0.5)


def test_says_when_there_is_no_map(ground, source):
    view, truth = look(ground, 5.0, -9.0, 0.3)
    far = prior_near(truth, 500.0, 0.0, 0.0, 1.0, 0.05)
    found = source.measure(view, far, FRAME, ground)
    assert found.status is Status.NO_MAP
    assert 'covers' in found.reasons[0]
    assert found.T_map_base is None


def test_says_when_there_is_no_ground(ground, source):
    view, truth = look(ground, 5.0, -9.0, 0.3)
    up = dataclasses.replace(
        view, T_base_camera=se3.from_xyz_rpy(0, 0, 0, 0, -1.2, 0) @ view.T_base_camera
    )
    prior = prior_near(truth, 0.0, 0.0, 0.0, 1.0, 0.05)
    assert source.measure(up, prior, FRAME, ground).status is Status.NO_GROUND


def test_says_when_there_is_no_texture(ground, source):
    view, truth = look(ground, 5.0, -9.0, 0.3)
    flat = dataclasses.replace(view, image=np.full_like(view.image, 120))
    prior = prior_near(truth, 0.0, 0.0, 0.0, 1.0, 0.05)
    found = source.measure(flat, prior, FRAME, ground)
    assert found.status is Status.LOW_TEXTURE
    assert 'contrast of the view' in found.reasons[0]


def test_repeating_ground_is_ambiguous_or_wide(source):
    ground = painted_ground(seed=3)
    tile = ground.image[:60, :60]
    rows, columns = -(-ground.image.shape[0] // 60), -(-ground.image.shape[1] // 60)
    ground.image = np.tile(tile, (rows, columns, 1))[
        : ground.image.shape[0], : ground.image.shape[1]
    ]
    view, truth = look(ground, 5.0, -9.0, 0.3)
    prior = prior_near(truth, 3.0, 0.0, 0.0, 4.0, np.radians(1))
    found = source.measure(view, prior, FRAME, ground)
    assert found.status is Status.AMBIGUOUS
    assert len(found.modes) > 1
    assert 'second place' in found.reasons[0]


def test_stripes_leave_the_axis_along_them_uncertain(source):
    ground = painted_ground(seed=4)
    ground.image = cv2.GaussianBlur(
        np.repeat(ground.image[:, :1], ground.image.shape[1], axis=1), (0, 0), 1.0
    )
    view, truth = look(ground, 5.0, -9.0, 0.0)
    prior = prior_near(truth, 0.5, -0.5, 0.0, 1.0, np.radians(1))
    found = source.measure(view, prior, FRAME, ground)
    assert found.status is Status.OK
    std = np.sqrt(np.diag(found.likelihood_cov))
    assert std[0] > 1.0 > 5 * std[1]
    assert abs(errors(found.likelihood_mean, truth)[1]) < 0.15


def test_a_volume_can_be_left_out(ground):
    matcher = CorrelationMatcher(CorrelationConfig(base_height_m=BASE_HEIGHT))
    source = CrossViewSource(matcher, CrossViewConfig(keep_volume=False))
    view, truth = look(ground, 5.0, -9.0, 0.3)
    found = source.measure(view, prior_near(truth, 0, 0, 0, 1.0, 0.05), FRAME, ground)
    assert found.status is Status.OK
    assert found.volume is None and found.patch is None


def test_doubt_grows_when_the_view_matches_nothing(ground, source):
    view, truth = look(ground, 5.0, -9.0, 0.3)
    other = painted_ground(seed=99)
    prior = prior_near(truth, 0.0, 0.0, 0.0, 2.0, np.radians(2))
    good = source.measure(view, prior, FRAME, ground)
    bad = source.measure(view, prior, FRAME, other)
    if bad.status is Status.OK:
        assert np.linalg.det(bad.cov[:2, :2]) > 10 * np.linalg.det(good.cov[:2, :2])
