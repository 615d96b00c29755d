# SPDX-License-Identifier: Apache-2.0
"""Pictures as networks are fed them: which way they are turned, where their middles lie."""

from dataclasses import replace
import math

import numpy as np
import pytest

from geoloc_core.errors import BundleError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.lookup import warp_camera
from geoloc_core.geometry.polar_grid import PolarGrid
from geoloc_core.input_spec import BevSpec, CameraSpec, InputSpec, PolarSpec, RasterSpec
from geoloc_core.preprocess import (
    cut_patch,
    normalised,
    patch_frame,
    PatchFrame,
    Preprocessor,
)
from geoloc_core.types import AerialPatch, GroundView

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
R_BASE_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
PANORAMA = EquirectangularCamera(144, 72)


def inputs(turned, kind='equirectangular', size=(72, 36), patch=(40, 32)):
    focal, center = None, None
    if kind == 'pinhole':
        focal, center = (40.0, 40.0), ((size[0] - 1) / 2, (size[1] - 1) / 2)
    return InputSpec(
        camera_kinds=('equirectangular', 'pinhole'),
        view_kind='camera',
        view=RasterSpec('view', *size, MEAN, STD),
        bev=None,
        polar=None,
        camera=CameraSpec(kind, focal, center, 1.5),
        patch=RasterSpec('patch', *patch, MEAN, STD),
        patch_gsd=1.0,
        turned=turned,
    )


def mounted(R_base_camera=R_BASE_OPTICAL):
    return se3.make(R_base_camera, [0.0, 0.0, 1.5])


def beacon(direction, R_base_camera=R_BASE_OPTICAL):
    """A dark panorama with a bright spot at a direction (x, y, z) of base_link."""
    rays = PANORAMA.rays() @ R_base_camera.T
    image = np.zeros((72, 144, 3), np.uint8)
    image[rays @ (np.array(direction) / np.linalg.norm(direction)) > math.cos(0.12)] = 250
    return GroundView(0, image, PANORAMA, mounted(R_base_camera))


def middle_of(image):
    """(u, v) of what is bright."""
    v, u = np.nonzero(image[..., 0] > 120)
    return u.mean(), v.mean()


# ---- frames ----


@pytest.mark.parametrize('turned', ['view', 'patch', 'none'])
def test_frames_there_and_back(turned):
    frame = patch_frame(inputs('none' if turned == 'none' else turned), (3.0, -2.0, 2.5))
    pose = np.array([4.5, 1.0, -2.9])
    np.testing.assert_allclose(frame.to_map(frame.local(pose)), pose, atol=1e-12)
    offset = frame.local(pose)[2]
    wanted = pose[2] if turned == 'none' else -2.9 - 2.5 + 2 * math.pi
    assert offset == pytest.approx(wanted)


def test_x_of_a_turned_patch_is_the_priors_heading():
    frame = patch_frame(inputs('patch', 'pinhole'), (3.0, -2.0, math.pi / 2))
    np.testing.assert_allclose(
        frame.local(np.array([3.0, 5.0, math.pi / 2])), [7, 0, 0], atol=1e-12
    )
    # West of a robot that looks north is its left: up the patch.
    np.testing.assert_allclose(frame.local(np.array([1.0, -2.0, 2.0]))[:2], [0, 2], atol=1e-12)
    assert patch_frame(inputs('view'), (3.0, -2.0, 1.0)).turn == 0.0


# ---- views ----


@pytest.mark.parametrize(
    ('yaw', 'seen', 'column'),
    [
        (math.pi / 2, (1, 0, 0), 36),  # looks north, sees a thing ahead: north is the middle
        (math.pi / 2, (0, -1, 0), 54),  # on its right: east
        (0.0, (1, 0, 0), 54),  # looks east, ahead
        (0.0, (0, 1, 0), 36),  # looks east, on its left: north
        (-2.0, (math.cos(2.0), math.sin(2.0), 0), 54),  # whatever the yaw: a thing in the east
    ],
)
def test_the_middle_of_a_panorama_looks_north_if_the_prior_is_right(yaw, seen, column):
    image, mask = Preprocessor(inputs('view')).view(beacon(seen), 0.0, 0.0, yaw)
    assert image.shape == (36, 72, 3) and mask.all()
    u, v = middle_of(image)
    # Borders of columns, not middles, lie at quarters of the circle.
    np.testing.assert_allclose((u + 0.5, v + 0.5), (column, 18), atol=0.3)


def test_a_prior_that_is_off_moves_content_the_other_way():
    """A robot turned counter-clockwise of its prior shows everything further right."""
    offset = math.radians(40)
    prior, yaw = 0.3, 0.3 + offset
    north = (math.sin(yaw), math.cos(yaw), 0)
    image, _ = Preprocessor(inputs('view')).view(beacon(north), 0.0, 0.0, prior)
    assert middle_of(image)[0] + 0.5 == pytest.approx(36 + 72 * offset / (2 * math.pi), abs=0.3)


def test_a_panorama_at_the_seam_is_whole():
    image, mask = Preprocessor(inputs('view')).view(beacon((-1, 0, 0)), 0.0, 0.0, math.pi / 2)
    assert mask.all() and image[18, 0].min() > 200 and image[18, -1].min() > 200


@pytest.mark.parametrize(('roll', 'pitch'), [(0.0, 0.2), (0.15, 0.0), (-0.1, -0.25)])
def test_leaning_and_mount_are_taken_out(roll, pitch):
    tilted = se3.rotation_from_rpy(0.05, 0.3, 0.7) @ R_BASE_OPTICAL
    # Something level, ahead and a little left, as the leaning robot's own axes have it.
    level = np.array([math.cos(0.4), math.sin(0.4), 0.0])
    own = se3.rotation_from_rpy(roll, pitch, 0.0).T @ level
    view = beacon(own, tilted)
    image, _ = Preprocessor(inputs('view')).view(view, roll, pitch, math.pi / 2)
    u, v = middle_of(image)
    np.testing.assert_allclose((u + 0.5, v + 0.5), (36 - 72 * 0.4 / (2 * math.pi), 18), atol=0.35)


def test_a_pinhole_of_a_turned_patch_looks_ahead():
    spec = inputs('patch', 'pinhole', size=(61, 41))
    for yaw in (0.0, 2.0):
        image, _ = Preprocessor(spec).view(beacon((1, 0.2, 0)), 0.0, 0.0, yaw)
        u, v = middle_of(image)
        np.testing.assert_allclose((u, v), (30 - 40 * 0.2, 20), atol=0.6)


def test_the_table_of_a_picture_is_kept_while_camera_and_pose_are_the_same():
    made = Preprocessor(inputs('view'))

    def table(camera=PANORAMA, roll=0.0, yaw=0.3):
        (lookup,) = made.lookups(camera, mounted(), roll, 0.0, yaw)
        return lookup

    first = table()
    # An equal camera is the same one, and so is a pose that trembles by less than a sample shows.
    assert table(EquirectangularCamera(144, 72), roll=5e-5) is first
    for change in ({'camera': EquirectangularCamera(96, 48)}, {'roll': 0.01}, {'yaw': 0.31}):
        other = table(**change)
        assert other is not first
        first = table()
        np.testing.assert_array_equal(first.maps[0], table().maps[0])
    assert np.abs(table(yaw=0.31).maps[0] - table().maps[0]).max() > 0.1


def test_many_small_turns_do_not_add_up():
    made = Preprocessor(inputs('view'))
    for k in range(40):
        (kept,) = made.lookups(PANORAMA, mounted(), 0.0, 0.0, 5e-5 * k)
    (fresh,) = Preprocessor(inputs('view')).lookups(PANORAMA, mounted(), 0.0, 0.0, 39 * 5e-5)
    # Columns, at 2 pi / 72 rad each of the wanted picture and half of that of the taken one.
    inside = fresh.mask & kept.mask
    assert np.abs(kept.maps[0] - fresh.maps[0])[inside].max() < 0.01


def test_a_bird_eye_view_lies_north_up():
    bev = BevSpec(0.25, (0.0, 0.0))
    raster = RasterSpec('view', 40, 40, MEAN, STD)
    spec = replace(inputs('view'), view_kind='bev', camera=None, bev=bev, view=raster)
    # Something on the ground, 1 m ahead of a robot that looks north.
    image, mask = Preprocessor(spec).view(beacon((1, 0, -1.5)), 0.0, 0.0, math.pi / 2)
    u, v = middle_of(np.where(mask[..., None], image, 0))
    np.testing.assert_allclose((u, v), (19.5, 19.5 - 1 / 0.25), atol=0.5)


def test_what_a_lens_did_not_see_is_not_known():
    wide, narrow = PinholeCamera(60, 40, 20.0, 20.0, 29.5, 19.5), PinholeCamera(
        60, 40, 60.0, 60.0, 29.5, 19.5
    )  # fmt: skip
    image, mask = warp_camera(np.full((40, 60, 3), 90, np.uint8), narrow, wide, np.eye(3))
    assert mask[20, 30] and not mask[0].any() and not mask[:, 0].any()
    assert not image[~mask].any() and (image[mask] > 80).all()
    # A third of the width, to a pixel.
    assert mask[20].sum() == pytest.approx(20, abs=1)


# ---- patches ----


def painted(gsd=0.5, size=(120, 100), center=(10.0, 4.0)):
    """A patch whose red and green say how far east and north each pixel lies, 2 levels a metre."""
    grid = Grid(center, gsd, *size)
    xy = grid.cell_centers() - np.array(center)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[..., :2] = np.round(127 + 4 * xy)
    return AerialPatch(image, np.ones(image.shape[:2], bool), grid)


@pytest.mark.parametrize('turn', [0.0, math.pi / 2, 0.6])
@pytest.mark.parametrize('gsd', [0.25, 0.5, 0.7, 1.0, 1.7])
def test_pieces_of_a_patch_lie_where_they_should(turn, gsd):
    patch = painted()
    frame = PatchFrame((11.3, 2.9), turn, turn)
    size = (15, 12)
    image, mask = cut_patch(patch, frame, gsd, size)
    assert image.shape == (12, 15, 3) and mask.all()
    for u, v in ((0, 0), (14, 0), (3, 11), (7, 5)):
        local = np.array([(u - 7.0) * gsd, (5.5 - v) * gsd, 0.0])
        x, y, _ = frame.to_map(local)
        found = (image[v, u, :2].astype(float) - 127) / 4
        np.testing.assert_allclose(found, (x - 10.0, y - 4.0), atol=0.2)


def test_beyond_the_patch_nothing_is_known():
    patch = painted()
    image, mask = cut_patch(patch, PatchFrame((40.0, 4.0), 0.0, 0.0), 1.0, (20, 10))
    # Its right border lies at x = 40: the middle of the piece.
    assert mask[:, :9].all() and not mask[:, 11:].any() and not image[~mask].any()
    known = patch.mask.copy()
    known[:, :60] = False
    half = AerialPatch(patch.image, known, patch.grid)
    _, mask = cut_patch(half, PatchFrame((10.0, 4.0), 0.0, 0.0), 1.0, (20, 10))
    assert not mask[:, :9].any() and mask[:, 11:].all()


def test_numbers_that_a_network_is_fed():
    spec = RasterSpec('patch', 3, 2, MEAN, STD, with_mask=True)
    image, mask = np.full((2, 3, 3), (255, 0, 51), np.uint8), np.ones((2, 3), bool)
    mask[1, 2] = False
    fed = normalised(image, mask, spec)
    assert fed.shape == (1, 4, 2, 3) and fed.dtype == np.float32
    np.testing.assert_allclose(fed[0, :, 0, 0], [2.5, -1.6, -1 / 3, 1.0], rtol=1e-5)
    np.testing.assert_array_equal(fed[0, :, 1, 2], 0)
    plain = normalised(image, mask, replace(spec, with_mask=False))
    np.testing.assert_array_equal(plain, fed[:, :3])


# ---- by direction and distance, on planes over the ground ----


def polar(heights, near=1.0, far=8.0):
    place = PolarSpec(near, far, heights)
    raster = RasterSpec('view', 72, 24, MEAN, STD, with_mask=True, planes=len(heights))
    return replace(inputs('view'), view_kind='polar', camera=None, polar=place, view=raster)


def cell_of(spec, x, y):
    grid = PolarGrid(spec.polar.near_m, spec.polar.far_m, spec.view.width, spec.view.height)
    return grid.cells(np.array(x), np.array(y))


def test_a_polar_view_lies_east_up_and_north_left():
    spec = polar((0.0,))
    # Something on the ground, 2 m ahead of a robot that looks north-east.
    image, mask = Preprocessor(spec).view(beacon((2, 0, -1.5)), 0.0, 0.0, math.pi / 4)
    assert image.shape == (24, 72, 3) and mask.all()
    column, row = cell_of(spec, math.sqrt(2), math.sqrt(2))
    assert column == pytest.approx(36 - 9 - 0.5)
    np.testing.assert_allclose(middle_of(image), (column, row), atol=0.6)


def test_the_ground_of_a_polar_view_is_measured():
    made = Preprocessor(polar((0.0,)))
    _, mask = made.view(beacon((2, 0, -1.5)), 0.0, 0.0, 0.0)
    assert made.ground_m2(mask) == pytest.approx(math.pi * (8.0**2 - 1.0**2))
    mask = mask & (np.arange(72) >= 36)
    assert made.ground_m2(mask) == pytest.approx(math.pi / 2 * (8.0**2 - 1.0**2))
    assert Preprocessor(inputs('view')).ground_m2(mask) == math.inf


def test_a_plane_over_the_robot_follows_the_ground_in_the_channels():
    spec = polar((0.0, 4.0))
    # 2.5 m over the camera and 2.5 m ahead of a robot that looks north.
    image, mask = Preprocessor(spec).view(beacon((1, 0, 1)), 0.0, 0.0, math.pi / 2)
    assert image.shape == (24, 72, 6) and mask.shape == (24, 72)
    bright = (image[..., 3:] > 200).all(axis=-1)
    v, u = np.nonzero(bright)
    np.testing.assert_allclose((u.mean(), v.mean()), cell_of(spec, 0.0, 2.5), atol=0.7)
    assert not (image[..., :3] > 200).any()


def test_what_is_not_seen_over_the_robot_is_nothing_to_a_network():
    spec = polar((0.0, 4.0))
    camera = PinholeCamera(60, 40, 30.0, 30.0, 29.5, 19.5)
    down = se3.rotation_from_rpy(0.0, 0.9, 0.0) @ R_BASE_OPTICAL
    view = GroundView(0, np.full((40, 60, 3), 250, np.uint8), camera, mounted(down))
    image, mask = Preprocessor(spec).view(view, 0.0, 0.0, math.pi / 2)
    fed = normalised(image, mask, spec.view)
    assert fed.shape == (1, 7, 24, 72) and mask.any()
    np.testing.assert_allclose(fed[0, 3:6], 0.0, atol=0.02)
    assert (fed[0, :3][:, mask] > 1).all()
    np.testing.assert_array_equal(fed[0, 6], mask)


@pytest.mark.parametrize('heights', [(), (1.0,), (0.0, 4.0, 2.0), (0.0, 0.0)])
def test_planes_begin_with_the_ground_and_rise(heights):
    with pytest.raises(BundleError, match='heights_m'):
        polar(heights)


def test_rings_begin_off_the_robot_and_go_out():
    for near, far in ((0.0, 8.0), (8.0, 8.0), (1.0, math.inf)):
        with pytest.raises(BundleError, match=r'near_m|far_m'):
            polar((0.0,), near, far)


def test_a_view_has_room_for_its_planes():
    with pytest.raises(BundleError, match='planes'):
        replace(polar((0.0, 4.0)), view=RasterSpec('view', 72, 24, MEAN, STD))


def test_a_place_of_another_kind_of_view_is_refused():
    with pytest.raises(BundleError, match="bev must be given for view_kind 'bev'"):
        replace(polar((0.0,)), bev=BevSpec(0.25, (0.0, 0.0)))
