# SPDX-License-Identifier: Apache-2.0
"""Our own network: one pass for every yaw and place, any camera, yaws on demand."""

import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from geoloc_core.errors import ConfigError  # noqa: E402
from geoloc_core.models.belief import evenly_spaced_yaws, peak_pose  # noqa: E402
from geoloc_core.models.registry import make_model  # noqa: E402
from tests.models.export_parity import assert_exports  # noqa: E402
from tests.models.fixtures import batch_of, rolled, samples, with_prior  # noqa: E402
from training.objectives.base import LOSS, Progress, run_model  # noqa: E402
from training.objectives.registry import make_objective  # noqa: E402

SMALL = {
    'directions': 128,
    'rings': 16,
    'patch_px': 128,
    'gsd': 0.5,
    'reach_m': 12.0,
    'taps': ['stage1', 'stage2', 'stage3'],
    'weights': None,
    'width': 16,
    'channels': 8,
    'yaw_bins': 12,
}


def small(**more):
    torch.manual_seed(0)
    return make_model('geoloc', {**SMALL, **more})


def test_sizes_of_the_answer():
    model = small(half_range_m=15.0).eval()
    batch = batch_of(model, samples(2))
    belief = model.belief(run_model(model, batch))
    assert belief.logits.shape == (2, 12, 30, 30)
    assert belief.cell_m == 1.0 and belief.closed
    assert make_model('geoloc', {'weights': None}).cell_m == 1.0


def test_yaws_are_scored_as_asked():
    """The same yaw scores the same, whoever asks for it and beside which others."""
    model = small().eval()
    batch = batch_of(model, samples(1))
    view = torch.randn(1, 7, 16, 128)
    patch = torch.randn(1, 4, 128, 128)
    with torch.no_grad():
        every = model(view, patch)['scores']
        some = model(view, patch, model.own_yaws()[4:8])
    torch.testing.assert_close(every[:, 4:8], some['scores'])
    assert not model.belief(some).closed
    assert batch['view'].shape[-2:] == (16, 128)


def test_a_shifted_patch_shifts_the_answer():
    """8 px are a whole step of every stage: 4 m east in the map are 4 columns of the volume."""
    model = small().eval()
    sample = samples(1)[0]
    with torch.no_grad():
        here = run_model(model, batch_of(model, [sample]))['scores']
        there = run_model(model, batch_of(model, [with_prior(sample, east_m=4.0)]))['scores']
    # Columns move west; what differs is only what the border of the patch lets into the middle.
    inner = here[..., 10:-10, 10:-14]
    moved = there[..., 10:-10, 6:-18]
    unmoved = there[..., 10:-10, 10:-14]
    wrong_way = there[..., 10:-10, 14:-10]
    assert (inner - moved).abs().mean() < 0.3 * (inner - unmoved).abs().mean()
    assert (inner - moved).abs().mean() < 0.3 * (inner - wrong_way).abs().mean()


def test_a_view_that_is_turned_turns_on_the_square_cells():
    """Content that moves right by a quarter of the columns lies a quarter further clockwise."""
    model = small(heights_m=[0.0], blocks=0).eval()
    view = torch.randn(1, 4, 16, 128)
    with torch.no_grad():
        here, seen = model.on_square_cells(view)
        there, _ = model.on_square_cells(view.roll(32, dims=-1))
    side = model.within.shape[-1]
    assert here.shape == (1, 16, side, side) and side == 25
    clockwise, other = here.rot90(-1, (2, 3)), here.rot90(1, (2, 3))
    assert (there - clockwise).abs().mean() < 0.1 * (there - other).abs().mean()
    # Nothing beyond the rings, nor where the robot stands itself.
    assert not here[0, :, 0, 0].any() and not here[0, :, 12, 12].any()
    assert seen[0, 0, 12, 12] == 0


def test_a_ring_is_as_far_away_on_the_square_cells():
    model = small(blocks=0).eval()
    grid = model.polar_cells[0]
    # East by 6 m and north by 6 m, at 1 m a cell around (12, 12).
    column = (grid[..., 0] + 1) / 2 * (64 + 2) - 1.5
    row = (grid[..., 1] + 1) / 2 * 8 - 0.5
    distance = math.log(6.0 / 12.0) / math.log(1.5 / 12.0) * 8 - 0.5
    assert float(row[12, 18]) == pytest.approx(distance, abs=1e-4)
    assert float(row[6, 12]) == pytest.approx(distance, abs=1e-4)
    assert float(column[12, 18]) == pytest.approx(31.5, abs=1e-4)
    assert float(column[6, 12]) == pytest.approx(15.5, abs=1e-4)


def test_what_is_not_seen_says_nothing():
    model = small().eval()
    batch = batch_of(model, samples(1))
    batch['view_mask'][:] = False
    with torch.no_grad():
        assert run_model(model, batch)['scores'].abs().max() < 1e-3


@pytest.mark.slow
def test_it_learns_a_batch_and_then_follows_shifts_and_turns():
    model = small(yaw_bins=48)
    objective = make_objective('focused_volume', model)
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3)
    items = samples(4)
    rng = np.random.default_rng(0)
    for _ in range(200):
        moved = [
            with_prior(rolled(sample, int(rng.integers(320))), *rng.uniform(-3, 3, 2))
            for sample in items
        ]
        loss = objective(batch_of(model, moved), Progress())[LOSS]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()

    def answer(items):
        batch = batch_of(model, items)
        with torch.no_grad():
            pose = peak_pose(model.belief(run_model(model, batch)))
        error = pose - batch['truth']
        error[:, 2] = (error[:, 2] + math.pi).remainder(2 * math.pi) - math.pi
        return pose, error

    _, error = answer(items)
    assert error[:, :2].norm(dim=1).max() < 1.0
    assert error[:, 2].abs().max() < math.radians(7.5)
    # East by 2 m in the map: the answer is 2 m further west.
    before, _ = answer(items)
    after, error = answer([with_prior(sample, east_m=2.0) for sample in items])
    assert error[:, :2].norm(dim=1).median() < 1.0
    assert ((after - before)[:, 0].median() + 2.0).abs() < 0.5
    # A robot that has turned by 45 degrees counter-clockwise, and one that believes it has.
    for others, sign in (
        ([rolled(sample, 40) for sample in items], 1),
        ([with_prior(sample, yaw=math.radians(45)) for sample in items], -1),
    ):
        after, _ = answer(others)
        turned = (after - before)[:, 2].add(math.pi).remainder(2 * math.pi) - math.pi
        assert (turned.median() - sign * math.radians(45)).abs() < math.radians(8)


def test_no_setting_is_guessed():
    for settings in (
        {'reach_m': 1.0}, {'yaw_bins': 2}, {'gsd': 0.0}, {'directions': 63}, {'rings': 15}
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(settings))):
            make_model('geoloc', {**SMALL, **settings})


def test_calibration_is_not_trained_and_widens():
    model = small()
    objective = make_objective('volume', model)
    objective(batch_of(model, samples(1)), Progress())[LOSS].backward()
    view, patch = torch.randn(1, 7, 16, 128), torch.randn(1, 4, 128, 128)
    outputs = model.eval()(view, patch)
    sharp = model.belief(outputs).logits
    model.calibration['log_temperature'].data.fill_(1.0)
    assert model.belief(outputs).logits.std() < sharp.std()


def test_exports():
    # Short backbones: what is at stake is what comes after them.
    assert_exports(small(taps=['stage1', 'stage2']).eval())


def test_bins_are_those_of_the_specification():
    model = small().eval()
    torch.testing.assert_close(model.own_yaws(), evenly_spaced_yaws(12, 180.0))
