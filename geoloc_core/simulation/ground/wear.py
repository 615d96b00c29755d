# SPDX-License-Identifier: Apache-2.0
"""What years do to asphalt: repaired trenches and patches, seams, cracks, lids, stains."""

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import Street
from geoloc_core.simulation.ground.painter import grey, oriented, Painter, ribbon

Array = NDArray[np.float64]


def paint_wear(painter: Painter, rng: np.random.Generator, street: Street, tone: float) -> None:
    """Paints the wear of one street.

    Args:
        painter: Takes the paint.
        rng: Of everything.
        street: To wear.
        tone: Grey of its asphalt, 0..255.
    """
    if street.line.length < 10:
        return
    _patches(painter, rng, street, tone)
    _cracks(painter, rng, street)
    _lids(painter, rng, street)


def _patches(painter: Painter, rng: np.random.Generator, street: Street, tone: float) -> None:
    """Places that were opened and closed with other asphalt."""
    line = street.line
    for _ in range(rng.poisson(line.length / 60)):
        # A pipe was laid along the street.
        start = rng.uniform(0, line.length - 8)
        part = line.part(start, min(line.length, start + rng.uniform(8, 45)))
        offset = rng.uniform(-1, 1) * max(0.1, street.lanes_edge - 1.0)
        if abs(offset) > street.median / 2 + 0.4:
            colour = grey(tone * rng.choice([0.8, 0.9, 1.12]))
            painter.polygon(ribbon(part, rng.uniform(0.5, 1.2), offset), colour)
    for _ in range(round(line.length / 8)):
        xy, along = line.at(rng.uniform(4, line.length - 4))
        across = np.array([-along[1], along[0]])
        offset = rng.uniform(-1, 1) * (street.half_width - 0.8)
        if abs(offset) < street.median / 2 + 0.9:
            continue
        center = xy + across * offset
        base = painter.colour_at(center) * rng.choice([0.74, 0.84, 1.12, 1.2])
        if rng.random() < 0.3 and street.median == 0:
            shape = oriented(xy, across, 2 * street.half_width, rng.uniform(0.5, 1.2))
        else:
            shape = oriented(center, along, rng.uniform(0.8, 5.0), rng.uniform(0.5, 1.6))
        painter.polygon(shape, tuple(base))


def _cracks(painter: Painter, rng: np.random.Generator, street: Street) -> None:
    line = street.line
    for _ in range(round(line.length / 7)):
        xy, along = line.at(rng.uniform(2, line.length - 2))
        across = np.array([-along[1], along[0]])
        offset = rng.uniform(-1, 1) * (street.half_width - 0.6)
        if abs(offset) < street.median / 2 + 1.5 and street.median:
            continue
        start = xy + across * offset
        turn = rng.normal(0, 0.5, 10).cumsum() + rng.choice([0, np.pi / 2])
        heading = np.arctan2(along[1], along[0]) + turn
        steps = np.stack([np.cos(heading), np.sin(heading)], -1) * 0.45
        crack = start + np.concatenate([np.zeros((1, 2)), steps.cumsum(axis=0)])
        painter.line(crack, 0.05, tuple(painter.colour_at(start) * 0.64))


def _lids(painter: Painter, rng: np.random.Generator, street: Street) -> None:
    """Manholes in the lanes and drains at the kerbs."""
    line = street.line
    for _ in range(round(line.length / 14)):
        xy, along = line.at(rng.uniform(2, line.length - 2))
        across = np.array([-along[1], along[0]])
        offset = rng.uniform(-1, 1) * (street.half_width - 0.6)
        if abs(offset) > street.median / 2 + 0.5:
            painter.disc(xy + across * offset, 0.38, (58, 56, 54))
            painter.disc(xy + across * offset, 0.31, (86, 82, 78))
    for s in np.arange(rng.uniform(5, 15), line.length - 4, 22.0):
        for side in (-1.0, 1.0):
            xy, along = line.at(float(s))
            across = np.array([-along[1], along[0]]) * side
            drain = oriented(xy + across * (street.half_width - 0.25), along, 0.55, 0.35)
            painter.polygon(drain, (48, 46, 44))
