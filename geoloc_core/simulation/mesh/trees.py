# SPDX-License-Identifier: Apache-2.0
"""Trees, bushes and hedges: trunks and crowns of several lumps."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import Fence, Tree
from geoloc_core.simulation.mesh.builder import boxes, MeshBuilder
from geoloc_core.simulation.mesh.templates import FIRST, place, Sketch, Template
from geoloc_core.simulation.polyline import Polyline
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material

Array = NDArray[np.float64]

_VARIANTS = 5
_BARK = (88.0, 72.0, 56.0)


def _icosphere(rounds: int) -> tuple[Array, NDArray[np.int64]]:
    """A unit sphere of 20 * 4^rounds triangles: vertices (V, 3) and faces (F, 3)."""
    g = (1 + 5**0.5) / 2
    corners = [
        (-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g),
        (0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1),
    ]  # fmt: skip
    faces = [
        (0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4),
        (11, 10, 2), (10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8),
        (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1),
    ]  # fmt: skip
    points = [np.array(v, float) / np.linalg.norm(v) for v in corners]
    for _ in range(rounds):
        middles: dict[tuple[int, int], int] = {}
        split = []
        for a, b, c in faces:
            mid = []
            for i, j in ((a, b), (b, c), (c, a)):
                edge = (min(i, j), max(i, j))
                if edge not in middles:
                    m = points[i] + points[j]
                    points.append(m / np.linalg.norm(m))
                    middles[edge] = len(points) - 1
                mid.append(middles[edge])
            ab, bc, ca = mid
            split += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = split
    return np.array(points), np.array(faces)


_BALL = _icosphere(1)
_LUMP = _icosphere(0)


@lru_cache(maxsize=64)
def _crown(kind: str, variant: int) -> Template:
    """A crown of unit radius about its middle; the same for every city."""
    rng = np.random.default_rng([variant, 32, sum(map(ord, kind))])
    sketch = Sketch()
    if kind == 'conifer':
        return _cones(rng, sketch)
    stretch = {'poplar': 3.1, 'bush': 0.8}.get(kind, 0.82)
    points, faces = _LUMP if kind == 'bush' else _BALL
    size = rng.uniform(0.74, 0.98, len(points))[:, None]
    core = points * size * (1.0, 1.0, stretch)
    sketch.add(core[faces], material=Material.CROWN, paint=FIRST)
    for _ in range({'poplar': 5, 'bush': 1}.get(kind, 7)):
        turn, lift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.55, 0.8)
        out = np.array([np.cos(turn), np.sin(turn), 0]) * np.sqrt(1 - lift**2) * 0.62
        middle = out + np.array([0, 0, lift * stretch * 0.75])
        lump, lump_faces = _LUMP
        radius = rng.uniform(0.36, 0.55)
        shape = lump * rng.uniform(0.8, 1.15, len(lump))[:, None] * radius
        tone = float(rng.uniform(88, 112))
        # Between round as a whole and round by itself: light falls on lumps, not on one ball.
        sketch.add(
            (shape + middle)[lump_faces], (tone, tone, tone), Material.CROWN, FIRST, 0.55 * middle
        )
    return sketch.done()


def _cones(rng: np.random.Generator, sketch: Sketch) -> Template:
    """Tiers of ragged branches that grow shorter towards the tip, in units of the radius."""
    tiers = 4
    for i in range(tiers):
        low = -1.9 + 1.02 * i
        high = low + 1.75
        radius = 1.0 - 0.23 * i
        angles = np.arange(9) * 2 * np.pi / 9 + rng.uniform(0, 1)
        reach = radius * rng.uniform(0.82, 1.12, 9)
        ring = np.stack([np.cos(angles) * reach, np.sin(angles) * reach, np.full(9, low)], -1)
        ring[:, 2] += rng.uniform(-0.12, 0.12, 9)
        tip = np.array([0.0, 0.0, min(high, 2.1)])
        center = np.array([0.0, 0.0, low - 0.3])
        following = np.roll(ring, -1, axis=0)
        cone = [(p, q, tip) for p, q in zip(ring, following, strict=True)]
        under = [(q, p, tip * 0.6) for p, q in zip(ring, following, strict=True)]
        tone = float(rng.uniform(90, 108))
        sketch.add(np.array(cone), (tone,) * 3, Material.CROWN, FIRST, center)
        sketch.add(np.array(under), (tone - 14,) * 3, Material.CROWN, FIRST, center)
    return sketch.done()


@lru_cache(maxsize=2)
def _trunk() -> Template:
    """A trunk of unit height and radius."""
    return Sketch().prism((0, 0, 0), 1.0, 1.0, 6, _BARK, Material.BARK, taper=0.6).done()


def add_trees(builder: MeshBuilder, trees: tuple[Tree, ...], seed: int) -> None:
    """Adds all trees.

    Args:
        builder: Takes the triangles.
        trees: Of any kinds.
        seed: Of their turn and shape.
    """
    if not trees:
        return
    rng = np.random.default_rng([seed, 30])
    xy = np.array([t.xy for t in trees])
    radius = np.array([t.radius for t in trees])
    middle = np.array([t.crown_height for t in trees])
    rgb = np.array([t.rgb for t in trees], np.float32)
    kinds = np.array([t.kind for t in trees])
    variant = rng.integers(0, _VARIANTS, len(trees))
    yaw = rng.uniform(0, 2 * np.pi, len(trees))
    stretch = rng.uniform(0.92, 1.08, len(trees))
    for kind in sorted(set(kinds.tolist())):
        for v in range(_VARIANTS):
            chosen = (kinds == kind) & (variant == v)
            if chosen.any():
                r = radius[chosen]
                place(
                    builder, _crown(kind, v), xy[chosen], yaw[chosen],
                    np.stack([r, r * stretch[chosen], r], axis=-1), Label.TREE, rgb[chosen],
                    z=middle[chosen],
                )  # fmt: skip
    stems = kinds != 'bush'
    thick = 0.06 + 0.045 * radius[stems]
    place(
        builder, _trunk(), xy[stems], yaw[stems],
        np.stack([thick, thick, middle[stems]], axis=-1), Label.TREE,
    )  # fmt: skip


def add_fences(builder: MeshBuilder, fences: tuple[Fence, ...], seed: int) -> None:
    """Adds hedges, fences and walls."""
    rng = np.random.default_rng([seed, 33])
    for fence in fences:
        line = Polyline(fence.line)
        count = max(1, round(line.length / (1.6 if fence.kind == 'hedge' else 2.4)))
        spots = [line.at((i + 0.5) * line.length / count) for i in range(count)]
        middle = np.array([p for p, _ in spots])
        yaw = np.array([np.arctan2(a[1], a[0]) for _, a in spots])
        piece = line.length / count
        if fence.kind == 'hedge':
            _add_hedge(builder, fence, middle, yaw, piece, rng)
            continue
        high = fence.height
        if fence.kind == 'wall':
            center = np.column_stack([middle, np.full(count, high / 2)])
            solid = boxes(center, (piece, 0.22, high), yaw)
            builder.add(solid, Material.PLAIN, fence.rgb, label=Label.BUILDING)
            continue
        ends = np.array([line.at(i * line.length / count)[0] for i in range(count + 1)])
        posts = boxes(
            np.column_stack([ends, np.full(count + 1, high / 2)]), (0.09, 0.09, high),
            np.append(yaw, yaw[-1]),
        )  # fmt: skip
        is_wood = fence.rgb[0] > 1.3 * fence.rgb[2]
        # Boards close a wooden fence; rails leave others open to the eye.
        levels = [(0.52 * high, 0.86 * high)] if is_wood else [
            (f * high, 0.06) for f in (0.25, 0.6, 0.95)
        ]  # fmt: skip
        rails = [
            boxes(np.column_stack([middle, np.full(count, z)]), (piece, 0.04, thick), yaw)
            for z, thick in levels
        ]
        material = Material.WOOD if is_wood else Material.PLAIN
        builder.add(
            np.concatenate([posts, *rails]), material, fence.rgb,
            wall_axis=(np.cos(yaw[0]), np.sin(yaw[0]), 0.0), label=Label.POLE,
        )  # fmt: skip


def _add_hedge(
    builder: MeshBuilder,
    fence: Fence,
    middle: Array,
    yaw: Array,
    piece: float,
    rng: np.random.Generator,
) -> None:
    count = len(middle)
    high = fence.height * rng.uniform(0.9, 1.08, count)
    size = np.column_stack([np.full(count, piece * 1.04), rng.uniform(0.55, 0.75, count), high])
    solid = boxes(np.column_stack([middle, high / 2]), size, yaw).reshape(count, -1, 3, 3)
    solid = solid + rng.uniform(-0.05, 0.05, (count, 1, 1, 3)) * (1, 1, 0)
    center = np.column_stack([middle, 0.25 * high])
    builder.add_many(
        solid.reshape(-1, 3, 3), Material.CROWN, fence.rgb, Label.TREE,
        np.repeat(center, solid.shape[1], axis=0),
    )  # fmt: skip
