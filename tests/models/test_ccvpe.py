# SPDX-License-Identifier: Apache-2.0
"""CCVPE: sizes, what turning and shifting do, what it believes, and that it learns."""

from dataclasses import replace
import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.backbones.circular import make_circular
from geoloc_core.models.base import parameter_count
from geoloc_core.models.belief import (
    mean_and_covariance,
    negative_log_likelihood,
    peak_pose,
)
from geoloc_core.models.ccvpe import Ccvpe
from geoloc_core.models.ccvpe_settings import CcvpeSettings, KITTI
from geoloc_core.models.registry import make_model
from tests.models.export_parity import assert_exports, PlainBackbone
from tests.models.fixtures import batch_of, samples, with_prior
from training.objectives.base import Progress, run_model
from training.objectives.registry import make_objective

SMALL = CcvpeSettings(
    backbone='efficientnet_lite0',
    view_size=(128, 64),
    patch_side=128,
    patch_gsd=0.5,
    bins=4,
    view_bins=4,
    descriptor_channels=(16, 8, 8, 4, 2, 2),
    first_width=64,
    orientation_widths=(64, 32, 16, 16, 8, 8),
    yaw_bins=12,
)
PINHOLE = replace(
    SMALL,
    camera='pinhole',
    focal_px=(64.0, 60.0),
    center_px=(63.0, 31.0),
    bins=16,
    view_bins=4,
    descriptor_channels=(2, 2, 1, 1, 1, 1),
)
# Each backbone of the authors keeps its classifier, 1280 x 1000 + 1000, and never uses it.
UNUSED = 2 * 1_281_000


def small(seed=0, **settings):
    torch.manual_seed(seed)
    return Ccvpe(replace(SMALL, **settings)).eval()


def pictures(model, batch=1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    view, patch = model.inputs.view, model.inputs.patch
    return tuple(
        torch.randn(batch, raster.channels, raster.height, raster.width, generator=generator)
        for raster in (view, patch)
    )


def test_has_the_published_parameters():
    with torch.device('meta'):
        count = parameter_count(Ccvpe(CcvpeSettings()))
    assert count + UNUSED == 57_396_803
    assert count + UNUSED == pytest.approx(57.40e6, rel=0.02)


def test_published_sizes():
    model = Ccvpe(CcvpeSettings()).eval()
    with torch.no_grad():
        outputs = model(*pictures(model))
    assert [tuple(outputs[f'scores_{i}'].shape[1:]) for i in range(6)] == [
        (20, s, s) for s in (8, 16, 32, 64, 128, 256)
    ]
    assert outputs['heat'].shape == (1, 512, 512)
    assert outputs['direction'].shape == (1, 2, 512, 512)
    lengths = [20 * n for n in model.settings.descriptor_channels]
    assert lengths == [1280, 640, 320, 160, 80, 40]


def test_published_sizes_for_kitti():
    with torch.device('meta'):
        model = Ccvpe(KITTI)
    columns = model.descriptor_columns
    assert [columns * n for n in KITTI.descriptor_channels] == [512, 256, 128, 64, 32, 32]
    assert model.cells.out_channels == 2048 and len(model.match.turns) == 16


def test_backbone_by_name_takes_offline_weights():
    model = small(weights='imagenet', with_mask=True)
    assert model.inputs.view.channels == 4
    with torch.no_grad():
        assert model(*pictures(model))['heat'].shape == (1, 128, 128)
    with pytest.raises(ConfigError, match='stride 32'):
        Ccvpe(replace(SMALL, backbone='vgg16'))


# ---- equivariance ----


def turns_in_order(model, scores):
    """Similarities from the most clockwise turn to the most counter-clockwise one."""
    return scores[:, torch.argsort(model.match.turns)]


def test_rolling_the_panorama_turns_the_answer_exactly():
    """With any weights: all similarities move on by one turn, the heat map stays."""
    model = small()
    view, patch = pictures(model)
    quarter = view.shape[3] // 4
    with torch.no_grad():
        before = model(view, patch)
        after = model(view.roll(quarter, dims=3), patch)
    for level in range(6):
        a, b = (turns_in_order(model, o[f'scores_{level}']) for o in (before, after))
        # Content further right: turned counter-clockwise, the next turn up.
        torch.testing.assert_close(b, a.roll(1, dims=1), rtol=1e-3, atol=1e-5)
        assert (b - a.roll(-1, dims=1)).abs().max() > 1e-3
    torch.testing.assert_close(after['heat'], before['heat'], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('settings', [SMALL, PINHOLE], ids=['panorama', 'pinhole'])
def test_shifting_the_patch_shifts_the_answer_exactly(settings):
    """With any weights, where the patch's columns wrap too and no edge is in the way."""
    model = make_circular(small(**vars(settings)))
    assert isinstance(model, Ccvpe)
    view, patch = pictures(model)
    with torch.no_grad():
        before = model(view, patch)
        after = model(view, patch.roll(64, dims=3))
    torch.testing.assert_close(after['heat'], before['heat'].roll(64, dims=2))
    torch.testing.assert_close(after['direction'], before['direction'].roll(64, dims=3))
    moved = (model.belief(after).pose - model.belief(before).pose)[0]
    side = 128 * 0.5
    assert moved[0].item() % side == pytest.approx(32.0, abs=1e-3)
    assert moved[1:].tolist() == pytest.approx([0.0, 0.0], abs=1e-3)


def test_a_prior_on_yaw_uses_the_same_weights():
    whole, narrow, known = small(), small(half_yaw_deg=90.0), small(half_yaw_deg=2.0)
    narrow.load_state_dict(whole.state_dict())
    known.load_state_dict(whole.state_dict())
    view, patch = pictures(whole)
    with torch.no_grad():
        scores = whole(view, patch)['scores_0']
        torch.testing.assert_close(narrow(view, patch)['scores_0'], scores[:, [0, 1, 3]])
        outputs = known(view, patch)
    torch.testing.assert_close(outputs['scores_0'], scores[:, :1])
    belief = known.belief(outputs)
    assert not belief.closed and belief.yaws[-1].item() == pytest.approx(math.radians(2))


def test_mask_of_columns():
    model = small()
    view, patch = pictures(model, batch=2)
    with torch.no_grad():
        whole = model(view, patch)
        ones = model(view, patch, descriptor_mask=torch.ones(2, model.descriptor_columns))
        mask = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
        part = model(view, patch, descriptor_mask=mask)
    torch.testing.assert_close(ones['heat'], whole['heat'], rtol=1e-3, atol=1e-4)
    assert (part['scores_3'][0] - whole['scores_3'][0]).abs().max() > 1e-3
    torch.testing.assert_close(part['heat'][1], whole['heat'][1], rtol=1e-3, atol=1e-4)


# ---- belief ----


def outputs_at(model, row, column, yaw, width=1.5):
    side = model.settings.patch_side
    v, u = torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij')
    heat = -((v - row) ** 2 + (u - column) ** 2) / (2 * width**2)
    field = torch.tensor([math.cos(yaw), math.sin(yaw)]).view(1, 2, 1, 1)
    return {'heat': heat[None].float(), 'direction': field.expand(1, 2, side, side)}


@pytest.mark.parametrize('settings', [{}, {'patch_side': 512, 'patch_gsd': 0.14}])
def test_belief_has_the_pose_of_the_highest_pixel(settings):
    model = small(**settings)
    side, gsd = model.settings.patch_side, model.settings.patch_gsd
    row, column = side // 4, side // 2 + side // 8
    yaw = math.radians(90)
    belief = model.belief(outputs_at(model, row, column, yaw, width=side / 80))
    x, y = (column - (side - 1) / 2) * gsd, ((side - 1) / 2 - row) * gsd
    # Right of the middle, above it, turned to the left.
    assert x > 0 and y > 0
    assert belief.pose[0].tolist() == pytest.approx([x, y, yaw], abs=1e-5)
    assert belief.logits.shape == (1, 12, 128, 128)
    assert belief.cell_m * 128 == pytest.approx(side * gsd)
    peak, (mean, cov) = peak_pose(belief)[0], mean_and_covariance(belief)
    assert peak.tolist() == pytest.approx([x, y, yaw], abs=0.6 * belief.cell_m)
    assert mean[0].tolist() == pytest.approx([x, y, yaw], abs=0.1)
    assert torch.linalg.eigvalsh(cov).min() > 0


def test_belief_leaves_yaw_open_as_far_as_its_calibration_says():
    model = small()
    outputs = outputs_at(model, 60, 60, 0.0)
    spreads = []
    for astray in (-6.0, 3.0):
        with torch.no_grad():
            model.calibration['astray'].fill_(astray)
        spreads.append(mean_and_covariance(model.belief(outputs))[1][0, 2, 2].item())
        assert model.belief(outputs).log_prob().exp().sum().item() == pytest.approx(1.0, abs=1e-4)
    assert spreads[0] < 0.2 < 2.0 < spreads[1]


def test_calibration_has_finite_gradients_however_sharp_the_map():
    model = small(patch_side=256)
    outputs = outputs_at(model, 60, 60, 0.3, width=0.4)
    outputs['direction'] = outputs['direction'].clone().requires_grad_()
    belief = model.belief(outputs)
    negative_log_likelihood(belief, belief.pose + 2.0).sum().backward()
    for parameter in model.calibration.values():
        assert parameter.grad.isfinite() and parameter.grad != 0
    assert outputs['direction'].grad.isfinite().all()


@pytest.mark.parametrize(
    'settings',
    [
        pytest.param(SMALL, id='panorama'),
        pytest.param(PINHOLE, id='pinhole', marks=pytest.mark.slow),
    ],
)
def test_exports(settings, monkeypatch):
    monkeypatch.setattr('geoloc_core.models.ccvpe.make_backbone', lambda *_, **__: PlainBackbone())
    torch.manual_seed(0)
    model = Ccvpe(settings).eval()
    assert model.inputs.turned == ('view' if settings is SMALL else 'patch')
    assert_exports(model)


@pytest.mark.slow
def test_exports_with_its_backbone():
    assert_exports(small())


@pytest.mark.parametrize(
    ('wrong', 'named'),
    [
        ({'camera': 'fisheye'}, "'fisheye'"),
        ({'view_size': (100, 64)}, r'\[100, 64\]'),
        ({'patch_side': 96}, 'patch_side is 96'),
        ({'bins': 5, 'view_bins': 5}, 'view_bins is 5'),
        ({'bins': 8}, 'view_bins is 4 of 8'),
        ({'focal_px': (1.0, 1.0)}, 'focal_px'),
        ({'half_yaw_deg': 200.0}, 'half_yaw_deg is 200'),
        ({'descriptor_channels': (4, 2)}, '6 levels'),
    ],
)
def test_settings_that_cannot_be_are_named(wrong, named):
    with pytest.raises(ConfigError, match=named):
        replace(SMALL, **wrong)


# ---- learning ----


# Cells of 1 m, for speed.
COARSE = {'patch_side': 64, 'patch_gsd': 1.0}


def taught(items_of, steps, seed=0):
    """A small network after some steps, each on the samples that `items_of(rng)` gives."""
    torch.manual_seed(seed)
    model = make_model('ccvpe', {**vars(SMALL), **COARSE, 'weights': 'imagenet'})
    objective = make_objective('ccvpe', model, {'sigma_px': 1.0})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1, 2 - 2 * i / steps))
    rng = np.random.default_rng(seed)
    for step in range(steps):
        loss = objective(batch_of(model, items_of(rng)), Progress(step, steps))['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def errors(model, items):
    """(B,) metres, (B,) rad of the published estimate."""
    batch = batch_of(model, items)
    with torch.no_grad():
        away = model.belief(run_model(model, batch)).pose - batch['truth']
    return away[:, :2].norm(dim=1), torch.atan2(away[:, 2].sin(), away[:, 2].cos()).abs()


@pytest.mark.slow
def test_learns_one_batch_by_heart():
    rng = np.random.default_rng(4)
    items = [
        with_prior(sample, *rng.uniform(-8, 8, 2), yaw)
        for sample, yaw in zip(samples(4), (-2.4, -0.7, 0.3, 1.6), strict=True)
    ]
    position, yaw = errors(taught(lambda _: items, 90), items)
    assert position.max() < COARSE['patch_gsd']
    assert yaw.max() < math.radians(10)


@pytest.mark.slow
def test_follows_a_prior_it_has_not_seen():
    """The patch is cut elsewhere and the panorama comes rolled otherwise: the answer moves."""
    place = samples(1)[0]

    def moved(rng):
        return [
            with_prior(place, *rng.uniform(-8, 8, 2), rng.uniform(-0.5, 0.5)) for _ in range(4)
        ]

    model = taught(moved, 80)
    poses = ((-6.0, 5.0, 0.4), (6.0, 6.5, -0.4), (4.0, -6.5, 0.2), (-3.0, -4.0, 0.0))
    tests = [with_prior(place, *pose) for pose in poses]
    position, _ = errors(model, tests)
    assert (position < COARSE['patch_gsd']).sum() >= 3
    # No constant answer would do.
    assert batch_of(model, tests)['truth'][:, :2].std(dim=0).min() > 4.0
