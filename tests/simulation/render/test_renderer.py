# SPDX-License-Identifier: Apache-2.0
"""Pictures with known answers."""

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, FisheyeCamera, PinholeCamera
from geoloc_core.simulation.mesh import Mesh, MeshBuilder
from geoloc_core.simulation.render.appearance import Light
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.render.renderer import render
from geoloc_core.simulation.render.scene import Scene
from geoloc_core.simulation.robots.drive import mounted
from tests.simulation.conftest import MARKER_RGB, MARKER_XY

PINHOLE = PinholeCamera(96, 64, 60.0, 55.0, 46.0, 33.0, (-0.05, 0.01, 0.001, -0.002, 0.0))
FISHEYE = FisheyeCamera(90, 70, 30.0, 31.0, 44.0, 36.0, (-0.01, 0.002, 0.0, 0.0))
PANORAMA = EquirectangularCamera(128, 64)


def wall_scene(world, light=None):
    """A wall across the x axis, 10 m east of the origin, 8 m high."""
    builder = MeshBuilder()
    builder.add_ground()
    builder.add_wall(np.array([10.0, -30.0]), np.array([10.0, 30.0]), 8.0, (200, 180, 160), 0)
    return Scene(Mesh(builder), world.ground, world.facades, light)


@pytest.mark.parametrize('camera', [PINHOLE, FISHEYE, PANORAMA], ids=lambda c: type(c).__name__)
def test_wall_at_ten_metres_has_that_depth(marked_world, camera):
    scene = wall_scene(marked_world)
    picture = render(scene, camera, mounted(0.0, 0.0, 1.5, 0.0))
    assert picture.image.shape == (camera.height, camera.width, 3)
    rays = camera.unproject(np.mgrid[0 : camera.height, 0 : camera.width][::-1].reshape(2, -1).T)
    rays = rays.reshape(camera.height, camera.width, 3)
    with np.errstate(invalid='ignore', divide='ignore'):
        wall = (picture.triangle >= 2) & (rays[..., 2] > 0.2)
    assert wall.sum() > 200
    np.testing.assert_allclose(picture.depth_m[wall], 10.0, atol=1e-5)
    np.testing.assert_allclose(picture.range_m[wall], 10.0 / rays[..., 2][wall], rtol=1e-6)
    ground = (picture.triangle >= 0) & (picture.triangle < 2)
    down = rays[..., 1][ground]
    np.testing.assert_allclose(picture.range_m[ground], 1.5 / down, rtol=1e-5)


def test_sky_has_no_range(marked_world):
    picture = render(wall_scene(marked_world), PINHOLE, mounted(-60.0, 0.0, 1.5, -30.0))
    sky = picture.triangle < 0
    assert sky.any()
    assert np.isnan(picture.range_m[sky]).all() and np.isnan(picture.depth_m[sky]).all()
    assert np.isfinite(picture.range_m[~sky]).all()


def test_a_camera_that_is_nowhere_takes_no_picture(marked_world):
    T = mounted(0.0, 0.0, 1.5, 0.0)
    T[0, 3] = np.nan
    with pytest.raises(InputError, match='not finite'):
        render(wall_scene(marked_world), PINHOLE, T)


@pytest.mark.parametrize('camera', [PINHOLE, FISHEYE, PANORAMA], ids=lambda c: type(c).__name__)
def test_marker_appears_where_the_camera_projects_it(marked_world, camera):
    x, y = MARKER_XY
    # Standing to the south-west, looking north, so that mirrored axes would be caught.
    T_map_base = se3.from_xyz_rpy(x - 1.5, y - 4.0, 0.2, 0.02, -0.03, np.pi / 2)
    T_map_camera = T_map_base @ mounted(0.3, 0.1, 1.4, 20.0)
    picture = render(marked_world.scene(), camera, T_map_camera)
    r, g, b = np.moveaxis(picture.image.astype(int), -1, 0)
    magenta = (r > 2 * g) & (b > 2 * g)
    assert magenta.sum() >= 8
    v, u = np.nonzero(magenta)
    middle = se3.transform(se3.inverse(T_map_camera), [[x, y, 0.0]])
    expected, valid = camera.project(middle)
    assert valid.all()
    np.testing.assert_allclose([u.mean(), v.mean()], expected[0], atol=1.6)
    assert MARKER_RGB[1] == 0


def test_same_seed_same_bytes_other_seed_other_noise(marked_world):
    scene = wall_scene(marked_world)
    T = mounted(0.0, 0.0, 1.5, 5.0)
    first, again, other = (render(scene, PINHOLE, T, noise_seed=s).image for s in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(first.astype(float) - other).mean() < 5.0


@pytest.mark.parametrize(('azimuth', 'dark_side'), [(0.0, -1), (np.pi, 1)])
def test_shadow_falls_away_from_the_sun(marked_world, azimuth, dark_side):
    """A tower at (0, 0): with the sun in the east its shadow lies west of it."""
    builder = MeshBuilder()
    builder.add_ground()
    corners = np.array([(-2.0, -2.0), (2.0, -2.0), (2.0, 2.0), (-2.0, 2.0)])
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        builder.add_wall(a, b, 10.0, (200, 200, 200), 0)
    light = Light(azimuth=azimuth, elevation=np.pi / 4)
    scene = Scene(Mesh(builder), marked_world.ground, marked_world.facades, light)
    x = np.array([-6.0, 6.0, -14.0, 14.0])
    points = np.stack([x, np.zeros(4), np.zeros(4)], axis=-1)
    up = np.tile([0.0, 0.0, 1.0], (4, 1))
    lit = scene.is_lit(points, up)
    assert lit.tolist() == [dark_side > 0, dark_side < 0, True, True]
    seen = scene.cast(points + 30.0 * up, -up, 0.1, 0.0).rgb.mean(axis=1)
    dark, bright = (seen[0], seen[1]) if dark_side < 0 else (seen[1], seen[0])
    assert dark < 0.6 * bright


def test_city_looks_like_a_street(small_world):
    """Every kind of surface is seen, and the road ahead is grey and not flat."""
    street = small_world.city.streets[0]
    xy, along = street.line.at(street.line.length / 2)
    right = np.array([along[1], -along[0]]) * 1.6
    T = se3.from_planar(*(xy + right), np.arctan2(along[1], along[0])) @ mounted(0, 0, 1.6, 10.0)
    scene = small_world.scene()
    picture = render(scene, PINHOLE.resized(192, 128), T)
    assert {Material.GROUND, Material.WALL} <= set(np.unique(scene.material_of(picture.triangle)))
    road = picture.image[110:126, 80:112].astype(float)
    assert np.ptp(road.mean(axis=(0, 1))) < 25
    assert 2.0 < road.std() < 60.0
