# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
import math

import numpy as np
import pytest
import torch

from geoloc_core.geometry import se3
from geoloc_core.geometry.grid import Grid
from geoloc_core.models.belief import Belief, evenly_spaced_yaws
from geoloc_core.types import AerialPatch
from tests.models.fixtures import batch_of, samples, with_prior
from tests.training.evaluation.tiny import Tiny, Told
from training.visualization.attention import (
    anchor_at,
    attention_maps,
    attention_picture,
    has_attention,
    kept_attention,
)
from training.visualization.birds_eye import birds_eye_picture, feature_colours
from training.visualization.canvas import TRUTH
from training.visualization.grad_cam import grad_cam, grad_cam_picture
from training.visualization.heat_maps import aerial, matched, on_the_ground, yaw_dial
from training.visualization.looking import look
from training.visualization.semi_positives import semi_positive_picture


def seen_by(offset=(0.0, 0.0, 0.0), sample=None, extras=()):
    model, sample = Told(offset=offset), sample or samples(1)[0]
    model.truth = batch_of(model, [sample])['truth']
    return look(model, sample, extras)


def test_a_look_knows_errors_and_frame():
    sample = with_prior(samples(1)[0], 3.0, -2.0, 0.5)
    seen = seen_by((3.0, 4.0, math.radians(-20)), sample)
    assert seen.error_m == pytest.approx(5, abs=1e-4)
    assert seen.yaw_error_deg == pytest.approx(-20, abs=1e-3)
    # The robot looks north, up the patch, whatever its prior says.
    assert math.cos(seen.heading(seen.truth) - math.pi / 2) == pytest.approx(1)
    np.testing.assert_allclose(
        seen.frame.to_map(seen.truth)[:2], sample.T_map_base[:2, 3], atol=1e-4
    )
    assert seen.heat.shape == (24, 24) and seen.heat.sum() == pytest.approx(1, abs=1e-4)


def test_truth_is_drawn_where_it_is():
    seen = seen_by((-30.0, 0.0, 0.0))
    image = aerial(seen, 240)
    green = np.abs(image.astype(int) - TRUTH).max(axis=-1) < 40
    gsd = 48.0 / 240
    u, v = seen.truth[0] / gsd + 119.5, 119.5 - seen.truth[1] / gsd
    rows, columns = np.nonzero(green)
    # The arrow goes up from the dot.
    assert abs(rows.max() - v) <= 7 and abs(np.median(columns) - u) <= 7


def test_mask_and_heat_can_be_left_out():
    sample = samples(1)[0]
    classes = np.zeros(sample.patch.image.shape[:2], np.uint8)
    classes[:128] = 3
    seen = seen_by(sample=replace(sample, patch_classes=classes), extras=('patch_classes',))
    plain = aerial(seen, 120, heat=False)
    with_mask = aerial(seen, 120, heat=False, mask=True)
    assert np.abs(plain[100:].astype(int) - with_mask[100:]).max() == 0
    assert np.abs(plain[10:30].astype(int) - with_mask[10:30]).max() > 20
    assert matched(seen, 100).shape[1] > matched(seen_by(), 100).shape[1]


def test_the_dial_shows_where_yaw_is():
    image = yaw_dial(seen_by((0.0, 0.0, math.pi / 2)), 100)
    # Truth up (green), answer to the left (blue).
    assert image[20, 47:53, 1].max() > 150 and image[47:53, 15, 2].max() > 150


def test_ground_of_the_view_goes_on_at_the_truth():
    seen = seen_by((8.0, 0.0, 0.0))
    image = on_the_ground(seen, 160)
    assert image.shape == (182, 326, 3)
    assert np.abs(image[:, :160].astype(int) - image[:, 166:]).mean() > 1
    assert birds_eye_picture(Told(), seen, 100).shape[0] == 122


def test_the_ground_stays_where_the_camera_sees_it():
    image = on_the_ground(seen_by((8.0, 0.0, 0.0)), 160)
    sample = samples(1)[0]
    arm = se3.from_planar(1.5, 0.5, 0.0)
    away = se3.inverse(arm)
    mounted = replace(
        sample,
        view=replace(sample.view, T_base_camera=arm @ sample.view.T_base_camera),
        T_map_base=sample.T_map_base @ away,
        prior=replace(sample.prior, T_map_base=sample.prior.T_map_base @ away),
    )
    seen_so = seen_by((8.0, 0.0, 0.0), mounted)

    def differing(look):
        return np.mean(np.abs(on_the_ground(look, 160).astype(int) - image) > 8)

    # But for the rim, which is a circle around base_link.
    assert differing(seen_so) < 0.1
    assert differing(replace(seen_so, arm=-seen_so.arm)) > 0.2


def test_features_become_three_colours():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(8, 12, 20))
    features[:, :3] = 0
    image = feature_colours(features)
    assert image.shape == (12, 20, 3) and not image[:3].any() and image[4:].any(axis=-1).all()
    assert feature_colours(features[:1]).shape == (12, 20, 3)
    assert not feature_colours(np.zeros((4, 3, 5))).any()


class Corner(Tiny):
    """Believes in proportion to what its patch features say of the upper left quarter."""

    def __init__(self):
        super().__init__()
        torch.nn.init.constant_(self.patch_net.weight, 0.05)
        torch.nn.init.constant_(self.patch_net.bias, 1.0)

    def forward(self, view, patch, **extra):
        features = self.patch_net(patch)
        return {
            'score': features[:, :, :24, :24].mean(dim=(1, 2, 3)) + 0 * self.view_net(view).sum()
        }

    def belief(self, outputs):
        heat = torch.zeros(1, 3, 24, 24)
        heat[:, 1, 5, 5] = 1.0
        yaws = evenly_spaced_yaws(3, 10.0)
        return Belief(heat * outputs['score'][:, None, None, None], 2.0, yaws, False)


def test_grad_cam_finds_what_counts():
    seen, maps = grad_cam(Corner(), samples(1)[0])
    assert set(maps) == {'view', 'patch'}
    assert maps['patch'].shape == (48, 48) and maps['patch'].max() > 0
    assert maps['view'].shape == (32, 64) and maps['view'].max() == 0
    assert grad_cam_picture(seen, maps, 100).shape[0] == 122


def test_grad_cam_without_gradients_leaves_pictures_plain():
    model = Corner().requires_grad_(False)
    seen, maps = grad_cam(model, samples(1)[0])
    assert maps == {} and grad_cam_picture(seen, maps, 100).size


class Attentive(Told):
    """Keeps an attention of its own making, 3 x 4 anchors."""

    def __init__(self):
        super().__init__()
        self.keep_attention = False
        self.settings = type('S', (), {**vars(self.settings), 'anchors': (3, 4)})()

    def forward(self, view, patch, **extra):
        outputs = super().forward(view, patch)
        if self.keep_attention:
            weights = torch.full((1, 2, 8, 12, 12), 1 / 12)
            outputs |= {'attention_view': weights, 'attention_patch': weights}
        return outputs


def test_attention_is_kept_only_while_it_is_wanted():
    model, sample = Attentive(), samples(1)[0]
    model.truth = batch_of(model, [sample])['truth']
    assert has_attention(model) and not has_attention(Told())
    with kept_attention(model):
        seen = look(model, sample)
    assert 'attention_view' not in look(model, sample).outputs
    assert attention_picture(seen, (3, 4), 100).shape[2] == 3


def test_attention_of_one_anchor():
    weights = np.full((1, 2, 12, 12), 0.0)
    weights[:, :, :, 0] = 1.0
    weights[:, :, 7] = np.eye(12)[5]
    assert attention_maps(weights, (3, 4), 7)[0, 1, 1] == 1
    assert attention_maps(weights, (3, 4))[0, 0, 0] == pytest.approx(11 / 12)
    assert anchor_at(np.array([399.0, 0.0]), (400, 300), (3, 4)) == 3
    assert anchor_at(np.array([0.0, 299.0]), (400, 300), (3, 4)) == 8


def test_tiles_that_show_the_place():
    sample = samples(1)[0]
    patch = sample.patch
    grid = patch.grid
    east = Grid((grid.center_xy[0] + 20.0, grid.center_xy[1]), grid.gsd, grid.width, grid.height)
    model = Told()
    model.truth = batch_of(model, [sample])['truth']
    other = replace(sample, other_patches=(AerialPatch(patch.image, patch.mask, east),))
    assert semi_positive_picture(model, sample) is None
    assert semi_positive_picture(model, other, 100).shape == (100 + 122, 206, 3)
