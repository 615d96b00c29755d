# SPDX-License-Identifier: Apache-2.0
"""Seen through depth from elsewhere: against the room rendered from there."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from tests.training import room
from training.augmentation.pipeline import pipeline_from
from training.augmentation.viewpoint import MoveViewpoint, seen_from

MOVE = se3.make(se3.exp_rotation([0.05, -0.15, 0.08]), [0.12, -0.06, 0.1])


def off(image, wanted, where):
    return float(np.median(np.abs(image.astype(int) - wanted)[where]))


def test_the_moved_view_is_what_is_seen_from_there():
    T = room.pose(4)
    sample = room.sample_at(T)
    moved, known = seen_from(sample.view, MOVE)
    image, depth = room.see(T @ MOVE)
    both = np.isfinite(moved.depth)
    assert known > 0.7 and both.mean() > 0.6
    assert off(moved.image, image, both) <= 4
    assert np.median(np.abs(moved.depth - depth)[both]) < 0.02
    # The other way round it would be another place.
    wrong, deep = room.see(T @ se3.inverse(MOVE))
    assert off(moved.image, wrong, both) > 15
    assert np.median(np.abs(moved.depth - deep)[both]) > 0.05


def test_the_pose_moves_with_the_camera():
    T = room.pose(5)
    step = MoveViewpoint((0.2, 0.1, 0.2), (4.0, 8.0, 4.0))
    for seed in range(3):
        made = step.apply(room.sample_at(T), np.random.default_rng(seed))
        T_camera_moved = se3.inverse(T) @ made.T_map_camera
        assert se3.is_rigid(T_camera_moved) and np.abs(T_camera_moved[:3, 3]).max() > 0.005
        assert (np.abs(T_camera_moved[:3, 3]) <= [0.2, 0.1, 0.2]).all()
        image, depth = room.see(made.T_map_camera)
        both = np.isfinite(made.view.depth)
        assert off(made.view.image, image, both) <= 5
        assert np.median(np.abs(made.view.depth - depth)[both]) < 0.03
        assert made.view.depth.dtype == np.float32 and made.view.image.dtype == np.uint8


def test_what_was_hidden_is_noise_without_depth():
    # A near board before a far wall; the camera steps to the left and sees behind its left edge.
    view = room.sample_at(room.pose(0)).view
    image = np.full((60, 80, 3), 40, np.uint8)
    depth = np.full((60, 80), 3.0, np.float32)
    image[:, 40:], depth[:, 40:] = 200, 1.0
    view = replace(view, image=image, depth=depth)
    moved, _ = seen_from(view, se3.make(np.eye(3), [0.3, 0.0, 0.0]), noise=1)
    # The board moves left by f b / z = 21 px, the wall by 7: it hides wall, and uncovers nothing.
    assert (moved.image[30, 20:50] == 200).all() and (moved.image[30, 2:17] == 40).all()
    moved, _ = seen_from(view, se3.make(np.eye(3), [-0.3, 0.0, 0.0]), noise=1)
    shadow = moved.depth[30, 48:60]
    assert np.isnan(shadow).all() and len(np.unique(moved.image[30, 48:60, 0])) > 6
    assert (moved.image[30, 63:] == 200).all() and (moved.image[30, 10:45] == 40).all()


def test_nothing_is_seen_through_a_surface_that_comes_near():
    view = room.sample_at(room.pose(0)).view
    image = np.full((60, 80, 3), 40, np.uint8)
    depth = np.full((60, 80), 3.0, np.float32)
    image[15:45, 25:55], depth[15:45, 25:55] = 200, 1.0
    view = replace(view, image=image, depth=depth)
    # At 0.55 m each point of the board is 1.8 pixels from the next one.
    moved, _ = seen_from(view, se3.make(np.eye(3), [0.0, 0.0, 0.45]))
    board = np.s_[6:52, 18:66]
    assert (moved.image[board] == 200).all()
    np.testing.assert_allclose(moved.depth[board], 0.55, atol=1e-5)


def test_without_depth_it_turns_only_and_the_turn_is_exact():
    T = room.pose(6)
    sample = room.sample_at(T, depth=False)
    made = MoveViewpoint((0.3, 0.3, 0.3), (0.0, 10.0, 0.0)).apply(sample, np.random.default_rng(1))
    assert made.view.depth is None
    turn = se3.inverse(T) @ made.T_map_camera
    assert np.abs(turn[:3, 3]).max() < 1e-12 and np.abs(se3.log_rotation(turn)[1]) > 0.01
    image, _ = room.see(made.T_map_camera)
    inside = made.view.image.any(axis=-1)
    assert off(made.view.image, image, inside) <= 4


def test_a_view_that_would_show_too_little_moves_less_or_not_at_all():
    sample = room.sample_at(room.pose(7))
    step = MoveViewpoint((0.0, 0.0, 0.0), (0.0, 60.0, 0.0), least_known=1.0)
    assert step.apply(sample, np.random.default_rng(0)) is sample
    some = MoveViewpoint((0.0, 0.0, 0.0), (0.0, 60.0, 0.0), least_known=0.8)
    made = some.apply(sample, np.random.default_rng(0))
    assert made is not sample and made.view.image.any(axis=-1).mean() > 0.75


def test_draws_depend_on_the_sample_and_the_epoch_alone():
    steps = pipeline_from([{'step': 'move_viewpoint'}], seed=3)
    sample = room.sample_at(room.pose(8))
    first, again, later = (steps(sample, 5, epoch) for epoch in (1, 1, 2))
    assert np.array_equal(first.view.image, again.view.image)
    assert not np.array_equal(first.T_map_base, later.T_map_base)


@pytest.mark.parametrize('settings', [{'half_m': (1.0, 1.0)}, {'half_deg': (0.0, 90.0, 0.0)}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match='half_'):
        MoveViewpoint(**settings)
