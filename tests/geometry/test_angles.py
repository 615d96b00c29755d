# SPDX-License-Identifier: Apache-2.0
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from geoloc_core.geometry import angles

# Yaw (degrees, 0 = east, CCW) of the eight points of the compass, starting north, clockwise.
NAMES = ['N', 'NE', 'E', 'SE', 'S', 'SW', 'W', 'NW']
YAW_DEG = np.array([90.0, 45.0, 0.0, -45.0, -90.0, -135.0, 180.0, 135.0])
CLOCKWISE = np.arange(8) * 45.0  # 0 = north, east = 90
COUNTER = np.array([0.0, -45.0, -90.0, -135.0, 180.0, 135.0, 90.0, 45.0])  # 0 = north, west = 90

# Convention -> the value it gives to each of the eight directions.
ROSE = {
    'heading_deg': CLOCKWISE,
    'ccw_north_deg': COUNTER,
    'hcnet_deg': COUNTER,
    'geodistill_deg': COUNTER,
    'ccvpe_vigor_deg': COUNTER,
    'slicematch_deg': CLOCKWISE,
    'fg2_vigor_deg': CLOCKWISE,
    'ccvpe_kitti_deg': CLOCKWISE,
    'ford_deg': CLOCKWISE,
    'kitti_oxts': np.deg2rad(YAW_DEG),
    # 0 = west, clockwise: north is a quarter turn.
    'robotcar_list': np.deg2rad([90.0, 135.0, 180.0, -135.0, -90.0, -45.0, 0.0, 45.0]),
}
# Channel heads, at eight bins so that every direction is a channel of its own.
CHANNELS = {
    'ccvpe_vigor_channel': [0, 1, 2, 3, 4, 5, 6, 7],
    'ccvpe_oxford_channel': [0, 1, 2, 3, 4, 5, 6, 7],
    'ccvpe_kitti_channel': [0, 7, 6, 5, 4, 3, 2, 1],
}


@pytest.mark.parametrize('name', ROSE)
def test_compass_rose(name):
    to_yaw = getattr(angles, f'yaw_from_{name}')
    from_yaw = getattr(angles, f'{name}_from_yaw')
    for value, yaw_deg, point in zip(ROSE[name], YAW_DEG, NAMES, strict=True):
        assert np.rad2deg(to_yaw(value)) == pytest.approx(yaw_deg), point
        assert from_yaw(math.radians(yaw_deg)) == pytest.approx(value), point
    # Vectorised, and on values a full turn away.
    turn = 360.0 if name.endswith('_deg') else 2 * np.pi
    np.testing.assert_allclose(np.rad2deg(to_yaw(ROSE[name] - turn)), YAW_DEG, atol=1e-9)


@pytest.mark.parametrize('name', CHANNELS)
def test_compass_rose_of_channels(name):
    to_yaw = getattr(angles, f'yaw_from_{name}')
    from_yaw = getattr(angles, f'{name}_from_yaw')
    for channel, yaw_deg, point in zip(CHANNELS[name], YAW_DEG, NAMES, strict=True):
        assert np.rad2deg(to_yaw(channel, bins=8)) == pytest.approx(yaw_deg), point
        assert from_yaw(math.radians(yaw_deg), bins=8) == pytest.approx(channel), point


def test_channels_of_the_published_heads():
    # 20 bins of 18 degrees on VIGOR, 16 bins of 22.5 degrees on KITTI.
    assert np.rad2deg(angles.yaw_from_ccvpe_vigor_channel(19)) == pytest.approx(90 + 18)
    assert np.rad2deg(angles.yaw_from_ccvpe_kitti_channel(15)) == pytest.approx(90 - 22.5)


@pytest.mark.parametrize(('heading', 'yaw_deg'), list(zip(CLOCKWISE, YAW_DEG, strict=True)))
def test_orienternet_negates_roll_and_pitch(heading, yaw_deg):
    rpy = angles.rpy_from_orienternet_deg([2.0, -3.0, heading])
    np.testing.assert_allclose(np.rad2deg(rpy), [-2.0, 3.0, yaw_deg], atol=1e-9)
    np.testing.assert_allclose(
        angles.orienternet_deg_from_rpy(rpy), [2.0, -3.0, heading], atol=1e-9
    )


@pytest.mark.parametrize('yaw_deg', YAW_DEG)
def test_rolling_a_panorama_turns_its_viewer(yaw_deg):
    width, columns = 64, 8
    # What each column sees: a camera at `yaw`, world bearings as column content.
    azimuth = -2 * np.pi * (np.arange(width) + 0.5 - width / 2) / width
    yaw = math.radians(yaw_deg)
    bearing = np.exp(1j * (azimuth + yaw))
    turned = yaw + angles.turn_from_pano_roll(columns, width)
    np.testing.assert_allclose(np.roll(bearing, columns), np.exp(1j * (azimuth + turned)))
    assert angles.turn_from_pano_roll(columns, width) == pytest.approx(math.radians(45))
    assert angles.pano_roll_from_turn(math.radians(45), width) == pytest.approx(columns)


def test_a_slicematch_roll_turns_clockwise():
    # Its first k columns move to the end: a roll by -k.
    k, width = 16, 64
    turn = angles.turn_from_pano_roll(-k, width)
    start = angles.yaw_from_slicematch_deg(0.0)
    assert start + turn == pytest.approx(angles.yaw_from_slicematch_deg(360 * k / width))


def test_pil_rotation_and_shift_move_content_as_said():
    image_module = pytest.importorskip('PIL.Image')
    raster = np.zeros((11, 11), dtype=np.uint8)
    raster[5, 9] = 255  # east of the middle
    turn = angles.turn_from_pil_rotation_deg(90.0)
    rotated = np.asarray(image_module.fromarray(raster).rotate(90.0))
    row, col = np.argwhere(rotated == 255)[0]
    assert math.atan2(5 - row, col - 5) == pytest.approx(turn)  # now north
    assert angles.pil_rotation_deg_from_turn(turn) == pytest.approx(90.0)

    affine = angles.pil_affine_from_content_shift([-3, 2])
    np.testing.assert_array_equal(angles.content_shift_from_pil_affine(affine), [-3, 2])
    moved = np.asarray(
        image_module.fromarray(raster).transform(
            (11, 11), image_module.Transform.AFFINE, affine.tolist()
        )
    )
    np.testing.assert_array_equal(np.argwhere(moved == 255)[0], [5 + 2, 9 - 3])


def test_pil_shift_refuses_more_than_a_shift():
    with pytest.raises(ValueError, match='pure shift'):
        angles.content_shift_from_pil_affine([2, 0, 1, 0, 1, 1])


@pytest.mark.parametrize(
    ('delta', 'xy'),
    [((10, 0), (0, -1)), ((-10, 0), (0, 1)), ((0, 10), (-1, 0)), ((0, -10), (1, 0))],
)
def test_vigor_labels_count_south_and_west(delta, xy):
    np.testing.assert_allclose(angles.xy_from_vigor_delta(delta, 0.1), xy, atol=1e-12)
    np.testing.assert_allclose(angles.vigor_delta_from_xy(xy, 0.1), delta, atol=1e-12)


def test_g2sweakly_counts_rows_upwards():
    assert angles.row_offset_from_g2sweakly_kitti_v(3.0) == -3.0
    assert angles.g2sweakly_kitti_v_from_row_offset(-3.0) == 3.0


def test_ford_axes():
    np.testing.assert_array_equal(angles.enu_from_ned([[1, 2, 3]]), [[2, 1, -3]])
    np.testing.assert_array_equal(angles.ned_from_enu([[2, 1, -3]]), [[1, 2, 3]])
    # A Ford yaw turns the NED north axis the way the yaw converter says.
    yaw_ned = math.radians(30.0)
    forward = angles.enu_from_ned([math.cos(yaw_ned), math.sin(yaw_ned), 0.0])
    assert math.atan2(forward[1], forward[0]) == pytest.approx(angles.yaw_from_ford_deg(30.0))


def test_every_row_of_conventions_has_a_way_there_and_back():
    public = [name for name in dir(angles) if not name.startswith('_')]
    for name in public:
        if name.startswith('yaw_from_'):
            assert name.removeprefix('yaw_from_') + '_from_yaw' in public


# ---- the circle ----


def test_wrap_is_half_open():
    np.testing.assert_allclose(angles.wrap([np.pi, -np.pi, 3 * np.pi]), [np.pi] * 3)
    assert angles.wrap(np.nextafter(-np.pi, -4)) == pytest.approx(np.pi)
    assert np.isnan(angles.wrap([np.nan, np.inf])).all()


@given(st.floats(-1e4, 1e4))
def test_wrap_keeps_direction_and_range(a):
    wrapped = float(angles.wrap(a))
    assert -math.pi < wrapped <= math.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(a), abs=1e-9)
    assert math.sin(wrapped) == pytest.approx(math.sin(a), abs=1e-9)


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_difference_is_the_turn_between(a, b):
    turn = float(angles.difference(a, b))
    assert abs(turn) <= math.pi
    assert np.exp(1j * (b + turn)) == pytest.approx(np.exp(1j * a), abs=1e-9)


@given(st.floats(-720, 720))
def test_heading_range(heading):
    back = float(angles.heading_deg_from_yaw(angles.yaw_from_heading_deg(heading)))
    assert 0 <= back < 360
    assert math.cos(math.radians(back - heading)) == pytest.approx(1)


def test_circular_mean_across_the_seam():
    mean = angles.circular_mean(np.deg2rad([179.0, -179.0, -177.0]))
    assert np.rad2deg(mean) == pytest.approx(-179.0)
    weighted = angles.circular_mean(np.deg2rad([170.0, -170.0]), weights=[1.0, 0.0])
    assert np.rad2deg(weighted) == pytest.approx(170.0)


def test_circular_statistics_without_an_answer():
    assert math.isnan(angles.circular_mean([]))
    assert math.isnan(angles.circular_mean([1.0], weights=[0.0]))
    assert math.isnan(angles.circular_mean([0.0, math.pi]))
    assert math.isnan(angles.circular_std([]))
    assert angles.circular_std([0.0, math.pi]) == math.inf


def test_circular_std_of_a_narrow_spread():
    a = np.random.default_rng(1).normal(math.pi, 0.05, 4000)
    assert angles.circular_std(a) == pytest.approx(np.std(a), rel=0.01)
    assert angles.circular_std([2.0, 2.0]) == 0.0
