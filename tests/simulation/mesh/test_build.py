# SPDX-License-Identifier: Apache-2.0
"""A city's mesh holds what the plan says, each triangle named and coloured."""

import numpy as np
import pytest

from geoloc_core.simulation.city import Car, City, Fence, Furniture, make_city, Person, Tree
from geoloc_core.simulation.mesh import build_mesh, traffic_mesh
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material


@pytest.fixture(scope='module')
def city():
    return make_city(6, 130.0, 3)


def only(**parts):
    empty = dict(streets=(), buildings=(), trees=(), cars=(), other_cars=())
    return City(50.0, np.zeros((0, 2)), **{**empty, **parts})


def bounds(mesh, label):
    corners = mesh.triangles[mesh.label == label].reshape(-1, 3)
    return corners.min(axis=0), corners.max(axis=0)


def test_all_columns_have_a_row_for_every_triangle(city):
    mesh = build_mesh(city, 0)
    m = len(mesh.triangles)
    assert mesh.material[0] == Material.GROUND and mesh.material[1] == Material.GROUND
    for name in (
        'material',
        'rgb',
        'normal',
        'offset',
        'kind',
        'wall_axis',
        'label',
        'crown_center',
    ):
        assert len(getattr(mesh, name)) == m, name
    assert np.isfinite(mesh.normal).all() and np.isfinite(mesh.triangles).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normal, axis=1), 1.0, atol=1e-9)
    assert mesh.rgb.min() >= 0 and mesh.rgb.max() <= 256
    # Only bushes reach into the ground.
    assert mesh.triangles[2:, :, 2].min() > -0.5
    expected = {Label.BUILDING, Label.ROOF, Label.TREE, Label.VEHICLE, Label.PERSON, Label.POLE}
    assert expected <= set(mesh.label.tolist())
    again = build_mesh(city, 0)
    assert np.array_equal(mesh.triangles, again.triangles) and np.array_equal(mesh.rgb, again.rgb)


def test_another_day_has_other_cars_and_nobody_about(city):
    here, there = build_mesh(city, 0), build_mesh(city, 0, moved_cars=True)
    assert not np.array_equal(here.triangles.shape, there.triangles.shape)
    assert Label.PERSON not in there.label
    same = [m.triangles[m.label == Label.ROOF] for m in (here, there)]
    assert np.array_equal(*same)


@pytest.mark.parametrize('kind', ['car', 'van', 'bus', 'truck'])
def test_vehicles_fill_their_size_and_face_their_heading(kind):
    car = Car((10.0, -5.0), np.pi / 2, (4.6, 1.8, 1.6), (200, 30, 30), kind)
    mesh = traffic_mesh((car,), ())
    low, high = bounds(mesh, Label.VEHICLE)
    np.testing.assert_allclose(high - low, (1.8, 4.6, 1.6), rtol=0.05)
    np.testing.assert_allclose((high + low)[:2] / 2, car.xy, atol=0.06)
    # Tail lights are red and lie behind: south of the middle of a car that faces north.
    red = (mesh.rgb[:, 0] > 120) & (mesh.rgb[:, 1] < 40) & (mesh.material == Material.PLAIN)
    assert mesh.triangles[red][..., 1].max() < -5.0


def test_people_stand_upright_and_walk_with_their_legs():
    walkers = [Person((4.0, 2.0), 0.0, 1.8, (30, 90, 150), phase=p) for p in (-1.0, 0.25, 0.75)]
    reach = []
    for person in walkers:
        mesh = traffic_mesh((), (person,))
        low, high = bounds(mesh, Label.PERSON)
        assert high[2] == pytest.approx(1.8, rel=0.02) and low[2] == pytest.approx(0.0, abs=0.02)
        np.testing.assert_allclose((high + low)[:2] / 2, person.xy, atol=0.15)
        feet = mesh.triangles[mesh.triangles[..., 2].max(axis=1) < 0.12]
        reach.append(np.ptp(feet[..., 0]))
    assert reach[1] > reach[0] + 0.2 and reach[2] == pytest.approx(reach[1], abs=0.02)


@pytest.mark.parametrize('kind', ['round', 'poplar', 'conifer', 'bush'])
def test_trees_stand_where_they_stand(kind):
    tree = Tree((-8.0, 12.0), 2.0, 7.0 if kind != 'bush' else 1.2, (80, 100, 50), kind)
    mesh = build_mesh(only(trees=(tree,)), 4)
    low, high = bounds(mesh, Label.TREE)
    np.testing.assert_allclose((high + low)[:2] / 2, tree.xy, atol=0.5)
    assert 1.2 < (high - low)[:2].max() / 2 < 2.8
    assert low[2] < 0.3 and high[2] > tree.crown_height
    crown = mesh.material == Material.CROWN
    assert 20 <= crown.sum() < 260
    away = np.linalg.norm(mesh.crown_center[crown] - (*tree.xy, tree.crown_height), axis=1)
    assert away.max() < 5.0


def test_lamps_shine_where_the_city_says():
    lamp = Furniture('lamp', (3.0, 4.0), np.pi / 2, 7.0)
    city = only(furniture=(lamp,))
    mesh = build_mesh(city, 0)
    shining = mesh.triangles[mesh.material == Material.LAMP].reshape(-1, 3)
    np.testing.assert_allclose(city.lamps, [(3.0, 5.4, 6.85)], atol=1e-9)
    np.testing.assert_allclose(shining.mean(axis=0), city.lamps[0], atol=0.1)


@pytest.mark.parametrize(
    ('kind', 'label'), [('hedge', Label.TREE), ('fence', Label.POLE), ('wall', Label.BUILDING)]
)
def test_fences_run_along_their_line(kind, label):
    fence = Fence(np.array([(0.0, 0.0), (9.0, 3.0)]), 1.2, kind, (120, 90, 60))
    mesh = build_mesh(only(fences=(fence,)), 0)
    low, high = bounds(mesh, label)
    np.testing.assert_allclose(low[:2], (0, 0), atol=0.5)
    np.testing.assert_allclose(high[:2], (9, 3), atol=0.5)
    assert high[2] == pytest.approx(1.2, rel=0.1)
