# SPDX-License-Identifier: Apache-2.0
"""Priors lie where the protocol says, on the side it says."""

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.angles import difference
from training.datasets.protocol import fractions, Protocol


def test_map_axes():
    T = se3.from_planar(10.0, 20.0, 0.4, 0.2)
    prior = Protocol('p', 8.0, 4.0, 0.5).prior(7, T, (1.0, -0.5, 0.25))
    assert prior.stamp_ns == 7
    np.testing.assert_allclose(se3.planar(prior.T_map_base), (18.0, 18.0, 0.525))
    assert prior.T_map_base[2, 3] == pytest.approx(0.2)
    np.testing.assert_allclose(
        prior.cov.diagonal()[[0, 1, 5]], [64 / 3, 16 / 3, 0.25 / 3], rtol=1e-3
    )


def test_heading_axes_ahead_and_to_the_left():
    """Facing north: ahead is north, left is west; the wide bound lies along the heading."""
    T = se3.from_planar(0.0, 0.0, np.pi / 2)
    prior = Protocol('p', 20.0, 2.0, 0.0, axes='heading').prior(0, T, (0.5, 1.0, 0.0))
    np.testing.assert_allclose(se3.planar(prior.T_map_base), (-2.0, 10.0, np.pi / 2), atol=1e-12)
    assert prior.cov[1, 1] == pytest.approx(400 / 3, rel=1e-3)
    assert prior.cov[0, 0] == pytest.approx(4 / 3, rel=1e-3)


def test_a_prior_stands_upright_and_is_never_certain():
    T = se3.from_xyz_rpy(1.0, 2.0, 0.0, 0.1, -0.2, 3.0)
    prior = Protocol('p', 0.0, 0.0, 0.0).prior(0, T, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(se3.rpy_from(prior.T_map_base)[:2], 0.0, atol=1e-12)
    assert np.linalg.eigvalsh(prior.cov).min() > 0


def test_covariance_is_that_of_the_draws():
    protocol = Protocol('p', 20.0, 5.0, np.radians(10), axes='heading')
    T = se3.from_planar(3.0, -2.0, 0.7)
    errors = []
    for index in range(4000):
        prior = protocol.prior(0, T, fractions(5, index))
        x, y, yaw = se3.planar(prior.T_map_base)
        errors.append((x - 3.0, y + 2.0, float(difference(yaw, 0.7))))
    expected = prior.cov[np.ix_([0, 1, 5], [0, 1, 5])]
    spread = np.sqrt(expected.diagonal())
    np.testing.assert_allclose(
        np.cov(np.array(errors).T) / np.outer(spread, spread),
        expected / np.outer(spread, spread),
        atol=0.06,
    )


def test_draws_depend_on_seed_epoch_and_index_alone():
    draws = [fractions(s, i, e) for s in range(3) for e in range(3) for i in range(3)]
    assert len(set(draws)) == 27
    assert fractions(1, 2, 0) == draws[9 + 2]
    assert np.abs(draws).max() <= 1
