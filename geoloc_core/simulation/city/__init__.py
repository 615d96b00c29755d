# SPDX-License-Identifier: Apache-2.0
"""The plan of a small made-up city: streets, buildings, green and street life, from a seed."""

from geoloc_core.simulation.city.make import make_city
from geoloc_core.simulation.city.plan import (
    Area,
    Building,
    Car,
    City,
    CROSSING_BEHIND_M,
    Doorway,
    Fence,
    Furniture,
    LANE_M,
    PARKING_M,
    Path,
    PAVEMENT_M,
    Person,
    STOP_LINE_M,
    Street,
    Tree,
)
from geoloc_core.simulation.city.street_life import furnish, Life
from geoloc_core.simulation.city.streets import drivable, with_mouths
from geoloc_core.simulation.city.traffic import Traffic, traffic

__all__ = [
    'Area',
    'Building',
    'CROSSING_BEHIND_M',
    'Car',
    'City',
    'Doorway',
    'Fence',
    'Furniture',
    'LANE_M',
    'Life',
    'PARKING_M',
    'PAVEMENT_M',
    'Path',
    'Person',
    'STOP_LINE_M',
    'Street',
    'Traffic',
    'Tree',
    'drivable',
    'furnish',
    'make_city',
    'traffic',
    'with_mouths',
]
