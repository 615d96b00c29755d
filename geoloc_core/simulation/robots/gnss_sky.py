# SPDX-License-Identifier: Apache-2.0
"""Satellites over a city: where they stand, which walls hide them, which walls reflect them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city import Building

Array = NDArray[np.float64]

# Gravity and rotation of the Earth (WGS84), and a sphere that is good enough for directions.
_GM = 3.986004418e14
_EARTH_RATE = 7.2921151467e-5
_EARTH_RADIUS_M = 6.371e6
# (orbits' planes, satellites in each, radius in m, inclination in degrees) of GPS and Galileo.
_SYSTEMS = ((6, 4, 26.5598e6, 55.0), (3, 8, 29.6001e6, 56.0))
# Walls farther away hide and reflect nothing of interest.
_REACH_M = 160.0


class Constellation:
    """GPS and Galileo on circular orbits over one place."""

    def __init__(self, seed: int, lat_deg: float, lon_deg: float) -> None:
        """Turns the orbits by an amount that the seed decides.

        Args:
            seed: Of the moment; satellites then move on as they do.
            lat_deg: WGS84 latitude of the place.
            lon_deg: Its longitude.
        """
        rng = np.random.default_rng([seed, 53])
        node, phase, radius, inclination = [], [], [], []
        for planes, count, orbit, tilt in _SYSTEMS:
            turn, along = rng.uniform(0, 2 * np.pi, 2)
            for plane in range(planes):
                for slot in range(count):
                    node.append(turn + 2 * np.pi * plane / planes)
                    phase.append(along + 2 * np.pi * (slot / count + plane / planes / count))
                    radius.append(orbit)
                    inclination.append(np.radians(tilt))
        self._node, self._phase = np.array(node), np.array(phase)
        self._radius, self._tilt = np.array(radius), np.array(inclination)
        lat, lon = np.radians([lat_deg, lon_deg])
        self._up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        east = np.array([-np.sin(lon), np.cos(lon), 0.0])
        self._axes = np.stack([east, np.cross(self._up, east), self._up])

    def directions(self, t: float) -> Array:
        """Unit vectors (N, 3) from the place to all satellites at a time (s), map frame.

        Those with a negative third coordinate are below the horizon.
        """
        u = self._phase + np.sqrt(_GM / self._radius**3) * t
        node = self._node - _EARTH_RATE * t
        xyz = np.stack(
            [
                np.cos(u) * np.cos(node) - np.sin(u) * np.cos(self._tilt) * np.sin(node),
                np.cos(u) * np.sin(node) + np.sin(u) * np.cos(self._tilt) * np.cos(node),
                np.sin(u) * np.sin(self._tilt),
            ],
            axis=-1,
        )
        line = (xyz * self._radius[:, None] - self._up * _EARTH_RADIUS_M) @ self._axes.T
        return np.asarray(line / np.linalg.norm(line, axis=1, keepdims=True))


@dataclass(frozen=True)
class SkyView:
    """What an antenna receives of each satellite.

    Attributes:
        blocked: (K,) bool, a building stands in the direct line.
        excess_m: (K,) how much longer the way over the nearest mirroring wall is, m; NaN without.
    """

    blocked: NDArray[np.bool_]
    excess_m: Array


class Walls:
    """The upright walls of buildings, as an antenna's surroundings."""

    def __init__(self, buildings: Iterable[Building], seed: int = 0, smooth: float = 1.0) -> None:
        """Gathers the walls.

        Args:
            buildings: Upright blocks; footprints counter-clockwise.
            seed: Which walls reflect.
            smooth: Part (0..1) of the walls that are smooth enough to mirror a signal.
        """
        starts, ends, tops = [np.zeros((0, 2))], [np.zeros((0, 2))], [np.zeros(0)]
        for building in buildings:
            starts.append(np.asarray(building.footprint, np.float64))
            ends.append(np.roll(starts[-1], -1, axis=0))
            tops.append(np.full(len(starts[-1]), building.height))
        self._start = np.concatenate(starts)
        self._edge = np.concatenate(ends) - self._start
        self._top = np.concatenate(tops)
        self._length = np.linalg.norm(self._edge, axis=1)
        outward = np.stack([self._edge[:, 1], -self._edge[:, 0]], axis=-1)
        self._normal = outward / np.maximum(self._length, 1e-9)[:, None]
        mirror = np.random.default_rng([seed, 54]).random(len(self._top)) < smooth
        self._mirror = mirror

    def view(self, antenna: Array, directions: Array) -> SkyView:
        """Traces the direct line and single reflections of satellites.

        A reflection is found with the antenna's mirror image behind the wall: the way over a wall
        at distance d with normal n is 2 d (n . s) longer than the direct one, s towards the
        satellite.

        Args:
            antenna: (3,) m, map frame.
            directions: (K, 3) unit vectors towards the satellites, all above the horizon.

        Returns:
            What is blocked, and the shortest detours.
        """
        middle = self._start + self._edge / 2
        away = np.linalg.norm(middle - antenna[:2], axis=1) - self._length / 2
        near = np.flatnonzero(away < _REACH_M)
        k = len(directions)
        excess = np.full(k, np.inf)
        if not len(near):
            return SkyView(np.zeros(k, bool), np.full(k, np.nan))
        blocked = self._hidden(np.broadcast_to(antenna, (k, 3)), directions, np.inf, near)
        normal = self._normal[near]
        distance = np.einsum('mj,mj->m', antenna[:2] - self._start[near], normal)
        slope = directions[:, :2] @ normal.T
        wall, satellite = self._mirrors(antenna, directions, near, distance, slope)
        if len(wall):
            d, n = distance[wall], normal[wall]
            s = directions[satellite]
            reach = d / slope[satellite, wall]
            image = np.tile(antenna, (len(wall), 1))
            image[:, :2] -= 2 * d[:, None] * n
            # A step off the wall keeps the wall itself from hiding its own reflection.
            point = image + reach[:, None] * s
            point[:, :2] += 0.01 * n
            back = antenna - point
            length = np.linalg.norm(back, axis=1)
            open_way = ~self._hidden(point, s, np.inf, near)
            open_way &= ~self._hidden(point, back / length[:, None], length, near)
            detour = 2 * d * slope[satellite, wall]
            np.minimum.at(excess, satellite[open_way], detour[open_way])
        return SkyView(blocked, np.where(np.isfinite(excess), excess, np.nan))

    def _mirrors(
        self,
        antenna: Array,
        directions: Array,
        near: NDArray[np.int64],
        distance: Array,
        slope: Array,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (wall of `near`, satellite) whose mirrored line meets the wall itself."""
        facing = self._mirror[near] & (distance > 0.1)
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            reach = np.where(slope > 1e-3, distance / slope, np.nan)
            image = antenna[:2] - 2 * distance[:, None] * self._normal[near]
            point = image + reach[..., None] * directions[:, None, :2]
            offset = point - self._start[near]
            along = np.einsum('kmj,mj->km', offset, self._edge[near]) / self._length[near] ** 2
            height = antenna[2] + reach * directions[:, 2:]
            meets = facing & (along >= 0) & (along <= 1) & (height < self._top[near])
        satellite, wall = np.nonzero(meets)
        return wall, satellite

    def _hidden(
        self, origins: Array, directions: Array, limit: Array | float, near: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which rays (K, 3) meet one of the walls `near` before `limit` metres."""
        edge, top = self._edge[near], self._top[near]
        offset = self._start[near] - origins[:, None, :2]
        s = directions[:, None, :2]
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            det = s[..., 0] * edge[:, 1] - s[..., 1] * edge[:, 0]
            t = (offset[..., 0] * edge[:, 1] - offset[..., 1] * edge[:, 0]) / det
            w = (offset[..., 0] * s[..., 1] - offset[..., 1] * s[..., 0]) / det
            z = origins[:, 2:] + t * directions[:, 2:]
            bound = np.broadcast_to(np.asarray(limit, np.float64), len(origins))[:, None]
            hit = (t > 0) & (t < bound - 1e-6) & (w >= 0) & (w <= 1) & (z < top)
        return np.asarray(hit.any(axis=1))
