# SPDX-License-Identifier: Apache-2.0
"""Rotation learned from the map alone."""

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.registry import make_model
from tests.models import fixtures
from training.objectives.base import Progress
from training.objectives.registry import make_objective
from training.objectives.rotation import poses_from_map

SETTINGS = {
    'camera': 'pinhole',
    'view_width': 96,
    'view_height': 48,
    'focal_px': [48.0, 48.0],
    'center_px': [47.5, 12.0],
    'camera_height_m': 1.65,
    'patch_width': 64,
    'patch_height': 64,
    'patch_gsd': 0.75,
    'backbone': 'efficientnet_lite0',
    'weights': 'imagenet',
    'deepest': 16,
    'levels': [1],
    'widths': [32, 24, 16, 4],
    'rotation': True,
    'rotation_levels': [0, 1],
    'shift_m': 4.0,
    'rotation_deg': 30.0,
}


def patches(size=64):
    """(8, 3, size, size) uint8 of rendered places, 0.75 m/px."""
    model = make_model(
        'g2sweakly',
        {
            'view_width': 64,
            'view_height': 32,
            'patch_width': size,
            'patch_height': size,
            'patch_gsd': 0.75,
            'levels': [0],
        },
    )
    return fixtures.batch_of(model, fixtures.samples())


def test_untrained_estimator_stays_and_loss_counts_ranges():
    torch.manual_seed(0)
    model = make_model('g2sweakly', SETTINGS)
    objective = make_objective('rotation', model)
    losses = objective(patches(), Progress())
    # Uniform over the ranges: half a range on average, about each of three axes.
    assert float(losses['yaw']) == pytest.approx(0.5, abs=0.25)
    assert float(losses['loss']) == pytest.approx(
        100 * float(losses['place'] + losses['yaw']), rel=1e-5
    )
    losses['loss'].backward()
    assert any(p.grad is not None for p in model.rotation.parameters())
    assert all(p.grad is None for p in model.view_net.parameters())
    assert not any(p.requires_grad for p in model.patch_net.parameters())


def test_matching_leaves_the_estimator_alone():
    model = make_model('g2sweakly', SETTINGS)
    make_objective('g2sweakly', model)
    frozen = [*model.rotation.parameters(), *model.rotation_net.parameters()]
    assert not any(p.requires_grad for p in frozen)
    model.train()
    assert not model.rotation_net.training
    assert model.view_net.training


@pytest.mark.slow
def test_learns_to_turn_the_right_way():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = make_model('g2sweakly', SETTINGS)
    batch = {name: values[:4] for name, values in patches().items()}
    objective = make_objective('rotation', model).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(150):
        loss = objective(batch, Progress())['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    patch = batch['patch'].float() / 255
    turns = torch.tensor([0.4, -0.4, 0.25, -0.25])
    truth = torch.stack([torch.zeros(4), torch.zeros(4), turns], dim=1)
    with torch.no_grad():
        found = poses_from_map(model, patch, truth)[:, -1, 2]
    assert (found * turns > 0).all()
    assert (found - turns).abs().mean() < 0.2


def test_refused_without_an_estimator():
    with pytest.raises(ConfigError, match='rotation: true'):
        make_objective('rotation', make_model('g2sweakly', {**SETTINGS, 'rotation': False}))
