# SPDX-License-Identifier: Apache-2.0
"""First poses out of right and wrong matches, against poses that are known."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.sources.rgbd.matching import Correspondences
from geoloc_core.sources.rgbd.noise import NoiseModel
from geoloc_core.sources.rgbd.solver import (
    align,
    aligned,
    depth_scale,
    errors_of,
    judged,
    perspective,
    solve,
    SolverConfig,
)

TRUTH = se3.from_xyz_rpy(1.0, -2.0, 0.5, 0.3, -0.2, 2.0)
NOISE = NoiseModel()
FOCAL = 500.0


def scene(count=200, wrong=0.5, depth=True, seed=0, flat=False):
    """Correspondences at TRUTH, of which the first ones are wrong."""
    rng = np.random.default_rng(seed)
    seen = np.stack(
        [
            rng.uniform(-1, 1, count),
            rng.uniform(-0.7, 0.7, count),
            np.full(count, 2.0) if flat else rng.uniform(1.0, 3.5, count),
        ],
        axis=1,
    )
    points = se3.transform(TRUTH, seen)
    rays = seen / seen[:, 2:]
    rays[:, :2] += 0.5 / FOCAL * rng.normal(size=(count, 2))
    z = seen[:, 2] + 0.005 * rng.normal(size=count)
    mixed = int(wrong * count)
    points[:mixed] = points[rng.permutation(mixed)]
    index = np.arange(count)
    return Correspondences(
        rays, z if depth else np.full(count, np.nan), points, index, index % 3, FOCAL
    )


def off(T):
    error = se3.inverse(TRUTH) @ T
    return np.linalg.norm(error[:3, 3]), np.linalg.norm(se3.log_rotation(error[:3, :3]))


@pytest.mark.parametrize('pnp', ['opencv', 'poselib'])
@pytest.mark.parametrize('flat', [False, True])
def test_perspective_finds_the_pose_among_wrong_matches(pnp, flat):
    if pnp == 'poselib':
        pytest.importorskip('poselib')
    found = perspective(scene(depth=False, flat=flat), NOISE, SolverConfig(pnp))
    metres, radians = off(found.T_place_camera)
    assert metres < 0.02
    assert radians < 0.01
    assert found.support >= 98
    assert not found.inlier[:80].all()


def test_alignment_finds_it_with_fewer_right_matches_than_wrong_ones():
    found = aligned(scene(wrong=0.75), NOISE, SolverConfig())
    metres, radians = off(found.T_place_camera)
    assert metres < 0.01
    assert radians < 0.01
    assert found.method == 'aligned'


def test_the_same_input_gives_the_same_answer():
    first, again = (solve(scene(), NOISE, SolverConfig()) for _ in range(2))
    np.testing.assert_array_equal(first.T_place_camera, again.T_place_camera)


def test_a_mirrored_scene_has_no_pose():
    """A reflection is no rotation: wrong signs must not be fitted away."""
    right = scene(wrong=0.0)
    mirrored = replace(right, points=right.points * [-1, 1, 1])
    found = solve(mirrored, NOISE, SolverConfig())
    assert found is None or found.support < 60


def test_too_few_matches_are_no_pose():
    config = SolverConfig()
    assert perspective(scene(3, wrong=0.0), NOISE, config) is None
    assert aligned(scene(2, wrong=0.0), NOISE, config) is None
    assert solve(scene(0), NOISE, config) is None
    assert aligned(scene(50, depth=False), NOISE, config) is None


def test_points_on_a_line_are_not_solved_into_a_crash():
    one = scene(40, wrong=0.0)
    line = np.outer(np.linspace(1, 3, 40), [0.1, 0.05, 1.0])
    same = replace(
        one, rays=line / line[:, 2:], depth=line[:, 2], points=se3.transform(TRUTH, line)
    )
    found = solve(same, NOISE, SolverConfig())
    assert found is None or np.isfinite(found.T_place_camera).all()


def test_alignment_never_reflects():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(20, 5, 3))
    target = source * [1, 1, -1] + 0.1 * rng.normal(size=source.shape)
    T = align(source, target)
    np.testing.assert_allclose(np.linalg.det(T[:, :3, :3]), 1.0, atol=1e-9)


def test_alignment_takes_source_to_target():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(1, 6, 3))
    T = align(source, se3.transform(TRUTH, source), np.arange(1.0, 7.0))
    np.testing.assert_allclose(T[0], TRUTH, atol=1e-12)


def test_errors_are_in_deviations_and_infinite_behind():
    one = scene(4, wrong=0.0)
    across, along = errors_of(one, TRUTH, NOISE)
    assert across.max() < 2.0
    assert along.max() < 3.0
    behind, _ = errors_of(one, TRUTH @ se3.from_xyz_rpy(0, 0, 0, 0, np.pi, 0), NOISE)
    assert np.isinf(behind).all()
    # Without a depth nothing is said along the ray.
    assert errors_of(one.without_depth(), TRUTH, NOISE)[1].max() == 0.0


def test_support_counts_features_not_matches():
    one = scene(10, wrong=0.0)
    twice = replace(one, feature=np.zeros(10, np.int64))
    assert judged(twice, TRUTH, NOISE, 'pnp').support == 1


@pytest.mark.parametrize('factor', [1000.0, 0.2, 1.0])
def test_scale_of_depth_is_told_by_the_map(factor):
    one = scene()
    scaled = replace(one, depth=one.depth * factor)
    found = perspective(scaled.without_depth(), NOISE, SolverConfig())
    scale, count = depth_scale(scaled, found)
    np.testing.assert_allclose(scale, factor, rtol=0.01)
    assert count > 80
    nothing, none = depth_scale(one.without_depth(), found)
    assert np.isnan(nothing)
    assert none == 0


def test_unknown_solvers_and_impossible_noise_are_refused():
    with pytest.raises(ConfigError, match='opencv'):
        SolverConfig('ransac')
    with pytest.raises(ConfigError, match='positive'):
        SolverConfig(iterations=0)
    with pytest.raises(ConfigError, match='pixel_px'):
        NoiseModel(pixel_px=0.0)
