# SPDX-License-Identifier: Apache-2.0
"""Ways of seeing: each does what its name says, the same every time, and nothing else."""

import pytest
import torch

from training.families.pose_ways import PRESENT, seen_in_all_ways, WAYS

B, H, W = 4, 40, 64
BOTH = ('colour', 'depth')


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    depth = 1.0 + torch.rand(B, 1, H, W, generator=generator)
    depth[:, :, :3] = float('nan')
    return {
        'colour': torch.randint(60, 200, (B, 3, H, W), generator=generator).to(torch.uint8),
        'colour_mask': torch.ones(B, 1, H, W, dtype=torch.bool),
        'depth': depth,
        'available': torch.ones(B, 2, dtype=torch.bool),
    }


def seen(batch, name, number=0):
    return next(s for way, s in seen_in_all_ways(batch, number, BOTH) if way.name == name)


def same_depth(a, b):
    return torch.equal(a['depth'].nan_to_num(-1.0), b['depth'].nan_to_num(-1.0))


def test_the_batch_itself_stays_as_it_is(batch):
    before = {name: tensor.clone() for name, tensor in batch.items()}
    assert len(list(seen_in_all_ways(batch, 0, BOTH))) == len(WAYS)
    assert torch.equal(batch['colour'], before['colour']) and same_depth(batch, before)


@pytest.mark.parametrize('way', WAYS, ids=lambda way: f'{way.name} {way.present}')
def test_what_is_not_touched_is_equal(batch, way):
    changed = seen(batch, way.name)
    whole = way.change is None
    assert torch.equal(changed['colour'], batch['colour']) == (
        whole or 'colour' not in way.touches
    )
    assert same_depth(changed, batch) == (whole or 'depth' not in way.touches)
    assert changed['colour'].dtype == torch.uint8 and changed['depth'].shape == (B, 1, H, W)
    # Nobody tells the network what a fault hides.
    assert torch.equal(changed['colour_mask'], batch['colour_mask'])


@pytest.mark.parametrize(
    ('name', 'share'),
    [('half covered', 0.5), ('mostly covered', 0.75), ('half the blocks covered', 0.5)],
)
def test_what_is_hidden_is_hidden_from_both_modalities_alike(batch, name, share):
    changed = seen(batch, name)
    black = (changed['colour'] == 0).all(dim=1, keepdim=True)
    assert black.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([share] * B, abs=0.02)
    assert torch.equal(changed['depth'].isnan(), black | batch['depth'].isnan())
    assert not torch.equal(black[0], black[1])
    if name == 'half covered':
        assert black[0, 0, :, W // 2 :].all() and black[1, 0, :, : W // 2].all()


def test_how_much_is_lost_scaled_dark_and_noisy(batch):
    known = ~batch['depth'].isnan()
    for frame, kept in zip(seen(batch, 'depth lost')['depth'], known, strict=True):
        assert 0.5 < float((frame[kept].isnan()).float().mean()) < 0.92
    factor = (seen(batch, 'depth scaled')['depth'] / batch['depth'])[:, 0, 10]
    assert ((factor - factor[:, :1]).abs() < 1e-5).all() and factor[:, 0].unique().numel() == B
    assert ((factor > 0.79) & (factor < 1.26)).all()
    light = seen(batch, 'dark')['colour'].float().mean() / batch['colour'].float().mean()
    assert 0.12 < float(light) < 0.4
    noise = seen(batch, 'noisy')['colour'].float() - batch['colour'].float()
    assert float(noise.std()) == pytest.approx(25.0, abs=1.5) and abs(float(noise.mean())) < 1.0


def test_stale_depth_lies_elsewhere(batch):
    # Depth that grows from left to right and top to bottom: where it was is what it says.
    u, v = torch.arange(W).float(), torch.arange(H).float()
    batch['depth'] = (1.0 + v[:, None] + 100.0 * u).expand(B, 1, H, W).clone()
    moved = []
    old = batch['depth'][0, 0]
    drawn = torch.cat([seen(batch, 'depth stale', n)['depth'][:, 0] for n in range(4)])
    for new in drawn:
        known = ~new.isnan()
        off = new[known] - old[known]
        assert off.unique().numel() == 1 and 0.8 < float(known.float().mean()) < 0.97
        moved.append(float(off[0]))
        # What has come into the view since is not known; what is known has its place to itself.
        assert new[known].unique().numel() == int(known.sum())
    # To the left and to the right, 4 to 12 % of 64 px.
    assert all(2 <= abs(m) / 100 <= 8.05 for m in moved) and min(moved) < 0 < max(moved)


def test_draws_are_the_same_again_and_others_for_another_batch(batch):
    for name in (
        'half the blocks covered',
        'depth lost',
        'depth scaled',
        'depth stale',
        'noisy',
        'dark',
    ):
        once, again, other = (seen(batch, name, number) for number in (0, 0, 1))
        assert torch.equal(once['colour'], again['colour']) and same_depth(once, again)
        assert not (torch.equal(once['colour'], other['colour']) and same_depth(once, other))


def test_faults_also_come_where_one_modality_is_all_there_is():
    names = {present: {way.name for way in WAYS if way.present == present} for present in PRESENT}
    both, colour, depth = (names[present] for present in PRESENT)
    assert len(both) == 9 and len(WAYS) == len(set(WAYS)) == 20
    assert colour == both - {'depth lost', 'depth scaled', 'depth stale'}
    # Alone, depth contradicts nothing.
    assert depth == both - {'dark', 'noisy', 'depth scaled', 'depth stale'}


def test_a_network_of_one_modality_is_not_asked_what_it_cannot_tell(batch):
    names = {way.name for way, _ in seen_in_all_ways(batch, 0, ('colour',))}
    assert {'whole', 'half covered', 'dark'} <= names
    assert not {'depth lost', 'depth scaled', 'depth stale'} & names
    names = {way.name for way, _ in seen_in_all_ways(batch, 0, ('depth',))}
    assert 'depth scaled' in names and not {'dark', 'noisy'} & names
