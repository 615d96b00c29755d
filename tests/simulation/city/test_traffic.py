# SPDX-License-Identifier: Apache-2.0
"""Movers drive as cars drive and walk as people walk."""

import numpy as np

from geoloc_core.geometry.angles import wrap
from geoloc_core.simulation.city import City, traffic


def by_index(city, t):
    cars, people = traffic(city, 7, t)
    return np.array([c.xy for c in cars]), np.array([c.yaw for c in cars]), people


def test_speeds_are_those_of_a_town(cities):
    seen = 0
    for city in cities[:4]:
        for t in (0.0, 17.3, 400.0):
            (a, yaw, people), (b, turned, later) = by_index(city, t), by_index(city, t + 0.1)
            seen += len(a)
            if len(a):
                step = b - a
                speed = np.linalg.norm(step, axis=1) / 0.1
                assert speed.min() > 1.0 and speed.max() < 15.0
                course = np.arctan2(step[:, 1], step[:, 0])
                assert np.abs(wrap(course - yaw)).max() < 0.2
                assert np.abs(wrap(turned - yaw)).max() < 0.35
            walked = [np.subtract(q.xy, p.xy) for p, q in zip(people, later, strict=True)]
            assert np.linalg.norm(walked, axis=1).max() / 0.1 < 4.0
    assert seen > 60


def test_cars_keep_right_and_never_meet(cities):
    for city in cities[:4]:
        lines = [(s, s.line.resampled(1.0)) for s in city.streets]
        for t in (3.0, 61.0):
            places, yaws, _ = by_index(city, t)
            if len(places) > 1:
                away = np.linalg.norm(places[:, None] - places, axis=-1)
                ahead = np.abs(wrap(yaws[:, None] - yaws)) < 0.5
                assert away[ahead & (away > 0)].min(initial=99) > 9
                assert (away + 99 * np.eye(len(away))).min() > 3.0
            for place, yaw in zip(places, yaws, strict=True):
                street, line, i = min(
                    (
                        (s, ln, int(np.linalg.norm(ln.points - place, axis=1).argmin()))
                        for s, ln in lines
                    ),
                    key=lambda found: np.linalg.norm(found[1].points[found[2]] - place),
                )
                if not 25 < line.s[i] < line.length - 25:
                    continue
                to_line = line.points[i] - place
                left = np.array([-np.sin(yaw), np.cos(yaw)])
                assert abs(to_line @ left - street.lane_offset) < 0.6


def test_people_walk_on_pavements(cities):
    outside = []
    for city in cities[:4]:
        for person in traffic(city, 7, 12.0)[1]:
            gaps = [
                np.linalg.norm(s.line.points - person.xy, axis=1).min() - s.half_width
                for s in city.streets
            ]
            outside.append(min(gaps))
            assert 0.0 <= person.phase < 1.0 or person.phase == -1.0
    outside = np.array(outside)
    # Some cross a side street.
    assert np.mean((outside > 0.1) & (outside < 4.0)) > 0.85


def test_nobody_comes_near_the_ego_car(cities):
    city = cities[1]
    cars, people = traffic(city, 7, 5.0)
    for member in (*cars[:5], *people[:5]):
        ego = np.add(member.xy, (0.5, -0.3))
        fewer_cars, fewer_people = traffic(city, 7, 5.0, avoid_xy=ego, avoid_m=9.0)
        assert len(fewer_cars) + len(fewer_people) < len(cars) + len(people)
        for other in (*fewer_cars, *fewer_people):
            assert np.linalg.norm(ego - other.xy) > 9.0
        assert set(fewer_cars) <= set(cars)


def test_seed_and_time_decide(cities):
    city = cities[2]
    assert traffic(city, 1, 30.0) == traffic(city, 1, 30.0)
    assert traffic(city, 1, 30.0) != traffic(city, 2, 30.0)
    assert traffic(city, 1, 30.0) != traffic(city, 1, 31.0)


def test_a_city_without_streets_has_no_traffic():
    empty = City(50.0, np.zeros((0, 2)), (), (), (), (), ())
    assert traffic(empty, 0, 1.0) == ((), ())
