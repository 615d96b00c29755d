# SPDX-License-Identifier: Apache-2.0
"""From the street into a hall: where the robot goes, and what its receiver hears there."""

import numpy as np
import pytest

from geoloc_core.simulation.robots.hall_drive import make_hall_drives
from geoloc_core.simulation.rooms.hall import DOOR_M, ISLAND_M
from geoloc_core.simulation.world import make_world

HALF_ROBOT_M = 0.42


@pytest.fixture(scope='module')
def both():
    pytest.importorskip('embreex')
    world = make_world(0, half_extent=110.0, blocks=2, ground_gsd=0.5)
    return make_hall_drives(world, seed=0, street_s=15.0)


def uv_of(both, drive):
    return both.hall.own(drive.trajectory.xyz[:, :2])


def test_it_goes_in_and_out_through_the_door_and_meets_nothing(both):
    # The survey ends inside.
    for drive, passages in ((both.drive, 2), (both.survey, 1)):
        uv = uv_of(both, drive)
        inside = both.hall.is_inside(drive.trajectory.xyz[:, :2])
        crossings = np.flatnonzero(np.diff(inside.astype(int)))
        assert len(crossings) == passages and not inside[0]
        assert (np.abs(uv[crossings, 0]) < DOOR_M[0] / 2 - HALF_ROBOT_M).all()
        within = uv[inside]
        length, depth = both.hall.size
        # Furniture stands no deeper than this before the walls.
        assert np.abs(within[:, 0]).max() < length / 2 - 0.95 - HALF_ROBOT_M
        assert within[:, 1].max() < depth - 0.95 - HALF_ROBOT_M
        for island in both.hall.islands:
            away = np.abs(within - island) - ISLAND_M
            assert (away.max(axis=1) > HALF_ROBOT_M).all()
        assert drive.trajectory.speed[0] == pytest.approx(0.0, abs=0.15)
        assert drive.trajectory.speed[-1] == pytest.approx(0.0, abs=0.15)
        assert drive.trajectory.speed.max() <= 1.65


def test_it_comes_along_the_street_first(both):
    uv = uv_of(both, both.drive)
    np.testing.assert_allclose(uv[0, 1], -both.hall.pavement_m, atol=1.2)
    assert 15.0 < abs(uv[0, 0]) < 15.0 * 1.7 + 5.0
    # Facing the way it goes.
    trajectory = both.drive.trajectory
    k = int(np.argmax(trajectory.speed > 1.0))
    step = trajectory.xyz[k + 50, :2] - trajectory.xyz[k, :2]
    facing = np.array([np.cos(trajectory.rpy[k, 2]), np.sin(trajectory.rpy[k, 2])])
    assert step @ facing > 0.98 * np.linalg.norm(step)


def test_survey_goes_along_its_lanes_both_ways(both):
    trajectory = both.survey.trajectory
    uv = uv_of(both, both.survey)
    outer, near, far = both.hall.lanes
    turn = np.arctan2(both.hall.frame.along[1], both.hall.frame.along[0])
    heading = trajectory.rpy[:, 2] - turn
    for u in (-outer, 0.0, outer):
        lane = (np.abs(uv[:, 0] - u) < 0.3) & (uv[:, 1] > near + 1.5) & (uv[:, 1] < far - 1.5)
        inward = np.sin(heading[lane])
        assert (inward > 0.9).any() and (inward < -0.9).any()


def test_satellites_are_silent_under_the_roof_and_weaker_at_the_wall(both):
    drive = both.drive
    start = drive.start_ns

    def at(stamps):
        times = (np.array(stamps) - start) * 1e-9
        return drive.trajectory.sample(drive.trajectory.xyz, times)[:, :2]

    heard = at([fix.stamp_ns for fix in drive.fixes()])
    lost = at(drive.outage_stamps())
    # The antenna is 0.2 m behind base_link.
    assert not both.hall.is_inside(heard)[np.abs(both.hall.own(heard)[:, 1]) > 0.3].any()
    assert both.hall.is_inside(lost).mean() > 0.9
    std = np.array([np.sqrt(np.trace(fix.cov_enu[:2, :2])) for fix in drive.fixes()])
    v = both.hall.own(heard)[:, 1]
    assert np.median(std[v > -2.0]) > 1.15 * np.median(std[v < -6.5])
