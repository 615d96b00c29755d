# SPDX-License-Identifier: Apache-2.0
"""MixStyle: whose style a sample takes, and when nothing happens."""

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.mixstyle import MixStyle


def styled(batch=4, seed=0):
    """Maps whose samples differ in mean and spread."""
    torch.manual_seed(seed)
    scale = torch.arange(1.0, batch + 1).view(-1, 1, 1, 1)
    return torch.randn(batch, 3, 5, 7) * scale + 10 * scale


class Fixed(MixStyle):
    """Borrows from the next sample, always."""

    def draw_partners(self, batch):
        return torch.arange(1, batch + 1) % batch


def test_takes_the_partner_s_statistics(monkeypatch):
    monkeypatch.setattr(
        torch.distributions.Beta, 'sample', lambda self, shape: torch.full(shape, 0.25)
    )
    x = styled()
    y = Fixed(probability=1.0)(x)
    mean = x.mean(dim=(2, 3))
    std = x.std(dim=(2, 3), correction=0)
    partner = [1, 2, 3, 0]
    torch.testing.assert_close(y.mean(dim=(2, 3)), 0.25 * mean + 0.75 * mean[partner])
    torch.testing.assert_close(
        y.std(dim=(2, 3), correction=0), 0.25 * std + 0.75 * std[partner], rtol=1e-4, atol=1e-4
    )


def test_content_stays():
    x = styled()
    y = MixStyle(probability=1.0)(x)
    flat = torch.stack([x.flatten(2), y.flatten(2)])
    flat = flat - flat.mean(dim=-1, keepdim=True)
    cosine = (flat[0] * flat[1]).sum(-1) / flat.norm(dim=-1).prod(0)
    torch.testing.assert_close(cosine, torch.ones(4, 3))


@pytest.mark.parametrize('case', ['in use', 'single', 'never'])
def test_does_nothing(case):
    mix = MixStyle(probability=0.0 if case == 'never' else 1.0).train(case != 'in use')
    x = styled(1 if case == 'single' else 4)
    assert mix(x) is x


def test_probability_is_that_of_a_call():
    torch.manual_seed(0)
    mix, x = MixStyle(probability=0.3), styled()
    changed = sum(mix(x) is not x for _ in range(300)) / 300
    assert 0.2 < changed < 0.4


def test_same_seed_same_mix():
    x, mix = styled(), MixStyle(probability=1.0)
    torch.manual_seed(3)
    first = mix(x)
    torch.manual_seed(3)
    assert torch.equal(first, mix(x))
    assert not torch.equal(first, mix(x))


@pytest.mark.parametrize('batch', [2, 3, 8, 9])
def test_cross_domain_pairs_the_halves(batch):
    mix = MixStyle(partners='cross_domain')
    for seed in range(5):
        torch.manual_seed(seed)
        partners = mix.draw_partners(batch)
        half = batch // 2
        assert (partners[:half] >= half).all() and (partners[half:] < half).all()
        assert len(set(partners[:half].tolist())) == half


def test_random_pairs_are_a_permutation():
    torch.manual_seed(0)
    assert sorted(MixStyle().draw_partners(7).tolist()) == list(range(7))


def test_gradient_goes_through_the_statistics_unless_detached():
    def gradient(detach):
        torch.manual_seed(1)
        x = styled().requires_grad_()
        MixStyle(probability=1.0, detach=detach)(x).square().sum().backward()
        return x.grad

    assert not torch.allclose(gradient(False), gradient(True))


@pytest.mark.parametrize(
    'wrong', [{'probability': 1.5}, {'alpha': 0.0}, {'partners': 'neighbours'}]
)
def test_refuses(wrong):
    with pytest.raises(ConfigError, match='mixstyle'):
        MixStyle(**wrong)
