# SPDX-License-Identifier: Apache-2.0
"""G2SWeakly: sizes, geometry on rendered views, what shifts and turns do, learning, export."""

from dataclasses import replace
import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models import g2sweakly, template_matching
from geoloc_core.models.base import parameter_count
from geoloc_core.models.belief import mean_and_covariance
from geoloc_core.models.g2sweakly_settings import G2SWeaklySettings
from geoloc_core.models.ground_projection import GroundProjection
from geoloc_core.models.registry import make_model
from tests.models import fixtures
from tests.models.export_parity import assert_exports
from tests.models.test_feature_pyramids import Tokens
from training.loading import collate
from training.objectives.base import Progress, run_model
from training.objectives.registry import make_objective
from training.preparation import CrossViewPreparation

COMPACT = {
    'view_width': 128,
    'view_height': 64,
    'patch_width': 128,
    'patch_height': 112,
    'patch_gsd': 0.5,
    'backbone': 'efficientnet_lite0',
    'weights': 'imagenet',
    'deepest': 16,
    'levels': [2],
    'widths': [48, 32, 24, 4],
    'refine': True,
}
PINHOLE = {
    'camera': 'pinhole',
    'view_width': 96,
    'view_height': 64,
    'focal_px': [50.0, 50.0],
    'center_px': [47.5, 20.0],
    'camera_height_m': 1.65,
    'patch_width': 96,
    'patch_height': 64,
    'patch_gsd': 0.5,
    'backbone': 'efficientnet_lite0',
    'deepest': 16,
    'levels': [1, 2],
    'widths': [16, 12, 8, 4],
    'half_yaw_deg': 10.0,
    'yaw_bins': 11,
}
OFFSETS = [(3.0, -4.0), (-5.0, 2.0), (6.0, 5.0), (-2.0, -6.0)]


def displaced(count=4, turn=0.0):
    return [
        fixtures.with_prior(sample, *OFFSETS[i % 4], turn)
        for i, sample in enumerate(fixtures.samples(count))
    ]


def test_published_size():
    # Published: 4.77 M of 9.89 M take part at level 1; what takes no part is not built.
    model = make_model('g2sweakly')
    assert parameter_count(model) == pytest.approx(4.77e6, rel=0.02)
    assert parameter_count(model) < 9.89e6
    assert model.cell_m(1) == pytest.approx(4 * 0.14)
    # 128 cells, of which the template has 51: the search is 78 cells wide.
    assert model.ground['1'].size == (51, 51)


@pytest.mark.slow
def test_published_size_of_the_transformer_variant():
    pytest.importorskip('transformers')
    # ViT-B/14 once, frozen, and two DPT heads of 38.9 M with all three of their outputs.
    model = make_model('g2sweakly', {'backbone': 'dinov2_base', 'levels': [0, 1, 2]})
    assert parameter_count(model) == pytest.approx(164.4e6, rel=0.02)
    assert parameter_count(model.view_net) == pytest.approx(38.9e6, rel=0.02)
    # 512 px are resized to 37 tokens: 296 cells, of 512 / 296 px each.
    assert model.cell_m(2) == pytest.approx(0.14 * 512 / 296)


@pytest.mark.parametrize(
    ('level', 'template', 'search'), [(0, 25, 40), (1, 51, 78), (2, 102, 155)]
)
def test_published_search(level, template, search):
    settings = G2SWeaklySettings()
    cells = settings.patch_width // 2 ** (3 - level)
    assert int(cells * settings.template_share) == template
    assert cells - template + 1 == search


def test_shapes_and_levels():
    model = make_model('g2sweakly', PINHOLE).eval()
    with torch.no_grad():
        out = model(torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96))
        belief = model.belief(out)
    assert out['similarity_1'].shape == (2, 16 - 6 + 1, 24 - 9 + 1)
    assert out['similarity_2'].shape == (2, 32 - 12 + 1, 48 - 19 + 1)
    assert out['similarity_2'].abs().max() <= 1.0001
    assert out['template_2'].shape == (2, 8, 12, 19)
    assert out['confidence_2'].shape == out['template_mask_2'].shape == (2, 1, 12, 19)
    assert belief.logits.shape == (2, 11, 21, 30)
    assert belief.cell_m == 1.0
    assert belief.pose.shape == (2, 3)
    # Nothing is seen behind a pinhole.
    assert out['template_mask_2'][..., :9].sum() == 0
    assert out['template_mask_2'][..., 10:].sum() > 0


@pytest.mark.parametrize(('camera', 'seen'), [('equirectangular', (0, 6, 7)), ('pinhole', (6, 7))])
def test_colours_of_rendered_ground_fit_where_it_is(camera, seen):
    """No network at all: the ground as it is projected must be the map at the true pose."""
    pinhole = camera == 'pinhole'
    settings = G2SWeaklySettings(
        camera=camera,
        view_width=320,
        view_height=160,
        focal_px=(110.0, 110.0) if pinhole else None,
        center_px=(159.5, 40.0) if pinhole else None,
        patch_width=90,
        patch_height=84,
        patch_gsd=0.5,
    )
    inputs = replace(settings.inputs, camera_kinds=('equirectangular',))
    prepare = CrossViewPreparation(inputs)
    ground = GroundProjection((45, 45), 0.5, inputs.camera, inputs.view)
    weight = torch.exp(-(ground.x**2 + ground.y**2).sqrt() / 6)

    def errors(turn, sign):
        items = [displaced(8, -turn)[i] for i in seen]
        batch = collate([(item.key, prepare(item)) for item in items]).tensors
        assert batch['truth'][:, 2].tolist() == pytest.approx([turn] * len(seen), abs=1e-6)
        colours, mask = ground(batch['view'].float(), sign * batch['truth'][:, 2])
        weights = weight * mask
        mean = (colours * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True)
        patch = batch['patch'].float()
        scores = template_matching.correlate(
            patch - patch.mean((2, 3), keepdim=True), colours - mean, weights
        )
        best = template_matching.best_xy(scores, 0.5, refine=True)
        return (best - batch['truth'][:, :2]).norm(dim=1)

    assert errors(0.0, 1).max() < 0.3
    assert errors(0.35, 1).max() < 0.3
    assert errors(0.35, -1).min() > 3.0


@pytest.fixture(scope='module')
def fresh():
    """A model that has learned nothing."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return make_model('g2sweakly', COMPACT).eval()


@pytest.fixture(scope='module')
def fitted():
    """A model that knows four places, seen from two priors each."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = make_model('g2sweakly', COMPACT)
    away = [fixtures.with_prior(item, -2.0, 5.0) for item in displaced()]
    batch = fixtures.batch_of(model, [*displaced(), *away])
    objective = make_objective('g2sweakly_supervised', model).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(20):
        loss = objective(batch, Progress())['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def poses(model, items):
    with torch.no_grad():
        batch = fixtures.batch_of(model, items)
        return model.belief(run_model(model, batch)), batch['truth']


@pytest.mark.slow
def test_overfits_to_less_than_a_cell(fitted):
    belief, truth = poses(fitted, displaced())
    error = (belief.pose - truth)[:, :2].norm(dim=1)
    assert belief.cell_m == 1.0
    assert error.max() < 1.0
    _, cov = mean_and_covariance(belief, about=belief.pose)
    assert torch.isfinite(cov).all()


@pytest.mark.slow
def test_prior_further_east_moves_the_answer_west(fitted):
    before, _ = poses(fitted, displaced())
    items = [fixtures.with_prior(item, 3.0, -2.0) for item in displaced()]
    after, truth = poses(fitted, items)
    moved = (after.pose - before.pose)[:, :2].median(dim=0).values
    assert moved.tolist() == pytest.approx([-3.0, 2.0], abs=1.0)
    assert (after.pose - truth)[:, :2].norm(dim=1).median() < 1.5


@pytest.mark.slow
def test_pairs_and_places_known_to_a_cell_lead_to_that_cell():
    """The weak loss with its second term, whose box holds one cell: the true one."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    # Its layers' statistics stay, so that what is judged is what was taught.
    model = make_model('g2sweakly', {**COMPACT, 'refine': False}).eval()
    batch = fixtures.batch_of(model, displaced())
    settings = {'gps_weight': 1.0, 'gps_box_m': 0.5, 'label_noise_m': 0.0}
    objective = make_objective('g2sweakly', model, settings).eval()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    before, truth = poses(model, displaced())
    assert (before.pose - truth)[:, :2].norm(dim=1).max() > 4.0
    for _ in range(60):
        losses = objective(batch, Progress())
        if losses['gps'] == 0:
            break
        optimizer.zero_grad()
        losses['loss'].backward()
        optimizer.step()
    belief, _ = poses(model, displaced())
    assert belief.cell_m == 1.0
    assert (belief.pose - truth)[:, :2].norm(dim=1).max() < 1.0


def test_rolled_panorama_with_its_yaw_is_the_same(fresh):
    columns = 32
    turn = 2 * math.pi * columns / COMPACT['view_width']
    batch = fixtures.batch_of(fresh, displaced(1))
    view, patch = batch['view'] / 255 - 0.5, batch['patch'] / 255 - 0.5
    with torch.no_grad():
        plain = fresh(view, patch)
        turned = fresh(view.roll(columns, dims=-1), patch, yaw=torch.tensor([turn]))
        wrong = fresh(view.roll(columns, dims=-1), patch, yaw=torch.tensor([-turn]))
    right, off = (
        (out['similarity_2'] - plain['similarity_2']).abs().max() for out in (turned, wrong)
    )
    assert right < 1e-4
    assert off > 0.01
    assert fresh.belief(turned).pose[0, 2] == pytest.approx(turn)


def test_masked_features_and_confidence(fresh):
    view, patch = torch.randn(1, 3, 64, 128), torch.randn(1, 3, 112, 128)
    mask = torch.ones(1, 1, 64, 128)
    # The right half: everything east of the robot.
    mask[..., 64:] = 0.0
    with torch.no_grad():
        out = fresh(view, patch, view_feature_mask=mask)
        whole = fresh(view, patch, view_feature_mask=torch.ones_like(mask))
        plain = fresh(view, patch)
    torch.testing.assert_close(whole['similarity_2'], plain['similarity_2'])
    assert out['template_2'][..., 14:].abs().max() == 0
    assert out['confidence_2'][..., 14:].abs().max() == 0
    torch.testing.assert_close(out['template_2'][..., :11], plain['template_2'][..., :11])


def test_calibration_gets_no_gradient_from_published_losses(fresh):
    for name in ('g2sweakly', 'g2sweakly_supervised'):
        fresh.zero_grad()
        batch = fixtures.batch_of(fresh, displaced(2))
        make_objective(name, fresh)(batch, Progress())['loss'].backward()
        assert all(p.grad is None for p in fresh.calibration.values())
        assert any(p.grad is not None for p in fresh.view_net.parameters())
    fresh.zero_grad()


def test_fine_maps_are_pooled_about_the_middle():
    model = make_model('g2sweakly', {**COMPACT, 'weights': None, 'most_cells': 20}).eval()
    scores = torch.zeros(1, 34, 39)
    scores[0, 10, 30] = 1.0
    model.calibration['log_temperature'].data.fill_(math.log(0.01))
    belief = model.belief({'similarity_2': scores, 'yaw': torch.zeros(1)})
    assert belief.cell_m == 2.0
    assert max(belief.logits.shape[-2:]) <= 20
    mean = mean_and_covariance(belief)[0].detach()
    # Column 30 of 39 is 11 m right, row 10 of 34 6.5 m up.
    assert mean[0, 0] == pytest.approx(11.0, abs=0.05)
    assert mean[0, 1] == pytest.approx(6.5, abs=1.05)
    torch.testing.assert_close(belief.pose[0, :2], torch.tensor([11.0, 6.5]))


TRANSFORMER = {
    'backbone': 'dinov2_base',
    'view_width': 64,
    'view_height': 32,
    'patch_width': 64,
    'patch_height': 64,
    'patch_gsd': 0.5,
    'levels': [0, 2],
    'widths': [8, 6, 4, 4],
    'dpt_width': 16,
}


def test_transformer_variant(monkeypatch):
    monkeypatch.setattr(g2sweakly, 'make_backbone', lambda name, weights: Tokens())
    model = make_model('g2sweakly', TRANSFORMER)
    out = model(torch.rand(1, 3, 32, 64), torch.rand(1, 3, 64, 64))
    # 64 px are 5 tokens: 40 cells at level 2, whose side follows from the 32 m of the patch.
    assert model.cell_m(2) == pytest.approx(32 / 40)
    assert out['patch_features_2'].shape[-2:] == (40, 40)
    assert out['similarity_2'].shape == (1, 25, 25)
    out['similarity_2'].sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert not model.train().encoder.training
    with pytest.raises(ConfigError, match='not square'):
        make_model('g2sweakly', {**TRANSFORMER, 'patch_height': 48})


def test_rotation_estimator_gives_the_yaw(monkeypatch):
    model = make_model('g2sweakly', {**PINHOLE, 'rotation': True}).eval()
    view, patch = torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        out = model(view, patch)
        assert out['rotation_poses'].shape == (2, 3, 3)
        # An estimator that says 5 degrees at each of three levels.
        for step in model.rotation.steps.values():
            step.head.bias.data[2] = 0.5
        out = model(view, patch)
        belief = model.belief(out)
    assert out['yaw'].tolist() == pytest.approx([math.radians(15)] * 2)
    assert belief.pose[:, 2].tolist() == pytest.approx([math.radians(15)] * 2)
    assert belief.log_prob().exp().sum(dim=(2, 3)).argmax(dim=1).tolist() == [10, 10]


SMALL = {'backbone': 'vgg16', 'weights': None, 'deepest': 8, 'view_width': 64, 'view_height': 32}


@pytest.mark.parametrize(
    'settings',
    [
        {**COMPACT, **SMALL, 'patch_width': 64, 'patch_height': 48},
        pytest.param(
            {**PINHOLE, **SMALL, 'rotation': True, 'rotation_levels': [0], 'levels': [1]},
            marks=pytest.mark.slow,
        ),
    ],
    ids=['panorama', 'pinhole'],
)
def test_exports(settings):
    torch.manual_seed(0)
    model = make_model('g2sweakly', settings)
    if model.rotation is not None:
        torch.nn.init.normal_(model.rotation.steps['0'].head.weight, std=0.1)
    assert_exports(model)


@pytest.mark.slow
def test_transformer_variant_exports(monkeypatch):
    monkeypatch.setattr(g2sweakly, 'make_backbone', lambda name, weights: Tokens())
    torch.manual_seed(0)
    assert_exports(make_model('g2sweakly', {**TRANSFORMER, 'levels': [2]}))


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'camera': 'fisheye'}, 'camera'),
        ({'camera': 'pinhole'}, 'focal_px'),
        ({'rotation': True}, 'panoramas'),
        ({'levels': [4]}, 'levels'),
        ({'template_share': 1.0}, 'searched'),
        ({'yaw_bins': 2}, 'yaw_bins'),
        ({'shared': True}, 'shared'),
        ({'view_height': 300}, 'stride'),
        ({'patch_width': 500}, 'stride'),
    ],
)
def test_refusals(changed, words):
    with pytest.raises(ConfigError, match=words):
        make_model('g2sweakly', {'widths': [8, 8, 4, 4], **changed})
