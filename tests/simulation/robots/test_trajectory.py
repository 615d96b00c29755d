# SPDX-License-Identifier: Apache-2.0
"""The motion is one a robot can make, in the place where it belongs."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.angles import wrap
from geoloc_core.simulation.city import City, make_city, Street
from geoloc_core.simulation.footprints.city import city_from_osm
from geoloc_core.simulation.footprints.geojson import read_osm
from geoloc_core.simulation.polyline import Polyline
from geoloc_core.simulation.robots.detours import obstacles
from geoloc_core.simulation.robots.routes import through_streets
from geoloc_core.simulation.robots.trajectory import DrivingStyle, make_trajectory, ROBOTS


@pytest.fixture(scope='module')
def city():
    return make_city(2, 160.0, 3)


@pytest.fixture(scope='module')
def trajectory(city):
    return make_trajectory(city, 4, 300.0)


def plain_city(lines, half_extent=150.0):
    """A city of nothing but streets between (start, end) points."""
    ends = np.array(sorted({tuple(p) for line in lines for p in line}), float)
    index = {tuple(p): i for i, p in enumerate(ends.tolist())}
    streets = tuple(
        Street(index[tuple(map(float, a))], index[tuple(map(float, b))], Polyline([a, b]), 3.6, 0)
        for a, b in lines
    )
    return City(half_extent, ends, streets, (), (), (), ())


def to_streets(city, xy):
    """Distance (N, S) of places to the middle lines of all streets."""
    lines = [street.line.resampled(0.5).points for street in city.streets]
    return np.stack([cKDTree(line).query(xy)[0] for line in lines], axis=-1)


def test_motion_is_continuous_and_within_limits(trajectory):
    style = DrivingStyle()
    step = np.linalg.norm(np.diff(trajectory.xyz, axis=0), axis=1)
    assert step.max() < 1.01 * style.speed * 0.01
    # Steps are as long as the speed says: the position is the integral of the velocity.
    speed = (trajectory.speed[1:] + trajectory.speed[:-1]) / 2
    np.testing.assert_allclose(step, speed * 0.01, atol=2e-3)
    assert trajectory.acceleration.max() < 1.05 * style.acceleration
    assert trajectory.acceleration.min() > -1.05 * style.braking
    sideways = np.abs(trajectory.speed * trajectory.angular[:, 2])
    assert sideways.max() < 1.3 * style.lateral
    assert np.abs(np.diff(trajectory.rpy, axis=0)).max() < 0.01
    assert trajectory.speed.min() >= 0 and trajectory.speed[0] < 0.3
    assert trajectory.speed.max() > 0.9 * style.speed


def test_car_faces_where_it_goes(trajectory):
    moving = trajectory.speed[:-1] > 1.0
    step = np.diff(trajectory.xyz[:, :2], axis=0)[moving]
    course = np.arctan2(step[:, 1], step[:, 0])
    assert np.abs(wrap(course - trajectory.rpy[:-1, 2][moving])).max() < 0.02


def test_car_keeps_to_the_right_hand_lane(city, trajectory):
    """At every moment some street's middle line lies to the left within a road's width."""
    lines = np.concatenate([s.line.resampled(0.5).points for s in city.streets])
    offsets = []
    for i in range(0, len(trajectory.t), 200):
        T = np.linalg.inv(se3.from_planar(*trajectory.xyz[i, :2], trajectory.rpy[i, 2]))
        local = se3.transform(T, np.c_[lines, np.zeros(len(lines))])
        beside = local[np.abs(local[:, 0]) < 0.5]
        beside = beside[np.abs(beside[:, 1]) < 6]
        if len(beside):
            offsets.append(beside[np.abs(beside[:, 1]).argmin(), 1])
    assert 1.2 < np.median(offsets) < 2.2


def test_body_rates_turn_the_body(trajectory):
    """Integrating the rates gives the attitude back."""
    start, count = 3000, 800
    R = se3.rotation_from_rpy(*trajectory.rpy[start])
    for i in range(start, start + count):
        middle = (trajectory.angular[i] + trajectory.angular[i + 1]) / 2
        R = R @ se3.exp_rotation(middle * 0.01)
    expected = se3.rotation_from_rpy(*trajectory.rpy[start + count])
    assert np.linalg.norm(se3.log_rotation(R.T @ expected)) < 2e-3


def test_seeds_decide(city):
    same = [make_trajectory(city, seed, 30.0).xyz for seed in (1, 1, 2)]
    assert np.array_equal(same[0], same[1])
    assert not np.allclose(same[0], same[2])
    with pytest.raises(ConfigError, match='duration'):
        make_trajectory(city, 1, 0.0)


def test_speed_follows_the_limit_of_the_street(city):
    fast = make_trajectory(city, 4, 200.0, style=ROBOTS['car'])
    assert 12.0 < fast.speed.max() <= 13.9
    narrow = plain_city([((-90, -60), (90, -60)), ((90, -60), (90, 60)), ((90, 60), (-90, -60))])
    slow = make_trajectory(narrow, 0, 60.0, style=ROBOTS['car'])
    assert 7.0 < slow.speed.max() <= 8.4


@pytest.mark.parametrize('seed', range(3))
def test_delivery_robot_stays_on_pavements_and_crossings(city, seed):
    walk = make_trajectory(city, seed, 600.0, style=ROBOTS['delivery'])
    xy = walk.xyz[::50, :2]
    away = to_streets(city, xy)
    kerb = np.array([s.half_width for s in city.streets])
    outer = np.array([s.reach for s in city.streets])
    on_road = (away < kerb - 0.2).any(axis=1)
    on_pavement = ((away > kerb - 0.2) & (away < outer + 0.1)).any(axis=1)
    junction = np.linalg.norm(xy[:, None] - city.junctions[None], axis=2).min(axis=1)
    assert (on_road | on_pavement).mean() > 0.99
    assert on_road.mean() < 0.15
    # The road is met at crossings only, and those lie at junctions.
    mouth = max(max(s.mouths) for s in city.streets)
    assert (junction[on_road] < mouth + 2).all()
    assert walk.speed.max() <= 1.61
    assert np.abs(np.diff(walk.rpy[:, 2])).max() < 0.03


def test_delivery_robot_goes_round_what_stands_in_its_way(city):
    places, radii = obstacles(city)
    touched = passed = 0
    for seed in range(3):
        walk = make_trajectory(city, seed, 600.0, style=ROBOTS['delivery'])
        away = cKDTree(walk.xyz[::10, :2]).query(places)[0]
        touched += int((away < radii + 0.25).sum())
        passed += int((away < 2.0).sum())
    # Where two things leave no gap it squeezes through.
    assert passed > 15 and touched <= 0.05 * passed


@pytest.mark.parametrize('seed', range(3))
def test_car_stays_on_the_road(city, seed):
    way = make_trajectory(city, seed, 300.0, style=ROBOTS['car'])
    xy = way.xyz[::20, :2]
    kerb = np.array([s.half_width for s in city.streets])
    inside = (to_streets(city, xy) < kerb - 0.9).any(axis=1)
    junction = np.linalg.norm(xy[:, None] - city.junctions[None], axis=2).min(axis=1)
    # Within a junction the kerbs are rounded.
    assert (inside | (junction < 14)).all()


@pytest.mark.parametrize('robot', ['car', 'delivery'])
def test_ways_never_jump_nor_reverse(city, robot):
    for seed in range(3):
        way = make_trajectory(city, seed, 200.0, style=ROBOTS[robot])
        step = np.diff(way.xyz[:, :2], axis=0)
        assert np.linalg.norm(step, axis=1).max() <= 1.02 * way.speed.max() * 0.01
        forward = np.stack([np.cos(way.rpy[:-1, 2]), np.sin(way.rpy[:-1, 2])], axis=-1)
        assert (np.einsum('ij,ij->i', step, forward) >= -1e-6).all()
        assert np.abs(np.diff(way.rpy[:, 2])).max() < 0.03


def test_dead_ends_are_avoided_where_there_is_another_way():
    ring = [((-90, -60), (90, -60)), ((90, -60), (0, 70)), ((0, 70), (-90, -60))]
    city = plain_city([*ring, ((90, -60), (140, -60)), ((0, 70), (0, 130))])
    assert len(through_streets(city)) == 3
    way = make_trajectory(city, 1, 120.0)
    assert way.xyz[:, 0].max() < 100 and way.xyz[:, 1].max() < 80


@pytest.mark.parametrize('robot', ['car', 'delivery'])
def test_a_town_of_dead_ends_is_driven_in_loops(robot):
    city = plain_city([((-120, 0), (0, 0)), ((0, 0), (110, 30))])
    way = make_trajectory(city, 1, 400.0, style=ROBOTS[robot])
    assert np.abs(way.xyz[:, :2]).max() < 135
    # Yaw of a car in a loop changes smoothly; a turn on the spot would be a jump.
    assert np.abs(np.diff(way.rpy[:, 2])).max() < 0.03
    assert to_streets(city, way.xyz[::50, :2]).min(axis=1).max() < 8.0


def test_a_city_without_streets_is_refused(empty_city):
    with pytest.raises(ConfigError, match='streets'):
        make_trajectory(empty_city, 0, 10.0)


@pytest.mark.parametrize('robot', ['car', 'delivery'])
def test_real_streets_can_be_driven(robot):
    source = read_osm(Path(__file__).parents[3] / 'config' / 'world' / 'helsinki.geojson')
    city = city_from_osm(source, 0)
    for seed in (1, 2):
        way = make_trajectory(city, seed, 150.0, style=ROBOTS[robot])
        assert np.abs(way.xyz[:, :2]).max() < city.half_extent
        assert np.abs(np.diff(way.rpy[:, 2])).max() < 0.03
        xy = way.xyz[::50, :2]
        away = to_streets(city, xy)
        assert (away < np.array([s.reach for s in city.streets]) + 0.3).any(axis=1).mean() > 0.97
