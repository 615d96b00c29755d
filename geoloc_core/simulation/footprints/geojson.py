# SPDX-License-Identifier: Apache-2.0
"""A GeoJSON file of OpenStreetMap features: read, checked, and turned into the map frame.

Such files come from overpass-turbo.eu ('Export', 'GeoJSON'), `osmium export` or `ogr2ogr`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry.geodesy import Datum, EnuFrame

Array = NDArray[np.float64]

MAX_FILE_BYTES = 64 * 2**20
# A city of more than this in each direction would need gigabytes of painted ground, m.
MAX_HALF_EXTENT_M = 500.0
OSM_ATTRIBUTION = '© OpenStreetMap contributors'
_KINDS = ('Point', 'LineString', 'MultiLineString', 'Polygon', 'MultiPolygon')
# Ground kept around the outermost house, m, and what the half extent is rounded up to.
_MARGIN_M, _ROUND_M = 12.0, 8.0


@dataclass(frozen=True)
class Shape:
    """One feature's geometry in metres.

    Attributes:
        kind: 'Point', 'LineString' or 'Polygon'; multi-geometries are taken apart.
        rings: The point, the line, or the outer ring and the holes, each (N, 2) m, map frame;
            rings are not closed.
        tags: The feature's properties, all as text.
        name: How the file calls the feature.
    """

    kind: str
    rings: tuple[Array, ...]
    tags: Mapping[str, str]
    name: str


@dataclass(frozen=True)
class OsmFile:
    """All features of a file around one datum.

    Attributes:
        datum: Middle of the buildings.
        half_extent: Half the side of the square kept, m.
        shapes: In the file's order.
        attribution: Who must be named wherever the data is shown.
    """

    datum: Datum
    half_extent: float
    shapes: tuple[Shape, ...]
    attribution: str


def read_osm(
    path: Path, center: tuple[float, float] | None = None, half_extent: float | None = None
) -> OsmFile:
    """Reads a file.

    Args:
        path: A GeoJSON FeatureCollection, longitude before latitude, WGS84.
        center: (lat, lon) degrees of the square to keep; the middle of all buildings if None.
        half_extent: Half the side of that square, m; all buildings if None.

    Returns:
        The features.

    Raises:
        DataError: The file cannot be read, is not GeoJSON, has no buildings, has coordinates that
            are not degrees, or covers too much.
    """
    content = _load(path)
    raw = [shape for i, item in enumerate(content['features']) for shape in _taken(path, i, item)]
    lonlat = [s.rings[0] for s in raw if is_building(s)]
    if not lonlat:
        raise DataError(
            f'{path}: no building among {len(content["features"])} features; expected polygons '
            'with a tag "building" (in Overpass: way["building"]; relation["building"];)'
        )
    low, high = np.concatenate(lonlat).min(axis=0), np.concatenate(lonlat).max(axis=0)
    lat, lon = center or (float(low[1] + high[1]) / 2, float(low[0] + high[0]) / 2)
    frame = EnuFrame(Datum(lat, lon, 0.0))
    shapes = tuple(
        Shape(s.kind, tuple(_metres(frame, r) for r in s.rings), s.tags, s.name) for s in raw
    )
    if half_extent is None:
        reach = max(float(np.abs(s.rings[0]).max()) for s in shapes if is_building(s))
        half_extent = float(np.ceil((reach + _MARGIN_M) / _ROUND_M) * _ROUND_M)
    if not 0 < half_extent <= MAX_HALF_EXTENT_M:
        raise DataError(
            f'{path}: a square of {2 * half_extent:.0f} m, expected at most '
            f'{2 * MAX_HALF_EXTENT_M:.0f} m. Cut it: pass center=(lat, lon) and half_extent, or '
            f'run ogr2ogr -clipsrc WEST SOUTH EAST NORTH cut.geojson {path.name} (its buildings '
            f'lie in {low[0]:.5f} {low[1]:.5f} {high[0]:.5f} {high[1]:.5f})'
        )
    inside = any(_near(s, half_extent) for s in shapes if is_building(s))
    if not inside:
        raise DataError(
            f'{path}: no building within {half_extent:.0f} m of lat {lat:.5f}, lon {lon:.5f}; its '
            f'buildings lie in lon {low[0]:.5f}..{high[0]:.5f}, lat {low[1]:.5f}..{high[1]:.5f}'
        )
    kept = tuple(s for s in shapes if _near(s, half_extent))
    return OsmFile(frame.datum, half_extent, kept, _attribution(content))


def is_building(shape: Shape) -> bool:
    """Whether a shape is a house that stands on the ground."""
    return shape.kind == 'Polygon' and shape.tags.get('building', 'no') != 'no'


def _load(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DataError(
                f'{path}: {size / 2**20:.0f} MB, expected at most '
                f'{MAX_FILE_BYTES / 2**20:.0f} MB; cut it with osmium extract --bbox '
                'or ogr2ogr -clipsrc'
            )
        content = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror})') from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f'{path}: not GeoJSON: {error}') from error
    if not isinstance(content, dict) or content.get('type') != 'FeatureCollection':
        got = content.get('type') if isinstance(content, dict) else type(content).__name__
        hint = '; this is Overpass JSON: export as GeoJSON' if _is_overpass(content) else ''
        raise DataError(f'{path}: expected a GeoJSON FeatureCollection, got {got!r}{hint}')
    if not isinstance(content.get('features'), list):
        raise DataError(f'{path}: the FeatureCollection has no list of features')
    return content


def _is_overpass(content: object) -> bool:
    return isinstance(content, dict) and 'elements' in content


def _taken(path: Path, index: int, item: object) -> list[Shape]:
    """The shapes of one feature, still in degrees (lon, lat)."""
    if not isinstance(item, dict):
        raise DataError(f'{path}: feature {index} is {type(item).__name__}, expected an object')
    geometry, properties = item.get('geometry'), item.get('properties') or {}
    if not isinstance(geometry, dict) or geometry.get('type') not in _KINDS:
        return []
    if not isinstance(properties, dict):
        raise DataError(f'{path}: properties of feature {index} are no object of names and values')
    tags = {str(k): str(v) for k, v in properties.items() if v is not None}
    name = str(item.get('id') or tags.get('@id') or f'feature {index}')
    kind, parts = str(geometry['type']), geometry.get('coordinates')
    if not isinstance(parts, list):
        raise DataError(f'{path}: {name}: a {kind} without coordinates')
    if kind == 'Point':
        parts = [[[parts]]]
    elif kind == 'LineString':
        parts = [[parts]]
    elif kind == 'MultiLineString':
        parts = [[line] for line in parts]
    elif kind == 'Polygon':
        parts = [parts]
    kind = kind.removeprefix('Multi')
    least = {'Point': 1, 'LineString': 2, 'Polygon': 3}[kind]
    shapes = []
    for part in parts:
        if not isinstance(part, list):
            raise DataError(f'{path}: {name}: {part!r} is no part of a {kind}')
        rings = [_degrees(path, name, ring) for ring in part]
        if kind == 'Polygon':
            rings = [r[:-1] if len(r) > 1 and (r[0] == r[-1]).all() else r for r in rings]
        if rings and len(rings[0]) >= least:
            holes = [r for r in rings[1:] if len(r) >= 3]
            shapes.append(Shape(kind, (rings[0], *holes), tags, name))
    return shapes


def _degrees(path: Path, name: str, ring: object) -> Array:
    try:
        points = np.array([p[:2] for p in ring], np.float64)  # type: ignore[attr-defined]
        points = points.reshape(-1, 2)
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(f'{path}: {name}: coordinates are not pairs of numbers') from error
    if not np.isfinite(points).all() or (np.abs(points) > (180, 90)).any():
        worst = points[~np.isfinite(points).all(axis=1) | (np.abs(points) > (180, 90)).any(axis=1)]
        raise DataError(
            f'{path}: {name}: {worst[0].tolist()} is not (longitude, latitude) in degrees; if the '
            'file is projected, run ogr2ogr -t_srs EPSG:4326; if the two are swapped, swap them'
        )
    return points


def _metres(frame: EnuFrame, lonlat: Array) -> Array:
    return frame.enu_from_geodetic(lonlat[:, 1], lonlat[:, 0], 0.0)[:, :2]


def _near(shape: Shape, half_extent: float) -> bool:
    """Whether a shape reaches into the square."""
    low, high = shape.rings[0].min(axis=0), shape.rings[0].max(axis=0)
    if shape.kind == 'Point' or is_building(shape):
        # A house over the edge is no house; it must lie inside.
        return bool((low > -half_extent).all() and (high < half_extent).all())
    return bool((high > -half_extent).all() and (low < half_extent).all())


def _attribution(content: Mapping[str, Any]) -> str:
    """What the file says of itself, or OpenStreetMap's own line."""
    words = [content.get(k) for k in ('attribution', 'licence', 'license', 'copyright')]
    found = [w for w in words if isinstance(w, str) and w.strip()]
    own = content.get('attribution') or content.get('copyright')
    return '; '.join(found if own else [OSM_ATTRIBUTION, *found])
