# SPDX-License-Identifier: Apache-2.0
"""Parked vehicles: at kerbs, in parking lots, on drives and in yards."""

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.simulation.city.plan import Area, Building, Car, PARKING_M, Path, Rgb, Street
from geoloc_core.simulation.city.room import Frame, rectangle, Room

Array = NDArray[np.float64]

BAY_M = (2.5, 5.0)
KERB_BAY_M = 5.8
_AISLE_M = 6.0
# Bays keep this far from the border of their lot, under which a pavement may lie.
_LOT_MARGIN_M = 3.2
CAR_COLOURS: tuple[Rgb, ...] = (
    (38, 38, 42), (200, 202, 204), (235, 235, 232), (120, 124, 128), (140, 30, 28), (34, 58, 110),
    (70, 74, 78), (186, 178, 160), (40, 84, 62), (92, 118, 150), (206, 170, 50), (86, 34, 40),
    (232, 232, 230), (30, 32, 36), (158, 162, 166),
)  # fmt: skip


def make_car(rng: np.random.Generator, xy: tuple[float, float], yaw: float, kind: str = '') -> Car:
    """A vehicle of a size and colour usual for its kind; most are cars."""
    if not kind:
        kind = 'van' if rng.random() < 0.1 else 'car'
    low, high = {
        'car': ((3.7, 1.68, 1.42), (4.9, 1.88, 1.68)),
        'van': ((4.9, 1.9, 1.95), (5.9, 2.0, 2.6)),
        'bus': ((11.5, 2.5, 3.0), (12.2, 2.55, 3.2)),
        'truck': ((7.0, 2.3, 2.9), (9.5, 2.5, 3.6)),
    }[kind]
    length, width, height = (float(v) for v in rng.uniform(low, high))
    rgb = CAR_COLOURS[int(rng.integers(len(CAR_COLOURS)))]
    if kind == 'bus':
        rgb = ((196, 152, 40), (170, 40, 44), (222, 222, 216))[int(rng.integers(3))]
    elif kind != 'car' and rng.random() < 0.6:
        rgb = (232, 232, 230)
    return Car(xy, yaw, (length, width, height), rgb, kind)


def kerb_places(street: Street) -> list[tuple[tuple[float, float], float]]:
    """Middles and headings of the parking places along both kerbs."""
    places = []
    if street.parking:
        start, end = street.mouths[0] + 2, street.line.length - street.mouths[1] - 2
        for side in (-1.0, 1.0):
            for s in np.arange(start, end - KERB_BAY_M, KERB_BAY_M):
                xy, along = street.line.at(float(s + KERB_BAY_M / 2))
                frame = Frame(xy, along * -side)
                offset = -(street.half_width - PARKING_M / 2)
                places.append((frame.at(0, offset), frame.yaw))
    return places


def lot_bays(area: Area, taken: Room) -> list[tuple[tuple[float, float], float]]:
    """Middles and headings of the bays of a parking lot: double rows with aisles between them.

    Args:
        area: The lot.
        taken: What stands in the way, such as buildings.
    """
    edges = np.roll(area.outline, -1, axis=0) - area.outline
    longest = edges[int(np.argmax(np.linalg.norm(edges, axis=1)))]
    frame = Frame(area.outline.mean(axis=0), longest / np.linalg.norm(longest))
    local = (area.outline - frame.origin) @ np.stack([frame.along, frame.away], axis=-1)
    polygon = local.astype(np.float32)[:, None]
    low, high = local.min(axis=0) + 1.5, local.max(axis=0) - 1.5
    bays = []
    pitch = 2 * BAY_M[1] + _AISLE_M
    for v in np.arange(low[1], high[1], pitch):
        for row, turn in ((v + BAY_M[1] / 2, 1), (v + BAY_M[1] / 2 + BAY_M[1] + _AISLE_M, -1)):
            for u in np.arange(low[0], high[0], BAY_M[0]):
                corners = [
                    (float(u + a * BAY_M[0] / 2), float(row + b * BAY_M[1] / 2))
                    for a in (-1, 1)
                    for b in (-1, 1)
                ]
                if min(cv2.pointPolygonTest(polygon, c, True) for c in corners) < _LOT_MARGIN_M:
                    continue
                yaw = float(frame.yaw + turn * np.pi / 2)
                xy = frame.at(float(u), float(row))
                if taken.is_free(rectangle(xy, yaw, BAY_M[1], BAY_M[0])):
                    bays.append((xy, yaw))
    return bays


def built_room(half_extent: float, buildings: tuple[Building, ...]) -> Room:
    """A raster of buildings only."""
    room = Room(half_extent)
    for building in buildings:
        room.take(building.footprint)
    return room


def park_cars(
    rng: np.random.Generator,
    streets: tuple[Street, ...],
    areas: tuple[Area, ...],
    paths: tuple[Path, ...],
    built: Room,
) -> list[Car]:
    """Vehicles wherever vehicles park; about half of the places are taken.

    Args:
        rng: Of who is there.
        streets: With their kerbs.
        areas: Parking lots and yards.
        paths: Drives, known by their width.
        built: Buildings.
    """
    cars = []
    for street in streets:
        share = rng.uniform(0.3, 0.75)
        for xy, yaw in kerb_places(street):
            if rng.random() < share:
                shift = rng.uniform(-0.35, 0.35), rng.uniform(-0.1, 0.1)
                frame = Frame(np.array(xy), np.array([np.cos(yaw), np.sin(yaw)]))
                flip = np.pi if rng.random() < 0.04 else 0.0
                cars.append(make_car(rng, frame.at(*shift), yaw + flip))
    for area in areas:
        if area.kind == 'parking':
            share = rng.uniform(0.3, 0.7)
            for xy, yaw in lot_bays(area, built):
                if rng.random() < share:
                    cars.append(make_car(rng, xy, yaw + float(rng.choice([0.0, np.pi]))))
        elif area.kind == 'asphalt':
            cars += _in_yard(rng, area, built)
    for path in paths:
        # Only drives are that wide; the car stands at the house's end.
        if 2.5 < path.width < 3.5 and path.line.length > 5.5 and rng.random() < 0.45:
            spot, along = path.line.at(path.line.length - 2.8)
            yaw = float(np.arctan2(along[1], along[0])) + float(rng.choice([0.0, np.pi]))
            cars.append(make_car(rng, (float(spot[0]), float(spot[1])), yaw, 'car'))
    return cars


def _in_yard(rng: np.random.Generator, area: Area, built: Room) -> list[Car]:
    """Trucks and vans in front of a hall."""
    cars: list[Car] = []
    low, high = area.outline.min(axis=0), area.outline.max(axis=0)
    taken = Room(built.half)
    edge = area.outline[1] - area.outline[0]
    yaw = float(np.arctan2(edge[1], edge[0]))
    for _ in range(30):
        xy = rng.uniform(low, high)
        kind = str(rng.choice(['truck', 'truck', 'van', 'car']))
        car = make_car(rng, (float(xy[0]), float(xy[1])), yaw + np.pi / 2, kind)
        shape = rectangle(xy, car.yaw, car.size[0] + 1.0, car.size[1] + 0.8)
        inside = min(
            cv2.pointPolygonTest(
                area.outline.astype(np.float32)[:, None], tuple(map(float, p)), True
            )
            for p in shape
        )
        if len(cars) < 4 and inside > 0 and built.is_free(shape) and taken.is_free(shape):
            taken.take(shape)
            cars.append(car)
    return cars
