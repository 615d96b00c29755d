# SPDX-License-Identifier: Apache-2.0
"""Worlds shared by the tests of the simulation."""

import cv2
import numpy as np
import pytest

from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.city import City
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.world import make_world, World

HALF = 32.0
GSD = 0.1
# A magenta disc, 0.6 m in radius, painted north-east of the datum.
MARKER_XY = (9.0, 14.0)
MARKER_RGB = (255, 0, 255)


@pytest.fixture(scope='session')
def small_world():
    """A whole city of 160 m, with a coarse ground."""
    pytest.importorskip('embreex')
    return make_world(5, half_extent=80.0, blocks=2, ground_gsd=0.1)


@pytest.fixture(scope='session')
def empty_city():
    """A city without anything in it."""
    return City(HALF, np.zeros((0, 2)), (), (), (), (), ())


@pytest.fixture(scope='session')
def marked_world(empty_city):
    """A grey plain with one marker."""
    pytest.importorskip('embreex')
    side = round(2 * HALF / GSD)
    canvas = np.full((side, side, 3), 110, np.uint8)
    u = round((MARKER_XY[0] + HALF) / GSD - 0.5)
    v = round((HALF - MARKER_XY[1]) / GSD - 0.5)
    cv2.circle(canvas, (u, v), round(0.6 / GSD), MARKER_RGB, -1)
    return World(3, Datum(48.1, 11.6, 520.0), empty_city, Ground(canvas, HALF, 0), Facades(0))
