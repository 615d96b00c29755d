# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
import math

import numpy as np
import pytest
import torch

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from tests.models.fixtures import batch_of, samples, with_prior
from tests.training.evaluation.tiny import Tiny, TinySettings, Told
from training.loading import Batch
from training.scoring import score, Scores


def loader_of(model, items):
    return [
        Batch(batch_of(model, items[i : i + 3]), tuple(s.key for s in items[i : i + 3]))
        for i in range(0, len(items), 3)
    ]


def told(items, **options):
    model = Told(**options)
    batch = batch_of(model, items)
    model.truth = batch['truth']
    return score(model, [Batch(batch, tuple(s.key for s in items))])


def test_error_is_answer_minus_truth_in_the_map_frame():
    scores = told(samples(4), offset=(3.0, -4.0, 0.2))
    np.testing.assert_allclose(scores.error_xy, np.tile([3.0, -4.0], (4, 1)), atol=1e-4)
    np.testing.assert_allclose(scores.yaw_error, 0.2, atol=1e-5)
    np.testing.assert_allclose(scores.distance, 5.0, atol=1e-4)
    figures = scores.figures()
    assert figures['position_mean_m'] == pytest.approx(5.0, abs=1e-4)
    assert figures['yaw_median_deg'] == pytest.approx(math.degrees(0.2), abs=1e-3)
    # Panoramas of the fixtures look north: ahead is +y, the left is -x.
    assert figures['longitudinal_mean_m'] == pytest.approx(4.0, abs=1e-3)
    assert figures['lateral_mean_m'] == pytest.approx(3.0, abs=1e-3)


def test_a_turned_patch_gives_errors_along_the_map(monkeypatch):
    model = Told(offset=(1.0, 0.0, 0.0))
    items = samples(2)
    batch = batch_of(model, items)
    model.truth = batch['truth']
    # The patch's right is north: one metre to its right is one metre north.
    batch['frame'][:, 2] = math.pi / 2
    scores = score(model, [Batch(batch, ('a', 'b'))])
    np.testing.assert_allclose(scores.error_xy, [[0.0, 1.0]] * 2, atol=1e-6)


def test_truth_yaw_does_not_depend_on_the_prior():
    items = samples(3)
    turned = [with_prior(s, 2.0, -1.0, 2.5) for s in items]
    expected = [se3.planar(s.T_map_base)[2] for s in items]
    np.testing.assert_allclose(told(items).truth_yaw, expected, atol=1e-6)
    np.testing.assert_allclose(told(turned).truth_yaw, expected, atol=1e-6)


def test_yaw_error_wraps():
    scores = told(samples(2), offset=(0.0, 0.0, math.radians(350)))
    np.testing.assert_allclose(scores.yaw_error, math.radians(-10), atol=1e-5)


def test_covariance_nll_and_nees_of_a_gaussian():
    settings = TinySettings(yaw_bins=36, cells=48, cell_m=1.0)
    scores = told(samples(2), settings=settings, std=(2.0, 3.0, 0.4), offset=(2.0, 0.0, 0.0))
    spread = [4 + 1 / 12, 9 + 1 / 12, 0.16 + (2 * math.pi / 36) ** 2 / 12]
    np.testing.assert_allclose(np.diagonal(scores.cov, axis1=1, axis2=2), [spread] * 2, rtol=0.03)
    np.testing.assert_allclose(scores.nees(3), 4 / spread[0], rtol=0.03)
    np.testing.assert_allclose(scores.nees(2), scores.nees(3), rtol=1e-3)
    density = 0.5 + math.log((2 * math.pi) ** 1.5 * 2 * 3 * 0.4)
    np.testing.assert_allclose(scores.nll, density, atol=0.05)
    np.testing.assert_allclose(scores.log_density, 0.5 - density, atol=0.05)
    of_place = 0.5 + math.log(2 * math.pi * 2 * 3)
    np.testing.assert_allclose(scores.nll_place, of_place, atol=0.05)
    # Where the yaw is given, it is the place that is judged.
    assert scores.figures(2)['nll'] == pytest.approx(of_place, abs=0.05)
    assert scores.figures(3)['nll'] == pytest.approx(density, abs=0.05)
    np.testing.assert_allclose(scores.std_m, math.sqrt(spread[0] + spread[1]), rtol=0.03)


def test_prior_is_the_floor():
    items = [with_prior(s, 30.0, 40.0) for s in samples(2)]
    plain = told(samples(2))
    scores = told(items)
    np.testing.assert_allclose(scores.truth[:, :2], plain.truth[:, :2] - [30.0, 40.0], atol=1e-4)
    assert scores.figures()['floor_mean_m'] == pytest.approx(
        np.linalg.norm(scores.truth[:, :2], axis=1).mean()
    )


def test_the_prior_of_the_yaw_is_a_floor_too():
    plain = told(samples(3))
    turned = replace(plain, truth=plain.truth + np.array([0.0, 0.0, 0.5]))
    figures = turned.figures()
    expected = np.degrees(np.abs([math.remainder(v, math.tau) for v in turned.truth[:, 2]]))
    assert figures['floor_yaw_mean_deg'] == pytest.approx(expected.mean(), abs=1e-4)
    assert figures['floor_yaw_median_deg'] == pytest.approx(np.median(expected), abs=1e-4)


def test_truth_outside_the_volume_is_counted():
    items = [samples(1)[0], with_prior(samples(2)[1], 60.0)]
    assert told(items).figures()['outside'] == 0.5


def test_an_answer_that_is_not_finite_counts_as_wrong():
    scores = told(samples(4), offset=(math.nan, 0.0, 0.0))
    figures = scores.figures()
    assert figures['not_finite'] == 4
    assert figures['position_median_m'] == math.inf and figures['recall_5m'] == 0
    assert figures['lateral_recall_5m'] == 0
    assert figures['yaw_mean_deg'] == 180
    assert figures['coverage_95'] == 0 and figures['nll'] == math.inf


def test_batches_do_not_matter_and_the_mode_is_given_back():
    torch.manual_seed(0)
    model, items = Tiny(), samples(7)
    model.train()
    parts = score(model, loader_of(model, items))
    assert model.training
    whole = score(model, [Batch(batch_of(model, items), tuple(s.key for s in items))])
    assert parts.keys == whole.keys == tuple(s.key for s in items)
    np.testing.assert_allclose(parts.pose, whole.pose, atol=1e-4)
    np.testing.assert_allclose(parts.nll, whole.nll, atol=1e-4)


def test_unreadable_samples_are_named_also_in_batches_without_a_good_one():
    model, items = Tiny(), samples(2)
    loader = [
        Batch({}, (), ('a is torn',)),
        *loader_of(model, items),
        Batch({}, (), ('b is torn',)),
    ]
    scores = score(model, loader)
    assert scores.unreadable == ('a is torn', 'b is torn')
    assert scores.figures()['unreadable'] == 2 and scores.figures()['samples'] == 2


def test_nothing_to_score_is_an_error():
    with pytest.raises(DataError, match='empty'):
        score(Tiny(), [])


def test_shares_of_two_processes_join_to_the_whole():
    whole = told(samples(3))
    double = Scores.joined([whole, whole])
    assert double.keys == whole.keys
    np.testing.assert_array_equal(double.pose, whole.pose)
