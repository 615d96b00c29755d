# SPDX-License-Identifier: Apache-2.0
"""Which yaws a network is asked for."""

import math

import numpy as np
import pytest

from geoloc_core.sources.model_matcher import yaw_bins
from geoloc_core.spec import OutputSpec


def output(**values):
    fields = {
        'name': 'logits',
        'meaning': 'log_likelihood',
        'yaw_bins': 72,
        'yaw_half_range_deg': 180.0,
        'yaw_input': 'yaws',
        'width': 8,
        'height': 6,
        'gsd': 1.0,
        'temperature': 1.0,
    }
    return OutputSpec(**{**fields, **values})


def test_an_unknown_yaw_asks_for_the_whole_circle_once():
    yaws = yaw_bins(output())
    assert len(yaws) == 72 and yaws[0] == -math.pi
    np.testing.assert_allclose(np.diff(yaws), 2 * math.pi / 72)
    # The last bin's neighbour is the first.
    assert yaws[-1] + 2 * math.pi / 72 == pytest.approx(math.pi)


def test_a_known_yaw_asks_for_few_and_fine_ones_around_it():
    yaws = yaw_bins(output(), math.radians(10))
    assert yaws[0] == pytest.approx(-math.radians(10)) and yaws[-1] == -yaws[0]
    assert len(yaws) == 15
    assert len(yaw_bins(output(), math.radians(1))) == 9
    assert len(yaw_bins(output(), math.radians(170))) == 72


def test_networks_with_bins_of_their_own_are_not_asked():
    own = output(yaw_input='', yaw_half_range_deg=30.0, yaw_bins=7)
    np.testing.assert_allclose(np.degrees(yaw_bins(own, 0.1)), np.linspace(-30, 30, 7))
