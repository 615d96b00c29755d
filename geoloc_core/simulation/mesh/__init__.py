# SPDX-License-Identifier: Apache-2.0
"""Triangles of the city, each with what the shader must know about its surface."""

from geoloc_core.simulation.mesh.build import build_mesh, Interior, traffic_mesh
from geoloc_core.simulation.mesh.builder import Mesh, MeshBuilder
from geoloc_core.simulation.mesh.buildings import add_building
from geoloc_core.simulation.mesh.movers import add_cars, add_people

__all__ = [
    'Interior',
    'Mesh',
    'MeshBuilder',
    'add_building',
    'add_cars',
    'add_people',
    'build_mesh',
    'traffic_mesh',
]
