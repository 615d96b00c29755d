# SPDX-License-Identifier: Apache-2.0
"""The correlation by DFT against its definition, summed cell by cell."""

import numpy as np
import pytest

from geoloc_core.sources.masked_correlation import CorrelationWindow, Template, turn


def template(rng, height=9, width=13, anchor=(-2.0, 4.0)):
    features = rng.normal(size=(height, width, 3)).astype(np.float32)
    weight = rng.uniform(0.2, 1, (height, width)).astype(np.float32)
    weight[:2, :3] = 0.0
    return Template(features, weight, anchor)


@pytest.mark.parametrize('with_hole', [False, True])
def test_scores_are_the_definition(with_hole):
    rng = np.random.default_rng(1)
    one = turn(template(rng), 0.0)
    image = rng.normal(size=(40, 52, 3)).astype(np.float32)
    mask = np.ones((40, 52), bool)
    if with_hole:
        mask[10:25, 18:30] = False
    image[~mask] = 0.0
    first, count = (8, 9), (17, 14)
    scores, covered = CorrelationWindow(image, mask).scores(one, first, count)
    assert scores.shape == (14, 17)
    height, width = one.weight.shape
    for row, column in ((0, 0), (3, 11), (13, 16), (7, 2)):
        v, u = first[1] + row + one.offset[1], first[0] + column + one.offset[0]
        there, inside = image[v : v + height, u : u + width], mask[v : v + height, u : u + width]
        dot = sum((one.weighted[c] * there[..., c]).sum() for c in range(3))
        own = (one.energy * inside).sum()
        its = (one.weight * (there**2).sum(axis=-1)).sum()
        assert scores[row, column] == pytest.approx(dot / np.sqrt(own * its), abs=1e-4)
        share = (one.weight * inside).sum() / one.weight.sum()
        assert covered[row, column] == pytest.approx(share, abs=1e-4)


def test_a_quarter_turn_moves_pixels_and_vectors():
    features = np.zeros((5, 7, 3), np.float32)
    features[2, 5] = (1.0, 2.0, 0.0)  # 5 px forward of the reference point, slope forward
    weight = np.ones((5, 7), np.float32)
    turned = turn(Template(features, weight, (0.0, 2.0)), np.pi / 2)
    u, v = 0 - turned.offset[0], -5 - turned.offset[1]  # forward is up now
    values = [channel[v, u] for channel in turned.weighted]
    np.testing.assert_allclose(values, [1.0, 0.0, 2.0], atol=1e-3)


def test_shifts_that_leave_the_map_are_refused():
    rng = np.random.default_rng(2)
    window = CorrelationWindow(
        rng.normal(size=(30, 30, 3)).astype(np.float32), np.ones((30, 30), bool)
    )
    with pytest.raises(ValueError, match='leaves the map piece'):
        window.scores(turn(template(rng), 0.0), (25, 5), (4, 4))
