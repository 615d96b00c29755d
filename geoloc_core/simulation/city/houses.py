# SPDX-License-Identifier: Apache-2.0
"""Kinds of buildings, each drawn in the frame of its plot."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.city.plan import Building, Rgb
from geoloc_core.simulation.city.room import Frame

Array = NDArray[np.float64]
Points = list[tuple[float, float]]

FLOOR_M = 3.1
# Patterns of walls that suit a kind of house: some have shops, some balconies, some shutters.
_TOWN = (0, 1, 3, 3, 4, 4, 7, 8, 10, 10)
_CORNER = (3, 4, 6, 8, 10)
_FAMILY = (0, 1, 7, 7)
_FLATS = (0, 2, 5, 8, 9)
_TOWER = (5, 6, 9, 11)
WALLS: tuple[Rgb, ...] = (
    (222, 214, 196), (205, 182, 146), (190, 120, 92), (232, 228, 220), (176, 168, 158),
    (214, 196, 170), (160, 98, 78), (198, 204, 206), (228, 206, 150), (206, 168, 148),
    (184, 194, 172), (236, 222, 192), (146, 88, 70), (210, 210, 214),
)  # fmt: skip
TILES: tuple[Rgb, ...] = (
    (150, 78, 58), (128, 66, 52), (104, 84, 74), (92, 90, 94), (164, 92, 66), (112, 58, 50),
    (78, 78, 84), (138, 104, 84),
)  # fmt: skip
FLAT_ROOFS: tuple[Rgb, ...] = (
    (132, 130, 128), (158, 154, 148), (104, 106, 108), (178, 176, 170), (118, 122, 104),
)  # fmt: skip
SHEET_ROOFS: tuple[Rgb, ...] = (
    (150, 156, 160), (176, 180, 182), (118, 96, 86), (96, 112, 128), (196, 196, 192),
)  # fmt: skip


def pick(rng: np.random.Generator, colours: tuple[Rgb, ...]) -> Rgb:
    """One of some colours, a little lighter or darker."""
    colour = colours[int(rng.integers(len(colours)))]
    gain = rng.uniform(0.93, 1.06)
    red, green, blue = (min(255, round(c * gain)) for c in colour)
    return red, green, blue


def chance(rng: np.random.Generator, **probabilities: float) -> tuple[str, ...]:
    """The names drawn, each with its own probability."""
    return tuple(name for name, p in probabilities.items() if rng.random() < p)


def eaves(floors: int, base: float = 0.6) -> float:
    """Height of the eaves over that many floors, m."""
    return FLOOR_M * floors + base


def row_house(
    rng: np.random.Generator, footprint: Array, floors: int, roof: str, setback_top: bool = False
) -> Building:
    """A town house that shares its side walls with its neighbours; edge 0 faces the street."""
    flat = roof == 'flat'
    gable = 0.0 if flat else float(rng.uniform(3.2, 4.6))
    extras = chance(rng, plant=0.9, balconies=0.25) if flat else chance(
        rng, chimney=0.8, dormers=0.5 if roof != 'mansard' else 0.9, solar=0.12
    )  # fmt: skip
    return Building(
        footprint=footprint,
        height=eaves(floors) + rng.uniform(-0.4, 0.5) + (0.4 if setback_top else 0.0),
        gable=gable,
        facade=int(rng.choice(_TOWN)),
        wall_rgb=pick(rng, WALLS),
        roof_rgb=pick(rng, FLAT_ROOFS if flat else TILES),
        roof=roof,
        extras=extras,
    )


def corner_house(rng: np.random.Generator, corner: Array, one: Array, two: Array) -> Building:
    """A flat-roofed house at a street corner, its edge cut round.

    Args:
        rng: Of size and colours.
        corner: (2,) where the pavements' outer edges meet, m.
        one: Unit vector (2,) from there along one street.
        two: Along the other, counter-clockwise from `one`.
    """
    cut = rng.uniform(3.5, 6.0)
    long = rng.uniform(13, 19, 2)
    t = np.linspace(0, 1, 7)[:, None]
    start, end = corner + two * cut, corner + one * cut
    arc = (1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end
    far = corner + one * long[0] + two * long[1]
    rest = np.array([corner + one * long[0], far, corner + two * long[1]])
    floors = int(rng.integers(3, 6))
    return Building(
        footprint=np.concatenate([arc, rest]) + 0.4 * (one + two),
        height=eaves(floors, 0.9),
        gable=0.0,
        facade=int(rng.choice(_CORNER)),
        wall_rgb=pick(rng, WALLS),
        roof_rgb=pick(rng, FLAT_ROOFS),
        roof='flat',
        extras=('plant',),
    )


def detached(rng: np.random.Generator, frame: Frame, width: float, depth: float) -> Building:
    """A family house: a box or an L or a T, under tiles.

    Args:
        rng: Of everything else.
        frame: Of the plot; the house fills about [-width/2, width/2] x [0, depth].
        width: Along the street, m.
        depth: m.
    """
    floors = int(rng.choice([1, 2, 2]))
    slope = rng.uniform(0.65, 1.0)
    form = rng.choice(['box', 'box', 'L', 'T'])
    w = width / 2
    main = min(depth, rng.uniform(7.0, 8.5))
    rest = depth - main
    wings: list[Points] = [[(-w, 0), (w, 0), (w, main), (-w, main)]]
    outline: Points = wings[0]
    if form != 'box' and rest > 2.0:
        wide = rng.uniform(4.6, 0.55 * width)
        left = w - wide if form == 'L' else -wide / 2
        right = left + wide
        # The wing reaches under the main ridge; its own ridge runs away from the street.
        wings.append([(right, main / 2), (right, depth), (left, depth), (left, main / 2)])
        if form == 'L':
            outline = [(-w, 0), (w, 0), (w, depth), (left, depth), (left, main), (-w, main)]
        else:
            outline = [
                (-w, 0), (w, 0), (w, main), (right, main), (right, depth), (left, depth),
                (left, main), (-w, main),
            ]  # fmt: skip
    roof = 'gable'
    if form == 'box':
        roof = str(rng.choice(['gable', 'gable', 'hip', 'half_hip']))
        if rng.random() < 0.35:
            # The gable faces the street.
            wings = [[(w, 0), (w, main), (-w, main), (-w, 0)]]
            outline = wings[0]
    span = main if wings[0][0][0] < 0 else width
    return Building(
        footprint=frame.place(outline),
        height=eaves(floors, 0.3),
        gable=float(slope * span / 2),
        facade=int(rng.choice(_FAMILY)),
        wall_rgb=pick(rng, WALLS),
        roof_rgb=pick(rng, TILES),
        roof=roof,
        wings=tuple(frame.place(p) for p in wings),
        extras=chance(rng, chimney=0.8, dormers=0.3 if floors == 2 else 0.6, solar=0.3),
    )


def garage(rng: np.random.Generator, footprint: Array) -> Building:
    """A garage or shed: low, with a flat roof or a lean-to."""
    roof = str(rng.choice(['flat', 'flat', 'shed']))
    return Building(
        footprint=footprint,
        height=2.6,
        gable=0.8 if roof == 'shed' else 0.0,
        facade=-1,
        wall_rgb=pick(rng, WALLS),
        roof_rgb=pick(rng, FLAT_ROOFS if roof == 'flat' else SHEET_ROOFS),
        roof=roof,
    )


def block_of_flats(
    rng: np.random.Generator, frame: Frame, width: float, depth: float
) -> list[Building]:
    """Modern flats in the form of a slab, an L, a U, a T, a courtyard or a tower."""
    t = rng.uniform(10.5, 12.5)
    w = width / 2
    forms = ['slab']
    if min(width, depth) > 22:
        forms += ['L', 'L', 'T', 'tower']
    if width > 32 and depth > 22:
        forms += ['U', 'U']
    if width > 34 and depth > 34:
        forms += ['court', 'court']
    form = str(rng.choice(forms))
    shapes: list[Points]
    if form == 'slab':
        shapes = [[(-w, 0), (w, 0), (w, t), (-w, t)]]
    elif form == 'L':
        shapes = [[(-w, 0), (w, 0), (w, depth), (w - t, depth), (w - t, t), (-w, t)]]
    elif form == 'T':
        h = t / 2
        shapes = [[(-w, 0), (w, 0), (w, t), (h, t), (h, depth), (-h, depth), (-h, t), (-w, t)]]
    elif form == 'U':
        shapes = [_u_shape(w, depth, t)]
    elif form == 'court':
        near = _u_shape(w, depth / 2, t)
        far = [(-u, depth - v) for u, v in near]
        shapes = [near, far]
    else:
        s = rng.uniform(15, 20) / 2
        shapes = [[(-s, 2), (s, 2), (s, 2 + 2 * s), (-s, 2 + 2 * s)]]
    floors = int(rng.integers(9, 17)) if form == 'tower' else int(rng.integers(4, 8))
    wall, top = pick(rng, WALLS), pick(rng, FLAT_ROOFS)
    facade = int(rng.choice(_TOWER if form == 'tower' else _FLATS))
    # Some patterns have painted balconies already.
    extras = ('plant', 'balconies') if facade in (0, 8) else ('plant',)
    return [
        Building(frame.place(p), eaves(floors, 0.8), 0.0, facade, wall, top, 'flat', extras=extras)
        for p in shapes
    ]


def _u_shape(w: float, depth: float, t: float) -> Points:
    return [
        (-w, 0), (w, 0), (w, depth), (w - t, depth), (w - t, t), (t - w, t), (t - w, depth),
        (-w, depth),
    ]  # fmt: skip


def hall(rng: np.random.Generator, footprint: Array) -> Building:
    """A hall of industry or trade, its first edge along the longer side."""
    roof = str(rng.choice(['sawtooth', 'gable', 'shed', 'flat']))
    height = float(rng.uniform(5.5, 9.0))
    return Building(
        footprint=footprint,
        height=height,
        gable={'sawtooth': 2.2, 'gable': 2.6, 'shed': 1.6, 'flat': 0.0}[roof],
        facade=-1,
        wall_rgb=pick(rng, ((188, 192, 194), (150, 160, 170), (206, 202, 190), (132, 92, 76))),
        roof_rgb=pick(rng, FLAT_ROOFS if roof == 'flat' else SHEET_ROOFS),
        roof=roof,
        extras=('plant',) if roof == 'flat' else chance(rng, solar=0.4),
    )


def church(rng: np.random.Generator, frame: Frame) -> list[Building]:
    """A landmark: nave, tower with a spire, round choir. Covers about [-18, 18] x [-6, 6]."""
    wall = pick(rng, ((214, 204, 182), (156, 92, 74), (196, 188, 176)))
    roof = pick(rng, ((104, 84, 74), (92, 132, 116), (84, 84, 92)))
    high = float(rng.uniform(9, 12))

    def piece(
        outline: ArrayLike, height: float, gable: float, kind: str, facade: int = -1
    ) -> Building:
        footprint = frame.place(outline)
        return Building(footprint, height, gable, facade, wall, roof, kind)

    angles = np.linspace(-np.pi / 2, np.pi / 2, 7)
    choir = np.stack([12 + 4.2 * np.cos(angles), 4.2 * np.sin(angles)], axis=-1)
    nave = [(-12, -5.5), (12, -5.5), (12, 5.5), (-12, 5.5)]
    tower = [(-18, -3), (-12, -3), (-12, 3), (-18, 3)]
    return [
        piece(nave, high, 6.0, 'gable', 0),
        piece(tower, 2.1 * high + 4, 11.0, 'spire'),
        piece(choir, 0.8 * high, 3.0, 'spire'),
    ]
