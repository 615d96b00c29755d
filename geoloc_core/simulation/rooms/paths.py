# SPDX-License-Identifier: Apache-2.0
"""Walks through a flat with a camera in the hand: smooth, and never through a wall or a table."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.simulation.rooms.plan import BODY_M, CELL_M, clearance, FlatPlan
from geoloc_core.simulation.rooms.room import Room

Array = NDArray[np.float64]

# Optical axes (z forward, x right, y down) in a body's axes (x forward, y left, z up).
_R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
# Margin between path and furniture that smoothing may not use up, m.
_KEEP_M = 0.2
_STEP_M = 0.02


@dataclass(frozen=True)
class RoomWalk:
    """A hand-held camera's motion.

    Attributes:
        t: (N,) s since the start.
        T_map_camera: (N, 4, 4) optical frame -> map; the map's z = 0 is the floor.
    """

    t: Array
    T_map_camera: Array


def room_trajectory(
    room: Room, seed: int, frames: int, rate_hz: float = 30.0, speed: float = 0.45
) -> RoomWalk:
    """A walk through all rooms; another seed takes another way and looks elsewhere.

    Args:
        room: Where.
        seed: Of the way and of the hand's motion: one for training, another for queries.
        frames: How many poses.
        rate_hz: Poses a second.
        speed: Mean speed, m/s.

    Returns:
        The walk, in six degrees of freedom.

    Raises:
        ConfigError: `frames`, `rate_hz` or `speed` is not positive.
    """
    if frames < 1 or not rate_hz > 0 or not speed > 0:
        raise ConfigError(
            f'a walk needs positive frames, rate and speed, got {frames}, {rate_hz}, {speed}'
        )
    rng = np.random.default_rng([room.seed, seed, 80])
    t = np.arange(frames) / rate_hz
    length = speed * t[-1] * 1.2 + 1.0
    line = _way(rng, room.plan, length)
    pace = speed * np.clip(1 + 0.35 * _wander(rng, frames, rate_hz, 1.5), 0.2, 2.0)
    s = np.minimum(np.concatenate([[0.0], np.cumsum(pace[:-1])]) / rate_hz, length)
    at = s / _STEP_M
    xy = np.stack([np.interp(at, np.arange(len(line)), line[:, k]) for k in (0, 1)], axis=-1)
    yaw = _gaze(rng, room.plan, xy, rate_hz)
    yaw = yaw + np.radians(6) * _wander(rng, frames, rate_hz, 0.7)
    pitch = np.radians(9 + 9 * _wander(rng, frames, rate_hz, 1.6))
    roll = np.radians(3.0) * _wander(rng, frames, rate_hz, 1.0)
    z = np.clip(1.42 + 0.12 * _wander(rng, frames, rate_hz, 1.8), 1.0, 1.8)
    tremor = np.radians(0.25) * np.stack([_wander(rng, frames, rate_hz, 0.12) for _ in range(3)])
    T = np.empty((frames, 4, 4))
    for i in range(frames):
        body = se3.from_xyz_rpy(
            xy[i, 0], xy[i, 1], z[i], roll[i] + tremor[0, i], pitch[i] + tremor[1, i],
            yaw[i] + tremor[2, i],
        )  # fmt: skip
        T[i] = body @ se3.make(_R_BODY_OPTICAL, np.zeros(3))
    return RoomWalk(t, T)


def _wander(rng: np.random.Generator, count: int, rate_hz: float, time_s: float) -> Array:
    """Smooth noise (count,) of unit variance that changes within about `time_s`."""
    sigma = time_s * rate_hz
    pad = int(4 * sigma) + 1
    smooth = gaussian_filter1d(rng.standard_normal(count + 2 * pad), sigma)[pad : pad + count]
    # Variance of white noise after a Gaussian filter: 1 / (2 sqrt(pi) sigma).
    return np.asarray(smooth * np.sqrt(2 * np.sqrt(np.pi) * max(sigma, 0.3)))


def _way(rng: np.random.Generator, plan: FlatPlan, length: float) -> Array:
    """Points (N, 2), `_STEP_M` apart, of a smooth way from room to room."""
    space = clearance(plan.free())
    walkable = space > BODY_M
    index = np.full(walkable.shape, -1)
    rows, columns = np.nonzero(walkable)
    index[rows, columns] = np.arange(len(rows))
    graph = _graph(index, space)
    places = plan.place(np.stack([columns, rows], axis=-1))
    roomy = space[rows, columns]
    parts = [
        np.flatnonzero(
            (places > np.array(room.rect[:2])).all(axis=1)
            & (places < np.array(room.rect[2:])).all(axis=1)
            & (roomy > BODY_M + 0.06)
        )
        for room in plan.rooms
    ]
    # Cells that cannot be reached from the others, such as behind a table, are no goals.
    reach = dijkstra(graph, indices=int(max(parts, key=len)[0]))
    if np.isinf(reach).mean() > 0.5:
        reach = dijkstra(graph, indices=int(np.argmax(roomy)))
    parts = [part[np.isfinite(reach[part])] for part in parts]
    parts = [part for part in parts if len(part)]
    order = rng.permutation(len(parts))
    here = int(rng.choice(parts[order[0]]))
    cells = [here]
    walked, visit = 0.0, 0
    while walked < length:
        # Two goals in a room, then on to the next one.
        part = parts[order[(visit // 2) % len(order)]]
        visit += 1
        before = dijkstra(graph, indices=here, return_predecessors=True)[1]
        goal = int(rng.choice(part))
        if goal == here:
            continue
        steps = [goal]
        while steps[-1] != here:
            steps.append(int(before[steps[-1]]))
        cells += steps[::-1][1:]
        walked += float(np.linalg.norm(np.diff(places[steps], axis=0), axis=1).sum())
        here = goal
    return _smoothed(places[cells], space, plan)


def _graph(index: NDArray[np.int64], space: Array) -> coo_matrix:
    """Ways between neighbouring walkable cells; close to furniture they cost more."""
    starts, ends, costs = [], [], []
    height, width = index.shape
    for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
        low, high = max(0, -dc), width - max(0, dc)
        a = index[: height - dr, low:high]
        b = index[dr:, low + dc : high + dc]
        both = (a >= 0) & (b >= 0)
        near = np.minimum(space[: height - dr, low:high], space[dr:, low + dc : high + dc])[both]
        starts.append(a[both])
        ends.append(b[both])
        costs.append(np.hypot(dr, dc) * CELL_M * (1 + 0.15 / near**2))
    n = int(index.max()) + 1
    i, j, cost = (np.concatenate(part) for part in (starts, ends, costs))
    forth = coo_matrix((cost, (i, j)), shape=(n, n))
    return (forth + forth.T).tocsr()


def _smoothed(points: Array, space: Array, plan: FlatPlan) -> Array:
    """The way with its corners rounded, as far as furniture allows."""
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(2, round(s[-1] / _STEP_M))
    even = np.linspace(0, s[-1], count)
    fine = np.stack([np.interp(even, s, points[:, k]) for k in (0, 1)], axis=-1)
    for sigma in (0.3, 0.2, 0.12, 0.06):
        smooth = gaussian_filter1d(fine, sigma / _STEP_M, axis=0, mode='nearest')
        column, row = plan.cell(smooth).T
        if space[row, column].min() > _KEEP_M:
            break
    step = np.linalg.norm(np.diff(smooth, axis=0), axis=1)
    s = np.concatenate([[0.0], np.cumsum(step)])
    even = np.arange(0.0, s[-1], _STEP_M)
    return np.stack([np.interp(even, s, smooth[:, k]) for k in (0, 1)], axis=-1)


def _gaze(rng: np.random.Generator, plan: FlatPlan, xy: Array, rate_hz: float) -> Array:
    """Yaw (N,) of the camera, rad: rather into the room than at a wall close by."""
    hold = max(1, round(1.6 * rate_hz))
    free = plan.free()
    yaw = np.empty(len(xy))
    last = rng.uniform(-np.pi, np.pi)
    for start in range(0, len(xy), hold):
        place = xy[start]
        turns = last + np.radians(rng.uniform(-75, 75, 7))
        open_m = [_view_m(free, plan, place, turn) for turn in turns]
        last = float(turns[int(np.argmax(np.minimum(open_m, 2.2) + rng.uniform(0, 0.6, 7)))])
        yaw[start : start + hold] = last
    pad = 4 * hold
    held = np.concatenate([np.full(pad, yaw[0]), yaw, np.full(pad, yaw[-1])])
    return np.asarray(gaussian_filter1d(held, 0.55 * hold)[pad:-pad])


def _view_m(free: NDArray[np.uint8], plan: FlatPlan, place: Array, yaw: float) -> float:
    """How far one sees over the floor before furniture or a wall, m."""
    reach = np.arange(0.2, 5.0, CELL_M)
    points = place + reach[:, None] * np.array([np.cos(yaw), np.sin(yaw)])
    column, row = np.clip(plan.cell(points), 0, np.array(free.shape[::-1]) - 1).T
    blocked = np.flatnonzero(free[row, column] == 0)
    return float(reach[blocked[0]]) if len(blocked) else 5.0
