# SPDX-License-Identifier: Apache-2.0
"""Light from above: the sky's colour in any direction, and street lamps at night (kernels)."""

from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.render.compiling import kernel
from geoloc_core.simulation.render.day import Day, LAMP_CELL_M, LAMP_REACH_M
from geoloc_core.simulation.render.noise import (
    fbm,
    smoothstep,
)

Rgb = tuple[float, float, float]


@kernel
def sky_gradient(z: float, day: Day) -> Rgb:
    """Colour of the sky without clouds at a direction's z."""
    t = min(max(z, 0.0), 1.0)
    up = sqrt(t) * (1.3 - 0.3 * t)
    return (
        day.low_r + (day.high_r - day.low_r) * up,
        day.low_g + (day.high_g - day.low_g) * up,
        day.low_b + (day.high_b - day.low_b) * up,
    )


@kernel
def sky_colour(x: float, y: float, z: float, pixel_rad: float, day: Day) -> Rgb:
    """Colour of the sky along a unit vector: gradient, single clouds or a grey layer, the sun."""
    r, g, b = sky_gradient(z, day)
    part = 0.0
    if day.cover > 0.0 and z > 0.0:
        # Clouds lie on a shell; near the horizon they shrink and melt into the haze.
        scale = 1.0 / (z + 0.12)
        width = pixel_rad * scale * scale
        p, q = x * scale, y * scale
        n = 0.62 * fbm(p, q, width, 1.1, 4, 2.35, 0.52, day.seed + 900)
        edge = 0.5 - 0.95 * day.cover
        part = smoothstep(edge, edge + 0.42, n + 0.06) * smoothstep(0.02, 0.25, z)
        # Thick parts are grey below.
        shade = 1.0 - 0.16 * smoothstep(edge + 0.2, edge + 0.9, n)
        r += (day.cloud_r * shade - r) * part * 0.9
        g += (day.cloud_g * shade - g) * part * 0.9
        b += (day.cloud_b * shade - b) * part * 0.9
    if day.glow > 0.0:
        near = x * day.sun_x + y * day.sun_y + z * day.sun_z
        if near > 0.0:
            disc = (1.0 - part) * smoothstep(0.9997, 0.99992, near) if day.glow > 0.3 else 0.0
            bright = near**384 if near > 0.97 else 0.0
            halo = day.glow * (40.0 * near**24 + 110.0 * bright) + 260.0 * disc * (
                1.0 if day.glow > 0.3 else 0.0
            )
            r += halo
            g += halo * 0.97
            b += halo * 0.88
    return r, g, b


@kernel
def lamp_light(
    x: float,
    y: float,
    z: float,
    nx: float,
    ny: float,
    nz: float,
    lamps: NDArray[np.float64],
    cells: NDArray[np.int32],
    west: float,
    south: float,
) -> float:
    """Strength of the street lamps' light on a surface with a normal, as a factor.

    See `Lamps` for the last four.
    """
    i = int((x - west) / LAMP_CELL_M)
    j = int((y - south) / LAMP_CELL_M)
    side = cells.shape[0]
    if len(lamps) == 0 or x < west or y < south or i >= side or j >= side:
        return 0.0
    total = 0.0
    for k in range(cells.shape[2]):
        index = cells[j, i, k]
        if index < 0:
            break
        dx = lamps[index, 0] - x
        dy = lamps[index, 1] - y
        dz = lamps[index, 2] - z
        square = dx * dx + dy * dy + dz * dz + 0.04
        if square > LAMP_REACH_M * LAMP_REACH_M:
            continue
        distance = sqrt(square)
        cosine = (dx * nx + dy * ny + dz * nz) / distance
        # Lamps shine downwards; a part of their light comes back from all around.
        down = min(max(0.25 + dz / distance, 0.0), 1.0)
        fade = 1.0 - square / (LAMP_REACH_M * LAMP_REACH_M)
        total += (max(cosine, 0.0) + 0.12) * down * fade * 42.0 / square
    return 1.15 * (1.0 - exp(-total))


@kernel
def reflected_sky(
    dx: float, dy: float, dz: float, nx: float, ny: float, nz: float, day: Day
) -> tuple[float, float, float, float]:
    """What a mirror shows: colour and Fresnel factor; things below the skyline count as grey."""
    cosine = dx * nx + dy * ny + dz * nz
    z = dz - 2.0 * cosine * nz
    r, g, b = sky_gradient(z, day)
    # Houses stand all around: below a few degrees a mirror sees more walls than sky.
    wall = 0.8 - 0.8 * smoothstep(0.0, 0.22, z)
    shade = 60.0 * (day.sky_g + 0.4 * day.sun_g)
    r += (shade - r) * wall
    g += (shade - g) * wall
    b += (shade * 0.97 - b) * wall
    miss = 1.0 - min(abs(cosine), 1.0)
    fresnel = 0.04 + 0.96 * miss * miss * miss * miss * miss
    return r, g, b, fresnel
