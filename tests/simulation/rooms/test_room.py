# SPDX-License-Identifier: Apache-2.0
"""Rooms: full of things to see, and walked without touching any of them."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.renderer import render
from geoloc_core.simulation.rooms.paths import room_trajectory
from geoloc_core.simulation.rooms.plan import clearance
from geoloc_core.simulation.rooms.room import make_room

pytest.importorskip('embreex')

KINECT = PinholeCamera(640, 480, 525.0, 525.0, 320.0, 240.0)


@pytest.fixture(scope='module')
def room():
    return make_room(1)


def ranges(scene, places, directions):
    """Distance (N, D) from places (N, 3) in directions (D, 3)."""
    origins = np.repeat(places, len(directions), axis=0)
    rays = np.tile(directions, (len(places), 1))
    return scene.cast(origins, rays, 0.01, 0.0).range_m.reshape(len(places), -1)


@pytest.mark.parametrize('seed', range(5))
def test_walks_touch_nothing_and_pass_through_nothing(seed):
    room = make_room(seed)
    scene = room.scene()
    walk = room_trajectory(room, 3, 900, rate_hz=10.0)
    xyz = walk.T_map_camera[:, :3, 3]
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    around = np.stack([np.cos(turn), np.sin(turn), np.zeros(16)], axis=-1)
    assert ranges(scene, xyz[::5], around).min() > 0.15
    # Nothing stands between one picture and the next.
    step = np.diff(xyz, axis=0)
    length = np.linalg.norm(step, axis=1)
    moving = length > 1e-4
    hits = scene.cast(xyz[:-1][moving], step[moving] / length[moving, None], 0.01, 0.0)
    assert (hits.range_m > length[moving] + 0.05).all()
    free = clearance(room.plan.free())
    column, row = room.plan.cell(xyz[:, :2]).T
    assert free[row, column].min() > 0.15
    # Every room of the flat is seen from within.
    for part in room.plan.rooms:
        x0, y0, x1, y1 = part.rect
        inside = (xyz[:, 0] > x0) & (xyz[:, 0] < x1) & (xyz[:, 1] > y0) & (xyz[:, 1] < y1)
        assert inside.any()


def test_motion_is_that_of_a_hand(room):
    walk = room_trajectory(room, 0, 900)
    T = walk.T_map_camera
    assert T.shape == (900, 4, 4) and all(se3.is_rigid(pose) for pose in T[::50])
    step = np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1)
    assert step.max() < 1.2 / 30
    assert 0.2 < step.mean() * 30 < 0.8
    turn = [np.linalg.norm(se3.log_rotation(a[:3, :3].T @ b[:3, :3])) for a, b in pairwise(T)]
    assert np.degrees(max(turn)) < 6.0
    # All six degrees of freedom are used, and up stays up: the image's y axis points down.
    assert T[:, 2, 3].std() > 0.03
    assert (T[:, 2, 1] < -0.5).all()


def test_training_and_query_walks_differ_and_seeds_decide(room):
    train, again, query = (room_trajectory(room, s, 300).T_map_camera for s in (1, 1, 2))
    np.testing.assert_array_equal(train, again)
    assert np.linalg.norm(train[:, :3, 3] - query[:, :3, 3], axis=1).mean() > 0.3
    other = make_room(1)
    np.testing.assert_array_equal(other.mesh.triangles, room.mesh.triangles)
    np.testing.assert_array_equal(other.mesh.rgb, room.mesh.rgb)
    assert len(make_room(2).mesh.triangles) != len(room.mesh.triangles)


def test_there_is_something_to_see(room):
    scene = room.scene()
    walk = room_trajectory(room, 1, 600)
    sift = cv2.SIFT_create()
    counts = []
    for i in range(0, 600, 100):
        view = render(scene, KINECT, walk.T_map_camera[i], noise_seed=i)
        counts.append(len(sift.detect(cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY), None)))
        assert 30 < view.image.mean() < 225
        indoors = view.labels == Label.INTERIOR
        assert indoors.mean() > 0.5
        assert np.nanmin(view.depth_m) > 0.1 and np.nanmax(view.depth_m[indoors]) < 12.0
    assert np.median(counts) > 300


def test_impossible_walks_are_named(room):
    with pytest.raises(ConfigError, match='frames'):
        room_trajectory(room, 0, 0)
