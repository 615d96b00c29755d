# SPDX-License-Identifier: Apache-2.0
"""Small detours on a pavement: round lamps, bins, cable boxes and people who stand in the way."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from geoloc_core.simulation.city import City
from geoloc_core.simulation.polyline import Polyline
from geoloc_core.simulation.robots.routes import Route, STEP_M, Stop

Array = NDArray[np.float64]

# Half the width of a delivery robot, and the air it leaves, m.
_HALF_WIDTH_M = 0.42
# Radius of what stands in a street, m.
_RADII = {
    'lamp': 0.12, 'sign': 0.1, 'traffic_light': 0.15, 'bench': 0.55, 'bin': 0.25, 'bollard': 0.1,
    'box': 0.35,
}  # fmt: skip
_TRUNK_M, _PERSON_M = 0.22, 0.3
# A detour begins and ends this far from what it avoids, m.
_LEAD_M = 2.0
_PASSES = 3


def obstacles(city: City) -> tuple[Array, Array]:
    """Places (M, 2) and radii (M,) of what stands on a city's pavements, m."""
    things = [(f.xy, _RADII[f.kind]) for f in city.furniture if f.kind in _RADII]
    things += [(tree.xy, _TRUNK_M) for tree in city.trees]
    things += [(person.xy, _PERSON_M) for person in city.people]
    places = np.array([xy for xy, _ in things], np.float64).reshape(-1, 2)
    return places, np.array([radius for _, radius in things], np.float64)


def round_obstacles(route: Route, places: Array, radii: Array) -> Route:
    """The route, pushed aside where something stands.

    Args:
        route: A way on foot.
        places: (M, 2) middles of what is in the way, m.
        radii: (M,) their radii, m.

    Returns:
        A route of as many points, its stops where they were.
    """
    points = route.line.points
    stops = [int(np.searchsorted(route.line.s, stop.s)) for stop in route.stops]
    if not len(places):
        return route
    for _ in range(_PASSES):
        points = points + _push(points, places, radii + _HALF_WIDTH_M)
    points = gaussian_filter1d(points, 0.3 / STEP_M, axis=0, mode='nearest')
    line = Polyline(points)
    last = len(line.s) - 1
    kept = tuple(
        Stop(float(line.s[min(i, last)]), stop.kind)
        for i, stop in zip(stops, route.stops, strict=True)
    )
    return Route(line, np.interp(line.s, route.line.s, route.limit), kept)


def _push(points: Array, places: Array, clearances: Array) -> Array:
    """Sideways steps (N, 2) that bring a way clear of what it is too close to."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=-1)
    left, right = np.zeros(len(points)), np.zeros(len(points))
    reach = round(_LEAD_M / STEP_M)
    tree = cKDTree(points)
    for place, clearance in zip(places, clearances, strict=True):
        near = np.sort(tree.query_ball_point(place, clearance))
        if not len(near):
            continue
        # A way that comes by several times passes each time.
        for visit in np.split(near, np.flatnonzero(np.diff(near) > 4) + 1):
            away = points[visit] - place
            closest = int(np.argmin(np.linalg.norm(away, axis=1)))
            i = int(visit[closest])
            lateral = float(away[closest] @ normal[i])
            around = np.arange(max(0, i - reach), min(len(points), i + reach + 1))
            bump = 0.5 + 0.5 * np.cos(np.pi * (around - i) / (reach + 1))
            side = left if lateral >= 0 else right
            side[around] = np.maximum(side[around], (clearance - abs(lateral)) * bump)
    return np.asarray(normal * (left - right)[:, None])
