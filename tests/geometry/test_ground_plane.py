# SPDX-License-Identifier: Apache-2.0
import math

import cv2
import numpy as np
import pytest

from geoloc_core.errors import CalibrationError, ConfigError, InputError
from geoloc_core.geometry import ground_plane, se3
from geoloc_core.geometry.cameras import EquirectangularCamera, FisheyeCamera, PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import (
    BevImage,
    GroundProjector,
    T_ground_camera,
    view_from_bev,
)

# Optical axes in base_link for a camera that looks ahead: z forward, x right, y down.
R_AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
CAMERAS = {
    'pinhole': PinholeCamera(802, 605, 500.0, 510.0, 402.0, 251.0),
    'plumb_bob': PinholeCamera(
        802, 605, 520.0, 510.0, 402.0, 251.0, (-0.3, 0.1, 0.001, -0.002, -0.01)
    ),
    'rational': PinholeCamera(
        802,
        605,
        600.0,
        610.0,
        402.0,
        251.0,
        (0.5, 0.1, 0.001, -0.002, 0.01, 0.9, 0.2, 0.01),
        'rational_polynomial',
    ),
    'fisheye': FisheyeCamera(802, 605, 290.0, 291.0, 402.0, 251.0, (0.01, -0.003, 0.002, -0.001)),
    'equirectangular': EquirectangularCamera(1600, 800),
}
every_camera = pytest.mark.parametrize('camera', CAMERAS.values(), ids=CAMERAS.keys())


def smooth_texture(grid, cell_px, seed=0):
    """Noise without detail finer than about `cell_px` cells."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0, 255, (grid.height // cell_px + 2, grid.width // cell_px + 2, 3))
    return cv2.resize(
        small.astype(np.float32), (grid.width, grid.height), interpolation=cv2.INTER_CUBIC
    )


def pose(height=1.2, roll=0.0, pitch=0.0, base_height=0.4, xy=(0.3, -0.1), yaw=0.0):
    mount = se3.make(se3.rotation_from_rpy(0, 0, yaw) @ R_AHEAD, [*xy, height])
    return T_ground_camera(mount, roll, pitch, base_height)


def painted(camera, T, xy, radius_m=0.25):
    """A black camera image with a white disc, flat on the ground, around the ground point xy."""
    turn = np.linspace(0, 2 * np.pi, 40)
    rim = np.stack([xy[0] + radius_m * np.cos(turn), xy[1] + radius_m * np.sin(turn), 0 * turn], 1)
    uv, valid = camera.project(se3.transform(se3.inverse(T), rim))
    assert valid.all()
    image = np.zeros((camera.height, camera.width), np.uint8)
    cv2.fillPoly(image, [np.round(uv * 16).astype(np.int32)], 255, shift=4)
    return image


# ---- known answers ----


@every_camera
def test_a_mark_ahead_on_the_left_lands_right_and_up_in_the_view(camera):
    grid = Grid((8.0, 0.5), 0.1, 160, 120)
    T = pose(roll=0.03, pitch=0.15)
    bev = GroundProjector(camera, grid).bev(painted(camera, T, (7.0, 2.0)), T)
    v, u = np.array(np.nonzero(bev.image > 100)).mean(axis=1)
    # u grows with x from the raster's west edge at x = 0, v grows to the right-hand side.
    np.testing.assert_allclose([u, v], [69.5, 44.5], atol=1.0)
    np.testing.assert_allclose(grid.xy_from_uv([u, v]), [7.0, 2.0], atol=0.1)


def test_level_pinhole_by_hand():
    # 10 m ahead and 2 m to the left of a camera 1.6 m over the ground.
    camera = PinholeCamera(1242, 375, 720.0, 720.0, 610.0, 172.0)
    T = pose(height=1.2, base_height=0.4, xy=(0, 0))
    uv, _ = camera.project(se3.transform(se3.inverse(T), [[10.0, 2.0, 0.0]]))
    np.testing.assert_allclose(uv, [[610 - 720 * 0.2, 172 + 720 * 0.16]])


def test_signs_of_attitude_and_height():
    camera = PinholeCamera(642, 375, 400.0, 400.0, 320.0, 187.0)

    def row_col(**attitude):
        T = pose(xy=(0, 0), **attitude)
        return camera.project(se3.transform(se3.inverse(T), [[10.0, 0.0, 0.0]]))[0][0]

    u, v = row_col()
    assert u == pytest.approx(320) and v == pytest.approx(187 + 400 * 0.16)
    assert row_col(pitch=0.05)[1] < v - 15  # nose down: the ground ahead moves up
    assert row_col(pitch=-0.05)[1] > v + 15
    assert row_col(height=1.5)[1] > v + 10  # higher: the same place lies lower in the image
    assert row_col(base_height=0.6)[1] > v + 5
    # Right side down: the horizon turns counter-clockwise, what lies below the middle moves right.
    # (Base at the camera, so that the camera itself stays in place.)
    assert row_col(roll=0.1, height=0.0, base_height=1.6)[0] > u + 5
    assert row_col(yaw=0.1)[0] > u + 30  # camera turned to the left: ahead moves to the right


def test_lever_arm_turns_with_pitch():
    # A camera 1 m ahead of base comes down by sin(pitch) when the nose goes down.
    T = pose(height=1.2, xy=(1.0, 0.0), pitch=0.1, base_height=0.4)
    assert T[2, 3] == pytest.approx(0.4 - math.sin(0.1) + 1.2 * math.cos(0.1))
    assert T[0, 3] == pytest.approx(math.cos(0.1) + 1.2 * math.sin(0.1))


@pytest.mark.parametrize('yaw', [0.0, math.pi / 2, math.pi, -math.pi / 2])
def test_cameras_that_look_elsewhere(yaw):
    camera = CAMERAS['pinhole']
    grid = Grid((0.0, 0.0), 0.1, 200, 180)
    mask = GroundProjector(camera, grid).mask(pose(yaw=yaw, pitch=0.0))
    v, u = np.array(np.nonzero(mask)).mean(axis=1)
    x, y = grid.xy_from_uv([u, v])
    assert math.cos(math.atan2(y, x) - yaw) > 0.99


# ---- round trip ----


@every_camera
@pytest.mark.parametrize(
    ('roll', 'pitch', 'height'), [(0.0, 0.0, 1.2), (0.06, 0.2, 1.2), (-0.1, 0.35, 2.5)]
)
def test_paint_seen_by_a_camera_comes_back(camera, roll, pitch, height):
    grid = Grid((4.0, 0.4), 0.025, 240, 200)  # 1..7 m ahead
    paint = smooth_texture(grid, cell_px=20)
    T = pose(height=height, roll=roll, pitch=pitch)
    bev = BevImage(paint, np.ones(paint.shape[:2], bool), grid)
    view, seen = view_from_bev(bev, camera, T)
    assert seen.any() and not view[~seen].any()

    projector = GroundProjector(camera, grid)
    back = projector.bev(view, T)
    assert back.image.shape == paint.shape and not back.image[~back.mask].any()
    # Only cells whose four pixels are all painted can be compared.
    whole = projector.bev(seen.astype(np.float32), T).image > 0.999
    assert whole.mean() > 0.25
    error = np.abs(back.image - paint)[whole]
    assert np.median(error) < 0.8
    assert np.percentile(error, 99) < 8.0
    # An attitude wrong by two degrees would not pass.
    wrong = projector.bev(view, pose(height=height, roll=roll, pitch=pitch + 0.035))
    assert np.median(np.abs(wrong.image - paint)[whole & wrong.mask]) > 4.0


def test_paint_at_the_seam_of_a_panorama_comes_back():
    camera = EquirectangularCamera(1600, 800)
    grid = Grid((-4.0, 0.0), 0.025, 200, 160)  # behind: where the panorama's edges meet
    paint = smooth_texture(grid, cell_px=20)
    T = pose()
    view, seen = view_from_bev(BevImage(paint, np.ones(paint.shape[:2], bool), grid), camera, T)
    assert seen[-300, 0] and seen[-300, -1]
    back = GroundProjector(camera, grid).bev(view, T)
    assert back.mask.all()
    # Leave the rim, whose pixels are not fully painted; but keep every row across the seam.
    error = np.abs(back.image - paint)[10:-10, 20:-20]
    assert error.max() < 10.0 and np.median(error) < 0.8


# ---- masks ----


def test_mask_ends_at_the_image_and_at_the_depression_limit():
    camera = PinholeCamera(642, 375, 400.0, 400.0, 320.0, 187.0)
    grid = Grid((50.0, 0.0), 0.5, 200, 100)
    T = pose(xy=(0, 0))  # 1.6 m over the ground
    mask = GroundProjector(camera, grid, min_depression=math.radians(2.0)).mask(T)
    xy = grid.cell_centers()
    x, y = xy[..., 0], xy[..., 1]
    u = 320 - 400 * y / x
    v = 187 + 400 * 1.6 / x
    inside = (u >= -0.5) & (u <= 641.5) & (v >= -0.5) & (v <= 374.5)
    expected = inside & (np.hypot(x, y) <= 1.6 / math.tan(math.radians(2.0)))
    assert (mask == expected).mean() > 0.999
    assert not mask[x > 46].any() and mask[(x > 10) & (x < 40) & (np.abs(y) < 4)].all()


def test_nothing_behind_or_above_the_horizon_is_seen():
    grid = Grid((0.0, 0.0), 0.25, 200, 160)
    for camera in CAMERAS.values():
        up = pose(pitch=-1.2)
        if not isinstance(camera, EquirectangularCamera | FisheyeCamera):
            assert not GroundProjector(camera, grid).mask(up).any()
        # Upside down without wrap: a pinhole that looks ahead sees nothing behind.
        if isinstance(camera, PinholeCamera):
            mask = GroundProjector(camera, grid).mask(pose())
            assert not mask[grid.cell_centers()[..., 0] < 0.3].any()


def test_folded_distortion_paints_no_ghosts():
    # With this lens the formula maps far-off directions back into the image.
    camera = PinholeCamera(802, 605, 300.0, 300.0, 400.0, 300.0, (-0.3, 0.0, 0.0, 0.0))
    grid = Grid((2.0, 0.0), 0.05, 100, 240)
    T = pose()
    mask = GroundProjector(camera, grid).mask(T)
    points = np.concatenate([grid.cell_centers(), np.zeros((240, 100, 1))], axis=-1)
    local = se3.transform(se3.inverse(T), points)
    slope = np.hypot(local[..., 0], local[..., 1]) / np.maximum(local[..., 2], 1e-9)
    assert not mask[(slope > 1.06) | (local[..., 2] <= 0)].any()
    assert mask.any()


def test_view_mask_respects_the_paints_own_mask():
    camera = CAMERAS['pinhole']
    grid = Grid((5.0, 0.0), 0.05, 160, 120)
    paint = np.full((120, 160), 200, np.uint8)
    half = np.zeros((120, 160), bool)
    half[:60] = True  # the left-hand side only
    view, seen = view_from_bev(BevImage(paint, half, grid), camera, pose(xy=(0, 0)))
    u = np.nonzero(seen)[1]
    assert u.max() <= 402 and u.size > 1000
    assert np.all(view[seen] == 200) and not view[~seen].any()


# ---- the table ----


@pytest.fixture
def counted(monkeypatch):
    made = []
    original = GroundProjector._make_table

    def counting(self, T):
        made.append(T)
        return original(self, T)

    monkeypatch.setattr(GroundProjector, '_make_table', counting)
    return made


def test_the_table_is_kept_until_the_pose_changes(counted):
    projector = GroundProjector(CAMERAS['pinhole'], Grid((5.0, 0.0), 0.1, 60, 50))
    image = np.zeros((605, 802, 3), np.uint8)
    for _ in range(3):
        projector.bev(image, pose())
        projector.mask(pose(pitch=5e-5))
    assert len(counted) == 1
    projector.mask(pose(pitch=0.001))
    projector.mask(pose(height=1.25))
    assert len(counted) == 3


def test_small_changes_do_not_add_up(counted):
    projector = GroundProjector(CAMERAS['pinhole'], Grid((5.0, 0.0), 0.1, 60, 50))
    for i in range(40):
        projector.mask(pose(pitch=i * 5e-5))
    # Each step is within the tolerance, their sum is 20 tolerances: about every second is new.
    assert 10 < len(counted) <= 20


def test_a_table_follows_its_attitude():
    camera, grid = CAMERAS['pinhole'], Grid((5.0, 0.0), 0.05, 160, 120)
    projector = GroundProjector(camera, grid)
    for pitch in (0.0, 0.1, 0.02):
        T = pose(pitch=pitch)
        again = projector.bev(painted(camera, T, (5.0, 1.0)), T)
        v, u = np.array(np.nonzero(again.image > 100)).mean(axis=1)
        np.testing.assert_allclose(grid.xy_from_uv([u, v]), [5.0, 1.0], atol=0.06)


def test_masks_given_out_cannot_be_written():
    projector = GroundProjector(CAMERAS['pinhole'], Grid((5.0, 0.0), 0.1, 60, 50))
    with pytest.raises(ValueError, match='read-only'):
        projector.mask(pose())[0, 0] = True


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('shape', [(), (1,), (3,), (4,)])
@pytest.mark.parametrize('name', ['pinhole', 'equirectangular'])
def test_image_types(dtype, shape, name):
    camera = CAMERAS[name]
    image = np.full((camera.height, camera.width, *shape), 7, dtype)
    grid = Grid((5.0, 0.0), 0.1, 60, 50)
    bev = GroundProjector(camera, grid).bev(image, pose())
    assert bev.image.dtype == dtype and bev.image.shape == (50, 60, *shape)
    assert bev.grid is grid and bev.mask.dtype == bool
    assert np.all(bev.image[bev.mask] == 7) and not bev.image[~bev.mask].any()


def test_the_edge_rows_of_an_image_are_not_darkened():
    # Cells whose centre falls on the outermost half pixel repeat the edge pixel.
    camera = CAMERAS['pinhole']
    image = np.full((605, 802), 255, np.uint8)
    bev = GroundProjector(camera, Grid((3.0, 0.0), 0.01, 500, 600)).bev(image, pose())
    assert np.all(bev.image[bev.mask] == 255)


def test_supersampling_removes_aliasing():
    # Detail much finer than a cell must average out, not be picked at random.
    camera = PinholeCamera(1242, 375, 720.0, 720.0, 610.0, 172.0)
    fine = Grid((8.0, 0.0), 0.025, 400, 320)
    grid = Grid((8.0, 0.0), 0.2, 50, 40)
    noise = np.random.default_rng(0).normal(0, 1, (320, 400)).astype(np.float32)
    paint = cv2.GaussianBlur(noise, (0, 0), 2)
    truth = cv2.resize(paint, (50, 40), interpolation=cv2.INTER_AREA)
    T = pose(pitch=0.05)
    whole_paint = BevImage(paint, np.ones(paint.shape, bool), fine)
    view, seen = view_from_bev(whole_paint, camera, T)

    def correlation(supersampling):
        projector = GroundProjector(camera, grid, supersampling=supersampling)
        whole = projector.bev(seen.astype(np.float32), T).image > 0.999
        near = whole & (grid.cell_centers()[..., 0] < 8)
        return np.corrcoef(projector.bev(view, T).image[near], truth[near])[0, 1]

    assert correlation(1) < 0.95
    assert correlation(2) > 0.97


@pytest.mark.parametrize('name', ['pinhole', 'equirectangular'])
def test_supersampling_counts_only_whole_cells(name):
    camera, grid = CAMERAS[name], Grid((3.0, 0.0), 0.2, 60, 50)
    image = np.full((camera.height, camera.width, 3), 200, np.uint8)
    once, twice = (
        GroundProjector(camera, grid, supersampling=n).bev(image, pose()) for n in (1, 2)
    )
    assert twice.image.shape == (50, 60, 3) and twice.mask.shape == (50, 60)
    assert np.all(twice.image[twice.mask] == 200) and not twice.image[~twice.mask].any()
    assert not np.any(twice.mask & ~cv2.dilate(once.mask.astype(np.uint8), np.ones((3, 3))) > 0)
    assert 0.9 < twice.mask.sum() / once.mask.sum() <= 1.0


# ---- misuse ----


def test_misuse_is_refused_with_a_reason():
    projector = GroundProjector(CAMERAS['pinhole'], Grid((5.0, 0.0), 0.1, 60, 50))
    with pytest.raises(InputError, match='calibrated for'):
        projector.bev(np.zeros((802, 605), np.uint8), pose())
    with pytest.raises(CalibrationError, match='below the ground'):
        projector.mask(pose(height=-1.0, base_height=0.4))
    for bad in (np.full((4, 4), np.nan), np.diag([2.0, 1, 1, 1]), np.eye(3)):
        with pytest.raises(CalibrationError, match='rigid'):
            projector.mask(bad)
    with pytest.raises(CalibrationError, match='too large'):
        GroundProjector(EquirectangularCamera(40000, 20000), Grid((0, 0), 1.0, 4, 3))
    with pytest.raises(ConfigError, match='at least 1'):
        GroundProjector(CAMERAS['pinhole'], Grid((0, 0), 1.0, 4, 3), supersampling=0)
    assert ground_plane.MIN_DEPRESSION > 0


@every_camera
def test_a_plane_over_the_camera_shows_what_hangs_there(camera):
    """A mark 5 m over the ground, ahead on the left, is where it is, and not on the ground."""
    grid = Grid((8.0, 0.0), 0.1, 161, 121)
    T = pose(pitch=-0.25)
    mark = np.array([9.0, 1.5, 5.0])
    uv, valid = camera.project(se3.transform(se3.inverse(T), mark[None]))
    assert valid.all()
    image = np.zeros((camera.height, camera.width), np.uint8)
    cv2.circle(image, tuple(round(c) for c in uv[0]), 4, 255, -1)
    above = GroundProjector(camera, grid, height_m=5.0).bev(image, T)
    v, u = np.nonzero(above.image > 120)
    x, y = grid.xy_from_uv((u.mean(), v.mean()))
    np.testing.assert_allclose((x, y), mark[:2], atol=0.15)
    assert not (GroundProjector(camera, grid).bev(image, T).image > 120).any()


def test_a_wall_stands_where_both_planes_meet_it():
    """On the ground it is smeared away from the robot, on a plane over it towards it."""
    camera, wall = CAMERAS['equirectangular'], 6.0
    T = pose(xy=(0.0, 0.0))
    rays = camera.rays() @ T[:3, :3].T
    with np.errstate(divide='ignore', invalid='ignore'):
        height = T[2, 3] + rays[..., 2] * wall / rays[..., 0]
    seen = (rays[..., 0] > 0) & (height > 0) & (height < 5.0)
    image = np.where(seen, 255, 0).astype(np.uint8)
    grid = Grid((6.0, 0.0), 0.1, 61, 21)
    row = 10  # straight ahead
    ground = GroundProjector(camera, grid).bev(image, T).image[row]
    above = GroundProjector(camera, grid, height_m=5.0).bev(image, T).image[row]
    x = grid.xy_from_uv(np.stack([np.arange(61), np.full(61, row)], axis=-1))[:, 0]
    assert x[ground > 120].min() == pytest.approx(wall, abs=0.15) and ground[-1] > 120
    # What is seen under the horizon beyond the top of the wall is sky: nothing before it.
    assert x[above > 120].min() == pytest.approx(wall, abs=0.15)
    assert not (above[x < wall - 0.2] > 120).any()
