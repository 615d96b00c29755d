# SPDX-License-Identifier: Apache-2.0
"""Where the pictures of a rendered data set are taken: places drawn in streets, or drives."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.city.plan import City
from geoloc_core.simulation.layouts.base import LayoutWriter, Place
from geoloc_core.simulation.robots.trajectory import make_trajectory

Array = NDArray[np.float64]

# Every data set begins at the same moment, and no two sequences share a second.
START_NS = 1_317_042_272 * 10**9
_SEQUENCE_NS = 10_000 * 10**9
# Frames of a drive: far enough apart to differ, near enough to follow each other.
DRIVE_RATE_HZ = 2.0
ROOM_RATE_HZ = 10.0
_FRAMES_PER_SEQUENCE = 120
# A drive starts from rest; its first seconds show one place.
_WARM_UP_S = 4.0
# Places drawn one by one: this far from the city's edge, so that tiles show little of what lies
# beyond it, and from the middles of junctions, m.
_EDGE_M = 45.0
_JUNCTION_M = 6.0
_ASIDE_M = 0.3


@dataclass(frozen=True)
class WorldPlan:
    """The pictures of one world.

    Attributes:
        number: Of the world in the data set, from 0.
        seed: It is made from.
        places: In order of their index.
        sequence_of: Number of the drive of each place in this world, from 0; one weather each.
    """

    number: int
    seed: int
    places: tuple[Place, ...]
    sequence_of: tuple[int, ...]


def world_seed(seed: int, number: int) -> int:
    """Seed of the `number`-th world of a data set."""
    return int(np.random.SeedSequence([seed, number, 71]).generate_state(1)[0] % 2**31)


def share_out(count: int, worlds: int) -> list[int]:
    """How many pictures each world gives: as evenly as can be."""
    return [count // worlds + (i < count % worlds) for i in range(worlds)]


def sequences_for(count: int) -> int:
    """How many drives a world is shown in, so that whole ones can be kept for testing."""
    return min(count, max(3, round(count / _FRAMES_PER_SEQUENCE)))


def plan_city(
    writer: type[LayoutWriter], city: City, number: int, seed: int, first: int, count: int
) -> WorldPlan:
    """Plans the pictures of one city.

    Args:
        writer: The layout.
        city: Its streets.
        number: Of the city in the data set.
        seed: Of the city.
        first: Index of its first picture.
        count: Pictures to take.

    Returns:
        The plan; it depends on nothing but the arguments.

    Raises:
        ConfigError: The city has no street to stand in.
    """
    frame = EnuFrame(writer.datum(number))
    drives = sequences_for(count)
    if writer.DRIVES:
        poses = [
            (drive, t_ns, T)
            for drive, share in enumerate(share_out(count, drives))
            for t_ns, T in _drive(city, seed + drive, share)
        ]
    else:
        rng = np.random.default_rng([seed, 72])
        yaw = 'north' if writer.NORTH_ALIGNED else 'any'
        # Neighbours in number share the weather, so that few scenes need to be built.
        poses = [
            (i * drives // count, i * 10**9, street_place(rng, city, yaw)) for i in range(count)
        ]
    return _number(writer, number, seed, first, drives, frame, poses)


def plan_room(
    writer: type[LayoutWriter],
    trajectories: Sequence[Sequence[Array]],
    number: int,
    seed: int,
    first: int,
) -> WorldPlan:
    """Plans the pictures of one room from T_map_camera-carrier poses (4, 4) of each sequence."""
    frame = EnuFrame(writer.datum(number))
    poses = [
        (sequence, round(i * 1e9 / ROOM_RATE_HZ), T)
        for sequence, trajectory in enumerate(trajectories)
        for i, T in enumerate(trajectory)
    ]
    return _number(writer, number, seed, first, len(trajectories), frame, poses)


def _number(
    writer: type[LayoutWriter],
    number: int,
    seed: int,
    first: int,
    sequences: int,
    frame: EnuFrame,
    poses: Sequence[tuple[int, int, Array]],
) -> WorldPlan:
    """Gives poses (sequence, time, T_map_base) their names and parts of the data set."""
    # Steps of the golden ratio share even a few places out in proportion.
    start = np.random.default_rng([seed, 73]).random()
    fractions = (start + np.arange(len(poses)) * 0.6180339887498949) % 1.0
    begin = START_NS + number * 100 * _SEQUENCE_NS
    places = []
    for i, ((sequence, t_ns, T), fraction) in enumerate(zip(poses, fractions, strict=True)):
        place = Place(
            index=first + i,
            sequence=writer.sequence(number, sequence),
            split=writer.split(sequence, sequences, float(fraction)),
            stamp_ns=begin + sequence * _SEQUENCE_NS + t_ns,
            T_map_base=T,
            frame=frame,
        )
        places.append(writer.aligned(place))
    return WorldPlan(number, seed, tuple(places), tuple(sequence for sequence, _, _ in poses))


def numbered(plans: Sequence[WorldPlan]) -> list[WorldPlan]:
    """Counts the frames of each sequence over all worlds, as layouts may name several alike."""
    seen: Counter[str] = Counter()
    out = []
    for plan in plans:
        places = []
        for place in plan.places:
            places.append(replace(place, number=seen[place.sequence]))
            seen[place.sequence] += 1
        out.append(replace(plan, places=tuple(places)))
    return out


def _drive(city: City, seed: int, frames: int) -> list[tuple[int, Array]]:
    """(time, T_map_base) of the frames of one drive; base_link is on the ground."""
    duration = _WARM_UP_S + frames / DRIVE_RATE_HZ + 1.0
    trajectory = make_trajectory(city, seed, duration, base_height=0.0)
    times = _WARM_UP_S + np.arange(frames) / DRIVE_RATE_HZ
    return [(round((t - _WARM_UP_S) * 1e9), trajectory.at(float(t))) for t in times]


def street_place(rng: np.random.Generator, city: City, yaw: str = 'street') -> Array:
    """A place in a lane of a street; long streets are likelier.

    Args:
        rng: Draws it.
        city: Its streets.
        yaw: 'street' (along the lane), 'north' or 'any'.

    Returns:
        T_map_base (4, 4), on the ground.

    Raises:
        ConfigError: The city has no street to stand in.
    """
    lengths = np.array([max(0.0, s.line.length - 2 * _JUNCTION_M) for s in city.streets])
    if not lengths.sum() > 0:
        raise ConfigError('the city has no street long enough to stand in: make it larger')
    for _ in range(1000):
        street = city.streets[rng.choice(len(lengths), p=lengths / lengths.sum())]
        xy, along = street.line.at(
            float(rng.uniform(_JUNCTION_M, street.line.length - _JUNCTION_M))
        )
        side = rng.choice([-1.0, 1.0])
        left = np.array([-along[1], along[0]])
        xy = xy - side * left * (street.lane_offset + rng.uniform(-_ASIDE_M, _ASIDE_M))
        turned = float(rng.uniform(-np.pi, np.pi))
        heading = float(np.arctan2(side * along[1], side * along[0]))
        direction = {'street': heading, 'north': np.pi / 2, 'any': turned}[yaw]
        if np.abs(xy).max() < max(city.half_extent - _EDGE_M, city.half_extent / 2):
            return se3.from_planar(float(xy[0]), float(xy[1]), direction)
    raise ConfigError('the streets of this city all lie at its edge: make it larger')
