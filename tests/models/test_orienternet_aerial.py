# SPDX-License-Identifier: Apache-2.0
"""OrienterNet on aerial images: sizes, what turns and shifts with what, learning, export."""

import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import parameter_count
from geoloc_core.models.belief import peak_pose
from geoloc_core.models.registry import make_model
from tests.models.export_parity import assert_exports
from tests.models.fixtures import batch_of, samples, with_prior
from training.objectives.base import Progress, run_model
from training.objectives.registry import make_objective

# Stride 2 with few layers.
TINY = {
    'view_width': 64, 'view_height': 32, 'patch_width': 48, 'patch_height': 40, 'patch_gsd': 1.0,
    'view_taps': ('stage1',), 'patch_taps': ('stage1',), 'width': 16, 'bev_blocks': 1,
    'reach_m': 8.0, 'scale_bins': 9, 'yaw_bins': 8, 'yaw_bins_evaluated': None,
}  # fmt: skip

PINHOLE = {'camera': 'pinhole', 'focal_px': (30.0, 30.0), 'center_px': (31.5, 15.5)}


def tiny(**settings):
    torch.manual_seed(0)
    model = make_model('orienternet_aerial', {**TINY, **settings}).eval()
    # Scores of fresh weights differ little from place to place; these differ as trained ones do.
    torch.nn.init.constant_(model.log_scale, 6.0)
    return model


def test_parameters_of_the_default_settings():
    """The publication names no figure for such encoders: the parts are counted out here."""
    model = make_model('orienternet_aerial')
    # EfficientNet-Lite0 to its last stage; laterals of 24, 40, 112, 320; a 3 x 3 and its norm.
    backbone = sum(p.numel() for p in model.view_encoder.backbone.parameters())
    encoder = backbone + (24 + 40 + 112 + 320 + 4) * 128 + 9 * 128**2 + 2 * 128
    block = 2 * 128 * 32 + 9 * 32**2 + 4 * 32 + 2 * 128
    heads = 129 * 33 + 2 * 129 * 9
    assert parameter_count(model) == 2 * encoder + 4 * block + heads + 1
    assert parameter_count(model) / 1e6 == pytest.approx(6.42, rel=0.002)


def test_shapes():
    model = tiny()
    out = model(torch.randn(2, 3, 32, 64), torch.randn(2, 3, 40, 48))
    assert out['scores'].shape == (2, 8, 20, 24)
    assert out['bev'].shape == (2, 8, 9, 9) and out['bev_confidence'].shape == (2, 1, 9, 9)
    belief = model.belief(out)
    assert belief.cell_m == 2.0 and belief.closed and belief.yaws.shape == (8,)
    asked = model(
        torch.randn(1, 3, 32, 64), torch.randn(1, 3, 40, 48), yaws=torch.tensor([-0.1, 0.0, 0.1])
    )
    assert model.belief(asked).logits.shape == (1, 3, 20, 24)
    assert not model.belief(asked).closed


def test_more_yaws_when_trained():
    model = tiny(yaw_bins_evaluated=12)
    pictures = torch.randn(2, 3, 32, 64), torch.randn(2, 3, 40, 48)
    assert model(*pictures)['scores'].shape[1] == 12
    assert model.train()(*pictures)['scores'].shape[1] == 8


def test_pinhole_shapes():
    model = tiny(**PINHOLE)
    assert model.inputs.turned == 'patch'
    out = model(torch.randn(1, 3, 32, 64), torch.randn(1, 3, 40, 48))
    assert out['scores'].shape == (1, 8, 20, 24) and out['bev'].shape == (1, 8, 9, 5)


def spread(scores):
    """Over places and yaws."""
    return (scores - scores.mean()).abs().max().item()


def test_rolled_panorama_turns_the_answer_counter_clockwise():
    model = tiny(bev_blocks=0, row_scales=True)
    view, patch = torch.randn(1, 3, 32, 64), torch.randn(1, 3, 40, 48)
    before = model(view, patch)['scores']
    # A quarter: two of eight bins.
    after = model(view.roll(16, dims=-1), patch)['scores']
    torch.testing.assert_close(after, before.roll(2, dims=1), atol=1e-3 * spread(before), rtol=0)


@pytest.mark.parametrize('camera', [{}, PINHOLE], ids=['panorama', 'pinhole'])
def test_shifted_patch_shifts_the_answer(camera):
    model = tiny(place_prior=False, **camera)
    view, wide = torch.randn(1, 3, 32, 64), torch.randn(1, 3, 60, 72)
    one = model(view, wide[..., 4:44, 6:54])['scores']
    # The second patch begins 6 px further right and 4 px further down: 3 and 2 cells.
    two = model(view, wide[..., 8:48, 12:60])['scores']
    # Away from the borders of either.
    inner = two[..., 7:10, 7:12]
    least = 1e-3 * spread(inner)
    torch.testing.assert_close(inner, one[..., 9:12, 10:15], atol=least, rtol=0)
    # Shifted the other way, it is no answer at all.
    assert (inner - one[..., 5:8, 4:9]).abs().max() > 100 * least


def test_calibration_widens_the_belief():
    model = tiny()
    out = model(torch.randn(1, 3, 32, 64), torch.randn(1, 3, 40, 48))
    sharp = model.belief(out).log_prob()
    with torch.no_grad():
        model.calibration['log_temperature'].fill_(1.0)
    wide = model.belief(out).log_prob()
    assert wide.max() < sharp.max() and wide.argmax() == sharp.argmax()


@pytest.mark.slow
def test_learns_to_find_and_to_turn():
    """One batch to under a cell: shifted patches and turned panoramas with their true poses."""
    torch.manual_seed(1)
    model = make_model(
        'orienternet_aerial',
        {
            'view_width': 128, 'view_height': 64, 'patch_width': 64, 'patch_height': 64,
            'patch_gsd': 1.0, 'weights': 'imagenet', 'view_taps': ('stage1', 'stage2'),
            'patch_taps': ('stage1', 'stage2'), 'width': 32, 'bev_blocks': 1, 'reach_m': 20.0,
            'scale_bins': 17, 'row_scales': True, 'yaw_bins': 12, 'yaw_bins_evaluated': None,
        },
    )  # fmt: skip
    first, second = samples(2)
    items = [
        with_prior(first, 6.0, -9.0, 0.6),
        with_prior(first, -11.0, 4.0, -2.0),
        with_prior(second, 3.0, 8.0, 2.5),
        with_prior(second, -5.0, -7.0, -0.9),
    ]
    batch = batch_of(model, items)
    objective = make_objective('volume', model)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        objective(batch, Progress())['loss'].backward()
        optimizer.step()
    with torch.no_grad():
        belief = model.eval().belief(run_model(model, batch))
    error = peak_pose(belief) - batch['truth']
    assert error[:, :2].norm(dim=1).max() < belief.cell_m
    turn = (error[:, 2] + math.pi).remainder(2 * math.pi) - math.pi
    assert turn.abs().max() < belief.yaw_step


@pytest.mark.parametrize(
    'camera',
    [pytest.param({}, id='panorama'), pytest.param(PINHOLE, id='pinhole', marks=pytest.mark.slow)],
)
def test_exports(camera):
    graph = assert_exports(tiny(**camera))
    assert len(graph) < 2_000_000


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'camera': 'fisheye'}, "camera is 'fisheye'"),
        ({'camera': 'pinhole'}, 'give both there'),
        ({'half_yaw_deg': 0.0}, 'half_yaw_deg is 0.0'),
        ({'yaw_bins': 2}, 'yaw_bins is 2, expected 3'),
        ({'view_width': 63}, 'whole number of cells of 2 px'),
    ],
)
def test_misuse_is_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        tiny(**settings)
