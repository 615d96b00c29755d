# SPDX-License-Identifier: Apache-2.0
"""The place map as the localizer sees it: geometry first, then the regressor, then a reason."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.place.records import Anchor
from geoloc_core.sources.rgbd.source import RgbdSource
from geoloc_core.types import PoseMeasurement, PosePrior, Status
from tests.sources.rgbd.rooms import camera_pose, place_of, Room, view_at

TRUTH = camera_pose(2.3, 2.2, 0.5)
T_MAP_PLACE = se3.from_xyz_rpy(10.0, 20.0, 1.0, 0.0, 0.0, np.pi / 2)


class Geometry:
    """Answers what it was told to."""

    def __init__(self, place, status, depth_fits=True):
        self.place = place
        self.status = status
        self.depth_fits = depth_fits
        self.asked = None

    def localize(self, view, prior, T_map_place):
        self.asked = T_map_place
        if self.status is not Status.OK:
            return PoseMeasurement(view.stamp_ns, self.status, ('3 features agree',))
        return PoseMeasurement(view.stamp_ns, Status.OK, T_map_base=np.eye(4), cov=np.eye(6))


class Guess:
    """A regressor that knows one pose, surer along x of the place than along y."""

    def __init__(self, status=Status.OK):
        self.status = status
        self.seen = None

    def localize(self, view, prior=None):
        self.seen = view
        if self.status is not Status.OK:
            return PoseMeasurement(view.stamp_ns, self.status, ('too wide',))
        cov = np.diag([0.01, 0.04, 0.09, 0.1, 0.2, 0.3])
        return PoseMeasurement(
            view.stamp_ns, Status.OK, T_map_base=se3.from_planar(1.0, 0.0, 0.0), cov=cov
        )


@pytest.fixture(scope='module')
def place():
    return place_of(Room(count=400))


def test_what_geometry_knows_is_not_guessed(place):
    source = RgbdSource(Geometry(place, Status.OK), Guess())
    measured = source.measure(view_at(TRUTH), None)
    assert 'guessed' not in ' '.join(measured.reasons)


def test_a_guess_is_carried_into_the_map_and_says_that_it_is_one(place):
    source = RgbdSource(Geometry(place, Status.NO_MAP), Guess(), T_MAP_PLACE)
    measured = source.measure(view_at(TRUTH), None)
    assert measured.status is Status.OK
    # x of the place is y of the map.
    np.testing.assert_allclose(measured.T_map_base[:3, 3], [10.0, 21.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(np.diag(measured.cov), [0.04, 0.01, 0.09, 0.2, 0.1, 0.3])
    assert measured.reasons == ('guessed by the regressor', 'geometry: 3 features agree')


def test_where_nobody_knows_both_say_why(place):
    source = RgbdSource(Geometry(place, Status.NO_MAP), Guess(Status.LOST))
    measured = source.measure(view_at(TRUTH), None)
    assert measured.status is Status.NO_MAP
    assert measured.T_map_base is None
    assert measured.reasons == ('geometry: 3 features agree', 'regressor: too wide')


def test_what_looks_alike_is_not_guessed(place):
    guess = Guess()
    measured = RgbdSource(Geometry(place, Status.AMBIGUOUS), guess).measure(view_at(TRUTH), None)
    assert measured.status is Status.AMBIGUOUS and measured.T_map_base is None
    assert guess.seen is None and 'regressor not asked' in measured.reasons[-1]


@pytest.mark.parametrize('fits', [True, False])
def test_depth_of_another_unit_is_kept_from_the_regressor(place, fits):
    view, guess = view_at(TRUTH, np.ones((144, 192), np.float32)), Guess()
    measured = RgbdSource(Geometry(place, Status.NO_MAP, fits), guess).measure(view, None)
    assert measured.status is Status.OK
    assert (guess.seen.depth is not None) == fits
    assert ('in another unit' in measured.reasons[-1]) == (not fits)


@pytest.mark.parametrize(
    ('away_m', 'aerial', 'believed'),
    [(0.4, object(), True), (9.0, object(), False), (9.0, None, True)],
)
def test_a_street_is_not_taken_for_the_place(place, away_m, aerial, believed):
    """Near the place the robot knows where it is to half a metre; the guess is at 10, 21, 1."""
    source = RgbdSource(Geometry(place, Status.NO_MAP), Guess(), T_MAP_PLACE)
    T = se3.from_xyz_rpy(10.0, 21.0 + away_m, 1.0, 0.0, 0.0, 0.0)
    prior = PosePrior(0, T, np.diag([0.5, 0.5, 2.0, 0.1, 0.1, 0.1]) ** 2)
    measured = source.measure(view_at(TRUTH), prior, None, aerial)
    assert measured.status is (Status.OK if believed else Status.NO_MAP)
    assert (measured.T_map_base is not None) == believed
    assert believed or measured.reasons[-1].startswith('regressor: 9.0 m from where')


def test_damaged_input_is_not_guessed_from(place):
    measured = RgbdSource(Geometry(place, Status.BAD_INPUT), Guess()).measure(view_at(TRUTH), None)
    assert measured.status is Status.BAD_INPUT


def test_a_place_on_the_earth_lies_where_its_anchor_says(place):
    from dataclasses import replace

    datum = Datum(49.0, 8.4, 110.0)
    tied = replace(place, anchor=Anchor(datum, 0.5), z_up=True)
    geometry = Geometry(tied, Status.OK)
    source = RgbdSource(geometry)
    source.measure(view_at(TRUTH), None, EnuFrame(datum))
    np.testing.assert_allclose(geometry.asked, se3.from_planar(0.0, 0.0, 0.5), atol=1e-6)
    with pytest.raises(ConfigError, match='datum'):
        source.measure(view_at(TRUTH), None)
    with pytest.raises(ConfigError, match='again'):
        RgbdSource(geometry, T_map_place=np.eye(4))


def test_a_place_that_is_nowhere_is_put_somewhere(place):
    geometry = Geometry(place, Status.OK)
    RgbdSource(geometry, T_map_place=T_MAP_PLACE).measure(view_at(TRUTH), None)
    np.testing.assert_array_equal(geometry.asked, T_MAP_PLACE)
    with pytest.raises(ConfigError, match='rigid'):
        RgbdSource(geometry, T_map_place=2 * np.eye(4))
