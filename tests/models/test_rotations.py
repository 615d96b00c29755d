# SPDX-License-Identifier: Apache-2.0
"""Rotations of networks: against the library's, at the cut, and their mean."""

import math

import numpy as np
import pytest
import torch

from geoloc_core.geometry import se3
from geoloc_core.models.rotations import (
    angle_between,
    chordal_mean,
    half_angle_sine,
    log_quaternion,
    quaternion_from_rotation,
    rotation_from,
    rotation_from_log_quaternion,
    rotation_from_sixd,
    rotation_vector,
)


def turns(count, size, seed=0):
    """(count, 3) rotation vectors of a given length, rad."""
    axes = np.random.default_rng(seed).normal(size=(count, 3))
    return axes / np.linalg.norm(axes, axis=1, keepdims=True) * size


def matrices(vectors):
    return torch.tensor(np.stack([se3.exp_rotation(v) for v in vectors]))


@pytest.mark.parametrize('size', [0.0, 1e-6, 1e-3, 0.5, 2.0, math.pi - 1e-3])
def test_rotations_are_the_librarys(size):
    vectors = turns(20, size)
    R = matrices(vectors)
    q = quaternion_from_rotation(R).numpy()
    assert (q[:, 3] >= 0).all()
    for i in range(20):
        np.testing.assert_allclose(q[i], se3.quaternion_xyzw(R[i].numpy()), atol=1e-9)
    np.testing.assert_allclose(rotation_vector(R).numpy(), vectors, atol=2e-6)
    np.testing.assert_allclose(log_quaternion(R).numpy(), vectors / 2, atol=1e-6)
    again = rotation_from_log_quaternion(torch.tensor(vectors) / 2)
    np.testing.assert_allclose(again.numpy(), R.numpy(), atol=1e-9)


def test_half_turns_have_a_quaternion_and_no_nan():
    R = matrices(turns(50, math.pi, seed=3)).float()
    q = quaternion_from_rotation(R)
    assert torch.allclose(torch.linalg.vector_norm(q, dim=1), torch.ones(50))
    assert torch.allclose(rotation_from_log_quaternion(log_quaternion(R)), R, atol=1e-5)


def test_six_numbers_become_a_rotation_whatever_they_are():
    raw = torch.randn(100, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    R = rotation_from_sixd(raw)
    identity = torch.eye(3, dtype=torch.float64).expand(100, 3, 3)
    assert torch.allclose(R.transpose(1, 2) @ R, identity)
    assert torch.allclose(torch.linalg.det(R), torch.ones(100, dtype=torch.float64))
    # A rotation's own first two columns give it back, and their lengths do not matter.
    columns = torch.cat([3.0 * R[..., 0], 0.2 * R[..., 1]], dim=1)
    assert torch.allclose(rotation_from(columns, 'sixd'), R)


def test_log_quaternions_jump_at_half_a_turn_and_columns_do_not():
    before, after = matrices([[0, 0, math.pi - 0.01], [0, 0, math.pi + 0.01]])
    assert float(angle_between(before, after)) == pytest.approx(0.02, abs=1e-6)
    jump = torch.linalg.vector_norm(log_quaternion(before) - log_quaternion(after))
    assert float(jump) > 3.1
    assert float((before[:, :2] - after[:, :2]).abs().max()) < 0.03
    # So does the loss: half an angle, not half a circle.
    assert float(half_angle_sine(before, after)) == pytest.approx(math.sin(0.01), rel=1e-4)


def test_half_angle_sine_has_a_slope_at_any_angle():
    truth = torch.eye(3)
    for angle in (1e-3, 1.0, 3.0):
        u = torch.tensor([0.0, angle / 2, 0.0], requires_grad=True)
        loss = half_angle_sine(rotation_from_log_quaternion(u), truth)
        assert float(loss.detach()) == pytest.approx(math.sin(angle / 2), rel=1e-3)
        loss.backward()
        assert float(u.grad[1]) == pytest.approx(math.cos(angle / 2), abs=2e-3)


def test_the_mean_of_rotations_is_the_nearest_one():
    middle = matrices([[0.3, -2.9, 0.6]])[0]
    around = [se3.exp_rotation(v) for v in turns(5, 0.4, seed=1)]
    pairs = torch.tensor(np.stack([R for A in around for R in (A, A.T)])) @ middle
    assert torch.allclose(chordal_mean(pairs[None])[0], middle, atol=1e-6)
    # A mean of log-quaternions across the cut would be near no rotation at all.
    apart = matrices([[0, 0, math.pi - 0.1], [0, 0, math.pi + 0.2]])
    mean = chordal_mean(apart[None])[0]
    assert float(angle_between(mean, matrices([[0, 0, math.pi + 0.05]])[0])) < 1e-5


@pytest.mark.parametrize('count', [1, 2, 7])
@pytest.mark.parametrize('size', [0.05, 0.8, math.pi])
def test_the_mean_is_the_first_eigenvector(count, size):
    angles = np.random.default_rng(count).uniform(0.0, size, (5, count, 1))
    axes = turns(5 * count, 1.0, seed=2).reshape(5, count, 3)
    R = matrices((angles * axes).reshape(-1, 3)).reshape(5, count, 3, 3)
    q = quaternion_from_rotation(R).numpy()
    values, vectors = np.linalg.eigh(np.einsum('bki,bkj->bij', q, q))
    # Two values that are nearly one have no first.
    clear = values[:, 3] > 1.1 * values[:, 2]
    assert clear.any()
    wanted, found = vectors[clear, :, 3], quaternion_from_rotation(chordal_mean(R)).numpy()[clear]
    np.testing.assert_allclose(np.abs((wanted * found).sum(1)), 1.0, atol=1e-9)
    single = chordal_mean(R.float())
    assert torch.allclose(single[torch.tensor(clear)].double(), chordal_mean(R)[clear], atol=1e-5)


def test_a_mean_of_opposite_rotations_is_still_a_rotation():
    R = torch.stack([torch.eye(3), torch.diag(torch.tensor([-1.0, -1.0, 1.0]))])[None]
    mean = chordal_mean(R)[0]
    assert torch.allclose(mean @ mean.T, torch.eye(3), atol=1e-5)
