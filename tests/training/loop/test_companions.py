# SPDX-License-Identifier: Apache-2.0
"""Samples that share a batch: groups, draws, shares of several processes."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from tests.training import room
from tests.training.pose_networks import small
from training.loading import ShardedSampler
from training.loop.companions import Companions
from training.loop.data import Chosen, fixed_batch, training_batches, Wanted
from training.loop.settings import Data, Split
from training.objectives.registry import make_objective


class Neighbours(Companions):
    """The next place, and a drawn one."""

    size = 3

    def of(self, place, rng):
        return [(place + 1) % 10, int(rng.integers(0, 10))]


def test_groups_are_drawn_alike_whatever_came_before():
    indices = np.arange(10) * 7
    sampler = ShardedSampler(10, 2, seed=1)
    chosen = Chosen(sampler, indices, companions=Neighbours(), seed=4)
    first = list(chosen)
    assert len(chosen) == len(first) == 5
    for batch in first:
        assert len(batch) == 6
        for group in (batch[:3], batch[3:]):
            assert group[1][1] == (group[0][1] + 7) % 70
    sampler.start = 3
    assert list(chosen) == first[3:]
    sampler.epoch = 1
    assert {row[0] for row in next(iter(chosen))} == {1}


def objective_with_pairs():
    settings = {'relative': 'rigid', 'frames': 2, 'spacing': 1}
    return make_objective('pose_regression', small('atloc'), settings)


def test_a_batch_holds_whole_groups_on_every_process(tmp_path):
    room.install()
    data = Data('room', Split('train'), str(tmp_path), workers=0)
    objective = objective_with_pairs()
    wanted = Wanted(objective.model, (), objective.companions)
    seen = []
    for rank in (0, 1):
        sampler, loader = training_batches(
            data, wanted, 8, 0, root=None, rank=rank, world=2, pin=False
        )
        assert len(sampler) == 6
        batch = next(iter(loader))
        rows = batch.tensors['index'].reshape(2, 2)
        assert ((rows[:, 1] - rows[:, 0]).abs() == 1).all()
        seen += rows[:, 0].tolist()
    assert len(set(seen)) == 4
    with pytest.raises(ConfigError, match='groups of 2'):
        training_batches(data, wanted, 6, 0, root=None, rank=0, world=2, pin=False)


def test_a_fixed_batch_holds_them_too(tmp_path):
    room.install()
    data = Data('room', Split('train'), str(tmp_path), workers=0)
    objective = objective_with_pairs()
    batch = fixed_batch(data, Wanted(objective.model, (), objective.companions), 4, None)
    assert batch.tensors['index'].tolist() == [0, 1, 12, 13]
    alone = fixed_batch(data, Wanted(objective.model), 4, None)
    assert alone.tensors['index'].tolist() == [0, 6, 12, 18]
