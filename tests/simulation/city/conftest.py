# SPDX-License-Identifier: Apache-2.0
"""Cities shared by the tests of the plan."""

import pytest

from geoloc_core.simulation.city import make_city

SEEDS = range(10)


@pytest.fixture(scope='session')
def cities():
    """Ten cities of 320 m."""
    return [make_city(seed, 160.0, 3) for seed in SEEDS]


@pytest.fixture(scope='session')
def large_city():
    """A city of 480 m with everything a city has."""
    return make_city(3, 240.0, 5)
