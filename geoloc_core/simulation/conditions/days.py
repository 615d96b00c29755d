# SPDX-License-Identifier: Apache-2.0
"""A world on a drawn day: as the robot meets it, and as the aerial camera saw it.

Example::

    conditions = parse_conditions('hard')
    day = draw_ground(conditions, seed, index)
    T_map_camera = T_map_base @ day.T_base_tilted @ T_base_camera
    scene = moving_scene(ground_scene(world, day), world, day, seed, t, ego_xy)
    rendering = render(scene, camera, T_map_camera)
    image = expose(rendering.image, day, index, rendering.range_m, camera)
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.city.plan import City
from geoloc_core.simulation.city.traffic import traffic
from geoloc_core.simulation.conditions.aerial import develop
from geoloc_core.simulation.conditions.changes import changed_city
from geoloc_core.simulation.conditions.draws import AerialDay, draw_aerial, draw_ground, GroundDay
from geoloc_core.simulation.mesh import traffic_mesh
from geoloc_core.simulation.render.appearance import Appearance
from geoloc_core.simulation.render.renderer import render_aerial
from geoloc_core.simulation.render.scene import Scene
from geoloc_core.simulation.world import World

__all__ = [
    'AerialDay',
    'AerialView',
    'GroundDay',
    'aerial_scene',
    'aerial_view',
    'changed_city',
    'draw_aerial',
    'draw_ground',
    'ground_scene',
    'moving_scene',
]


# Lights over the middle of a street: how far apart, and how high.
_HUNG_EVERY_M, _HUNG_AT_M = 26.0, 8.0


@dataclass(frozen=True)
class AerialView:
    """A picture from above.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        grid: Where the picture claims to lie, in the map frame.
        registration_shift_m: (dx, dy): what is at (x, y) appears at (x + dx, y + dy) of `grid`.
            Poses stay true; the picture is wrong.
        labels: (H, W) uint8 `Label` of what each pixel shows, or None.
    """

    image: NDArray[np.uint8]
    grid: Grid
    registration_shift_m: tuple[float, float]
    labels: NDArray[np.uint8] | None = None


def ground_scene(world: World, day: GroundDay) -> Scene:
    """The world on the day of a drive; moving traffic is added with `Scene.with_traffic`.

    Args:
        world: The place.
        day: `day.appearance` without lamps is given the street lamps of the city.

    Returns:
        The scene; build it once for a drive, it is the costly part.
    """
    return world.scene(_with_lamps(world, day.appearance))


def moving_scene(
    scene: Scene, world: World, day: GroundDay, seed: int, t: float, ego_xy: tuple[float, float]
) -> Scene:
    """The scene with the cars and people that the day sends through it at a moment.

    Args:
        scene: `ground_scene(world, day)`; not changed.
        world: The place.
        day: How many there are.
        seed: Of who goes where; one for a drive, so that all move smoothly.
        t: Time, s.
        ego_xy: Place of the robot, m; nobody comes within a few metres of it.

    Returns:
        The scene with them, or the same one if the day has none.
    """
    if not (day.cars_per_km or day.people_per_km):
        return scene
    cars, people = traffic(
        world.city, seed, t, ego_xy, cars_per_km=day.cars_per_km, people_per_km=day.people_per_km
    )
    return scene.with_traffic(traffic_mesh(cars, people))


def aerial_scene(world: World, day: AerialDay) -> Scene:
    """The world on the day of a flight; cast it with `lean=day.lean`."""
    from geoloc_core.simulation.ground import paint_ground

    city = changed_city(world.city, day)
    ground = world.ground
    if day.repainted:
        seed = int(np.random.default_rng([world.seed, day.seed, day.index, 62]).integers(2**31))
        ground = paint_ground(world.city, seed, ground.gsd)
    flown = replace(world, city=city, ground=ground)
    return flown.scene(_with_lamps(world, day.appearance))


def aerial_view(
    world: World,
    day: AerialDay,
    grid: Grid,
    workers: int | None = None,
    *,
    scene: Scene | None = None,
    supersample: int = 2,
    with_labels: bool = False,
) -> AerialView:
    """Takes an aerial picture: season, changes, lean, camera and registration error in it.

    Args:
        world: The place.
        day: Of the flight.
        grid: The raster that the picture claims to fill.
        workers: Threads; as many as there are processors if None.
        scene: `aerial_scene(world, day)`, where many pictures are taken of one flight.
        supersample: Rays along each side of a pixel.
        with_labels: Give each pixel's `Label`, too.

    Returns:
        The picture; the same bytes for the same day, whatever `workers` is.
    """
    scene = scene or aerial_scene(world, day)
    dx, dy = day.shift_m
    # Rendered beside its claimed place, so that no pixel is interpolated twice.
    taken = grid.moved_to((grid.center_xy[0] - dx, grid.center_xy[1] - dy))
    labels = None
    if with_labels:
        image, labels = render_aerial(
            scene, taken, supersample, workers, lean=day.lean, with_labels=True
        )
    else:
        image = render_aerial(scene, taken, supersample, workers, lean=day.lean)
    return AerialView(develop(image, day, grid), grid, day.shift_m, labels)


def _with_lamps(world: World, appearance: Appearance) -> Appearance:
    if appearance.night <= 0 or appearance.lamps:
        return appearance
    return replace(appearance, lamps=_lights(world.city))


def _lights(city: City) -> tuple[tuple[float, float, float], ...]:
    """The city's lamps and, over streets that have none near, lights hung over the middle."""
    lamps = city.lamps
    hung = []
    for street in city.streets:
        for s in np.arange(_HUNG_EVERY_M / 2, street.line.length, _HUNG_EVERY_M):
            xy, _ = street.line.at(float(s))
            if (
                not len(lamps)
                or np.linalg.norm(lamps[:, :2] - xy, axis=1).min() > _HUNG_EVERY_M / 2
            ):
                hung.append((float(xy[0]), float(xy[1]), _HUNG_AT_M))
    return (*((float(x), float(y), float(z)) for x, y, z in lamps), *hung)
