# SPDX-License-Identifier: Apache-2.0
"""Parks, squares and trees."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city.blocks import Block, Blocks, Site
from geoloc_core.simulation.city.plan import Area, Fence, Furniture, Path, Rgb, Street, Tree
from geoloc_core.simulation.city.room import area_of, Frame, inside, Room, smoothed
from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]

_BENCH_RGB = (122, 92, 62)
# Streets with narrower pavements have no trees, m.
_TREE_PAVEMENT_M = 2.2


def lay_out_parks(rng: np.random.Generator, site: Site, blocks: Blocks) -> None:
    """Paths, ponds, playgrounds and benches of all parks; fountains of all squares."""
    for block in blocks.blocks:
        if block.use == 'park' and block.radius > 9:
            _park(rng, site, block)
        elif block.use == 'square':
            _square(rng, site, block)


def lay_out_rim(rng: np.random.Generator, site: Site) -> None:
    """Fields and groves where the city ends, on ground that nothing else has taken."""
    half = site.room.half
    yaw = float(rng.uniform(0, np.pi))
    for _ in range(round(half)):
        middle = rng.uniform(-half, half, 2)
        turn = yaw + float(rng.choice([0.0, np.pi / 2])) + float(rng.normal(0, 0.1))
        frame = Frame(middle, np.array([np.cos(turn), np.sin(turn)]))
        long, wide = rng.uniform(22, 70), rng.uniform(16, 40)
        shape = frame.box(-long / 2, -wide / 2, long, wide)
        if np.abs(middle).max() > 0.72 * half and site.room.is_free(
            frame.box(-long / 2 - 3, -wide / 2 - 3, long + 6, wide + 6)
        ):
            site.areas.append(Area('field', shape))
            site.room.take(shape)
    for _ in range(round(half / 8)):
        middle = rng.uniform(-half, half, 2)
        if np.abs(middle).max() < 0.68 * half:
            continue
        for spot in middle + rng.normal(0, 7.0, (int(rng.integers(12, 34)), 2)):
            kind = str(rng.choice(['round', 'round', 'conifer']))
            radius = (
                float(rng.uniform(2.0, 3.6)) if kind == 'round' else float(rng.uniform(1.5, 2.4))
            )
            if np.abs(spot).max() < half - 3 and site.room.is_point_free(spot, 0.8 * radius):
                site.trees.append(_tree(rng, spot, radius, kind))
                site.room.take(_blob(rng, spot, 0.6 * radius, 8))


def _blob(rng: np.random.Generator, middle: Array, radius: float, count: int = 24) -> Array:
    """A round shape without symmetry, counter-clockwise (N, 2)."""
    angles = np.arange(count) * 2 * np.pi / count
    wave = np.zeros(count)
    for k in (1, 2, 3):
        wave += rng.uniform(0, 0.16) * np.sin(k * angles + rng.uniform(0, 2 * np.pi))
    ring = radius * (0.85 + wave)
    return middle + np.stack([np.cos(angles), np.sin(angles)], -1) * ring[:, None]


def _park(rng: np.random.Generator, site: Site, block: Block) -> None:
    middle, radius = block.middle, block.radius
    pond = None
    if radius > 16 and rng.random() < 0.7:
        pond = _blob(
            rng, middle + rng.uniform(-0.2, 0.2, 2) * radius, rng.uniform(0.28, 0.45) * radius
        )
        site.areas.append(Area('pond', pond))
        site.room.take(pond)
    outline = smoothed(block.outline, 4.0, 6)
    # Gates all around, but no bundle of long ways to the far end of a long park.
    away = np.linalg.norm(outline - middle, axis=1)
    near = np.flatnonzero(away < 2.2 * radius)
    steps = np.arange(int(rng.integers(4, 7)))
    gates = near[((steps + rng.uniform(0, 0.6, len(steps))) / len(steps) * len(near)).astype(int)]
    if away.max() > 2.6 * radius:
        gates = np.append(gates, int(np.argmax(away)))
    if pond is None:
        loop = _blob(rng, middle, 0.62 * radius)
    else:
        shore = pond - pond.mean(axis=0)
        loop = middle + shore * (0.66 * radius / np.linalg.norm(shore, axis=1).mean())
    surface = str(rng.choice(['gravel', 'gravel', 'paved']))
    ways = [np.concatenate([loop, loop[:1]])]
    for gate in gates:
        start = outline[gate]
        goal = loop[int(np.argmin(np.linalg.norm(loop - start, axis=1)))]
        side = rng.uniform(-0.25, 0.25) * np.array([-(goal - start)[1], (goal - start)[0]])
        t = np.linspace(0, 1, 12)[:, None]
        ways.append(
            (1 - t) ** 2 * start + 2 * t * (1 - t) * ((start + goal) / 2 + side) + t**2 * goal
        )
    for way in ways:
        line = Polyline(way)
        site.paths.append(Path(line, float(rng.uniform(1.8, 2.4)), surface))
        site.room.take_line(way, 2.4)
        for s in np.arange(rng.uniform(4, 9), line.length - 2, 17.0):
            _bench(rng, site, line, float(s), 1.9)
    if radius > 13:
        _playground(rng, site, block)


def _bench(rng: np.random.Generator, site: Site, line: Polyline, s: float, offset: float) -> None:
    """A bench beside a path, facing it; now and then with a bin or a lamp."""
    xy, along = line.at(s)
    side = float(rng.choice([-1.0, 1.0]))
    frame = Frame(xy, along * side)
    place = frame.at(0, offset)
    if not site.room.is_point_free(place, 0.6):
        return
    yaw = float(np.arctan2(-frame.away[1], -frame.away[0]))
    site.furniture.append(Furniture('bench', place, yaw, 0.85, _BENCH_RGB))
    site.room.take(frame.box(-1.0, offset - 0.4, 2.0, 0.8))
    if rng.random() < 0.5:
        site.furniture.append(Furniture('bin', frame.at(1.6, offset), yaw, 0.9, (60, 84, 66)))
    if rng.random() < 0.5:
        site.furniture.append(Furniture('lamp', frame.at(-1.8, offset), yaw, 4.0, (58, 62, 60)))


def _playground(rng: np.random.Generator, site: Site, block: Block) -> None:
    for _ in range(12):
        middle = block.middle + rng.uniform(-1, 1, 2) * block.radius
        sand = _blob(rng, middle, float(rng.uniform(6.5, 9.5)), 18)
        if not site.room.is_free(sand):
            continue
        site.room.take(sand)
        site.areas.append(Area('playground', sand))
        yaw = float(rng.uniform(0, 2 * np.pi))
        frame = Frame(middle, np.array([np.cos(yaw), np.sin(yaw)]))
        bright: tuple[Rgb, ...] = ((206, 60, 44), (46, 96, 176), (232, 180, 40), (60, 140, 70))
        for kind, u, v, height in (('swing', -2.6, 0.0, 2.3), ('slide', 2.4, 1.2, 1.8)):
            rgb = bright[int(rng.integers(len(bright)))]
            site.furniture.append(Furniture(kind, frame.at(u, v), yaw, height, rgb))
        ring = np.concatenate([sand, sand[:2]])
        fence = Polyline(middle + (ring - middle) * 1.06)
        site.fences.append(Fence(fence.points[3:], 0.9, 'fence', (70, 92, 74)))
        return


def _square(rng: np.random.Generator, site: Site, block: Block) -> None:
    """A fountain, flower beds, rows of small trees and benches."""
    place = block.middle + rng.uniform(-0.3, 0.3, 2) * block.radius
    if site.room.is_point_free(place, 3.5):
        xy = (float(place[0]), float(place[1]))
        site.furniture.append(Furniture('fountain', xy, 0.0, 1.6, (168, 160, 148)))
        site.room.take(_blob(rng, place, 3.6))
    inner = smoothed(block.outline, 3.0, 8)
    inner = block.middle + (inner - block.middle) * 0.82
    line = Polyline(np.concatenate([inner, inner[:1]]))
    for s in np.arange(3.0, line.length, 9.0):
        spot = line.at(float(s))[0]
        if site.room.is_point_free(spot, 1.0):
            site.trees.append(_tree(rng, spot, float(rng.uniform(1.6, 2.3)), 'round', 3.4))
            site.room.take(_blob(rng, spot, 0.8, 8))
        _bench(rng, site, line, float(s + 4.0) % line.length, 0.6)
    for _ in range(6):
        spot = block.middle + rng.uniform(-0.7, 0.7, 2) * block.radius
        if site.room.is_point_free(spot, 2.2):
            xy = (float(spot[0]), float(spot[1]))
            site.furniture.append(Furniture('flower_bed', xy, 0.0, 0.5, (186, 62, 88)))
            site.room.take(_blob(rng, spot, 1.6, 8))


def plant(
    rng: np.random.Generator,
    streets: tuple[Street, ...],
    areas: tuple[Area, ...],
    room: Room,
    roads: Room,
) -> list[Tree]:
    """Trees along streets, in parks and in yards.

    Args:
        rng: Of places and kinds.
        streets: Some of which are lined with trees.
        areas: Parks get many trees, squares and asphalt none.
        room: All that is taken, streets with their pavements among it; trees are added.
        roads: Only roads, from kerb to kerb.
    """
    trees = []
    for street in streets:
        trees += _street_trees(rng, street, roads)
    half = room.half
    barred = Room(half)
    for area in areas:
        if area.kind in ('square', 'parking', 'asphalt', 'pond', 'playground', 'field'):
            barred.take(area.outline)
    # Woods at the rim and in parks, single trees elsewhere.
    density = cv2.GaussianBlur(rng.random((24, 24)).astype(np.float32), (5, 5), 0)
    density = (density - density.min()) / np.ptp(density)
    tries = rng.uniform(-half + 3, half - 3, (round(half**2 / 22), 2))
    keep = rng.random(len(tries))
    for xy, luck in zip(tries, keep, strict=True):
        u, v = ((xy + half) / (2 * half) * 24).astype(int)
        if luck > 0.25 + 0.75 * density[v, u] ** 2:
            continue
        _try_tree(rng, trees, xy, room, barred)
    for area in areas:
        if area.kind in ('park', 'lawn'):
            low, high = area.outline.min(axis=0), area.outline.max(axis=0)
            for _ in range(
                round(abs(area_of(area.outline)) / (45 if area.kind == 'park' else 75))
            ):
                xy = rng.uniform(low, high)
                if inside(area.outline, xy):
                    _try_tree(rng, trees, xy, room, barred)
    return trees


def _try_tree(
    rng: np.random.Generator, trees: list[Tree], xy: Array, room: Room, barred: Room
) -> None:
    kind = str(rng.choice(['round', 'round', 'round', 'conifer', 'poplar', 'bush', 'bush']))
    radius = float(
        {'round': rng.uniform(1.8, 4.6), 'conifer': rng.uniform(1.4, 2.6),
         'poplar': rng.uniform(1.1, 1.7), 'bush': rng.uniform(0.6, 1.4)}[kind]
    )  # fmt: skip
    # Crowns may touch a house or reach over a pavement a little, trunks may not.
    if room.is_point_free(xy, 0.75 * radius) and barred.is_point_free(xy, 0.3):
        room.take(_blob(rng, xy, 0.6 * radius, 8))
        trees.append(_tree(rng, xy, radius, kind))


def _tree(
    rng: np.random.Generator, xy: Array, radius: float, kind: str, height: float = 0.0
) -> Tree:
    """A tree of a kind; `height` of the crown's middle, m, or 0 to draw it."""
    green = rng.uniform(0.78, 1.14)
    shift = rng.uniform(-10, 14)
    base = {'conifer': (48, 74, 48), 'poplar': (92, 112, 56), 'bush': (76, 98, 50)}.get(
        kind, (80, 104, 50)
    )
    rgb = (round((base[0] + shift) * green), round(base[1] * green), round(base[2] * green))
    if not height:
        height = {
            'round': 1.8 + radius * rng.uniform(0.95, 1.3),
            'conifer': radius * rng.uniform(1.9, 2.6),
            'poplar': radius * rng.uniform(3.4, 4.6),
            'bush': 0.6 * radius,
        }[kind]
    return Tree((float(xy[0]), float(xy[1])), radius, float(height), rgb, kind)


def _street_trees(rng: np.random.Generator, street: Street, roads: Room) -> list[Tree]:
    """Rows of trees between kerb and pavement, and on the median."""
    lined = street.pavement >= _TREE_PAVEMENT_M and rng.random() < (
        0.85 if street.kind == 'avenue' else 0.45
    )
    if not lined and street.median < 2:
        return []
    kind = 'poplar' if rng.random() < 0.12 else 'round'
    size = float(rng.uniform(1.7, 3.4)) if kind == 'round' else 1.3
    spacing = float(rng.uniform(9, 15))
    rows = [-street.half_width - 0.8, street.half_width + 0.8] if lined else []
    if street.median >= 2:
        rows.append(0.0)
    trees = []
    start, end = street.mouths[0] + 3, street.line.length - street.mouths[1] - 3
    for row in rows:
        for s in np.arange(start, end, spacing):
            if rng.random() < 0.15:
                continue
            xy, along = street.line.at(float(s + rng.uniform(-0.8, 0.8)))
            place = xy + row * np.array([-along[1], along[0]])
            if row and not roads.is_point_free(place, 0.4):
                continue
            radius = size * float(rng.uniform(0.8, 1.15))
            # High enough for vans under the branches.
            height = 2.9 + 0.95 * radius if kind == 'round' else 0.0
            trees.append(_tree(rng, place, radius, kind, height))
    return trees
