# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
import torch

from geoloc_core.errors import ConfigError
from training.loop.ema import Ema
from training.loop.optimization import learning_rate, make_optimizer
from training.loop.settings import Optimizer, Schedule

TOP = Optimizer('adamw', 1e-3)


def rates(schedule, steps):
    return [learning_rate(TOP, schedule, step, steps) for step in range(steps)]


def test_one_cycle_is_that_of_torch():
    steps = 200
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], 1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, steps, pct_start=0.05, anneal_strategy='linear', cycle_momentum=False
    )
    theirs = []
    for _ in range(steps):
        theirs.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    ours = rates(Schedule('one_cycle', 0.05), steps)
    # Theirs is at its highest a step earlier.
    assert max(ours) == pytest.approx(1e-3, rel=1e-9) and ours.index(max(ours)) == 10
    assert ours[0] == pytest.approx(theirs[0]) and ours[-1] == pytest.approx(theirs[-1], rel=1e-6)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 0.12e-3


def test_cosine_goes_from_the_top_to_its_end():
    found = rates(Schedule('cosine', final=1e-5), 101)
    assert found[0] == 1e-3 and found[-1] == pytest.approx(1e-5)
    assert found[50] == pytest.approx((1e-3 + 1e-5) / 2)
    assert all(a > b for a, b in itertools.pairwise(found))


def test_warmup_never_takes_a_step_of_nothing():
    found = rates(Schedule('constant', warmup=0.1), 40)
    assert found[:5] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])
    assert set(found[4:]) == {1e-3}


@pytest.mark.parametrize('name', ['constant', 'one_cycle', 'cosine'])
@pytest.mark.parametrize('steps', [1, 2, 3])
def test_short_runs_have_rates_too(name, steps):
    found = rates(Schedule(name, warmup=0.5, final=1e-6), steps)
    assert all(0 < rate <= 1e-3 for rate in found)


def test_optimizers_get_their_numbers():
    p = torch.nn.Parameter(torch.zeros(1))
    made = make_optimizer(Optimizer('adamw', 3e-4, 5e-4, 1e-7, (0.8, 0.99)), [p])
    assert isinstance(made, torch.optim.AdamW)
    group = made.param_groups[0]
    assert (group['lr'], group['weight_decay'], group['eps']) == (3e-4, 5e-4, 1e-7)
    assert group['betas'] == (0.8, 0.99)
    assert type(make_optimizer(Optimizer('adam', 1e-4), [p])) is torch.optim.Adam
    assert make_optimizer(Optimizer('sgd', 0.1, momentum=0.5), [p]).defaults['momentum'] == 0.5
    with pytest.raises(ConfigError, match='nothing is left to learn'):
        make_optimizer(TOP, [])


def test_an_average_follows_weights_and_copies_buffers():
    net = torch.nn.BatchNorm1d(2)
    ema = Ema(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.running_mean.fill_(5.0)
        net.num_batches_tracked.fill_(7)
    ema.update(net, 1000)
    torch.testing.assert_close(ema.model.weight, torch.full((2,), 1.1))
    assert ema.model.running_mean.tolist() == [5.0, 5.0]
    assert ema.model.num_batches_tracked.item() == 7
    # The first steps count for more: (1 + 1) / (10 + 1) is kept.
    young = Ema(torch.nn.BatchNorm1d(2), 0.9)
    young.update(net, 1)
    torch.testing.assert_close(young.model.weight, torch.full((2,), 2.0 - 2 / 11))
    assert not any(p.requires_grad for p in ema.model.parameters())
