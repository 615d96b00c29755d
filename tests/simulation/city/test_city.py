# SPDX-License-Identifier: Apache-2.0
"""Nothing stands where something else is, and a seed is the whole city."""

import cv2
import numpy as np
import pytest

from geoloc_core.simulation.city import Area, Building, furnish, make_city, Street, with_mouths
from geoloc_core.simulation.city.room import area_of, rectangle
from geoloc_core.simulation.polyline import Polyline


def inside_by(outline, points):
    """How deep (m) places lie in a polygon; negative outside."""
    polygon = outline.astype(np.float32)[:, None]
    return np.array([cv2.pointPolygonTest(polygon, (float(x), float(y)), True) for x, y in points])


def test_cities_are_full(cities):
    for city in cities:
        assert len(city.buildings) > 20
        assert len(city.trees) > 40
        assert len(city.cars) > 20
        assert len(city.furniture) > 50
        assert len(city.lamps) > 10 and city.lamps[:, 2].min() > 3
        assert city.cars != city.other_cars


def test_streets_are_free_of_houses_trunks_and_furniture(cities):
    for city in cities:
        for street in city.streets:
            line = street.line.resampled(0.5).points
            for building in city.buildings:
                center = building.footprint.mean(axis=0)
                reach = np.linalg.norm(building.footprint - center, axis=1).max()
                near = line[np.linalg.norm(line - center, axis=1) < reach + street.reach]
                if len(near):
                    assert inside_by(building.footprint, near[::2]).max() < -street.half_width
            things = np.array([t.xy for t in city.trees] + [f.xy for f in city.furniture])
            away = np.linalg.norm(line[:, None] - things, axis=-1).min(axis=0)
            on_median = away < street.median / 2 - 0.5
            assert (away[~on_median] > street.half_width).all()


def test_footprints_do_not_overlap(cities):
    for city in cities:
        corners = [b.footprint for b in city.buildings]
        middles = np.array([c.mean(axis=0) for c in corners])
        reach = np.array(
            [np.linalg.norm(c - m, axis=1).max() for c, m in zip(corners, middles, strict=True)]
        )
        for i, outline in enumerate(corners):
            assert area_of(outline) > 8
            away = np.linalg.norm(middles - middles[i], axis=1)
            for j in np.flatnonzero(away < reach + reach[i]):
                if i == j:
                    continue
                edges = np.concatenate(
                    [
                        corners[j] + (np.roll(corners[j], -1, axis=0) - corners[j]) * f
                        for f in (0.1, 0.5, 0.9)
                    ]
                )
                # Houses in a row share a wall.
                assert inside_by(outline, edges).max() < 0.8


def test_trunks_stand_outside_of_houses(cities):
    for city in cities[:3]:
        places = np.array([t.xy for t in city.trees])
        for building in city.buildings:
            near = np.abs(places - building.footprint.mean(axis=0)).max(axis=1) < 40
            if near.any():
                assert inside_by(building.footprint, places[near]).max() < 0


def test_parked_cars_stand_beside_lanes_and_apart(cities):
    for city in cities[:3]:
        places = np.array([c.xy for c in city.cars])
        away = np.linalg.norm(places[:, None] - places, axis=-1) + 99 * np.eye(len(places))
        assert away.min() > 1.9
        for street in city.streets:
            line = street.line.resampled(0.5).points
            for car in city.cars:
                if np.linalg.norm(line - car.xy, axis=1).min() < street.half_width:
                    shape = rectangle(car.xy, car.yaw, *car.size[:2])
                    gap = np.linalg.norm(line[:, None] - shape, axis=-1).min()
                    assert gap > street.lane_offset + 0.9


def test_every_kind_of_thing_occurs(large_city):
    roofs = {b.roof for b in large_city.buildings}
    assert {'flat', 'gable', 'hip', 'half_hip', 'mansard', 'shed', 'spire'} <= roofs
    assert {len(b.footprint) for b in large_city.buildings} >= {4, 6, 8}
    assert {t.kind for t in large_city.trees} == {'round', 'poplar', 'conifer', 'bush'}
    assert {c.kind for c in large_city.cars} >= {'car', 'van'}
    assert {a.kind for a in large_city.areas} >= {'park', 'square', 'parking', 'lawn', 'yard'}
    assert {f.kind for f in large_city.fences} >= {'hedge', 'fence'}
    furniture = {f.kind for f in large_city.furniture}
    assert {'lamp', 'sign', 'traffic_light', 'bench', 'bin', 'bollard', 'box'} <= furniture
    reaching = 0
    for tree in large_city.trees:
        for street in large_city.streets:
            gap = np.linalg.norm(street.line.points - tree.xy, axis=1).min()
            reaching += gap < street.half_width + 0.8 * tree.radius
    assert reaching > 5


def test_same_seed_same_city():
    one, two, other = (make_city(seed, 120.0, 3) for seed in (4, 4, 5))
    assert one.cars == two.cars and one.furniture == two.furniture and one.trees == two.trees
    for a, b in zip(one.buildings, two.buildings, strict=True):
        assert np.array_equal(a.footprint, b.footprint) and a.roof_rgb == b.roof_rgb
    assert one.cars != other.cars


@pytest.mark.parametrize('parking', [True, False])
def test_any_plan_can_be_furnished(parking):
    """Streets and houses from elsewhere, such as a map, get trees, cars and lamps."""
    streets = with_mouths(
        [
            Street(0, 1, Polyline([(-60, 3), (0, 0)]), 5.4, parking),
            Street(1, 2, Polyline([(0, 0), (70, -8)]), 5.4, parking),
            Street(1, 3, Polyline([(0, 0), (5, 60)]), 3.3, False, kind='lane', pavement=0.0),
        ]
    )
    house = Building(rectangle((30, 25), 0.3, 20, 12), 9.0, 3.0, 0, (200, 190, 170), (150, 80, 60))
    park = Area('park', np.array([(-50.0, 20.0), (-15.0, 20.0), (-20.0, 60.0), (-50.0, 55.0)]))
    lives = [furnish(np.random.default_rng(8), streets, (house,), (park,), 80.0) for _ in range(2)]
    assert lives[0] == lives[1]
    life = lives[0]
    assert len(life.trees) > 20
    assert any(f.kind == 'lamp' for f in life.furniture)
    assert bool(life.cars) == parking
    assert inside_by(house.footprint, [t.xy for t in life.trees]).max() < 0
    in_park = inside_by(park.outline, [t.xy for t in life.trees]) > 0
    assert in_park.sum() > 8
