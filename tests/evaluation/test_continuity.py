# SPDX-License-Identifier: Apache-2.0
"""Corrections beyond odometry, with known answers."""

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.continuity import continuity_figures, corrections
from geoloc_core.geometry import se3


def test_driving_as_odometry_says_is_no_correction():
    odom = np.array([se3.from_planar(0.4 * i, 0.02 * i * i, 0.1 * i) for i in range(6)])
    T_map_odom = se3.from_xyz_rpy(30.0, -7.0, 2.0, 0.01, -0.02, 1.3)
    found = corrections(T_map_odom @ odom, odom)
    np.testing.assert_allclose(found.xyz, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.turn, 0.0, atol=1e-7)


def test_a_leap_is_seen_where_it_happens_and_only_there():
    odom = np.array([se3.from_planar(0.4 * i, 0.0, 0.0) for i in range(5)])
    estimates = odom.copy()
    # From the third answer on 0.3 m east, 0.4 m south, 1 m up, a tenth of a radian to the left.
    estimates[2:, :3, 3] += (0.3, -0.4, 1.0)
    estimates[2:] = [
        se3.make(se3.rotation_from_rpy(0.0, 0.0, 0.1) @ T[:3, :3], T[:3, 3]) for T in estimates[2:]
    ]
    found = corrections(estimates, odom)
    np.testing.assert_allclose(found.xyz[1], (0.3, -0.4, 1.0), atol=1e-12)
    np.testing.assert_allclose(found.horizontal_m[:2], (0.0, 0.5), atol=1e-12)
    np.testing.assert_allclose(found.turn[:2], (0.0, 0.1), atol=1e-7)
    figures = continuity_figures(found)
    assert figures['step_m_max'] == pytest.approx(0.5)
    assert figures['vertical_step_m_max'] == pytest.approx(1.0)
    assert figures['turn_deg_max'] == pytest.approx(np.degrees(0.1))


def test_what_is_not_known_is_left_out():
    odom = np.array([se3.from_planar(float(i), 0.0, 0.0) for i in range(4)])
    estimates = odom.copy()
    estimates[1] = np.nan
    found = corrections(estimates, odom)
    assert np.isnan(found.turn).tolist() == [True, True, False]
    nothing = continuity_figures(corrections(estimates[:1], odom[:1]))
    assert set(nothing.values()) == {None}
    with pytest.raises(InputError, match='expected'):
        corrections(estimates, odom[:2])
