# SPDX-License-Identifier: Apache-2.0
"""A hall in a city: where it stands, and that its door is open."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.city import make_city
from geoloc_core.simulation.city.room import Frame, inside
from geoloc_core.simulation.mesh import build_mesh
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.rooms.hall import DOOR_M, make_hall, WALL_M
from geoloc_core.simulation.rooms.hall_site import MIN_WALK_M, with_hall


@pytest.fixture(scope='module')
def city():
    return make_city(0, 110.0, 2)


@pytest.fixture(scope='module')
def built(city):
    return with_hall(city, 0)


def test_own_axes_lead_along_the_front_and_inwards():
    frame = Frame(np.array([10.0, -4.0]), np.array([0.0, 1.0]))
    hall = make_hall(1, frame, (15.0, 11.0), 6.0, 7.0)
    # Along is north, so inwards is west.
    np.testing.assert_allclose(hall.own([(7.0, -2.0)]), [(2.0, 3.0)], atol=1e-12)
    here = [(7.0, -2.0), (11.0, -4.0), (7.0, 4.0), (-1.5, -4.0)]
    assert hall.is_inside(here).tolist() == [True, False, False, False]


def test_hall_stands_alone_with_a_free_way_to_its_door(city, built):
    with_it, site = built
    hall = site.hall
    length, depth = hall.size
    assert with_it.buildings[-1] is hall.building
    assert not any(house.doors for house in city.buildings)
    walls = hall.building.footprint
    for house in with_it.buildings[:-1]:
        assert not any(inside(walls, xy) for xy in house.footprint)
        assert not any(inside(house.footprint, xy) for xy in walls)
    things = [*with_it.trees, *with_it.cars, *with_it.other_cars, *with_it.furniture]
    uv = hall.own([thing.xy for thing in things])
    in_way = (np.abs(uv[:, 0]) < DOOR_M[0] / 2) & (uv[:, 1] > -hall.forecourt_m) & (uv[:, 1] < 1)
    assert not in_way.any()
    assert not hall.is_inside([thing.xy for thing in things]).any()
    edges = np.linalg.norm(np.roll(walls, -1, axis=0) - walls, axis=1)
    np.testing.assert_allclose(edges, [length, depth, length, depth])


def test_way_leads_along_the_pavement_to_before_the_door(built):
    _, site = built
    end = site.hall.own(site.way[-1:])[0]
    np.testing.assert_allclose(end, (0.0, -site.hall.pavement_m), atol=0.3)
    np.testing.assert_allclose(site.way[-1], site.onward[0])
    steps = np.linalg.norm(np.diff(site.way, axis=0), axis=1)
    assert steps.sum() >= MIN_WALK_M and steps.max() < 0.6
    # It goes on in the direction in which it came.
    assert (site.onward[-1] - site.onward[0]) @ (site.way[-1] - site.way[0]) > 0


def test_a_city_without_room_is_named(empty_city):
    with pytest.raises(ConfigError, match='another seed'):
        with_hall(empty_city, 0)


def test_one_sees_through_the_door_and_not_through_the_wall(empty_city):
    pytest.importorskip('embreex')
    from dataclasses import replace

    from geoloc_core.simulation.render.scene import Scene

    hall = make_hall(3, Frame(np.array([2.0, 1.0]), np.array([1.0, 0.0])), (15.0, 11.0), 6.0, 7.0)
    city = replace(empty_city, buildings=(hall.building,))
    mesh = build_mesh(city, 0, interiors=(hall,))
    scene = Scene(mesh, Ground(np.full((64, 64, 3), 110, np.uint8), 32.0, 0), Facades(0))
    north = np.array([[0.0, 1.0, 0.0]])
    through = scene.cast(np.array([2.0, -3.0, 0.7]), north, 0.0, 1e-3)
    # Nothing stands in the middle: what is met stands at, or hangs on, the far wall.
    assert 4.0 + 11.0 - WALL_M - 0.8 < through.range_m[0] <= 4.0 + 11.0 - WALL_M + 1e-6
    assert through.label[0] == Label.INTERIOR
    beside = scene.cast(np.array([5.5, -3.0, 2.9]), north, 0.0, 1e-3)
    assert beside.range_m[0] == pytest.approx(4.0) and beside.label[0] != Label.INTERIOR
    above = scene.cast(np.array([2.0, -3.0, DOOR_M[1] + 1.4]), north, 0.0, 1e-3)
    assert above.range_m[0] == pytest.approx(4.0, abs=0.01)
    up = scene.cast(np.array([2.0, 6.0, 0.7]), np.array([[0.0, 0.0, 1.0]]), 0.0, 1e-3)
    assert up.range_m[0] < 4.0 and up.label[0] == Label.INTERIOR
