# SPDX-License-Identifier: Apache-2.0
"""The whole ground of a city, layer over layer."""

import numpy as np

from geoloc_core.simulation.city import City
from geoloc_core.simulation.city.parking import built_room
from geoloc_core.simulation.city.streets import arms_of
from geoloc_core.simulation.ground.areas import paint_areas, paint_paths
from geoloc_core.simulation.ground.markings import paint_lots, paint_markings
from geoloc_core.simulation.ground.painter import Painter
from geoloc_core.simulation.ground.roads import paint_roads
from geoloc_core.simulation.ground.wear import paint_wear
from geoloc_core.simulation.render.ground import Ground


def paint_ground(city: City, seed: int, gsd: float = 0.05) -> Ground:
    """Paints a city's ground.

    Detail finer than some 20 cm is not painted: `Ground` adds it, for each class its own.

    Args:
        city: Its streets, areas and houses.
        seed: Of colours, wear and patches.
        gsd: Side of a texel, m; 2 * half_extent / gsd should be divisible by 16.

    Returns:
        The ground.
    """
    painter = Painter(city.half_extent, gsd)
    arms = arms_of(city.streets)
    built = built_room(city.half_extent, city.buildings)
    paint_areas(painter, np.random.default_rng([seed, 10]), city)
    paint_paths(painter, np.random.default_rng([seed, 12]), city)
    greys = paint_roads(painter, np.random.default_rng([seed, 13]), city, arms)
    rng = np.random.default_rng([seed, 14])
    for street, grey in zip(city.streets, greys, strict=True):
        paint_wear(painter, rng, street, grey)
    rng = np.random.default_rng([seed, 15])
    for street in city.streets:
        ends = tuple(len(arms[node]) > 2 for node in (street.start, street.end))
        paint_markings(painter, rng, street, (ends[0], ends[1]), city.furniture)
    paint_lots(painter, city.areas, built)
    return Ground(painter.canvas, city.half_extent, seed, painter.classes)
