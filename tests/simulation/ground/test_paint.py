# SPDX-License-Identifier: Apache-2.0
"""The ground's classes are what the plan says, and every class is seen in pictures."""

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.city import CROSSING_BEHIND_M, make_city, traffic
from geoloc_core.simulation.ground import paint_ground
from geoloc_core.simulation.ground.painter import hatch, Painter
from geoloc_core.simulation.mesh import traffic_mesh
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.renderer import render, render_aerial
from geoloc_core.simulation.robots.drive import mounted
from geoloc_core.simulation.world import make_world


@pytest.fixture(scope='module')
def city():
    return make_city(9, 140.0, 3)


@pytest.fixture(scope='module')
def ground(city):
    return paint_ground(city, 9, 0.1)


def labels(ground, xy):
    xy = np.atleast_2d(xy)
    return ground.label_at(xy[:, 0], xy[:, 1])


def test_classes_across_a_street(city, ground):
    """From the middle outwards: road (or its paint), then pavement."""
    road, pavement = [], []
    for street in city.streets:
        line = street.line
        for s in np.arange(25.0, line.length - 25, 3.0):
            xy, along = line.at(float(s))
            left = np.array([-along[1], along[0]])
            for side in (-1, 1):
                edge = max(street.median / 2 + 0.6, street.half_width - 0.5)
                road.append(xy + left * side * edge)
                if street.pavement:
                    pavement.append(xy + left * side * (street.half_width + 0.5 * street.pavement))
    assert np.isin(labels(ground, road), (Label.ROAD, Label.MARKING)).mean() > 0.97
    assert (labels(ground, pavement) == Label.PAVEMENT).mean() > 0.9


def test_medians_ponds_and_yards():
    for seed in range(12):
        city = make_city(seed, 160.0, 4)
        ponds = [a for a in city.areas if a.kind == 'pond']
        if ponds and any(s.median for s in city.streets):
            break
    ground = paint_ground(city, 0, 0.2)
    for pond in ponds:
        assert labels(ground, pond.outline.mean(axis=0)) == Label.WATER
    for street in city.streets:
        start, end = street.mouths[0] + 4, street.line.length - street.mouths[1] - 4
        if street.median and end > start:
            xy = [street.line.at(float(s))[0] for s in np.linspace(start, end, 9)]
            assert (labels(ground, xy) == Label.GRASS).all()


def test_stop_lines_and_crossings_are_painted(city, ground):
    degree = np.bincount([n for s in city.streets for n in (s.start, s.end)])
    crossings = arms = 0
    for street in city.streets:
        for node, at_end in ((street.start, False), (street.end, True)):
            if degree[node] < 3 or street.kind == 'lane':
                continue
            arms += 1
            painted = []
            for step in np.arange(-1.8, 1.9, 0.2):
                s = street.mouths[at_end] - CROSSING_BEHIND_M + step
                xy, along = street.line.at(street.line.length - s if at_end else s)
                right = np.array([along[1], -along[0]])
                across = xy + right * np.linspace(-1, 1, 60)[:, None] * (street.half_width - 0.4)
                painted.append((labels(ground, across) == Label.MARKING).mean())
            crossings += 0.3 < max(painted) < 0.8
    assert crossings > 0.6 * arms > 3


def test_same_seed_same_paint():
    city = make_city(4, 60.0, 2)
    one, two, other = (paint_ground(city, seed, 0.1) for seed in (9, 9, 10))
    assert np.array_equal(one.data.base, two.data.base)
    assert np.array_equal(one.data.classes, two.data.classes)
    assert not np.array_equal(one.data.base, other.data.base)


def test_rows_run_from_north_to_south():
    painter = Painter(10.0, 0.1)
    painter.disc((6.0, 3.0), 1.0, (255, 0, 255), Label.WATER)
    v, u = np.nonzero(painter.classes == Label.WATER)
    assert u.mean() * 0.1 - 9.95 == pytest.approx(6.0, abs=0.1)
    assert 9.95 - v.mean() * 0.1 == pytest.approx(3.0, abs=0.1)
    np.testing.assert_allclose(painter.colour_at(np.array([6.0, 3.0])), (255, 0, 255))


def test_hatching_stays_inside():
    outline = np.array([(0.0, 0.0), (10.0, 0.0), (10.0, 9.0), (6.0, 9.0), (6.0, 4.0), (0.0, 4.0)])
    segments = hatch(outline, 0.0, 1.0)
    for start, end in segments:
        assert start[1] == pytest.approx(end[1])
        length = abs(end[0] - start[0])
        assert length == pytest.approx(10.0 if start[1] < 4 else 4.0)


def test_every_class_is_seen():
    pytest.importorskip('embreex')
    world = make_world(1, half_extent=160.0, blocks=4, ground_gsd=0.1)
    scene = world.scene()
    seen = set()
    _, above = render_aerial(scene, Grid((0.0, 0.0), 0.5, 640, 600), 1, with_labels=True)
    seen |= set(np.unique(above).tolist())
    assert {
        Label.ROAD, Label.PAVEMENT, Label.MARKING, Label.GRASS, Label.BARE, Label.ROOF, Label.TREE,
        Label.VEHICLE,
    } <= seen  # fmt: skip
    cars, people = traffic(world.city, 0, 5.0)
    busy = scene.with_traffic(traffic_mesh(cars, people))
    camera = EquirectangularCamera(320, 160)
    for street in world.city.streets[::4]:
        xy, along = street.line.at(street.line.length / 2)
        T = se3.from_planar(*xy, np.arctan2(along[1], along[0])) @ mounted(0, 0, 1.7, 0)
        seen |= set(np.unique(render(busy, camera, T).labels).tolist())
    assert seen >= set(Label) - {Label.INTERIOR, Label.WATER}
