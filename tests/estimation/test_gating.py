# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from scipy.special import chdtri, ndtr

from geoloc_core.estimation.config import ReacquireConfig
from geoloc_core.estimation.gating import Gate, nis, Refused, threshold
from geoloc_core.estimation.odometry_buffer import NS


def test_nis_is_the_squared_mahalanobis_distance():
    assert nis(np.array([3.0, 4.0]), np.diag([9.0, 4.0])) == pytest.approx(1.0 + 4.0)


def test_threshold_is_sigma_squared_in_one_dimension_and_wider_in_more():
    assert threshold(3.0, 1) == pytest.approx(9.0)
    assert threshold(3.0, 2) == pytest.approx(11.83, abs=0.01)
    assert threshold(3.0, 3) > threshold(3.0, 2)


@pytest.mark.parametrize('dof', [1, 2, 3, 4, 6])
@pytest.mark.parametrize('sigma', [0.3, 1.0, 3.0, 8.0, 30.0])
def test_thresholds_are_those_of_chi_squared(sigma, dof):
    expected = chdtri(dof, 2.0 * ndtr(-sigma))
    assert threshold(sigma, dof) == pytest.approx(expected, rel=1e-9)


def test_so_many_sigmas_that_nothing_is_refused():
    assert threshold(50.0, 2) == math.inf


def test_passes_the_near_and_refuses_the_far():
    gate = Gate(5.0, ReacquireConfig())
    assert gate.passes(NS, np.array([4.0, 0.0]), np.eye(2))[0]
    assert not gate.passes(NS, np.array([7.0, 0.0]), np.eye(2))[0]
    assert not gate.passes(NS, np.array([np.nan, 0.0]), np.eye(2))[0]
    assert gate.last_accepted_ns == NS


def refused(i, offset):
    return Refused(NS + i * NS, np.array(offset), np.eye(2), np.array([5.0 * i, 0.0]))


def test_refused_ones_that_agree_are_told():
    gate = Gate(5.0, ReacquireConfig())
    for i in range(4):
        gate.refuse(refused(i, [30.0 + 0.3 * i, -8.0]))
    assert gate.agreement(5 * NS, 0.0) == []
    gate.refuse(refused(4, [30.2, -8.5]))
    assert len(gate.agreement(5 * NS, 0.0)) == 5


def test_scattered_ones_never_agree():
    gate, rng = Gate(5.0, ReacquireConfig()), np.random.default_rng(0)
    for i in range(40):
        gate.refuse(refused(i, rng.uniform(-60, 60, 2)))
        assert gate.agreement(NS + i * NS, 0.0) == []


def test_one_that_passes_wipes_the_refused():
    gate = Gate(5.0, ReacquireConfig())
    for i in range(5):
        gate.refuse(refused(i, [30.0, 0.0]))
    gate.passes(6 * NS, np.zeros(2), np.eye(2))
    assert gate.agreement(6 * NS, 0.0) == []


def test_a_wrong_yaw_lets_offsets_change_with_the_way():
    gate = Gate(5.0, ReacquireConfig())
    for i in range(6):
        gate.refuse(refused(i, [30.0, 1.5 * i]))  # 0.3 rad off, 5 m a step
    assert gate.agreement(7 * NS, 0.3)
