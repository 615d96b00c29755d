# SPDX-License-Identifier: Apache-2.0
"""Buildings as triangles: walls, roofs and what stands on them."""

import zlib

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import Building
from geoloc_core.simulation.city.room import area_of
from geoloc_core.simulation.mesh.builder import boxes, Color, darker, MeshBuilder
from geoloc_core.simulation.mesh.roofs import (
    add_flat,
    add_pitched,
    add_spire,
    GableWall,
    inset,
    PARAPET_M,
    PitchedRoof,
    span_of,
)
from geoloc_core.simulation.render.facades import FLOOR_M, KINDS
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material

Array = NDArray[np.float64]

_PANEL_RGB = (28, 36, 58)
# Patterns of facades that are made of bricks.
_BRICK_KINDS = (1, 4, 9)


def add_building(builder: MeshBuilder, building: Building) -> None:
    """Adds one building. Its small things are drawn from its own place, not from a seed.

    Args:
        builder: Takes the triangles.
        building: Any footprint; a pitched roof needs 4 corners or wings, else the roof is flat.
    """
    footprint = building.footprint
    seed = zlib.crc32(np.round(footprint, 3).tobytes())
    rng = np.random.default_rng([seed, 31])
    kind = building.roof or ('gable' if building.gable > 0 else 'flat')
    wings = building.wings or ((footprint,) if len(footprint) == 4 else ())
    if kind == 'spire':
        _add_walls(builder, building, building.height)
        add_spire(builder, footprint, building.height, building.gable, building.roof_rgb)
    elif kind == 'flat' or building.gable <= 0 or not wings:
        _add_flat_house(builder, building, rng)
    else:
        _add_walls(builder, building, building.height)
        _add_pitched_house(builder, building, kind, wings, rng)


def _add_walls(builder: MeshBuilder, building: Building, top: float) -> None:
    material = Material.WALL if building.facade >= 0 else _blank(building)
    corners = building.footprint
    doors = {door.edge: door for door in building.doors}
    rgb, kind = building.wall_rgb, max(0, building.facade) % KINDS
    for i, (a, b) in enumerate(zip(corners, np.roll(corners, -1, axis=0), strict=True)):
        door = doors.get(i)
        if door is None:
            builder.add_wall(a, b, top, rgb, kind, building.base, material)
            continue
        along = (b - a) / np.linalg.norm(b - a)
        left, right = a + along * door.start, a + along * door.end
        builder.add_wall(a, left, top, rgb, kind, building.base, material)
        builder.add_wall(left, right, top, rgb, kind, door.top, material)
        builder.add_wall(right, b, top, rgb, kind, building.base, material)


def _blank(building: Building) -> Material:
    """Of what the walls without windows are: what the other walls are made of."""
    red, _, blue = building.wall_rgb
    is_brick = (
        building.facade % KINDS in _BRICK_KINDS if building.facade >= 0 else red > 1.4 * blue
    )
    return Material.BRICK if is_brick else Material.PLAIN


def _add_flat_house(builder: MeshBuilder, building: Building, rng: np.random.Generator) -> None:
    high = building.height > 3.5
    top = building.height + (PARAPET_M if high else 0.0)
    _add_walls(builder, building, top)
    rgb = building.roof_rgb
    add_flat(builder, building.footprint, building.height, rgb, building.wall_rgb, high)
    if 'plant' in building.extras:
        _add_plant(builder, building, rng)
    if 'balconies' in building.extras:
        _add_balconies(builder, building, rng)


def _add_pitched_house(
    builder: MeshBuilder,
    building: Building,
    kind: str,
    wings: tuple[Array, ...],
    rng: np.random.Generator,
) -> None:
    main = span_of(wings[0])
    tiles = kind in ('gable', 'hip', 'half_hip', 'mansard') and building.facade >= 0
    joined = kind == 'mansard' or (not building.wings and building.facade >= 0)
    wall = GableWall(building.wall_rgb, _blank(building))
    for i, quad in enumerate(wings):
        rise = building.gable * (span_of(quad) / main if i else 1.0)
        roof = PitchedRoof(quad, building.height, rise, joined)
        form = kind if i == 0 else 'gable'
        add_pitched(builder, form, roof, building.roof_rgb, wall, tiles)
        if i == 0:
            _add_roof_things(builder, building, kind, roof, rng)


def _add_roof_things(
    builder: MeshBuilder,
    building: Building,
    kind: str,
    roof: PitchedRoof,
    rng: np.random.Generator,
) -> None:
    """Chimneys, dormers and solar panels of the main roof."""
    yaw = float(np.arctan2(*(roof.q - roof.p)[::-1]))
    if 'chimney' in building.extras:
        for _ in range(1 + int(rng.random() < 0.3)):
            x, y, z = roof.slope_point(rng.uniform(0.2, 0.8), rng.uniform(0.7, 0.9))
            size = (rng.uniform(0.5, 0.9), rng.uniform(0.45, 0.6), 2.0)
            brick = (138, 84, 66) if rng.random() < 0.6 else (176, 168, 158)
            builder.add(
                boxes([(x, y, z + 0.5)], size, yaw), Material.PLAIN, brick, label=Label.ROOF
            )
    if kind in ('shed', 'sawtooth'):
        return
    if 'dormers' in building.extras:
        _add_dormers(builder, building, kind, roof, yaw, rng)
    elif 'solar' in building.extras and roof.length > 5:
        _add_solar(builder, roof, rng)


def _add_dormers(
    builder: MeshBuilder,
    building: Building,
    kind: str,
    roof: PitchedRoof,
    yaw: float,
    rng: np.random.Generator,
) -> None:
    """A row of dormers on one or both slopes."""
    count = max(1, int((roof.length - 2) / rng.uniform(2.8, 4.0)))
    steep = kind == 'mansard'
    slope = roof.rise / max(roof.half_span, 0.1)
    middles, fronts = [], []
    normal = np.array([np.sin(yaw), -np.cos(yaw)])
    for front in (True, False) if rng.random() < 0.5 else (True,):
        out = normal if front else -normal
        for u in (np.arange(count) + 0.5) / count:
            u = 0.1 + 0.8 * float(u)
            f = 0.25
            x, y, z = roof.slope_point(u, f, front)
            if steep:
                z = roof.low + 0.45 * roof.rise
                x, y, _ = roof.slope_point(u, min(0.3, 0.75 / roof.half_span), front)
            depth = 1.5 if steep else min(2.4, 1.2 / max(slope, 0.3) + 0.4)
            middles.append(
                (x - out[0] * (depth / 2 - 0.5), y - out[1] * (depth / 2 - 0.5), z + 0.35, depth)
            )
            fronts.append((x + out[0] * 0.52, y + out[1] * 0.52, z + 0.45))
    if not middles:
        return
    m = np.array(middles)
    size = np.stack([np.full(len(m), 1.35), m[:, 3], np.full(len(m), 1.45)], axis=-1)
    builder.add(boxes(m[:, :3], size, yaw), Material.PLAIN, building.wall_rgb)
    lid = m[:, :3] + (0, 0, 0.78)
    builder.add(
        boxes(lid, size * (1.15, 1.1, 0.0) + (0, 0, 0.12), yaw), Material.ROOF,
        darker(building.roof_rgb, 0.85), label=Label.ROOF,
    )  # fmt: skip
    builder.add(boxes(np.array(fronts), (0.9, 0.06, 0.95), yaw), Material.GLASS, (70, 82, 96))


def _add_solar(builder: MeshBuilder, roof: PitchedRoof, rng: np.random.Generator) -> None:
    """Dark panels on one slope, a hand's breadth above it."""
    front = bool(rng.random() < 0.5)
    u0, u1 = sorted(rng.uniform(0.08, 0.92, 2))
    if u1 - u0 < 0.2:
        u0, u1 = 0.2, 0.8
    columns = max(1, int((u1 - u0) * roof.length / 1.1))
    quads = []
    for i in range(columns):
        a, b = (u0 + (u1 - u0) * (i + k) / columns for k in (0.03, 0.97))
        for low, high in ((0.2, 0.49), (0.51, 0.8)):
            p, q = roof.slope_point(a, low, front), roof.slope_point(b, low, front)
            r, s = roof.slope_point(b, high, front), roof.slope_point(a, high, front)
            quad = np.array([p, q, r, s]) + np.array([0, 0, 0.1])
            quads += [quad[[0, 1, 2]], quad[[0, 2, 3]]]
    builder.add(np.array(quads), Material.GLASS, _PANEL_RGB, label=Label.ROOF)


def _add_plant(builder: MeshBuilder, building: Building, rng: np.random.Generator) -> None:
    """A stair house, machines and skylights on a flat roof: they tell one roof from the next."""
    footprint = building.footprint
    edges = np.roll(footprint, -1, axis=0) - footprint
    length = np.linalg.norm(edges, axis=1)
    along = edges[int(np.argmax(length))] / length.max()
    yaw = float(np.arctan2(along[1], along[0]))
    core = inset(footprint, 1.8)
    z = building.height
    area = abs(area_of(footprint))
    spots = _spots(rng, core, 4 + min(14, round(area / 60)))
    for i, (x, y) in enumerate(spots):
        if i == 0 and building.facade >= 0:
            size = (rng.uniform(2.6, 4.2), rng.uniform(2.4, 3.2), rng.uniform(2.2, 2.8))
            _box(builder, (x, y, z), size, yaw, darker(building.wall_rgb, 0.92))
        elif rng.random() < 0.45:
            size = (rng.uniform(0.9, 2.2), rng.uniform(0.8, 1.6), rng.uniform(0.6, 1.4))
            _box(builder, (x, y, z), size, yaw, (172, 176, 178))
        else:
            size = (rng.uniform(1.0, 1.8), rng.uniform(1.0, 3.2), 0.3)
            _box(builder, (x, y, z), size, yaw, (120, 140, 150), Material.GLASS)


def _box(
    builder: MeshBuilder,
    foot: tuple[float, float, float],
    size: tuple[float, float, float],
    yaw: float,
    rgb: Color,
    material: Material = Material.PLAIN,
) -> None:
    x, y, z = foot
    builder.add(boxes([(x, y, z + size[2] / 2)], size, yaw), material, rgb, label=Label.ROOF)


def _spots(rng: np.random.Generator, polygon: Array, count: int) -> list[tuple[float, float]]:
    """Places within a polygon, at least 2.5 m apart."""
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    edge = np.roll(polygon, -1, axis=0) - polygon
    spots: list[tuple[float, float]] = []
    for x, y in rng.uniform(low, high, (3 * count, 2)):
        # Crossings of a ray to the right with the outline: odd is inside.
        above = polygon[:, 1] > y
        crossing = above != np.roll(above, -1)
        slope = np.divide(
            y - polygon[:, 1], edge[:, 1], where=edge[:, 1] != 0, out=np.zeros(len(edge))
        )
        is_in = bool((crossing & (x < polygon[:, 0] + slope * edge[:, 0])).sum() % 2)
        if is_in and all((x - a) ** 2 + (y - b) ** 2 > 6 for a, b in spots):
            spots.append((float(x), float(y)))
        if len(spots) == count:
            break
    return spots


def _add_balconies(builder: MeshBuilder, building: Building, rng: np.random.Generator) -> None:
    """Balconies with railings along the longest wall."""
    corners = building.footprint
    edges = np.roll(corners, -1, axis=0) - corners
    length = np.linalg.norm(edges, axis=1)
    slabs, rails, yaws = [], [], []
    floors = int(building.height / FLOOR_M)
    pitch = float(rng.uniform(4.5, 6.5))
    for i in np.argsort(-length)[:2]:
        if length[i] < 8:
            continue
        along = edges[i] / length[i]
        out = np.array([along[1], -along[0]])
        yaw = float(np.arctan2(along[1], along[0]))
        count = int((length[i] - 2) / pitch)
        for u in (np.arange(count) + 0.5) * length[i] / max(count, 1):
            x, y = corners[i] + along * u + out * 0.65
            for floor in range(1, floors):
                z = floor * FLOOR_M + 0.1
                slabs.append((x, y, z))
                rails.append((x + out[0] * 0.6, y + out[1] * 0.6, z + 0.55))
                yaws.append(yaw)
    if slabs:
        turn = np.array(yaws)
        slab = darker(building.wall_rgb, 0.85)
        builder.add(boxes(slabs, (2.8, 1.3, 0.16), turn), Material.PLAIN, slab)
        rail: Color = ((206, 208, 208), (120, 132, 138), (92, 74, 60))[int(rng.integers(3))]
        builder.add(boxes(rails, (2.8, 0.05, 0.95), turn), Material.PLAIN, rail)
