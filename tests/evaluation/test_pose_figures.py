# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from geoloc_core.evaluation import pose_figures


def test_lateral_and_longitudinal_at_an_oblique_heading():
    heading = math.radians(30)
    ahead = np.array([math.cos(heading), math.sin(heading)])
    left = np.array([-math.sin(heading), math.cos(heading)])
    figures = pose_figures.position_figures([2 * ahead - 4 * left], [heading])
    assert figures['longitudinal_mean_m'] == pytest.approx(2)
    assert figures['lateral_mean_m'] == pytest.approx(4)
    assert figures['longitudinal_recall_3m'] == 1 and figures['lateral_recall_3m'] == 0


def test_mean_median_and_recall():
    errors = np.array([[0.5, 0], [2, 0], [0, 4], [30, 40]])
    figures = pose_figures.position_figures(errors, np.zeros(4))
    assert figures['position_mean_m'] == pytest.approx(56.5 / 4)
    assert figures['position_median_m'] == pytest.approx(3)
    assert [figures[f'recall_{m}m'] for m in (1, 3, 5)] == [0.25, 0.5, 0.75]
    assert figures['position_max_m'] == 50 and figures['position_min_m'] == 0.5


def test_every_yaw_counts():
    figures = pose_figures.yaw_figures(np.radians([1, -3, 180]))
    assert figures['yaw_mean_deg'] == pytest.approx(184 / 3)
    assert figures['yaw_recall_5deg'] == pytest.approx(2 / 3)


def test_joint_recall_needs_both():
    figures = pose_figures.joint_figures([0.5, 0.5, 2.0], np.radians([1, 50, 8]))
    assert figures['joint_recall_1m_5deg'] == pytest.approx(1 / 3)
    assert figures['joint_recall_3m_10deg'] == pytest.approx(2 / 3)


def test_ced_has_250_points_from_0_to_25_m():
    thresholds, share = pose_figures.ced_curve([0.0, 5.0, 100.0, math.inf])
    assert len(thresholds) == 250 and thresholds[0] == 0 and thresholds[-1] == 25
    assert share[0] == 0.25 and share[-1] == 0.5


def test_reject_curve_drops_the_most_doubtful_first():
    kept, mean, median = pose_figures.reject_curve([1.0, 9.0, 2.0], [0.1, math.nan, 0.2])
    np.testing.assert_allclose(kept, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(mean, [1.0, 1.5, 4.0])
    np.testing.assert_allclose(median, [1.0, 1.5, 2.0])


@pytest.mark.parametrize('dof', [2, 3])
def test_honest_gaussians_are_reliable(dof):
    rng = np.random.default_rng(0)
    nees = (rng.normal(size=(20000, dof)) ** 2).sum(axis=1)
    nominal, observed = pose_figures.reliability_curve(nees, dof)
    np.testing.assert_allclose(observed, nominal, atol=0.02)
    figures = pose_figures.belief_figures(np.zeros(20000), nees, dof)
    assert figures['coverage_95'] == pytest.approx(0.95, abs=0.01)
    assert figures['nees_mean'] == pytest.approx(dof, abs=0.1)


def test_no_samples_give_nan():
    assert math.isnan(pose_figures.position_figures(np.zeros((0, 2)), [])['position_mean_m'])
