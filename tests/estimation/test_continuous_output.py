# SPDX-License-Identifier: Apache-2.0
"""Corrections are paid off at a speed, and what is owed is in the covariance."""

from types import SimpleNamespace

import numpy as np
import pytest

from geoloc_core.estimation.config import ContinuityConfig
from geoloc_core.estimation.continuous_output import ContinuousOutput
from geoloc_core.estimation.estimator import Prediction
from geoloc_core.geometry import se3
from geoloc_core.types import Status

NS = 1_000_000_000
COV = np.diag([0.01, 0.01, 0.04, 1e-4, 1e-4, 1e-4])


class Driving:
    """An estimator of a robot that goes 1 m/s along its x axis; `shift` is what it learned."""

    def __init__(self):
        self.shift = np.eye(4)
        self.known = True
        self.reckoning = SimpleNamespace(
            motion=lambda a, b: SimpleNamespace(T=se3.from_planar((b - a) / NS, 0.0, 0.0))
        )

    def predict(self, stamp_ns):
        if not self.known:
            return Status.NO_PRIOR, 'nothing yet'
        T = self.shift @ se3.from_planar(stamp_ns / NS, 0.0, 0.0)
        return Prediction(stamp_ns, T, COV.copy(), None, 'odometry')


def output(**settings):
    driving = Driving()
    return driving, ContinuousOutput(ContinuityConfig(**settings), driving)


def test_without_a_speed_every_answer_is_the_estimators_own():
    driving, out = output()
    out.predict(0)
    driving.shift = se3.make(np.eye(3), (0.0, 1.0, 0.0))
    found = out.predict(NS // 4)
    np.testing.assert_array_equal(found.T, driving.predict(NS // 4).T)
    np.testing.assert_array_equal(found.cov, COV)


def test_a_leap_to_the_left_is_paid_off_at_the_speed_allowed():
    driving, out = output(max_speed=0.4)
    out.predict(0)
    # Learned: 0.25 m to the left. Four answers a second pay off 0.1 m each.
    driving.shift = se3.make(np.eye(3), (0.0, 0.25, 0.0))
    y, cov = [], []
    for k in range(1, 5):
        found = out.predict(k * NS // 4)
        assert found.T[0, 3] == pytest.approx(k / 4)
        y.append(found.T[1, 3])
        cov.append(found.cov[1, 1])
    np.testing.assert_allclose(y, [0.1, 0.2, 0.25, 0.25], atol=1e-12)
    # What is owed is told: 0.15 m, then 0.05 m, then nothing.
    np.testing.assert_allclose(cov, [0.01 + 0.15**2, 0.01 + 0.05**2, 0.01, 0.01], atol=1e-12)


def test_height_does_not_hold_up_the_plane():
    driving, out = output(max_speed=0.4)
    out.predict(0)
    driving.shift = se3.make(np.eye(3), (0.0, -0.1, -5.0))
    found = out.predict(NS // 2)
    np.testing.assert_allclose(found.T[1:3, 3], (-0.1, -0.2), atol=1e-12)
    assert found.cov[2, 2] == pytest.approx(0.04 + 4.8**2)


def test_turns_are_paid_off_about_the_robot_and_not_about_the_origin():
    driving, out = output(max_speed=0.4, max_turn_rate=0.1)
    T = out.predict(100 * NS).T
    # Learned: turned by 0.08 rad where it stands, 100 m from the origin.
    turn = se3.from_planar(0.0, 0.0, 0.08)
    driving.shift = T @ turn @ se3.inverse(T)
    found = out.predict(100 * NS + NS // 2)
    assert se3.yaw_of(found.T) == pytest.approx(0.05)
    assert np.linalg.norm(found.T[:2, 3] - (100.5, 0.0)) < 0.05


def test_a_late_picture_is_answered_like_the_present():
    driving, out = output(max_speed=0.4)
    out.predict(NS)
    driving.shift = se3.make(np.eye(3), (0.0, 1.0, 0.0))
    # Asked for half a second ago: as the robot was said to be then, not a metre beside.
    late = out.predict(NS // 2)
    np.testing.assert_allclose(late.T[:2, 3], (0.5, 0.0), atol=1e-12)
    assert late.cov[1, 1] == pytest.approx(1.01)
    np.testing.assert_allclose(out.predict(2 * NS).T[:2, 3], (2.0, 0.4), atol=1e-12)


def test_what_is_too_far_off_and_what_was_moved_by_hand_is_published_at_once():
    driving, out = output(max_speed=0.4, give_up_m=3.0)
    out.predict(0)
    driving.shift = se3.make(np.eye(3), (0.0, 4.0, 0.0))
    assert out.predict(NS // 4).T[1, 3] == pytest.approx(4.0)
    driving.shift = se3.make(np.eye(3), (0.0, 2.0, 0.0))
    out.forget()
    assert out.predict(NS // 2).T[1, 3] == pytest.approx(2.0)
    driving.known = False
    assert out.predict(NS) == (Status.NO_PRIOR, 'nothing yet')
