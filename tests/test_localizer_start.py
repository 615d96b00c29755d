# SPDX-License-Identifier: Apache-2.0
"""An estimate that a view alone begins, carries on and begins anew."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.localizer import Localizer, LocalizerConfig
from geoloc_core.types import GroundView, OdometrySample, PoseMeasurement, Status

S = 10**9
T0 = 1_700_000_000 * S
COV = np.diag([0.02, 0.02, 0.02, 0.01, 0.01, 0.01]) ** 2
POSE = se3.from_xyz_rpy(3.0, -2.0, 1.4, 0.02, -0.03, 2.0)


class Seer:
    """A source that needs nothing and answers with `T`, or with a status."""

    starts = True

    def __init__(self, T=POSE, status=Status.OK):
        self.T, self.status, self.priors = T, status, []

    def measure(self, view, prior, frame, map_source):
        self.priors.append(prior)
        if self.status is not Status.OK:
            return PoseMeasurement(view.stamp_ns, self.status, ('nothing seen',))
        return PoseMeasurement(view.stamp_ns, Status.OK, ('seen',), self.T, COV)


def view_at(stamp):
    camera = PinholeCamera(8, 6, 8.0, 8.0, 3.5, 2.5)
    return GroundView(stamp, np.zeros((6, 8, 3), np.uint8), camera, np.eye(4))


def test_a_view_alone_begins_an_estimate_without_datum_or_map():
    seer = Seer()
    localizer = Localizer(source=seer)
    estimate = localizer.on_view(view_at(T0))
    assert estimate.status is Status.OK and seer.priors == [None]
    np.testing.assert_allclose(estimate.T_map_base, POSE, atol=1e-6)
    assert np.linalg.eigvalsh(estimate.cov).min() > 0
    assert localizer.frame is None
    assert localizer.counters['view.OK'] == 1
    assert any('begun at a view' in event for event in localizer.events)


def test_the_next_view_has_a_prior_and_is_fused():
    seer = Seer()
    localizer = Localizer(source=seer)
    localizer.on_view(view_at(T0))
    seer.T = POSE @ se3.from_planar(0.05, 0.0, 0.01)
    estimate = localizer.on_view(view_at(T0 + S // 10))
    prior = seer.priors[1]
    assert np.linalg.norm(prior.T_map_base[:3, 3] - POSE[:3, 3]) < 0.2
    assert estimate.measurement.status is Status.OK
    assert np.linalg.norm(estimate.T_map_base[:3, 3] - seer.T[:3, 3]) < 0.03


@pytest.mark.parametrize('status', [Status.NO_MAP, Status.AMBIGUOUS, Status.BAD_INPUT])
def test_a_view_that_sees_nothing_begins_nothing(status):
    localizer = Localizer(source=Seer(status=status))
    estimate = localizer.on_view(view_at(T0))
    assert estimate.T_map_base is None
    assert estimate.measurement.status is status
    text = '; '.join(estimate.measurement.reasons)
    assert 'nothing seen' in text and 'no initial pose' in text


@pytest.mark.parametrize('damage', ['rotation', 'covariance', 'planar'])
def test_a_pose_that_is_none_begins_nothing(damage):
    seer = Seer()
    measure = seer.measure
    wrong = {
        'rotation': {'T_map_base': np.diag([2.0, 1.0, 1.0, 1.0])},
        'covariance': {'cov': np.full((6, 6), np.nan)},
        'planar': {'T_map_base': None, 'cov': None, 'likelihood_mean': np.zeros(3)},
    }[damage]
    seer.measure = lambda *given: replace(measure(*given), **wrong)
    localizer = Localizer(source=seer)
    estimate = localizer.on_view(view_at(T0))
    assert estimate.T_map_base is None
    assert estimate.measurement.status is Status.BAD_INPUT


def test_after_a_silence_the_next_view_begins_anew():
    seer = Seer()
    localizer = Localizer(source=seer)
    localizer.on_view(view_at(T0))
    seer.T = se3.from_planar(-7.0, 4.0, 0.5, 1.0)
    estimate = localizer.on_view(view_at(T0 + 60 * S))
    assert seer.priors == [None, None]
    np.testing.assert_allclose(estimate.T_map_base, seer.T, atol=1e-6)


def test_a_view_of_long_ago_does_not_turn_the_clock_back():
    seer = Seer()
    localizer = Localizer(source=seer)
    localizer.on_view(view_at(T0 + 60 * S))
    seer.T = se3.from_planar(-7.0, 4.0, 0.5, 1.0)
    estimate = localizer.on_view(view_at(T0))
    assert estimate.measurement.status is Status.STALE
    np.testing.assert_allclose(localizer.estimate().T_map_base, POSE, atol=1e-6)


def test_odometry_that_was_there_before_carries_the_start_to_the_present():
    localizer = Localizer(source=Seer())
    for step in range(6):
        T = se3.from_planar(0.1 * step, 0.0, 0.0)
        localizer.on_odometry(OdometrySample(T0 + step * S // 10, T))
    localizer.on_view(view_at(T0 + 2 * S // 10))
    now = localizer.estimate(T0 + 5 * S // 10)
    expected = POSE @ se3.from_planar(0.3, 0.0, 0.0)
    np.testing.assert_allclose(now.T_map_base, expected, atol=0.01)


def test_carried_away_and_set_down_it_begins_anew_in_all_six_degrees_of_freedom():
    config = LocalizerConfig()
    config = replace(config, reacquire=replace(config.reacquire, after_s=0.5, count=3))
    seer = Seer()
    localizer = Localizer(config, source=seer)
    for step in range(5):
        localizer.on_view(view_at(T0 + step * S // 10))
    seer.T = se3.from_xyz_rpy(8.0, 5.0, 4.4, 0.0, 0.3, -1.0)
    statuses = []
    for step in range(6, 26):
        estimate = localizer.on_view(view_at(T0 + step * S // 10))
        statuses.append(estimate.measurement.status)
    assert statuses[0] is Status.GATED and statuses[-1] is Status.OK
    np.testing.assert_allclose(estimate.T_map_base, seer.T, atol=0.05)


def test_a_hand_that_tilts_the_camera_is_believed_where_it_is_said():
    config = LocalizerConfig()
    hand = replace(config.motion, std_tilt_rate=0.3, std_yaw_rate=0.3)
    held = replace(config, motion=hand, smoother=replace(config.smoother, std_tilt=3.0))
    refused = {}
    for name, each in (('wheels', config), ('hand', held)):
        seer = Seer()
        localizer = Localizer(each, source=seer)
        statuses = []
        for step in range(12):
            # 0.9 rad/s, back and forth, at 6 Hz.
            seer.T = se3.from_xyz_rpy(3.0, -2.0, 1.4, 0.0, 0.15 * abs(step % 8 - 4), 2.0)
            estimate = localizer.on_view(view_at(T0 + step * S // 6))
            statuses.append(estimate.measurement.status)
        refused[name] = statuses.count(Status.GATED)
        if name == 'hand':
            np.testing.assert_allclose(estimate.T_map_base, seer.T, atol=0.05)
    assert refused['hand'] == 0 and refused['wheels'] > 3
