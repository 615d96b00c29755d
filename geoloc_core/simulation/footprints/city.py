# SPDX-License-Identifier: Apache-2.0
"""The plan of a city from OpenStreetMap's houses, streets, trees and greens.

What the map does not tell (colours, most heights, parked cars) is drawn from a seed and from each
feature's name, so that a cut of the file shows the same houses.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.simulation.city.plan import (
    Area,
    Building,
    City,
    Path,
    Rgb,
    Tree,
)
from geoloc_core.simulation.city.street_life import furnish
from geoloc_core.simulation.footprints.geojson import is_building, OsmFile, Shape
from geoloc_core.simulation.footprints.rings import cleaned, keyhole, signed_area
from geoloc_core.simulation.footprints.streets import (
    build_streets,
    clip,
    is_drivable,
    is_underground,
    number,
)
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

FLOOR_M = 3.1
_FACADES = 6
_MAPPED_TREES = 10
_ROOFS = {
    'gabled': 'gable', 'gambrel': 'mansard', 'mansard': 'mansard', 'hipped': 'hip',
    'half-hipped': 'half_hip', 'skillion': 'shed', 'lean_to': 'shed', 'saltbox': 'gable',
    'sawtooth': 'sawtooth', 'pyramidal': 'spire', 'flat': 'flat',
}  # fmt: skip
_COLOURS: dict[str, Rgb] = {
    'white': (235, 235, 230), 'black': (40, 40, 42), 'grey': (140, 140, 140),
    'gray': (140, 140, 140), 'lightgrey': (200, 200, 200), 'lightgray': (200, 200, 200),
    'darkgrey': (90, 90, 90), 'darkgray': (90, 90, 90), 'silver': (190, 190, 192),
    'red': (170, 60, 50), 'darkred': (120, 40, 36), 'maroon': (110, 40, 40),
    'brown': (128, 84, 60), 'orange': (214, 140, 70), 'yellow': (226, 200, 120),
    'beige': (222, 208, 176), 'tan': (206, 176, 134), 'cream': (236, 226, 196),
    'green': (90, 130, 96), 'darkgreen': (50, 90, 60), 'blue': (90, 120, 170),
    'lightblue': (170, 200, 220), 'pink': (222, 170, 166), 'salmon': (226, 150, 124),
}  # fmt: skip
_WALLS: tuple[Rgb, ...] = (
    (222, 214, 196), (205, 182, 146), (190, 132, 104), (232, 228, 220), (176, 168, 158),
    (214, 196, 170), (198, 204, 206), (228, 206, 150), (208, 196, 188),
)  # fmt: skip
_TILES: tuple[Rgb, ...] = ((150, 78, 58), (128, 66, 52), (104, 84, 74), (92, 90, 94))
_FLATS: tuple[Rgb, ...] = (
    (132, 130, 128),
    (158, 154, 148),
    (104, 106, 108),
    (142, 88, 70),
    (104, 124, 114),
    (66, 68, 74),
)
# Ways for walking and driving that are no streets: width, m, and surface.
_WAYS = {
    'footway': (2.0, 'paved'), 'pedestrian': (6.0, 'paved'), 'steps': (2.0, 'paved'),
    'cycleway': (2.4, 'asphalt'), 'path': (1.6, 'gravel'), 'track': (2.6, 'gravel'),
    'bridleway': (2.0, 'gravel'), 'service': (4.0, 'asphalt'),
}  # fmt: skip
_AREAS = {
    ('leisure', 'park'): 'park', ('leisure', 'garden'): 'park', ('leisure', 'pitch'): 'field',
    ('leisure', 'playground'): 'playground', ('landuse', 'grass'): 'lawn',
    ('landuse', 'meadow'): 'lawn', ('landuse', 'village_green'): 'lawn',
    ('landuse', 'recreation_ground'): 'lawn', ('landuse', 'forest'): 'park',
    ('landuse', 'cemetery'): 'park', ('landuse', 'farmland'): 'field',
    ('landuse', 'basin'): 'pond', ('landuse', 'reservoir'): 'pond',
    ('landuse', 'construction'): 'gravel', ('landuse', 'brownfield'): 'gravel',
    ('landuse', 'railway'): 'gravel', ('landuse', 'commercial'): 'yard',
    ('landuse', 'retail'): 'yard', ('natural', 'water'): 'pond', ('natural', 'wood'): 'park',
    ('natural', 'grassland'): 'lawn', ('natural', 'scrub'): 'park', ('natural', 'sand'): 'gravel',
    ('natural', 'bare_rock'): 'gravel', ('natural', 'scree'): 'gravel',
    ('amenity', 'parking'): 'parking', ('highway', 'pedestrian'): 'square',
    ('highway', 'footway'): 'square', ('place', 'square'): 'square',
}  # fmt: skip
# From this share of built ground on, what the file leaves open is paved rather than grass.
_URBAN = 0.2
# Later ones lie over earlier ones: a park in a quarter, a pond in a park.
_ORDER = ('yard', 'square', 'gravel', 'field', 'parking', 'lawn', 'park', 'playground', 'pond')


def city_from_osm(source: OsmFile, seed: int) -> City:
    """The plan of a city from a file's features.

    Raises:
        DataError: All buildings are degenerate.
    """
    half = source.half_extent
    buildings = [b for s in source.shapes if is_building(s) for b in _building(s, seed)]
    if not buildings:
        raise DataError('no building has an area: every footprint is a line or a point')
    rings = [np.vstack([b.footprint, b.footprint[:1]]) for b in buildings]
    walls = np.concatenate([Polyline(ring).resampled(2.0).points for ring in rings])
    ways = filter(is_drivable, source.shapes)
    junctions, streets, leftover = build_streets(ways, half, walls)
    trees = [t for s in source.shapes for t in _trees(s, seed, half)]
    paths = [Path(line, 6.0, 'asphalt') for line in leftover]
    paths += [p for s in source.shapes for p in _paths(s, half)]
    areas = [a for s in source.shapes for a in _area(s, half)]
    areas.sort(key=lambda a: _ORDER.index(a.kind))
    life = furnish(
        np.random.default_rng([seed, 4]), streets, tuple(buildings), tuple(areas), half,
        paths=tuple(paths), trees=tuple(trees),
    )  # fmt: skip
    built = sum(abs(signed_area(b.footprint)) for b in buildings) / (2 * half) ** 2
    if built > _URBAN:
        corners = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
        areas.insert(0, Area('yard', corners * (half - 0.5)))
    return City(
        half_extent=half,
        junctions=junctions,
        streets=streets,
        buildings=tuple(buildings),
        # Where the map has trees, it has all of them.
        trees=tuple(trees) if len(trees) >= _MAPPED_TREES else life.trees,
        cars=life.cars,
        other_cars=life.other_cars,
        areas=tuple(areas),
        paths=tuple(paths),
        furniture=life.furniture,
        people=life.people,
    )


def colour(text: str) -> Rgb | None:
    """A colour tag: '#aabbcc', '#abc' or a common English name; None if it is none of these."""
    word = text.split(';')[0].strip().lower().replace(' ', '').replace('_', '')
    if word.startswith('#') and len(word) in (4, 7):
        digits = word[1:] if len(word) == 7 else ''.join(c + c for c in word[1:])
        try:
            return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
        except ValueError:
            return None
    return _COLOURS.get(word)


def _rng(shape: Shape, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(shape.name.encode()), 70])


def _building(shape: Shape, seed: int) -> list[Building]:
    outer = cleaned(shape.rings[0])
    if len(outer) < 3 or abs(signed_area(outer)) < 4.0:
        return []
    holes = [h for h in map(cleaned, shape.rings[1:]) if len(h) >= 3]
    rng, tags = _rng(shape, seed), shape.tags
    levels = number(tags.get('building:levels', ''))
    drawn = float(rng.integers(2, 4) if abs(signed_area(outer)) < 150 else rng.integers(4, 8))
    height = number(tags.get('height', '')) or FLOOR_M * (levels or drawn) + 0.6
    roof = _ROOFS.get(tags.get('roof:shape', ''), 'flat')
    gable = 0.0
    if roof != 'flat' and (len(outer) != 4 or holes):
        # Pitched roofs stand on four corners.
        roof = 'flat'
    if roof != 'flat':
        gable = number(tags.get('roof:height', '')) or float(rng.uniform(2.0, 4.0))
        # `height` is that of the ridge.
        height = max(2.5, height - gable) if tags.get('height') else height
    walls, covers = _WALLS, _TILES if gable else _FLATS
    wall = colour(tags.get('building:colour', '')) or walls[rng.integers(len(walls))]
    cover = colour(tags.get('roof:colour', '')) or covers[rng.integers(len(covers))]
    extras = ('plant',) if roof == 'flat' and abs(signed_area(outer)) > 200 and not holes else ()
    return [
        Building(
            footprint=keyhole(outer, holes),
            height=float(np.clip(height, 2.2, 400.0)),
            gable=gable,
            facade=int(rng.integers(0, _FACADES)),
            wall_rgb=wall,
            roof_rgb=cover,
            roof=roof,
            base=min(number(tags.get('min_height', '')) or 0.0, height - 1.0),
            extras=extras,
        )
    ]


def _trees(shape: Shape, seed: int, half: float) -> list[Tree]:
    kind = shape.tags.get('natural')
    if kind == 'tree' and shape.kind == 'Point':
        places = shape.rings[0]
    elif kind == 'tree_row' and shape.kind == 'LineString':
        line = Polyline(shape.rings[0])
        places = np.array([line.at(s)[0] for s in np.arange(0.0, line.length, 8.0)])
    else:
        return []
    rng = _rng(shape, seed)
    trees = []
    for xy in places[np.abs(places).max(axis=1) < half - 4]:
        radius = (number(shape.tags.get('diameter_crown', '')) or rng.uniform(4.0, 8.0)) / 2
        height = number(shape.tags.get('height', '')) or 2 * radius + rng.uniform(2.0, 4.0)
        conifer = shape.tags.get('leaf_type') == 'needleleaved'
        green = rng.uniform(0.75, 1.15)
        rgb = (round(78 * green), round(104 * green), round(52 * green))
        middle = max(1.2, height - 0.85 * radius)
        place = (float(xy[0]), float(xy[1]))
        trees.append(
            Tree(place, float(radius), float(middle), rgb, 'conifer' if conifer else 'round')
        )
    return trees


def _paths(shape: Shape, half: float) -> list[Path]:
    tags = shape.tags
    way = _WAYS.get(tags.get('highway', ''))
    if shape.kind != 'LineString' or way is None or is_underground(shape):
        return []
    width = min(number(tags.get('width', '')) or way[0], 12.0)
    pieces = [Polyline(piece) for piece in clip(shape.rings[0], half - 1)]
    return [Path(line, width, way[1]) for line in pieces if line.length > 0.5]


def _area(shape: Shape, half: float) -> list[Area]:
    if shape.kind != 'Polygon' or is_building(shape) or is_underground(shape):
        return []
    found = [kind for (key, value), kind in _AREAS.items() if shape.tags.get(key) == value]
    outline = cleaned(np.clip(shape.rings[0], -half + 0.5, half - 0.5))
    if not found or len(outline) < 3 or abs(signed_area(outline)) < 2.0:
        return []
    holes = [cleaned(np.clip(h, -half + 0.5, half - 0.5)) for h in shape.rings[1:]]
    holes = [h for h in holes if len(h) >= 3]
    return [Area(found[0], keyhole(outline, holes))]
