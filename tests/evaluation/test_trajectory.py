# SPDX-License-Identifier: Apache-2.0
import copy

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.trajectory import ape, associate, rpe, Trajectory, umeyama
from geoloc_core.geometry import se3


def wandering(seed: int, count: int = 40) -> Trajectory:
    rng = np.random.default_rng(seed)
    T = se3.from_xyz_rpy(3.0, -2.0, 0.5, 0.0, 0.0, 2.9)
    poses = []
    for _ in range(count):
        T = T @ se3.exp(rng.normal([0.8, 0.1, 0.0, 0.0, 0.02, 0.15], 0.05))
        poses.append(T)
    return Trajectory(np.arange(count) * 100_000_000 + 5, np.array(poses))


def disturbed(truth: Trajectory, seed: int = 1) -> Trajectory:
    rng = np.random.default_rng(seed)
    offset = se3.from_xyz_rpy(10.0, 5.0, 1.0, 0.1, -0.2, 1.2)
    noise = [se3.exp(rng.normal(0.0, 0.05, 6)) for _ in range(len(truth))]
    return Trajectory(
        truth.stamps_ns,
        np.array([offset @ T @ n for T, n in zip(truth.poses, noise, strict=True)]),
    )


def as_evo(trajectory: Trajectory):
    from evo.core.trajectory import PoseTrajectory3D

    return PoseTrajectory3D(
        poses_se3=list(trajectory.poses), timestamps=trajectory.stamps_ns * 1e-9
    )


@pytest.mark.parametrize('align', [False, True])
def test_ape_equals_evo(align):
    metrics = pytest.importorskip('evo.core.metrics')
    truth = wandering(0)
    estimate = disturbed(truth)
    ours = ape(estimate, truth, align=align)
    reference, theirs = as_evo(truth), as_evo(estimate)
    if align:
        theirs.align(reference)
    for relation, values in (
        (metrics.PoseRelation.translation_part, ours.translation_m),
        (metrics.PoseRelation.rotation_angle_rad, ours.rotation_rad),
    ):
        oracle = metrics.APE(relation)
        oracle.process_data((reference, copy.deepcopy(theirs)))
        np.testing.assert_allclose(values, oracle.error, atol=1e-7)


@pytest.mark.parametrize('step', [1, 5])
def test_rpe_equals_evo(step):
    metrics = pytest.importorskip('evo.core.metrics')
    truth = wandering(0)
    estimate = disturbed(truth)
    ours = rpe(estimate, truth, step)
    for relation, values in (
        (metrics.PoseRelation.translation_part, ours.translation_m),
        (metrics.PoseRelation.rotation_angle_rad, ours.rotation_rad),
    ):
        oracle = metrics.RPE(relation, delta=step, delta_unit=metrics.Unit.frames, all_pairs=True)
        oracle.process_data((as_evo(truth), as_evo(estimate)))
        np.testing.assert_allclose(values, oracle.error, atol=1e-7)


def test_umeyama_finds_the_motion_and_never_mirrors():
    rng = np.random.default_rng(3)
    flat = np.column_stack([rng.normal(size=(20, 2)) * [30, 4], np.zeros(20)])
    T = se3.from_xyz_rpy(100.0, -50.0, 3.0, 0.0, 0.0, -2.5)
    np.testing.assert_allclose(umeyama(flat, se3.transform(T, flat)), T, atol=1e-9)
    mirrored = flat * [1, -1, 1]
    assert np.linalg.det(umeyama(flat, mirrored)[:3, :3]) == pytest.approx(1.0)
    with pytest.raises(InputError, match='N >= 3'):
        umeyama(flat[:2], flat[:2])


def test_interpolation_takes_the_short_way_and_does_not_bridge_gaps():
    poses = np.array(
        [se3.from_planar(0, 0, np.radians(170)), se3.from_planar(2, 4, np.radians(-170))]
    )
    line = Trajectory(np.array([0, 1_000_000_000]), poses)
    at, known = line.at([0, 250_000_000, 1_000_000_000, 1_000_000_001, -1])
    assert known.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(at[1, :2, 3], [0.5, 1.0])
    assert np.degrees(se3.yaw_of(at[1])) == pytest.approx(175.0)
    assert np.isnan(at[3]).all()
    _, known = line.at([500_000_000], max_gap_ns=900_000_000)
    assert not known[0]


def test_association_gives_each_truth_to_its_nearest_only():
    a = [0, 90, 105, 300, 10_000]
    b = [0, 100, 290]
    left, right = associate(a, b, max_difference_ns=20)
    assert left.tolist() == [0, 2, 3]
    assert right.tolist() == [0, 1, 2]
    assert len(associate(a, [])[0]) == 0


def test_trajectories_that_are_none_are_refused():
    with pytest.raises(InputError, match='increase'):
        Trajectory(np.array([1, 1]), np.array([np.eye(4)] * 2))
    with pytest.raises(InputError, match=r'\(N, 4, 4\)'):
        Trajectory(np.array([1, 2]), np.zeros((2, 3, 4)))
    sorted_ = Trajectory.of([(5, np.eye(4)), (1, np.eye(4)), (5, 2 * np.eye(4))])
    assert sorted_.stamps_ns.tolist() == [1, 5]
    assert sorted_.poses[1, 0, 0] == 2
    assert len(Trajectory.of([])) == 0
