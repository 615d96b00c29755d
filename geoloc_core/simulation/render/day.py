# SPDX-License-Identifier: Apache-2.0
"""The numbers of one day as the kernels take them, and the lamps sorted into cells."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.render.appearance import Appearance

# Lamps are looked up by cell; farther than this a lamp gives no light.
LAMP_CELL_M = 16.0
LAMP_REACH_M = 34.0
_LAMPS_PER_CELL = 5

# Colours of the sky (0..255) at the horizon and overhead: clear, overcast, at night.
_LOW = np.array([(208, 218, 230), (196, 199, 203), (30, 32, 42)], float)
_HIGH = np.array([(98, 142, 204), (164, 169, 177), (7, 9, 18)], float)
# At the horizon when the sun is low.
_DUSK = (250, 206, 160)
_CLOUD = np.array([(246, 246, 246), (148, 152, 158), (38, 38, 46)], float)


class Day(NamedTuple):
    """One `Appearance` as plain numbers; colours 0..255, strengths as factors."""

    sun_x: float
    sun_y: float
    sun_z: float
    sun_r: float
    sun_g: float
    sun_b: float
    sky_r: float
    sky_g: float
    sky_b: float
    low_r: float
    low_g: float
    low_b: float
    high_r: float
    high_g: float
    high_b: float
    cloud_r: float
    cloud_g: float
    cloud_b: float
    cover: float
    glow: float
    haze_m: float
    green_r: float
    green_g: float
    green_b: float
    leaf: float
    wet: float
    snow: float
    night: float
    seed: int


class Lamps(NamedTuple):
    """Street lamps: positions (N, 3) and, for each cell, the indices of those that reach it.

    `cells` is (G, G, 5) int32, -1 where there is none; cell (0, 0) starts at (west, south).
    """

    xyz: NDArray[np.float64]
    cells: NDArray[np.int32]
    west: float
    south: float


def make_day(appearance: Appearance) -> Day:
    """Mixes sun, sky, weather and hour into strengths and colours."""
    light = appearance.light
    cloudy, night = float(light.overcast), float(appearance.night)
    tint = np.array(light.tint, float)
    height = float(np.sin(light.elevation))
    # The lower the sun, the longer its way through the air and the redder its light.
    air = np.clip((0.45 - height) / 0.45, 0, 1)
    warm = np.array([1.0, 0.985, 0.95]) * (1 - air) + np.array([1.06, 0.86, 0.62]) * air
    sun = light.sun * (1 - cloudy) * (1 - night) * (1 if height > 0 else 0) * warm * tint
    cool = np.array([0.965, 1.0, 1.055]) * (1 - cloudy) + cloudy
    # Clouds scatter a part of the sunlight that they take away.
    sky = (light.sky + 0.42 * light.sun * cloudy * max(height, 0.15)) * cool * tint
    sky = sky * (1 - night) + np.array([0.030, 0.033, 0.043]) * night
    parts = np.array([(1 - cloudy) * (1 - night), cloudy * (1 - night), night])
    low, high, cloud = (parts @ c * tint for c in (_LOW, _HIGH, _CLOUD))
    low = low + (np.array(_DUSK) - low) * 0.4 * air * parts[0]
    # The fields follow one another as these do.
    colours = np.concatenate([light.direction, sun, sky, low, high, cloud]).tolist()
    rest = (
        max(light.clouds, cloudy),
        (1 - cloudy) * (1 - night),
        light.haze_m,
        *appearance.vegetation_rgb,
        appearance.leaf,
        appearance.wet,
        appearance.snow,
        night,
    )
    values = [*colours, *(float(v) for v in rest)]
    return Day(**dict(zip(Day._fields, values, strict=False)), seed=int(appearance.seed))


def make_lamps(appearance: Appearance) -> Lamps:
    """Sorts the lamps into cells, the nearest ones first."""
    xyz = np.asarray(appearance.lamps, np.float64).reshape(-1, 3)
    if not len(xyz) or appearance.night <= 0:
        return Lamps(np.zeros((0, 3)), np.full((1, 1, _LAMPS_PER_CELL), -1, np.int32), 0.0, 0.0)
    west, south = xyz[:, :2].min(axis=0) - LAMP_REACH_M
    east, north = xyz[:, :2].max(axis=0) + LAMP_REACH_M
    count = int(np.ceil(max(east - west, north - south) / LAMP_CELL_M))
    cells = np.full((count, count, _LAMPS_PER_CELL), -1, np.int32)
    ticks = (np.arange(count) + 0.5) * LAMP_CELL_M
    x = west + ticks
    # One row of cells at a time: a large city has many cells and many lamps.
    for j in range(count):
        dy = xyz[:, 1] - (south + ticks[j])
        distance = np.hypot(xyz[None, :, 0] - x[:, None], dy[None])
        order = np.argsort(distance, axis=1, kind='stable')[:, :_LAMPS_PER_CELL]
        near = np.take_along_axis(distance, order, axis=1) < LAMP_REACH_M + LAMP_CELL_M * 0.71
        cells[j, :, : order.shape[1]] = np.where(near, order, -1)
    return Lamps(xyz, cells, float(west), float(south))
