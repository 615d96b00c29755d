# SPDX-License-Identifier: Apache-2.0
"""A world on another day: what changes, what stays, and by how much the picture lies beside."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from geoloc_core.geometry.cameras import EquirectangularCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.city import Building, Car, City, Furniture, Tree
from geoloc_core.simulation.conditions.aerial import develop
from geoloc_core.simulation.conditions.changes import changed_city
from geoloc_core.simulation.conditions.days import (
    aerial_scene,
    aerial_view,
    ground_scene,
    moving_scene,
)
from geoloc_core.simulation.conditions.draws import AerialDay, draw_aerial, draw_ground, GroundDay
from geoloc_core.simulation.conditions.settings import Conditions, PRESETS
from geoloc_core.simulation.ground import paint_ground
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.renderer import render, render_aerial
from geoloc_core.simulation.world import World

pytest.importorskip('embreex')
pytest.importorskip('numba')

HALF = 48.0
GRID = Grid((2.0, -3.0), 0.25, 200, 160)
FLOWN = AerialDay(seed=3, index=1)
# Where the tower of the little town stands, and how high it is.
TOWER_XY, TOWER_M = (6.0, 4.0), 20.0


def box(x, y, width, depth, height, rgb):
    corners = np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, depth / 2) + (x, y)
    return Building(corners, height, 0.0, 0, (200, 190, 180), rgb, roof='flat')


@pytest.fixture(scope='module')
def town():
    """Rows of low houses, one red tower, trees and cars; no streets."""
    rng = np.random.default_rng(4)
    houses = [
        box(x, y, 7, 6, 4.0 + 0.1 * x * (x > 0), (120, 122, 130))
        for x in np.arange(-40.0, 41, 16)
        for y in (-34.0, -20.0, 26.0, 38.0)
    ]
    tower = box(*TOWER_XY, 8, 6, TOWER_M, (230, 20, 20))
    trees = [
        Tree((float(x), float(y)), 2.0, 3.5, (78, 104, 52))
        for x, y in rng.uniform(-44, 44, (60, 2))
        if abs(y) < 16 and abs(x - TOWER_XY[0]) > 14
    ]
    cars = tuple(Car((x, -10.0), 0.0, (4.4, 1.8, 1.5), (220, 220, 40)) for x in (-30.0, -20.0))
    moved = (Car((-25.0, -10.0), 0.0, (4.4, 1.8, 1.5), (220, 220, 40)),)
    lamps = (Furniture('lamp', (0.0, -8.0), 0.0, 6.0),)
    city = City(
        HALF, np.zeros((0, 2)), (), (*houses, tower), tuple(trees), cars, moved, furniture=lamps
    )
    return World(3, Datum(48.1, 11.6, 520.0), city, paint_ground(city, 3, 0.1), Facades(3))


@pytest.fixture(scope='module')
def plain(town):
    """The town from straight above on the very day."""
    return aerial_view(town, FLOWN, GRID, with_labels=True)


def shift_px(a, b):
    """How far the content of b lies from that of a: (u, v) px, by phase correlation."""
    grey = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float64) for i in (a, b)]
    window = cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_64F)
    (u, v), _ = cv2.phaseCorrelate(*grey, window)
    return np.array([u, v])


def middle_of(image, grid):
    """(x, y) of the tower's red roof in a picture."""
    r, g, b = np.moveaxis(image.astype(int), -1, 0)
    v, u = np.nonzero((r > 2 * g + 20) & (r > 2 * b + 20))
    assert len(u) > 50
    return grid.xy_from_uv([u.mean(), v.mean()])


def test_nothing_asked_for_is_nothing_changed(town, plain):
    day = draw_aerial(Conditions(), 8, 5)
    assert changed_city(town.city, day) == replace(town.city)
    scene = town.scene(day.appearance)
    assert np.array_equal(aerial_view(town, day, GRID).image, render_aerial(scene, GRID))
    drive = draw_ground(Conditions(), 8, 5)
    assert drive.appearance.light.azimuth == day.appearance.light.azimuth
    assert plain.registration_shift_m == (0.0, 0.0) and plain.grid == GRID


@pytest.mark.parametrize('shift', [(2.0, 0.0), (0.0, 1.5), (-1.3, 2.1)])
def test_registration_error_is_the_drawn_one(town, plain, shift):
    """What is at (x, y) appears at (x + dx, y + dy); north is up, so +dy moves rows up."""
    view = aerial_view(town, replace(FLOWN, shift_m=shift), GRID, with_labels=True)
    assert view.registration_shift_m == shift and view.grid == GRID
    measured = shift_px(plain.image, view.image) * (GRID.gsd, -GRID.gsd)
    np.testing.assert_allclose(measured, shift, atol=0.06)
    moved = middle_of(view.image, GRID) - middle_of(plain.image, GRID)
    np.testing.assert_allclose(moved, shift, atol=0.15)
    # Labels say what each pixel shows, so they move with the picture.
    assert view.labels is not None and plain.labels is not None
    roof = [np.argwhere(v.labels == Label.ROOF).mean(axis=0) for v in (plain, view)]
    assert not np.allclose(roof[0], roof[1], atol=0.05)


@pytest.mark.parametrize('lean', [(0.3, 0.0), (-0.1, 0.2)])
def test_lean_moves_roofs_by_their_height_and_leaves_the_ground(town, plain, lean):
    day = replace(FLOWN, lean=lean)
    view = aerial_view(town, day, GRID, with_labels=True)
    moved = middle_of(view.image, GRID) - middle_of(plain.image, GRID)
    np.testing.assert_allclose(moved, np.array(lean) * TOWER_M, atol=0.5)
    # Open ground seen both times has the same colours.
    open_ground = (plain.labels == Label.GRASS) & (view.labels == Label.GRASS)
    change = np.abs(view.image.astype(int) - plain.image).max(axis=2)[open_ground]
    assert np.median(change) <= 1 and np.percentile(change, 80) <= 6
    # Walls come into sight.
    assert (view.labels == Label.BUILDING).sum() > (plain.labels == Label.BUILDING).sum() + 200


def test_workers_do_not_change_the_bytes(town):
    day = replace(draw_aerial(PRESETS['hard'], 1, 1), repainted=False)
    one, two = (aerial_view(town, day, GRID, workers).image for workers in (1, 3))
    assert np.array_equal(one, two)
    scene = aerial_scene(town, day)
    assert np.array_equal(one, aerial_view(town, day, GRID, scene=scene).image)


CHANGES = {
    'moved_cars': (True, {'cars'}), 'roofs_changed': (0.5, {'buildings'}),
    'houses_changed': (0.4, {'buildings', 'trees'}), 'trees_changed': (0.5, {'trees'}),
    'growth_m': (0.5, {'trees'}), 'crowns': (1.5, {'trees'}),
}  # fmt: skip


@pytest.mark.parametrize('name', CHANGES)
def test_each_change_touches_its_own_things(town, plain, name):
    value, expected = CHANGES[name]
    day = replace(FLOWN, **{name: value})
    city = changed_city(town.city, day)
    different = {
        f.name
        for f in fields(City)
        if f.name != 'junctions' and getattr(city, f.name) != getattr(town.city, f.name)
    }
    assert different <= expected and different
    again = changed_city(town.city, day)
    assert [t.xy for t in again.trees] == [t.xy for t in city.trees]
    assert [b.height for b in again.buildings] == [b.height for b in city.buildings]
    other = changed_city(town.city, replace(day, index=2))
    if name.endswith('_changed'):
        assert other.trees != city.trees or other.buildings != city.buildings
    view = aerial_view(town, day, GRID).image
    assert np.abs(view.astype(float) - plain.image).mean() > 0.02


def test_shares_of_change_are_as_asked(town):
    old = town.city
    roofs = changed_city(old, replace(FLOWN, roofs_changed=0.5)).buildings
    share = np.mean([a.roof_rgb != b.roof_rgb for a, b in zip(old.buildings, roofs, strict=True)])
    assert 0.2 < share < 0.8
    trees = [changed_city(old, replace(FLOWN, trees_changed=0.6, index=i)).trees for i in range(8)]
    today = {t.xy for t in old.trees}
    felled = np.mean([sum(t.xy not in today for t in each) for each in trees]) / len(old.trees)
    missing = np.mean([len(today - {t.xy for t in each}) for each in trees]) / len(old.trees)
    assert 0.15 < felled < 0.45 and 0.15 < missing < 0.45
    houses = changed_city(old, replace(FLOWN, houses_changed=0.6)).buildings
    places = {tuple(b.footprint.mean(axis=0)): b.height for b in old.buildings}
    heights = [b.height != places.get(tuple(b.footprint.mean(axis=0)), -1) for b in houses]
    assert 0.1 < np.mean(heights) < 0.8
    for crowns in (0.7, 1.6):
        grown = changed_city(old, replace(FLOWN, crowns=crowns)).trees
        for tree, before in zip(grown, old.trees, strict=True):
            assert tree.radius == pytest.approx(before.radius * crowns)


def test_nothing_new_stands_in_houses_or_streets(small_world):
    day = replace(FLOWN, houses_changed=0.8, trees_changed=0.8)
    before = {b.footprint.tobytes() for b in small_world.city.buildings}
    city = changed_city(small_world.city, day)
    old_trees = {t.xy for t in small_world.city.trees}
    felled = [t for t in city.trees if t.xy not in old_trees]
    assert felled
    lines = [(s.line.resampled(1.0).points, s.half_width) for s in city.streets]
    new = [b for b in city.buildings if b.footprint.tobytes() not in before]
    for points, half_width in lines:
        for tree in felled:
            assert np.linalg.norm(points - tree.xy, axis=1).min() > half_width - 1.1
        for building in new:
            middle = building.footprint.mean(axis=0)
            assert np.linalg.norm(points - middle, axis=1).min() > half_width


def test_another_coat_of_paint_is_another_ground(town, plain):
    view = aerial_view(town, replace(FLOWN, repainted=True), GRID, with_labels=True)
    assert np.abs(view.image.astype(float) - plain.image).mean() > 0.3
    # Only bare spots in the grass lie elsewhere.
    assert (view.labels == plain.labels).mean() > 0.9


CAMERA = {
    'veil': 0.3, 'tint': (1.1, 0.95, 1.0), 'contrast': 0.7, 'saturation': 0.4, 'blur_px': 1.2,
    'noise': 5.0, 'jpeg_quality': 40,
}  # fmt: skip


@pytest.mark.parametrize('name', CAMERA)
def test_the_aerial_cameras_settings_do_what_they_say(plain, name):
    image = plain.image
    before = image.copy()
    out = develop(image, replace(FLOWN, **{name: CAMERA[name]}), GRID)
    assert np.array_equal(image, before)
    change = out.astype(float) - image
    assert np.abs(change).mean() > 0.5
    if name == 'veil':
        assert change.mean() > 5 and out.std() < image.std()
    if name == 'tint':
        assert change[..., 0].mean() > 2 > -2 > change[..., 1].mean()
        assert np.abs(change[..., 2]).max() == 0
    if name == 'contrast':
        assert out.std() == pytest.approx(0.7 * image.std(), rel=0.05)
    if name == 'saturation':
        colourful = [np.ptp(i.astype(int), axis=2).mean() for i in (image, out)]
        assert colourful[1] == pytest.approx(0.4 * colourful[0], rel=0.1)
    if name == 'blur_px':
        assert (
            np.abs(np.diff(out.astype(int), axis=1)).mean()
            < 0.7 * np.abs(np.diff(image.astype(int), axis=1)).mean()
        )
    if name == 'noise':
        assert change.std() == pytest.approx(5.0, rel=0.1)
        beside = develop(image, replace(FLOWN, noise=5.0), GRID.moved_to((9.0, 9.0)))
        assert not np.array_equal(out, beside)


def test_hard_is_farther_from_none_than_easy(town, plain):
    """By the mean difference of pictures of the ground and from above."""
    camera = EquirectangularCamera(128, 64)
    T = np.array([[0.0, 0, 1, -4], [-1, 0, 0, -12], [0, -1, 0, 1.8], [0, 0, 0, 1]])
    clear = render(ground_scene(town, GroundDay(0, 0)), camera, T).image.astype(float)

    def distance(preset, i):
        drive = draw_ground(PRESETS[preset], 2, i)
        from_below = render(ground_scene(town, drive), camera, T @ np.eye(4)).image
        from_above = aerial_view(town, draw_aerial(PRESETS[preset], 2, i), GRID).image
        return np.abs(from_below - clear).mean(), np.abs(
            from_above - plain.image.astype(float)
        ).mean()

    easy, hard = (np.mean([distance(p, i) for i in range(5)], axis=0) for p in ('easy', 'hard'))
    none = np.array(distance('none', 0))
    assert (none < 0.5).all() and (easy > 2 * none + 1).all() and (hard > 1.2 * easy).all()


def test_weather_and_hour_change_colours_and_nothing_else(town):
    camera = EquirectangularCamera(96, 48)
    T = np.array([[0.0, 0, 1, -4], [-1, 0, 0, -12], [0, -1, 0, 1.8], [0, 0, 0, 1]])
    base = render(ground_scene(town, GroundDay(0, 0)), camera, T)
    for settings in ({'night': 1.0}, {'rain': 1.0, 'overcast': (1, 1), 'haze_m': (200, 200)}):
        ground = replace(Conditions().ground, **settings)
        day = draw_ground(Conditions(ground=ground), 0, 0)
        day = replace(day, appearance=replace(day.appearance, snow=0.7))
        scene = ground_scene(town, day)
        assert len(scene.appearance.lamps) == ('night' in settings)
        out = render(scene, camera, T)
        np.testing.assert_array_equal(out.depth_m, base.depth_m)
        np.testing.assert_array_equal(out.labels, base.labels)
        assert np.abs(out.image.astype(float) - base.image).mean() > 10


def test_traffic_is_as_dense_as_the_day_says(small_world):
    from geoloc_core.simulation.city.traffic import traffic

    km = sum(s.line.length for s in small_world.city.streets) / 1000

    def count(cars, people):
        seen = [
            traffic(small_world.city, s, 5.0, cars_per_km=cars, people_per_km=people)
            for s in range(12)
        ]
        return np.mean([[len(c), len(p)] for c, p in seen], axis=0) / km

    assert (count(0, 0) == 0).all()
    few, many = count(5, 20), count(20, 80)
    assert (few > 0).all() and (many > 2 * few).all()
    assert 0.3 * 20 < many[0] < 1.5 * 20 and 0.4 * 80 < many[1] < 1.5 * 80


def test_moving_traffic_is_seen_and_leaves_the_city_as_it_was(small_world):
    day = replace(GroundDay(0, 0), cars_per_km=40.0, people_per_km=100.0)
    scene = ground_scene(small_world, day)
    grid = Grid((0.0, 0.0), 0.4, 380, 360)
    seen = {}
    for t in (None, 4.0, 9.0):
        now = scene if t is None else moving_scene(scene, small_world, day, 1, t, (0.0, 0.0))
        seen[t] = render_aerial(now, grid, 1, with_labels=True)[1]
    movers = (Label.VEHICLE, Label.PERSON)
    counts = {t: np.isin(labels, movers).sum() for t, labels in seen.items()}
    assert counts[4.0] > counts[None] + 50
    assert not np.array_equal(seen[4.0], seen[9.0])
    still = ~np.isin(seen[4.0], movers)
    assert (seen[4.0] == seen[None])[still].all()
    assert moving_scene(scene, small_world, GroundDay(0, 0), 1, 4.0, (0.0, 0.0)) is scene
