# SPDX-License-Identifier: Apache-2.0
"""Walls: windows near, a calm mean far away, and no two alike."""

import numpy as np
import pytest

from geoloc_core.simulation.render.facades import Facades, KINDS
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material
from tests.simulation.render.conftest import scene_of

FACADES = Facades(4)


def wall(kind, length=36.0, height=15.8, side=0, facades=FACADES, gsd=0.1, footprint=None):
    """(H, W, 3) picture of a wall seen straight on, lit from the front."""

    def build(builder):
        y = 20.0 + side * 40.0
        quad = [[(0, y, 0), (length, y, 0), (length, y, height)],
                [(0, y, 0), (length, y, height), (0, y, height)]]  # fmt: skip
        builder.add(quad, Material.WALL, (200, 180 + side, 150), kind=kind, wall_axis=(1, 0, 0))

    scene = scene_of(build)
    scene._facades = facades
    x = (np.arange(round(length / gsd)) + 0.5) * gsd
    z = height - (np.arange(round(height / gsd)) + 0.5) * gsd
    origins = np.zeros((len(z), len(x), 3))
    origins[..., 0], origins[..., 1], origins[..., 2] = x, side * 40.0, z[:, None]
    ahead = np.tile([0.0, 1.0, 0.0], (origins.size // 3, 1))
    hits = scene.cast(origins.reshape(-1, 3), ahead, footprint or gsd, 0.0)
    assert (hits.label == Label.BUILDING).all()
    return hits.rgb.reshape(*origins.shape).astype(float)


@pytest.mark.parametrize('kind', range(KINDS))
def test_far_walls_are_the_mean_of_near_ones(kind):
    near = wall(kind)
    far = wall(kind, footprint=8.0)
    inner = slice(40, -40), slice(60, -60)
    assert near[inner].std(axis=(0, 1)).mean() > 12
    assert far[inner].std(axis=(0, 1)).mean() < 0.5 * near[inner].std(axis=(0, 1)).mean()
    np.testing.assert_allclose(far[inner].mean(), near[inner].mean(), rtol=0.16)


def test_every_edge_is_filtered():
    """Mean of fine samples equals one wide sample: nothing flickers when a camera moves."""
    fine = wall(0, gsd=0.05)
    k = 4
    h, w = fine.shape[0] // k * k, fine.shape[1] // k * k
    means = fine[:h, :w].reshape(h // k, k, w // k, k, 3).mean(axis=(1, 3))
    wide = wall(0, gsd=0.2)[: h // k, : w // k]
    assert np.sqrt(((means - wide) ** 2).mean()) < 0.35 * means.std()


def test_windows_differ_within_a_wall_and_between_houses():
    image = wall(1, length=48.0)
    other = wall(1, length=48.0, side=1)
    assert abs(image - other).mean() > 2
    # No shift along the wall makes it match itself.
    row = image[60:120].mean(axis=-1)
    row = row - row.mean()
    scores = [(row[:, :-shift] * row[:, shift:]).mean() / row.var() for shift in range(20, 300, 1)]
    assert max(scores) < 0.97


def test_wall_without_room_for_a_window_has_none():
    small = wall(0, length=1.6, height=2.0, gsd=0.05)
    assert small.std(axis=(0, 1)).mean() < 15


def test_seed_gives_the_same_walls():
    same, other = Facades(4).data, Facades(5).data
    assert np.array_equal(same.styles, FACADES.data.styles)
    assert not np.array_equal(same.styles, other.styles)
