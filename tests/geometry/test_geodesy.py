# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor
import math
import pickle

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pyproj
import pytest

from geoloc_core.errors import InputError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, distance_m, EnuFrame, T_between

# Places where other ways of making metres break, beside an ordinary one.
PLACES = {
    'karlsruhe': (49.0, 8.4, 115.0),
    'antimeridian_west': (51.88, 179.9999, 30.0),
    'antimeridian_east': (-16.8, -179.9999, 5.0),
    'antimeridian': (65.0, 180.0, 0.0),
    'equator': (0.0, 36.8, 1700.0),
    'equator_and_greenwich': (0.0, 0.0, 0.0),
    'zone_border_31_32': (48.0, 6.0, 300.0),
    'svalbard': (78.2, 21.0, 10.0),
    'north_84': (84.0, -40.0, 20.0),
    'north_89_99': (89.99, 10.0, 0.0),
    'south': (-77.85, 166.67, 40.0),
}
everywhere = pytest.mark.parametrize('place', PLACES.values(), ids=PLACES.keys())


def enu_by_hand(lat, lon, alt, datum):
    """Textbook formulas: geodetic -> ECEF -> rotation to the datum's axes."""

    def ecef(lat, lon, alt):
        a, f = 6378137.0, 1 / 298.257223563
        e2 = f * (2 - f)
        phi, lam = np.deg2rad(lat), np.deg2rad(lon)
        n = a / np.sqrt(1 - e2 * np.sin(phi) ** 2)
        return np.stack(
            [
                (n + alt) * np.cos(phi) * np.cos(lam),
                (n + alt) * np.cos(phi) * np.sin(lam),
                (n * (1 - e2) + alt) * np.sin(phi),
            ],
            axis=-1,
        )

    phi, lam = math.radians(datum.lat_deg), math.radians(datum.lon_deg)
    east = [-math.sin(lam), math.cos(lam), 0]
    north = [-math.sin(phi) * math.cos(lam), -math.sin(phi) * math.sin(lam), math.cos(phi)]
    up = [math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)]
    delta = ecef(lat, lon, alt) - ecef(datum.lat_deg, datum.lon_deg, datum.alt_m)
    return delta @ np.array([east, north, up]).T


@everywhere
def test_there_and_back(place):
    frame = EnuFrame(Datum(*place))
    xyz = np.random.default_rng(0).uniform(-5000, 5000, (50, 40, 3)) * [1, 1, 0.02]
    lat, lon, alt = frame.geodetic_from_enu(xyz)
    assert lat.shape == (50, 40) and lat.dtype == np.float64
    assert np.all(np.abs(lon) <= 180) and np.all(np.abs(lat) <= 90)
    np.testing.assert_allclose(frame.enu_from_geodetic(lat, lon, alt), xyz, atol=2e-6)


@everywhere
def test_matches_textbook_formulas(place):
    datum = Datum(*place)
    rng = np.random.default_rng(1)
    # The stretch of longitude grows towards the poles; stay a few km around.
    lat = np.clip(datum.lat_deg + rng.uniform(-0.04, 0.04, 200), -90, 90)
    lon = datum.lon_deg + rng.uniform(-0.04, 0.04, 200)
    alt = datum.alt_m + rng.uniform(-50, 50, 200)
    expected = enu_by_hand(lat, lon, alt, datum)
    np.testing.assert_allclose(
        EnuFrame(datum).enu_from_geodetic(lat, lon, alt), expected, atol=1e-6
    )


@everywhere
def test_directions_and_distances(place):
    frame = EnuFrame(Datum(*place))
    lat_0, lon_0, alt_0 = place
    geod = pyproj.Geod(ellps='WGS84')
    for azimuth, sign in ((0, (0, 1)), (90, (1, 0)), (180, (0, -1)), (270, (-1, 0))):
        lon, lat, _ = geod.fwd(lon_0, lat_0, azimuth, 100.0)
        x, y, z = frame.enu_from_geodetic(lat, lon, alt_0)
        scale = 1 + alt_0 / 6.37e6
        np.testing.assert_allclose([x, y], np.array(sign) * 100.0 * scale, atol=2e-3)
        assert z == pytest.approx(-(100.0**2) / (2 * 6.37e6), abs=2e-4)  # the Earth curves away
        assert distance_m(lat_0, lon_0, lat, lon) == pytest.approx(100.0, abs=1e-6)


@everywhere
def test_the_datum_is_the_origin(place):
    frame = EnuFrame(Datum(*place))
    np.testing.assert_allclose(frame.enu_from_geodetic(*place), [0, 0, 0], atol=1e-8)
    up = frame.enu_from_geodetic(place[0], place[1], place[2] + 12.5)
    np.testing.assert_allclose(up, [0, 0, 12.5], atol=1e-8)


def test_longitudes_wrap():
    frame = EnuFrame(Datum(51.88, 179.9999))
    a = frame.enu_from_geodetic(51.88, -179.9999, 0.0)
    b = frame.enu_from_geodetic(51.88, 180.0001, 0.0)
    c = frame.enu_from_geodetic(51.88, 180.0001 + 720, 0.0)
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(a, c, atol=1e-6)
    assert 13 < a[0] < 15  # 0.0002 degrees of longitude, eastwards, not once around the world


def test_no_jump_at_a_zone_border():
    frame = EnuFrame(Datum(48.0, 6.0))
    x = frame.enu_from_geodetic(48.0, 6.0 + np.array([-1e-6, 0, 1e-6]), 0.0)[:, 0]
    np.testing.assert_allclose(np.diff(x), [0.0746, 0.0746], atol=1e-3)


def test_float64_is_kept():
    frame = EnuFrame(Datum(49.0123456789, 8.4123456789, 115.25))
    step = frame.enu_from_geodetic(49.0123456789 + 1e-9, 8.4123456789, 115.25)
    assert step[1] == pytest.approx(1.112e-4, rel=1e-3)


def test_unknown_height_leaves_the_plane_alone():
    frame = EnuFrame(Datum(49.0, 8.4, 100.0))
    xyz = frame.enu_from_geodetic([49.001, 49.001], 8.401, [np.nan, 100.0])
    np.testing.assert_array_equal(xyz[0, :2], xyz[1, :2])
    assert np.isnan(xyz[0, 2])


@pytest.mark.parametrize('lat', [np.nan, np.inf, 90.5, -1000.0])
def test_impossible_latitudes_give_nan_not_numbers(lat):
    frame = EnuFrame(Datum(49.0, 8.4))
    xyz = frame.enu_from_geodetic([lat, 49.0], 8.4, 0.0)
    assert np.isnan(xyz[0]).all() and np.isfinite(xyz[1]).all()
    assert np.isnan(frame.enu_from_geodetic(49.0, np.inf, 0.0)).all()
    assert np.isnan(frame.geodetic_from_enu([np.nan, 0, 0])).all()


@pytest.mark.parametrize(
    'place', [(np.nan, 0, 0), (0, np.inf, 0), (0, 0, np.nan), (91, 0, 0), (8.4, 249.0, 0)]
)
def test_a_datum_off_earth_is_refused(place):
    with pytest.raises(InputError, match='datum'):
        Datum(*place)


def test_frames_are_values_that_travel():
    frame = EnuFrame(Datum(49.0, 8.4, 1.0))
    frame.enu_from_geodetic(49.0, 8.4, 1.0)
    twin = EnuFrame(Datum(49.0, 8.4, 1.0))
    assert frame == twin and hash(frame) == hash(twin)
    copy = pickle.loads(pickle.dumps(frame))
    np.testing.assert_array_equal(
        copy.enu_from_geodetic(49.01, 8.41, 1.0), frame.enu_from_geodetic(49.01, 8.41, 1.0)
    )


def test_threads_share_a_frame():
    frame = EnuFrame(Datum(49.0, 8.4, 115.0))
    xyz = np.random.default_rng(2).uniform(-1000, 1000, (2000, 3))

    def there_and_back(_):
        return frame.enu_from_geodetic(*frame.geodetic_from_enu(xyz))

    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(there_and_back, range(32)):
            np.testing.assert_allclose(result, xyz, atol=1e-6)


@everywhere
def test_convergence_is_where_true_north_lies(place):
    frame = EnuFrame(Datum(*place))
    lat, lon, alt = frame.geodetic_from_enu([4000.0, 700.0, 0.0])
    if lat > 89.9:
        step = 1e-6  # the step north must not cross the pole
    else:
        step = 1e-5
    ahead = frame.enu_from_geodetic(lat + step, lon, alt)
    here = frame.enu_from_geodetic(lat, lon, alt)
    direction = math.atan2(ahead[1] - here[1], ahead[0] - here[0]) - math.pi / 2
    assert math.sin(frame.convergence(lat, lon) - direction) == pytest.approx(0, abs=2e-4)


def test_convergence_grows_towards_the_pole():
    lat, lon, _ = EnuFrame(Datum(84.0, 0.0)).geodetic_from_enu([5600.0, 0.0, 0.0])
    assert EnuFrame(Datum(84.0, 0.0)).convergence(lat, lon) == pytest.approx(
        math.radians(0.48), abs=math.radians(0.02)
    )
    assert EnuFrame(Datum(0.0, 0.0)).convergence(0.0, 0.1) == pytest.approx(0.0, abs=1e-12)


def test_between_two_frames_a_place_stays_the_same_place():
    old, new = EnuFrame(Datum(49.0, 8.4, 115.0)), EnuFrame(Datum(49.002, 8.401, 110.0))
    T, xyz = T_between(old, new), np.array([30.0, -40.0, 5.0])
    assert se3.is_rigid(T, 1e-9)
    there = new.enu_from_geodetic(*old.geodetic_from_enu(xyz))
    np.testing.assert_allclose(se3.transform(T, xyz), there, atol=1e-6)
    # The new origin lies north-east of the old one: what was at 0, 0 is now south-west.
    assert T[0, 3] < -70.0 and T[1, 3] < -220.0 and T[2, 3] == pytest.approx(5.0, abs=0.01)


def test_distance_broadcasts_and_crosses_the_antimeridian():
    d = distance_m([0.0, 0.0], 179.9999, 0.0, [-179.9999, 179.9999])
    np.testing.assert_allclose(d, [22.264, 0.0], atol=1e-3)


@given(st.floats(-84, 84), st.floats(-180, 180), st.floats(-0.02, 0.02), st.floats(-0.02, 0.02))
def test_chords_are_geodesics_at_short_range(lat, lon, d_lat, d_lon):
    xyz = EnuFrame(Datum(lat, lon)).enu_from_geodetic(lat + d_lat, lon + d_lon, 0.0)
    expected = float(distance_m(lat, lon, lat + d_lat, lon + d_lon))
    assert np.linalg.norm(xyz) == pytest.approx(expected, abs=1e-4, rel=1e-6)
