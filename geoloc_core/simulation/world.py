# SPDX-License-Identifier: Apache-2.0
"""A whole rendered world from one seed.

A city at a place on Earth, on the day it is driven through and on the day of its aerial picture.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.geodesy import Datum
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.city import City, make_city
from geoloc_core.simulation.ground import paint_ground
from geoloc_core.simulation.mesh import build_mesh, Interior
from geoloc_core.simulation.render.appearance import Appearance, Light
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.renderer import render_aerial
from geoloc_core.simulation.render.scene import Scene

# Another hour of the day, a thinner sun and a camera with other colours.
AERIAL_LIGHT = Light(
    azimuth=-0.6, elevation=0.95, sun=0.72, sky=0.46, tint=(0.96, 1.0, 1.05), haze_m=1e5
)


@dataclass(frozen=True)
class World:
    """A city and where on Earth it stands.

    Attributes:
        seed: It was made from.
        datum: Of the map frame, in the city's middle at ground level.
        city: What stands where.
        ground: What the ground looks like.
        facades: What walls look like.
        attribution: Who must be named where it is shown; '' for a made-up city.
        interiors: What is inside of buildings with open doors.
    """

    seed: int
    datum: Datum
    city: City
    ground: Ground
    facades: Facades
    attribution: str = ''
    interiors: tuple[Interior, ...] = ()

    def scene(self, appearance: Appearance | Light | None = None) -> Scene:
        """The city as the ground camera meets it."""
        mesh = build_mesh(self.city, self.seed, interiors=self.interiors)
        return Scene(mesh, self.ground, self.facades, appearance)

    def aerial_scene(self, *, moved_cars: bool = True) -> Scene:
        """The city on the day of the flight: other light and, by default, other cars."""
        mesh = build_mesh(self.city, self.seed, moved_cars=moved_cars)
        return Scene(mesh, self.ground, self.facades, AERIAL_LIGHT)


def make_world(
    seed: int = 0,
    *,
    datum: Datum | None = None,
    half_extent: float = 200.0,
    blocks: int = 4,
    ground_gsd: float = 0.05,
) -> World:
    """Makes a world.

    Args:
        seed: The same seed gives the same world, to the byte.
        datum: Where it stands; 49.01 N 8.42 E if None.
        half_extent: Half the side of the city's square, m.
        blocks: Blocks of houses along each side.
        ground_gsd: Side of a texel of the painted ground, m.

    Returns:
        The world.
    """
    city = make_city(seed, half_extent, blocks)
    return World(
        seed=seed,
        datum=datum or Datum(49.01, 8.42, 165.0),
        city=city,
        ground=paint_ground(city, seed, ground_gsd),
        facades=Facades(seed),
    )


def aerial_grid(world: World, gsd: float) -> Grid:
    """The raster that covers the whole city at a ground sampling distance, m/px."""
    side = round(2 * world.city.half_extent / gsd)
    return Grid((0.0, 0.0), gsd, side, side)


def aerial_image(
    world: World, gsd: float = 0.15, *, moved_cars: bool = True
) -> tuple[NDArray[np.uint8], Grid]:
    """The city's orthophoto and its place in the map frame."""
    grid = aerial_grid(world, gsd)
    return render_aerial(world.aerial_scene(moved_cars=moved_cars), grid), grid


def write_geotiff(
    path: Path, image: NDArray[np.uint8], grid: Grid, datum: Datum, attribution: str = ''
) -> None:
    """Writes a picture that lies in the map frame as a georeferenced GeoTIFF.

    The file's CRS is a transverse Mercator projection about the datum itself: near it, easting
    and northing are the map frame's x and y, without the turn (meridian convergence) and stretch
    that a UTM zone would have there.

    Args:
        path: File to write.
        image: (H, W, 3) uint8 RGB, north-up in the map frame.
        grid: Where it lies.
        datum: Of the map frame.
        attribution: Who must be named where the map is shown; map readers find it in the file.
    """
    import rasterio
    from rasterio.transform import from_origin

    width_m, height_m = grid.size_m
    crs = (
        f'+proj=tmerc +lat_0={datum.lat_deg:.12f} +lon_0={datum.lon_deg:.12f} +k=1 +x_0=0 +y_0=0 '
        '+ellps=WGS84 +datum=WGS84 +units=m +no_defs'
    )
    transform = from_origin(
        grid.center_xy[0] - width_m / 2, grid.center_xy[1] + height_m / 2, grid.gsd, grid.gsd
    )
    profile = dict(
        driver='GTiff', width=grid.width, height=grid.height, count=3, dtype='uint8', crs=crs,
        transform=transform, compress='deflate', tiled=True, photometric='RGB',
    )  # fmt: skip
    with rasterio.open(path, 'w', **profile) as raster:
        raster.write(np.moveaxis(image, -1, 0))
        if attribution:
            raster.update_tags(ATTRIBUTION=attribution)
