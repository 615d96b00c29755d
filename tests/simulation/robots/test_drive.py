# SPDX-License-Identifier: Apache-2.0
"""Drives: pictures in order, whatever the number of workers."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.simulation.conditions.files import parse_conditions
from geoloc_core.simulation.conditions.settings import (
    AerialConditions,
    Conditions,
    GroundConditions,
)
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.robots.drive import make_drive, make_rig, sensor_models


@pytest.mark.parametrize('kind', ['pinhole', 'fisheye', 'panorama'])
def test_frames_come_in_order_and_do_not_depend_on_workers(small_world, kind):
    drive = make_drive(small_world, seed=1, duration=1.0, camera=kind, outage=None)
    one = list(drive.frames(workers=1))
    two = list(drive.frames(workers=2))
    assert [s for s, _ in one] == sorted(s for s, _ in two)
    assert len(one) == 4 == len(drive.frame_times())
    for (_, a), (_, b) in zip(one, two, strict=True):
        assert a.image.shape[:2] == (drive.rig.camera.height, drive.rig.camera.width)
        assert np.array_equal(a.image, b.image)
        assert 10 < a.image.mean() < 240


def test_unknown_camera_is_named():
    with pytest.raises(ConfigError, match='periscope'):
        make_rig('periscope')


def test_hard_drives_have_the_same_bytes_for_any_workers(small_world):
    drive = make_drive(
        small_world, seed=4, duration=0.8, robot='car', conditions=parse_conditions('hard'),
        sensors='hard', outage=None, depth=True,
    )  # fmt: skip
    one, three = (list(drive.frames(workers=n)) for n in (1, 3))
    assert len(one) == 4
    for (stamp, a), (other, b) in zip(one, three, strict=True):
        assert stamp == other
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.depth_m, b.depth_m)
    first, again = (make_drive(small_world, seed=4, duration=5.0, sensors='hard') for _ in '12')
    assert [f.lat_deg for f in first.fixes()] == [f.lat_deg for f in again.fixes()]


def test_depth_camera_sees_what_the_colour_camera_sees(small_world):
    drive = make_drive(small_world, seed=1, duration=0.3, outage=None, depth=True)
    _, frame = next(drive.frames(workers=1))
    camera = drive.rig.camera
    assert frame.depth_m.shape == (camera.height, camera.width)
    known = np.isfinite(frame.depth_m)
    near = np.isfinite(frame.truth.depth_m) & (frame.truth.depth_m < 10)
    assert known[near].mean() > 0.75
    assert not known[frame.truth.labels == Label.SKY].mean() > 0.02
    error = np.abs(frame.depth_m - frame.truth.depth_m)[known & near]
    assert np.median(error) < 0.04
    assert error.max() > 0
    with pytest.raises(ConfigError, match='pinhole'):
        make_drive(small_world, duration=1.0, camera='panorama', depth=True)


def test_conditions_of_nothing_change_nothing_but_the_map(small_world):
    """The preset 'none' flies on the very day of the drive."""
    plain = make_drive(small_world, seed=1, duration=0.3, outage=None)
    none = replace(plain, conditions=Conditions())
    a, b = (next(drive.frames(workers=1))[1] for drive in (plain, none))
    np.testing.assert_array_equal(a.image, b.image)
    assert none.flight.shift_m == (0.0, 0.0)


def test_tilt_turns_the_camera_and_not_the_truth(small_world):
    tilted = Conditions(GroundConditions(pitch_deg=(5.0, 5.0)), AerialConditions())
    plain = make_drive(small_world, seed=1, duration=0.3, outage=None)
    drive = replace(plain, conditions=tilted)
    a, b = (next(d.frames(workers=1))[1] for d in (plain, drive))
    np.testing.assert_allclose(a.T_map_base, b.T_map_base)
    # Looking 5 degrees further down, the same ground is 220 px * tan(5 deg) higher.
    sky = [(f.truth.labels == Label.SKY).any(axis=1).sum() for f in (a, b)]
    assert 12 <= sky[0] - sky[1] <= 30
    turned = drive.T_base_camera @ se3.inverse(drive.rig.T_base_camera)
    np.testing.assert_allclose(se3.rpy_from(turned), (0, np.radians(5), 0), atol=1e-9)
    np.testing.assert_allclose(drive.T_base_camera[:3, 3], drive.rig.T_base_camera[:3, 3])


def test_traffic_moves_and_keeps_clear_of_the_robot(small_world):
    busy = Conditions(GroundConditions(cars_per_km=(150, 150)), AerialConditions())
    drive = make_drive(
        small_world, seed=1, duration=30.0, outage=None, conditions=busy, robot='car'
    )
    scene = drive._scene()
    seen = 0
    for t in (5.0, 15.0, 25.0):
        T = drive.trajectory.at(t)
        moving = drive._with_traffic(scene, t, T)
        turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        rays = np.stack([np.cos(turn), np.sin(turn), np.full(90, -0.02)], axis=-1)
        origin = T[:3, 3] + (0, 0, 0.6)
        with_cars, without = (s.cast(origin, rays, 0.01, 0.0) for s in (moving, scene))
        hidden = with_cars.range_m < without.range_m - 1e-6
        assert (with_cars.label[hidden] == Label.VEHICLE).all()
        assert (with_cars.range_m[hidden] > drive.room_m - 0.5).all()
        seen += int(hidden.sum())
    assert seen > 0


def test_blur_and_exposure_follow_the_motion(small_world):
    shaky = Conditions(GroundConditions(motion_blur_px=(6.0, 6.0)), AerialConditions())
    drive = make_drive(small_world, seed=1, duration=40.0, outage=None, conditions=shaky)
    fast = float(drive.trajectory.t[np.argmax(drive.trajectory.speed)])
    assert drive._day_at(drive.day, 0.0).motion_blur_px < 1.0
    assert drive._day_at(drive.day, fast).motion_blur_px == pytest.approx(6.0, rel=0.3)


@pytest.mark.parametrize(('robot', 'height'), [('delivery', 0.15), ('pedestrian', 1.0)])
def test_robots_carry_their_cameras_at_their_height(small_world, robot, height):
    drive = make_drive(small_world, duration=2.0, robot=robot)
    T = drive.trajectory.at(1.0)
    assert T[2, 3] == pytest.approx(height)
    lens = (T @ drive.rig.T_base_camera)[2, 3]
    assert lens == pytest.approx({'delivery': 0.65, 'pedestrian': 1.55}[robot], abs=0.03)


def test_unknown_names_are_named(small_world):
    with pytest.raises(ConfigError, match='hovercraft'):
        make_drive(small_world, robot='hovercraft')
    with pytest.raises(ConfigError, match='dreadful'):
        sensor_models('dreadful')
