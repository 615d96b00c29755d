# SPDX-License-Identifier: Apache-2.0
"""A world at a real place, from footprints of OpenStreetMap in a GeoJSON file.

Whoever shows anything made from it must name its source: `World.attribution` carries the words.
"""

from pathlib import Path

from geoloc_core.simulation.footprints.city import city_from_osm
from geoloc_core.simulation.footprints.geojson import read_osm
from geoloc_core.simulation.ground import paint_ground
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.world import World

# A painted ground of more texels than this along a side takes too much memory.
_MAX_TEXELS = 8192


def world_from_footprints(
    path: Path | str,
    seed: int = 0,
    *,
    center: tuple[float, float] | None = None,
    half_extent: float | None = None,
    ground_gsd: float | None = None,
) -> World:
    """Builds a real place.

    Args:
        path: GeoJSON FeatureCollection with OpenStreetMap's tags.
        seed: Of all that is made up.
        center: (lat, lon) degrees of the square to keep; the middle of the buildings if None.
        half_extent: Half the side of that square, m; all buildings if None.
        ground_gsd: Texel of the painted ground, m; 0.05 or as fine as memory allows if None.

    Returns:
        The world, at its real place, with its attribution.

    Raises:
        DataError: The file is not what was expected; the message says what to do.
    """
    source = read_osm(Path(path), center, half_extent)
    city = city_from_osm(source, seed)
    gsd = ground_gsd or max(0.05, 2 * source.half_extent / _MAX_TEXELS)
    # The painter's levels want a side divisible by 16.
    side = max(16, round(2 * source.half_extent / gsd / 16) * 16)
    ground = paint_ground(city, seed, 2 * source.half_extent / side)
    return World(seed, source.datum, city, ground, Facades(seed), attribution=source.attribution)
