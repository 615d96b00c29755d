# SPDX-License-Identifier: Apache-2.0
"""Tokens of the teacher: of rays, points and cameras, as sines and as rotations."""

import math

import torch

from geoloc_core.geometry import se3
from geoloc_core.models.crossvit_settings import BranchSettings, SpatialSettings
from geoloc_core.models.crossvit_tokens import (
    centre_of,
    NOWHERE,
    RotaryTokens,
    rotation_of,
    sine_tokens,
    SineTokens,
    wavenumbers,
)
from tests.models.crossvit_networks import LARGE, seen


def test_sine_tokens_stretch_each_token_and_repeat():
    found = sine_tokens(torch.tensor([[0.0, 1.0, 2.0, 4.0]]), 18)[0]
    angles = torch.tensor([-1.0, -0.5, 0.0, 1.0]) * math.pi
    pair = torch.cat([angles.sin(), angles.cos()])
    torch.testing.assert_close(found[:8], pair)
    torch.testing.assert_close(found, torch.cat([pair, pair, pair])[:18])


def test_sine_tokens_are_blind_to_shift_and_scale_as_published():
    numbers = torch.tensor([[0.3, -1.0, 2.0, 0.9, 0.1, -0.2, 0.4]])
    torch.testing.assert_close(
        sine_tokens(numbers, 24), sine_tokens(5.0 * numbers + 3.0, 24), atol=1e-5, rtol=0
    )


def test_sine_tokens_of_the_branch_put_the_unknown_nowhere():
    _, extra = seen(count=1)
    camera = extra['camera']
    points = torch.randn(1, 4, 3)
    tokens = SineTokens(BranchSettings(**LARGE))
    with_hole = points.clone()
    with_hole[0, 2] = float('nan')
    found, rotation = tokens(with_hole, camera)
    assert rotation is None and found.isfinite().all()
    nowhere = torch.cat([torch.full((3,), NOWHERE), camera[0, 3:]])
    torch.testing.assert_close(found[0, 3], sine_tokens(nowhere, 24))
    # The slot of the class: translation and quaternion.
    torch.testing.assert_close(found[0, 0], sine_tokens(camera[0], 24))


def test_rotation_depends_on_displacements_alone():
    """Query at a against key at b: the same product wherever both are moved together."""
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 2, 8), torch.randn(1, 1, 2, 8)
    waves = wavenumbers((0.5, 20.0), 1)
    places = torch.tensor([[[0.2, -1.0, 3.0], [1.0, 0.5, 2.0]]])

    def product(at):
        turn = rotation_of(at, waves, 4)
        return turn(query)[0, 0, 0] @ turn(key)[0, 0, 1]

    moved = product(places + torch.tensor([4.0, -7.0, 1.5]))
    torch.testing.assert_close(product(places), moved, atol=1e-4, rtol=1e-4)
    apart = places.clone()
    apart[0, 1, 0] += 1.0
    assert (product(places) - product(apart)).abs() > 1e-3


def test_rotation_turns_pairs_by_the_angle_of_their_axis():
    waves = torch.tensor([2.0])
    turn = rotation_of(torch.tensor([[[0.1, 0.2, 0.3]]]), waves, 4)
    x = torch.tensor([1.0, 0.0] * 4).view(1, 1, 1, 8)
    wanted = [f(a) for a in (0.2, 0.4, 0.6, 0.0) for f in (math.cos, math.sin)]
    torch.testing.assert_close(turn(x).flatten(), torch.tensor(wanted))


def test_waves_go_from_the_longest_to_the_shortest():
    waves = wavenumbers((0.5, 200.0), 5)
    torch.testing.assert_close(waves[0], torch.tensor(2 * math.pi / 200.0))
    torch.testing.assert_close(waves[-1], torch.tensor(2 * math.pi / 0.5))
    ratios = waves[1:] / waves[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(4))


def test_camera_centre_is_not_the_translation():
    """Wrong-sign test: map -> camera is given, the centre is -R^T t."""
    T = se3.from_xyz_rpy(2.0, -3.0, 0.5, 0.1, 0.2, 1.3)
    inverse = se3.inverse(T)
    x, y, z, w = se3.quaternion_xyzw(inverse)
    camera = torch.tensor([[*inverse[:3, 3], w, x, y, z]]).float()
    torch.testing.assert_close(centre_of(camera), torch.tensor([[2.0, -3.0, 0.5]]))


def test_rotary_tokens_look_along_the_optical_axis():
    branch = BranchSettings(**LARGE)
    torch.manual_seed(0)
    tokens = RotaryTokens(branch, SpatialSettings(encoding='rotary'))
    with torch.no_grad():
        # Keep the directions alone.
        tokens.project.weight.zero_()
        tokens.project.bias.zero_()
        tokens.project.weight[:3, -3:] = torch.eye(3)
        tokens.unknown.fill_(9.0)
    T = se3.from_xyz_rpy(2.0, -3.0, 0.5, 0.1, 0.2, 1.3)
    inverse = se3.inverse(T)
    x, y, z, w = se3.quaternion_xyzw(inverse)
    camera = torch.tensor([[*inverse[:3, 3], w, x, y, z]]).float()
    centre = torch.tensor([2.0, -3.0, 0.5])
    points = (centre + torch.tensor([[0.0, 0.0, 4.0], [-2.0, 0.0, 0.0]]))[None]
    points = torch.cat([points, torch.full((1, 1, 3), float('nan'))], dim=1)
    found, rotation = tokens(points, camera)
    torch.testing.assert_close(found[0, 0, :3], torch.tensor(T[:3, 2]).float())
    torch.testing.assert_close(found[0, 1, :3], torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(found[0, 2, :3], torch.tensor([-1.0, 0.0, 0.0]))
    assert (found[0, 3] == 9.0).all()
    # The class and the unknown lie at the camera: they do not turn.
    assert (rotation.sin[0, [0, 3]] == 0).all() and rotation.sin[0, 1].abs().max() > 0
