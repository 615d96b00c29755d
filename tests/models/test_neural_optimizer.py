# SPDX-License-Identifier: Apache-2.0
"""The learned steps of pose: geometry of the warp, signs, what is kept."""

import math

import pytest
import torch

from geoloc_core.models.neural_optimizer import NeuralOptimizer, RotationEstimator, warp

SIDE = (24.0, 16.0)


def spot(row, column):
    """(1, 1, 16, 24) with one bright cell; cells of 1 m."""
    features = torch.zeros(1, 1, 16, 24)
    features[0, 0, row, column] = 1.0
    return features


def peak(features):
    index = int(features[0, 0].argmax())
    return divmod(index, features.shape[-1])


def test_still_robot_sees_the_patch_as_it_is():
    torch.manual_seed(0)
    features = torch.randn(2, 3, 16, 24)
    same, inside = warp(features, torch.zeros(2, 3), SIDE)
    torch.testing.assert_close(same, features, atol=1e-5, rtol=1e-5)
    assert inside.all()


def test_robot_to_the_right_sees_things_further_left():
    seen, inside = warp(spot(7, 15), torch.tensor([[4.0, 0.0, 0.0]]), SIDE)
    assert peak(seen) == (7, 11)
    assert inside[0, 0, :, :20].all()
    assert not inside[0, 0, :, 20:].any()
    seen, _ = warp(spot(7, 15), torch.tensor([[0.0, 3.0, 0.0]]), SIDE)
    assert peak(seen) == (10, 15)


def test_robot_that_looks_up_the_patch_sees_what_is_there_ahead():
    # 4.5 m up and 0.5 m right of the middle: ahead and a little to the right.
    seen, _ = warp(spot(3, 12), torch.tensor([[0.0, 0.0, math.pi / 2]]), SIDE)
    assert peak(seen) == (8, 16)


def test_steps_are_taken_along_the_robots_axes():
    estimator = RotationEstimator({0: 4}, SIDE, 5.0, 10.0).eval()
    pose = torch.tensor([[1.0, 2.0, math.pi / 2]])
    moved = estimator._moved(pose, torch.tensor([[1.0, 0.0, 1.0]]))
    want = torch.tensor([[1.0, 7.0, math.pi / 2 + math.radians(10)]])
    torch.testing.assert_close(moved, want, atol=1e-5, rtol=1e-5)


def test_far_places_are_drawn_anew_while_learning_and_held_in_use():
    estimator = RotationEstimator({0: 4}, SIDE, 5.0, 10.0)
    pose = torch.tensor([[30.0, 1.0, 0.1], [1.0, -2.0, 0.2]])
    torch.manual_seed(0)
    kept = estimator.train()._kept(pose)
    assert kept[0, :2].abs().max() <= 5
    assert torch.equal(kept[1], pose[1])
    assert estimator.eval()._kept(pose)[0].tolist() == pytest.approx([10.0, 1.0, 0.1])


def test_untrained_stays_and_odd_sizes_pass():
    net = NeuralOptimizer(5)
    assert torch.equal(net(torch.randn(2, 5, 37, 50)), torch.zeros(2, 3))
    torch.nn.init.normal_(net.head.weight)
    net(torch.randn(2, 5, 37, 50)).sum().backward()
    assert net.block.bias.grad.abs().sum() > 0
