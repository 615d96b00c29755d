# SPDX-License-Identifier: Apache-2.0
"""The importance-weighted bound: its gradient is unbiased, and less noisy than the plain one."""

import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from tests.training.pose_networks import batch_of, small
from training.objectives.base import LOSS, Progress
from training.objectives.registry import make_objective
from training.objectives.vmloc import log_normal, negative_bound

ROWS, K, D = 40_000, 3, 2


def cost(z):
    """Of a latent: neither linear nor quadratic, so that nothing is right by accident."""
    return (z[..., 0] - 1.0).abs() + 0.5 * torch.cos(2.0 * z[..., 1]) + z[..., 1] ** 2


def gradients(prior_weight, *, doubly, of=cost, factor=None, seed=0):
    """(ROWS, 4) single draws of d loss / d (mean, log std)."""
    generator = torch.Generator().manual_seed(seed)
    leaf = torch.tensor([0.4, -0.3, -0.5, 0.1]).expand(ROWS, 4).clone().requires_grad_(True)
    mean, std = leaf[:, :D], leaf[:, D:].exp()
    z = mean + std * torch.randn(K, ROWS, D, generator=generator)
    held = (mean.detach(), std.detach() ** 2) if doubly or factor else (mean, std**2)
    log_weights = -of(z) + prior_weight * (log_normal(z) - log_normal(z, *held))
    loss, shares = negative_bound(log_weights, z, prior_weight, doubly=doubly)
    if factor:
        z.register_hook(lambda gradient: gradient * factor(shares)[..., None])
    loss.sum().backward()
    return leaf.grad


def apart(a, b):
    """How many standard errors two means of draws are apart, at most."""
    error = ((a.var(0) + b.var(0)) / ROWS).sqrt()
    return float(((a.mean(0) - b.mean(0)).abs() / error).max())


@pytest.mark.parametrize('prior_weight', [1.0, 0.3, 1e-6])
def test_the_gradient_is_that_of_the_bound(prior_weight):
    doubly = gradients(prior_weight, doubly=True, seed=1)
    plain = gradients(prior_weight, doubly=False, seed=2)
    assert apart(doubly, plain) < 4.5


def test_it_is_less_noisy_than_the_plain_one():
    doubly = gradients(1.0, doubly=True, seed=1)
    plain = gradients(1.0, doubly=False, seed=2)
    assert (doubly.var(0) < plain.var(0)).all()


@pytest.mark.parametrize(
    ('prior_weight', 'factor'),
    [
        # v_k^2 is right for the bound of the paper alone.
        (0.3, lambda shares: shares),
        # Holding q fixed without the second weighing, as a hook that never fires would.
        (1.0, lambda shares: torch.ones_like(shares)),
    ],
)
def test_other_weighings_are_biased(prior_weight, factor):
    wrong = gradients(prior_weight, doubly=False, factor=factor, seed=1)
    plain = gradients(prior_weight, doubly=False, seed=2)
    assert apart(wrong, plain) > 20


def test_at_the_true_posterior_it_has_no_noise_at_all():
    # With p(y | z) = N(y; z, 1), y = 2 m: q = N(m, 1 / 2) is the posterior, and weights are equal.
    mean = torch.tensor([[0.5, -1.0]]).expand(100, 2)

    def draw(doubly):
        leaf = mean.clone().requires_grad_(True)
        z = leaf + math.sqrt(0.5) * torch.randn(5, 100, 2)
        q = leaf.detach() if doubly else leaf
        variance = torch.full_like(mean, 0.5)
        log_weights = -0.5 * ((2 * mean - z) ** 2).sum(-1) + log_normal(z)
        loss, shares = negative_bound(
            log_weights - log_normal(z, q, variance), z, 1.0, doubly=doubly
        )
        loss.sum().backward()
        assert torch.allclose(shares, torch.full((5, 100), 0.2), atol=1e-4)
        return leaf.grad

    torch.manual_seed(0)
    assert draw(True).abs().max() < 1e-4
    assert draw(False).abs().max() > 0.1


def test_weights_are_of_one_samples_latents():
    log_weights = torch.randn(4, 3)
    z = torch.zeros(4, 3, 2, requires_grad=True)
    loss, shares = negative_bound(log_weights, z, 1e-6, doubly=True)
    assert torch.allclose(shares.sum(0), torch.ones(3))
    assert torch.allclose(loss, -(torch.logsumexp(log_weights, 0) - math.log(4)))
    other = log_weights.clone()
    other[:, 1] += 5.0
    assert torch.equal(negative_bound(other, z, 1e-6, doubly=True)[1][:, 0], shares[:, 0])


def test_one_more_sample_never_loosens_the_bound():
    torch.manual_seed(0)
    z = torch.randn(64, 20_000, 1)
    log_weights = -z[..., 0].abs()
    bounds = [
        -float(negative_bound(log_weights[:k], z[:k], 1.0, doubly=True)[0].mean())
        for k in (1, 4, 64)
    ]
    assert bounds[0] < bounds[1] < bounds[2]
    assert bounds[2] == pytest.approx(math.log(float(torch.exp(log_weights).mean())), abs=0.02)


def test_a_step_learns_all_there_is():
    objective = make_objective('vmloc', small('vmloc'), {'prior_weight': 1e-3}).train()
    terms = objective(batch_of(), Progress())
    terms[LOSS].backward()
    without = [n for n, p in objective.named_parameters() if p.grad is None]
    assert all('calibration' in name for name in without)
    assert 1.0 <= float(terms['effective_samples']) <= 4.0
    assert float(terms['divergence'].detach()) > 0


def test_it_needs_a_latent():
    with pytest.raises(ConfigError, match='pose_regression'):
        make_objective('vmloc', small('atloc'), {})
    with pytest.raises(ConfigError, match='prior_weight'):
        make_objective('vmloc', small('vmloc'), {'prior_weight': 2.0})
