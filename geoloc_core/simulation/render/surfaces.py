# SPDX-License-Identifier: Apache-2.0
"""The own colour of every kind of surface but the ground, before light falls on it (kernels)."""

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.mesh import Mesh
from geoloc_core.simulation.render.brickwork import (
    board_tone,
    brick_tone,
    flat_roof_tone,
    indoor_tone,
    leaves_tone,
    tile_tone,
)
from geoloc_core.simulation.render.compiling import kernel
from geoloc_core.simulation.render.facades import facade
from geoloc_core.simulation.render.ground_detail import snow_cover
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.render.noise import (
    fbm,
    hash2,
    smoothstep,
)

Look = tuple[float, float, float, float, float, float]

_WALL, _ROOF, _CROWN = int(Material.WALL), int(Material.ROOF), int(Material.CROWN)
_GLASS, _TILES, _LAMP = int(Material.GLASS), int(Material.ROOF_TILES), int(Material.LAMP)
_INTERIOR, _METAL, _BRICK = (
    int(Material.INTERIOR_WALL),
    int(Material.METAL),
    int(Material.BRICK),
)
_WOOD, _FABRIC, _WATER = int(Material.WOOD), int(Material.FABRIC), int(Material.WATER)
_BARK, _PLAIN = int(Material.BARK), int(Material.PLAIN)
_LABEL_INTERIOR, _LABEL_ROOF = int(Label.INTERIOR), int(Label.ROOF)


class Surfaces(NamedTuple):
    """A mesh as the kernels take it: per triangle, see `Mesh`.

    `wall` (M, 6) float32 is (tx, ty, s0, length, bottom, top): s = tx x + ty y + s0 runs from 0 to
    length along the wall.
    """

    normal: NDArray[np.float64]
    offset: NDArray[np.float64]
    material: NDArray[np.uint8]
    label: NDArray[np.uint8]
    rgb: NDArray[np.float32]
    kind: NDArray[np.uint8]
    wall: NDArray[np.float32]
    crown: NDArray[np.float32]


def make_surfaces(mesh: Mesh) -> Surfaces:
    """Gathers what the kernels need, and measures every wall."""
    m = len(mesh.triangles)
    wall = np.zeros((m, 6), np.float32)
    wall[:, :3] = mesh.wall_axis
    upright = np.isin(mesh.material, (Material.WALL, Material.BRICK, Material.WOOD))
    corners = mesh.triangles[upright]
    axis = mesh.wall_axis[upright].astype(np.float64)
    s = corners[..., 0] * axis[:, None, 0] + corners[..., 1] * axis[:, None, 1]
    low, high = s.min(axis=1), s.max(axis=1)
    wall[upright, 2] = -low
    wall[upright, 3] = high - low
    wall[upright, 4] = corners[..., 2].min(axis=1)
    wall[upright, 5] = corners[..., 2].max(axis=1)
    return Surfaces(
        np.ascontiguousarray(mesh.normal, np.float64),
        np.ascontiguousarray(mesh.offset, np.float64),
        np.ascontiguousarray(mesh.material, np.uint8),
        np.ascontiguousarray(mesh.label, np.uint8),
        np.ascontiguousarray(mesh.rgb, np.float32),
        np.ascontiguousarray(mesh.kind, np.uint8),
        wall,
        np.ascontiguousarray(mesh.crown_center, np.float32),
    )


@kernel
def _on_plane(
    x: float, y: float, z: float, nx: float, ny: float, nz: float
) -> tuple[float, float]:
    """Metric coordinates on a surface: those of the axes it faces least."""
    if abs(nz) > 0.7:
        return x, y
    if abs(nx) > abs(ny):
        return y + 0.2 * x, z
    return x + 0.2 * y, z


@kernel
def surface_look(
    material: int,
    kind: int,
    r: float,
    g: float,
    b: float,
    t: int,
    wall: NDArray[np.float32],
    styles: NDArray[np.float64],
    seed: int,
    x: float,
    y: float,
    z: float,
    dx: float,
    dy: float,
    dz: float,
    nx: float,
    ny: float,
    nz: float,
    width: float,
    facing: float,
    green_r: float,
    green_g: float,
    green_b: float,
    leaf: float,
    night: float,
) -> Look:
    """Colour, gloss, own light at night and its warmth of a place on triangle t.

    Args:
        material: `Material` of the triangle.
        kind: Its pattern, of walls.
        r: Its own red, 0..255.
        g: Green.
        b: Blue.
        t: Triangle.
        wall: Of all triangles, see `Surfaces`.
        styles: See `FacadeData`.
        seed: See there.
        x: Place, m, map frame.
        y: Its y.
        z: Its z.
        dx: Unit direction of the ray.
        dy: Its y.
        dz: Its z.
        nx: Unit normal towards the viewer.
        ny: Its y.
        nz: Its z.
        width: Of the ray, m.
        facing: Cosine between ray and normal, positive.
        green_r: Gain of vegetation, see `Day`.
        green_g: See there.
        green_b: See there.
        leaf: See there.
        night: See there.

    Returns:
        Red, green, blue (0..255), gloss (0..1), light at night (0..1), warmth (0..1).
    """
    # The square root is the middle way between blur across and flicker along.
    w = width / sqrt(max(facing, 0.02))
    gloss, glow, warm = 0.0, 0.0, 0.0
    p, q = _on_plane(x, y, z, nx, ny, nz)
    if material in (_WALL, _BRICK):
        s = x * wall[t, 0] + y * wall[t, 1] + wall[t, 2]
        flat = sqrt(dx * dx + dy * dy)
        ws = min(width * max(flat, 0.05) / max(facing, 0.01), 60.0)
        wz = min(width / max(flat, 0.05), 60.0)
        tint = int(r) * 65536 + int(g) * 256 + int(b)
        h = hash2(tint, kind + 13, seed)
        if material == _WALL:
            return facade(
                styles, seed, kind, s, z, wall[t, 3], wall[t, 4], wall[t, 5],
                ws, wz, r, g, b, h, night,
            )  # fmt: skip
        f, joint = brick_tone(s, z, ws, wz, seed)
        k = 0.55 * joint
        return (
            r * f + (176 - r * f) * k, g * f + (172 - g * f) * k, b * f + (164 - b * f) * k,
            0.0, 0.0, 0.0,
        )  # fmt: skip
    if material == _CROWN:
        f = leaves_tone(x, y, z, w, seed)
        r *= 1.0 + leaf * (green_r - 1.0)
        g *= 1.0 + leaf * (green_g - 1.0)
        b *= 1.0 + leaf * (green_b - 1.0)
        # Branches are grey-brown; the fewer leaves, the more of them show.
        k = 1.0 - leaf
        return (
            (r + (88 - r) * k) * f, (g + (76 - g) * k) * f, (b + (66 - b) * k) * f, 0.0, 0.0, 0.0,
        )  # fmt: skip
    if material == _TILES:
        flat = sqrt(nx * nx + ny * ny)
        if flat > 0.02:
            a = (x * ny - y * nx) / flat
            d = -z / flat
            f = tile_tone(a, d, w, seed)
        else:
            f = flat_roof_tone(x, y, w, seed)
        gloss = 0.04
    elif material == _ROOF:
        f = flat_roof_tone(p, q, w, seed)
    elif material == _GLASS:
        f, gloss = 1.0, 1.0
    elif material == _LAMP:
        f, glow, warm = 1.0, 2.0 * night, 0.5
    elif material == _INTERIOR:
        f = indoor_tone(p, q, w, seed + 300)
    elif material == _METAL:
        f = 1.0 + 0.02 * fbm(p, q, w, 0.9, 3, 2.3, 0.7, seed + 310)
        # Dirt of the road on the lower parts.
        f *= 1.0 - 0.15 * smoothstep(0.7, 0.2, z)
        gloss = 0.55
    elif material == _WOOD:
        s = x * wall[t, 0] + y * wall[t, 1]
        across = z if abs(nz) < 0.7 else -x * wall[t, 1] + y * wall[t, 0]
        f = board_tone(s, across, w, seed + 320)
        gloss = 0.12
    elif material == _FABRIC:
        f = 1.0 + 0.10 * fbm(p, q, w, 0.5, 5, 2.4, 0.85, seed + 330)
    elif material == _WATER:
        f, gloss = 1.0, 1.0
    elif material == _BARK:
        f = 1.0 + 0.22 * fbm((x + y) * 4.0, 0.8 * z, w, 0.5, 4, 2.3, 0.8, seed + 340)
    else:
        f = 1.0 + 0.05 * fbm(p, q, w, 1.3, 5, 2.4, 0.8, seed + 350)
    return r * f, g * f, b * f, gloss, glow, warm


@kernel
def surface_snow(
    material: int, label: int, x: float, y: float, nz: float, w: float, snow: float, seed: int
) -> float:
    """Part (0..1) of a place on a triangle under snow: what lies level gathers it."""
    if snow <= 0.0 or label == _LABEL_INTERIOR:
        return 0.0
    level = smoothstep(0.25, 0.65, nz)
    if material == _CROWN:
        level = 0.75 * smoothstep(-0.2, 0.8, nz)
    if level <= 0.0:
        return 0.0
    return level * snow_cover(_LABEL_ROOF, x, y, w, snow, seed)
