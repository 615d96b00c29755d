# SPDX-License-Identifier: Apache-2.0
"""Roofs over quadrangles and over any footprint."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.simulation.mesh.builder import Color, darker, ear_clip, fan, MeshBuilder
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material

Array = NDArray[np.float64]

_OVERHANG_M = 0.35
PARAPET_M = 0.45
_PARAPET_WIDTH_M = 0.3


def _raised(points: Array, z: float) -> Array:
    """Points (N, 2) at a height: (N, 3)."""
    return np.concatenate([points, np.full((len(points), 1), z)], axis=1)


def _toward(a: Array, b: Array, metres: float) -> Array:
    """The point `metres` from a on the way to b."""
    step = b - a
    return a + step * (metres / max(float(np.linalg.norm(step)), 1e-9))


def span_of(quad: Array) -> float:
    """Width across the ridge of a quadrangle whose ridge runs along its first edge, m."""
    return float(np.linalg.norm((quad[2] + quad[3]) / 2 - (quad[0] + quad[1]) / 2))


class PitchedRoof:
    """A roof over one quadrangle a, b, c, d; its ridge lies midway between edges ab and cd."""

    def __init__(self, quad: Array, low: float, rise: float, joined: bool) -> None:
        """Measures it.

        Args:
            quad: (4, 2) counter-clockwise.
            low: Height of the eaves, m.
            rise: Of the ridge over the eaves, m.
            joined: Neighbours touch its ends: nothing hangs over there.
        """
        self.a, self.b, self.c, self.d = quad
        self.low, self.high = low, low + rise
        self.rise = rise
        self.p, self.q = (self.a + self.d) / 2, (self.b + self.c) / 2
        self.end = 0.0 if joined else _OVERHANG_M
        self.half_span = span_of(quad) / 2
        self.length = float(np.linalg.norm(self.q - self.p))

    @property
    def eave_z(self) -> float:
        """Height of the overhanging edge, m."""
        return self.low - self.rise / max(self.half_span, 0.1) * _OVERHANG_M

    def eaves(self) -> Array:
        """Corners (4, 3) of the roof's edge, out over the walls."""
        along = (self.q - self.p) / max(self.length, 1e-9) * self.end

        def out(ridge: Array, corner: Array) -> Array:
            return _toward(ridge, corner, float(np.linalg.norm(corner - ridge)) + _OVERHANG_M)

        corners = [
            out(self.p, self.a) - along,
            out(self.q, self.b) + along,
            out(self.q, self.c) + along,
            out(self.p, self.d) - along,
        ]
        return _raised(np.array(corners), self.eave_z)

    def slope_point(self, u: float, f: float, front: bool = True) -> Array:
        """A point (3,) on a slope: u from end to end, f from eaves (0) to ridge (1)."""
        left, right = (self.a, self.b) if front else (self.d, self.c)
        eave = left + (right - left) * u
        ridge = self.p + (self.q - self.p) * u
        return np.array([*(eave + (ridge - eave) * f), self.low + self.rise * f])


@dataclass(frozen=True)
class GableWall:
    """What the wall under the ends of a roof is made of."""

    rgb: Color
    material: Material = Material.PLAIN

    def add(self, builder: MeshBuilder, corners: ArrayLike) -> None:
        """Adds an upright convex polygon (N, 3) whose first edge is level."""
        points = np.asarray(corners, np.float64)
        along = points[1, :2] - points[0, :2]
        along = along / max(float(np.linalg.norm(along)), 1e-9)
        axis = (along[0], along[1], -float(along @ points[0, :2]))
        builder.add(fan(points), self.material, self.rgb, wall_axis=axis, label=Label.BUILDING)


def add_pitched(
    builder: MeshBuilder, kind: str, roof: PitchedRoof, rgb: Color, wall: GableWall, tiles: bool
) -> None:
    """Adds a 'gable', 'hip', 'half_hip', 'mansard', 'shed' or 'sawtooth' roof."""
    material = Material.ROOF_TILES if tiles else Material.ROOF
    if kind == 'hip':
        _add_hip(builder, roof, rgb, material)
    elif kind == 'half_hip':
        _add_half_hip(builder, roof, rgb, wall, material)
    elif kind == 'mansard':
        _add_mansard(builder, roof, rgb, wall, material)
    elif kind == 'shed':
        _add_shed(builder, roof, rgb, wall)
    elif kind == 'sawtooth':
        _add_sawtooth(builder, roof, rgb, wall)
    else:
        _add_gable(builder, roof, rgb, wall, material)


def _add_gable(
    builder: MeshBuilder, roof: PitchedRoof, rgb: Color, wall: GableWall, material: Material
) -> None:
    a, b, c, d = roof.eaves()
    along = (roof.q - roof.p) / max(roof.length, 1e-9) * roof.end
    p, q = np.array([*(roof.p - along), roof.high]), np.array([*(roof.q + along), roof.high])
    builder.add(fan([a, b, q, p]), material, rgb, label=Label.ROOF)
    # The far slope is a little darker, as weather and sun leave it.
    builder.add(fan([c, d, p, q]), material, darker(rgb, 0.92), label=Label.ROOF)
    low, high = roof.low, roof.high
    wall.add(builder, [(*roof.d, low), (*roof.a, low), (*roof.p, high)])
    wall.add(builder, [(*roof.b, low), (*roof.c, low), (*roof.q, high)])


def _add_hip(builder: MeshBuilder, roof: PitchedRoof, rgb: Color, material: Material) -> None:
    a, b, c, d = roof.eaves()
    inset = min(0.48 * roof.length, roof.half_span)
    p = np.array([*_toward(roof.p, roof.q, inset), roof.high])
    q = np.array([*_toward(roof.q, roof.p, inset), roof.high])
    builder.add(fan([a, b, q, p]), material, rgb, label=Label.ROOF)
    builder.add(fan([c, d, p, q]), material, darker(rgb, 0.92), label=Label.ROOF)
    builder.add([(d, a, p), (b, c, q)], material, darker(rgb, 0.96), label=Label.ROOF)


def _add_half_hip(
    builder: MeshBuilder, roof: PitchedRoof, rgb: Color, wall: GableWall, material: Material
) -> None:
    """A gable whose tip leans back."""
    f = 0.55
    a, b, c, d = roof.eaves()
    inset = min(0.4 * roof.length, (1 - f) * roof.half_span)
    p = np.array([*_toward(roof.p, roof.q, inset), roof.high])
    q = np.array([*_toward(roof.q, roof.p, inset), roof.high])
    a1, b1 = roof.slope_point(0, f), roof.slope_point(1, f)
    d1, c1 = roof.slope_point(0, f, False), roof.slope_point(1, f, False)
    builder.add(fan([a, b, b1, q, p, a1]), material, rgb, label=Label.ROOF)
    builder.add(fan([c, d, d1, p, q, c1]), material, darker(rgb, 0.92), label=Label.ROOF)
    builder.add([(d1, a1, p), (b1, c1, q)], material, darker(rgb, 0.96), label=Label.ROOF)
    low = roof.low
    for left, right, r1, l1 in ((roof.d, roof.a, a1, d1), (roof.b, roof.c, c1, b1)):
        gable = np.array([(*left, low), (*right, low), tuple(r1), tuple(l1)])
        wall.add(builder, gable)


def _add_mansard(
    builder: MeshBuilder, roof: PitchedRoof, rgb: Color, wall: GableWall, material: Material
) -> None:
    """Steep below, almost flat above, between two party walls."""
    step = 0.75 * roof.rise
    inset = min(1.1, 0.4 * roof.half_span)
    low, knee = roof.low, roof.low + step
    pairs = ((roof.a, roof.d), (roof.b, roof.c), (roof.c, roof.b), (roof.d, roof.a))
    a, b, c, d = (np.array([*x, low]) for x, _ in pairs)
    a1, b1, c1, d1 = (np.array([*_toward(x, y, inset), knee]) for x, y in pairs)
    p, q = np.array([*roof.p, roof.high]), np.array([*roof.q, roof.high])
    builder.add(fan([a, b, b1, a1]), material, rgb, label=Label.ROOF)
    builder.add(fan([c, d, d1, c1]), material, darker(rgb, 0.92), label=Label.ROOF)
    top = darker(rgb, 1.08)
    builder.add(fan([a1, b1, q, p]), Material.ROOF, top, label=Label.ROOF)
    builder.add(fan([c1, d1, p, q]), Material.ROOF, darker(top, 0.95), label=Label.ROOF)
    wall.add(builder, [d, a, a1, p, d1])
    wall.add(builder, [b, c, c1, q, b1])


def _add_shed(builder: MeshBuilder, roof: PitchedRoof, rgb: Color, wall: GableWall) -> None:
    """One slope that rises from the first edge to the opposite one."""
    a, b = (np.array([*x, roof.low]) for x in (roof.a, roof.b))
    c, d = (np.array([*x, roof.high]) for x in (roof.c, roof.d))
    c0, d0 = (np.array([*x, roof.low]) for x in (roof.c, roof.d))
    builder.add(fan([a, b, c, d]), Material.ROOF, rgb, label=Label.ROOF)
    for end in ([c0, d0, d, c], [b, c0, c], [d0, a, d]):
        wall.add(builder, end)


def _add_sawtooth(builder: MeshBuilder, roof: PitchedRoof, rgb: Color, wall: GableWall) -> None:
    """Teeth across the hall, each with a glazed upright side."""
    count = max(2, round(roof.length / 6.0))
    for i in range(count):
        u, v = i / count, (i + 1) / count
        a0, b0 = roof.a + (roof.b - roof.a) * u, roof.a + (roof.b - roof.a) * v
        d0, c0 = roof.d + (roof.c - roof.d) * u, roof.d + (roof.c - roof.d) * v
        low, high = roof.low, roof.high
        top = [(*d0, high), (*a0, high), (*b0, low), (*c0, low)]
        builder.add(fan(top), Material.ROOF, rgb, label=Label.ROOF)
        glass = [(*d0, low), (*a0, low), (*a0, high), (*d0, high)]
        builder.add(fan(glass), Material.GLASS, (92, 108, 118), label=Label.ROOF)
        wall.add(builder, [(*a0, low), (*b0, low), (*a0, high)])
        wall.add(builder, [(*c0, low), (*d0, low), (*d0, high)])


def add_spire(builder: MeshBuilder, footprint: Array, low: float, rise: float, rgb: Color) -> None:
    """Adds slopes from every edge to a tip over the middle."""
    middle = footprint.mean(axis=0)
    out = middle + (footprint - middle) * 1.05
    tip = (*middle, low + rise)
    following = np.roll(out, -1, axis=0)
    sides = [((*p, low), (*q, low), tip) for p, q in zip(out, following, strict=True)]
    builder.add(sides, Material.ROOF_TILES, rgb, label=Label.ROOF)


def inset(polygon: Array, by: float) -> Array:
    """A polygon (N, 2) with every edge moved inwards; corners stay as sharp as they are."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    length = np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-edge[:, 1], edge[:, 0]], axis=-1) / length
    before = np.roll(normal, 1, axis=0)
    both = normal + before
    # At an edge's end both neighbours move by `by`: along the bisector by more.
    scale = np.maximum((both * normal).sum(axis=1, keepdims=True), 0.3)
    return polygon + both / scale * by


def add_flat(
    builder: MeshBuilder, footprint: Array, low: float, rgb: Color, wall: Color, parapet: bool
) -> None:
    """Adds a flat roof at `low`; with a parapet, its walls must reach PARAPET_M higher."""
    triangles = ear_clip(footprint)
    builder.add(_raised(footprint, low)[triangles], Material.ROOF, rgb)
    if not parapet:
        return
    inner = inset(footprint, _PARAPET_WIDTH_M)
    top = low + PARAPET_M
    outer3, inner3, foot3 = _raised(footprint, top), _raised(inner, top), _raised(inner, low)
    following = np.roll(np.arange(len(footprint)), -1)
    a, b, c, d = outer3, outer3[following], inner3[following], inner3
    strips = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    builder.add(strips, Material.ROOF, darker(rgb, 1.12), label=Label.ROOF)
    e, f = foot3, foot3[following]
    inside = np.concatenate([np.stack([d, c, f], axis=1), np.stack([d, f, e], axis=1)])
    builder.add(inside, Material.PLAIN, darker(wall, 0.9), label=Label.ROOF)
