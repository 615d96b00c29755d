# SPDX-License-Identifier: Apache-2.0
"""The plan of a small made-up city: streets, buildings, green and street life, from a seed."""

from geoloc_core.simulation.city.legacy import make_city
from geoloc_core.simulation.city.plan import (
    Area,
    Building,
    Car,
    City,
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

__all__ = [
    'Area',
    'Building',
    'Car',
    'City',
    'Fence',
    'Furniture',
    'LANE_M',
    'PARKING_M',
    'PAVEMENT_M',
    'Path',
    'Person',
    'STOP_LINE_M',
    'Street',
    'Tree',
    'make_city',
]
