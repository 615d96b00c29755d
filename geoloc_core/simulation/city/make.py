# SPDX-License-Identifier: Apache-2.0
"""Draws a whole city from a seed."""

import numpy as np

from geoloc_core.simulation.city.blocks import Blocks, Site
from geoloc_core.simulation.city.buildings import build_blocks
from geoloc_core.simulation.city.green import lay_out_parks, lay_out_rim
from geoloc_core.simulation.city.plan import City
from geoloc_core.simulation.city.room import Room
from geoloc_core.simulation.city.street_life import furnish
from geoloc_core.simulation.city.streets import make_streets


def make_city(seed: int, half_extent: float = 200.0, blocks: int = 4) -> City:
    """Draws a city.

    Args:
        seed: The same seed gives the same city.
        half_extent: Half the side of the square it fills, m.
        blocks: About as many blocks of houses along each side.

    Returns:
        The city.
    """
    rng = np.random.default_rng([seed, 1])
    junctions, streets, plaza = make_streets(rng, half_extent, blocks)
    room = Room(half_extent)
    for street in streets:
        room.take_street(street)
    plan = Blocks(np.random.default_rng([seed, 2]), room, plaza)
    site = Site(room, streets, areas=plan.areas())
    rng = np.random.default_rng([seed, 3])
    build_blocks(rng, site, plan, junctions)
    lay_out_parks(rng, site, plan)
    lay_out_rim(np.random.default_rng([seed, 6]), site)
    areas, paths, fences = tuple(site.areas), tuple(site.paths), tuple(site.fences)
    buildings = tuple(site.buildings)
    life = furnish(
        np.random.default_rng([seed, 4]), streets, buildings, areas, half_extent,
        paths=paths, fences=fences, trees=tuple(site.trees), furniture=tuple(site.furniture),
    )  # fmt: skip
    return City(
        half_extent, junctions, streets, buildings, life.trees, life.cars, life.other_cars, areas,
        paths, fences, life.furniture, life.people,
    )  # fmt: skip
