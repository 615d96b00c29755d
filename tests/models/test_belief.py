# SPDX-License-Identifier: Apache-2.0
"""What every network's answer is read with: cells, densities, moments, peaks."""

import math

import numpy as np
import pytest
import torch

from geoloc_core.models.belief import (
    Belief,
    cell_coordinates,
    doubted_place,
    evenly_spaced_yaws,
    interpolated,
    mean_and_covariance,
    negative_log_likelihood,
    peak_pose,
    place_negative_log_likelihood,
    volume_from_parts,
)
from geoloc_core.sources.model_matcher import yaw_bins
from geoloc_core.spec import OutputSpec

CELL, SIZE = 0.5, (24, 31)
FULL, NARROW = evenly_spaced_yaws(36, 180.0), evenly_spaced_yaws(21, 40.0)


def gaussian(pose, std, yaws=FULL, closed=True):
    """A belief whose log-probability is a quadratic about a pose (x, y, yaw)."""
    height, width = SIZE
    x = (torch.arange(width) - (width - 1) / 2) * CELL
    y = ((height - 1) / 2 - torch.arange(height)) * CELL
    turn = (yaws - pose[2] + math.pi).remainder(2 * math.pi) - math.pi
    logits = -0.5 * (
        (turn / std[2])[:, None, None] ** 2
        + ((y - pose[1]) / std[1])[None, :, None] ** 2
        + ((x - pose[0]) / std[0])[None, None] ** 2
    )
    # Any offset is as good.
    return Belief(logits[None] + 7.0, CELL, yaws, closed)


@pytest.mark.parametrize('half', [10.0, 179.0, 180.0])
@pytest.mark.parametrize('bins', [3, 8])
def test_bins_are_those_that_a_specification_describes(bins, half):
    spec = OutputSpec('logits', 'log_likelihood', bins, half, '', 8, 8, 1.0, 1.0)
    np.testing.assert_allclose(evenly_spaced_yaws(bins, half), yaw_bins(spec), atol=1e-6)


def test_columns_run_to_the_right_and_rows_down():
    belief = gaussian((0, 0, 0), (1, 1, 1))
    # Middle of the upper right cell: half a cell inside of the volume's corner.
    corner = torch.tensor([[15 * CELL, 11.5 * CELL, float(FULL[35])]])
    k, v, u = cell_coordinates(belief, corner)
    np.testing.assert_allclose([k.item(), v.item(), u.item()], [35, 0, 30], atol=1e-4)


def test_reading_between_cells_and_across_the_seam():
    values = torch.zeros(1, 36, *SIZE)
    values[0, 35, 3, 5], values[0, 0, 3, 5] = 1.0, 3.0
    belief = Belief(values, CELL, FULL, True)
    x, y = (5 - 15) * CELL, (11.5 - 3) * CELL
    step = 2 * math.pi / 36

    def read(dx, dy, yaw):
        return interpolated(belief, values, torch.tensor([[x + dx, y + dy, yaw]])).item()

    assert read(0, 0, math.pi) == pytest.approx(3.0, abs=1e-4)
    assert read(0, 0, math.pi - 0.25 * step) == pytest.approx(2.5, abs=1e-4)
    assert read(0, 0, -math.pi - 0.25 * step) == pytest.approx(2.5, abs=1e-4)
    assert read(0.25 * CELL, -0.5 * CELL, math.pi) == pytest.approx(3 * 0.75 * 0.5, abs=1e-4)
    # Without a seam there is nothing beyond the last bin.
    cut = Belief(values[:, :21], CELL, NARROW, False)
    pose = torch.tensor([[x, y, math.radians(-42.0)]])
    assert interpolated(cut, cut.logits, pose).item() == pytest.approx(1.5, abs=1e-4)


@pytest.mark.parametrize('center', [(1.3, -0.9, 0.4), (-1.2, 0.6, math.pi - 0.05)])
def test_moments_of_a_gaussian(center):
    std = (1.2, 0.8, 0.3)
    belief = gaussian(center, std)
    mean, cov = mean_and_covariance(belief)
    np.testing.assert_allclose(mean[0, :2], center[:2], atol=0.02)
    assert abs(math.remainder(float(mean[0, 2]) - center[2], 2 * math.pi)) < 0.01
    spread = [CELL**2 / 12, CELL**2 / 12, (2 * math.pi / 36) ** 2 / 12]
    np.testing.assert_allclose(cov[0], np.diag(np.square(std) + spread), rtol=0.03, atol=0.01)
    # About another pose, the distance to it is part of the moment; yaw goes the short way.
    about = torch.tensor([[center[0] + 2.0, center[1] - 1.0, center[2] + 0.2]])
    _, other = mean_and_covariance(belief, about)
    away = np.array([-2.0, 1.0, -0.2])
    np.testing.assert_allclose(
        other[0], cov[0].numpy() + np.outer(away, away), rtol=0.03, atol=0.03
    )


@pytest.mark.parametrize(
    ('yaws', 'closed', 'center'),
    [
        (FULL, True, (1.37, -0.81, -math.pi + 0.02)),
        (FULL, True, (0.1, 2.2, math.pi - 0.03)),
        (NARROW, False, (-3.3, 1.05, 0.41)),
    ],
)
def test_peaks_are_found_between_cells(yaws, closed, center):
    belief = gaussian(center, (1.2, 0.8, 0.3), yaws, closed)
    found = peak_pose(belief)[0].numpy()
    np.testing.assert_allclose(found[:2], center[:2], atol=0.01)
    assert abs(math.remainder(float(found[2]) - center[2], 2 * math.pi)) < 0.01
    assert -math.pi <= found[2] <= math.pi


def test_density_at_the_truth_is_per_square_metre_and_radian():
    std, center = (1.2, 0.9, 0.3), (0.25, -0.5, 0.1)
    belief = gaussian(center, std)
    truth = torch.tensor([[center[0] + 0.6, center[1], center[2] - 0.3]])
    far = 0.5 * (0.5**2 + 1.0)
    of_place = math.log(2 * math.pi * std[0] * std[1])
    of_yaw = 0.5 * math.log(2 * math.pi) + math.log(std[2])
    nll = negative_log_likelihood(belief, truth).item()
    assert nll == pytest.approx(of_place + of_yaw + far, abs=0.08)
    place = place_negative_log_likelihood(belief, truth).item()
    assert place == pytest.approx(of_place + 0.5 * 0.5**2, abs=0.08)
    # A hopeless miss costs what the doubt leaves: a thousandth, evenly over the volume.
    nowhere = torch.tensor([[500.0, 0.0, 0.0]])
    area = SIZE[0] * SIZE[1] * CELL**2
    lost = negative_log_likelihood(belief, nowhere).item()
    assert lost == pytest.approx(math.log(1000 * area * 2 * math.pi), abs=1e-3)
    lost = place_negative_log_likelihood(belief, nowhere).item()
    assert lost == pytest.approx(math.log(1000 * area), abs=1e-3)


def test_the_place_does_not_depend_on_how_yaw_is_counted():
    truth = torch.tensor([[0.7, -0.2, 0.0], [0.7, -0.2, 0.0]])
    few = evenly_spaced_yaws(3, 2.0)
    place = [
        place_negative_log_likelihood(b, truth[:1]).item()
        for b in (
            gaussian((0.5, 0.0, 0.0), (1.0, 1.0, 0.3)),
            gaussian((0.5, 0.0, 0.0), (1.0, 1.0, 0.01), few, False),
        )
    ]
    assert place[0] == pytest.approx(place[1], abs=1e-3)
    # Bins of their own for each sample.
    both = gaussian((0.5, 0.0, 0.0), (1.0, 1.0, 0.3))
    logits = both.logits.expand(2, -1, -1, -1)
    own = Belief(logits, CELL, torch.stack([FULL, FULL + 0.1]), True)
    found = place_negative_log_likelihood(own, truth)
    np.testing.assert_allclose(found, place[0], atol=1e-3)


def test_a_heat_map_with_directions_keeps_its_places():
    log_xy = torch.randn(2, 4, 6).log_softmax(dim=2)
    direction = torch.full((2, 1, 1), 0.5)
    volume = volume_from_parts(log_xy, FULL, direction, torch.tensor(20.0))
    torch.testing.assert_close(volume.logsumexp(dim=1), log_xy)
    assert abs(float(FULL[volume[0, :, 0, 0].argmax()]) - 0.5) < math.pi / 36


@pytest.mark.parametrize(('half_deg', 'left'), [(0.0, 1), (15.0, 5), (35.0, 9)])
def test_a_known_yaw_rules_out_the_other_bins(half_deg, left):
    # 36 bins of 10 degrees, 18 of them the middle; one more than asked for on either side.
    belief = gaussian((1.0, -2.0, 0.0), (1.0, 1.0, 100.0))
    told = belief.given_yaw(math.radians(half_deg))
    mass = told.log_prob().exp().sum(dim=(2, 3))[0]
    kept = (mass > 1e-6).nonzero()[:, 0]
    assert kept.tolist() == list(range(18 - left // 2, 18 + left // 2 + 1))
    np.testing.assert_allclose(mass[kept], 1 / left, rtol=0.02)
    np.testing.assert_allclose(peak_pose(told)[0, :2], [1.0, -2.0], atol=0.01)


def test_two_bins_share_a_known_yaw_between_them():
    belief = gaussian((0.0, 0.0, 0.0), (1.0, 1.0, 100.0), evenly_spaced_yaws(20, 40.0), False)
    mass = belief.given_yaw(0.0).log_prob().exp().sum(dim=(2, 3))[0]
    np.testing.assert_allclose(mass[9:11], 0.5, rtol=1e-3)


def test_the_second_best_yaw_wins_where_the_best_is_ruled_out():
    wrong, right = (
        gaussian((6.0, 3.0, 2.0), (0.8, 0.8, 0.3)),
        gaussian((1.0, -2.0, 0.3), (0.8, 0.8, 0.3)),
    )
    logits = torch.logaddexp(wrong.logits, right.logits - 2.0)
    belief = Belief(logits, CELL, FULL, True)
    np.testing.assert_allclose(peak_pose(belief)[0], [6.0, 3.0, 2.0], atol=0.1)
    np.testing.assert_allclose(
        peak_pose(belief.given_yaw(math.radians(45)))[0], [1.0, -2.0, 0.3], atol=0.1
    )


def test_an_own_pose_stays_only_if_its_yaw_can_be():
    belief = gaussian((1.0, -2.0, 0.1), (0.8,) * 3)
    belief = Belief(belief.logits, CELL, FULL, True, torch.tensor([[5.0, 5.0, 0.2]]))
    far = Belief(belief.logits, CELL, FULL, True, torch.tensor([[5.0, 5.0, -2.0]]))
    kept, replaced = (b.given_yaw(math.radians(45)).pose[0] for b in (belief, far))
    np.testing.assert_allclose(kept, [5.0, 5.0, 0.2])
    np.testing.assert_allclose(replaced, [1.0, -2.0, 0.1], atol=0.05)


def test_a_bound_beyond_the_bins_changes_nothing():
    belief = gaussian((1.0, -2.0, 0.1), (0.8,) * 3, NARROW, False)
    assert belief.given_yaw(math.radians(45)) is belief


def test_doubt_spreads_its_share_of_each_yaw_over_all_places():
    torch.manual_seed(0)
    logits = 5.0 * torch.randn(2, 3, 4, 5)
    p = torch.softmax(logits.flatten(1), 1).view_as(logits)
    share = 0.1
    told = doubted_place(logits, torch.tensor(math.log(share / (1 - share)))).exp()
    yaws = p.sum(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(told, (1 - share) * p + share * yaws / 20)
    torch.testing.assert_close(told.sum(dim=(2, 3), keepdim=True), yaws)


def test_doubt_stays_finite_where_a_place_is_impossible():
    logits = torch.zeros(1, 2, 3, 4)
    logits[0, 0, 0, 0] = 1e4
    told = doubted_place(logits, torch.tensor(-4.0))
    assert torch.isfinite(told[0, 0]).all()
    np.testing.assert_allclose(told.exp().sum(), 1.0, rtol=1e-5)
