# SPDX-License-Identifier: Apache-2.0
"""A drawn prior lies within its bounds, on all sides, and is another one in each epoch."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import angles, se3
from tests.training.augmentation.compass_sample import compass_sample
from training.augmentation import DrawPrior, MovePrior, pipeline_from


def offsets(pipeline, sample, count=300):
    """(count, 3) prior minus truth: x, y, yaw."""
    x, y, yaw = se3.planar(sample.T_map_base)
    rows = []
    for index in range(count):
        drawn = pipeline(sample, index)
        np.testing.assert_array_equal(drawn.T_map_base, sample.T_map_base)
        px, py, pyaw = se3.planar(drawn.prior.T_map_base)
        rows.append((px - x, py - y, float(angles.difference(pyaw, yaw))))
    return np.array(rows)


def test_within_the_bounds_on_all_sides(tiny):
    step = {'step': 'draw_prior', 'half_x_m': 8, 'half_y_m': 2, 'half_yaw_deg': 30}
    found = offsets(pipeline_from([step]), tiny[4])
    bounds = np.array([8, 2, np.radians(30)])
    assert (np.abs(found) <= bounds).all()
    assert (found.max(axis=0) > 0.9 * bounds).all() and (found.min(axis=0) < -0.9 * bounds).all()


def test_along_the_heading(tiny):
    step = {'step': 'draw_prior', 'half_x_m': 8, 'axes': 'heading'}
    found = offsets(pipeline_from([step]), tiny[4], 50)
    # The tiny drive faces 0.3 rad to the left of east.
    np.testing.assert_allclose(found[:, 1], found[:, 0] * np.tan(0.3), atol=1e-9)
    assert np.abs(found[:, 0]).max() > 4


def test_every_epoch_has_its_own(tiny):
    pipeline = pipeline_from([{'step': 'draw_prior', 'half_x_m': 5, 'half_y_m': 5}], seed=2)
    places = {tuple(pipeline(tiny[1], 1, epoch).prior.T_map_base[:2, 3]) for epoch in range(9)}
    assert len(places) == 9


def test_a_label_kept_back_gives_no_prior(tiny):
    hidden = replace(tiny[0], T_map_base=None, prior=None)
    assert DrawPrior(half_x_m=3.0).apply(hidden, np.random.default_rng(0)).prior is None


@pytest.mark.parametrize(
    'wrong', [{'half_x_m': -1}, {'half_yaw_deg': 200}, {'axes': 'sideways'}, {'p': 2}]
)
def test_impossible_bounds_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DrawPrior(**wrong)


def test_a_moved_prior_starts_from_where_it_was():
    sample = compass_sample()
    before = np.array(se3.planar(sample.prior.T_map_base))
    step = {'step': 'move_prior', 'half_m': 3.0, 'half_yaw_deg': 20}
    pipeline = pipeline_from([step])
    moved = np.array(
        [se3.planar(pipeline(sample, i).prior.T_map_base) for i in range(200)]
    ) - before  # fmt: skip
    bounds = np.array([3.0, 3.0, np.radians(20)])
    assert (np.abs(moved) <= bounds).all()
    assert (moved.max(axis=0) > 0.9 * bounds).all() and (moved.min(axis=0) < -0.9 * bounds).all()
    wider = pipeline(sample, 0).prior.cov - sample.prior.cov
    np.testing.assert_allclose(wider.diagonal()[[0, 1, 5]], bounds**2 / 3)
    assert MovePrior(half_m=3.0).apply(replace(sample, prior=None), np.random.default_rng(0))
    with pytest.raises(ConfigError, match='half_m'):
        MovePrior(half_m=-1.0)
