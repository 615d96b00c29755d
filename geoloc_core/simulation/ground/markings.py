# SPDX-License-Identifier: Apache-2.0
"""Paint on the road: lines, crossings, arrows, bays, all slightly worn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import (
    Area,
    CROSSING_BEHIND_M,
    Furniture,
    LANE_M,
    PARKING_M,
    Street,
)
from geoloc_core.simulation.city.parking import BAY_M, KERB_BAY_M, lot_bays
from geoloc_core.simulation.city.room import Room
from geoloc_core.simulation.ground.painter import Color, oriented, Painter, ribbon
from geoloc_core.simulation.polyline import Polyline
from geoloc_core.simulation.render.labels import Label

Array = NDArray[np.float64]
Shapes = list[Array]

_CROSSING_WIDTH_M = 3.0
_WHITE = (222.0, 222.0, 216.0)
_YELLOW = (214.0, 172.0, 56.0)
_DASHES = ((3.0, 3.0), (4.0, 2.0), (1.5, 1.5), (3.0, 6.0))


def paint_markings(
    painter: Painter,
    rng: np.random.Generator,
    street: Street,
    is_junction: tuple[bool, bool],
    furniture: Sequence[Furniture],
) -> None:
    """Paints the markings of one street.

    Args:
        painter: Takes the paint.
        rng: Of their kinds and wear.
        street: With lanes and mouths.
        is_junction: Whether its start and its end are junctions of three streets or more.
        furniture: Shelters among it get a bus bay.
    """
    worn = rng.uniform(0.86, 1.0)
    white = (_WHITE[0] * worn, _WHITE[1] * worn, _WHITE[2] * worn)
    line = street.line
    start = street.mouths[0] if is_junction[0] else 0.0
    end = line.length - (street.mouths[1] if is_junction[1] else 0.0)
    shapes: Shapes = []
    if end - start > 4:
        _lane_lines(rng, street, line, start, end, shapes)
        if street.parking:
            _kerb_bays(street, shapes)
    for reverse, wanted in ((False, is_junction[1]), (True, is_junction[0])):
        if wanted:
            way = line.reversed() if reverse else line
            mouth = street.mouths[0] if reverse else street.mouths[1]
            _mouth(rng, street, way, mouth, shapes)
    for shape in shapes:
        painter.polygon(shape, white, Label.MARKING)
    for thing in furniture:
        if thing.kind == 'shelter':
            _bus_bay(painter, street, np.array(thing.xy))


def _dashes(line: Polyline, start: float, end: float, dash: float, gap: float, width: float,
            offset: float) -> Shapes:  # fmt: skip
    return [
        ribbon(line.part(float(s), float(s) + dash), width, offset)
        for s in np.arange(start, end - dash, dash + gap)
    ]


def _lane_lines(
    rng: np.random.Generator,
    street: Street,
    line: Polyline,
    start: float,
    end: float,
    shapes: Shapes,
) -> None:
    """The middle, lines between lanes, bicycle lanes."""
    dash, gap = _DASHES[int(rng.integers(len(_DASHES)))]
    inner = line.part(start, end)
    if street.median == 0 and (street.kind != 'lane' or rng.random() < 0.25):
        solid = min(14.0, (end - start) / 4)
        shapes += _dashes(line, start + solid, end - solid, dash, gap, 0.14, 0.0)
        # No overtaking just before a junction.
        shapes += [ribbon(line.part(start, start + solid), 0.14)]
        shapes += [ribbon(line.part(end - solid, end), 0.14)]
    for side in (-1.0, 1.0):
        for lane in range(1, street.lanes):
            offset = side * (street.median / 2 + LANE_M * lane)
            shapes += _dashes(line, start, end, 3.0, 4.5, 0.13, offset)
        if street.median > 0:
            shapes.append(ribbon(inner, 0.13, side * (street.median / 2 + 0.2)))
        if street.bike:
            shapes += _dashes(line, start, end, 1.0, 1.0, 0.12, side * street.lanes_edge)
            if end - start > 30:
                for s in np.arange(start + 8, end - 4, 40.0):
                    xy, along = line.at(float(s))
                    left = np.array([-along[1], along[0]])
                    heading = along * -side
                    center = xy + left * side * (street.lanes_edge + street.bike / 2)
                    shapes += _bicycle(center, heading)


def _bicycle(center: Array, along: Array) -> Shapes:
    """A bicycle's sign, as seen from the saddle: two wheels, a frame, a bar."""
    right = np.array([along[1], -along[0]])
    shapes = []
    for step in (-0.45, 0.45):
        angles = np.arange(8) * np.pi / 4
        ring = np.stack([np.cos(angles) * 0.28, np.sin(angles) * 0.28], -1)
        shapes.append(center + along * step + ring[:, :1] * along + ring[:, 1:] * right)
    shapes.append(oriented(center + right * 0.06, along, 0.3, 0.12))
    shapes.append(oriented(center + along * 0.95, right, 0.5, 0.1))
    return shapes


def _kerb_bays(street: Street, shapes: Shapes) -> None:
    """Where cars park along the kerbs; `kerb_places` puts them there."""
    line = street.line
    start, end = street.mouths[0] + 2, line.length - street.mouths[1] - 2
    if end - start < KERB_BAY_M:
        return
    inner = line.part(start, end)
    edge = street.half_width - PARKING_M
    for side in (-1.0, 1.0):
        shapes.append(ribbon(inner, 0.1, side * edge))
        for s in np.arange(start, end, KERB_BAY_M):
            xy, along = line.at(float(s))
            across = np.array([-along[1], along[0]]) * side
            middle = xy + across * (edge + PARKING_M / 2)
            shapes.append(oriented(middle, across, PARKING_M - 0.2, 0.1))


def _mouth(
    rng: np.random.Generator, street: Street, way: Polyline, mouth: float, shapes: Shapes
) -> None:
    """What lies before a junction that a way leads to: stop line, crossing, arrows."""
    s = way.length - mouth
    xy, along = way.at(s)
    right = np.array([along[1], -along[0]])
    inner, edge = street.median / 2, street.lanes_edge
    big = street.kind != 'lane'
    if big or rng.random() < 0.5:
        middle = xy + right * (inner + edge) / 2
        if rng.random() < 0.7:
            shapes.append(oriented(middle, right, edge - inner - 0.3, 0.4))
        else:
            shapes += [
                oriented(xy + right * float(a), along, 0.5, 0.45)
                for a in np.arange(inner + 0.4, edge - 0.2, 0.75)
            ]
    if mouth > CROSSING_BEHIND_M + 3 and rng.random() < (0.92 if big else 0.35):
        at, along = way.at(s + CROSSING_BEHIND_M)
        right = np.array([along[1], -along[0]])
        if rng.random() < 0.8:
            shapes += [
                oriented(at + right * float(a), along, _CROSSING_WIDTH_M, 0.5)
                for a in np.arange(-street.half_width + 0.5, street.half_width - 0.3, 1.0)
            ]
        else:
            for step in (-1.6, 1.6):
                for a in np.arange(-street.half_width + 0.4, street.half_width - 0.3, 0.9):
                    shapes.append(oriented(at + along * step + right * float(a), right, 0.5, 0.3))
    if big and way.length - 2 * mouth > 26:
        for back in (7.0, 22.0):
            at, along = way.at(s - back)
            right = np.array([along[1], -along[0]])
            for lane in range(street.lanes):
                kind = ('left', 'straight', 'right', 'both')[int(rng.integers(4))]
                if street.lanes > 1:
                    kind = ('left', 'both')[lane] if lane < 2 else 'straight'
                if rng.random() < 0.6:
                    center = at + right * (inner + LANE_M * (lane + 0.5))
                    shapes += _arrow(center, along, kind)


def _arrow(center: Array, along: Array, kind: str) -> Shapes:
    """A lane arrow of about 4.5 m."""
    right = np.array([along[1], -along[0]])

    def place(points: list[tuple[float, float]], mirror: float = 1.0) -> Array:
        return np.array([center + along * a + right * b * mirror for a, b in points])

    shapes = []
    if kind in ('straight', 'both'):
        shapes.append(place([(-2.2, -0.1), (0.8, -0.1), (0.8, 0.1), (-2.2, 0.1)]))
        shapes.append(place([(0.7, -0.42), (2.2, 0.0), (0.7, 0.42)]))
    else:
        shapes.append(place([(-2.2, -0.1), (-0.6, -0.1), (-0.6, 0.1), (-2.2, 0.1)]))
    if kind != 'straight':
        side = -1.0 if kind == 'left' else 1.0
        shapes.append(place([(-0.9, 0.0), (-0.6, 0.0), (0.3, 0.6), (0.0, 0.75)], side))
        shapes.append(place([(-0.25, 0.55), (0.75, 1.05), (0.5, 0.2)], side))
    return shapes


def _bus_bay(painter: Painter, street: Street, place: Array) -> None:
    """A yellow zigzag along the kerb in front of a shelter."""
    line = street.line
    away = np.linalg.norm(line.points - place, axis=1)
    i = int(np.argmin(away))
    if away[i] > street.reach + 1.0 or street.parking:
        return
    s = float(line.s[i])
    _, along = line.at(s)
    left = np.array([-along[1], along[0]])
    side = float(np.sign((place - line.points[i]) @ left))
    if not 9 < s < line.length - 9:
        return
    near, far = street.half_width - 0.3, street.half_width - 2.4
    points = []
    for k, t in enumerate(np.arange(-8.0, 8.1, 2.0)):
        xy, along = line.at(s + float(t))
        left = np.array([-along[1], along[0]]) * side
        points.append(xy + left * (near if k % 2 else far))
    painter.line(np.array(points), 0.14, _YELLOW, Label.MARKING)


def paint_lots(painter: Painter, areas: Sequence[Area], built: Room) -> None:
    """Lines between the bays of parking lots."""
    white: Color = (204.0, 204.0, 198.0)
    for area in areas:
        if area.kind != 'parking':
            continue
        for xy, yaw in lot_bays(area, built):
            along = np.array([np.cos(yaw), np.sin(yaw)])
            across = np.array([-along[1], along[0]])
            for side in (-0.5, 0.5):
                center = np.array(xy) + across * side * BAY_M[0]
                painter.polygon(oriented(center, along, BAY_M[1], 0.1), white, Label.MARKING)
