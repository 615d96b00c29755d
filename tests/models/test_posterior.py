# SPDX-License-Identifier: Apache-2.0
"""A belief times a prior in torch: the same volume and numbers as on the robot's CPU."""

import numpy as np
import pytest
import torch

from geoloc_core.estimation import volume as volumes
from geoloc_core.geometry.grid import Grid
from geoloc_core.models.belief import Belief, evenly_spaced_yaws
from geoloc_core.models.posterior import posterior, summary

CELL, HEIGHT, WIDTH, BINS = 0.5, 26, 35, 36
GRID = Grid((0.0, 0.0), CELL, WIDTH, HEIGHT)
YAWS = evenly_spaced_yaws(BINS, 180.0)
MEAN = np.array([1.2, -0.8, 2.9])
TILT = np.array([[1.0, 0, 0], [0.4, 1.0, 0], [-0.3, 0.2, 1.0]])


def cov(std_yaw):
    return TILT @ np.diag(np.array([2.0, 1.5, std_yaw]) ** 2) @ TILT.T


def hill(x=2.0, y=0.5, yaw=-3.0, std=(1.5, 1.0, 0.4)):
    """(1, K, H, W) logits about a pose near the prior's, across the seam of the circle."""
    wrapped = cov(1.0) * 0 + np.diag(np.array(std) ** 2)
    made = volumes.gaussian_log_prior(GRID, YAWS.numpy(), np.array([x, y, yaw]), wrapped)
    return torch.from_numpy(made)[None]


@pytest.mark.parametrize('std_yaw', [0.3, 2.0])
@pytest.mark.parametrize('outlier_rate', [0.0, 0.02])
def test_it_is_the_volume_of_the_cpu(std_yaw, outlier_rate):
    logits = hill() + torch.randn(
        1, BINS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)
    )
    belief = Belief(logits, CELL, YAWS, closed=True)
    information = volumes.information_of(cov(std_yaw))
    found = posterior(belief, MEAN, information, outlier_rate)
    prior = volumes.gaussian_log_prior(GRID, YAWS.numpy(), MEAN, cov(std_yaw))
    wanted = volumes.posterior(logits[0].numpy(), prior, GRID, YAWS.numpy(), outlier_rate)
    np.testing.assert_allclose(found.logits[0].exp().numpy(), np.exp(wanted.log_prob), atol=1e-6)
    assert float(found.logits.exp().sum()) == pytest.approx(1.0, abs=1e-4)


def test_few_numbers_say_what_the_robot_says():
    belief = Belief(hill(), CELL, YAWS, closed=True)
    found = posterior(belief, MEAN, volumes.information_of(cov(0.3)), 0.02)
    numbers = summary(found)[0].numpy()
    prior = volumes.gaussian_log_prior(GRID, YAWS.numpy(), MEAN, cov(0.3))
    volume = volumes.posterior(hill()[0].numpy(), prior, GRID, YAWS.numpy(), 0.02)
    wanted = volumes.summarise(volume, hill()[0].numpy())
    assert numbers.shape == (12,)
    np.testing.assert_allclose(numbers[:2], wanted.mean[:2], atol=0.1)
    assert abs(np.angle(np.exp(1j * (numbers[2] - wanted.mean[2])))) < 0.03
    _, about = volumes.moments(np.exp(volume.log_prob), GRID, YAWS.numpy(), numbers[:3])
    np.testing.assert_allclose(numbers[3:].reshape(3, 3), about, atol=2e-3)
    np.testing.assert_allclose(about, wanted.cov, rtol=0.05, atol=0.02)


def test_a_prior_on_the_other_side_draws_there():
    flat = Belief(torch.zeros(1, BINS, HEIGHT, WIDTH), CELL, YAWS, closed=True)
    information = volumes.information_of(np.diag([0.5, 0.5, 0.2]) ** 2)
    for mean in ([3.0, -2.0, 1.0], [-3.0, 2.0, -1.0]):
        numbers = summary(posterior(flat, mean, information, 0.0))[0].numpy()
        np.testing.assert_allclose(numbers[:3], mean, atol=0.05)
