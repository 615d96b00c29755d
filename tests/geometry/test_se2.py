# SPDX-License-Identifier: Apache-2.0
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from geoloc_core.geometry import se2

metres = st.floats(-100, 100)
yaws = st.floats(-3.1, 3.1)
twists = st.tuples(metres, metres, yaws)


@given(twists, twists)
def test_group(a, b):
    A, B = se2.matrix(*a), se2.matrix(*b)
    np.testing.assert_allclose(A @ se2.inverse(A), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(se2.compose(A, B), A @ B, atol=1e-9)
    np.testing.assert_allclose(se2.from_matrix(A), a, atol=1e-9)


@given(twists)
def test_exp_and_log_undo_each_other(twist):
    np.testing.assert_allclose(se2.log(se2.exp(twist)), twist, atol=1e-8)
    T = se2.matrix(*twist)
    np.testing.assert_allclose(se2.exp(se2.log(T)), T, atol=1e-8)


@pytest.mark.parametrize('yaw', [0.0, 1e-12, 1e-6, -1e-3])
def test_exp_near_straight_ahead(yaw):
    T = se2.exp([2.0, 0.5, yaw])
    np.testing.assert_allclose(se2.from_matrix(T), [2.0, 0.5, yaw], atol=2e-3)
    np.testing.assert_allclose(se2.log(T), [2.0, 0.5, yaw], atol=1e-13)


def test_driving_a_left_quarter_circle_ends_left_and_ahead():
    # Radius 2: arc length pi, turning left by 90 degrees.
    np.testing.assert_allclose(
        se2.from_matrix(se2.exp([math.pi, 0.0, math.pi / 2])), [2.0, 2.0, math.pi / 2]
    )


@given(twists, st.tuples(*[st.floats(-1, 1)] * 3))
def test_adjoint(pose, twist):
    T = se2.matrix(*pose)
    left = T @ se2.exp(twist) @ se2.inverse(T)
    np.testing.assert_allclose(se2.exp(se2.adjoint(T) @ twist), left, atol=1e-8)


def test_transform_turns_left_then_moves():
    T = se2.matrix(10.0, 0.0, math.pi / 2)
    moved = se2.transform(T, [[1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(moved, [[10, 1], [8, 0]], atol=1e-12)


def test_covariance_ahead_becomes_covariance_north():
    turned = se2.rotate_cov(np.diag([4.0, 1.0, 0.1]), math.pi / 2)
    np.testing.assert_allclose(turned, np.diag([1.0, 4.0, 0.1]), atol=1e-12)
    # 45 degrees to the left: positive correlation of east and north.
    assert se2.rotate_cov(np.diag([4.0, 1.0, 0.1]), math.pi / 4)[0, 1] == pytest.approx(1.5)
