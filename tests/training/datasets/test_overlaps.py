# SPDX-License-Identifier: Apache-2.0
"""Overlaps of pictures: boxes, cubes that both see, and who is neither near nor far."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.descriptor import SamePlace
from training.datasets.overlaps import bounding_box, box_iou, overlaps_of

RULE = SamePlace(cell=1.0, shared=3, percent=0.0, least_side=0.0)


def row_of_cubes(start, stop, y=0.5):
    """Points in the middles of cubes along x, in two rows and two layers."""
    x = np.arange(start, stop) + 0.5
    parts = [
        np.stack([x, np.full(len(x), y + dy), np.full(len(x), dz)], axis=1)
        for dy in (0.0, 1.0)
        for dz in (0.5, 1.5)
    ]
    return np.concatenate(parts).astype(np.float32)


def test_boxes_meet_as_known():
    first = np.array([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    second = first + np.array([1.0, 0.0, 0.0])
    assert box_iou(first, second) == pytest.approx(1 / 3)
    assert box_iou(first, first) == 1.0
    assert box_iou(first, first + 2.0) == 0.0
    assert box_iou(first, np.full((2, 3), np.nan)) == 0.0
    inside = np.array([[0.5, 0.5, 0.5], [1.5, 1.5, 1.5]])
    assert box_iou(first, inside) == pytest.approx(1 / 8)


def test_percentile_boxes_pass_over_outliers():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (1000, 3))
    points[:5] = 1e6
    rule = SamePlace(percent=2.0, least_side=0.0)
    low, high = bounding_box(points, rule)
    assert (low > -0.01).all() and (high < 1.01).all()
    # The published rule, one pass of three standard deviations, takes gross outliers out as well.
    low, high = bounding_box(points, SamePlace(box='deviation', least_side=0.0))
    assert (high < 1.01).all()
    # Many of them widen the deviation until none is left out; percentiles then fail as well.
    points[:150] = 1e6
    assert bounding_box(points, SamePlace(box='deviation'))[1].max() == pytest.approx(1e6)


def test_a_wall_has_volume():
    points = np.random.default_rng(0).uniform(0, 1, (50, 3))
    points[:, 1] = 2.0
    low, high = bounding_box(points, SamePlace(percent=0.0, least_side=0.1))
    assert (low[1], high[1]) == pytest.approx((1.95, 2.05))
    thin = bounding_box(points, SamePlace(percent=0.0, least_side=0.0))
    assert box_iou(thin, thin) == 0.0
    assert np.isnan(bounding_box(points[:3], RULE)).all()


def test_three_kinds_of_pairs():
    # 0 and 1 share 3 columns of 4 cubes, 0 and 2 share 2 cubes at one end only, 3 is elsewhere.
    points = [
        row_of_cubes(0, 5),
        row_of_cubes(2, 7),
        np.concatenate([row_of_cubes(10, 14), row_of_cubes(0, 1)[:2]]),
        row_of_cubes(20, 25),
    ]
    overlaps = overlaps_of(points, ['a'] * 4, RULE)
    shared = overlaps.shared.toarray()
    assert shared[0].tolist() == [20, 12, 2, 0]
    assert (shared == shared.T).all()
    assert overlaps.positives(0).tolist() == [1]
    iou, decided = overlaps.between(np.arange(4), np.arange(4))
    # Boxes 4 and 4 long, of which 2 are common.
    assert iou[0, 1] == pytest.approx(2 / 6) and iou[0, 0] == 1.0
    assert decided[0].tolist() == [True, True, False, True]
    rng = np.random.default_rng(0)
    assert {overlaps.negative(0, rng) for _ in range(20)} == {3}
    assert {overlaps.negative(3, rng) for _ in range(40)} == {0, 1, 2}
    # In any order, also twice.
    iou, decided = overlaps.between(np.array([1, 1]), np.array([2, 0]))
    assert decided.tolist() == [[True, True]] * 2 and iou[0, 1] == pytest.approx(2 / 6)


def test_points_of_a_reconstruction_are_shared_by_being_the_same():
    rng = np.random.default_rng(0)
    world = rng.uniform(0, 1, (40, 3)).astype(np.float32)
    rule = SamePlace(cell=0.0, shared=8, box='deviation', least_side=0.0)
    nearly = np.nextafter(world[:20], np.float32(2.0))
    points = [
        world[:20],
        np.concatenate([world[19:11:-1], world[30:], np.full((3, 3), np.nan, np.float32)]),
        np.concatenate([world[:7], world[25:30], world[:2]]),
        nearly,
        world[20:30] + np.float32(5.0),
    ]
    overlaps = overlaps_of(points, ['city'] * 5, rule)
    # In any order, each counted once; and nearly the same place is another point.
    assert overlaps.shared.toarray()[0].tolist() == [20, 8, 7, 0, 0]
    assert overlaps.positives(0).tolist() == [1]
    iou, decided = overlaps.between(np.array([0]), np.arange(5))
    assert decided[0].tolist() == [True, True, False, True, True]
    low = [np.min(p[np.isfinite(p).all(axis=1)], axis=0) for p in points[:2]]
    high = [np.max(p[np.isfinite(p).all(axis=1)], axis=0) for p in points[:2]]
    common = np.prod(np.minimum(*high) - np.maximum(*low))
    volumes = np.prod(high[0] - low[0]) + np.prod(high[1] - low[1])
    assert iou[0, 1] == pytest.approx(common / (volumes - common), rel=1e-5)
    # In two worlds the same coordinates are other points.
    apart = overlaps_of(points, ['city', 'town', 'town', 'city', 'city'], rule)
    assert apart.shared.toarray()[0].tolist() == [20, 0, 0, 0, 0]
    assert apart.shared.toarray()[1].tolist() == [0, 18, 0, 0, 0]
    assert len(overlaps_of([], [], rule)) == 0
    assert not overlaps_of([np.zeros((0, 3), np.float32)] * 2, ['a'] * 2, rule).seeing.any()


def test_boxes_of_points_meet_as_known():
    """Two boxes 2 x 1 x 1 whose corners are points of the reconstruction, half of them common."""
    x, y, z = np.meshgrid([0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 1.0], [0.0, 1.0], indexing='ij')
    grid = np.stack([x, y, z], axis=-1).reshape(4, -1, 3).astype(np.float32)
    points = [grid[:3].reshape(-1, 3), grid[1:].reshape(-1, 3)]
    rule = SamePlace(cell=0.0, shared=12, box='deviation', least_side=0.0)
    overlaps = overlaps_of(points, ['city'] * 2, rule)
    assert overlaps.shared[0, 1] == 12 and overlaps.iou[0, 1] == pytest.approx(1 / 3)
    few = overlaps_of(points, ['city'] * 2, SamePlace(cell=0.0, shared=13, box='deviation'))
    assert few.positives(0).tolist() == []


def test_places_of_different_frames_never_overlap():
    points = [row_of_cubes(0, 5)] * 3
    overlaps = overlaps_of(points, ['hall', 'attic', 'hall'], RULE)
    assert overlaps.positives(0).tolist() == [2]
    assert overlaps.negative(0, np.random.default_rng(0)) == 1


def test_who_sees_nothing_takes_no_part():
    points = [
        row_of_cubes(0, 5),
        np.full((4, 3), np.nan, np.float32),
        np.zeros((0, 3), np.float32),
    ]
    overlaps = overlaps_of(points, ['a'] * 3, RULE)
    assert overlaps.seeing.tolist() == [True, False, False]
    assert overlaps.negative(0, np.random.default_rng(0)) is None
    assert overlaps.negative(1, np.random.default_rng(0)) is None
    _, decided = overlaps.between(np.arange(3), np.arange(3))
    assert decided.tolist() == np.eye(3, dtype=bool).tolist()
    assert len(overlaps_of([], [], RULE)) == 0


def test_many_pictures_are_no_other_than_few(monkeypatch):
    rng = np.random.default_rng(0)
    points = [row_of_cubes(a, a + 4) for a in rng.integers(0, 12, 9)]
    whole = overlaps_of(points, ['a'] * 9, RULE)
    monkeypatch.setattr('training.datasets.overlaps._ROWS', 4)
    parts = overlaps_of(points, ['a'] * 9, RULE)
    assert (whole.iou.toarray() == parts.iou.toarray()).all()
    assert (whole.shared.toarray() == parts.shared.toarray()).all()


def test_normalised_overlaps_reach_from_zero_to_one():
    points = [row_of_cubes(0, 6), row_of_cubes(1, 7), row_of_cubes(4, 10)]
    overlaps = overlaps_of(points, ['a'] * 3, RULE)
    stretched = overlaps.normalised()
    iou, decided = stretched.between(np.arange(3), np.arange(3))
    assert iou[0, 1] == pytest.approx(1.0) and iou[0, 2] == 0.0
    assert 0 < iou[1, 2] < 1 and (np.diag(iou) == 1.0).all()
    # The least overlap weighs nothing, and is a positive still.
    assert decided.all() and stretched.positives(0).tolist() == [1, 2]


def test_another_unit_is_noticed():
    with pytest.raises(DataError, match='another unit'):
        overlaps_of([row_of_cubes(0, 5) * 1e7], ['a'], RULE)
    with pytest.raises(ConfigError, match='box'):
        SamePlace(box='round')
    with pytest.raises(ConfigError, match='cell'):
        SamePlace(cell=-0.2)
    with pytest.raises(ConfigError, match='percent'):
        SamePlace(percent=50)


def test_neighbours_in_a_real_room_overlap_most(real_data):
    from training.datasets.seven_scenes import SevenScenes
    from training.objectives.pairs import overlaps_in

    root = real_data('seven_scenes_redkitchen', 'seq')
    dataset = SevenScenes(root, 'train', validation=0.0, calibration='redkitchen')
    overlaps = overlaps_in(dataset, np.array([0, 1, 50, 51, 110]), SamePlace())
    iou = overlaps.iou.toarray()
    np.testing.assert_allclose(iou, iou.T)
    apart = iou - np.eye(5)
    assert apart[0].argmax() == 1 and apart[2].argmax() == 3
    assert min(iou[0, 1], iou[2, 3]) > 0.5
