# SPDX-License-Identifier: Apache-2.0
"""A city from OpenStreetMap: sizes and places are those on Earth, bad files are named."""

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest

from geoloc_core.errors import DataError
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.footprints import geojson
from geoloc_core.simulation.footprints.city import city_from_osm, colour
from geoloc_core.simulation.footprints.geojson import is_building, read_osm
from geoloc_core.simulation.footprints.rings import cleaned, keyhole, signed_area
from geoloc_core.simulation.footprints.streets import clip, number

HELSINKI = Path(__file__).parents[3] / 'config' / 'world' / 'helsinki.geojson'
LAT, LON = 60.17, 24.94


def ring(east, north, width, height):
    """A closed ring in degrees of a rectangle whose south-west corner lies at (east, north) m."""
    corners = [(0, 0), (width, 0), (width, height), (0, height), (0, 0)]
    dx, dy = 1 / (111412.0 * np.cos(np.radians(LAT))), 1 / 111412.0
    return [[LON + (east + x) * dx, LAT + (north + y) * dy] for x, y in corners]


def line(*points):
    dx, dy = 1 / (111412.0 * np.cos(np.radians(LAT))), 1 / 111412.0
    return [[LON + x * dx, LAT + y * dy] for x, y in points]


def feature(kind, coordinates, **tags):
    return {
        'type': 'Feature',
        'properties': {k.replace('__', ':'): v for k, v in tags.items()},
        'geometry': {'type': kind, 'coordinates': coordinates},
    }


def write(tmp_path, features, **extra):
    path = tmp_path / 'place.geojson'
    content = {'type': 'FeatureCollection', 'features': features, **extra}
    path.write_text(json.dumps(content), encoding='utf-8')
    return path


HOUSE = feature('Polygon', [ring(-10, -6, 20, 12)], building='yes')


@pytest.fixture(scope='module')
def helsinki():
    return read_osm(HELSINKI)


@pytest.fixture(scope='module')
def city(helsinki):
    return city_from_osm(helsinki, 1)


def geodesic_area(shape, frame):
    """True area on the ellipsoid, holes taken off, m^2."""
    geod = pyproj.Geod(ellps='WGS84')
    areas = []
    for part in shape.rings:
        lat, lon, _ = frame.geodetic_from_enu(np.column_stack([part, np.zeros(len(part))]))
        areas.append(abs(geod.polygon_area_perimeter(lon, lat)[0]))
    return areas[0] - sum(areas[1:])


def test_houses_are_as_large_as_on_earth_and_where_they_are(helsinki, city):
    frame = EnuFrame(helsinki.datum)
    # One house is a line, and stands nowhere.
    shapes = [s for s in helsinki.shapes if is_building(s) and geodesic_area(s, frame) > 4]
    assert len(city.buildings) == len(shapes) > 50
    assert sum(len(s.rings) > 1 for s in shapes) > 5
    content = json.loads(HELSINKI.read_text(encoding='utf-8'))
    raw = {f['id']: f['geometry'] for f in content['features'] if 'building' in f['properties']}
    geod = pyproj.Geod(ellps='WGS84')
    for shape, building in zip(shapes, city.buildings, strict=True):
        true = geodesic_area(shape, frame)
        # Cuts to courtyards have no width.
        assert signed_area(building.footprint) == pytest.approx(true, rel=0.005)
        first = raw[shape.name]['coordinates']
        while not isinstance(first[0], float):
            first = first[0]
        azimuth, _, far = geod.inv(helsinki.datum.lon_deg, helsinki.datum.lat_deg, *first)
        expected = far * np.array([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))])
        np.testing.assert_allclose(shape.rings[0][0], expected, atol=0.02)
        for extreme in (np.min, np.max):
            ends = extreme(building.footprint, axis=0), extreme(shape.rings[0], axis=0)
            np.testing.assert_allclose(*ends, atol=0.1)


def test_helsinki_keeps_its_attribution_its_streets_and_trees(helsinki, city):
    assert (
        '© OpenStreetMap contributors' in helsinki.attribution and 'ODbL' in helsinki.attribution
    )
    assert HELSINKI.stat().st_size <= 300_000
    assert abs(helsinki.datum.lat_deg - 60.167) < 0.002
    assert len(city.trees) > 80 and len(city.paths) > 50
    assert {a.kind for a in city.areas} >= {'park', 'yard'}
    assert len(city.streets) > 20
    # One connected graph whose streets end where their junctions are.
    reached, queue = {0}, [0]
    while queue:
        node = queue.pop()
        for street in city.streets:
            for a, b in ((street.start, street.end), (street.end, street.start)):
                if a == node and b not in reached:
                    reached.add(b)
                    queue.append(b)
    assert len(reached) == len(city.junctions)
    for street in city.streets:
        np.testing.assert_allclose(street.line.points[0], city.junctions[street.start], atol=1e-6)
        np.testing.assert_allclose(street.line.points[-1], city.junctions[street.end], atol=1e-6)
        assert street.line.length > 20 and street.start != street.end
        assert sum(street.mouths) < street.line.length
    # Streets with another way on at both ends make up most of the town.
    degree = np.bincount([n for s in city.streets for n in (s.start, s.end)])
    through = sum(min(degree[s.start], degree[s.end]) > 1 for s in city.streets)
    assert through > 0.6 * len(city.streets)


def test_same_seed_same_city_and_a_cut_shows_the_same_houses(helsinki, city):
    again = city_from_osm(helsinki, 1)
    assert [b.wall_rgb for b in again.buildings] == [b.wall_rgb for b in city.buildings]
    assert [c.xy for c in again.cars] == [c.xy for c in city.cars]
    assert [b.wall_rgb for b in city_from_osm(helsinki, 2).buildings] != [
        b.wall_rgb for b in city.buildings
    ]
    center = (helsinki.datum.lat_deg, helsinki.datum.lon_deg)
    cut = city_from_osm(read_osm(HELSINKI, center, 150.0), 1)
    whole = {
        tuple(b.footprint.mean(axis=0).round(3)): (b.height, b.wall_rgb) for b in city.buildings
    }
    assert 10 < len(cut.buildings) < len(city.buildings)
    for b in cut.buildings:
        assert whole[tuple(b.footprint.mean(axis=0).round(3))] == (b.height, b.wall_rgb)


def test_tags_become_heights_roofs_and_colours(tmp_path):
    place = write(
        tmp_path,
        [
            feature('Polygon', [ring(0, 0, 20, 10)], building='yes', height='12.5 m',
                    roof__shape='gabled', roof__height='4', building__colour='#ff8000',
                    roof__colour='dark red'),
            feature('Polygon', [ring(50, 0, 20, 10)], building='house', building__levels=3),
            feature('MultiPolygon', [[ring(0, 40, 30, 30), ring(10, 50, 5, 5)],
                                     [ring(60, 40, 9, 9)]], building='yes', building__levels='2'),
            feature('Polygon', [ring(90, 90, 9, 9)], building='no'),
            feature('Point', line((35, 15))[0], natural='tree', height='9',
                    leaf_type='needleleaved'),
            feature('LineString', line((0, 20), (40, 20)), natural='tree_row'),
            feature('Polygon', [ring(0, 12, 30, 6)], leisure='park'),
        ],
    )  # fmt: skip
    city = city_from_osm(read_osm(place), 0)
    gabled, levels, court, other = city.buildings
    assert gabled.roof == 'gable' and gabled.gable == 4.0 and gabled.height == pytest.approx(8.5)
    assert gabled.wall_rgb == (255, 128, 0) and gabled.roof_rgb == colour('darkred')
    assert levels.height == pytest.approx(3 * 3.1 + 0.6) and levels.roof == 'flat'
    assert signed_area(court.footprint) == pytest.approx(30 * 30 - 25, rel=0.01)
    assert signed_area(other.footprint) == pytest.approx(81, rel=0.01)
    assert [t.kind for t in city.trees[:7]] == ['conifer'] + ['round'] * 6
    assert city.trees[0].crown_height + 0.85 * city.trees[0].radius == pytest.approx(9)
    assert 'park' in {a.kind for a in city.areas}
    # East is +x, north is +y.
    assert levels.footprint[:, 0].min() > gabled.footprint[:, 0].max()
    assert court.footprint[:, 1].min() > gabled.footprint[:, 1].max()


def test_ways_are_cut_where_they_meet_and_joined_where_they_only_bend(tmp_path):
    def way(*points, **tags):
        return feature('LineString', line(*points), **{'highway': 'residential', **tags})

    place = write(
        tmp_path,
        [
            HOUSE,
            feature('Polygon', [ring(140, 140, 9, 9)], building='yes'),
            feature('Polygon', [ring(-149, -149, 9, 9)], building='yes'),
            way((-120, 40), (0, 40), (120, 40), lanes='4', highway='primary'),
            # Starts on the node in the middle of the first; in two pieces.
            way((0, 40), (0, 90)),
            way((0, 90), (60, 100), (120, 40)),
            # Two ways that only bend where they meet.
            way((120, 40), (130, 44)),
            way((130, 44), (140, 110)),
            way((-100, -100), (100, -100), tunnel='yes'),
            way((-60, -60), (-20, -60)),
            feature('LineString', line((0, 0), (9, 9)), highway='footway'),
        ],
    )
    city = city_from_osm(read_osm(place), 0)
    ends = sorted(round(s.line.length) for s in city.streets)
    # West, east, around, and north-east.
    assert len(city.streets) == 4 and len(city.junctions) == 4
    assert ends[0] == pytest.approx(77, abs=3) and ends[1] == pytest.approx(120, abs=3)
    wide = [s for s in city.streets if s.kind == 'avenue']
    assert len(wide) == 2 and all(
        s.lanes == 2 and s.half_width == pytest.approx(6.6) for s in wide
    )
    # The lone way is no street one can reach, but it is there to be seen; the tunnel is not.
    widths = sorted(p.width for p in city.paths)
    assert widths == [2.0, 6.0]


def test_lines_are_cut_at_the_square():
    pieces = clip(np.array([(-9.0, 0), (9.0, 0), (9.0, 2), (0, 2)]), 5.0)
    assert [p.tolist() for p in pieces] == [[[-5, 0], [5, 0]], [[5, 2], [0, 2]]]
    inside = np.array([(0.0, 0), (1, 1), (2, 0)])
    np.testing.assert_array_equal(clip(inside, 5.0)[0], inside)
    assert clip(np.array([(6.0, -9), (6.0, 9)]), 5.0) == []


def test_holes_become_part_of_the_outline():
    outer = np.array([(0.0, 0), (20, 0), (20, 10), (0, 10)])
    one = np.array([(3.0, 3), (6, 3), (6, 6), (3, 6)])
    two = one + np.array([8, 1])
    joined = keyhole(outer, [one, two])
    assert signed_area(joined) == pytest.approx(200 - 18)
    corners = {tuple(p) for p in joined}
    assert corners == {tuple(p) for p in np.concatenate([outer, one, two])}
    rough = np.array([(0.0, 0), (5, 0), (10, 0), (10, 0), (10, 8), (0, 8)])
    assert len(cleaned(rough)) == 4 and signed_area(cleaned(rough[::-1])) == pytest.approx(80)


def test_numbers_and_colours_of_tags():
    assert number('12') == 12 and number('12.5 m') == 12.5 and number('3;4') == 3
    assert number("40'") == pytest.approx(12.192) and number('7,5') == 7.5
    assert number('') is None and number('about 5') is None and number('-3') is None
    assert colour('#fff') == (255, 255, 255) and colour('Light Grey') == (200, 200, 200)
    assert colour('#zzzzzz') is None and colour('mauve') is None


def test_the_files_own_attribution_counts(tmp_path):
    assert read_osm(write(tmp_path, [HOUSE])).attribution == '© OpenStreetMap contributors'
    own = write(tmp_path, [HOUSE], attribution='City of Examples', licence='CC BY 4.0')
    assert read_osm(own).attribution == 'City of Examples; CC BY 4.0'


@pytest.mark.parametrize(
    ('features', 'words'),
    [
        ([], 'no building among 0 features'),
        ([feature('Point', [LON, LAT], natural='tree')], 'no building among 1'),
        ([feature('Polygon', [[[400000.0, 6e6], [400009.0, 6e6], [400009.0, 6000009.0]]],
                  building='yes')], 'not .longitude, latitude. in degrees.*EPSG:4326'),
        ([feature('Polygon', [[['a', 'b'], [1, 2], [2, 3]]], building='yes')], 'pairs of numbers'),
        ([feature('Polygon', None, building='yes')], 'without coordinates'),
        ([feature('MultiPolygon', [5, None], building='yes')], '5 is no part of a Polygon'),
        ([{**HOUSE, 'properties': ['building']}], 'properties of feature 0'),
        ([3], 'feature 0 is int'),
        ([HOUSE, feature('Polygon', [ring(4000, 0, 9, 9)], building='yes')],
         'square of .* m, expected at most 1000 m. Cut it: .*ogr2ogr -clipsrc'),
    ],
)  # fmt: skip
def test_bad_places_are_named(tmp_path, features, words):
    with pytest.raises(DataError, match=words) as error:
        read_osm(write(tmp_path, features))
    assert 'place.geojson' in str(error.value)


def test_bad_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r'absent.geojson: cannot be read'):
        read_osm(tmp_path / 'absent.geojson')
    bad = tmp_path / 'bad.geojson'
    bad.write_text('{"type": ')
    with pytest.raises(DataError, match='not GeoJSON'):
        read_osm(bad)
    bad.write_text('{"version": 0.6, "elements": []}')
    with pytest.raises(DataError, match='export as GeoJSON'):
        read_osm(bad)
    bad.write_text('[1]')
    with pytest.raises(DataError, match="FeatureCollection, got 'list'"):
        read_osm(bad)
    place = write(tmp_path, [HOUSE])
    with pytest.raises(DataError, match=r'no building within 100 m of lat 61.0+, lon 24.0+'):
        read_osm(place, (61.0, 24.0), 100.0)
    monkeypatch.setattr(geojson, 'MAX_FILE_BYTES', 10)
    with pytest.raises(DataError, match='osmium extract'):
        read_osm(place)


def test_a_real_place_is_rendered_where_it_is(tmp_path):
    """The Esplanadi park is green, the house north of it is a roof, both seen from above."""
    pytest.importorskip('embreex')
    pytest.importorskip('numba')
    from geoloc_core.geometry.grid import Grid
    from geoloc_core.maps.opening import open_map
    from geoloc_core.simulation.footprints.world import world_from_footprints
    from geoloc_core.simulation.render.labels import Label
    from geoloc_core.simulation.render.renderer import render_aerial
    from geoloc_core.simulation.robots.trajectory import make_trajectory
    from geoloc_core.simulation.world import write_geotiff

    world = world_from_footprints(HELSINKI, 1, half_extent=160.0, ground_gsd=0.25)
    assert '© OpenStreetMap contributors' in world.attribution
    assert world.city.half_extent == world.ground.half_extent == 160.0
    grid = Grid((0.0, 0.0), 0.5, 600, 520)
    image, labels = render_aerial(world.aerial_scene(), grid, 1, with_labels=True)

    def label_at(lat, lon):
        x, y, _ = EnuFrame(world.datum).enu_from_geodetic(lat, lon, 0.0)
        u, v = np.rint(grid.uv_from_xy([x, y])).astype(int)
        around = labels[v - 6 : v + 7, u - 6 : u + 7]
        return Label(np.bincount(around.ravel()).argmax())

    assert label_at(60.167546, 24.947555) in (Label.GRASS, Label.TREE, Label.PAVEMENT)
    assert label_at(60.16700, 24.94610) is Label.ROOF
    path = tmp_path / 'map.tif'
    write_geotiff(path, image, grid, world.datum, world.attribution)
    assert '© OpenStreetMap contributors' in open_map(path).info.attribution
    drive = make_trajectory(world.city, 3, 20.0)
    assert np.abs(drive.xyz[:, :2]).max() < 160.0
    # One drives on roads.
    uv = np.rint(grid.uv_from_xy(drive.xyz[:, :2])).astype(int)
    inside = ((uv >= 0) & (uv < (600, 520))).all(axis=1)
    seen = labels[uv[inside, 1], uv[inside, 0]]
    hidden = (Label.ROAD, Label.MARKING, Label.TREE, Label.VEHICLE, Label.POLE)
    assert np.isin(seen, hidden).mean() > 0.9
