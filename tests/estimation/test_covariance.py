# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from geoloc_core.estimation.covariance import bounded, is_usable
from geoloc_core.estimation.drift import CalibrationDrift
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.geometry import se3


@given(st.integers(0, 10_000), st.floats(-8, 8))
def test_bounded_is_symmetric_positive_definite_and_in_bounds(seed, decades):
    A = np.random.default_rng(seed).normal(size=(6, 3)) * 10.0**decades
    cov = bounded(A @ A.T, 0.02, 0.001, 1000.0)
    assert np.array_equal(cov, cov.T)
    np.linalg.cholesky(cov)
    std = np.sqrt(np.diag(cov))
    assert np.all(std[:3] >= 0.02 * (1 - 1e-9)) and np.all(std[:3] <= 1000.0 * (1 + 1e-6))
    assert np.all(std[3:] >= 0.001 * (1 - 1e-9)) and np.all(std[3:] <= np.pi * (1 + 1e-6))


def test_bounded_leaves_a_good_covariance_alone_and_replaces_nonsense():
    cov = np.diag([1.0, 2.0, 3.0, 0.1, 0.2, 0.3]) + 0.05
    np.testing.assert_allclose(bounded(cov, 0.01, 0.001, 1000.0), cov, rtol=1e-12)
    assert bounded(np.full((6, 6), np.nan), 0.01, 0.001, 1000.0)[0, 0] == pytest.approx(1e6)


@pytest.mark.parametrize(
    ('cov', 'good'),
    [
        (np.eye(3), True),
        (np.zeros((3, 3)), False),
        (np.diag([1.0, 1.0, -1.0]), False),
        (np.diag([1.0, 1.0, np.inf]), False),
        (np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), False),
        (np.eye(2), False),
        (np.diag([1e6, 1e6, 1e-8]), True),
    ],
)
def test_usable(cov, good):
    assert is_usable(cov, 3) is good


def drive(scale, bias, drift=None, steps=200):
    """The end of a winding way as it is reckoned with this scale and this correction."""
    T = se3.from_planar(3.0, 4.0, 0.7)
    for i in range(steps):
        rate = 0.1 * np.sin(i / 20)
        half = se3.from_planar(0.0, 0.0, -0.25 * bias)
        step = half @ se3.from_planar(0.5 * scale, 0.0, rate * 0.5) @ half
        if drift is not None:
            drift.grow((i + 1) * NS // 2, T, step, 0.5)
        T = T @ step
    return T


def planar_drift(drift, stamp):
    return drift.cov(stamp, 0.02, 0.001)[np.ix_([0, 1, 5], [0, 1, 5])]


def test_drift_is_the_derivative_of_the_track():
    """Against tracks that are reckoned with another scale and another bias."""
    drift = CalibrationDrift(0, se3.from_planar(3.0, 4.0, 0.7), 1000.0)
    base = np.array(se3.planar(drive(1.0, 0.0, drift)))
    J = np.column_stack(
        [
            (se3.planar(drive(1.001, 0.0)) - base) / 0.001,
            (se3.planar(drive(1.0, 1e-5)) - base) / 1e-5,
        ]
    )
    expected = (J * np.array([0.02, 0.001]) ** 2) @ J.T
    np.testing.assert_allclose(planar_drift(drift, 100 * NS), expected, rtol=0.02, atol=0.01)


def test_a_measurement_takes_off_the_drift_up_to_its_own_stamp():
    early = CalibrationDrift(0, se3.from_planar(3.0, 4.0, 0.7), 1000.0)
    drive(1.0, 0.0, early, steps=100)
    late = CalibrationDrift(0, se3.from_planar(3.0, 4.0, 0.7), 1000.0)
    T = drive(1.0, 0.0, late, steps=100)
    early.shrink(50 * NS, np.eye(2), 0.1 * np.eye(2))
    for drift, when in ((early, 'in time'), (late, 'late')):
        step = se3.from_planar(0.5, 0.0, 0.01)
        T_now = T
        for i in range(100, 120):
            drift.grow((i + 1) * NS // 2, T_now, step, 0.5)
            T_now = T_now @ step
        if when == 'late':
            drift.shrink(50 * NS, np.eye(2), 0.1 * np.eye(2))
    np.testing.assert_allclose(planar_drift(late, 60 * NS), planar_drift(early, 60 * NS))
    assert planar_drift(late, 50 * NS)[0, 0] < planar_drift(late, 40 * NS)[0, 0]
