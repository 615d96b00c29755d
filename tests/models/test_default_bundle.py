# SPDX-License-Identifier: Apache-2.0
"""The bundle that robots run by default, scored again on stored samples, without torch."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import FisheyeCamera, PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.lookup import warp_camera
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.bundle_files import PARTS
from geoloc_core.sources.cross_view import CrossViewSource
from geoloc_core.sources.matcher import Attitude
from geoloc_core.sources.model_matcher import ModelMatcher
from geoloc_core.types import AerialPatch, Status
from tests.models.fixtures import rolled, samples
from tests.sources.painted_ground import FRAME, PaintedGround

BUNDLE = Path(__file__).parents[2] / 'config' / 'models' / 'geoloc'
# 98 and 193 degrees wide.
PINHOLE = PinholeCamera(640, 400, 280.0, 280.0, 319.5, 199.5)
FISHEYE = FisheyeCamera(640, 512, 190.0, 190.0, 319.5, 255.5)


@pytest.fixture(scope='module')
def matcher():
    pytest.importorskip('onnxruntime')
    return ModelMatcher(load_bundle(BUNDLE))


def errors(matcher, items):
    """(N, 3) position error (m), yaw error and turn from the prior (rad) of the best cell."""
    rows = []
    for sample in items:
        found = matcher.log_likelihood(sample.view, Attitude(0.0, 0.0), sample.patch, sample.prior)
        assert found.status is Status.OK
        k, v, u = np.unravel_index(found.log_likelihood.argmax(), found.log_likelihood.shape)
        x, y, yaw = se3.planar(sample.T_map_base)
        xy = found.grid.xy_from_uv((u, v))
        off, turn = (
            float(angles.difference(found.yaws[k], other))
            for other in (yaw, se3.yaw_of(sample.prior.T_map_base))
        )
        rows.append((np.hypot(xy[0] - x, xy[1] - y), abs(off), turn))
    return np.array(rows)


def turned_by(columns):
    """The samples, the robots turned by so many columns each and the prior's yaw left open."""
    items = [rolled(sample, each) for sample, each in zip(samples(), columns, strict=True)]
    for sample in items:
        sample.prior.cov[5, 5] = np.radians(15.0) ** 2
    return items


def through(camera, sample):
    """What another camera, looking a little down, would have seen where a panorama was taken."""
    R = se3.exp_rotation([-np.radians(10.0), 0.0, 0.0])
    view = sample.view
    image, _ = warp_camera(view.image, view.camera, camera, R)
    mount = view.T_base_camera @ se3.make(R, np.zeros(3))
    view = replace(view, image=image, camera=camera, T_base_camera=mount, depth=None)
    return replace(sample, view=view)


def tile_of(sample, gsd, size=None):
    """The sample's tile in pixels of `gsd`; all of it, or a piece of `size` (width, height) px.

    The piece's middle is neither the truth nor the prior, but lies between them.
    """
    whole = sample.patch.grid
    side = round(whole.width * whole.gsd / gsd)
    grid = Grid(whole.center_xy, gsd, side, side)
    if size is not None:
        # A whole number of pixels, half of the way.
        away = np.subtract(se3.planar(sample.T_map_base)[:2], whole.center_xy) / 2
        room = (side - np.array(size)) / 2 * gsd
        grid = Grid(tuple(whole.center_xy + np.clip(away, -room, room)), gsd, *size)
    u, v = np.moveaxis(whole.uv_from_xy(grid.cell_centers()).astype(np.float32), -1, 0)
    image = cv2.remap(sample.patch.image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return AerialPatch(image, np.ones(image.shape[:2], bool), grid)


def test_it_is_small_enough_to_ship():
    assert sum(p.stat().st_size for p in BUNDLE.iterdir()) < 16e6
    names = {p.name for p in BUNDLE.iterdir()}
    assert {'model.onnx', 'model.json'} <= names <= set(PARTS)


def test_places_are_found_in_a_town_it_never_saw(matcher):
    """Priors are up to 19 m off; half of the places are found to 2 m, where yaw is known."""
    found = errors(matcher, samples())
    assert np.median(found[:, 0]) < 2.0


def test_a_turned_robot_is_seen_to_have_turned(matcher):
    """The prior knows nothing of the turn, nor that there may be none."""
    found = errors(matcher, turned_by([8] * 8))
    assert np.median(found[:, 1]) < np.radians(4.0)


@pytest.mark.parametrize(
    ('camera', 'bound_m'), [(PINHOLE, 2.5), (FISHEYE, 1.8)], ids=['pinhole', 'fisheye']
)
def test_other_lenses_find_places_and_the_way_a_robot_turned(matcher, camera, bound_m):
    """Every other robot has turned the other way, all by 13.5 degrees."""
    columns = [12, -12] * 4
    found = errors(matcher, [through(camera, sample) for sample in turned_by(columns)])
    assert np.median(found[:, 0]) < bound_m
    assert np.median(found[:, 1]) < np.radians(5.0)
    assert (np.sign(found[:, 2]) == np.sign(columns)).sum() >= 7


@pytest.mark.parametrize(
    ('gsd', 'size'), [(0.25, (208, 176)), (0.8, None)], ids=['piece', 'coarse']
)
def test_maps_of_other_resolutions_and_sizes_serve_as_well(matcher, gsd, size):
    items = [replace(sample, patch=tile_of(sample, gsd, size)) for sample in samples()]
    found = errors(matcher, items)
    assert np.median(found[:, 0]) < 1.5 and found[:, 0].max() < 3.0


def test_a_fisheye_on_a_fine_map_measures_poses(matcher):
    """Prior to pose as on a robot, whose map has pixels of a quarter of a metre."""
    source, errors_m, errors_yaw = CrossViewSource(matcher), [], []
    for sample in turned_by([12, -12] * 4):
        view, tile = through(FISHEYE, sample).view, tile_of(sample, 0.25)
        ground = PaintedGround(tile.image, tile.grid)
        measured = source.measure(view, sample.prior, FRAME, ground)
        if measured.status is Status.AMBIGUOUS:
            continue
        assert measured.status is Status.OK
        x, y, yaw = np.subtract(se3.planar(measured.T_map_base), se3.planar(sample.T_map_base))
        errors_m.append(np.hypot(x, y))
        errors_yaw.append(abs(float(angles.difference(yaw, 0.0))))
    assert len(errors_m) >= 6
    assert np.median(errors_m) < 1.8 and np.median(errors_yaw) < np.radians(5.0)
