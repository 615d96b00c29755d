# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the hall: its zones, and a short drive of it."""

from types import SimpleNamespace

import numpy as np
import pytest

from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.geometry import se3
from geoloc_core.simulation.city.room import Frame
from geoloc_core.simulation.rooms.hall import make_hall
from tests.benchmarks.street_to_hall import ALLOWED_STEP_M, measure, zones


def test_the_door_is_on_both_sides_of_the_front():
    # The front leads south, so one drives in towards the east.
    hall = make_hall(1, Frame(np.array([50.0, 20.0]), np.array([0.0, -1.0])), (15, 11), 6.0, 7.0)
    x = [40.0, 46.0, 49.0, 51.0, 54.0, 57.0]
    truth = Trajectory.of((i, se3.from_planar(value, 20.0, 0.0)) for i, value in enumerate(x))
    found = zones(hall, SimpleNamespace(truth=truth), list(range(6)))
    assert found['street'].tolist() == [True] * 3 + [False] * 3
    assert found['inside'].tolist() == [False] * 3 + [True] * 3
    assert found['door'].tolist() == [False, True, True, True, True, False]


@pytest.mark.slow
def test_a_short_drive_from_the_street_into_the_hall(tmp_path):
    pytest.importorskip('embreex')
    figures = measure(tmp_path, 0, quick=True)
    found = figures['with_place']
    inside, door, street = (found[zone] for zone in ('inside', 'door', 'street'))
    assert inside['with_pose'] == inside['frames'] and inside['by_aerial'] == 0
    assert inside['by_place'] > 0.7 * inside['frames']
    assert inside['position_p95_m'] < 0.1 and street['position_median_m'] < 0.5
    assert street['by_aerial'] > 10
    # All three axes: whoever steers by the pose feels neither the door nor the height it brings.
    for zone in (street, door, inside):
        assert zone['largest_step_m'] < ALLOWED_STEP_M
        assert zone['largest_step_up_or_down_m'] < ALLOWED_STEP_M
    # Without the map of the hall there is nothing to measure in it that could be believed.
    assert figures['without_place']['inside']['by_place'] == 0
    assert figures['without_place']['inside']['position_p95_m'] > inside['position_p95_m']
    assert (tmp_path / 'with_place' / 'report.html').is_file()
