# SPDX-License-Identifier: Apache-2.0
"""Which map is asked where: the place first, the aerial map behind it."""

from types import SimpleNamespace

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.sources.joined import JoinedConfig, JoinedSource
from geoloc_core.types import PoseMeasurement, PosePrior, Status

FRAME = EnuFrame(Datum(48.0, 9.0, 300.0))
VIEW = SimpleNamespace(stamp_ns=7)
# The place's origin lies 100 m east in the map frame and is turned: its x axis points north.
T_MAP_PLACE = se3.from_planar(100.0, 0.0, np.pi / 2, 5.0)


class Place:
    """Knows keyframes along its x axis, 0 to 10 m."""

    def __init__(self, status, z_up=True):
        poses = np.tile(np.eye(4), (11, 1, 1))
        poses[:, 0, 3] = np.arange(11)
        self.localizer = SimpleNamespace(place=SimpleNamespace(poses=poses, z_up=z_up))
        self.status, self.asked = status, 0

    def T_map_place(self, frame):
        return T_MAP_PLACE

    def measure(self, view, prior, frame, map_source):
        self.asked += 1
        return PoseMeasurement(view.stamp_ns, self.status, ('said by the place',))


class Aerial:
    def __init__(self, status=Status.OK):
        self.status, self.asked = status, 0

    def measure(self, view, prior, frame, map_source):
        self.asked += 1
        return PoseMeasurement(view.stamp_ns, self.status, ('said by the aerial map',))


def prior_at(x, y, z=5.0, std=0.5):
    return PosePrior(7, se3.from_planar(x, y, 0.0, z), np.eye(6) * std**2)


def asked(place, aerial, prior, **config):
    return JoinedSource(place, aerial, JoinedConfig(**config)).measure(
        VIEW, prior, FRAME, object()
    )


def test_inside_the_place_is_asked_alone():
    place, aerial = Place(Status.OK), Aerial()
    assert asked(place, aerial, prior_at(100.0, 5.0)).reasons == ('said by the place',)
    assert (place.asked, aerial.asked) == (1, 0)


def test_where_the_place_refuses_the_aerial_map_answers_and_both_say_why():
    place, aerial = Place(Status.NO_MAP), Aerial()
    found = asked(place, aerial, prior_at(100.0, 5.0))
    assert found.status is Status.OK
    assert found.reasons == ('said by the aerial map', 'place: said by the place')


@pytest.mark.parametrize(
    ('y', 'std', 'aerial_asked'),
    [(5.0, 0.1, False), (5.0, 0.5, True), (11.2, 0.1, False), (12.0, 0.1, True)],
)
def test_under_a_roof_who_knows_himself_does_not_ask_the_aerial_map(y, std, aerial_asked):
    place, aerial = Place(Status.NO_MAP), Aerial()
    found = asked(place, aerial, prior_at(100.0, y, std=std))
    assert (place.asked, aerial.asked) == (1, int(aerial_asked))
    assert found.status is (Status.OK if aerial_asked else Status.NO_MAP)
    if not aerial_asked:
        assert found.reasons[0] == 'said by the place' and 'known to 0.10 m' in found.reasons[1]


@pytest.mark.parametrize(
    ('x', 'y', 'near'),
    [(100.0, 10.0, True), (100.0, 22.0, True), (100.0, 40.0, False), (85.0, 0.0, True),
     (120.0, 0.0, False), (110.0, 0.0, True)],
)  # fmt: skip
def test_far_away_the_place_is_not_looked_for(x, y, near):
    # With the place's frame turned the wrong way its far end would lie elsewhere.
    place, aerial = Place(Status.OK), Aerial()
    asked(place, aerial, prior_at(x, y, std=0.1))
    assert (place.asked, aerial.asked) == ((1, 0) if near else (0, 1))


def test_who_does_not_know_well_where_he_is_looks_for_the_place():
    place = Place(Status.OK)
    asked(place, Aerial(), prior_at(150.0, 0.0, std=15.0))
    assert place.asked == 1
    # Heights outside are known badly: they do not count where z is up.
    asked(place, Aerial(), prior_at(100.0, 0.0, z=500.0, std=0.1))
    assert place.asked == 2
    place = Place(Status.OK, z_up=False)
    asked(place, Aerial(), prior_at(100.0, 0.0, z=500.0, std=0.1))
    assert place.asked == 0


@pytest.mark.parametrize('missing', ['prior', 'frame', 'map_source', 'aerial'])
def test_without_what_the_aerial_map_needs_the_place_answers_for_both(missing):
    place, aerial = Place(Status.NO_MAP), Aerial()
    given = {'prior': prior_at(500.0, 0.0), 'frame': FRAME, 'map_source': object()}
    given |= {missing: None} if missing in given else {}
    joined = JoinedSource(place, None if missing == 'aerial' else aerial)
    found = joined.measure(VIEW, given['prior'], given['frame'], given['map_source'])
    assert found.status is Status.NO_MAP and found.reasons == ('said by the place',)
    assert (place.asked, aerial.asked) == (1, 0)
