# SPDX-License-Identifier: Apache-2.0
"""From rays and the triangles they met to distances, shadow rays and lit colours (kernels)."""

from math import exp, inf, sqrt

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.render.compiling import kernel
from geoloc_core.simulation.render.day import Day, Lamps
from geoloc_core.simulation.render.facades import FacadeData
from geoloc_core.simulation.render.ground import (
    ground_label,
    ground_paint,
    GroundData,
    view_footprint,
)
from geoloc_core.simulation.render.ground_detail import ground_detail, puddle, snow_cover
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.render.noise import (
    fbm,
    gradient_noise,
    value3,
)
from geoloc_core.simulation.render.sky import lamp_light, reflected_sky, sky_colour
from geoloc_core.simulation.render.surfaces import surface_look, surface_snow, Surfaces

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

_GROUND, _CROWN, _WATER = int(Material.GROUND), int(Material.CROWN), int(Material.WATER)
_LABEL_WATER, _LABEL_INTERIOR, _LABEL_GRASS = (
    int(Label.WATER),
    int(Label.INTERIOR),
    int(Label.GRASS),
)
# Shadow rays start this far off their surface, m.
_LIFT = 0.02


@kernel
def turn_rays(optical: F64, R: F64, rays: F64, rays32: F32) -> None:
    """Turns rays (N, 3) of a camera into the map frame, for the shader and for Embree."""
    for i in range(len(optical)):
        a, b, c = optical[i, 0], optical[i, 1], optical[i, 2]
        for k in range(3):
            d = R[k, 0] * a + R[k, 1] * b + R[k, 2] * c
            rays[i, k] = d
            rays32[i, k] = d


@kernel
def _plane_distance(
    t: int,
    n: F64,
    offset: F64,
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
) -> float:
    """Exact distance along a ray to the plane of triangle t."""
    facing = n[t, 0] * dx + n[t, 1] * dy + n[t, 2] * dz
    if facing == 0.0:
        # Rays that graze a plane exactly cannot be divided; Embree would not report them.
        facing = -1e-12
    return (offset[t] - n[t, 0] * ox - n[t, 1] * oy - n[t, 2] * oz) / facing


@kernel
def see_through(
    index: NDArray[np.int64],
    triangle: NDArray[np.int32],
    origins: F64,
    rays: F64,
    footprint_m: float,
    footprint_rad: float,
    surfaces: Surfaces,
    day: Day,
    start32: F32,
    rays32: F32,
    again: NDArray[np.int64],
) -> int:
    """Finds rays that met a crown where it has a gap, and where they go on.

    Args:
        index: (K,) rays to look at.
        triangle: (N,) what each ray met.
        origins: (N, 3) or (1, 3).
        rays: (N, 3).
        footprint_m: Width of the rays at their origins.
        footprint_rad: Growth of the width, per metre.
        surfaces: The mesh.
        day: Of the picture.
        start32: (>= K, 3) filled with the new origins.
        rays32: (>= K, 3) filled with the rays' directions.
        again: (>= K,) filled with the rays' indices.

    Returns:
        How many go on.
    """
    count = 0
    material, crown = surfaces.material, surfaces.crown
    normal, offset = surfaces.normal, surfaces.offset
    for j in range(len(index)):
        i = index[j]
        t = triangle[i]
        if t < 0 or material[t] != _CROWN:
            continue
        o = i if len(origins) > 1 else 0
        dx, dy, dz = rays[i, 0], rays[i, 1], rays[i, 2]
        ox, oy, oz = origins[o, 0], origins[o, 1], origins[o, 2]
        distance = _plane_distance(t, normal, offset, ox, oy, oz, dx, dy, dz)
        x, y, z = ox + distance * dx, oy + distance * dy, oz + distance * dz
        cx = x - crown[t, 0]
        cy = y - crown[t, 1]
        cz = z - crown[t, 2]
        size = sqrt(cx * cx + cy * cy + cz * cz) + 1e-9
        # Leaves are dense in the middle of a crown and loose at its rim.
        rim = 1.0 - abs(cx * dx + cy * dy + cz * dz) / size
        width = footprint_m + footprint_rad * distance
        gap = 0.03 + 0.80 * rim * rim
        gap += (1.0 - day.leaf) * (1.0 - gap)
        # Clumps of leaves: the noise is nearly even between -0.6 and 0.6.
        cell = max(0.33 * (0.35 + 0.65 * day.leaf), 1.6 * width)
        n = 0.62 * value3(x / cell, y / cell, z / cell, 51)
        cell = max(0.13, 1.6 * width)
        n += 0.38 * value3(x / cell, y / cell, z / cell, 52)
        if 0.5 + 0.8 * n < gap:
            # Twigs: thin sheets where noise is zero, which cut the crown's surface in lines.
            if day.leaf < 1.0:
                cell = 0.55
                twig = abs(value3(x / cell, y / cell, 0.6 * z / cell, 53))
                cell = 0.19
                twig = min(twig, 1.8 * abs(value3(x / cell, y / cell, 0.6 * z / cell, 54)))
                if twig < 0.055:
                    continue
            for k in range(3):
                rays32[count, k] = rays[i, k]
            start32[count, 0] = x + 0.01 * dx
            start32[count, 1] = y + 0.01 * dy
            start32[count, 2] = z + 0.01 * dz
            again[count] = i
            count += 1
    return count


@kernel
def meet(
    triangle: NDArray[np.int32],
    mover: NDArray[np.int32],
    origins: F64,
    rays: F64,
    surfaces: Surfaces,
    movers: Surfaces,
    day: Day,
    out_range: F64,
    out_triangle: NDArray[np.int64],
    out_normal: F32,
    start32: F32,
    shadow_of: NDArray[np.int64],
) -> int:
    """Exact distances, normals for shading, and the rays that ask for the sun.

    Args:
        triangle: (N,) what each ray met of the city, -1 for nothing.
        mover: (N,) what it met of the traffic, or (0,).
        origins: (N, 3) or (1, 3).
        rays: (N, 3) unit.
        surfaces: The city.
        movers: The traffic.
        day: Of the picture.
        out_range: (N,) m, inf for nothing.
        out_triangle: (N,) those of the traffic follow those of the city.
        out_normal: (N, 3) towards the viewer; of crowns as if they were round.
        start32: (N, 3) filled with the origins of the shadow rays.
        shadow_of: (N,) filled with the rays they belong to.

    Returns:
        Number of shadow rays.
    """
    count = 0
    has_sun = day.sun_r + day.sun_g + day.sun_b > 0.0
    first = len(surfaces.offset)
    normal, offset, crown = surfaces.normal, surfaces.offset, surfaces.crown
    materials, materials2, normal2 = surfaces.material, movers.material, movers.normal
    for i in range(len(rays)):
        o = i if len(origins) > 1 else 0
        ox, oy, oz = origins[o, 0], origins[o, 1], origins[o, 2]
        dx, dy, dz = rays[i, 0], rays[i, 1], rays[i, 2]
        t = triangle[i]
        distance = inf
        nx, ny, nz = 0.0, 0.0, 0.0
        out_triangle[i] = t
        material = -1
        if t >= 0:
            distance = _plane_distance(t, normal, offset, ox, oy, oz, dx, dy, dz)
            nx, ny, nz = normal[t, 0], normal[t, 1], normal[t, 2]
            material = int(materials[t])
        if len(mover) > 0 and mover[i] >= 0:
            m = mover[i]
            near = _plane_distance(m, normal2, movers.offset, ox, oy, oz, dx, dy, dz)
            if near < distance:
                distance = near
                out_triangle[i] = first + m
                nx, ny, nz = normal2[m, 0], normal2[m, 1], normal2[m, 2]
                material = int(materials2[m])
        out_range[i] = distance
        if material < 0:
            out_normal[i, 0] = 0.0
            out_normal[i, 1] = 0.0
            out_normal[i, 2] = 0.0
            continue
        x, y, z = ox + distance * dx, oy + distance * dy, oz + distance * dz
        if nx * dx + ny * dy + nz * dz > 0.0:
            nx, ny, nz = -nx, -ny, -nz
        lift = _LIFT
        if material == _CROWN:
            cx = x - crown[t, 0]
            cy = y - crown[t, 1]
            cz = z - crown[t, 2]
            size = sqrt(cx * cx + cy * cy + cz * cz) + 1e-9
            nx, ny, nz = cx / size, cy / size, cz / size
            # A crown's facets must not shade each other.
            lift = 0.25 * size
        out_normal[i, 0] = nx
        out_normal[i, 1] = ny
        out_normal[i, 2] = nz
        if has_sun and nx * day.sun_x + ny * day.sun_y + nz * day.sun_z > 0.0:
            start32[count, 0] = x + lift * nx
            start32[count, 1] = y + lift * ny
            start32[count, 2] = z + lift * nz
            shadow_of[count] = i
            count += 1
    return count


@kernel
def shade(
    out_range: F64,
    out_triangle: NDArray[np.int64],
    normal: F32,
    lit: F32,
    origins: F64,
    rays: F64,
    footprint_m: float,
    footprint_rad: float,
    surfaces: Surfaces,
    movers: Surfaces,
    ground: GroundData,
    facades: FacadeData,
    lamps: Lamps,
    day: Day,
    rgb: F32,
    label: NDArray[np.uint8],
) -> None:
    """Lit colours (N, 3) and labels (N,) of what rays met; see `meet` for the arguments."""
    first = len(surfaces.offset)
    base, mips, starts, sides = ground.base, ground.mips, ground.starts, ground.sides
    classes, half, seed = ground.classes, ground.half, ground.seed
    materials, labels, own_rgb = surfaces.material, surfaces.label, surfaces.rgb
    kinds, walls = surfaces.kind, surfaces.wall
    materials2, labels2, own_rgb2 = movers.material, movers.label, movers.rgb
    kinds2, walls2 = movers.kind, movers.wall
    styles, facade_seed = facades.styles, facades.seed
    lamp_xyz, lamp_cells = lamps.xyz, lamps.cells
    for i in range(len(rays)):
        o = i if len(origins) > 1 else 0
        dx, dy, dz = rays[i, 0], rays[i, 1], rays[i, 2]
        t = out_triangle[i]
        if t < 0:
            r, g, b = sky_colour(dx, dy, dz, footprint_rad, day)
            rgb[i, 0], rgb[i, 1], rgb[i, 2] = r, g, b
            label[i] = 0
            continue
        distance = out_range[i]
        x = origins[o, 0] + distance * dx
        y = origins[o, 1] + distance * dy
        z = origins[o, 2] + distance * dz
        nx, ny, nz = float(normal[i, 0]), float(normal[i, 1]), float(normal[i, 2])
        facing = abs(nx * dx + ny * dy + nz * dz)
        width = max(footprint_m + footprint_rad * distance, 1e-4)
        gloss, glow, warm, white = 0.0, 0.0, 0.0, 0.0
        mine = t < first
        if not mine:
            t -= first
        own = int(labels[t] if mine else labels2[t])
        material = int(materials[t] if mine else materials2[t])
        if material == _GROUND:
            own = ground_label(x, y, half, sides[0], classes)
            minor, major, ax, ay = view_footprint(dx, dy, facing, width)
            r, g, b, green = ground_paint(
                x, y, minor, major, ax, ay, half, seed, base, mips, starts, sides
            )
            w = sqrt(minor * major)
            r *= 1.0 + green * (day.green_r - 1.0)
            g *= 1.0 + green * (day.green_g - 1.0)
            b *= 1.0 + green * (day.green_b - 1.0)
            r, g, b = ground_detail(own, x, y, w, r, g, b, seed)
            if day.snow > 0.0:
                white = snow_cover(own, x, y, w, day.snow, seed)
            if day.wet > 0.0:
                pool = puddle(own, x, y, w, day.wet, seed)
                dark = 1.0 - day.wet * (0.42 + 0.22 * pool)
                r, g, b = r * dark, g * dark, b * dark
                if own != _LABEL_GRASS:
                    gloss = 0.40 * day.wet + 0.60 * pool
            if own == _LABEL_WATER:
                gloss = 1.0
        else:
            colours = own_rgb if mine else own_rgb2
            r, g, b, gloss, glow, warm = surface_look(
                material, int(kinds[t] if mine else kinds2[t]), float(colours[t, 0]),
                float(colours[t, 1]), float(colours[t, 2]), t, walls if mine else walls2, styles,
                facade_seed, x, y, z, dx, dy, dz, nx, ny, nz, width, facing, day.green_r,
                day.green_g, day.green_b, day.leaf, day.night,
            )  # fmt: skip
            if mine:
                white = surface_snow(material, own, x, y, nz, width, day.snow, seed)
        label[i] = own
        if day.wet > 0.0 and material != _GROUND and own != _LABEL_INTERIOR:
            dark = 1.0 - 0.22 * day.wet
            r, g, b = r * dark, g * dark, b * dark
        if white > 0.0:
            grain = 1.0 + 0.05 * fbm(x + z, y - z, width, 2.3, 5, 2.4, 0.85, seed + 5)
            r += (232.0 * grain - r) * white
            g += (236.0 * grain - g) * white
            b += (243.0 * grain - b) * white
            gloss *= 1.0 - white
        cosine = max(nx * day.sun_x + ny * day.sun_y + nz * day.sun_z, 0.0) * lit[i]
        # Less of the sky is seen by walls than by roofs and the ground, less still near it.
        open_sky = 0.78 + 0.22 * nz
        if material == _CROWN:
            open_sky = 0.74 + 0.30 * nz
        lamp = 0.0
        if day.night > 0.0:
            lamp = day.night * lamp_light(
                x, y, z, nx, ny, nz, lamp_xyz, lamp_cells, lamps.west, lamps.south
            )
        sr = (day.sky_r * open_sky + day.sun_r * cosine + 0.92 * lamp) * r
        sg = (day.sky_g * open_sky + day.sun_g * cosine + 0.74 * lamp) * g
        sb = (day.sky_b * open_sky + day.sun_b * cosine + 0.48 * lamp) * b
        if gloss > 0.0:
            px, py, pz = nx, ny, nz
            if own == _LABEL_WATER or material == _WATER:
                k = 0.05 if width < 0.4 else 0.02
                px += k * gradient_noise(x / 0.6, y / 0.9, 71)
                py += k * gradient_noise(x / 0.9, y / 0.6, 72)
            mr, mg, mb, fresnel = reflected_sky(dx, dy, dz, px, py, pz, day)
            k = gloss * min(1.25 * fresnel + 0.13 * gloss, 1.0)
            sr += (mr - sr) * k
            sg += (mg - sg) * k
            sb += (mb - sb) * k
        if glow > 0.0:
            sr += glow * 236.0
            sg += glow * (176.0 + 36.0 * (1.0 - warm))
            sb += glow * (96.0 + 92.0 * (1.0 - warm))
        fade = exp(-distance / day.haze_m)
        if fade < 0.999:
            sr = sr * fade + day.low_r * (1.0 - fade)
            sg = sg * fade + day.low_g * (1.0 - fade)
            sb = sb * fade + day.low_b * (1.0 - fade)
        rgb[i, 0], rgb[i, 1], rgb[i, 2] = sr, sg, sb
