# SPDX-License-Identifier: Apache-2.0
"""Movers join a scene for a moment: nearest wins, they cast shadows, and the rest stays."""

import numpy as np
import pytest

from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.simulation.mesh import Mesh, MeshBuilder
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.render.renderer import render
from geoloc_core.simulation.robots.drive import mounted
from tests.simulation.render.conftest import box

CAMERA = PinholeCamera(96, 64, 50.0, 50.0, 47.5, 31.5)
POSE = mounted(-4.0, -2.0, 1.4, 4.0)


@pytest.fixture(scope='module')
def bus():
    builder = MeshBuilder()
    box(builder, (2, -3, 0.1), (4, 1, 2.6), Material.METAL, (200, 160, 30), Label.VEHICLE)
    return Mesh(builder)


def test_mover_hides_what_is_behind_with_exact_depth(town, bus):
    empty = render(town, CAMERA, POSE)
    busy_scene = town.with_traffic(bus)
    busy = render(busy_scene, CAMERA, POSE)
    first = empty.triangle.max() + 1
    changed = busy.triangle != empty.triangle
    assert changed.sum() > 200
    assert (busy.labels[changed] == Label.VEHICLE).all()
    assert (busy.triangle[changed] >= first).all()
    front = changed & (abs(busy.depth_m - 6.0) < 0.4)
    assert front.sum() > 100
    assert set(np.unique(busy_scene.material_of(busy.triangle)[changed])) == {Material.METAL}
    # Nothing else moved, and the first scene has not learned of it.
    assert np.array_equal(busy.depth_m[~changed], empty.depth_m[~changed], equal_nan=True)
    again = render(town, CAMERA, POSE)
    assert np.array_equal(again.image, empty.image)
    assert np.array_equal(render(busy_scene.with_traffic(None), CAMERA, POSE).image, empty.image)


def test_mover_behind_a_house_is_not_seen(town):
    builder = MeshBuilder()
    box(builder, (20, 8, 0), (22, 11, 2), Material.METAL, (200, 0, 0), Label.VEHICLE)
    pose = mounted(0.0, 10.0, 1.5, 0.0)
    empty, busy = (
        render(town, CAMERA, pose),
        render(town.with_traffic(Mesh(builder)), CAMERA, pose),
    )
    hidden = empty.labels == Label.BUILDING
    assert hidden.sum() > 300
    assert np.array_equal(busy.triangle[hidden], empty.triangle[hidden])


def test_mover_casts_a_shadow(town, bus):
    sun = town.light.direction
    shade = np.array([3.0, -1.0, 0.0]) - 2.0 * sun / sun[2]
    places = np.array([[*shade[:2], 0.0], [0.0, 20.0, 0.0]])
    up = np.tile([0.0, 0.0, 1.0], (2, 1))
    assert town.is_lit(places, up).tolist() == [True, True]
    assert town.with_traffic(bus).is_lit(places, up).tolist() == [False, True]
