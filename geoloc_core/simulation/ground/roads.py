# SPDX-License-Identifier: Apache-2.0
"""Pavements, kerbs and asphalt of streets and junctions."""

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import City, PARKING_M, Street
from geoloc_core.simulation.ground.painter import Color, grey, oriented, Painter, ribbon
from geoloc_core.simulation.render.labels import Label

Array = NDArray[np.float64]
Arms = dict[int, list[tuple[float, int, bool]]]

_KERB_M = 0.15
_KERB_RGB = (184, 182, 176)
_CORNER_M = 5.0


def paint_roads(painter: Painter, rng: np.random.Generator, city: City, arms: Arms) -> list[float]:
    """Paints all streets and junctions.

    Args:
        painter: Takes the paint.
        rng: Of the tones.
        city: Its streets.
        arms: Streets at each junction, see `arms_of`.

    Returns:
        The grey of each street's asphalt.
    """
    pavements = [grey(rng.uniform(138, 164), rng.uniform(0, 0.04)) for _ in city.streets]
    # Old asphalt is light, new asphalt dark.
    greys = [float(rng.uniform(76, 108)) for _ in city.streets]
    asphalt = [grey(g, -0.008) for g in greys]
    layers: list[tuple[str, Label, list[Color]]] = [
        ('pavement', Label.PAVEMENT, pavements),
        ('kerb', Label.PAVEMENT, [_KERB_RGB] * len(city.streets)),
        ('road', Label.ROAD, asphalt),
    ]
    for layer, label, colours in layers:
        for street, colour in zip(city.streets, colours, strict=True):
            width = _width(street, layer)
            if width > 0:
                painter.polygon(ribbon(street.line, 2 * width), colour, label)
        for node, around in arms.items():
            _paint_junction(painter, city, node, around, layer, label, colours)
        if layer == 'pavement':
            for street in city.streets:
                _paint_paving(painter, rng, street)
    for street in city.streets:
        _paint_strips(painter, rng, street)
    return greys


def _width(street: Street, layer: str) -> float:
    """From the middle to a layer's edge, m; 0 if the street has none."""
    if layer == 'road':
        return street.half_width
    if street.pavement <= 0:
        return 0.0
    return street.half_width + _KERB_M if layer == 'kerb' else street.reach


def _paint_junction(
    painter: Painter,
    city: City,
    node: int,
    around: list[tuple[float, int, bool]],
    layer: str,
    label: Label,
    colours: list[Color],
) -> None:
    """The middle of a junction and its round corners."""
    middle = city.junctions[node]
    widths = sorted(_width(city.streets[i], layer) for _, i, _ in around)
    widest = max(around, key=lambda a: city.streets[a[1]].half_width)[1]
    radius = widths[-2] if len(widths) > 1 else widths[-1]
    for k, (heading, i, _) in enumerate(around):
        gap = (around[(k + 1) % len(around)][0] - heading) % (2 * np.pi)
        # Where a wide street bends or ends beside open ground, its end is round.
        if len(around) > 1 and gap > np.radians(165):
            beside = (i, around[(k + 1) % len(around)][1])
            radius = max(radius, *(_width(city.streets[j], layer) for j in beside))
    painter.disc(middle, radius, colours[widest], label)
    if len(around) < 2:
        return
    for k, (heading, i, _) in enumerate(around):
        other, j, _ = around[(k + 1) % len(around)]
        gap = (other - heading) % (2 * np.pi)
        one, two = _width(city.streets[i], layer), _width(city.streets[j], layer)
        if not np.radians(30) < gap < np.radians(150) or min(one, two) <= 0:
            continue
        u = np.array([np.cos(heading), np.sin(heading)])
        v = np.array([np.cos(other), np.sin(other)])
        corner = middle + (u * two + v * one) / np.sin(gap)
        # Further out the same corner is sharper: the round ones are concentric.
        out = {'pavement': min(city.streets[i].pavement, 2.6), 'kerb': _KERB_M}.get(layer, 0.0)
        reach = max(0.3, _CORNER_M - out) / np.tan(gap / 2)
        t = np.linspace(0, 1, 9)[:, None]
        a, b = corner + u * reach, corner + v * reach
        arc = (1 - t) ** 2 * a + 2 * t * (1 - t) * corner + t**2 * b
        painter.polygon(np.concatenate([middle[None], arc]), colours[widest], label)


def _paint_paving(painter: Painter, rng: np.random.Generator, street: Street) -> None:
    """Joints across the pavements, and slabs that were replaced."""
    if street.pavement < 1.0:
        return
    for side in (-1.0, 1.0):
        middle = street.line.offset(side * (street.half_width + street.pavement / 2))
        start = middle.at(middle.length / 2)[0]
        base = painter.colour_at(start)
        for s in np.arange(0.5, middle.length, 1.5):
            xy, along = middle.at(float(s))
            across = np.array([-along[1], along[0]]) * street.pavement / 2
            if rng.random() < 0.1:
                slab = oriented(xy + along * 0.75, along, 1.5, street.pavement)
                painter.polygon(slab, tuple(base * rng.uniform(0.84, 1.1)))
            painter.line(np.array([xy - across, xy + across]), 0.05, tuple(base * 0.84))


def _paint_strips(painter: Painter, rng: np.random.Generator, street: Street) -> None:
    """Medians, parking bays with a surface of their own, bicycle lanes, tyre tracks."""
    line = street.line
    start, end = street.mouths[0], line.length - street.mouths[1]
    if end - start < 6:
        return
    inner = line.part(start, end)
    if street.parking and rng.random() < 0.5:
        stone = grey(rng.uniform(104, 132), 0.03)
        for side in (-1.0, 1.0):
            offset = side * (street.half_width - PARKING_M / 2)
            painter.polygon(ribbon(inner, PARKING_M, offset), stone)
    if street.bike and rng.random() < 0.6:
        red = (142, 84, 74) if rng.random() < 0.6 else (92, 104, 96)
        for side in (-1.0, 1.0):
            offset = side * (street.lanes_edge + street.bike / 2)
            painter.polygon(ribbon(inner, street.bike - 0.1, offset), red)
    base = painter.colour_at(line.at(line.length / 2 + 0.01)[0] + 1e-3)
    if street.median > 0:
        base = painter.colour_at(line.offset(street.lane_offset).at(line.length / 2)[0])
    # Tyres polish two tracks in each lane; between them oil drips.
    for lane in range(street.lanes):
        middle = street.median / 2 + 3.3 * (lane + 0.5)
        for side in (-1.0, 1.0):
            for track, tone in ((-0.75, 1.05), (0.75, 1.05), (0.0, 0.95)):
                strip = ribbon(line, 0.5, side * (middle + track))
                painter.polygon(strip, tuple(base * tone))
    if street.median > 0 and end - start > 12:
        island = line.part(start + 1.5, end - 1.5)
        painter.line(island.points, street.median, _KERB_RGB, Label.PAVEMENT)
        painter.line(island.points, street.median - 0.4, (94, 114, 64), Label.GRASS)
