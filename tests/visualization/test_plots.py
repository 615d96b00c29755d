# SPDX-License-Identifier: Apache-2.0
"""Plots: the numbers behind them, and that every file is made."""

import shutil

import cv2
import numpy as np
import pytest

from geoloc_core.visualization import plots
from geoloc_core.visualization.run_folder import read_run


def test_calibration_of_honest_and_boastful_covariances():
    rng = np.random.default_rng(3)
    honest = (rng.normal(size=(20000, 2)) ** 2).sum(axis=1)
    nominal, observed = plots.calibration_curve(honest)
    np.testing.assert_allclose(observed, nominal, atol=0.02)
    _, boastful = plots.calibration_curve(9.0 * honest)
    assert (boastful[10:90] < nominal[10:90] - 0.05).all()


def test_cumulative_leaves_out_nan():
    values, fraction = plots.cumulative(np.array([3.0, np.nan, 1.0, 2.0, np.inf]))
    np.testing.assert_allclose(values, [1, 2, 3])
    np.testing.assert_allclose(fraction, [1 / 3, 2 / 3, 1])


def test_lines_break_at_the_outage(fake_run):
    time, error = plots.errors_by_system(read_run(fake_run))['gnss']
    assert np.isnan(error).sum() == 1
    assert time[np.flatnonzero(np.isnan(error))[0]] == pytest.approx(20.0)


def test_all_plots_are_written(fake_run, tmp_path):
    pytest.importorskip('matplotlib')
    written = plots.write_plots(tmp_path, read_run(fake_run), formats=('png', 'svg'))
    assert {path.stem for path in written} == set(plots.PLOTS)
    for path in written:
        if path.suffix == '.png':
            assert cv2.imread(str(path)).std() > 5
        else:
            assert '<svg' in path.read_text()


def test_plots_without_data_are_left_out(fake_run, tmp_path):
    pytest.importorskip('matplotlib')
    for name in ('frames.csv', 'metrics.json'):
        shutil.copy(fake_run / name, tmp_path)
    names = {path.stem for path in plots.write_plots(tmp_path)}
    assert 'trajectories' not in names and 'error_over_time' in names
