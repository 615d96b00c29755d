# SPDX-License-Identifier: Apache-2.0
"""A whole city as one mesh, and what moves through it as another."""

from collections.abc import Sequence
from typing import Protocol

from geoloc_core.simulation.city import Car, City, Person
from geoloc_core.simulation.mesh.builder import Mesh, MeshBuilder
from geoloc_core.simulation.mesh.buildings import add_building
from geoloc_core.simulation.mesh.furniture import add_furniture
from geoloc_core.simulation.mesh.movers import add_cars, add_people
from geoloc_core.simulation.mesh.trees import add_fences, add_trees


class Interior(Protocol):
    """What can be seen through the doors of a building."""

    def draw(self, builder: MeshBuilder) -> None:
        """Adds its triangles."""


def build_mesh(
    city: City, seed: int, *, moved_cars: bool = False, interiors: Sequence[Interior] = ()
) -> Mesh:
    """All triangles of a city that stand still.

    Args:
        city: What stands where.
        seed: Of the crowns' shapes.
        moved_cars: Park `city.other_cars` instead of `city.cars`, and leave out the people: the
            city on another day.
        interiors: What is inside of buildings with open doors.

    Returns:
        The mesh; its first triangles are the ground.
    """
    builder = MeshBuilder()
    builder.add_ground()
    for building in city.buildings:
        add_building(builder, building)
    for interior in interiors:
        interior.draw(builder)
    add_trees(builder, city.trees, seed)
    add_fences(builder, city.fences, seed)
    add_furniture(builder, city.furniture)
    add_cars(builder, city.other_cars if moved_cars else city.cars)
    if not moved_cars:
        add_people(builder, city.people)
    return Mesh(builder)


def traffic_mesh(cars: Sequence[Car], people: Sequence[Person]) -> Mesh:
    """Movers as a mesh of their own, for `Scene.with_traffic`.

    Args:
        cars: Vehicles.
        people: Walkers.

    Returns:
        The mesh; empty if there are none.
    """
    builder = MeshBuilder()
    add_cars(builder, cars)
    add_people(builder, people)
    return Mesh(builder)
