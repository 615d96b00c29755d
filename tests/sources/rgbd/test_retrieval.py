# SPDX-License-Identifier: Apache-2.0
"""Keyframes by their look and by where a view is."""

import numpy as np
import pytest

from geoloc_core.sources.rgbd import retrieval
from geoloc_core.sources.rgbd.retrieval import glance, KeyframeIndex, Overlaps, sample
from geoloc_core.sources.rgbd.surface import surface_of
from tests.sources.rgbd.rooms import CAMERA, camera_pose, MeanDescriptor, place_of, Room

TRUTH = camera_pose(2.3, 2.2, 0.5)


def test_the_most_similar_come_first_and_no_more_than_there_are():
    room = Room()
    place = place_of(room)
    index = KeyframeIndex(place)
    order, similarity = index.nearest(place.keyframes[7].global_descriptor, 50)
    assert order[0] == 7
    assert len(order) == len(index) == 12
    assert (np.diff(similarity) <= 0).all()


def test_an_index_of_a_large_map_finds_what_a_product_finds(monkeypatch):
    pytest.importorskip('faiss')
    place = place_of(Room())
    plain = KeyframeIndex(place)
    monkeypatch.setattr(retrieval, '_LARGE', 1)
    indexed = KeyframeIndex(place)
    assert plain._faiss is None and indexed._faiss is not None
    for k in (0, 7):
        descriptor = place.keyframes[k].global_descriptor
        for count in (3, 50):
            a, b = (index.nearest(descriptor, count) for index in (plain, indexed))
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_allclose(a[1], b[1], atol=1e-6)
        assert plain.candidates(descriptor, 4) == indexed.candidates(descriptor, 4)


def test_a_twin_elsewhere_is_among_the_candidates():
    place = place_of(Room(), Room(origin=(20.0, 0.0, 0.0)))
    described = MeanDescriptor().describe(None, Room().features(TRUTH))
    chosen = KeyframeIndex(place).candidates(described, 4)
    assert {k // 12 for k in chosen} == {0, 1}
    assert len(set(chosen)) == len(chosen) <= 6


def test_keyframes_that_see_the_same_are_found_by_the_pose():
    place = place_of(Room())
    near = Overlaps(place).seeing(TRUTH, glance(CAMERA), 3)
    # 0.5 rad lies next to the keyframes at 0.52 and 0.0 rad.
    assert near[0] == 1
    assert 7 not in near
    far = TRUTH.copy()
    far[0, 3] += 100.0
    assert Overlaps(place).seeing(far, glance(CAMERA), 3) == []


def test_a_glance_lies_ahead():
    points = glance(CAMERA, 3.0)
    np.testing.assert_allclose(points[:, 2], 3.0)
    assert points[:, 0].min() < 0 < points[:, 0].max()
    assert len(sample(points, 10)) == 10
    assert len(sample(points, 1000)) == len(points)


def test_overlap_knows_who_saw_the_same():
    room = Room()
    place = place_of(room)
    points = surface_of(room.depth(TRUTH), CAMERA).sample(200)[0]
    shares = Overlaps(place).shares(TRUTH, points, np.arange(12))
    yaws = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    away = np.abs(np.angle(np.exp(1j * (yaws - 0.5))))
    assert shares[np.argmin(away)] > 0.5
    assert shares[np.argmax(away)] == 0.0
