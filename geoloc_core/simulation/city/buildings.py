# SPDX-License-Identifier: Apache-2.0
"""Puts buildings along streets and into blocks, by the use of each block."""

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import houses
from geoloc_core.simulation.city.blocks import Block, Blocks, Site
from geoloc_core.simulation.city.plan import Area, Building, Fence, Path, Street
from geoloc_core.simulation.city.room import area_of, Frame, frontage, inside, shrunk
from geoloc_core.simulation.city.streets import arms_of
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

_SIDES = (-1.0, 1.0)
_HEDGE = (58, 84, 44)


def build_blocks(rng: np.random.Generator, site: Site, blocks: Blocks, junctions: Array) -> None:
    """Fills all blocks with buildings, and what belongs to them: drives, hedges, yards.

    Args:
        rng: Of everything.
        site: Changed in place.
        blocks: Uses of the blocks.
        junctions: (J, 2).
    """
    order = {'square': 0, 'park': 1, 'centre': 2}
    likely = [b for b in blocks.blocks if b.use in order and not b.is_rim]
    for block in sorted(likely, key=lambda b: (order[b.use], -b.radius)):
        # One church at least, if there is room for it, on a square rather than elsewhere.
        if not site.buildings or (block.use == 'square' and rng.random() < 0.3):
            _landmark(rng, site, block)
    for block in blocks.blocks:
        if block.use == 'market':
            _market(rng, site, block)
    _corners(rng, site, blocks, junctions)
    for street in site.streets:
        for side in _SIDES:
            _line_street(rng, site, blocks, street, side)
    for block in blocks.blocks:
        if block.use == 'centre':
            _backyards(rng, site, block)


def _add(site: Site, buildings: list[Building], check: float = 0.4, around: float = 0.6) -> bool:
    """Adds buildings if all of them have room."""
    if not all(site.room.is_free(shrunk(b.footprint, check)) for b in buildings):
        return False
    for building in buildings:
        site.room.take(shrunk(building.footprint, -around))
        site.buildings.append(building)
    return True


def _line_street(
    rng: np.random.Generator, site: Site, blocks: Blocks, street: Street, side: float
) -> None:
    """One side of a street."""
    length = street.line.length
    s = 4.0
    run: dict[str, float | str] = {}
    while s < length - 8:
        use = blocks.use_at(frontage(street, side, s + 5, 6.0).origin)
        if use == 'centre':
            if not run or rng.random() < 0.06:
                run = _new_run(rng)
            s += _row_house(rng, site, street, side, s, run)
            continue
        run = {}
        if use == 'houses':
            s += _family_house(rng, site, street, side, s)
        elif use == 'flats':
            s += _flats(rng, site, street, side, s)
        elif use == 'industry':
            s += _hall(rng, site, street, side, s)
        else:
            s += 6.0


def _new_run(rng: np.random.Generator) -> dict[str, float | str]:
    """What neighbours in a row have in common."""
    return {
        'depth': float(rng.uniform(10, 13.5)),
        'floors': float(rng.integers(3, 6)),
        'roof': str(rng.choice(['gable', 'gable', 'mansard', 'flat'])),
        'setback': float(rng.choice([0.2, 0.2, 1.4])),
    }


def _row_house(
    rng: np.random.Generator, site: Site, street: Street, side: float, s: float, run: dict
) -> float:
    """A house wall to wall with the one before; returns how far along the street it reaches."""
    width = float(rng.uniform(8, 17))
    end = min(s + width, street.line.length)
    front = run['setback']
    back = front + run['depth'] + float(rng.choice([0.0, 0.0, 1.5]))
    near, far = frontage(street, side, s), frontage(street, side, end)
    corners = [near.at(0, front), far.at(0, front), far.at(0, back), near.at(0, back)]
    if side < 0:
        corners = [corners[i] for i in (1, 0, 3, 2)]
    footprint = np.array(corners)
    # Across sharp bends neighbours' back walls would cross.
    sides = np.linalg.norm(np.roll(footprint, -1, axis=0) - footprint, axis=1)
    if min(sides) < 4.5 or area_of(footprint) < 40:
        return 2.0
    floors = int(np.clip(run['floors'] + rng.integers(-1, 2), 2, 7))
    house = houses.row_house(rng, footprint, floors, run['roof'])
    if not _add(site, [house], check=0.5, around=0.0):
        return 2.0
    # A gap now and then: a gateway to the yard.
    return end - s + (float(rng.uniform(3, 5)) if rng.random() < 0.08 else 0.0)


def _family_house(
    rng: np.random.Generator, site: Site, street: Street, side: float, s: float
) -> float:
    """A detached house with its garage, drive, path and hedge."""
    width, depth = float(rng.uniform(9, 13)), float(rng.uniform(8.5, 13))
    setback = float(rng.choice([3.0, 4.5, 6.0]))
    plot = width + float(rng.uniform(5, 9))
    if s + plot > street.line.length - 2:
        return plot
    frame = frontage(street, side, s + plot / 2, setback)
    if not site.room.is_free(frame.box(-plot / 2 + 1, -setback + 0.8, plot - 2, setback + depth)):
        return 3.0
    site.room.take(frame.box(-width / 2, -0.5, width, depth + 1))
    site.buildings.append(houses.detached(rng, frame, width, depth))
    hand = float(rng.choice(_SIDES))
    door = frame.place([(0.15 * width, -setback), (0.15 * width, 0.3)])
    site.paths.append(Path(Polyline(door), 1.2, 'paved'))
    if rng.random() < 0.65:
        u = hand * (width / 2 + 1.7)
        deep = float(rng.uniform(0, depth - 6))
        shed = frame.box(u - 1.4, deep, 2.8, 5.8)
        if site.room.is_free(shrunk(shed, 0.3)):
            site.room.take(shed)
            site.buildings.append(houses.garage(rng, shed))
        drive = frame.place([(u, -setback - 0.5), (u, deep)])
        surface = str(rng.choice(['paved', 'asphalt', 'gravel']))
        site.paths.append(Path(Polyline(drive), 2.8, surface))
    _front_hedge(rng, site, frame, plot, setback, depth, hand)
    return plot


def _front_hedge(
    rng: np.random.Generator,
    site: Site,
    frame: Frame,
    plot: float,
    setback: float,
    depth: float,
    drive: float,
) -> None:
    """Around the front garden, open where path and drive pass."""
    kind = str(rng.choice(['hedge', 'hedge', 'fence', 'wall', 'none']))
    if kind == 'none':
        return
    height = {'hedge': rng.uniform(0.8, 1.7), 'fence': 1.1, 'wall': rng.uniform(0.5, 1.0)}[kind]
    green = rng.uniform(0.8, 1.2)
    rgb = {
        'hedge': (round(_HEDGE[0] * green), round(_HEDGE[1] * green), round(_HEDGE[2] * green)),
        'fence': ((112, 92, 70), (206, 206, 200), (70, 76, 72))[int(rng.integers(3))],
        'wall': (168, 156, 142),
    }[kind]
    front, half = -setback + 0.5, plot / 2 - 0.3
    gate = 0.15 * (plot - 7) + 1.1
    low, high = -half, half
    if drive < 0:
        low = -half + 4.2
    else:
        high = half - 4.2
    pieces: list[list[tuple[float, float]]] = [
        [(low, front), (min(gate - 1.8, high), front)],
        [(gate + 0.6, front), (high, front)],
    ]
    edge: float = half if drive < 0 else -half
    pieces.append([(edge, front + 0.2), (edge, depth + float(rng.uniform(2, 8)))])
    for piece in pieces:
        line = frame.place(piece)
        if np.linalg.norm(line[1] - line[0]) < 1.2:
            continue
        middle = Frame(line[0], (line[1] - line[0]) / np.linalg.norm(line[1] - line[0]))
        strip = middle.box(0, -0.25, float(np.linalg.norm(line[1] - line[0])), 0.5)
        if site.room.is_free(strip):
            site.room.take(strip)
            site.fences.append(Fence(line, float(height), kind, rgb))


def _flats(rng: np.random.Generator, site: Site, street: Street, side: float, s: float) -> float:
    """Modern flats on a lawn, with a path to the street."""
    for w, d in ((44, 38), (38, 26), (30, 24), (24, 12), (15, 12)):
        width, depth = w * float(rng.uniform(0.85, 1.1)), d * float(rng.uniform(0.9, 1.1))
        setback = float(rng.uniform(4, 8))
        frame = frontage(street, side, min(s + width / 2, street.line.length), setback)
        if site.room.is_free(
            frame.box(-width / 2 - 2, -setback + 0.6, width + 4, setback + depth)
        ):
            built = houses.block_of_flats(rng, frame, width, depth)
            site.room.take(frame.box(-width / 2 - 1, -1, width + 2, depth + 2))
            site.buildings += built
            site.paths.append(Path(Polyline(frame.place([(0, -setback), (0, 0.5)])), 2.0, 'paved'))
            return width + float(rng.uniform(8, 16))
    return 4.0


def _hall(rng: np.random.Generator, site: Site, street: Street, side: float, s: float) -> float:
    """A hall in its yard, fenced off."""
    for scale in (1.0, 0.75, 0.55):
        width, depth = rng.uniform(28, 46) * scale, rng.uniform(18, 30) * scale
        setback = float(rng.uniform(8, 14))
        frame = frontage(street, side, min(s + width / 2 + 4, street.line.length), setback)
        plot = frame.box(-width / 2 - 5, -setback + 0.6, width + 10, setback + depth + 4)
        if not site.room.is_free(plot):
            continue
        footprint = frame.box(-width / 2, 0, width, depth)
        if depth > width:
            footprint = np.roll(footprint, -1, axis=0)
        site.buildings.append(houses.hall(rng, footprint))
        site.room.take(plot)
        site.areas.append(Area('parking' if rng.random() < 0.4 else 'asphalt', plot))
        if rng.random() < 0.7:
            gate = float(rng.uniform(-0.2, 0.2)) * width
            y = -setback + 0.9
            for a, b in ((-width / 2 - 5, gate - 4), (gate + 4, width / 2 + 5)):
                line = frame.place([(a, y), (b, y)])
                site.fences.append(Fence(line, 1.8, 'fence', (96, 104, 100)))
        return width + 12
    return 6.0


def _corners(rng: np.random.Generator, site: Site, blocks: Blocks, junctions: Array) -> None:
    """Houses cut round at street corners of the old centre."""
    for node, around in arms_of(site.streets).items():
        for k, (heading, i, _) in enumerate(around):
            other, j, _ = around[(k + 1) % len(around)]
            gap = (other - heading) % (2 * np.pi)
            if not np.radians(72) < gap < np.radians(112) or rng.random() < 0.35:
                continue
            one = np.array([np.cos(heading), np.sin(heading)])
            two = np.array([np.cos(other), np.sin(other)])
            # Where the outer edges of both pavements meet.
            a, b = site.streets[i].reach, site.streets[j].reach
            corner = junctions[node] + (one * (b + 0.3) + two * (a + 0.3)) / np.sin(gap)
            if blocks.use_at(corner + 5 * (one + two)) == 'centre':
                _add(site, [houses.corner_house(rng, corner, one, two)], check=0.2, around=0.0)


def _landmark(rng: np.random.Generator, site: Site, block: Block) -> None:
    """A church, if the block is large enough."""
    yaw = float(rng.uniform(0, 2 * np.pi))
    for shift in np.concatenate([np.zeros((1, 2)), rng.uniform(-0.4, 0.4, (8, 2))]):
        frame = Frame(block.middle + shift * block.radius, np.array([np.cos(yaw), np.sin(yaw)]))
        if site.room.is_free(frame.box(-20, -8, 38, 16)):
            site.buildings += houses.church(rng, frame)
            site.room.take(frame.box(-19, -7, 36.5, 14))
            return


def _market(rng: np.random.Generator, site: Site, block: Block) -> None:
    """A supermarket; the rest of its block is for parked cars."""
    yaw = float(rng.uniform(0, 2 * np.pi))
    for scale in (1.0, 0.8, 0.6):
        width, depth = 40 * scale, 26 * scale
        for shift in rng.uniform(-0.9, 0.9, (12, 2)):
            turn = yaw + float(rng.uniform(-0.2, 0.2))
            frame = Frame(
                block.middle + shift * block.radius, np.array([np.cos(turn), np.sin(turn)])
            )
            footprint = frame.box(-width / 2, -depth / 2, width, depth)
            if site.room.is_free(frame.box(-width / 2 - 2, -depth / 2 - 2, width + 4, depth + 4)):
                house = houses.hall(rng, footprint)
                site.buildings.append(house)
                site.room.take(footprint)
                return


def _backyards(rng: np.random.Generator, site: Site, block: Block) -> None:
    """Low annexes and sheds within a block, wherever they fit."""
    low, high = block.outline.min(axis=0), block.outline.max(axis=0)
    for _ in range(round(area_of(block.outline) / 90)):
        center = rng.uniform(low, high)
        if not inside(block.outline, center):
            continue
        yaw = float(rng.uniform(0, np.pi))
        frame = Frame(center, np.array([np.cos(yaw), np.sin(yaw)]))
        w, d = rng.uniform(4, 11), rng.uniform(3.5, 7)
        if site.room.is_free(frame.box(-w / 2 - 1.5, -d / 2 - 1.5, w + 3, d + 3)):
            house = houses.garage(rng, frame.box(-w / 2, -d / 2, w, d))
            site.buildings.append(house)
            site.room.take(house.footprint)
