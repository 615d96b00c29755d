# SPDX-License-Identifier: Apache-2.0
"""VMLoc and its baselines: sizes, experts left out, what the covariance is made of."""

import pytest
import torch

from geoloc_core.errors import BundleError, ConfigError
from geoloc_core.models.base import parameter_count
from geoloc_core.models.cost import multiply_adds
from geoloc_core.models.pose_layers import (
    ChannelAttention,
    PictureEncoder,
    product_of_experts,
)
from geoloc_core.models.pose_model import normalise_depth
from geoloc_core.models.registry import make_model, PLACES
from geoloc_core.models.weights import load_weights, save_weights

SMALL = {
    'backbone': 'resnet18',
    'backbone_end': 'layer2',
    'width': 48,
    'height': 32,
    'focal_px': 40.0,
}
NAMES = ('vmloc', 'pose_concatenation', 'atloc')
B, H, W = 3, 32, 48


def small(name, **more):
    torch.manual_seed(0)
    sizes = {'latent': 32, 'samples': 8} if name == 'vmloc' else {'features': 16}
    return make_model(name, {**SMALL, **sizes, **more})


@pytest.fixture(scope='module')
def vmloc():
    return small('vmloc').eval()


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    colour = torch.randn(B, 4, H, W, generator=generator)
    depth = torch.randn(B, 2, H, W, generator=generator)
    return colour, depth


def present(*rows):
    return torch.tensor(rows, dtype=torch.float32)


BOTH = present([1, 1], [1, 1], [1, 1])


def test_published_sizes():
    published = {'with_masks': False, 'rotation': 'log_quaternion'}
    # Two trunks of 21.28 M, 2 x 2 maps of 512 x 1024, attention 0.526 M, heads 6 K.
    model = make_model('vmloc', published)
    trunk = parameter_count(model.colour_encoder)
    assert trunk == 21_284_672
    assert parameter_count(model.head.attention) == 525_696
    assert parameter_count(model) == 2 * trunk + 4 * 525_312 + 525_696 + 6_150
    assert round(parameter_count(model) / 1e6, 2) == 45.20


def test_published_cost():
    # A sixteenth of a 256 px picture costs a sixteenth, all sides being multiples of 32.
    encoder = PictureEncoder('resnet34', None, 3)
    cost = 16 * multiply_adds(encoder, torch.zeros(1, 3, 64, 64), torch.ones(1, dtype=torch.bool))
    # 4.79 G from colour alone, 9.57 G from both, measured of the authors' network.
    assert cost / 1e9 == pytest.approx(4.79, abs=0.01)
    assert 2 * cost / 1e9 == pytest.approx(9.57, abs=0.02)


@pytest.mark.parametrize('name', NAMES)
def test_answers_are_poses_with_covariances(name):
    model = small(name).eval()
    with torch.no_grad():
        belief = model.belief(model(*inputs(), BOTH))
    assert belief.position.shape == (B, 3) and belief.rotation.shape == (B, 3, 3)
    identity = torch.eye(3).expand(B, 3, 3)
    assert torch.allclose(belief.rotation @ belief.rotation.transpose(1, 2), identity, atol=1e-5)
    assert torch.allclose(belief.cov, belief.cov.transpose(1, 2))
    assert torch.linalg.eigvalsh(belief.cov.double()).min() > 0
    assert name in PLACES and model.FAMILY == 'camera_pose'


def test_the_product_is_the_closed_form_with_the_prior():
    means = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -2.0]])]
    variances = [torch.tensor([[0.5, 0.25]]), torch.tensor([[0.1, 4.0]])]
    mean, variance = product_of_experts(means, variances, torch.tensor([[True, True]]))
    precision = 1 + torch.tensor([2.0 + 10.0, 4.0 + 0.25])
    assert torch.allclose(variance, (1 / precision)[None])
    assert torch.allclose(mean, (torch.tensor([2.0 + 30.0, 8.0 - 0.5]) / precision)[None])
    mean, variance = product_of_experts(means, variances, torch.tensor([[True, False]]))
    assert torch.allclose(variance, torch.tensor([[1 / 3, 1 / 5]]))
    mean, variance = product_of_experts(means, variances, torch.tensor([[False, False]]))
    assert torch.equal(mean, torch.zeros(1, 2)) and torch.equal(variance, torch.ones(1, 2))


def test_latents_spread_by_the_root_of_the_variance(vmloc):
    colour, depth = inputs()
    with torch.no_grad():
        mean, variance = vmloc.posterior(colour, depth, BOTH)
        read, seen = vmloc.read, []
        try:
            vmloc.read = lambda z: seen.append(z) or read(z)
            vmloc(colour, depth, BOTH)
        finally:
            del vmloc.read
    noise = (seen[0] - mean[:, None]) / variance.sqrt()[:, None]
    assert torch.allclose(noise, vmloc.draws.expand_as(noise), atol=1e-4)
    assert vmloc.draws.mean().abs() < 1e-7 and variance.max() <= 1


@pytest.mark.parametrize(('name', 'missing'), [(n, m) for n in NAMES[:2] for m in (0, 1)])
def test_a_missing_modality_has_no_say(name, missing):
    model = small(name).eval()
    there = BOTH.clone()
    there[:, missing] = 0
    arrays, others = list(inputs()), list(inputs())
    others[missing] = inputs(seed=9)[missing]
    with torch.no_grad():
        with_one, with_other = model(*arrays, there)['raw'], model(*others, there)['raw']
        assert torch.equal(with_one, with_other)
        assert not torch.allclose(with_one, model(*arrays, BOTH)['raw'])
        # One that is there has one.
        others[1 - missing] = inputs(seed=9)[1 - missing]
        assert not torch.allclose(with_one, model(*others, there)['raw'])


def test_without_a_modality_the_posterior_is_wider_everywhere(vmloc):
    colour, depth = inputs()
    with torch.no_grad():
        both = vmloc.posterior(colour, depth, BOTH)[1]
        for there in (present(*[[1, 0]] * B), present(*[[0, 1]] * B)):
            assert (vmloc.posterior(colour, depth, there)[1] > both).all()
        alone = vmloc(colour, depth, present([1, 0], [1, 1], [0, 1]))['doubt']
        assert alone[0] > vmloc(colour, depth, BOTH)['doubt'][0]
        assert torch.allclose(alone[1], vmloc(colour, depth, BOTH)['doubt'][1], atol=1e-5)


def test_in_training_statistics_are_those_of_pictures_only():
    model = small('vmloc').train()
    statistics = model.depth_encoder.backbone.bn1.running_mean
    before = statistics.clone()
    model(*inputs(), present(*[[1, 0]] * B))
    assert torch.equal(statistics, before)
    colour, depth = inputs()
    model(colour, depth, present([1, 1], [1, 0], [1, 1]))
    moved = statistics.clone()
    # The same again, whatever lies in the row that is not there.
    again = small('vmloc').train()
    depth = depth.clone()
    depth[1] = 1e3
    again(colour, depth, present([1, 1], [1, 0], [1, 1]))
    assert torch.allclose(again.depth_encoder.backbone.bn1.running_mean, moved, atol=1e-6)


def test_the_covariance_grows_with_what_it_is_made_of(vmloc):
    raw = torch.zeros(2, 4, 9)
    raw[..., 3], raw[..., 7] = 1.0, 1.0
    # The second sample's draws lie 10 cm around their mean, east and west.
    raw[1, :, 0] = torch.tensor([-0.1, 0.1, -0.1, 0.1])
    outputs = {'raw': raw, 'present': present([1, 1], [1, 1]), 'doubt': torch.zeros(2)}
    with torch.no_grad():
        cov = vmloc.belief(outputs).cov
        floor = cov[0].diagonal()
        assert torch.allclose(cov[1].diagonal()[0], floor[0] + 0.01)
        assert torch.allclose(cov[1].diagonal()[1:], floor[1:])
        scalars = vmloc.calibration
        saved = {name: p.clone() for name, p in scalars.items()}
        try:
            scalars['log_spread'][0, 0] = 1.0
            assert vmloc.belief(outputs).cov[1, 0, 0] > cov[1, 0, 0]
            scalars['growth'][:, 0] = 0.5
            doubtful = vmloc.belief({**outputs, 'doubt': torch.ones(2)}).cov
            assert torch.allclose(doubtful[0].diagonal(), floor * torch.e, rtol=1e-4)
            scalars['growth'][:] = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
            turned = raw.clone()
            turned[1, :, 4] = torch.tensor([-0.1, 0.1, -0.1, 0.1])
            unlike = vmloc.belief({**outputs, 'raw': turned}).cov
            # Poses that turn by 6 degrees against each other are doubted in position as well.
            assert unlike[1, 1, 1] > 100 * unlike[0, 1, 1] and unlike[1, 1, 1] > 1e-4
            scalars['growth'][:] = 0.0
            # Floors are each modality's own: [m, rad] x [both, colour, depth].
            scalars['log_floor'][0, 2] += 1.0
            only = vmloc.belief({**outputs, 'present': present([1, 1], [0, 1])}).cov
            assert only[1, 1, 1] > 2 * only[0, 1, 1] and only[1, 4, 4] == only[0, 4, 4]
        finally:
            for name, value in saved.items():
                scalars[name].copy_(value)


def test_who_can_answer_from_what():
    there = present([1, 0], [0, 1], [0, 0])
    assert small('vmloc').answers(there).tolist() == [True, True, False]
    assert small('atloc').answers(there).tolist() == [True, False, False]
    assert small('atloc', modality='depth').answers(there).tolist() == [False, True, False]


def test_attention_weighs_channels_by_each_other():
    block = ChannelAttention(16)
    x = torch.randn(2, 5, 16)
    value, row, column = (f(x) for f in (block.value, block.row, block.column))
    A = torch.softmax(torch.einsum('bkr,bkc->bkrc', row, column), dim=-1)
    wanted = x + block.out(torch.einsum('bkrc,bkc->bkr', A, value))
    assert torch.allclose(block(x), wanted, atol=1e-6)


def test_depth_is_metres_with_a_mask_and_not_a_mask_alone():
    model = small('vmloc', depth_mean_m=2.0, depth_std_m=0.5, depth_max_m=6.0)
    depth = torch.tensor([[[[1.0, 3.0, float('nan'), 7.0, 0.0]]]])
    made = normalise_depth(depth, model.inputs.depth)
    assert made[0, 0, 0].tolist() == [-2.0, 2.0, 0.0, 0.0, 0.0]
    assert made[0, 1, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize('name', NAMES)
def test_weights_come_back_with_their_draws(name, tmp_path):
    model = small(name).eval()
    save_weights(tmp_path / 'w.safetensors', model)
    again = load_weights(tmp_path / 'w.safetensors', name)
    with torch.no_grad():
        assert torch.equal(again(*inputs(), BOTH)['raw'], model(*inputs(), BOTH)['raw'])


@pytest.mark.parametrize(
    ('name', 'settings', 'error', 'word'),
    [
        ('vmloc', {'rotation': 'euler'}, ConfigError, 'sixd'),
        ('vmloc', {'samples': 3}, ConfigError, 'even'),
        ('vmloc', {'dropout': 1.0}, ConfigError, 'dropout'),
        ('atloc', {'modality': 'lidar'}, ConfigError, 'colour'),
        ('atloc', {'backbone': 'resnet999'}, ConfigError, 'resnet34'),
        ('vmloc', {'width': 9999}, BundleError, '9999'),
    ],
)
def test_impossible_settings_are_refused(name, settings, error, word):
    with pytest.raises(error, match=word):
        make_model(name, {**SMALL, **settings})
