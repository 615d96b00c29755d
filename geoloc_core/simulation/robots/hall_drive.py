# SPDX-License-Identifier: Apache-2.0
"""From the street into a hall and out again, and the drive that maps the hall before."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.conditions.settings import Conditions
from geoloc_core.simulation.ground import paint_ground
from geoloc_core.simulation.robots.detours import obstacles, round_obstacles
from geoloc_core.simulation.robots.drive import Drive, make_drive
from geoloc_core.simulation.robots.rig import machine
from geoloc_core.simulation.robots.routes import Route, smoothed
from geoloc_core.simulation.robots.trajectory import Trajectory, trajectory_along
from geoloc_core.simulation.rooms.hall import Hall
from geoloc_core.simulation.rooms.hall_site import Site, with_hall
from geoloc_core.simulation.world import World

Array = NDArray[np.float64]

# Speed on the pavement is the robot's own; between the door and the shelves it is careful, m/s.
_PAVEMENT_LIMIT, _CAREFUL_LIMIT = 6.0, 0.8
# Corners are rounded by this, m.
_ROUNDED_M = 0.6
# The drive keeps aside of where the survey went, as nobody drives the same line twice, m.
_ASIDE_M = 0.35
# The survey begins so far before the door, m.
_BEFORE_DOOR_M = 4.5


@dataclass(frozen=True)
class HallDrives:
    """Two drives of one robot in one world.

    Attributes:
        drive: Along the street, into the hall, round in it, out again and on.
        survey: In the hall and before its door: what its map is made of.
        hall: The hall.
    """

    drive: Drive
    survey: Drive
    hall: Hall


def make_hall_drives(
    world: World,
    *,
    seed: int = 0,
    robot: str = 'delivery',
    rate_hz: float = 4.0,
    street_s: float = 45.0,
    outage: tuple[float, float] | None = None,
    conditions: Conditions | None = None,
    sensors: str = 'easy',
) -> HallDrives:
    """Builds a hall into a world and drives into it.

    Args:
        world: Any; the hall is built into its city. Its ground is painted anew.
        seed: Of the hall, the way and every error.
        robot: A name in `rig.MACHINES` that goes on pavements.
        rate_hz: Pictures a second.
        street_s: About how long it drives on the pavement before the hall, s; as far as the
            street goes.
        outage: A span without satellites besides, s since the start.
        conditions: Of the drive and of the aerial picture. The survey has a clear day.
        sensors: See `drive.sensor_models`; in the hall nothing is heard, whatever it is.

    Returns:
        Both drives; nothing is rendered yet.

    Raises:
        ConfigError: No street has room for a hall, or a name is unknown.
    """
    city, site = with_hall(world.city, seed)
    ground = paint_ground(city, world.seed, world.ground.data.gsd)
    world = replace(world, city=city, ground=ground, interiors=(site.hall,))
    body = machine(robot)
    street_m = max(street_s * body.style.speed, 1.0)
    route = round_obstacles(street_route(site, street_m), *obstacles(city))

    def motion(along: Route, number: int) -> Trajectory:
        rng = np.random.default_rng([seed, 46, number])
        return trajectory_along(rng, _coming_to_rest(along), body.style, None, body.base_height)

    shared = partial(make_drive, world, robot=robot, sensors=sensors, depth=True)
    drive = shared(
        seed=seed,
        rate_hz=rate_hz,
        outage=outage,
        conditions=conditions,
        trajectory=motion(route, 0),
    )
    survey = shared(
        seed=seed + 1,
        rate_hz=0.5 * rate_hz,
        outage=None,
        trajectory=motion(survey_route(site.hall), 1),
    )
    return HallDrives(drive, survey, site.hall)


def street_route(site: Site, street_m: float) -> Route:
    """Along the pavement, into the hall, round one of its halves, out and on."""
    hall = site.hall
    u, near, far = hall.lanes
    a = _ASIDE_M
    loop = hall.frame.place(
        [(a, near), (a, far - a), (u - a, far - a), (u - a, near + a), (-a, near + a)]
    )
    steps = np.linalg.norm(np.diff(site.way[::-1], axis=0), axis=1)
    count = int(np.searchsorted(np.cumsum(steps), street_m)) + 1
    pieces = [
        site.way[-count:],
        hall.frame.place([(a, -0.5 * hall.pavement_m), (a, 0.0)]),
        loop,
        hall.frame.place([(-a, 0.0), (-a, -0.5 * hall.pavement_m)]),
        site.onward,
    ]
    limits = [_PAVEMENT_LIMIT, _CAREFUL_LIMIT, _CAREFUL_LIMIT, _CAREFUL_LIMIT, _PAVEMENT_LIMIT]
    return smoothed(pieces, limits, [], _ROUNDED_M)


def survey_route(hall: Hall) -> Route:
    """Into the hall, along every lane of it in both directions, to behind the door."""
    u, near, far = hall.lanes
    west, east = ((-u, near), (-u, far)), ((u, near), (u, far))
    front, back, street = (0.0, near), (0.0, far), (0.0, -_BEFORE_DOOR_M)
    # Coming back to the door it turns before it sees nothing but the street, too far for depth.
    turning = (0.0, near + 2.0)
    corners = [
        street, front, back, west[1], west[0], front, east[0], east[1], back,
        turning, west[0], west[1], back, east[1], east[0], front,
    ]  # fmt: skip
    way = hall.frame.place(corners)
    return smoothed([way], [_CAREFUL_LIMIT], [], _ROUNDED_M)


def _coming_to_rest(route: Route) -> Route:
    limit = route.limit.copy()
    limit[-1] = 0.0
    return Route(route.line, limit, route.stops)
