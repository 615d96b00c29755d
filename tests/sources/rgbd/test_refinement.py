# SPDX-License-Identifier: Apache-2.0
"""The joint estimate against known poses, numerical derivatives and its own covariance."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.sources.rgbd import refinement
from geoloc_core.sources.rgbd.matching import correspondences, sight_of
from geoloc_core.sources.rgbd.noise import NoiseModel
from geoloc_core.sources.rgbd.refinement import refine, RefinementConfig, ViewPoints
from geoloc_core.sources.rgbd.surface import MapSurfaces, surface_of, view_surface
from tests.sources.rgbd.rooms import CAMERA, camera_pose, place_of, Room

TRUTH = camera_pose(2.3, 2.2, 0.5, z=1.4)
NOISE = NoiseModel()
ALL = tuple(range(12))


@pytest.fixture(scope='module')
def room():
    return Room()


@pytest.fixture(scope='module')
def surfaces(room):
    return MapSurfaces(place_of(room))


def seen(room, surfaces, T=TRUTH, wrong=0.3, seed=0, depth=True):
    image = room.depth(T, noise_m=0.004, seed=seed)
    sight = sight_of(room.features(T, seed=seed, wrong=wrong), CAMERA, image if depth else None)
    matches = correspondences(sight, surfaces._place.keyframes, ALL, 0.9)
    return matches, ViewPoints(*view_surface(image, CAMERA).sample(600))


def off(T, truth=TRUTH):
    error = se3.inverse(truth) @ T
    return np.linalg.norm(error[:3, 3]), np.degrees(
        np.linalg.norm(se3.log_rotation(error[:3, :3]))
    )


def start(twist=(0.04, -0.03, 0.05, 0.03, -0.02, 0.03)):
    return TRUTH @ se3.exp(twist)


def test_features_and_surfaces_together(room, surfaces):
    matches, view = seen(room, surfaces)
    found = refine(start(), matches, view, surfaces, ALL, NOISE, RefinementConfig())
    metres, degrees = off(found.T_place_camera)
    assert metres < 0.005
    assert degrees < 0.15
    assert found.on_surface > 0.8
    assert found.surface_rms_m < 0.02
    assert se3.is_rigid(found.T_place_camera)


@pytest.mark.parametrize('feature_weight', [1.0])
def test_features_alone(room, surfaces, feature_weight):
    matches, _ = seen(room, surfaces, depth=False)
    config = RefinementConfig(feature_weight=feature_weight)
    found = refine(start(), matches, None, surfaces, (), NOISE, config)
    metres, degrees = off(found.T_place_camera)
    assert metres < 0.02
    assert degrees < 0.4
    assert np.isnan(found.on_surface)


def test_surfaces_alone_in_a_corner(room, surfaces):
    corner = camera_pose(2.0, 1.6, 0.7, z=1.2, pitch=0.5)
    matches, view = seen(room, surfaces, corner)
    moved = corner @ se3.exp((0.04, -0.03, 0.05, 0.03, -0.02, 0.03))
    found = refine(moved, matches.take([]), view, surfaces, ALL, NOISE, RefinementConfig())
    metres, degrees = off(found.T_place_camera, corner)
    assert metres < 0.02
    assert degrees < 0.3


def test_a_single_wall_leaves_axes_open(surfaces):
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-0.5, 0.5, (300, 2)), np.full((300, 1), 2.3)], axis=1)
    view = ViewPoints(points, np.tile([0.0, 0.0, -1.0], (300, 1)))
    ahead = camera_pose(2.7, 2.0, 0.0, pitch=0.0)
    matches, _ = seen(Room(), surfaces)
    found = refine(ahead, matches.take([]), view, surfaces, ALL, NOISE, RefinementConfig())
    assert found is None


def test_nothing_at_all_is_no_estimate(room, surfaces):
    matches, _ = seen(room, surfaces)
    assert refine(TRUTH, matches.take([]), None, surfaces, (), NOISE, RefinementConfig()) is None


def test_jacobians_have_the_right_signs(room, surfaces):
    """Rows against differences of residuals, weights held: every sign of every block."""
    matches, view = seen(room, surfaces, wrong=0.0)
    matches = matches.take(np.arange(30))
    config, step = RefinementConfig(), 1e-6
    T = start((0.01, -0.01, 0.01, 0.005, 0.004, -0.006))
    pairs = refinement._pairs(T, view, surfaces, ALL, 0.1)

    def raw(pose):
        feature = refinement._feature_rows(pose, matches, NoiseModel(reach=1e6), 1.0)
        surface = refinement._surface_rows(pose, pairs, RefinementConfig(surface_m=1e6))
        return feature, surface

    base = raw(T)
    for axis in range(6):
        d = np.zeros(6)
        d[axis] = step
        moved = T.copy()
        moved[:3, 3] += T[:3, :3] @ d[:3]
        moved[:3, :3] = T[:3, :3] @ se3.exp_rotation(d[3:])
        for before, after in zip(base, raw(moved), strict=True):
            slope = (after.r - before.r) / step
            # The deviations depend a little on depth: their derivative is left out on purpose.
            size = np.abs(before.J).max()
            assert np.median(np.abs(slope - before.J[:, axis])) < 2e-3 * size
    assert config.rounds > 1


def test_covariance_is_about_the_spread_of_estimates(room, surfaces):
    """In the axes of the place: a turned camera would show a mix-up of axes."""
    errors, covs = [], []
    config = RefinementConfig(rounds=2, feature_weight=1.0)
    for seed in range(30):
        matches, _ = seen(room, surfaces, wrong=0.0, seed=seed, depth=False)
        matches = matches.take(matches.keyframe < 6)
        found = refine(TRUTH, matches, None, surfaces, (), NOISE, config)
        turn = se3.log_rotation(found.T_place_camera[:3, :3] @ TRUTH[:3, :3].T)
        errors.append(np.concatenate([found.T_place_camera[:3, 3] - TRUTH[:3, 3], turn]))
        covs.append(found.cov)
    std = np.std(errors, axis=0)
    said = np.sqrt(np.mean([np.diag(c) for c in covs], axis=0))
    # The noise model allows for a map that disagrees with itself; this one does not.
    assert np.all(said > 0.8 * std)
    assert np.all(said < 12 * std)
    assert np.corrcoef(np.log(std[:3]), np.log(said[:3]))[0, 1] > 0.3


def test_normals_look_at_the_camera(room):
    surface = surface_of(room.depth(TRUTH), CAMERA)
    good = np.isfinite(surface.normals[..., 0])
    assert good.mean() > 0.7
    towards = np.einsum('hwi,hwi->hw', surface.normals, surface.points)[good]
    assert (towards < 0).all()
    walls = surface.normals[good] @ TRUTH[:3, :3].T.astype(np.float32)
    assert np.median(np.abs(walls).max(axis=1)) > 0.999


def test_surfaces_are_kept_only_so_many(room):
    few = MapSurfaces(place_of(room), keep=2)
    for k in (0, 1, 2, 0):
        assert few.get(k) is not None
    assert len(few._made) == 2


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match='rounds'):
        RefinementConfig(rounds=0)
