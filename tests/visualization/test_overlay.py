# SPDX-License-Identifier: Apache-2.0
"""The overlay: things land where the grid says, and nothing is invented where something lacks."""

import math

import numpy as np
import pytest

from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.se3 import from_planar
from geoloc_core.types import (
    AerialPatch,
    GroundView,
    PoseEstimate,
    PoseMeasurement,
    PoseVolume,
    Status,
)
from geoloc_core.visualization import overlay

SIZE = 256
PEAK = (112.0, 41.0)  # north-east quarter of the patch around (100, 30)


def make_patch():
    image = np.full((90, 120, 3), 70, np.uint8)
    return AerialPatch(image, np.ones((90, 120), bool), Grid((100.0, 30.0), 0.5, 120, 90), '© X')


def make_volume(peak=PEAK, yaw_bin=2):
    grid = Grid((104.0, 33.0), 1.0, 31, 23)
    log_prob = np.full((6, 23, 31), -np.inf, np.float32)
    u, v = np.round(grid.uv_from_xy(peak)).astype(int)
    log_prob[yaw_bin, v, u] = 0.0
    return PoseVolume(log_prob, grid, np.radians(np.arange(6) * 10.0))


def make_estimate(cov=None, yaw=math.pi / 2):
    cov = np.diag([9.0, 1.0, 1, 1, 1, 0.01]) if cov is None else cov
    return PoseEstimate(5, Status.OK, (), from_planar(*PEAK, yaw), cov)


def measurement(**fields):
    return PoseMeasurement(5, fields.pop('status', Status.OK), **fields)


def test_heat_peak_lands_where_the_grid_says():
    nothing = PoseEstimate(5, Status.NO_PRIOR)
    found = measurement(patch=make_patch(), volume=make_volume())
    plain = overlay.aerial_panel(measurement(patch=make_patch()), nothing, SIZE)
    hot = overlay.aerial_panel(found, nothing, SIZE)
    change = np.abs(hot.astype(int) - plain).sum(axis=2)
    rows, columns = np.nonzero(change > 0.5 * change.max())
    grid = overlay.panel_grid(found, nothing, SIZE)
    centre = grid.xy_from_uv(np.array([columns.mean(), rows.mean()]))
    np.testing.assert_allclose(centre, PEAK, atol=0.3)
    assert columns.mean() > SIZE / 2 and rows.mean() < SIZE / 2


def test_small_search_is_magnified_in_the_corner():
    grid = Grid((104.0, 33.0), 0.5, 21, 13)
    log_prob = np.full((2, 13, 21), -np.inf, np.float32)
    log_prob[0, 2, 16] = 0.0  # right of the middle, and above
    found = measurement(
        patch=make_patch(), volume=PoseVolume(log_prob, grid, np.array([0.0, 0.1]))
    )
    nothing = PoseEstimate(5, Status.NO_PRIOR)
    size_px = round(overlay.INSET_SIZE * SIZE)
    corner = overlay.aerial_panel(found, nothing, SIZE)[8 : 8 + size_px, -8 - size_px : -8]
    rows, columns = np.nonzero(corner.astype(int).max(axis=2) - corner.min(axis=2) > 120)
    inset = Grid(grid.center_xy, 10.5 / size_px, size_px, size_px)
    peak = inset.xy_from_uv(np.array([columns.mean(), rows.mean()]))
    np.testing.assert_allclose(peak, grid.xy_from_uv([16, 2]), atol=0.2)


def test_patch_is_north_up_and_letterboxed():
    patch = make_patch()
    patch.image[:10, -10:] = (250, 0, 0)  # north-east corner
    panel = overlay.aerial_panel(measurement(patch=patch), PoseEstimate(5, Status.LOST), SIZE)
    grid = overlay.panel_grid(measurement(patch=patch), PoseEstimate(5, Status.LOST), SIZE)
    assert grid.size_m == pytest.approx((60.0, 60.0))
    u, v = np.round(grid.uv_from_xy([128.0, 50.5])).astype(int)
    assert panel[v, u, 0] > 230 and panel[v, u, 1] < 20
    assert tuple(panel[2, 2]) == overlay.BACKGROUND


def test_uncovered_ground_stays_dark():
    patch = make_patch()
    patch.mask[:, :60] = False
    panel = overlay.aerial_panel(measurement(patch=patch), PoseEstimate(5, Status.LOST), SIZE)
    assert tuple(panel[SIZE // 2, SIZE // 4]) == overlay.BACKGROUND
    assert tuple(panel[SIZE // 2, 3 * SIZE // 4]) == (70, 70, 70)


def test_heatmap_is_the_marginal_over_yaw():
    volume = make_volume()
    volume.log_prob[4] = volume.log_prob[2] + np.log(0.25)
    volume.log_prob[2] += np.log(0.75)
    assert overlay.heatmap(volume).sum() == pytest.approx(1.0)
    assert overlay.heatmap(volume).shape == (23, 31)


def test_ellipse_encloses_95_percent():
    cov = np.array([[9.0, 3.0], [3.0, 2.0]])
    outline = overlay.ellipse(np.array([5.0, -2.0]), cov)
    away = outline - [5.0, -2.0]
    distance = np.einsum('ni,ij,nj->n', away, np.linalg.inv(cov), away)
    np.testing.assert_allclose(distance, -2.0 * math.log(0.05), rtol=1e-9)
    # Positive correlation: the long axis points north-east.
    far = away[np.argmax(np.hypot(*away.T))]
    assert far[0] * far[1] > 0


@pytest.mark.parametrize('yaw', [0.0, math.pi / 2, 2.5, -2.0])
def test_arrow_points_along_yaw(yaw):
    estimate = PoseEstimate(5, Status.OK, (), from_planar(100.0, 30.0, yaw), None)
    panel = overlay.aerial_panel(measurement(patch=make_patch()), estimate, SIZE)
    grid = overlay.panel_grid(measurement(patch=make_patch()), estimate, SIZE)
    rows, columns = np.nonzero((panel == overlay.ESTIMATE).all(axis=2))
    away = grid.xy_from_uv(np.stack([columns, rows], axis=1)).mean(axis=0) - [100.0, 30.0]
    assert math.cos(math.atan2(away[1], away[0]) - yaw) > 0.99


def test_yaw_strip_marks_the_likely_bin():
    estimate = make_estimate(yaw=math.radians(20.0))
    picture = overlay.match_image(None, measurement(volume=make_volume(yaw_bin=2)), estimate, SIZE)
    strip = picture[:24, SIZE:]
    columns = np.nonzero((strip == overlay.ESTIMATE).all(axis=2))[1]
    middle = 12 + (2 + 0.5) * (SIZE - 24) / 6
    assert columns.mean() == pytest.approx(middle, abs=1.5)


@pytest.mark.parametrize(
    'fields',
    [
        {'status': Status.NO_MAP, 'reasons': ('coverage 12 % < 40 %',)},
        {'patch': make_patch()},
        {'volume': make_volume()},
        {'patch': make_patch(), 'volume': make_volume(), 'likelihood_mean': np.array([*PEAK, 1])},
    ],
)
@pytest.mark.parametrize('with_pose', [True, False])
@pytest.mark.parametrize('with_view', [True, False])
def test_whatever_is_missing_there_is_a_picture(fields, with_pose, with_view):
    camera = PinholeCamera(310, 94, 180.0, 180.0, 155.0, 47.0)
    view = GroundView(5, np.full((94, 310, 3), 200, np.uint8), camera, np.eye(4))
    estimate = make_estimate() if with_pose else PoseEstimate(5, Status.NO_PRIOR)
    picture = overlay.match_image(
        view if with_view else None, measurement(**fields), estimate, SIZE
    )
    assert picture.shape == (SIZE, 2 * SIZE, 3) and picture.dtype == np.uint8
    # The status is written even where there is no map: something lies on the right half.
    assert len(np.unique(picture[:, SIZE:].reshape(-1, 3), axis=0)) > 3


def test_bounded_but_huge_covariance_draws():
    cov = np.diag([1e8, 1e8, 1, 1, 1, 10.0])
    panel = overlay.aerial_panel(measurement(patch=make_patch()), make_estimate(cov), SIZE)
    assert panel.shape == (SIZE, SIZE, 3)
