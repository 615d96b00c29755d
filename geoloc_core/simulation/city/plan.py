# SPDX-License-Identifier: Apache-2.0
"""The records a city's plan is made of: plain, frozen, and buildable from any source.

Everything is in metres in the map frame (x east, y north, origin at the datum); angles are yaw
(0 = east, counter-clockwise, rad).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.polyline import Polyline

Array = NDArray[np.float64]
Rgb = tuple[int, int, int]

PAVEMENT_M = 2.6
LANE_M = 3.3
PARKING_M = 2.1
# Where the stop line of a plain crossroads lies, from the junction's middle.
STOP_LINE_M = 12.5
# How far inside the stop line the middle of the crossing lies.
CROSSING_BEHIND_M = 3.5


@dataclass(frozen=True)
class Street:
    """A two-way street between two junctions; traffic keeps to the right.

    From the middle outwards: half the median, the lanes, the bicycle lane, the parking bay, the
    kerb at `half_width`, the pavement.

    Attributes:
        start: Index of the junction at the line's first point.
        end: Index of the junction at its last point.
        line: Its middle.
        half_width: From the middle to the kerb, m.
        parking: Cars park along both kerbs.
        kind: 'lane' (residential), 'street' or 'avenue'.
        lanes: Lanes each way.
        median: Width of the green strip in the middle, m; 0 for none.
        bike: Width of the bicycle lane each way, m; 0 for none.
        pavement: Width of the pavements, m; 0 for none.
        mouths: Distance from the first and from the last point to the stop line there, m.
    """

    start: int
    end: int
    line: Polyline
    half_width: float
    parking: bool
    kind: str = 'street'
    lanes: int = 1
    median: float = 0.0
    bike: float = 0.0
    pavement: float = PAVEMENT_M
    mouths: tuple[float, float] = (STOP_LINE_M, STOP_LINE_M)

    @property
    def lane_offset(self) -> float:
        """How far to the right of the middle the middle of the outer lane lies, m."""
        return self.median / 2 + (self.lanes - 0.5) * LANE_M

    @property
    def lanes_edge(self) -> float:
        """From the middle to the outer edge of the lanes, m."""
        return self.half_width - (PARKING_M if self.parking else 0.0) - self.bike

    @property
    def reach(self) -> float:
        """From the middle to the outer edge of the pavement, m."""
        return self.half_width + self.pavement


@dataclass(frozen=True)
class Doorway:
    """An open door in a wall of a building.

    Attributes:
        edge: Index of the footprint's edge.
        start: Where it begins along that edge, m.
        end: Where it ends.
        top: Its upper edge, m over the ground.
    """

    edge: int
    start: float
    end: float
    top: float


@dataclass(frozen=True)
class Building:
    """A house: upright walls over a footprint, and a roof.

    Attributes:
        footprint: (N, 2) corners of a simple polygon, counter-clockwise.
        height: Of the eaves, m.
        gable: Height of the ridge over the eaves, m; 0 for a flat roof.
        facade: Index of the pattern of its windows; -1 for blank walls.
        wall_rgb: Colour of its walls, 0..255.
        roof_rgb: Colour of its roof, 0..255.
        roof: 'flat', 'gable', 'hip', 'half_hip', 'mansard', 'shed', 'sawtooth' or 'spire'; the
            empty word means a gable where `gable` is over 0 and the footprint has 4 corners, else
            flat.
        wings: Quadrangles (4, 2) that carry a pitched roof each, their ridge along the first
            edge; together they cover the footprint. None needed if the footprint is one.
        base: Height of the lowest point of the walls, m.
        extras: What stands on it: any of 'chimney', 'dormers', 'solar', 'plant' (machines, stair
            house and skylights of a flat roof), 'balconies'.
        doors: Openings of its walls, one an edge at most; what lies behind is not the city's.
    """

    footprint: Array
    height: float
    gable: float
    facade: int
    wall_rgb: Rgb
    roof_rgb: Rgb
    roof: str = ''
    wings: tuple[Array, ...] = ()
    base: float = 0.0
    extras: tuple[str, ...] = ()
    doors: tuple[Doorway, ...] = ()


@dataclass(frozen=True)
class Tree:
    """A tree: a trunk and a crown of `radius` whose middle is at `crown_height`.

    Attributes:
        kind: 'round', 'poplar', 'conifer' or 'bush'.
    """

    xy: tuple[float, float]
    radius: float
    crown_height: float
    rgb: Rgb
    kind: str = 'round'


@dataclass(frozen=True)
class Car:
    """A vehicle: its middle, heading (rad), length, width, height (m) and colour.

    Attributes:
        kind: 'car', 'van', 'bus' or 'truck'.
    """

    xy: tuple[float, float]
    yaw: float
    size: tuple[float, float, float]
    rgb: Rgb
    kind: str = 'car'


@dataclass(frozen=True)
class Person:
    """Somebody on foot.

    Attributes:
        xy: Where they stand.
        yaw: The way they face, rad.
        height: m.
        rgb: Colour of the coat.
        legs_rgb: Colour of the trousers.
        phase: Of the stride, 0..1; negative while standing.
    """

    xy: tuple[float, float]
    yaw: float
    height: float
    rgb: Rgb
    legs_rgb: Rgb = (52, 54, 66)
    phase: float = -1.0


@dataclass(frozen=True)
class Furniture:
    """A thing in the street.

    Attributes:
        kind: 'lamp', 'sign', 'traffic_light', 'bench', 'bin', 'bollard', 'shelter', 'box',
            'swing', 'slide', 'fountain' or 'flower_bed'.
        xy: Its foot.
        yaw: The way it faces, rad.
        height: m.
        rgb: Colour of what is coloured about it.
    """

    kind: str
    xy: tuple[float, float]
    yaw: float = 0.0
    height: float = 1.0
    rgb: Rgb = (110, 112, 114)


@dataclass(frozen=True)
class Fence:
    """A hedge, fence or wall along a line.

    Attributes:
        line: (N, 2).
        height: m.
        kind: 'hedge', 'fence' or 'wall'.
        rgb: Its colour.
    """

    line: Array
    height: float
    kind: str
    rgb: Rgb


@dataclass(frozen=True)
class Area:
    """A piece of ground with a use of its own.

    Attributes:
        kind: 'park', 'lawn', 'pond', 'playground', 'square', 'parking', 'asphalt', 'yard',
            'field' or 'gravel'.
        outline: (N, 2) corners of a simple polygon.
    """

    kind: str
    outline: Array


@dataclass(frozen=True)
class Path:
    """A way on foot or a drive.

    Attributes:
        line: Its middle.
        width: m.
        surface: 'gravel', 'paved' or 'asphalt'.
    """

    line: Polyline
    width: float
    surface: str = 'gravel'


@dataclass(frozen=True)
class City:
    """All that stands in the city; what moves through it comes from `traffic`.

    Attributes:
        half_extent: The city covers [-half_extent, half_extent] in x and y, m.
        junctions: (J, 2).
        streets: Between junctions.
        cars: Parked, as the ground camera meets them.
        other_cars: Parked, as they stood when the aerial picture was taken.
        areas: Parks, squares and the like; a later one lies over an earlier one.
        paths: Ways through them and to houses.
        fences: Hedges, fences, walls.
        furniture: Lamps, signs, benches.
        people: Those who stand or sit still.
    """

    half_extent: float
    junctions: Array
    streets: tuple[Street, ...]
    buildings: tuple[Building, ...]
    trees: tuple[Tree, ...]
    cars: tuple[Car, ...]
    other_cars: tuple[Car, ...]
    areas: tuple[Area, ...] = ()
    paths: tuple[Path, ...] = ()
    fences: tuple[Fence, ...] = ()
    furniture: tuple[Furniture, ...] = ()
    people: tuple[Person, ...] = ()

    @property
    def lamps(self) -> Array:
        """(N, 3) where light comes from at night, m."""
        return np.array(
            [lamp_head(f) for f in self.furniture if f.kind == 'lamp'], np.float64
        ).reshape(-1, 3)


def lamp_head(lamp: Furniture) -> tuple[float, float, float]:
    """Middle of a street lamp's light: an arm of 1.4 m along its yaw, just under the top."""
    arm = 1.4
    return (
        lamp.xy[0] + arm * float(np.cos(lamp.yaw)),
        lamp.xy[1] + arm * float(np.sin(lamp.yaw)),
        lamp.height - 0.15,
    )
