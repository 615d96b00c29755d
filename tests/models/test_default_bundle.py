# SPDX-License-Identifier: Apache-2.0
"""The bundle that robots run by default, scored again on stored samples, without torch."""

from pathlib import Path

import numpy as np
import pytest

from geoloc_core.geometry import angles, se3
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.bundle_files import PARTS
from geoloc_core.sources.matcher import Attitude
from geoloc_core.sources.model_matcher import ModelMatcher
from geoloc_core.types import Status
from tests.models.fixtures import rolled, samples

BUNDLE = Path(__file__).parents[2] / 'config' / 'models' / 'geoloc'


@pytest.fixture(scope='module')
def matcher():
    pytest.importorskip('onnxruntime')
    return ModelMatcher(load_bundle(BUNDLE))


def errors(matcher, items):
    """(N, 2) position error (m) and yaw error (rad) of the best cell."""
    rows = []
    for sample in items:
        found = matcher.log_likelihood(sample.view, Attitude(0.0, 0.0), sample.patch, sample.prior)
        assert found.status is Status.OK
        k, v, u = np.unravel_index(found.log_likelihood.argmax(), found.log_likelihood.shape)
        x, y, yaw = se3.planar(sample.T_map_base)
        xy = found.grid.xy_from_uv((u, v))
        turn = float(angles.difference(found.yaws[k], yaw))
        rows.append((np.hypot(xy[0] - x, xy[1] - y), abs(turn)))
    return np.array(rows)


def test_it_is_small_enough_to_ship():
    assert sum(p.stat().st_size for p in BUNDLE.iterdir()) < 16e6
    names = {p.name for p in BUNDLE.iterdir()}
    assert {'model.onnx', 'model.json'} <= names <= set(PARTS)


def test_places_are_found_in_a_town_it_never_saw(matcher):
    """Priors are up to 19 m off; half of the places are found to 2 m, where yaw is known."""
    found = errors(matcher, samples())
    assert np.median(found[:, 0]) < 2.0


def test_a_turned_robot_is_seen_to_have_turned(matcher):
    """The prior knows nothing of the turn, nor that there may be none."""
    items = [rolled(sample, 8) for sample in samples()]
    for sample in items:
        sample.prior.cov[5, 5] = np.radians(15.0) ** 2
    found = errors(matcher, items)
    assert np.median(found[:, 1]) < np.radians(4.0)
