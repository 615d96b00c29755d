# SPDX-License-Identifier: Apache-2.0
"""HC-Net: sizes, signs, what follows from which homography, and what it then believes."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import parameter_count
from geoloc_core.models.belief import interpolated, negative_log_likelihood, peak_pose
from geoloc_core.models.homography import corners_of
from geoloc_core.models.registry import make_model
from tests.models.export_parity import assert_exports

SMALL = {
    'view_width': 96,
    'view_height': 40,
    'patch_width': 64,
    'patch_height': 48,
    'patch_gsd': 0.5,
    'bev_width': 48,
    'bev_height': 64,
    'backbone': 'efficientnet_lite0',
    'tap': 'stage3',
    'width': 16,
    'iterations': 3,
    'yaw_bins': 9,
    'cell_px': 4,
}
FRONT = {
    **SMALL,
    'camera': 'pinhole',
    'focal_px': (50.0, 45.0),
    'center_px': (47.0, 18.0),
    'camera_height_m': 1.65,
    'bev_gsd': 0.25,
    'start': 'metric',
}
# As if calibrated: what a network that has learned states.
SHARP = {'log_temperature': 4.0, 'log_sigma_m': 1.0, 'log_kappa': 300.0, 'log_kappa_astray': 3.0}


def small(seed=0, **settings):
    torch.manual_seed(seed)
    model = make_model('hc_net', {**SMALL, **settings}).eval()
    for name, value in SHARP.items():
        nn.init.constant_(model.calibration[name], math.log(value))
    return model


def pictures(model, batch=2):
    view, patch = model.inputs.view, model.inputs.patch
    return (
        torch.randn(batch, 3, view.height, view.width),
        torch.randn(batch, 3, patch.height, patch.width),
    )


class Moves(nn.Module):
    """Moves all corners the same way in the first iteration, and rests from then on."""

    def __init__(self, moves):
        super().__init__()
        self.moves, self.calls = moves, 0

    def forward(self, x):
        self.calls += 1
        still = torch.zeros(x.shape[0], 4, 2)
        return still + self.moves if self.calls == 1 else still


def still(model):
    nn.init.zeros_(model.update.last.weight)
    nn.init.zeros_(model.update.last.bias)
    return model


# ---- sizes ----


def test_has_the_published_parameters_but_for_the_classifiers_nobody_runs():
    model = make_model('hc_net')
    count = parameter_count(model)
    # Head of 1280 channels with its norm, 1000 classes with their biases; in both branches.
    classifiers = 2 * (320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000)
    assert count == 7_823_866
    assert (count + classifiers) / 1e6 == pytest.approx(11.21, rel=1e-3)
    assert parameter_count(model.update) == 633_090


@pytest.mark.parametrize('settings', [SMALL, FRONT])
def test_shapes_of_oblong_pictures(settings):
    model = small(**settings)
    view, patch = pictures(model)
    with torch.no_grad():
        outputs = model(view, patch)
        belief = model.belief(outputs)
    assert {name: tuple(t.shape) for name, t in outputs.items()} == {
        'corners': (2, 3, 4, 2),
        'positions': (2, 3, 2),
        'yaws': (2, 3),
        'match': (2, 6, 8),
    }
    assert model.bird_eye(view).shape == (2, 3, 64, 48)
    assert belief.logits.shape == (2, 9, 12, 16)
    assert belief.cell_m == 2.0 and belief.pose.shape == (2, 3)
    torch.testing.assert_close(belief.log_prob().exp().sum(dim=(1, 2, 3)), torch.ones(2))


def test_one_backbone_serves_both_pictures_if_asked_to():
    one, two = small(siamese=True), small()
    assert parameter_count(two) - parameter_count(one) == parameter_count(one.view_net)


# ---- what homographies say ----


@pytest.mark.parametrize('settings', [SMALL, {**SMALL, 'start': 'metric'}, FRONT])
def test_bird_s_eye_view_that_lies_where_the_prior_says_gives_the_prior(settings):
    """No half pixel anywhere: even sides, one rule."""
    model = still(small(**settings))
    with torch.no_grad():
        outputs = model(*pictures(model))
    torch.testing.assert_close(outputs['positions'], torch.zeros(2, 3, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs['yaws'], torch.zeros(2, 3), atol=1e-5, rtol=0)


def test_metric_start_lays_the_ground_to_scale():
    panorama = still(small(start='metric'))
    with torch.no_grad():
        corners = panorama(*pictures(panorama))['corners'][0, 0]
        front = still(small(**FRONT))
        ahead = front(*pictures(front))['corners'][0, 0]
    half_m = 11.43 * 2.0 * (63 / 64)
    assert (corners[2, 1] - corners[0, 1]) / 2 * 0.5 == pytest.approx(half_m, rel=1e-3)
    # 48 x 64 px of 0.25 m on a patch of 0.5 m: 12 m ahead (to the right), 8 m to either side.
    expected = torch.tensor([[32.0, 8.0], [55.5, 8.0], [32.0, 39.5], [55.5, 39.5]]) - 0.25
    torch.testing.assert_close(ahead, expected)


@pytest.mark.parametrize('settings', [SMALL, FRONT])
def test_signs_of_shift_and_turn(settings):
    model = small(**{**settings, 'start': 'metric'})
    angle = 0.3
    c, s = math.cos(angle), math.sin(angle)
    start = model.start_corners
    middle = torch.tensor([31.5, 23.5])
    # Rows run down: counter-clockwise on the map.
    turn = torch.tensor([[c, -s], [s, c]])
    there = (start - middle) @ turn + middle + torch.tensor([6.0, 10.0])
    model.update = Moves((there - start) / model.stride)
    with torch.no_grad():
        belief = model.belief(model(*pictures(model)))
    # 6 px to the right is 3 m east; 10 px down is 5 m to the south.
    expected = torch.tensor([3.0, -5.0, angle]).expand(2, 3)
    torch.testing.assert_close(belief.pose, expected, atol=1e-4, rtol=0)


def test_a_turn_past_half_a_circle_is_wrapped():
    model = small(start='metric')
    middle = torch.tensor([31.5, 23.5])
    model.update = Moves(2 * (middle - model.start_corners) / model.stride)
    with torch.no_grad():
        yaw = model(*pictures(model))['yaws']
    torch.testing.assert_close(yaw.abs(), torch.full((2, 3), math.pi), atol=1e-5, rtol=0)


class Cells(nn.Module):
    """Features that are the picture itself, shrunk to cells."""

    def forward(self, image):
        return [F.avg_pool2d(image, 8)]


class Seeker(nn.Module):
    """Moves all corners by the middle of the correlations seen around the cells."""

    def __init__(self, radius):
        super().__init__()
        self.radius = radius

    def forward(self, x):
        side = 2 * self.radius + 1
        window = x[:, : side**2].mean(dim=(2, 3)).view(-1, side, side)
        weights = F.softmax(window.flatten(1) / window.amax().clamp(min=1e-6) * 60, dim=1)
        steps = torch.arange(side) - float(self.radius)
        v, u = torch.meshgrid(steps, steps, indexing='ij')
        move = weights @ torch.stack([u, v], dim=-1).flatten(0, 1)
        return move[:, None].expand(-1, 4, -1)


def test_shifting_the_patch_shifts_the_answer():
    """Look-up, pyramid and homography together, on features whose match is known."""
    model = small(
        patch_width=96, patch_height=80, bev_width=96, bev_height=80, levels=1, iterations=4
    )
    model.view_net, model.patch_net, model.transform = Cells(), Cells(), nn.Identity()
    model.update = Seeker(radius=4)
    torch.manual_seed(3)
    world = F.interpolate(torch.randn(1, 3, 16, 18), scale_factor=8)
    here = world[..., 24 : 24 + 80, 24 : 24 + 96]
    for du, dv in ((0, 0), (2, -1), (-3, 2)):
        top, left = 24 - 8 * dv, 24 - 8 * du
        patch = world[..., top : top + 80, left : left + 96]
        with torch.no_grad():
            outputs = model(here, patch)
        # What is in the patch has moved by (du, dv) cells of 4 m; rows run south.
        expected = torch.tensor([[4.0 * du, -4.0 * dv]])
        torch.testing.assert_close(outputs['positions'][:, -1], expected, atol=0.4, rtol=0)
        torch.testing.assert_close(outputs['yaws'][:, -1], torch.zeros(1), atol=1e-4, rtol=0)


# ---- belief ----


def outputs_at(model, x, y, yaw, hot=None, strength=40.0):
    """Outputs of a homography at a pose, and a correlation with one hot cell (row, column)."""
    match = torch.zeros(1, 6, 8)
    if hot is not None:
        match[0, hot[0], hot[1]] = strength
    return {
        'positions': torch.tensor([[[9.0, 9.0], [x, y]]]),
        'yaws': torch.tensor([[2.0, yaw]]),
        'match': match,
    }


def test_belief_is_high_at_the_homography_s_pose():
    model = small(patch_gsd=0.25)
    truth = torch.tensor([[3.3, -2.1, 0.21]])
    belief = model.belief(outputs_at(model, 3.3, -2.1, 0.21))
    torch.testing.assert_close(belief.pose, truth)
    torch.testing.assert_close(peak_pose(belief)[:, :2], truth[:, :2], atol=0.2, rtol=0)
    nll = negative_log_likelihood(belief, truth)
    for wrong in ([3.3, 2.1, 0.21], [-3.3, -2.1, 0.21], [3.3, -2.1, -0.5]):
        assert negative_log_likelihood(belief, torch.tensor([wrong])) > nll + 1


def test_where_the_homography_is_not_trusted_the_heat_map_speaks():
    model = small(patch_gsd=0.25)
    nn.init.constant_(model.calibration['trust'], -8.0)
    # Row 1 of 6 lies 1.5 cells of 2 m north, column 6 of 8 lies 2.5 east.
    belief = model.belief(outputs_at(model, 0.0, 0.0, 0.1, hot=(1, 6)))
    found = peak_pose(belief)[0]
    torch.testing.assert_close(found[:2], torch.tensor([5.0, 3.0]), atol=0.5, rtol=0)


def test_heat_map_of_a_front_view_counts_from_the_camera_not_from_what_it_sees():
    """The bird's-eye view's middle lies 6 m ahead of the camera, whichever way that is."""
    model = small(**{**FRONT, 'patch_gsd': 0.25, 'half_yaw_deg': 180.0})
    nn.init.constant_(model.calibration['trust'], -8.0)
    yaw = math.pi / 2
    at = model.match_cells(torch.tensor([[1.0, -3.0]]), torch.tensor([yaw]))
    # 1 m east and 6 - 3 m north of the middle, in cells of 2 m.
    torch.testing.assert_close(at, torch.tensor([[3.5 + 0.5, 2.5 - 1.5]]))
    belief = model.belief(outputs_at(model, 0.0, 0.0, yaw, hot=(1, 4)))
    assert belief.closed
    found = peak_pose(belief)[0]
    torch.testing.assert_close(found[:2], torch.tensor([1.0, -3.0]), atol=0.5, rtol=0)


def test_a_wild_pose_leaves_a_finite_belief():
    model = small()
    belief = model.belief(outputs_at(model, 1e4, -1e4, 3.0))
    assert belief.logits.isfinite().all()
    nll = negative_log_likelihood(belief, torch.tensor([[0.0, 0.0, 0.0]]))
    nll.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.calibration.values())


def test_all_calibration_can_be_fitted_and_confidence_counts():
    model = small()
    outputs = outputs_at(model, 4.0, 2.0, 0.0, hot=(1, 5))
    truth = torch.tensor([[3.0, 3.0, 0.1]])
    negative_log_likelihood(model.belief(outputs), truth).sum().backward()
    assert all(p.grad.abs() > 0 for p in model.calibration.values())
    nn.init.constant_(model.calibration['trust_per_confidence'], 2.0)

    def at_pose(hot):
        belief = model.belief(outputs_at(model, 4.0, 2.0, 0.0, hot=hot))
        return interpolated(belief, belief.log_prob().exp(), belief.pose)

    assert at_pose((2, 4)) > at_pose((5, 0))


def test_a_pose_off_the_patch_is_not_taken_for_a_sure_one():
    model = small()
    nn.init.constant_(model.calibration['trust_per_confidence'], 1.0)
    belief = model.belief(outputs_at(model, 500.0, 0.0, 0.0, hot=(1, 1), strength=80.0))
    places = belief.log_prob().exp().sum(dim=1)[0]
    # The hot cell is two of the belief's wide.
    assert places[2:4, 2:4].sum() > 0.5
    assert places[:, -1].sum() < 0.1


# ---- export and errors ----


def test_exported_graph_gives_the_same_volume():
    # One backbone, and a short one: what is at stake is what comes after it.
    assert_exports(small(iterations=2, siamese=True, tap='stage2'))


@pytest.mark.slow
def test_exported_graph_of_a_front_view_gives_the_same_volume():
    assert_exports(small(**{**FRONT, 'iterations': 1, 'half_yaw_deg': 180.0}))


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        ({'camera': 'fisheye'}, 'camera is'),
        ({'camera': 'pinhole'}, 'focal_px and center_px'),
        ({'focal_px': (1.0, 1.0), 'center_px': (1.0, 1.0)}, 'neither for a panorama'),
        ({'start': 'zero'}, 'start is'),
        ({'cell_px': 5}, 'cell_px 5'),
        ({'patch_width': 60}, 'multiple of the stride'),
        ({'bev_height': 8}, 'at least two'),
        ({'iterations': 0}, 'iterations is 0'),
        ({'width': 12}, 'multiple of 8'),
        ({'tap': 'stage9'}, 'stage9'),
        ({'bev_fov_deg': 190.0}, 'between 0'),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings, said):
    with pytest.raises(ConfigError, match=said):
        small(**settings)


def test_corners_keep_their_order():
    model = still(small())
    with torch.no_grad():
        corners = model(*pictures(model))['corners'][0, 0]
    torch.testing.assert_close(corners, corners_of(64, 48))
