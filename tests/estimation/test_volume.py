# SPDX-License-Identifier: Apache-2.0
"""Likelihood volumes in few numbers, against Gaussians that are known."""

import numpy as np
import pytest

from geoloc_core.estimation import volume as volumes
from geoloc_core.geometry.grid import Grid

GRID = Grid((100.3, -50.2), 0.25, 61, 49)
YAWS = 3.0 + np.radians(0.75) * np.arange(-20, 21)  # crosses +-pi
MEAN = np.array([101.07, -51.31, 3.1])
COV = np.array([[0.5, 0.15, 0.01], [0.15, 0.3, -0.012], [0.01, -0.012, 0.002]])


def gaussian(mean, cov):
    return volumes.gaussian_log_prior(GRID, YAWS, np.asarray(mean), np.asarray(cov))


WIDE = np.diag([50.0, 50.0, 1.0])


def summary(log_likelihood, prior_mean=MEAN, prior_cov=WIDE, rate=0.0):
    prior = gaussian(prior_mean, prior_cov)
    volume = volumes.posterior(log_likelihood, prior, GRID, YAWS, rate)
    assert np.exp(volume.log_prob.astype(np.float64)).sum() == pytest.approx(1.0, abs=1e-4)
    return volumes.summarise(volume, log_likelihood)


def test_a_gaussian_comes_back_with_its_correlations():
    found = summary(gaussian(MEAN, COV))
    for mean in (found.mean, found.likelihood_mean):
        np.testing.assert_allclose(mean, MEAN, atol=0.03)
    np.testing.assert_allclose(found.likelihood_cov, COV, rtol=0.2, atol=0.02)
    np.testing.assert_allclose(found.cov, COV, rtol=0.2, atol=0.02)
    assert len(found.modes) == 1
    assert found.modes[0].mass == pytest.approx(1.0, abs=0.02)


def test_the_likelihood_does_not_hold_the_prior():
    prior_mean = MEAN + np.array([0.6, -0.5, 0.0])
    prior_cov = np.diag([0.4, 0.4, 0.003])
    found = summary(gaussian(MEAN, COV), prior_mean, prior_cov)
    np.testing.assert_allclose(found.likelihood_mean, MEAN, atol=0.05)
    fused = np.linalg.inv(np.linalg.inv(COV) + np.linalg.inv(prior_cov))
    expected = fused @ (np.linalg.solve(COV, MEAN) + np.linalg.solve(prior_cov, prior_mean))
    np.testing.assert_allclose(found.mean, expected, atol=0.03)
    np.testing.assert_allclose(found.cov, fused, rtol=0.2, atol=0.02)


def test_a_peak_narrower_than_a_cell_is_found_between_cells():
    found = summary(gaussian(MEAN, np.diag([0.05, 0.05, 0.004]) ** 2))
    np.testing.assert_allclose(found.mean, MEAN, atol=0.01)
    assert np.linalg.eigvalsh(found.likelihood_cov).min() > 0
    assert found.likelihood_cov[0, 0] >= 0.25**2 / 12


def test_two_hills_are_two_modes_and_widen_the_covariance():
    other = MEAN + np.array([-4.0, 3.0, 0.0])
    tight = np.diag([0.1, 0.1, 0.001])
    both = np.logaddexp(gaussian(MEAN, tight), gaussian(other, tight) - 0.5)
    found = summary(both)
    # A mode is cut off at three deviations of the highest one, so the lower one loses more.
    assert [mode.mass for mode in found.modes] == pytest.approx([0.64, 0.34], abs=0.05)
    assert found.modes[1].x == pytest.approx(other[0], abs=0.2)
    assert found.cov[0, 0] > 0.3 * 16 > 10 * found.likelihood_cov[0, 0]


def test_a_ridge_is_one_wide_mode():
    ridge = gaussian(MEAN, np.diag([400.0, 0.02, 0.002]))
    found = summary(ridge)
    assert len(found.modes) == 1
    assert found.likelihood_cov[0, 0] > 10 * found.likelihood_cov[1, 1]


def test_doubt_widens_only_the_posterior():
    sharp = gaussian(MEAN, np.diag([0.05, 0.05, 0.001]))
    sure, doubting = summary(sharp), summary(sharp, rate=0.05)
    assert np.linalg.det(doubting.cov) > 2 * np.linalg.det(sure.cov)
    np.testing.assert_allclose(doubting.likelihood_cov, sure.likelihood_cov)
    assert doubting.entropy > sure.entropy


def test_nothing_seen_gives_back_the_prior():
    prior_cov = np.diag([1.0, 0.5, 0.004])
    found = summary(np.zeros((len(YAWS), GRID.height, GRID.width), np.float32), MEAN, prior_cov)
    np.testing.assert_allclose(found.mean, MEAN, atol=0.05)
    np.testing.assert_allclose(np.diag(found.cov), np.diag(prior_cov), rtol=0.15)
    assert found.likelihood_cov[0, 0] > 10.0


def test_an_unknown_yaw_prior_is_flat():
    flat = gaussian(MEAN, np.diag([1.0, 1.0, 9.0]))
    assert flat[:, 10, 10].std() < 1e-4
    assert abs(flat[0, 10, 10] - flat[0, 20, 10]) > 1.0
