# SPDX-License-Identifier: Apache-2.0
"""GeoDistill: the estimator's yaw turns what the localizer matches, and both make one belief."""

import math

import pytest
import torch

from geoloc_core.errors import BundleError, ConfigError
from geoloc_core.models.backbones.circular import make_circular
from geoloc_core.models.base import normalise, parameter_count
from geoloc_core.models.belief import mean_and_covariance
from geoloc_core.models.g2sweakly import G2SWeakly
from geoloc_core.models.geodistill import GeoDistill, GeoDistillSettings
from geoloc_core.models.orientation_estimator import OrientationSettings
from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import load_into, save_weights
from tests.models.export_parity import assert_exports, PlainBackbone
from tests.models.fixtures import batch_of, samples, with_prior
from training.objectives.base import LOSS, Progress, run_model
from training.objectives.registry import make_objective

LOCALIZER = {
    'view_width': 128,
    'view_height': 64,
    'patch_width': 112,
    'patch_height': 96,
    'patch_gsd': 0.6,
    'backbone': 'efficientnet_lite0',
    'deepest': 16,
    'levels': (0, 1),
    'widths': (16, 12, 8, 4),
}
ESTIMATOR = {'backbone': 'efficientnet_lite0', 'classes': 36, 'hidden': (16, 8), 'window': 3}


def tiny(half_yaw_deg=180.0, orientation=ESTIMATOR, **localizer):
    torch.manual_seed(0)
    settings = {
        'localizer': {**LOCALIZER, **localizer},
        'orientation': orientation,
        'half_yaw_deg': None if orientation is None else half_yaw_deg,
    }
    return make_model('geodistill', settings).eval()


def answering(model, yaw):
    """The model with an estimator that is sure of a yaw."""
    model.orientation.forward = lambda view, patch: model.orientation.classes.soft_labels(
        torch.full((len(view),), yaw)
    ).log()
    return model


def test_published_sizes():
    """The estimator's count is explained in its own tests; the rest is G2SWeakly's."""
    model = GeoDistill(GeoDistillSettings())
    assert model.settings.localizer.levels == (0, 2)
    alone = parameter_count(G2SWeakly(model.settings.localizer))
    assert parameter_count(model) == alone + parameter_count(model.orientation)
    assert parameter_count(model) == pytest.approx(62.24e6, rel=2e-3)


def test_settings_come_back_from_a_file():
    model = tiny(45.0)
    again = make_model('geodistill', model.settings_dict)
    assert again.settings == model.settings
    assert isinstance(again.settings.orientation, OrientationSettings)
    without = make_model('geodistill', {'localizer': LOCALIZER, 'orientation': None})
    assert make_model('geodistill', without.settings_dict).settings == without.settings
    assert without.orientation is None


def test_stages_hand_their_localizer_on(tmp_path):
    """From a G2SWeakly to a distilled localizer, and from that to the whole."""
    base, distilled, whole = make_model('g2sweakly', LOCALIZER), tiny(orientation=None), tiny()
    save_weights(tmp_path / 'base.safetensors', base)
    load_into(distilled.localizer, tmp_path / 'base.safetensors', 'localizer')
    save_weights(tmp_path / 'distilled.safetensors', distilled)
    load_into(whole.localizer, tmp_path / 'distilled.safetensors', 'localizer')
    for name, value in base.state_dict().items():
        assert torch.equal(whole.localizer.state_dict()[name], value)
    with pytest.raises(BundleError, match='name weights of the same system'):
        load_into(whole.localizer, tmp_path / 'distilled.safetensors')
    with pytest.raises(BundleError, match=r'lacks .*orientation'):
        load_into(whole, tmp_path / 'distilled.safetensors')


def test_a_turned_robot_is_where_it_was():
    """Content moved right is a robot turned counter-clockwise: a positive yaw undoes it."""
    # An eighth of a circle moves columns by whole cells of the localizer's features.
    columns, turn = 16, math.pi / 4
    torch.manual_seed(1)
    view, patch = torch.randn(2, 3, 64, 128), torch.randn(2, 3, 96, 112)
    model = tiny()
    with torch.no_grad():
        plain = answering(model, 0.0)(view, patch)
        turned = answering(model, turn)(view.roll(columns, dims=-1), patch)
        wrong = answering(model, -turn)(view.roll(columns, dims=-1), patch)
    for level in (0, 1):
        name = f'similarity_{level}'
        torch.testing.assert_close(turned[name], plain[name], atol=2e-3, rtol=1e-3)
        assert (wrong[name] - plain[name]).abs().max() > 0.02
    pose, expected = model.belief(turned).pose, model.belief(plain).pose
    torch.testing.assert_close(pose[:, :2], expected[:, :2])
    assert pose[:, 2].tolist() == pytest.approx([turn, turn], abs=1e-3)


def test_a_shifted_patch_shifts_the_answer():
    """By whole cells, whatever the yaw is: all similarities that have a counterpart."""
    # A cell of the deepest features: two and four cells of what is matched.
    columns, cells = 16, {0: 2, 1: 4}
    torch.manual_seed(2)
    view, patch = torch.randn(1, 3, 64, 128), torch.randn(1, 3, 96, 112)
    model = answering(tiny(), 0.6)
    # Columns that wrap: what leaves on the right is seen on the left.
    make_circular(model.localizer.patch_net)
    with torch.no_grad():
        before = model(view, patch)
        after = model(view, patch.roll(columns, dims=-1))
    for level, shift in cells.items():
        a, b = before[f'similarity_{level}'], after[f'similarity_{level}']
        # The first ones after have no counterpart, the last ones before neither.
        torch.testing.assert_close(b[..., shift:], a[..., :-shift], atol=1e-5, rtol=0)
        assert (b[..., :-shift] - a[..., shift:]).abs().max() > 0.02


def test_belief_joins_places_and_yaws():
    model = tiny()
    yaw = 3.0
    outputs = answering(model, yaw)(torch.randn(1, 3, 64, 128), torch.randn(1, 3, 96, 112))
    belief = model.belief(outputs)
    assert belief.closed
    assert belief.logits.shape[1] == 36
    p = belief.log_prob().exp()[0]
    assert p.sum().item() == pytest.approx(1.0, abs=1e-4)
    with torch.no_grad():
        mean, cov = mean_and_covariance(belief)
    assert mean[0, 2].item() == pytest.approx(yaw, abs=0.02)
    assert math.sqrt(cov[0, 2, 2]) == pytest.approx(belief.yaw_step, rel=0.1)
    scores = outputs['similarity_1'][0] / model.calibration['log_temperature'].exp()
    torch.testing.assert_close(
        p.sum(0).flatten(), scores.flatten().softmax(0), atol=1e-5, rtol=1e-3
    )
    assert belief.cell_m == pytest.approx(0.6 * 4)


def test_yaw_from_elsewhere_and_two_degrees_of_freedom():
    model = tiny(45.0)
    view, patch = torch.randn(2, 3, 64, 128), torch.randn(2, 3, 96, 112)
    outputs = model(view, patch, yaw=torch.tensor([0.3, -0.2]))
    assert 'yaw_logits' not in outputs
    pose = model.belief(outputs).pose
    assert pose[:, 2].tolist() == pytest.approx([0.3, -0.2])
    known = tiny(orientation=None)
    assert known.settings.half_yaw_deg == 2.0
    belief = known.belief(known(view, patch))
    assert belief.pose[:, 2].tolist() == [0.0, 0.0]
    assert not belief.closed
    assert math.degrees(float(belief.yaws[-1])) == pytest.approx(2.0)


def test_open_range_of_the_belief_covers_the_estimators():
    belief_yaws = tiny(45.0).yaw_bins
    assert math.degrees(float(belief_yaws[-1])) > 45.0
    assert torch.allclose(belief_yaws, -belief_yaws.flip(0), atol=1e-6)


def test_the_range_is_one_that_something_estimates():
    assert GeoDistillSettings().half_yaw_deg == 45.0
    with pytest.raises(ConfigError, match=r"is 45, but .* the localizer's 2"):
        GeoDistillSettings(orientation=None, half_yaw_deg=45.0)


def test_pinholes_have_no_such_estimator():
    with pytest.raises(ConfigError, match='for panoramas'):
        tiny(camera='pinhole', focal_px=(60.0, 60.0), center_px=(64.0, 20.0))


def test_calibration_is_not_touched_by_its_losses():
    model = tiny(45.0)
    objective = make_objective('orientation', model)
    objective(batch_of(model, samples(2)), Progress())[LOSS].backward()
    assert all(p.grad is None for p in model.calibration.parameters())
    assert all(p.grad is None for p in model.localizer.parameters())
    assert all(p.grad is not None for p in model.orientation.parameters())


def test_exports(monkeypatch):
    plain = 'geoloc_core.models.orientation_estimator.make_backbone'
    monkeypatch.setattr(plain, lambda *_, **__: PlainBackbone())
    sizes = {'view_width': 64, 'view_height': 32, 'patch_width': 96, 'patch_height': 64}
    localizer = {'backbone': 'vgg16', 'deepest': 8, 'weights': None, 'levels': (0,)}
    assert_exports(tiny(**sizes, **localizer))


@pytest.mark.slow
def test_exports_with_its_backbones():
    """Without an estimator it exports as G2SWeakly does."""
    assert_exports(tiny(levels=(0,)))


@pytest.mark.slow
def test_learns_one_batch_by_heart():
    """Each part by its own loss, as published; then the whole finds turned robots."""
    torch.set_num_threads(1)
    moves = ((4.0, -5.0, 0.6), (-6.0, 1.0, -0.4), (2.0, 6.0, 0.1), (-3.0, -2.0, -0.7))
    turned = [with_prior(s, *move) for s, move in zip(samples(4), moves, strict=True)]
    known = [with_prior(s, *move[:2]) for s, move in zip(samples(4), moves, strict=True)]
    estimator = {**ESTIMATOR, 'weights': 'imagenet', 'hidden': (128, 64)}
    model = tiny(45.0, estimator, weights='imagenet', levels=(1,))
    batch, aligned = batch_of(model, turned), batch_of(model, known)
    _fit(make_objective('orientation', model), batch, 40)
    model.localizer.requires_grad_(True)
    _fit(make_objective('g2sweakly_supervised', model.localizer), aligned, 50)
    model.eval()
    belief = model.belief(run_model(model, batch))
    error = belief.pose - batch['truth']
    assert error[:, :2].norm(dim=1).max() < model.localizer.cell_m(1)
    assert torch.rad2deg(error[:, 2]).abs().max() < 2.0
    # Told that yaw is as the prior says, the same network is worse.
    blind = model.belief(model.localizer(*pictures(model, batch))).pose - batch['truth']
    assert blind[:, :2].norm(dim=1).mean() > 2 * error[:, :2].norm(dim=1).mean()


def pictures(model, batch):
    inputs = model.inputs
    return (
        normalise(batch['view'], batch['view_mask'], inputs.view),
        normalise(batch['patch'], batch['patch_mask'], inputs.patch),
    )


def _fit(objective, batch, steps):
    objective.train()
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(batch, Progress())[LOSS].backward()
        optimizer.step()
    objective.eval()
