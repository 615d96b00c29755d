# SPDX-License-Identifier: Apache-2.0
"""Batches are the same on one worker, on two, on four machines, and after a restart."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from training.loading import (
    arrays_of,
    batches_once,
    collate,
    make_loader,
    Preparation,
    ShardedSampler,
)


def brighter(sample, index, epoch):
    """A random change."""
    rng = np.random.default_rng([4, epoch, index])
    image = sample.view.image + rng.integers(0, 5, dtype=np.uint8)
    return replace(sample, view=replace(sample.view, image=image))


def halved(sample):
    """A deterministic change."""
    image = sample.view.image[::2, ::2].copy()
    return replace(
        sample, view=replace(sample.view, image=image, camera=sample.view.camera.resized(12, 8))
    )


def passes(loader, sampler, epochs=2):
    seen = []
    for epoch in range(epochs):
        sampler.epoch = epoch
        seen += [(b.keys, {k: t.numpy().copy() for k, t in b.tensors.items()}) for b in loader]
    return seen


def assert_alike(a, b):
    assert [keys for keys, _ in a] == [keys for keys, _ in b]
    for (_, x), (_, y) in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


def test_workers_and_cache_change_nothing(tiny, tmp_path):
    plain = Preparation(reduce=halved, augment=brighter)
    cached = replace(plain, cache=tmp_path / 'cache')
    order = ShardedSampler(len(tiny), 4, seed=1)
    one = passes(make_loader(tiny, order, plain), order)
    assert len(one) == 2 * (10 // 4)
    assert one[0][1]['image'].shape == (4, 3, 8, 12)
    assert one[0][1]['patch'].shape == (4, 3, 20, 30)
    assert_alike(one, passes(make_loader(tiny, order, plain, workers=2), order))
    filled = passes(make_loader(tiny, order, cached), order)
    again = passes(make_loader(tiny, order, cached), order)
    assert_alike(filled, again)
    for (_, x), (_, y) in zip(one, filled, strict=True):
        np.testing.assert_array_equal(x['image'], y['image'])
    assert len(list((tmp_path / 'cache').rglob('*.npz'))) >= 8


def test_another_way_to_open_it_is_another_cache(tiny, tiny_root, tmp_path):
    preparation = Preparation(cache=tmp_path / 'cache')
    order = ShardedSampler(len(tiny), 5, shuffle=False)
    one = passes(make_loader(tiny, order, preparation), order, 1)
    other = type(tiny)(tiny_root, 'train', seed=8)
    two = passes(make_loader(other, order, preparation), order, 1)
    assert not np.array_equal(one[0][1]['prior'], two[0][1]['prior'])


def test_a_cache_needs_to_know_what_was_done(tiny, tmp_path):
    order = ShardedSampler(len(tiny), 5)
    nameless = Preparation(reduce=lambda sample: halved(sample), cache=tmp_path)
    with pytest.raises(ConfigError, match='no name of its own'):
        make_loader(tiny, order, nameless)
    make_loader(tiny, order, replace(nameless, cache=None))


def test_a_negative_seed_is_refused_at_once(tiny, tiny_root):
    with pytest.raises(DataError, match='seed -1'):
        type(tiny)(tiny_root, 'train', seed=-1)


def test_long_tables_of_options_are_told_apart(tiny_root, tiny):
    class Tabled(type(tiny)):
        def __init__(self, root, split, *, table):
            super().__init__(root, split)

    table = np.zeros(5000)
    other = table.copy()
    other[2500] = 1.0
    one, two = (Tabled(tiny_root, 'train', table=values).opened for values in (table, other))
    assert one != two


def test_what_only_some_samples_have_is_no_batch(tiny):
    samples = [tiny[0], tiny[1]]
    for without in (0, 1):
        bare = [replace(s, prior=None) if i == without else s for i, s in enumerate(samples)]
        with pytest.raises(ConfigError, match="'prior'"):
            collate([(s.key, arrays_of(s)) for s in bare])


def test_a_damaged_cache_file_is_made_anew(tiny, tmp_path):
    pipeline = Preparation(cache=tmp_path)
    order = ShardedSampler(len(tiny), 5, shuffle=False)
    first = passes(make_loader(tiny, order, pipeline), order, 1)
    for path in tmp_path.rglob('*.npz'):
        path.write_bytes(b'half a file')
    assert_alike(first, passes(make_loader(tiny, order, pipeline), order, 1))


def test_epochs_differ(tiny):
    order = ShardedSampler(len(tiny), 5, seed=3)
    both = passes(make_loader(tiny, order, Preparation(augment=brighter)), order)
    assert both[0][0] != both[2][0]
    priors = {key: p for keys, t in both[:2] for key, p in zip(keys, t['prior'], strict=True)}
    later = {key: p for keys, t in both[2:] for key, p in zip(keys, t['prior'], strict=True)}
    assert priors.keys() == later.keys()
    assert all(not np.array_equal(priors[key], later[key]) for key in priors)


def test_four_machines_share_one_epoch():
    whole = list(ShardedSampler(103, 5, seed=2, epoch=7))
    parts = [list(ShardedSampler(103, 5, seed=2, epoch=7, rank=r, world_size=4)) for r in range(4)]
    assert [len(p) for p in parts] == [5, 5, 5, 5] == [103 // 20] * 4
    dealt = [batch for turn in zip(*parts, strict=True) for batch in turn]
    assert dealt == whole[:20]
    seen = [i for batch in dealt for _, i in batch]
    assert len(set(seen)) == 100
    kept = [ShardedSampler(103, 5, rank=r, world_size=4, drop_last=False) for r in range(4)]
    assert {len(list(s)) for s in kept} == {6} == {len(s) for s in kept}
    assert {i for s in kept for batch in s for _, i in batch} == set(range(103))


def test_each_sample_comes_once():
    assert batches_once(np.array([4, 0, 9]), 2) == [[(0, 4), (0, 0)], [(0, 9)]]
    shares = [batches_once(range(7)[rank::2], 3) for rank in (0, 1)]
    assert sorted(i for share in shares for batch in share for _, i in batch) == list(range(7))
    assert batches_once([], 3) == []


def test_a_resumed_pass_goes_on_where_it_was():
    whole = list(ShardedSampler(50, 4, seed=9, epoch=2))
    resumed = ShardedSampler(50, 4, seed=9, epoch=2, start=5)
    assert list(resumed) == whole[5:]
    # The pass after that is a whole one.
    assert list(resumed) == whole


def test_an_unreadable_picture_is_named_not_replaced(tiny, tiny_root):
    (tiny_root / '004.png').write_bytes(b'\x89PNG, cut')
    order = ShardedSampler(len(tiny), 5, shuffle=False)
    first, second = list(make_loader(tiny, order, workers=1))
    assert first.keys == ('000', '001', '002', '003')
    assert len(first) == 4 == len(first.tensors['image'])
    assert '004.png' in first.unreadable[0] and not second.unreadable


def test_samples_of_two_sizes_ask_for_a_resize(tiny):
    def uneven(sample):
        arrays = arrays_of(sample)
        arrays['image'] = arrays['image'][:, : 8 + sample.view.stamp_ns % 2]
        return arrays

    order = ShardedSampler(len(tiny), 2, shuffle=False)
    with pytest.raises(ConfigError, match='resize them alike'):
        next(iter(make_loader(tiny, order, Preparation(prepare=uneven))))


@pytest.mark.parametrize(
    'wrong', [{'batch_size': 0}, {'rank': 2, 'world_size': 2}, {'length': 3, 'batch_size': 4}]
)
def test_impossible_shares_are_refused(wrong):
    with pytest.raises(ConfigError):
        ShardedSampler(**{'length': 20, 'batch_size': 4, **wrong})
