# SPDX-License-Identifier: Apache-2.0
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from geoloc_core.evaluation import consistency, metrics
from geoloc_core.evaluation.table import systems_table


@pytest.mark.parametrize('heading_deg', [0.0, 37.0, 90.0, 135.0, -170.0])
def test_lateral_and_longitudinal_turn_with_the_heading(heading_deg):
    yaw = math.radians(heading_deg)
    ahead = np.array([math.cos(yaw), math.sin(yaw)])
    left = np.array([-math.sin(yaw), math.cos(yaw)])
    lateral, longitudinal = metrics.lateral_longitudinal(0.7 * ahead - 0.2 * left, yaw)
    assert lateral == pytest.approx(-0.2)
    assert longitudinal == pytest.approx(0.7)


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_yaw_error_is_wrapped_and_signed(estimate, truth):
    error = float(metrics.yaw_error(estimate, truth))
    assert -math.pi < error <= math.pi
    assert math.isclose(math.cos(error), math.cos(estimate - truth), abs_tol=1e-9)
    assert math.isclose(math.sin(error), math.sin(estimate - truth), abs_tol=1e-9)


def test_recalls_count_frames_without_an_answer():
    errors = [0.5, -0.9, 2.0, float('nan')]
    assert metrics.recall(errors, 1.0) == 0.5
    assert metrics.recall(errors[:3], 1.0, total=10) == pytest.approx(0.2)
    assert math.isnan(metrics.recall([], 1.0))
    assert metrics.joint_recall([0.5, 0.5], np.radians([4.0, 6.0]), 1.0, 5.0) == 0.5


def test_gaps_are_outages_not_slow_receivers():
    second = 1_000_000_000
    times = [0, 1, 2, 3, 9, 10]
    cut = metrics.gaps([t * second for t in times], 0, 12 * second)
    assert cut == [(3 * second, 9 * second)]
    slow = metrics.gaps([t * 5 * second for t in range(5)], 0, 20 * second)
    assert slow == []
    assert metrics.gaps([], 3, 9) == [(3, 9)]
    assert metrics.gaps([0, second], 0, 9 * second) == [(second, 9 * second)]
    assert metrics.inside([3, 4, 9], [(3, 9)]).tolist() == [False, True, False]


def test_summaries_name_every_figure():
    rng = np.random.default_rng(0)
    error = rng.normal(0, 1, (2000, 2)) * [3.0, 0.5]
    yaw = np.zeros(2000)
    figures = metrics.position_summary(error, yaw)
    assert figures['longitudinal_median_m'] == pytest.approx(3.0 * 0.6745, rel=0.05)
    assert figures['lateral_median_m'] == pytest.approx(0.5 * 0.6745, rel=0.05)
    assert figures['position_median_m'] < figures['position_p90_m'] < figures['position_p95_m']
    assert figures['lateral_recall_1m'] > figures['longitudinal_recall_1m'] > figures['recall_1m']
    turned = metrics.yaw_summary(np.radians([-2.0, 4.0, np.nan]))
    assert turned['yaw_median_deg'] == pytest.approx(3.0)
    assert turned['yaw_recall_3deg'] == pytest.approx(1 / 3)


def test_rates():
    assert metrics.rate_hz([0, 100_000_000, 200_000_000]) == pytest.approx(10.0)
    assert math.isnan(metrics.rate_hz([5]))


def test_true_covariances_are_called_honest_and_small_ones_are_not():
    rng = np.random.default_rng(1)
    cov = np.array([[4.0, 1.5, 0.0], [1.5, 1.0, 0.0], [0.0, 0.0, 0.01]])
    samples = rng.multivariate_normal(np.zeros(3), cov, 4000)
    covs = np.broadcast_to(cov, (4000, 3, 3))
    honest = consistency.consistency_summary(samples[:, :2], samples[:, 2], covs)
    assert honest['coverage_95'] == pytest.approx(0.95, abs=0.01)
    assert honest['nees_mean'] == pytest.approx(2.0, abs=0.1)
    assert honest['yaw_nees_mean'] == pytest.approx(1.0, abs=0.07)
    for sigma in (1, 2, 3):
        for kind in ('', 'yaw_'):
            expected = honest[f'{kind}expected_{sigma}sigma']
            assert honest[f'{kind}coverage_{sigma}sigma'] == pytest.approx(expected, abs=0.03)
    assert honest['expected_1sigma'] == pytest.approx(0.3935, abs=1e-4)
    assert honest['yaw_expected_1sigma'] == pytest.approx(0.6827, abs=1e-4)
    vain = consistency.consistency_summary(samples[:, :2], samples[:, 2], covs / 9)
    assert vain['coverage_95'] < 0.6


def test_frames_without_estimate_are_left_out_of_nees():
    values = consistency.nees([[1.0, 0.0], [np.nan, 0.0]], [np.eye(2), np.eye(2)])
    assert values[0] == pytest.approx(1.0)
    assert np.isnan(values[1])
    assert consistency.coverage(values, 2.0) == 1.0


def test_table_aligns_and_leaves_out_what_nobody_has():
    text = systems_table(
        {
            'geoloc': {'position_median_m': 0.123, 'recall_1m': 0.97, 'yaw_median_deg': None},
            'gnss': {'position_median_m': 123.4},
        }
    )
    lines = text.splitlines()
    assert 'yaw' not in lines[0]
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split() == ['geoloc', '0.12', '97', '%']
    assert lines[3].split() == ['gnss', '123', '-']
