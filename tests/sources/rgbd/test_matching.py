# SPDX-License-Identifier: Apache-2.0
"""Which feature is which point: mutual, clear, near where it is expected, and with its ray."""

import numpy as np

from geoloc_core.features.base import LocalFeatures
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import FisheyeCamera
from geoloc_core.sources.rgbd.matching import (
    correspondences,
    mutual_among,
    mutual_matches,
    sight_of,
)
from tests.sources.rgbd.rooms import CAMERA, camera_pose, place_of, Room

TRUTH = camera_pose(2.3, 2.2, 0.5)


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_matches_are_mutual():
    # Both queries are nearest to the first reference; it is nearest to the second query.
    query = unit([[1, 0.3, 0], [1, 0.1, 0]])
    reference = unit([[1, 0, 0], [0, 0, 1]])
    i, j = mutual_matches(query, reference, 1.0)
    assert i.tolist() == [1]
    assert j.tolist() == [0]


def test_two_neighbours_alike_are_no_match_unless_the_ratio_lets_them():
    query = unit([[1, 0, 0]])
    reference = unit([[1, 0.2, 0], [1, -0.21, 0]])
    assert len(mutual_matches(query, reference, 0.8)[0]) == 0
    assert mutual_matches(query, reference, 1.0)[1].tolist() == [0]


def test_what_is_not_near_neither_matches_nor_competes():
    query = unit([[1, 0, 0]])
    reference = unit([[1, 0.2, 0], [1, -0.21, 0]])
    one = np.array([0])
    assert mutual_among(query, reference, one, np.array([1]), 0.8)[1].tolist() == [1]
    assert len(mutual_among(query, reference, one[:0], one[:0], 0.8)[0]) == 0


def test_among_all_pairs_both_ways_of_matching_agree():
    rng = np.random.default_rng(0)
    query, reference = unit(rng.normal(size=(40, 8))), unit(rng.normal(size=(60, 8)))
    i, j = (each.ravel() for each in np.meshgrid(np.arange(40), np.arange(60), indexing='ij'))
    mixed = rng.permutation(len(i))
    for ratio in (0.7, 0.9, 1.0):
        dense = mutual_matches(query, reference, ratio)
        sparse = mutual_among(query, reference, i[mixed], j[mixed], ratio)
        assert len(dense[0]) > 0
        np.testing.assert_array_equal(np.sort(dense), np.sort(sparse))
        assert set(zip(*dense, strict=True)) == set(zip(*sparse, strict=True))


def test_nothing_matches_nothing():
    empty = np.zeros((0, 3), np.float32)
    assert len(mutual_matches(empty, unit([[1, 0, 0]]), 1.0)[0]) == 0
    assert len(mutual_matches(unit([[1, 0, 0]]), empty, 1.0)[0]) == 0
    assert len(mutual_matches(unit([[1, 0, 0]]), unit([[1, 0, 0]]), 0.5)[0]) == 1


def test_rays_and_depths_put_features_on_their_points():
    room = Room()
    local = room.features(TRUTH, pixel_px=0.0)
    sight = sight_of(local, CAMERA, room.depth(TRUTH))
    points = se3.transform(TRUTH, sight.rays * sight.depth[:, None])
    known = np.isfinite(sight.depth)
    assert known.mean() > 0.8
    nearest = np.linalg.norm(points[known, None] - room.points[None], axis=2).min(axis=1)
    assert np.median(nearest) < 1e-3
    np.testing.assert_allclose(sight.focal_px, CAMERA.fx, rtol=1e-3)


def test_rays_far_from_the_axis_are_left_out():
    fisheye = FisheyeCamera(192, 144, 40.0, 40.0, 95.5, 71.5)
    xy = np.array([[95.5, 71.5], [191.0, 71.5]], np.float32)
    sight = sight_of(LocalFeatures(xy, np.zeros((2, 4), 'f4'), np.zeros(2, 'f4')), fisheye, None)
    assert np.isfinite(sight.rays[0]).all()
    assert np.isnan(sight.rays[1]).all()
    assert np.isnan(sight.depth).all()


def test_each_keyframe_is_matched_alone_and_points_are_the_maps():
    room = Room()
    place = place_of(room)
    sight = sight_of(room.features(TRUTH), CAMERA, room.depth(TRUTH))
    found = correspondences(sight, place.keyframes, [0, 1], 0.9)
    assert set(found.keyframe) == {0, 1}
    # A feature seen in both keyframes is matched in both.
    assert len(np.unique(found.feature)) < len(found)
    seen = se3.transform(se3.inverse(TRUTH), found.points)
    off = np.linalg.norm(seen[:, :2] / seen[:, 2:] - found.rays[:, :2], axis=1) * CAMERA.fx
    assert np.median(off) < 2.0


def test_a_belief_keeps_matches_near_where_they_are_expected():
    room = Room()
    place = place_of(room)
    sight = sight_of(room.features(TRUTH, wrong=0.4), CAMERA, room.depth(TRUTH))
    free = correspondences(sight, place.keyframes, [0, 1, 2], 1.0)
    near = correspondences(sight, place.keyframes, [0, 1, 2], 1.0, TRUTH, 8.0)
    for found, best in ((free, False), (near, True)):
        seen = se3.transform(se3.inverse(TRUTH), found.points)
        with np.errstate(divide='ignore', invalid='ignore'):
            off = np.linalg.norm(seen[:, :2] / seen[:, 2:] - found.rays[:, :2], axis=1)
        assert (off.max() * sight.focal_px < 8.01) == best
    # The other way round nothing is where it is expected.
    turned = TRUTH @ se3.from_xyz_rpy(0, 0, 0, 0, np.pi, 0)
    assert len(correspondences(sight, place.keyframes, [0, 1, 2], 1.0, turned, 8.0)) == 0
