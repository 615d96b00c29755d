# SPDX-License-Identifier: Apache-2.0
"""Satellites and walls: what is hidden, what is mirrored, and where that pushes a fix."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.simulation.city import Building
from geoloc_core.simulation.robots.gnss import gnss_record, GnssModel
from geoloc_core.simulation.robots.gnss_sky import Constellation, Walls
from geoloc_core.simulation.robots.trajectory import Trajectory

FRAME = EnuFrame(Datum(49.0, 8.4, 110.0))


def block(center, size, height):
    """A house with sides along the axes."""
    half = np.array(size) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + center
    return Building(corners, height, 0.0, 0, (200, 200, 200), (90, 90, 90))


def street_canyon(south, north):
    """A street that runs east along y = 0, between two long houses of these heights."""
    return [block((0.0, -8.0 - 5), (400, 10), south), block((0.0, 9.0 + 5), (400, 10), north)]


def errors_of(frame, record):
    """Errors (F, 3) of fixes of a robot at the origin."""
    antenna = np.array([-0.4, 0.0, 1.5])
    places = [frame.enu_from_geodetic(f.lat_deg, f.lon_deg, f.alt_m) for f in record.fixes]
    return np.array(places) - antenna


def standing(seconds, xy=(0.0, 0.0)):
    """A robot that stands still."""
    t = np.arange(0.0, seconds, 0.01)
    xyz = np.tile([*xy, 0.3], (len(t), 1))
    zeros = np.zeros((len(t), 3))
    return Trajectory(t, xyz, zeros, np.zeros(len(t)), np.zeros(len(t)), zeros)


def direction(azimuth_deg, elevation_deg):
    """Unit vector to a satellite, azimuth as in the map frame (0 = east, 90 = north)."""
    a, e = np.radians([azimuth_deg, elevation_deg])
    return np.array([[np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)]])


def test_constellation_is_one_that_is_really_there():
    sky = Constellation(3, 49.0, 8.4)
    counts = []
    for t in np.arange(0.0, 43200.0, 1800.0):
        d = sky.directions(t)
        np.testing.assert_allclose(np.linalg.norm(d, axis=1), 1.0)
        up = d[d[:, 2] > np.sin(np.radians(10))]
        counts.append(len(up))
        # No orbit of 55 degrees comes near the pole, which stands 41 degrees away from zenith.
        elevation = np.degrees(np.arcsin(d[:, 2]))
        off_north = np.degrees(np.abs(np.arctan2(d[:, 0], d[:, 1])))
        assert not ((elevation > 25) & (elevation < 50) & (off_north < 15)).any()
    assert min(counts) >= 10 and max(counts) <= 24
    # They move slowly: less than a degree in a minute.
    turn = np.einsum('ij,ij->i', sky.directions(0.0), sky.directions(60.0))
    assert np.degrees(np.arccos(turn)).max() < 1.0


def test_wall_hides_up_to_its_edge_and_mirrors_by_the_formula():
    walls = Walls([block((0.0, -8.0 - 5), (100, 10), 20.0)])
    antenna = np.array([0.0, 0.0, 1.5])
    edge = np.degrees(np.arctan2(20.0 - 1.5, 8.0))
    assert walls.view(antenna, direction(-90, edge - 0.5)).blocked[0]
    assert not walls.view(antenna, direction(-90, edge + 0.5)).blocked[0]
    assert not walls.view(antenna, direction(90, 15.0)).blocked[0]
    # A satellite in the north is also heard over the wall in the south: 2 d cos(elevation).
    found = walls.view(antenna, direction(90, 30.0))
    assert found.excess_m[0] == pytest.approx(2 * 8.0 * np.cos(np.radians(30)), abs=1e-6)
    # Too high a satellite is mirrored over the roof, one behind the wall not at all.
    assert np.isnan(walls.view(antenna, direction(90, 75.0)).excess_m[0])
    assert np.isnan(walls.view(antenna, direction(-90, 30.0)).excess_m[0])


def test_reflection_must_not_pass_through_a_house():
    low = block((0.0, 4.0), (100, 1), 12.0)  # between antenna and the northern wall
    walls = Walls([*street_canyon(30.0, 30.0), low])
    antenna = np.array([0.0, 0.0, 1.5])
    assert np.isnan(walls.view(antenna, direction(-90, 40.0)).excess_m[0])


def test_open_field_has_no_multipath():
    model = GnssModel(std_m=2.0, multipath=True, correlated=0.0, outages=((5.0, 6.0),))
    record = gnss_record(standing(60.0), FRAME, model, 4)
    assert len(record.lost_ns) == 5 and len(record.fixes) == 295
    assert (record.reflected == 0).all() and (record.used >= 8).all()
    errors = errors_of(FRAME, record)
    assert np.abs(errors.mean(axis=0)[:2]).max() < 0.4
    horizontal = np.sqrt((errors[:, :2] ** 2).mean())
    assert horizontal == pytest.approx(2.0, rel=0.15)
    told = np.array([f.cov_enu for f in record.fixes])
    np.testing.assert_allclose(np.sqrt(told[:, 0, 0] + told[:, 1, 1]), 2 * np.sqrt(2), rtol=0.02)
    # Up is worse than east and north, as it always is.
    assert errors[:, 2].std() > errors[:, :2].std()


@pytest.mark.parametrize('blocking', ['south', 'north'])
def test_multipath_pushes_the_fix_away_from_the_wall_that_hides(blocking):
    """Ranges to satellites behind the high wall are too long: they seem farther than they are.

    Most satellites stand towards the equator, so each wall is tried in its own hemisphere. The
    wall across the street must be high enough to catch what comes over the other one.
    """
    heights = (24.0, 20.0) if blocking == 'south' else (20.0, 24.0)
    frame = FRAME if blocking == 'south' else EnuFrame(Datum(-49.0, 8.4, 110.0))
    model = GnssModel(std_m=0.5, multipath=True, smooth_walls=1.0)
    shifts = []
    for seed in range(12):
        record = gnss_record(standing(2.0), frame, model, seed, 0, street_canyon(*heights))
        if len(record.fixes) and record.reflected.max() > 0:
            shifts.append(errors_of(frame, record)[:, 1].mean())
    assert len(shifts) >= 3
    sign = 1.0 if blocking == 'south' else -1.0
    assert np.median(np.array(shifts) * sign) > 1.0


def test_few_satellites_give_no_fix():
    walls = [*street_canyon(80.0, 80.0), block((-9.0, 0.0), (2, 16), 80.0)]
    walls.append(block((9.0, 0.0), (2, 16), 80.0))
    model = GnssModel(multipath=True, smooth_walls=0.0)
    record = gnss_record(standing(2.0), FRAME, model, 1, 0, walls)
    assert not record.fixes and len(record.lost_ns) == 10


def test_covariance_is_honest_or_not():
    walls = street_canyon(25.0, 14.0)
    settings = dict(std_m=2.0, multipath=True, smooth_walls=1.0)
    honest = gnss_record(standing(20.0), FRAME, GnssModel(**settings), 3, 0, walls)
    bold = GnssModel(**settings, covariance='optimistic')
    optimistic = gnss_record(standing(20.0), FRAME, bold, 3, 0, walls)
    errors = errors_of(FRAME, honest)
    np.testing.assert_allclose(errors, errors_of(FRAME, optimistic), atol=1e-6)

    def normalized(record):
        cov = [f.cov_enu for f in record.fixes]
        assert all(np.linalg.eigvalsh(c).min() > 0 for c in cov)
        return np.mean([e @ np.linalg.solve(c, e) for e, c in zip(errors, cov, strict=True)]) / 3

    assert normalized(honest) < 2.0
    assert normalized(optimistic) > 3.0


def test_bad_models_are_named():
    with pytest.raises(ConfigError, match='covariance'):
        GnssModel(covariance='brave')
    with pytest.raises(ConfigError, match='std_m'):
        GnssModel(std_m=0.0)
