# SPDX-License-Identifier: Apache-2.0
"""Place maps out of parameters: frames, bundles, and what is refused before a robot drives."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import BundleError, ConfigError, MapError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.maps.place.file import save_place
from geoloc_core.maps.place.records import Anchor
from geoloc_core.messages.conversions import R_BODY_OPTICAL
from geoloc_core.runtime.descriptor_bundle import KIND
from geoloc_core.sources.joined import JoinedSource
from geoloc_core.types import PoseMeasurement, Status
from geoloc_ros import place_assembly
from geoloc_ros.assembly import build_localizer
from geoloc_ros.parameters import validated
from geoloc_ros.place_assembly import build_place
from tests.maps.place import room


@pytest.fixture(scope='module')
def place():
    from geoloc_core.maps.place.builder import build_place as build
    from geoloc_core.maps.place.builder import BuildConfig
    from geoloc_core.maps.place.sequence import MemorySequence

    frames = room.walk(room.walls(), 3)
    return build(MemorySequence('room', frames, z_up=True), BuildConfig(max_features=80))


@pytest.fixture
def params(place, tmp_path):
    """Makes parameters for a changed copy of the map."""

    def make(changes=None, **given):
        path = tmp_path / 'room.place'
        save_place(replace(place, **(changes or {})), path)
        dotted = {name.replace('__', '.'): value for name, value in given.items()}
        return validated({'place_map': str(path), **dotted})

    return make


def test_without_place_map_there_is_none():
    assert build_place(validated({})) is None
    assert build_localizer(validated({}))._source is None


@pytest.mark.parametrize('name', ['regressor.path', 'place.descriptor'])
def test_a_network_of_a_place_without_its_map_is_not_passed_over(name):
    with pytest.raises(ConfigError, match=f'{name} is bundle, place_map is empty'):
        build_place(validated({name: 'bundle'}))


def test_a_place_of_its_own_frame_takes_no_datum_from_fixes(params):
    localizer = build_localizer(params())
    assert isinstance(localizer._source, JoinedSource) and localizer._source.aerial is None
    assert localizer.config.datum.wait_for_datum and localizer.frame is None
    np.testing.assert_array_equal(localizer._source.place.T_map_place(None), np.eye(4))


def test_where_up_is_not_known_y_is_taken_for_down(params):
    T = build_place(params({'z_up': False})).T_map_place(None)
    np.testing.assert_array_equal(T, se3.make(R_BODY_OPTICAL, np.zeros(3)))
    np.testing.assert_allclose(T[:3, :3] @ [0, 1, 0], [0, 0, -1])


def test_a_place_on_the_earth_gives_the_map_frame_its_datum(params):
    anchor = Anchor(Datum(48.5, 9.25, 300.0), 0.3)
    localizer = build_localizer(params({'anchor': anchor}))
    assert localizer.frame.datum == anchor.datum
    assert not localizer.config.datum.wait_for_datum
    # A datum that is given is kept: the place lies elsewhere in it.
    given = params({'anchor': anchor}, datum__lat_deg=48.501, datum__lon_deg=9.25)
    localizer = build_localizer(given)
    assert localizer.config.datum.lat_deg == 48.501
    T = localizer._source.place.T_map_place(localizer.frame)
    assert T[1, 3] == pytest.approx(-111.2, abs=0.5)


def test_the_other_solver_can_be_chosen(params):
    pytest.importorskip('poselib')
    source = build_place(params(place__solver__pnp='poselib'))
    assert source.localizer.config.solver.pnp == 'poselib'


def test_settings_reach_the_localizer(params):
    source = build_place(params(place__min_inliers=33, place__floor_m=0.02))
    assert source.localizer.config.min_inliers == 33
    assert source.localizer.config.floor_m == 0.02
    joined = build_localizer(params(place__reach_m=7.0))._source
    assert joined.config.reach_m == 7.0


def test_the_regressor_is_asked_where_geometry_refuses(params, monkeypatch):
    asked = {}

    class Regressor:
        engine = None

        def __init__(self, bundle, config, place, engine):
            asked.update(bundle=bundle, place=place, max_std_m=config.max_std_m)

        def localize(self, view, prior=None):
            T = se3.from_planar(1.0, 2.0, 0.0)
            return PoseMeasurement(view.stamp_ns, Status.OK, T_map_base=T, cov=np.eye(6))

    monkeypatch.setattr(place_assembly, 'load_pose_bundle', lambda path: f'opened {path}')
    monkeypatch.setattr(place_assembly, 'PoseRegressor', Regressor)
    source = build_place(params(regressor__path='vmloc', regressor__max_std_m=0.7))
    assert asked == {'bundle': 'opened vmloc', 'place': 'room', 'max_std_m': 0.7}
    known = source.measure(room.walk(room.walls(), 1)[0].view, None)
    assert known.status is Status.OK and known.reasons[0].startswith('found by colour and depth')
    stranger = room.posed(room.walls(seed=5), 2.3, 1.9, 0.1, name='elsewhere').view
    guessed = source.measure(stranger, None)
    assert guessed.status is Status.OK and guessed.reasons[0] == 'guessed by the regressor'
    assert guessed.reasons[1].startswith('geometry: ')
    np.testing.assert_array_equal(guessed.T_map_base[:2, 3], [1.0, 2.0])


@pytest.mark.parametrize(
    ('given', 'error', 'text'),
    [
        ({'place__xyz': [1.0, 2.0, 3.0]}, ConfigError, 'give both wholly'),
        ({'map__path': 'city.tif'}, ConfigError, 'not tied to the Earth'),
        ({'map__path': 'city.tif', 'place__xyz': [0.0] * 3, 'place__rpy': [0.0] * 3},
         ConfigError, 'datum'),
        ({'place__descriptor': 'absent'}, BundleError, 'absent'),
        ({'regressor__path': 'absent'}, BundleError, 'absent'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(params, given, error, text):
    with pytest.raises(error, match=text):
        build_place(params(**given))


def test_a_map_of_another_network_or_version_is_refused(params):
    with pytest.raises(ConfigError, match='place\\.descriptor'):
        build_place(params({'global_kind': KIND, 'global_arrays': {'x': np.zeros(3, np.uint8)}}))
    with pytest.raises(MapError, match='not known'):
        build_place(params({'global_kind': 'of tomorrow'}))
