# SPDX-License-Identifier: Apache-2.0
"""Small scenes whose pictures are known."""

from itertools import pairwise

import numpy as np
import pytest

from geoloc_core.simulation.mesh import Mesh, MeshBuilder
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.render.scene import Scene


def box(builder, first, last, material, rgb, label=None, roof=None):
    """An upright box between two corners; `roof` is the material of its top."""
    (x0, y0, z0), (x1, y1, z1) = first, last
    ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        quad = (
            [(ax, ay, z0), (bx, by, z0), (bx, by, z1)],
            [(ax, ay, z0), (bx, by, z1), (ax, ay, z1)],
        )
        along = np.array([bx - ax, by - ay]) / np.hypot(bx - ax, by - ay)
        axis = (*along, -along @ (ax, ay))
        builder.add(quad, material, rgb, wall_axis=axis, label=label)
    top = [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1)], [(x0, y0, z1), (x1, y1, z1), (x0, y1, z1)]
    builder.add(top, roof or material, rgb, label=Label.ROOF if roof else label)


def plain(label=Label.ROAD, grey=110, half=40.0, gsd=0.1, seed=0):
    """Ground of one class and one grey."""
    side = round(2 * half / gsd)
    canvas = np.full((side, side, 3), grey, np.uint8)
    return Ground(canvas, half, seed, np.full((side, side), label, np.uint8))


def scene_of(build=None, ground=None, appearance=None):
    """A scene of a ground and what `build(builder)` adds."""
    pytest.importorskip('embreex')
    builder = MeshBuilder()
    builder.add_ground()
    if build is not None:
        build(builder)
    return Scene(Mesh(builder), ground or plain(), Facades(0), appearance)


@pytest.fixture(scope='session')
def town():
    """A house, a tower, a crown and a car on grass with a road across."""
    side = 640
    canvas = np.full((side, side, 3), (90, 112, 62), np.uint8)
    classes = np.full((side, side), Label.GRASS, np.uint8)
    canvas[270:370] = 95
    classes[270:370] = Label.ROAD
    canvas[318:322] = 225
    classes[318:322] = Label.MARKING

    def build(builder):
        box(builder, (8, 6, 0), (18, 14, 9), Material.WALL, (200, 170, 140), roof=Material.ROOF)
        box(builder, (-14, 7, 0), (-9, 11, 14), Material.WALL, (180, 180, 170), roof=Material.ROOF)
        box(builder, (6, -3, 0.1), (10, -1.2, 1.5), Material.METAL, (40, 60, 150), Label.VEHICLE)
        angles = np.linspace(0, 2 * np.pi, 13)
        ring = np.stack([np.cos(angles), np.sin(angles)], -1) * 2 + (-6.0, -9.0)
        for (ax, ay), (bx, by) in pairwise(ring):
            fan = [
                [(ax, ay, 4), (bx, by, 4), (-6, -9, 6)],
                [(bx, by, 4), (ax, ay, 4), (-6, -9, 2)],
            ]
            builder.add(fan, Material.CROWN, (70, 100, 50), crown_center=(-6, -9, 4))

    return scene_of(build, Ground(canvas, 32.0, 0, classes))
