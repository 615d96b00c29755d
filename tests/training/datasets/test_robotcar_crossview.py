# SPDX-License-Identifier: Apache-2.0
import pickle

import cv2
import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.formats import robotcar
from geoloc_core.formats.robotcar_aerial import latlon_from_utm, Tie, utm_from_latlon
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.layouts.robotcar import RobotCarWriter
from tests.training.datasets.compass import assert_compass, PLACES, write_compass
from training.datasets.base import UnreadableError
from training.datasets.robotcar_crossview import RobotCarCrossView

SPLITS = ('train', 'validation', 'test')
PLACE = (620000.25, 5735500.5)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """(root, shots) of the compass plain in RobotCar's cross-view layout."""
    pytest.importorskip('embreex')
    root = tmp_path_factory.mktemp('robotcar')
    return root, write_compass(RobotCarWriter(root), size=(240, 160), places=PLACES[:2])


@pytest.fixture
def tree(tmp_path):
    """One test place by hand, and a small grey aerial picture around it."""
    east, north = PLACE
    name = f'2015-08-14-14-54-57/ground/{east}_{north}.png'
    (tmp_path / name).parent.mkdir(parents=True)
    cv2.imwrite(str(tmp_path / name), np.full((80, 120, 3), 90, np.uint8))
    (tmp_path / 'test1_j.txt').write_text(f'{name} x/satellite/y.png {east} {north}')
    for other in ('test2_j.txt', 'test3_j.txt'):
        (tmp_path / other).write_text('')
    np.save(tmp_path / 'test_yaw.npy', np.array([np.pi / 2]))
    write_control(tmp_path, east - 50, north + 60)
    picture = np.full((1400, 1300, 3), 120, np.uint8)
    cv2.imwrite(str(tmp_path / robotcar.AERIAL_NAME), picture)
    return tmp_path


def write_control(root, east, north, gsd=0.1, turn_deg=None):
    """Points whose upper left corner is at a UTM place, for a picture that is north-up."""
    if turn_deg is None:
        lat, lon = latlon_from_utm(np.array([east, north]))
        # Grid north lies east of true north here: true east is turned by this in UTM.
        a, b = utm_from_latlon(np.array([lat, lat]), np.array([lon - 1e-4, lon + 1e-4]))
        turn_deg = np.degrees(np.arctan2(b[1] - a[1], b[0] - a[0]))
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    lines = []
    for column, row in ((0, 0), (1000, 0), (0, 900), (700, 800)):
        x, y = column * gsd, -row * gsd
        lines.append(f'{east + c * x - s * y} {north + s * x + c * y} {column} {row}')
    (root / robotcar.CONTROL_NAME).write_text('# by hand\n' + '\n'.join(lines))


# ---- the real lists ----


def course_against_yaw(data):
    """(N,) rad: course of successive real places, in UTM, less the lists' yaw taken as ours."""
    names = np.array([key.split('/')[0] for key in data.keys])
    stamps = np.array([data._stamps[i] for i in range(len(data))])
    yaw = angles.yaw_from_robotcar_list(data._yaws)
    found = []
    for name in np.unique(names):
        one = np.flatnonzero(names == name)
        one = one[np.argsort(stamps[one])]
        step, dt = np.diff(data.utm[one], axis=0), np.diff(stamps[one]) * 1e-9
        length = np.hypot(*step.T)
        moving = (dt < 3) & (length > 2) & (length < 15)
        # The chord of an arc points half-way between its ends.
        mean = np.angle(np.exp(1j * yaw[one[:-1]]) + np.exp(1j * yaw[one[1:]]))
        found.append(angles.difference(np.arctan2(step[:, 1], step[:, 0]), mean)[moving])
    return np.concatenate(found)


@pytest.mark.parametrize(
    ('split', 'count'), [('train', 17067), ('validation', 1698), ('test', 5089)]
)
def test_real_yaw_is_the_direction_of_motion_from_true_north(real_data, tmp_path, split, count):
    data = RobotCarCrossView(tmp_path, split, lists=real_data('crossview_labels', 'oxford'))
    assert len(data) == count and len(set(data.keys)) == count
    error = np.degrees(course_against_yaw(data))
    assert len(error) > 0.9 * count
    # UTM's north is not true north: what is left of the course is the convergence, 1.37 degrees.
    lat, lon = latlon_from_utm(data.utm.mean(axis=0))
    convergence = (lon + 3.0) * np.sin(np.radians(lat))
    assert convergence == pytest.approx(1.37, abs=0.01)
    assert np.median(error) == pytest.approx(convergence, abs=0.25)
    assert np.percentile(np.abs(error - convergence), 90) < 1.5
    # Every other reading of the file is off by tens of degrees.
    np.testing.assert_allclose(data.yaws[:5], [se3.yaw_of(data.place(i)) for i in range(5)])


def test_real_places_lie_on_the_published_lattice(real_data, tmp_path):
    lists = real_data('crossview_labels', 'oxford')
    test = RobotCarCrossView(tmp_path, 'test', lists=lists)
    off = np.array(
        [np.subtract(test.tie.pixel(test.utm[i]), test.middle_px(i)) for i in range(999)]
    )
    # Within 200 px of the piece's middle, to the rounding of the publisher.
    assert 190 < np.abs(off).max() <= 200.5
    train = RobotCarCrossView(tmp_path, 'train', lists=lists, seed=1)
    off = np.array(
        [np.subtract(train.tie.pixel(train.utm[i]), train.middle_px(i)) for i in range(2000)]
    )
    radius = np.hypot(*off.T)
    assert radius.max() < 200 * np.sqrt(2) + 2 and radius.min() < 3
    # Same spread as the square of the protocol's prior.
    assert off.std() == pytest.approx(200 / np.sqrt(3), rel=0.05)
    assert train.middle_px(7, 1) != train.middle_px(7, 2) and test.middle_px(
        7, 1
    ) == test.middle_px(7)


def test_one_traversal_has_its_own_yaws(real_data, tmp_path):
    lists = real_data('crossview_labels', 'oxford')
    whole = RobotCarCrossView(tmp_path, 'test', lists=lists)
    parts = [RobotCarCrossView(tmp_path, f'test{n}', lists=lists) for n in (1, 2, 3)]
    np.testing.assert_array_equal(whole.yaws, np.concatenate([part.yaws for part in parts]))
    assert sum(map(len, parts)) == len(whole)


def test_the_published_picture_is_north_up():
    tie = Tie.of(robotcar.CONTROL_POINTS)
    # The publisher's GSD, within the 0.1 % to which five hand-picked points tell it.
    assert tie.gsd == pytest.approx(robotcar.AERIAL_GSD, rel=1.5e-3)
    for point in robotcar.CONTROL_POINTS:
        assert np.abs(np.subtract(tie.pixel(point[:2]), point[2:])).max() < 1.5
    # 100 m of true north are straight up.
    lat, lon, _ = tie.frame.geodetic_from_enu([[0, 0, 0], [0, 100.0, 0]])
    a, b = (tie.pixel(utm) for utm in utm_from_latlon(lat, lon))
    assert abs(b[0] - a[0]) < 0.5 and b[1] - a[1] == pytest.approx(-1082, abs=3)


# ---- the plain with four poles ----


@pytest.mark.parametrize('split', SPLITS)
def test_compass_rose(world, split):
    root, shots = world
    data = RobotCarCrossView(root, split, cache=root / 'cache')
    assert list(data.missing()) == []
    assert len(data) == (6 if split == 'test' else 2)
    for sample in data:
        assert_compass(sample, datum=shots[0].frame.datum)


def test_poses_come_back(world):
    root, shots = world
    by_stamp = {shot.stamp_ns: shot for shot in shots}
    for split in SPLITS:
        for sample in RobotCarCrossView(root, split, cache=root / 'cache'):
            shot = by_stamp[sample.view.stamp_ns]
            lat, lon, _ = EnuFrame(sample.datum).geodetic_from_enu(sample.T_map_base[:3, 3])
            xyz = shot.frame.enu_from_geodetic(lat, lon, shot.frame.datum.alt_m)
            np.testing.assert_allclose(xyz[:2], shot.T_map_base[:2, 3], atol=2e-3)
            turn = angles.difference(se3.yaw_of(sample.T_map_base), se3.yaw_of(shot.T_map_base))
            assert abs(turn) < 2e-5
            np.testing.assert_allclose(sample.view.T_base_camera, shot.T_base_camera, atol=1e-12)
            assert sample.view.camera == shot.camera


def test_the_prior_is_the_middle_of_the_piece(world):
    root, _ = world
    for split in SPLITS:
        sample = RobotCarCrossView(root, split, cache=root / 'cache')[1]
        assert sample.prior.T_map_base[:2, 3] == pytest.approx(sample.patch.grid.center_xy)
        assert sample.patch.image.shape == (800, 800, 3)
    known = RobotCarCrossView(root, 'test', rotation_deg=0, cache=root / 'cache')[1]
    assert se3.yaw_of(known.prior.T_map_base) == pytest.approx(se3.yaw_of(known.T_map_base))
    assert np.sqrt(known.prior.cov[0, 0]) == pytest.approx(
        200 * known.patch.grid.gsd / np.sqrt(3), rel=1e-3
    )


def test_workers_share_the_decoded_picture(world):
    root, _ = world
    data = RobotCarCrossView(root, 'train', cache=root / 'cache')
    first = data[0]
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again[0].patch.image, first.patch.image)
    assert len(list((root / 'cache').iterdir())) == 1
    assert isinstance(data._aerial.pixels, np.memmap)


# ---- what is wrong is said ----


def test_a_place_by_hand(tree):
    sample = RobotCarCrossView(tree, 'test1', cache=tree / 'cache')[0]
    # The list's pi / 2, a quarter clockwise from west, is north.
    assert np.degrees(se3.yaw_of(sample.T_map_base)) == pytest.approx(90.0, abs=0.01)
    u, v = sample.patch.grid.uv_from_xy(sample.T_map_base[:2, 3])
    assert sample.patch.grid.contains(sample.T_map_base[:2, 3])
    tie = RobotCarCrossView(tree, 'test1').tie
    column, row = tie.pixel(np.array(PLACE))
    middle = RobotCarCrossView(tree, 'test1').middle_px(0)
    assert (u, v) == pytest.approx((column - middle[0] + 399.5, row - middle[1] + 399.5))
    assert sample.view.camera.width == 120


def test_absent_parts(tree, tmp_path_factory):
    empty = tmp_path_factory.mktemp('empty')
    with pytest.raises(DataError, match='no such folder'):
        RobotCarCrossView(empty / 'absent', 'train')
    with pytest.raises(DataError, match=r'no training\.txt .*Oxford_split'):
        RobotCarCrossView(tree, 'train')
    with pytest.raises(ConfigError, match='rotation_deg'):
        RobotCarCrossView(tree, 'test1', rotation_deg=-3)
    assert RobotCarCrossView.recognises(tree) and not RobotCarCrossView.recognises(empty)
    (tree / robotcar.AERIAL_NAME).unlink()
    data = RobotCarCrossView(tree, 'test1', cache=tree / 'cache')
    assert 'aerial picture is missing' in data.missing()[0]
    with pytest.raises(UnreadableError, match='one big aerial picture'):
        data[0]


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ('a/ground/1_2.png b 1', 'easting and northing'),
        ('a/ground/1_x.png b 1 2', 'easting and northing'),
        ('a/ground/620000.0_5735000.0.png b 620000.0 5735009.0', 'lists were mixed up'),
        ('../../1.0_2.0.png b 1.0 2.0', 'outside of the data set'),
        ('a/ground/1.0_2.0.png b 1.0 nan', 'easting and northing'),
        ('a/ground/1.0_2.0.png b 1.0 2.0\na/ground/1.0_2.0.png b 1.0 2.0', 'twice'),
    ],
)
def test_damaged_lists(tree, line, said):
    (tree / 'test1_j.txt').write_text(line)
    with pytest.raises(DataError, match=said):
        RobotCarCrossView(tree, 'test1')


def test_damaged_yaws_stamps_and_control_points(tree):
    np.save(tree / 'test_yaw.npy', np.zeros(3))
    with pytest.raises(DataError, match='3 yaws for 1 test places'):
        RobotCarCrossView(tree, 'test1')
    np.save(tree / 'test_yaw.npy', np.array([np.nan]))
    with pytest.raises(DataError, match='holds yaws'):
        RobotCarCrossView(tree, 'test')
    (tree / 'test_yaw.npy').write_bytes(b'no array')
    with pytest.raises(DataError, match='holds no yaws'):
        RobotCarCrossView(tree, 'test')
    np.save(tree / 'test_yaw.npy', np.zeros(1))
    (tree / 'lookup_test.txt').write_text('a/stereo/centre/soon.png b')
    with pytest.raises(DataError, match=r'lookup_test\.txt:1'):
        RobotCarCrossView(tree, 'test')
    (tree / 'lookup_test.txt').unlink()
    # UTM's own north is 1.4 degrees off: such a picture cannot pass for north-up.
    write_control(tree, *PLACE, turn_deg=0.0)
    with pytest.raises(DataError, match=r'turned by .*north-up'):
        RobotCarCrossView(tree, 'test')
    (tree / robotcar.CONTROL_NAME).write_text('620000 5735000 1\n')
    with pytest.raises(DataError, match='easting, northing, column and row'):
        RobotCarCrossView(tree, 'test')
    (tree / robotcar.CONTROL_NAME).write_text('620000 5735000 1 1\n620100 5735000 1000 1\n')
    with pytest.raises(DataError, match='do not lie on one line'):
        RobotCarCrossView(tree, 'test')


def test_a_place_outside_the_picture(tree):
    write_control(tree, PLACE[0] + 900, PLACE[1])
    with pytest.raises(DataError, match='is it another one'):
        RobotCarCrossView(tree, 'test1', cache=tree / 'cache')[0]


def test_unreadable_pictures_are_counted(tree):
    data = RobotCarCrossView(tree, 'test1', cache=tree / 'cache')
    data.files(0)[0].write_bytes(b'')
    assert list(data) == [] and len(data.counts.unreadable) == 1
    (tree / robotcar.AERIAL_NAME).write_bytes(b'half')
    with pytest.raises(UnreadableError):
        data[0]


def test_an_empty_file_of_yaws_is_named(tree):
    (tree / 'test_yaw.npy').write_bytes(b'')
    with pytest.raises(DataError, match='holds no yaws'):
        RobotCarCrossView(tree, 'test1')
